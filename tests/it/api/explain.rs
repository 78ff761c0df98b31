//! `POST /explain` says what the gateway does.

use serde_json::{Value, json};

use crate::api::{gateway_with, wish};
use crate::support::api::Caller;
use crate::support::gateway::policy_tokens;
use crate::support::policy::token;
use crate::support::spy::Spy;

const UMBRELLA: &str = "organization: umbrella\nowners: [alice]\nfine_grained_tokens: { max_lifetime: 7d }\nceiling: { issues: none }\n";

/// Requests to the host behind the gateway.
const ASKED: [(&str, &str); 12] = [
    ("GET", "/repos/acme/alpha/contents/README.md"),
    ("GET", "/repos/ACME/Alpha.git/contents/README.md"),
    ("PUT", "/repos/acme/alpha/contents/README.md"),
    ("GET", "/repos/acme/beta/contents/README.md"),
    ("GET", "/repos/umbrella/alpha/contents/README.md"),
    ("GET", "/repos/umbrella/alpha/issues"),
    ("GET", "/repos/acme/alpha/issues"),
    ("DELETE", "/repos/acme/alpha"),
    ("GET", "/repos/acme/..%2fbeta/contents/README.md"),
    ("GET", "/repos/acme/alpha/contents/README.md?access_token=x"),
    ("GET", "/nowhere"),
    ("GET", "/repos/acme/alpha/contents/README.md?_method=delete"),
];

fn question((method, target): (&str, &str)) -> Value {
    json!({ "method": method, "url": format!("https://git.example.com{target}") })
}

/// What is explained of `ask` is what the host's clients are answered.
#[track_caller]
fn check(explained: &Value, answered: &crate::support::api::Answer, ask: (&str, &str)) {
    let [report] = explained["requests"].as_array().unwrap().as_slice() else { panic!("{explained}") };
    let passes = answered.status == 200;
    assert_eq!(explained["allowed"], passes, "{ask:?}: {explained}");
    if passes {
        assert_eq!(report["refusal"], Value::Null, "{ask:?}");
    } else {
        assert_eq!(report["refusal"]["status"], answered.status, "{ask:?}: {report} {answered:?}");
    }
    if answered.body["reason"].is_string() {
        assert_eq!(report["refusal"]["reason"], answered.body["reason"], "{ask:?}");
        assert_eq!(report["refusal"]["message"], answered.body["detail"], "{ask:?}");
    }
}

#[test]
fn what_is_explained_is_what_happens() {
    let spy = Spy::start();
    let held = "grants:\n  - { resource_owner: acme, repositories: [alpha], permissions: { contents: read } }\n  - { resource_owner: umbrella, repositories: all, permissions: { contents: read, issues: read } }";
    let (name, declared) = policy_tokens(&[(1, held)]);
    let gateway = gateway_with(&spy, &[(name, &declared), ("organizations/umbrella.yaml", UMBRELLA)]);
    let (alice, bob) = (gateway.person("alice"), gateway.person("bob"));
    let (active, of_alice) = alice.create(&wish("active", &["alpha"]));
    let (pending, of_bob) = bob.create(&wish("pending", &["alpha"]));
    let (revoked, text) = alice.create(&wish("revoked", &["alpha"]));
    alice.delete(&format!("/user/personal-access-tokens/{revoked}")).expect(204);
    gateway.add_user("root", true);
    let root = gateway.sign_in("root");
    for ask in ASKED {
        let of = |caller: &Caller, id: Option<i64>| {
            let mut question = question(ask);
            question["token_id"] = id.into();
            caller.post("/explain", &question).expect(200)
        };
        let does = |token: &str| gateway.answer(token, ask.0, ask.1);
        check(&of(&gateway.control(&token(1)), None), &does(&token(1)), ask);
        check(&of(&gateway.data(&of_alice), None), &does(&of_alice), ask);
        for (caller, id, text) in [
            (&alice, active, &of_alice),
            (&bob, pending, &of_bob),
            (&root, active, &of_alice),
            (&root, revoked, &text),
        ] {
            check(&of(caller, Some(id)), &does(text), ask);
        }
    }
}

