//! The header fields that go on to the host, and those that go back to the client.
//!
//! What the client said of itself ends here: hop-by-hop fields (RFC 9110 section 7.6.1), forwarding fields, identity
//! fields in every spelling, credentials and cookies. Removal comes before ours are put on, so that a client's
//! `Connection` cannot name a field of the gateway.

use std::net::IpAddr;
use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::headers::identity::{Identity, UserNameError};
use crate::headers::{fold, folds_to};

/// The id of a request, to the host and back to the client.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const VIA: HeaderValue = HeaderValue::from_static("1.1 portcullis");

/// Fields that concern one connection only, or that the gateway answers for itself.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// Fields, folded, that a client never speaks for itself with.
const CLIENT_MAY_NOT_SAY: [&str; 25] = [
    "-method",
    "authorization",
    "client-cert",
    "client-cert-chain",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "method-override",
    "proxy",
    "remote-addr",
    "remote-user",
    "script-name",
    "sudo",
    "true-client-ip",
    "via",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-gerrit-runas",
    "x-http-method",
    "x-method",
    "x-method-override",
    "x-real-ip",
    "x-request-id",
    "x-user",
];

/// Beginnings of fields, folded, that a client never speaks for itself with.
const CLIENT_MAY_NOT_BEGIN: [&str; 20] = [
    "cf-connecting-",
    "impersonate-",
    "remote-",
    "ssl-client-",
    "x-accel-",
    "x-amzn-oidc-",
    "x-auth-",
    "x-authenticated-",
    "x-authentik-",
    "x-client-cert",
    "x-forwarded",
    "x-goog-authenticated-",
    "x-http-method-",
    "x-ms-client-principal",
    "x-original-",
    "x-remote-",
    "x-rewrite-",
    "x-sendfile-",
    "x-ssl-client-",
    "x-webauth-",
];

/// The names above that begin with the same byte: whole ones that concern one connection, whole ones, and beginnings.
#[derive(Debug, Default)]
struct Ending {
    at_hop: Vec<&'static str>,
    whole: Vec<&'static str>,
    beginnings: Vec<&'static str>,
}

/// By that byte, since every field of every request is looked up.
static ENDING: LazyLock<Vec<Ending>> = LazyLock::new(|| {
    let names = |list: &[&'static str], first: u8| {
        list.iter().copied().filter(|name| name.bytes().next() == Some(first)).collect()
    };
    let of = |first| Ending {
        at_hop: names(&HOP_BY_HOP, first),
        whole: names(&CLIENT_MAY_NOT_SAY, first),
        beginnings: names(&CLIENT_MAY_NOT_BEGIN, first),
    };
    (0..=u8::MAX).map(of).collect()
});

/// What may be wrong with fields that begin like `name`.
fn ending(name: &str) -> Option<&'static Ending> {
    ENDING.get(usize::from(*name.as_bytes().first()?))
}

fn ends_at_hop(name: &str) -> bool {
    ending(name).is_some_and(|ending| ending.at_hop.contains(&name))
}

/// A client's address as text.
#[derive(Debug, Clone)]
pub struct PeerText {
    plain: Box<str>,
    quoted: Box<str>,
}

impl From<IpAddr> for PeerText {
    fn from(peer: IpAddr) -> Self {
        let plain = peer.to_canonical().to_string().into_boxed_str();
        let quoted = if plain.contains(':') { format!("\"[{plain}]\"").into() } else { plain.clone() };
        Self { plain, quoted }
    }
}

/// What the gateway knows of a request, and tells the host.
#[derive(Debug, Clone, Copy)]
pub struct Hop<'a> {
    /// The client's address.
    pub peer: &'a PeerText,
    /// `http` or `https`, as the client spoke it.
    pub scheme: &'static str,
    /// The host name that the client asked for.
    pub client_host: &'a HeaderValue,
    /// What `Host` says to the host behind.
    pub upstream_host: &'a HeaderValue,
    /// The id of this request.
    pub request_id: &'a HeaderValue,
    /// On whose behalf.
    pub user: &'a str,
    /// How the host is told.
    pub identity: &'a Identity,
}

