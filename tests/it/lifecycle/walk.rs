//! Every transition, each followed by a request at the data plane, and the trail that it leaves.

use serde_json::{Value, json};

use crate::support::api::ApiGateway;
use crate::support::spy::Spy;

const ACME: &str = "organization: acme\nowners: [alice]\nmembers: { bob: write }\n";
const READ: &str = "/repos/acme/alpha/contents/README.md";

fn gateway(spy: &Spy) -> ApiGateway {
    ApiGateway::before(spy.address, "github", &[("organizations/acme.yaml", ACME.into())])
}

fn wish(name: &str, level: &str) -> Value {
    json!({ "name": name, "resource_owner": "acme", "repositories": ["alpha"], "permissions": { "contents": level } })
}

#[test]
fn a_token_is_asked_for_approved_used_widened_narrowed_renewed_and_revoked() {
    let spy = Spy::start();
    let gateway = gateway(&spy);
    let (alice, bob) = (gateway.person("alice"), gateway.person("bob"));
    let (id, token) = bob.create(&wish("nightly", "read"));
    let refused = gateway.answer(&token, "GET", READ);
    assert_eq!(
        (refused.status, refused.body["reason"].as_str()),
        (403, Some("token_pending")),
        "{refused:?}"
    );
    assert_eq!(spy.seen(), "", "nothing reached the host");

    let requests = alice.get("/orgs/acme/personal-access-token-requests").expect(200);
    assert_eq!(requests[0]["owner"]["login"], "bob");
    assert_eq!(requests[0]["permissions"], json!({ "repository": { "contents": "read" } }));
    let path = format!("/orgs/acme/personal-access-token-requests/{}", requests[0]["id"]);
    alice.post(&path, &json!({ "action": "approve" })).expect(204);
    assert_eq!(gateway.ask(&token, "GET", READ), 200);
    assert_eq!(gateway.ask(&token, "PUT", READ), 403);

    let own = format!("/user/personal-access-tokens/{id}");
    let wider = bob.patch(&own, &wish("nightly", "write")).expect(200);
    assert_eq!(wider["resource_owners"].as_array().unwrap().len(), 2, "{wider}");
    assert_eq!(gateway.ask(&token, "GET", READ), 200, "what was granted goes on");
    let refused = gateway.answer(&token, "PUT", READ);
    assert_eq!(refused.body["reason"], "token_pending", "{refused:?}");
    bob.patch(&own, &wish("nightly", "read")).expect(200);
    assert_eq!(gateway.answer(&token, "PUT", READ).body["reason"], "permission_missing");

    let renewed = bob.post(&format!("{own}/regenerate"), &json!({ "expires_in": 7 })).expect(201);
    let renewed = renewed["token"].as_str().unwrap();
    assert_eq!(gateway.answer(&token, "GET", READ).body["reason"], "bad_credentials");
    assert_eq!(gateway.ask(renewed, "GET", READ), 200);

    let grants = alice.get("/orgs/acme/personal-access-tokens").expect(200);
    let path = format!("/orgs/acme/personal-access-tokens/{}", grants[0]["id"]);
    alice.post(&path, &json!({ "action": "revoke" })).expect(204);
    assert_eq!(gateway.ask(renewed, "GET", READ), 404);
    bob.delete(&own).expect(204);
    assert_eq!(gateway.answer(renewed, "GET", READ).body["reason"], "token_revoked");
    let actions = gateway.actions();
    let actions: Vec<_> =
        actions.iter().filter_map(|action| action.strip_prefix("personal_access_token.")).collect();
    assert_eq!(
        actions,
        [
            "create",
            "request_created",
            "access_granted",
            "request_created",
            "update",
            "request_cancelled",
            "update",
            "credential_regenerated",
            "access_revoked",
            "destroy"
        ]
    );
}
