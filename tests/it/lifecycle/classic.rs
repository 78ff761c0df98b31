//! Credentials that hosts issued: passed as they came, where no organization forbids them, and seen before one does.

use std::net::TcpStream;

use std::io::Write as _;

use serde_json::json;

use crate::command::{command, finish};
use crate::support::api::ApiGateway;
use crate::support::gateway::{DEADLINE, head, read_answer, reason, status, wait_for};
use crate::support::policy::token;
use crate::support::spy::Spy;

const OPEN: &str = "organization: acme\nowners: [alice]\n";
const BLOCKS: &str = "organization: umbrella\nowners: [alice]\nclassic_tokens: { access: deny }\n";
const DENY: &str = "deny: [{ name: closed, route: 'GET /repos/{owner}/{repo}/hooks' }]\n";

fn gateway(spy: &Spy, policies: &[(&str, &str)]) -> ApiGateway {
    let upstreams = format!(
        "  - {{ name: forge, hosts: [git.example.com], url: 'http://{}', catalogs: [github, git], identity: {{ trusted_header: X-Login }}, classic_tokens: pass }}",
        spy.address
    );
    let policies: Vec<_> = policies.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
    ApiGateway::with(&upstreams, &policies)
}

/// The answer to `GET target` with these header lines, at the host.
fn ask(gateway: &ApiGateway, target: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(gateway.gateway.address()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(stream, "GET {target} HTTP/1.1\r\nHost: git.example.com\r\n{headers}\r\n").unwrap();
    read_answer(&mut stream)
}

const CLASSIC: &str = "Authorization: token 0123456789abcdef0123456789abcdef01234567\r\n";

#[test]
fn a_classic_token_passes_as_it_came_and_says_for_nobody_who_calls() {
    let spy = Spy::start();
    let gateway = gateway(&spy, &[("organizations/acme.yaml", OPEN)]);
    let named = format!(
        "{CLASSIC}X-Login: root\r\nX_Login: root\r\nX-WEBAUTH-USER: root\r\nSudo: root\r\nCookie: a=b\r\n"
    );
    assert_eq!(status(&ask(&gateway, "/repos/acme/alpha/contents/x", &named)), 200);
    let seen = spy.seen().to_lowercase();
    assert!(seen.contains("\r\nauthorization: token 0123456789abcdef0123456789abcdef01234567\r\n"), "{seen}");
    assert_eq!(seen.matches("authorization").count(), 1, "{seen}");
    assert!(!seen.contains("root") && !seen.contains("cookie"), "{seen}");
    // What no catalog knows is for the host to judge, while nobody forbids it.
    assert_eq!(status(&ask(&gateway, "/notifications", CLASSIC)), 200);
}

#[test]
fn what_is_refused_never_reaches_the_host() {
    let spy = Spy::start();
    let policies =
        [("organizations/acme.yaml", OPEN), ("organizations/umbrella.yaml", BLOCKS), ("deny.yaml", DENY)];
    let gateway = gateway(&spy, &policies);
    let ours = token(1);
    let (cut, unknown) = (ours.get(..ours.len() - 1).unwrap(), &ours);
    for (target, credential, want_status, want_reason) in [
        ("/repos/umbrella/t-virus/contents/x", CLASSIC.to_owned(), 403, "policy_forbids"),
        ("/repos/Umbrella/t-virus/contents/x", CLASSIC.to_owned(), 403, "policy_forbids"),
        ("/notifications", CLASSIC.to_owned(), 403, "policy_forbids"),
        ("/repos/acme/alpha/hooks", CLASSIC.to_owned(), 403, "policy_forbids"),
        ("/repos/acme/..%2fumbrella/contents/x", CLASSIC.to_owned(), 400, "ambiguous_target"),
        ("/repos/acme/alpha/contents/x?access_token=a", CLASSIC.to_owned(), 400, "ambiguous_credentials"),
        (
            "/repos/acme/alpha/contents/x",
            format!("{CLASSIC}Authorization: token b\r\n"),
            400,
            "ambiguous_credentials",
        ),
        ("/repos/acme/alpha/contents/x", format!("{CLASSIC}Upgrade: h2c\r\n"), 400, "upgrade_refused"),
        ("/repos/acme/alpha/contents/x", format!("Authorization: Bearer {cut}\r\n"), 401, "malformed_token"),
        (
            "/repos/acme/alpha/contents/x",
            format!("Authorization: Bearer {unknown}\r\n"),
            401,
            "bad_credentials",
        ),
        ("/repos/acme/alpha/contents/x", String::new(), 401, "no_credentials"),
    ] {
        let answer = ask(&gateway, target, &credential);
        assert_eq!(
            (status(&answer), reason(&answer).as_str()),
            (want_status, want_reason),
            "{target} {credential}"
        );
    }
    let refused = ask(&gateway, "/repos/umbrella/t-virus/contents/x", CLASSIC);
    assert!(refused.contains("`umbrella` forbids access via a personal access token (classic). Please use a GitHub App, OAuth App, or a personal access token with fine-grained permissions."), "{refused}");
    spy.saw_nothing();
    assert_eq!(status(&ask(&gateway, "/repos/acme/alpha/contents/x", CLASSIC)), 200);
}

#[test]
fn an_organization_on_trial_stands_in_for_none_that_forbids() {
    let spy = Spy::start();
    let trial = "organization: acme\nowners: [alice]\nclassic_tokens: { access: deny }\nmode: shadow\n";
    let gateway =
        gateway(&spy, &[("organizations/acme.yaml", trial), ("organizations/umbrella.yaml", BLOCKS)]);
    for target in ["/notifications", "/search/code?q=x"] {
        assert_eq!(status(&ask(&gateway, target, CLASSIC)), 403, "{target}");
    }
    // In quotes, or behind white space: a token of this gateway is nothing for the host.
    let ours = token(1);
    for credential in [format!("\"{ours}\""), format!("x{ours}"), "portcullis_session_00".to_owned()] {
        let refused =
            ask(&gateway, "/repos/acme/alpha/contents/x", &format!("Authorization: Bearer {credential}\r\n"));
        assert_eq!((status(&refused), reason(&refused).as_str()), (401, "malformed_token"), "{credential}");
    }
    spy.saw_nothing();
    assert_eq!(status(&ask(&gateway, "/repos/acme/alpha/contents/x", CLASSIC)), 200, "on trial");
}

#[test]
fn an_organization_sees_who_uses_them_before_it_forbids_them() {
    let spy = Spy::start();
    let gateway = gateway(&spy, &[("organizations/acme.yaml", OPEN)]);
    let alice = gateway.person("alice");
    for _ in 0..3 {
        assert_eq!(status(&ask(&gateway, "/repos/acme/alpha/contents/x", CLASSIC)), 200);
    }
    let seen = || alice.get("/orgs/acme/classic-tokens").expect(200);
    wait_for("uses", || seen()[0]["uses"] == 3);
    let used = seen();
    assert_eq!(used.as_array().unwrap().len(), 1, "{used}");
    // SHA-256 of the credential in base64, as GitHub's audit log has it.
    assert_eq!(used[0]["hashed_token"], "3rh/q9F3FbsxrUz0/7lJTusV+NM9hbAxowHGSrNBfqo=", "{used}");
    assert_eq!((&used[0]["last_used_by"], &used[0]["upstream"]), (&"rest".into(), &"forge".into()));
    let folder = gateway.gateway.directory.path();
    let report = |of: &[&str]| finish(command(folder, &[&["classic", "report"], of].concat()), "");
    let row = ["3rh/q9F3FbsxrUz0/7lJTusV+NM9hbAxowHGSrNBfqo=", "forge", "acme", "3"];
    for of in [["acme"].as_slice(), &[]] {
        assert_eq!(report(of).expect(0).rows()[0][..4], row, "{of:?}");
    }
    assert_eq!(report(&["acme", "--json"]).expect(0).json(), used);
    report(&["other"]).expect(0).tells(&["no classic token was used"]);
    let bob = gateway.person("bob");
    bob.get("/orgs/acme/classic-tokens").expect(403);
    // From the next request on.
    gateway.gateway.edit("organizations/acme.yaml", &format!("{OPEN}classic_tokens: {{ access: deny }}\n"));
    assert_eq!(status(&ask(&gateway, "/repos/acme/alpha/contents/x", CLASSIC)), 403);
}

#[test]
fn the_last_use_of_a_token_is_known() {
    let spy = Spy::start();
    let gateway = gateway(&spy, &[("organizations/acme.yaml", OPEN)]);
    let alice = gateway.person("alice");
    let (id, token) = alice.create(&serde_json::json!({
        "name": "ci", "resource_owner": "acme", "repositories": "all", "permissions": { "contents": "read" }
    }));
    let shown = || alice.get(&format!("/user/personal-access-tokens/{id}")).expect(200);
    assert!(shown()["last_used_at"].is_null());
    assert_eq!(gateway.ask(&token, "GET", "/acme/alpha/info/refs?service=git-upload-pack"), 200);
    wait_for("the last use", || !shown()["last_used_at"].is_null());
    assert_eq!((&shown()["last_used_by"], &shown()["last_used_from"]), (&"git".into(), &"127.0.0.1".into()));
}

#[test]
fn what_is_public_is_read_by_all_credentials() {
    let spy = Spy::start();
    let public = "organization: umbrella\nowners: [carol]\npublic: { repositories: [docs] }\nfine_grained_tokens: { access: deny }\nclassic_tokens: { access: deny }\n";
    let sealed = "organization: sealed\nowners: [carol]\npublic: { repositories: [docs] }\nceiling: { contents: none }\nclassic_tokens: { access: deny }\n";
    let files = [("organizations/umbrella.yaml", public), ("organizations/sealed.yaml", sealed)];
    let gateway = gateway(&spy, &files);
    for (method, target, want) in [
        ("GET", "/repos/umbrella/docs/contents/x", 200),
        ("GET", "/repos/umbrella/DOCS.git/contents/x", 200),
        ("PUT", "/repos/umbrella/docs/contents/x", 403),
        ("GET", "/repos/umbrella/docs/issues", 403),
        ("GET", "/repos/umbrella/t-virus/contents/x", 403),
        // A ceiling keeps from everybody what would be public.
        ("GET", "/repos/sealed/docs/contents/x", 403),
    ] {
        let answer = gateway.gateway.raw(head(method, target, CLASSIC));
        assert_eq!(status(&answer), want, "{method} {target}");
    }
    // With a token that waits for another organization, of a user who is nothing there.
    let bob = gateway.person("bob");
    let wish = json!({ "name": "a", "resource_owner": "acme", "repositories": "all", "permissions": { "contents": "write" } });
    let (_, text) = bob.create(&wish);
    assert_eq!(gateway.ask(&text, "GET", "/repos/umbrella/docs/contents/x"), 200);
    assert_eq!(gateway.ask(&text, "PUT", "/repos/umbrella/docs/contents/x"), 403);
    assert_eq!(gateway.ask(&text, "GET", "/repos/umbrella/t-virus/contents/x"), 403);
    assert_eq!(
        gateway.ask("", "GET", "/repos/umbrella/docs/contents/x"),
        401,
        "a token is needed all the same"
    );
}