/// Gives `field` each field that goes to the host, but for those that frame the body: what passes of the client's, then
/// the gateway's own. No name of its own passes from the client.
///
/// # Errors
/// [`UserNameError`] where the user's name cannot be told; the request must not be sent then.
pub fn to_upstream(
    client: &HeaderMap,
    hop: &Hop<'_>,
    mut field: impl FnMut(&str, &[&[u8]]),
) -> Result<(), UserNameError> {
    let named = connection_names(client);
    field("host", &[hop.upstream_host.as_bytes()]);
    for (name, value) in client {
        if passes_to_upstream(name.as_str(), &named, hop.identity) {
            field(name.as_str(), &[value.as_bytes()]);
        }
    }
    if wants_trailers(client) {
        field("te", &[b"trailers"]);
    }
    let (host, scheme) = (hop.client_host.as_bytes(), hop.scheme.as_bytes());
    field("x-forwarded-for", &[hop.peer.plain.as_bytes()]);
    field("x-forwarded-host", &[host]);
    field("x-forwarded-proto", &[scheme]);
    field(REQUEST_ID.as_str(), &[hop.request_id.as_bytes()]);
    field("via", &[VIA.as_bytes()]);
    // RFC 7239. Left out where the host's name cannot be quoted.
    if !host.iter().any(|byte| matches!(byte, b'"' | b'\\')) && host.is_ascii() {
        field("forwarded", &[b"for=", hop.peer.quoted.as_bytes(), b";host=\"", host, b"\";proto=", scheme]);
    }
    hop.identity.tell(hop.user, |name, value| field(name, &[value]))
}

/// Takes out of an upstream's answer what ends at this hop, and names this hop.
pub fn to_client(headers: &mut HeaderMap, request_id: &HeaderValue) {
    // Beside chunks a length means nothing (RFC 9112 section 6.3), and we may frame the answer anew.
    if headers.contains_key(header::TRANSFER_ENCODING) {
        headers.remove(header::CONTENT_LENGTH);
    }
    let named = connection_names(headers);
    headers.remove(header::CONNECTION);
    let ends =
        |name: &&HeaderName| ends_at_hop(name.as_str()) || named.iter().any(|field| field == name.as_str());
    while let Some(name) = headers.keys().find(ends).cloned() {
        headers.remove(name);
    }
    headers.remove(header::SET_COOKIE);
    headers.append(header::VIA, VIA);
    headers.insert(REQUEST_ID, request_id.clone());
}

/// Takes out of a client's trailers what it may not say in its head either: some servers put the two together.
pub fn trailers_to_upstream(trailers: &mut HeaderMap, identity: &Identity) {
    let mut kept = HeaderMap::new();
    for (name, value) in trailers.iter() {
        if passes_to_upstream(name.as_str(), &[], identity) {
            kept.append(name.clone(), value.clone());
        }
    }
    *trailers = kept;
}

/// Takes out of an upstream's trailers what its head may not bring either.
pub fn trailers_to_client(trailers: &mut HeaderMap) {
    for name in HOP_BY_HOP {
        trailers.remove(name);
    }
    for name in [header::SET_COOKIE, header::CONTENT_LENGTH, header::VIA, REQUEST_ID] {
        trailers.remove(name);
    }
}

/// What comes with a request to go on in HTTP/2 (RFC 7540 section 3.2.1).
const HTTP2_SETTINGS: &str = "http2-settings";

/// Whether the client asks to leave HTTP.
pub fn asks_for_upgrade(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| *name == header::UPGRADE || name.as_str() == HTTP2_SETTINGS)
}

fn passes_to_upstream(name: &str, named: &[String], identity: &Identity) -> bool {
    let name = fold(name);
    let name = name.as_ref();
    // The body is framed anew, and a server that folds names would read a second length.
    !(name == header::CONTENT_LENGTH.as_str()
        || ends_at_hop(name)
        || ending(name).is_some_and(|ending| {
            ending.whole.contains(&name) || ending.beginnings.iter().any(|start| name.starts_with(start))
        })
        || identity.could_be(name)
        || named.iter().any(|connection_name| connection_name == name))
}

/// The fields that `Connection` names, folded.
fn connection_names(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| str::from_utf8(name).ok())
        .map(str::trim)
        .filter(|name| !name.is_empty() && !folds_to(name, "close") && !folds_to(name, "keep-alive"))
        .map(|name| fold(name).into_owned())
        .collect()
}

