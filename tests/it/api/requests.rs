//! What was asked of an organization's resources, for its owners.

use serde_json::{Value, json};

use crate::api::{gateway_with, wish};
use crate::support::api::{ApiGateway, Caller};
use crate::support::gateway::{TestGateway, wait_for};
use crate::support::spy::Spy;

const UMBRELLA: (&str, &str) = ("organizations/umbrella.yaml", "organization: umbrella\nowners: [ulrich]\n");

/// `method path: reason` of each line at `target`.
#[track_caller]
fn lines(caller: &Caller, target: &str) -> Vec<String> {
    let found = caller.get(target).expect(200);
    let word = |line: &Value, name: &str| line[name].as_str().unwrap().to_owned();
    let told =
        |line: &Value| format!("{} {}: {}", word(line, "method"), word(line, "path"), word(line, "reason"));
    found.as_array().unwrap().iter().map(told).collect()
}

/// A gateway at which bob's token did three things, and the token.
fn scene(spy: &Spy) -> (ApiGateway, Caller) {
    let gateway = gateway_with(spy, &[UMBRELLA]);
    gateway.add_user("root", true);
    let (alice, bob) = (gateway.person("alice"), gateway.person("bob"));
    let (_, token) = bob.create(&wish("nightly", &["alpha"]));
    alice.post("/orgs/acme/personal-access-token-requests/1", &json!({ "action": "approve" })).expect(204);
    for (method, target) in [
        ("GET", "/repos/acme/alpha/contents/a"),
        ("PUT", "/repos/acme/alpha/contents/a"),
        ("GET", "/repos/umbrella/alpha/contents/a"),
    ] {
        gateway.ask(&token, method, target);
    }
    let root = gateway.sign_in("root");
    wait_for("the log", || {
        lines(&root, "/request-log?phrase=token:nightly").iter().any(|line| line.contains("umbrella"))
    });
    (gateway, alice)
}

const READ: &str = "GET /repos/acme/alpha/contents/a: granted";
const WRITE: &str = "PUT /repos/acme/alpha/contents/a: permission_missing";
const OTHER: &str = "GET /repos/umbrella/alpha/contents/a: resource_not_granted";

#[test]
fn owners_see_what_was_asked_of_what_is_theirs() {
    let spy = Spy::start();
    let (gateway, alice) = scene(&spy);
    assert_eq!(lines(&alice, "/orgs/acme/request-log?phrase=user:bob"), [WRITE, READ]);
    assert_eq!(lines(&alice, "/orgs/ACME/request-log?phrase=user:bob+verdict:refuse"), [WRITE]);
    // The path goes before the phrase.
    assert_eq!(lines(&alice, "/orgs/acme/request-log?phrase=user:bob+org:umbrella"), [WRITE, READ]);
    assert_eq!(lines(&alice, "/orgs/acme/request-log?phrase=repo:acme/beta"), [""; 0]);
    alice.get("/orgs/umbrella/request-log").expect(403);
    alice.get("/request-log").expect(403);
    let bob = gateway.sign_in("bob");
    bob.get("/orgs/acme/request-log").expect(403);
    let root = gateway.sign_in("root");
    assert_eq!(lines(&root, "/request-log?phrase=user:bob"), [OTHER, WRITE, READ]);
    assert_eq!(lines(&root, "/request-log?phrase=user:bob+org:umbrella"), [OTHER]);
    // With a token that may, on either listener.
    let may = json!({ "name": "log", "resource_owner": "acme", "repositories": "none", "permissions": { "organization_administration": "read" } });
    let (_, token) = alice.create(&may);
    for caller in [gateway.control(&token), gateway.data(&token)] {
        assert_eq!(lines(&caller, "/orgs/acme/request-log?phrase=user:bob"), [WRITE, READ]);
    }
    let may_not = json!({ "name": "no", "resource_owner": "acme", "repositories": "all", "permissions": { "contents": "read" } });
    let (_, token) = alice.create(&may_not);
    gateway.data(&token).get("/orgs/acme/request-log").expect(403);
}

#[test]
fn pages_lead_from_one_to_the_next() {
    let spy = Spy::start();
    let (gateway, _alice) = scene(&spy);
    let root = gateway.sign_in("root");
    let (mut target, mut found) = ("/request-log?per_page=1&phrase=user:bob".to_owned(), Vec::new());
    loop {
        let page = root.get(&target);
        let link = page.header("Link").map(str::to_owned);
        found.extend(lines(&root, &target));
        let Some(link) = link else { break };
        let url = link.strip_prefix('<').unwrap().split_once('>').unwrap().0;
        target = url.split_once("/request-log").map(|(_, query)| format!("/request-log{query}")).unwrap();
    }
    assert_eq!(found, [OTHER, WRITE, READ]);
    for (query, field) in [
        ("phrase=verdict:allow", "phrase"),
        ("before=x", "before"),
        ("before=1-0", "before"),
        ("per_page=x", "per_page"),
    ] {
        let refused = root.get(&format!("/request-log?{query}")).expect(422);
        assert_eq!(refused["errors"][0]["field"], field, "{refused}");
    }
}

#[test]
fn where_the_log_goes_to_no_file_that_is_told() {
    let top = "listeners: [{ bind: 127.0.0.1:0 }]\nstore: sqlite:portcullis.db\napi: {}\naudit: danger_off";
    let upstreams = "  - { name: forge, hosts: [git.example.com], url: 'http://127.0.0.1:9', catalogs: [github], identity: { trusted_header: X-WEBAUTH-USER } }";
    let gateway = ApiGateway { gateway: TestGateway::configured(top, upstreams, &[]) };
    gateway.add_user("root", true);
    let refused = gateway.sign_in("root").get("/request-log").expect(503);
    assert!(refused["message"].as_str().unwrap().contains("goes to no file"), "{refused}");
}
