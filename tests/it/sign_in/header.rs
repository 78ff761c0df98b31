//! A proxy that signs people in says who calls; nobody else does.

use serde_json::json;

use crate::sign_in::{ask, entries, gateway};
use crate::support::api::ApiGateway;

const LISTED: &str = "trusted_header: { name: X-Login, networks: [10.0.0.0/8, 127.0.0.0/8] }";
const OTHER: &str = "trusted_header: { name: X-Login, networks: [10.0.0.0/8] }";

/// The status of `GET /user`, and whose it is.
fn who(gateway: &ApiGateway, lines: &[&str]) -> (u16, String) {
    let answer = ask(gateway, "GET /user", lines, "");
    let found = answer.body["login"].as_str().or_else(|| answer.body["message"].as_str());
    (answer.status, found.unwrap_or_default().to_owned())
}

#[test]
fn a_proxy_says_who_calls() {
    let gateway = gateway(LISTED);
    assert_eq!(who(&gateway, &["X-Login: alice"]), (200, "alice".into()));
    assert_eq!(who(&gateway, &["x-lOGIN: carol+1@example.com"]), (200, "carol+1@example.com".into()));
    assert_eq!(who(&gateway, &[]), (401, "Requires authentication".into()));
    assert!(gateway.store().read_now(|reads| reads.user("alice")).unwrap().is_none(), "nothing was changed");

    let wish = json!({ "name": "nightly", "resource_owner": "acme", "repositories": ["a"], "permissions": { "contents": "read" } });
    let made = ask(&gateway, "POST /user/personal-access-tokens", &["X-Login: alice"], &wish.to_string());
    assert_eq!(made.expect(201)["state"], "active", "alice owns acme");
    let user = gateway.store().read_now(|reads| reads.user("alice")).unwrap().unwrap();
    assert_eq!((user.password, user.administrator), (None, false));
    let entries = entries(&gateway);
    assert!(entries.iter().all(|entry| entry["actor_means"] == "trusted_header"), "{entries:?}");
    assert_eq!((&entries[0]["actor"], &entries[0]["actor_ip"]), (&"alice".into(), &"127.0.0.1".into()));
}

#[test]
fn what_people_may_do_is_as_with_a_session() {
    let gateway = gateway(LISTED);
    gateway.add_user("root", true);
    gateway.add_user("mallory", false);
    assert_eq!(ask(&gateway, "GET /users", &["X-Login: mallory"], "").status, 403);
    assert_eq!(ask(&gateway, "GET /users", &["X-Login: Root"], "").status, 200);
    assert_eq!(ask(&gateway, "DELETE /sessions/current", &["X-Login: root"], "").status, 404);
    let orgs = "GET /orgs/acme/personal-access-tokens";
    assert_eq!(ask(&gateway, orgs, &["X-Login: mallory"], "").status, 403);
    assert_eq!(ask(&gateway, orgs, &["X-Login: alice"], "").status, 200);
    assert_eq!(ask(&gateway, "PUT /users/mallory/suspended", &["X-Login: root"], "").status, 204);
    assert_eq!(who(&gateway, &["X-Login: mallory"]), (403, "the user `mallory` is suspended".into()));
}

#[test]
fn from_elsewhere_the_field_is_nothing() {
    let gateway = gateway(OTHER);
    let session = format!("Authorization: Bearer {}", gateway.person("bob").credential);
    for lines in [&["X-Login: alice"][..], &["X-Login: alice", "X-Login: bob"], &["X_Login: alice"]] {
        assert_eq!(who(&gateway, lines), (401, "Requires authentication".into()), "{lines:?}");
    }
    assert_eq!(who(&gateway, &["X-Login: alice", &session]), (200, "bob".into()));
    // Without the key in the file nobody's word is taken.
    let gateway = crate::sign_in::gateway("tokens_per_user: 5");
    assert_eq!(who(&gateway, &["X-Login: alice"]).0, 401);
}

#[test]
fn no_client_slips_a_name_past_the_proxy() {
    let gateway = gateway(LISTED);
    let session = format!("Authorization: Bearer {}", gateway.person("bob").credential);
    for lines in [
        &["X-Login: alice", "X-Login: bob"][..],
        &["X-Login: alice", "X-Login: alice"],
        &["X-Login: alice", "X_Login: bob"],
        &["X.Login: bob", "X-Login: alice"],
        &["X_Login: alice"],
        &["X-Login: alice bob"],
        &["X-Login: alice, bob"],
        &["X-Login: "],
        &["X-Login: ålice"],
    ] {
        let (status, message) = who(&gateway, lines);
        assert_eq!(status, 400, "{lines:?} {message}");
        assert!(message.starts_with("the field that says who calls"), "{message}");
    }
    // A credential decides, whatever stands beside it, and a wrong one is not made good.
    assert_eq!(who(&gateway, &["X-Login: alice", &session]), (200, "bob".into()));
    assert_eq!(who(&gateway, &["X-Login: alice", "X_Login: alice", &session]), (200, "bob".into()));
    for wrong in
        ["Authorization: Bearer portcullis_session_0", "Authorization: Basic eDp5", "Authorization: x"]
    {
        assert_eq!(who(&gateway, &["X-Login: alice", wrong]).0, 401, "{wrong}");
    }
    // The data plane knows no such field.
    let spoofed = gateway.data("").get("/user");
    assert_eq!(spoofed.status, 401);
}

#[test]
fn another_site_changes_nothing_through_the_proxy() {
    let gateway = gateway(LISTED);
    let wish =
        json!({ "name": "x", "resource_owner": "acme", "repositories": ["a"], "permissions": { "contents": "read" } }).to_string();
    let post = |lines: &[&str]| {
        let lines = [&["X-Login: alice"][..], lines].concat();
        ask(&gateway, "POST /user/personal-access-tokens", &lines, &wish).status
    };
    assert_eq!(post(&["Sec-Fetch-Site: cross-site"]), 403);
    assert_eq!(post(&["Sec-Fetch-Site: same-site", "Origin: http://portcullis.test"]), 403);
    assert_eq!(post(&["Origin: https://evil.example"]), 403);
    assert_eq!(post(&["Origin: null"]), 403);
    assert!(entries(&gateway).is_empty());
    assert_eq!(post(&["Sec-Fetch-Site: same-origin"]), 201);
    assert_eq!(ask(&gateway, "GET /user", &["X-Login: alice", "Sec-Fetch-Site: cross-site"], "").status, 200);
}

#[test]
fn many_wrong_credentials_lock_out_no_one_whom_the_proxy_knows() {
    let gateway = gateway(LISTED);
    for _ in 0..20 {
        assert_eq!(who(&gateway, &["Authorization: Bearer x"]).0, 401);
    }
    assert_eq!(who(&gateway, &["Authorization: Bearer x"]).0, 403);
    assert_eq!(who(&gateway, &["X-Login: alice"]), (200, "alice".into()));
}
