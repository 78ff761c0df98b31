//! The API from outside: its description, its errors, GitHub's client libraries, and whatever a fuzzer thinks of.

mod clients;
mod errors;
mod explain;
mod fuzz;
mod openapi;
mod requests;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::api::{ApiGateway, Caller};
use crate::support::gateway::TestGateway;
use crate::support::spy::Spy;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

const ACME: &str = "organization: acme\nowners: [alice]\nmembers: { bob: write, carol: read }\n";

/// Everything that the API can be used for by a token.
const EVERYTHING: [(&str, &str); 3] = [
    ("organization_administration", "write"),
    ("organization_personal_access_token_requests", "write"),
    ("organization_personal_access_tokens", "write"),
];

/// A gateway with the organization `acme`, which approves tokens itself.
fn gateway(spy: &Spy) -> ApiGateway {
    gateway_with(spy, &[])
}

/// The same, with further policy files.
fn gateway_with(spy: &Spy, policies: &[(&str, &str)]) -> ApiGateway {
    let all = [("organizations/acme.yaml", ACME)].into_iter().chain(policies.iter().copied());
    let all: Vec<_> = all.map(|(name, text)| (name, text.to_owned())).collect();
    ApiGateway::before(spy.address, "github", &all)
}

/// What asks for a token to read `repositories` of `acme`.
fn wish(name: &str, repositories: &[&str]) -> Value {
    json!({
        "name": name, "resource_owner": "acme", "repositories": repositories,
        "permissions": { "contents": "read" }, "reason": format!("for {name}"),
    })
}

/// A token of an owner of `acme` that may do all that tokens may do with the API.
fn token_with_everything(owner: &Caller, login: &str) -> String {
    let at_acme: serde_json::Map<_, _> =
        EVERYTHING.iter().map(|(name, level)| ((*name).to_owned(), (*level).into())).collect();
    let body = json!({ "name": "everything", "resource_owners": [
        { "resource_owner": "acme", "permissions": at_acme },
        { "resource_owner": login, "permissions": { "personal_access_tokens": "write" } },
    ] });
    owner.create(&body).1
}

/// What tests/clients/install.sh put there; `None`, and a line that says so, where it is missing.
pub(crate) fn installed(path: &str) -> Option<PathBuf> {
    let path = Path::new(ROOT).join("target/clients").join(path);
    if !path.exists() {
        println!("skipped: {} is not there; run make test", path.display());
        return None;
    }
    Some(path)
}

/// GitHub's own facts, where they lie beside the checkout.
fn facts(name: &str) -> Option<Value> {
    let file = Path::new(ROOT).join("../shared/data/github").join(name);
    if !file.exists() {
        println!("skipped: GitHub's {name} is not beside the checkout");
        return None;
    }
    Some(serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap())
}

/// What a user can make the store grow by is bounded; what makes tokens useless is not.
#[test]
fn a_user_who_changes_too_much_waits_and_can_take_back_all_the_same() {
    let spy = Spy::start();
    let top = "listeners: [{ bind: 127.0.0.1:0 }]\nstore: sqlite:portcullis.db\napi: { changes_per_hour: 3 }";
    let upstreams = format!(
        "  - {{ name: forge, hosts: [git.example.com], url: 'http://{}', catalogs: [github], identity: {{ trusted_header: X-WEBAUTH-USER }} }}",
        spy.address
    );
    let policies = [("organizations/acme.yaml", ACME.to_owned())];
    let gateway = ApiGateway { gateway: TestGateway::configured(top, &upstreams, &policies) };
    let (alice, bob) = (gateway.person("alice"), gateway.person("bob"));
    let (id, _) = bob.create(&wish("one", &["alpha"]));
    let own = format!("/user/personal-access-tokens/{id}");
    bob.patch(&own, &json!({ "name": "two" })).expect(200);
    bob.post(&format!("{own}/regenerate"), &json!({})).expect(201);
    for refused in [
        bob.post("/user/personal-access-tokens", &wish("three", &["alpha"])),
        bob.patch(&own, &json!({ "name": "four" })),
        bob.post(&format!("{own}/regenerate"), &json!({})),
    ] {
        let after: u64 = refused.header("Retry-After").unwrap().parse().unwrap();
        assert!((1..=3600).contains(&after), "{after}");
        let message = refused.expect(403)["message"].as_str().unwrap().to_owned();
        assert!(message.starts_with("You have exceeded a secondary rate limit"), "{message}");
    }
    alice.create(&wish("one", &["alpha"]));
    bob.get(&own).expect(200);
    bob.delete(&own).expect(204);
}
