//! The header fields that go on to the host, and those that go back to the client.
//!
//! What the client said of itself ends here: hop-by-hop fields (RFC 9110 section 7.6.1), forwarding fields, identity
//! fields in every spelling, credentials and cookies. Removal comes before ours are put on, so that a client's
//! `Connection` cannot name a field of the gateway.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::headers::fold;
use crate::headers::identity::{Identity, UserNameError};

/// The id of a request, to the host and back to the client.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
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

/// What the gateway knows of a request, and tells the host.
#[derive(Debug, Clone, Copy)]
pub struct Hop<'a> {
    /// The client's address.
    pub peer: IpAddr,
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

/// The fields that go to the host.
///
/// # Errors
/// [`UserNameError`] where the user's name cannot be told; the request must not be sent then.
pub fn to_upstream(client: &HeaderMap, hop: &Hop<'_>) -> Result<HeaderMap, UserNameError> {
    let named = connection_names(client);
    let mut headers = HeaderMap::with_capacity(client.len() + 8);
    headers.insert(header::HOST, hop.upstream_host.clone());
    for (name, value) in client {
        if passes_to_upstream(name.as_str(), &named, hop.identity) {
            headers.append(name.clone(), value.clone());
        }
    }
    if wants_trailers(client) {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if let Ok(peer) = HeaderValue::try_from(hop.peer.to_canonical().to_string()) {
        headers.insert(FORWARDED_FOR, peer);
    }
    headers.insert(FORWARDED_HOST, hop.client_host.clone());
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(hop.scheme));
    headers.insert(REQUEST_ID, hop.request_id.clone());
    headers.insert(header::VIA, VIA);
    if let Some(forwarded) = forwarded(hop) {
        headers.insert(header::FORWARDED, forwarded);
    }
    hop.identity.put_on(&mut headers, hop.user)?;
    Ok(headers)
}

/// Takes out of an upstream's answer what ends at this hop, and names this hop.
pub fn to_client(headers: &mut HeaderMap, request_id: &HeaderValue) {
    // Beside chunks a length means nothing (RFC 9112 section 6.3), and we may frame the answer anew.
    if headers.contains_key(header::TRANSFER_ENCODING) {
        headers.remove(header::CONTENT_LENGTH);
    }
    for name in connection_names(headers) {
        if let Ok(name) = HeaderName::try_from(name) {
            headers.remove(name);
        }
    }
    for name in HOP_BY_HOP {
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
static HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Whether the client asks to leave HTTP.
pub fn asks_for_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE) || headers.contains_key(&HTTP2_SETTINGS)
}

fn passes_to_upstream(name: &str, named: &[String], identity: &Identity) -> bool {
    let spelled = name;
    let name = fold(name);
    let name = name.as_ref();
    // A server that folds names would read a second length.
    let second_length = name == header::CONTENT_LENGTH.as_str() && spelled != name;
    !(second_length
        || HOP_BY_HOP.contains(&name)
        || CLIENT_MAY_NOT_SAY.contains(&name)
        || CLIENT_MAY_NOT_BEGIN.iter().any(|start| name.starts_with(start))
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
        .map(|name| fold(name.trim()).into_owned())
        .filter(|name| !name.is_empty() && name != "close" && name != "keep-alive")
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

/// `Forwarded` (RFC 7239). `None` where the host's name cannot be quoted.
fn forwarded(hop: &Hop<'_>) -> Option<HeaderValue> {
    let peer = match hop.peer.to_canonical() {
        IpAddr::V4(peer) => peer.to_string(),
        IpAddr::V6(peer) => format!("\"[{peer}]\""),
    };
    let host = hop.client_host.to_str().ok().filter(|host| !host.contains(['"', '\\']))?;
    HeaderValue::try_from(format!("for={peer};host=\"{host}\";proto={}", hop.scheme)).ok()
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
            peer: "192.0.2.7".parse().unwrap(),
            scheme: "https",
            client_host: &HeaderValue::from_static("git.example.com"),
            upstream_host: &HeaderValue::from_static("10.0.0.7:3000"),
            request_id: &HeaderValue::from_static("r1"),
            user: "alice",
            identity,
        };
        to_upstream(client, &hop).unwrap()
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
    fn trailers_and_lengths_pass() {
        let sent = send(
            &map(&[("te", "gzip, trailers"), ("trailer", "x-sum"), ("content-length", "5")]),
            &trusted(),
        );
        assert_eq!(sent.get("te").unwrap(), "trailers");
        assert_eq!(sent.get("trailer").unwrap(), "x-sum");
        assert_eq!(sent.get("content-length").unwrap(), "5");
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
