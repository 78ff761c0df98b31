//! Requests through a whole gateway: what passes arrives unharmed, what is refused never arrives.

use crate::support::gateway::{TestGateway, authorization, head, policy_tokens, reason, status};
use crate::support::policy::token;
use crate::support::spy::Spy;

const READER: &str = "resource_owner: acme\nrepositories: [alpha]\npermissions: { contents: read }";

#[test]
fn a_granted_request_passes_with_the_identity_on_and_the_token_off() {
    let spy = Spy::start();
    let gateway = TestGateway::before(spy.address, "github", READER);
    let answer = gateway.request(
        "GET",
        "/repos/acme/alpha/commits?sha=main",
        "X-Trace: 1\r\nX-WEBAUTH-USER: root\r\n",
    );
    assert_eq!(status(&answer), 200, "{answer}");
    assert!(answer.ends_with("hello"));
    assert!(answer.contains("x-accepted-github-permissions: contents=read\r\n"), "{answer}");
    let seen = spy.seen();
    assert!(seen.starts_with("GET /repos/acme/alpha/commits?sha=main HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("x-webauth-user: user1\r\n") && seen.contains("x-trace: 1\r\n"), "{seen}");
    assert!(!seen.contains("root") && !seen.contains(&token(1)) && !seen.contains("authorization"), "{seen}");
    let audit = gateway.audit();
    assert_eq!(audit.len(), 1);
    assert_eq!(audit[0]["effect"], "forwarded");
    assert_eq!(audit[0]["resource"], "acme/alpha");
    assert_eq!(audit[0]["user"], "user1");
}

#[test]
fn each_step_refuses_with_its_reason_and_the_host_sees_nothing() {
    let spy = Spy::start();
    let gateway = TestGateway::before(spy.address, "github", READER);
    let rows = [
        ("GET", "/repos/acme/beta", 404, "resource_not_granted"),
        ("GET", "/repos/other/alpha", 404, "resource_not_granted"),
        ("GET", "/repos/acme/alpha/issues", 403, "permission_missing"),
        ("PUT", "/repos/acme/alpha/contents/a.txt", 403, "permission_missing"),
        ("GET", "/notifications", 403, "no_route"),
        ("DELETE", "/repos/acme/alpha/nothing", 403, "no_route"),
        ("GET", "/repos/acme/../acme/alpha", 400, "ambiguous_target"),
        ("POST", "/repos/acme/alpha/transfer", 403, "never_grantable"),
    ];
    for (method, target, want, why) in rows {
        let answer = gateway.request(method, target, "");
        assert_eq!((status(&answer), reason(&answer).as_str()), (want, why), "{method} {target}: {answer}");
    }
    let rows = [
        (String::new(), 401, "no_credentials"),
        ("Authorization: Bearer ghp_x\r\n".into(), 401, "malformed_token"),
        (authorization(9), 401, "bad_credentials"),
    ];
    for (headers, want, why) in rows {
        let answer = gateway.raw(head("GET", "/repos/acme/alpha", &headers));
        assert_eq!((status(&answer), reason(&answer).as_str()), (want, why), "{headers}: {answer}");
    }
    spy.saw_nothing();
}

#[test]
fn an_edit_of_the_policy_acts_at_once() {
    let spy = Spy::start();
    let gateway = TestGateway::before(spy.address, "github", READER);
    assert_eq!(status(&gateway.request("GET", "/repos/acme/alpha", "")), 200);
    gateway.edit("tokens/test.yaml", "tokens: []\n");
    assert_eq!(reason(&gateway.request("GET", "/repos/acme/alpha", "")), "bad_credentials");
    let (name, text) = policy_tokens(&[(1, READER)]);
    gateway.edit(name, &text);
    assert_eq!(status(&gateway.request("GET", "/repos/acme/alpha", "")), 200);
}