fn wants_trailers(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::TE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        headers
    }

    fn send(client: &HeaderMap, identity: &Identity) -> HeaderMap {
        let hop = Hop {
            peer: &PeerText::from("192.0.2.7".parse::<IpAddr>().unwrap()),
            scheme: "https",
            client_host: &HeaderValue::from_static("git.example.com"),
            upstream_host: &HeaderValue::from_static("10.0.0.7:3000"),
            request_id: &HeaderValue::from_static("r1"),
            user: "alice",
            identity,
        };
        let mut sent = HeaderMap::new();
        to_upstream(client, &hop, |name, value| {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            sent.append(name, HeaderValue::from_bytes(&value.concat()).unwrap());
        })
        .unwrap();
        sent
    }

    fn trusted() -> Identity {
        Identity::TrustedHeader(HeaderName::from_static("x-webauth-user"))
    }

    #[test]
    fn what_the_client_says_of_itself_ends_here() {
        let names = [
            "X-WEBAUTH-USER",
            "X_WEBAUTH_USER",
            "X.Webauth.User",
            "x-webauth-email",
            "Sudo",
            "Authorization",
            "Cookie",
            "X-Forwarded-For",
            "X_Forwarded_User",
            "X-Forwarded-Prefix",
            "X-Original-URL",
            "X-Rewrite-URL",
            "Forwarded",
            "X-HTTP-Method-Override",
            "X-Method-Override",
            "Proxy",
            "Proxy-Authorization",
            "Via",
            "Remote-User",
            "Keep-Alive",
            "X-Real-IP",
            "True-Client-IP",
            "Upgrade",
            "Transfer-Encoding",
            "Expect",
            "X-Request-Id",
            "X-Remote-User",
        ];
        for name in names {
            let sent = send(&map(&[(name, "evil")]), &trusted());
            assert!(!sent.values().any(|value| value == "evil"), "{name}");
        }
    }

    #[test]
    fn the_client_cannot_name_a_field_of_ours() {
        let client = map(&[
            ("connection", "X-WEBAUTH-USER, x-forwarded-for, close"),
            ("x-trace", "1"),
            ("accept", "*/*"),
        ]);
        let sent = send(&client, &trusted());
        assert_eq!(sent.get("x-webauth-user").unwrap(), "alice");
        assert_eq!(sent.get("x-forwarded-for").unwrap(), "192.0.2.7");
        assert_eq!(sent.get("x-forwarded-host").unwrap(), "git.example.com");
        assert_eq!(sent.get("forwarded").unwrap(), "for=192.0.2.7;host=\"git.example.com\";proto=https");
        assert_eq!(sent.get("host").unwrap(), "10.0.0.7:3000");
        assert_eq!(sent.get("x-trace").unwrap(), "1");
        assert!(!sent.contains_key("connection"));
        let sent = send(&map(&[("connection", "x-trace"), ("X_Trace", "1")]), &trusted());
        assert!(!sent.contains_key("x_trace"));
    }

    #[test]
    fn trailers_pass_and_lengths_are_told_anew() {
        let sent = send(
            &map(&[("te", "gzip, trailers"), ("trailer", "x-sum"), ("content-length", "5")]),
            &trusted(),
        );
        assert_eq!(sent.get("te").unwrap(), "trailers");
        assert_eq!(sent.get("trailer").unwrap(), "x-sum");
        assert!(!sent.contains_key("content-length"));
    }

    #[test]
    fn trailers_bring_nothing_that_a_head_may_not() {
        let mut trailers = map(&[
            ("x-sum", "1"),
            ("x-sum", "2"),
            ("x-webauth-user", "root"),
            ("x_webauth_user", "root"),
            ("authorization", "root"),
            ("content_length", "5"),
            ("x-forwarded-for", "root"),
        ]);
        trailers_to_upstream(&mut trailers, &trusted());
        assert_eq!(trailers, map(&[("x-sum", "1"), ("x-sum", "2")]));
        let mut trailers = map(&[("x-sum", "1"), ("set-cookie", "a"), ("x-request-id", "a")]);
        trailers_to_client(&mut trailers);
        assert_eq!(trailers, map(&[("x-sum", "1")]));
    }

    #[test]
    fn identities() {
        let authorization = HeaderValue::from_static("Bearer service");
        let sent = send(&HeaderMap::new(), &Identity::Sudo { authorization: authorization.clone() });
        assert_eq!(sent.get("sudo").unwrap(), "alice");
        assert_eq!(sent.get("authorization").unwrap(), "Bearer service");
        let user_header = Some(HeaderName::from_static("x-user-name"));
        let account = Identity::Account { authorization, user_header };
        let sent = send(&map(&[("x_user_name", "root")]), &account);
        assert_eq!(sent.get("x-user-name").unwrap(), "alice");
        assert!(!sent.contains_key("x_user_name"));
    }

    #[test]
    fn answers_are_scrubbed_on_the_way_back() {
        let mut headers = map(&[
            ("connection", "x-secret"),
            ("x-secret", "1"),
            ("set-cookie", "session=1"),
            ("upgrade", "h2c"),
            ("keep-alive", "timeout=5"),
            ("etag", "\"a\""),
            ("via", "1.0 cache"),
        ]);
        to_client(&mut headers, &HeaderValue::from_static("r1"));
        for gone in ["connection", "x-secret", "set-cookie", "upgrade", "keep-alive"] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
        assert_eq!(headers.get("etag").unwrap(), "\"a\"");
        assert_eq!(headers.get_all("via").iter().count(), 2);
    }
}
