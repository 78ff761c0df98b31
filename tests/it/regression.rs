//! One test for each way around the gateway that was found and closed.

use serde_json::{Value, json};

use crate::attacks::{READER, passed, upstream};
use crate::support::api::ApiGateway;
use crate::support::gateway::{TestGateway, authorization, head, policy_tokens, reason, status, wait_for};
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
    assert!(seen.starts_with("GET /repos/acme/alpha/commits?sha=main HTTP/1.1\r\n"), "{seen}");
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
    assert_eq!(status(&gateway.request("GET", "/repos/acme/alpha/commits", lines)), 200);
    let seen = spy.seen().to_ascii_lowercase();
    assert!(!seen.contains("root") && !seen.contains("content"), "{seen}");
}

/// Hosts that are told of the caller by `Sudo` also read it from the query, and no catalog forbade that.
#[test]
fn sudo_in_the_query_is_refused() {
    let spy = Spy::start();
    let gateway = TestGateway::before(spy.address, "github", READER);
    for query in ["sudo=root", "SUDO=root", "a=1&%73udo=root", "sudo[]=root", "[sudo]=root"] {
        let target = format!("/repos/acme/alpha/commits?{query}");
        assert_eq!(reason(&gateway.request("GET", &target, "")), "ambiguous_credentials");
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
    assert_eq!(audit[0]["method"], Value::Null);
    spy.saw_nothing();
}

/// A trailer that is called like the identity field reached the host, where it may be read as a field.
#[test]
fn trailers_carry_no_identity() {
    let spy = Spy::start();
    let gateway = TestGateway::before(spy.address, "git", READER);
    let lines = "Content-Type: application/x-git-upload-pack-request\r\nTransfer-Encoding: chunked\r\nTrailer: X-WEBAUTH-USER, X_Webauth_User, X-Forwarded-For, Cookie, X-Sum\r\n";
    let head = head("POST", "/acme/alpha.git/git-upload-pack", &format!("{}{lines}", authorization(1)));
    let body = "5\r\nhello\r\n0\r\nX-WEBAUTH-USER: evil\r\nX_Webauth_User: evil\r\nX-Forwarded-For: evil\r\nCookie: evil\r\nX-Sum: 1\r\n\r\n";
    assert_eq!(status(&gateway.raw(head + body)), 200);
    wait_for("the trailers", || spy.seen().ends_with("x-sum: 1\r\n\r\n"));
    assert!(!spy.seen().contains("evil"), "{}", spy.seen());
}

/// The same over HTTP/2, where not even the credential was kept out. It is refused, as over HTTP/1.
#[test]
fn http2_trailers_carry_no_identity() {
    let spy = Spy::start();
    let (gateway, certificate) = tls_gateway(&upstream(spy.address, "git"), READER);
    let bearer = format!("Bearer {}", token(1));
    let more = [
        ("trailer", "x-webauth-user, authorization, x-sum"),
        ("content-type", "application/x-git-upload-pack-request"),
    ];
    let mut fields = fields(&bearer, &more);
    fields[0] = (":method", "POST");
    fields[3] = (":path", "/acme/alpha.git/git-upload-pack");
    let send = |trailers: &[(&str, &str)]| {
        Http2::connect(&gateway, &certificate).send(&fields, Some(b"hello"), trailers)
    };
    assert_eq!(send(&[("x-webauth-user", "evil"), ("x_webauth_user", "evil"), ("x-sum", "1")]), passed());
    wait_for("the trailers", || spy.seen().ends_with("x-sum: 1\r\n\r\n"));
    assert_ne!(send(&[("authorization", bearer.as_str()), ("x-sum", "2")]), passed());
    assert!(!spy.seen().contains("evil") && !spy.seen().contains(&token(1)), "{}", spy.seen());
    assert!(!spy.seen().contains("x-sum: 2"), "{}", spy.seen());
}

/// Two equal lengths passed over HTTP/2; over HTTP/1.1 they are refused, and so would a host that is strict.
#[test]
fn http2_states_one_length() {
    let spy = Spy::start();
    let (gateway, certificate) = tls_gateway(&upstream(spy.address, "github"), READER);
    let bearer = format!("Bearer {}", token(1));
    let fields = fields(&bearer, &[("content-length", "5"), ("content-length", "5")]);
    let outcome = Http2::connect(&gateway, &certificate).send(&fields, Some(b"hello"), &[]);
    assert_ne!(outcome, passed());
    spy.saw_nothing();
}

/// Of an answer with a length and chunks the length went on, and cut the answer.
#[test]
fn the_length_of_a_chunked_answer_does_not_go_on() {
    let spy = Spy::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    );
    let gateway = TestGateway::before(spy.address, "github", READER);
    let answer = gateway.request("GET", "/repos/acme/alpha/commits", "Connection: close\r\n");
    assert!(!answer.contains("content-length"), "{answer}");
    assert!(answer.ends_with("5\r\nhello\r\n0\r\n\r\n"), "{answer}");
}

/// A token that may only look after its user's tokens gave one of them a new text, and whoever asked read it: all that the
/// other token held.
#[test]
fn a_token_regenerates_no_token_that_holds_more() {
    let spy = Spy::start();
    let gateway = ApiGateway::before(spy.address, "github", &[]);
    let bob = gateway.person("bob");
    let own = |name: &str, more: Value| {
        let mut body =
            json!({ "name": name, "resource_owner": "bob", "repositories": ["alpha"], "permissions": more });
        body["expires_in"] = 10.into();
        bob.create(&body)
    };
    let (_, weak) = own("weak", json!({ "personal_access_tokens": "write" }));
    let (strong, _) = own("strong", json!({ "contents": "write" }));
    let (equal, _) = own("equal", json!({ "personal_access_tokens": "write" }));
    let regenerate = |id: i64, body: Value| {
        gateway.control(&weak).post(&format!("/user/personal-access-tokens/{id}/regenerate"), &body)
    };
    let refused = regenerate(strong, json!({})).expect(422);
    assert_eq!(refused["errors"][0]["field"], "permissions", "{refused}");
    let refused = regenerate(equal, json!({ "expires_in": 11 })).expect(422);
    assert_eq!(refused["errors"][0]["field"], "expires_at", "{refused}");
    let renewed = regenerate(equal, json!({})).expect(201);
    assert!(renewed["token"].is_string(), "{renewed}");
    assert_eq!(spy.seen(), "", "nothing reached the host");
}