#[test]
fn nobody_is_told_of_others_tokens() {
    let spy = Spy::start();
    let gateway =
        gateway_with(&spy, &[("organizations/umbrella.yaml", "organization: umbrella\nowners: [ulrich]\n")]);
    let (alice, bob) = (gateway.person("alice"), gateway.person("bob"));
    let (number, of_alice) = alice.create(&wish("one", &["alpha"]));
    let (own, _) = bob.create(&wish("two", &["alpha"]));
    let ask = |id: i64| {
        let mut question = question(ASKED[0]);
        question["token_id"] = id.into();
        question
    };
    bob.post("/explain", &ask(own)).expect(200);
    // Nor of who owns what their own tokens have nothing of; who may grant more of what they have, they are told.
    let grantor = |caller: &Caller, url: &str| {
        let question = json!({ "method": "PUT", "url": url, "token_id": own });
        caller.post("/explain", &question).expect(200)["requests"][0]["grantor"].clone()
    };
    gateway.add_user("root", true);
    let root = gateway.sign_in("root");
    let (of_other, of_own) = ("/repos/umbrella/alpha/contents/a", "/repos/acme/beta/contents/a");
    assert_eq!(grantor(&bob, of_other), "the owner of `umbrella`");
    assert_eq!(grantor(&bob, of_own), "an owner of `acme` (alice)");
    assert_eq!(grantor(&root, of_other), "an owner of `umbrella` (ulrich)");
    bob.post("/explain", &ask(number)).expect(404);
    bob.post("/explain", &ask(99)).expect(404);
    gateway.control(&of_alice).post("/explain", &ask(number)).expect(403);
    gateway.control("").post("/explain", &ask(number)).expect(401);
    assert_eq!(spy.seen(), "", "nothing was asked of the host");
}

#[test]
fn other_moments_networks_and_git_are_explained() {
    let spy = Spy::start();
    let (name, declared) = policy_tokens(&[(
        1,
        "resource_owner: acme\nrepositories: all\npermissions: { contents: read }\nnetworks: [10.0.0.0/8, 127.0.0.1]",
    )]);
    let catalogs = "git, github";
    let policies = [("organizations/acme.yaml", crate::api::ACME.to_owned()), (name, declared)];
    let gateway = crate::support::api::ApiGateway::before(spy.address, catalogs, &policies);
    gateway.gateway.edit("organizations/acme.yaml", &crate::api::ACME.replace("bob: write", "user1: write"));
    let caller = gateway.control(&token(1));
    let explain = |question: Value| caller.post("/explain", &question);
    let reason = |question: Value| explain(question).expect(200)["requests"][0]["refusal"]["reason"].clone();
    let url = "https://git.example.com/repos/acme/alpha/contents/a";
    let elsewhere = json!({ "method": "GET", "url": url, "peer": "192.0.2.7" });
    assert_eq!(reason(elsewhere), "constraint_failed");
    assert_eq!(reason(json!({ "method": "GET", "url": url })), Value::Null, "from here");
    assert_eq!(reason(json!({ "method": "GET", "url": url, "peer": "10.1.2.3" })), Value::Null);
    let late = json!({ "method": "GET", "url": url, "peer": "10.1.2.3", "at": "2999-02-01" });
    assert_eq!(reason(late), "token_expired");
    let push = json!({ "method": "push", "url": "/acme/alpha", "peer": "10.1.2.3" });
    let told = explain(push).expect(200);
    let [refs, pack] = told["requests"].as_array().unwrap().as_slice() else { panic!("{told}") };
    assert_eq!((&refs["host"], &pack["method"]), (&"git.example.com".into(), &"POST".into()));
    assert_eq!(refs["refusal"]["missing"], json!(["contents=write"]));
    assert_eq!(refs["steps"].as_array().unwrap().len(), 11);
    for (question, field) in [
        (json!({ "url": url }), "method"),
        (json!({ "method": "GET" }), "url"),
        (json!({ "method": "GET", "url": "ssh://a/b" }), "url"),
        (json!({ "method": "GET", "url": "https://u:p@h/a" }), "url"),
        (json!({ "method": "G E T", "url": url }), "method"),
        (json!({ "method": "GET", "url": url, "peer": "nowhere" }), "peer"),
        (json!({ "method": "GET", "url": url, "at": "tomorrow" }), "at"),
    ] {
        let refused = explain(question.clone()).expect(422);
        assert_eq!(refused["errors"][0]["field"], field, "{question}: {refused}");
    }
}
