//! One test for each way around the gateway that was found and closed.

use crate::attacks::{READER, passed, upstream};
use crate::support::gateway::{TestGateway, authorization, head, policy_tokens, reason, status};
use crate::support::http2::{Http2, tls_gateway};
use crate::support::policy::token;
use crate::support::spy::Spy;

/// A GET over HTTP/2 that [`READER`] may make, with further fields.
fn fields<'a>(bearer: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut fields = vec![
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "git.example.com"),
        (":path", "/repos/acme/alpha/commits?sha=main"),
        ("authorization", bearer),
    ];
    fields.extend(more);
    fields
}

/// A request over HTTP/2 reached the host as `GET https://<the client's authority>/…`. A host takes the authority of
/// the absolute form before `Host` (RFC 9112 section 3.2.2), so the client chose the host's virtual host.
#[test]
fn http2_reaches_the_host_in_origin_form() {
    let spy = Spy::start();
    let (gateway, certificate) = tls_gateway(&upstream(spy.address, "github"), READER);
    let bearer = format!("Bearer {}", token(1));
    let outcome = Http2::connect(&gateway, &certificate).send(&fields(&bearer, &[]), None, &[]);
    assert_eq!(outcome, passed());
    let seen = spy.seen();
    assert!(
        seen.starts_with("GET /repos/acme/alpha/commits?sha=main HTTP/1.1\r\n"),
        "{seen}"
    );
}

/// `git.example.com:443@other.example.com` was judged as the name before the colon; a host may read the one behind `@`.
#[test]
fn nothing_but_a_port_follows_the_host_name() {
    let spy = Spy::start();
    let (gateway, certificate) = tls_gateway(&upstream(spy.address, "github"), READER);
    let bearer = format!("Bearer {}", token(1));
    for authority in ["git.example.com:443@other.example.com", "git.example.com:x"] {
        let mut fields = fields(&bearer, &[]);
        fields[2] = (":authority", authority);
        let outcome = Http2::connect(&gateway, &certificate).send(&fields, None, &[]);
        assert_ne!(outcome, passed(), "{authority}");
    }
    let plain = TestGateway::start(&upstream(spy.address, "github"), &[policy_tokens(&[(1, READER)])]);
    for host in ["git.example.com:80:90", "[git.example.com]x", "git.example.com:x"] {
        let request = head("GET", "/repos/acme/alpha/commits", &authorization(1));
        let answer = plain.raw(request.replace("git.example.com", host));
        assert_eq!(status(&answer), 404, "{host}: {answer}");
    }
    spy.saw_nothing();
}

/// Some servers fold whatever is no letter and no digit into `_`; only `_` and `.` were thought of.
#[test]
fn an_identity_field_with_odd_characters_ends_here() {
    let spy = Spy::start();
    let gateway = TestGateway::before(spy.address, "github", READER);
    let lines = "X~WEBAUTH~USER: root\r\nX!WEBAUTH!USER: root\r\nContent.Length: 5\r\n";
    assert_eq!(
        status(&gateway.request("GET", "/repos/acme/alpha/commits", lines)),
        200
    );
    let seen = spy.seen().to_ascii_lowercase();
    assert!(!seen.contains("root") && !seen.contains("content"), "{seen}");
}

/// Hosts that are told of the caller by `Sudo` also read it from the query, and no catalog forbade that.
#[test]
fn sudo_in_the_query_is_refused() {
    let spy = Spy::start();
    let gateway = TestGateway::before(spy.address, "github", READER);
    for query in ["sudo=root", "SUDO=root", "a=1&%73udo=root", "sudo[]=root"] {
        let target = format!("/repos/acme/alpha/commits?{query}");
        assert_eq!(
            reason(&gateway.request("GET", &target, "")),
            "ambiguous_credentials"
        );
    }
    spy.saw_nothing();
}

/// Frameworks that serve `POST /x?_method=DELETE` as `DELETE /x` were asked for it by whoever may only POST.
#[test]
fn a_method_in_the_query_is_refused() {
    let spy = Spy::start();
    let gateway = TestGateway::before(spy.address, "github", READER);
    for query in ["_method=DELETE", "a=1&%5fmethod=DELETE", "_METHOD"] {
        let target = format!("/repos/acme/alpha/commits/main/comments?{query}");
        assert_eq!(reason(&gateway.request("POST", &target, "")), "ambiguous_target");
    }
    spy.saw_nothing();
}

/// A token in the place of the method stood in the audit line.
#[test]
fn a_secret_for_a_method_is_not_recorded() {
    let spy = Spy::start();
    let gateway = TestGateway::before(spy.address, "github", READER);
    let answer = gateway.raw(head(&token(1), "/", ""));
    assert_eq!(status(&answer), 401);
    let audit = gateway.audit();
    assert_eq!(audit.len(), 1);
    assert_eq!(audit[0]["method"], serde_json::Value::Null);
    spy.saw_nothing();
}
