//! Rules about tokens that are changed by API, where policy files leave them to the store.

use portcullis::live::LivePolicy;
use portcullis::store::Store;
use serde_json::{Value, json};

use crate::support::api::{ApiGateway, Caller};
use crate::support::gateway::policy_tokens;
use crate::support::policy::token;
use crate::support::spy::Spy;

const READ: &str = "/repos/acme/alpha/contents/README.md";
const ACME: &str = "organization: acme\nowners: [alice]\nmanaged: store\nfine_grained_tokens: { max_lifetime: 400000d }\nceiling: { administration: read }\n";
const ENTERPRISE: &str = "enterprise: umbrella\nadministrators: [root]\nmanaged: store\n";
const POLICY: &str = "/orgs/acme/token-policy";
const ABOVE: &str = "/enterprise/token-policy";

/// A gateway whose organization `acme` and enterprise keep their rules in the store, and its owner.
fn scene(spy: &Spy) -> (ApiGateway, Caller) {
    let held = "resource_owner: acme\nrepositories: all\npermissions: { contents: write, organization_administration: write }";
    let (name, declared) = policy_tokens(&[
        (1, &held.replace(": write }", ": read }")),
        (2, held),
        (3, "resource_owner: acme\nrepositories: all\npermissions: { contents: write }"),
    ]);
    let declared = declared.replace("user: user1", "user: alice").replace("user: user2", "user: alice");
    let policies = [("organizations/acme.yaml", ACME), ("enterprise.yaml", ENTERPRISE), (name, &declared)];
    let policies = policies.map(|(name, text)| (name, text.to_owned()));
    let gateway = ApiGateway::before(spy.address, "github", &policies);
    let alice = gateway.person("alice");
    (gateway, alice)
}

fn wish(level: &str) -> Value {
    json!({
        "name": level, "resource_owner": "acme", "repositories": "all", "permissions": { "contents": level },
        "expires_in": 60
    })
}

#[test]
fn what_is_ruled_acts_before_the_call_returns() {
    let spy = Spy::start();
    let (gateway, alice) = scene(&spy);
    let (_, text) = alice.create(&wish("write"));
    let put = |method| gateway.answer(&text, method, READ);
    assert_eq!((put("GET").status, put("PUT").status), (200, 200));
    for (rules, read, write, rule) in [
        (
            json!({ "fine_grained_tokens": { "access": "deny" } }),
            403,
            403,
            "organization acme: access of fine",
        ),
        (json!({ "fine_grained_tokens": { "access": null } }), 200, 200, ""),
        (
            json!({ "fine_grained_tokens": { "max_lifetime": "59d" } }),
            403,
            403,
            "acme: maximum lifetime of 59 days",
        ),
        (json!({ "fine_grained_tokens": { "max_lifetime": "60d" } }), 200, 200, ""),
        (json!({ "ceiling": { "contents": "read" } }), 200, 403, "organization acme: ceiling"),
        (json!({ "ceiling": { "contents": "none" } }), 403, 403, "organization acme: ceiling"),
        (json!({ "ceiling": { "contents": null } }), 200, 200, ""),
    ] {
        alice.patch(POLICY, &rules).expect(200);
        let (get, put) = (put("GET"), put("PUT"));
        assert_eq!((get.status, put.status), (read, write), "{rules}");
        if !rule.is_empty() {
            assert!(put.body["detail"].as_str().unwrap().contains(rule), "{rules}: {put:?}");
        }
    }
    // What was not spoken of is as the file has it.
    let shown = alice.get(POLICY).expect(200);
    let rules = json!({
        "fine_grained_tokens": { "max_lifetime": "60d" }, "classic_tokens": {}, "ceiling": { "administration": "read" }
    });
    assert_eq!(
        (&shown["rules"], &shown["managed"], &shown["changed_by"]),
        (&rules, &"store".into(), &"alice".into())
    );
    assert_eq!(shown["in_force"]["fine_grained_tokens"]["approval"], "required");
}

#[test]
fn approval_is_ruled_for_what_is_asked_from_then_on() {
    let spy = Spy::start();
    let (gateway, alice) = scene(&spy);
    let bob = gateway.person("bob");
    let mut count = 0;
    let mut state = |level: &str| {
        count += 1;
        let mut wish = wish(level);
        wish["name"] = format!("{count}").into();
        bob.post("/user/personal-access-tokens", &wish).expect(201)["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(state("read"), "pending");
    let rule = json!({ "fine_grained_tokens": { "approve_automatically": [{ "max_level": "read", "max_lifetime": "90d" }] } });
    alice.patch(POLICY, &rule).expect(200);
    assert_eq!((state("read"), state("write")), ("active".to_owned(), "pending".to_owned()));
    alice.patch(POLICY, &json!({ "fine_grained_tokens": { "approval": "automatic" } })).expect(200);
    assert_eq!(state("write"), "active");
    // The file has the word again.
    let shown = alice.delete(POLICY).expect(200);
    assert_eq!(shown["rules"]["fine_grained_tokens"], json!({ "max_lifetime": "400000d" }));
    assert_eq!((state("read"), state("write")), ("pending".to_owned(), "pending".to_owned()));
}

#[test]
fn each_change_stands_in_the_trail_under_github_s_name() {
    let spy = Spy::start();
    let (gateway, alice) = scene(&spy);
    gateway.add_user("root", true);
    let root = gateway.sign_in("root");
    for (rules, events) in [
        (json!({ "fine_grained_tokens": { "access": "deny" } }), &["access_restriction_enabled"][..]),
        (json!({ "fine_grained_tokens": { "access": "deny" } }), &[]),
        (json!({ "fine_grained_tokens": { "access": "allow" } }), &["access_restriction_disabled"]),
        (json!({ "classic_tokens": { "access": "deny" } }), &["access_restriction_enabled"]),
        (
            json!({ "fine_grained_tokens": { "approval": "automatic" } }),
            &["auto_approve_grant_requests_enabled"],
        ),
        (
            json!({ "fine_grained_tokens": { "approval": "required", "max_lifetime": null } }),
            &["auto_approve_grant_requests_disabled", "expiration_limit_unset"],
        ),
        (
            json!({ "fine_grained_tokens": { "max_lifetime": "30d" }, "ceiling": { "contents": "read" } }),
            &["expiration_limit_set", "rules_update"],
        ),
    ] {
        let before = trail(&alice).len();
        alice.patch(POLICY, &rules).expect(200);
        let told: Vec<_> = trail(&alice).into_iter().rev().skip(before).collect();
        let names: Vec<_> = told.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
        let wanted: Vec<_> = events.iter().map(|name| format!("personal_access_token.{name}")).collect();
        assert_eq!(names, wanted, "{rules}");
        assert!(told.iter().all(|entry| entry["org"] == "acme" && entry["actor"] == "alice"), "{told:?}");
    }
    let limit = &trail(&alice)[1];
    assert_eq!(
        (&limit["max_lifetime"], &limit["operation_type"]),
        (&"30d".into(), &"modify".into()),
        "{limit}"
    );
    root.patch(ABOVE, &json!({ "fine_grained_tokens": { "max_lifetime": "90d" } })).expect(200);
    let entry = &root.get("/audit-log").expect(200)[0];
    assert_eq!(
        (&entry["action"], &entry["business"]),
        (&"personal_access_token.expiration_limit_set".into(), &"umbrella".into())
    );
}

#[test]
fn rules_that_are_given_back_stand_in_the_trail_though_they_stay_the_same() {
    let spy = Spy::start();
    let (_gateway, alice) = scene(&spy);
    // The store has what the file has.
    alice.patch(POLICY, &json!({ "ceiling": { "contents": "read" } })).expect(200);
    alice.patch(POLICY, &json!({ "ceiling": { "contents": null } })).expect(200);
    alice.delete(POLICY).expect(200);
    alice.delete(POLICY).expect(200);
    let entries = trail(&alice);
    assert_eq!(entries.len(), 3, "{entries:?}");
    let last = (&entries[0]["action"], &entries[0]["managed"]);
    assert_eq!(last, (&"personal_access_token.rules_update".into(), &"file".into()));
}

fn trail(owner: &Caller) -> Vec<Value> {
    let entries =
        owner.get("/orgs/acme/audit-log?per_page=100&phrase=action:personal_access_token.*").expect(200);
    entries.as_array().unwrap().clone()
}

#[test]
fn only_owners_and_what_they_gave_the_permission_to_change_rules() {
    let spy = Spy::start();
    let (gateway, alice) = scene(&spy);
    gateway.add_user("root", true);
    let (root, bob) = (gateway.sign_in("root"), gateway.person("bob"));
    let closes = json!({ "fine_grained_tokens": { "access": "deny" } });
    let opens = json!({ "ceiling": {} });
    for (who, caller, get, patch) in [
        ("an owner", &alice, 200, 200),
        ("an administrator", &root, 200, 200),
        ("somebody else", &bob, 403, 403),
        ("a token that reads", &gateway.control(&token(1)), 200, 403),
        ("a token that reads, on the data plane", &gateway.data(&token(1)), 200, 403),
        ("a token that writes", &gateway.control(&token(2)), 200, 200),
        ("a token that writes, on the data plane", &gateway.data(&token(2)), 200, 200),
        ("a token without the permission", &gateway.data(&token(3)), 403, 403),
        ("nobody", &gateway.control(""), 401, 401),
    ] {
        let (got, patched, reset) = (caller.get(POLICY), caller.patch(POLICY, &opens), caller.delete(POLICY));
        assert_eq!(
            (got.status, patched.status, reset.status),
            (get, patch, patch),
            "{who}: {got:?} {patched:?}"
        );
    }
    for (who, caller, status) in [
        ("an owner", &alice, 403),
        ("a token", &gateway.control(&token(2)), 403),
        ("a token, on the data plane", &gateway.data(&token(2)), 403),
        ("nobody", &gateway.control(""), 401),
    ] {
        for answer in [caller.get(ABOVE), caller.patch(ABOVE, &closes), caller.delete(ABOVE)] {
            assert_eq!(answer.status, status, "{who}: {answer:?}");
        }
    }
    assert_eq!(gateway.ask(&token(2), "GET", READ), 200, "nothing was closed");
    root.patch(ABOVE, &closes).expect(200);
    assert_eq!(gateway.ask(&token(2), "GET", READ), 403);
    root.delete(ABOVE).expect(200);
    assert_eq!(gateway.ask(&token(2), "GET", READ), 200);
}

/// Rules that cannot be had below what [`ABOVE`] is made to say there: which field, and why.
const OBJECTED: [(&str, &str, &str); 10] = [
    (
        r#"{"fine_grained_tokens":{"access":"open"}}"#,
        "fine_grained_tokens.access",
        "`open`: expected `allow` or `deny`",
    ),
    (
        r#"{"fine_grained_tokens":{"max_lifetime":"90"}}"#,
        "fine_grained_tokens.max_lifetime",
        "`90`: expected a duration",
    ),
    (r#"{"ceiling":{"contentz":"read"}}"#, "ceiling", "unknown permission `contentz`"),
    (r#"{"ceiling":{"contents":"admin"}}"#, "ceiling", "`admin` is no level of `contents`"),
    (
        r#"{"fine_grained_tokens":{"exempt_administrators":true}}"#,
        "fine_grained_tokens.exempt_administrators",
        "the enterprise has it",
    ),
    (
        r#"{"fine_grained_tokens":{"access":"deny"}}"#,
        "fine_grained_tokens.access",
        "the enterprise `umbrella` has settled this: allow",
    ),
    (
        r#"{"fine_grained_tokens":{"approval":"automatic"}}"#,
        "fine_grained_tokens.approval",
        "settled this: required",
    ),
    (
        r#"{"fine_grained_tokens":{"approve_automatically":[{"max_level":"read"}]}}"#,
        "fine_grained_tokens.approval",
        "settled this: required",
    ),
    (
        r#"{"fine_grained_tokens":{"max_lifetime":"91d"}}"#,
        "fine_grained_tokens.max_lifetime",
        "settled this: 90 days at most",
    ),
    (r#"{"classic_tokens":{"access":"allow"}}"#, "classic_tokens.access", "settled this: deny"),
];

#[test]
fn what_cannot_be_ruled_changes_nothing() {
    let spy = Spy::start();
    let (gateway, alice) = scene(&spy);
    gateway.add_user("root", true);
    let root = gateway.sign_in("root");
    let above = json!({
        "fine_grained_tokens": { "access": "allow", "approval": "required", "max_lifetime": "90d" },
        "classic_tokens": { "access": "deny" }, "ceiling": { "contents": "read" }
    });
    root.patch(ABOVE, &above).expect(200);
    let before = alice.get(POLICY).expect(200);
    assert_eq!(before["in_force"]["fine_grained_tokens"]["max_lifetime"], "90d");
    assert_eq!(before["in_force"]["ceiling"], json!({ "administration": "read", "contents": "read" }));
    for (rules, field, message) in OBJECTED {
        let refused = alice.send("PATCH", POLICY, rules).expect(422);
        let error = &refused["errors"][0];
        assert_eq!(error["field"], field, "{rules}: {refused}");
        assert!(error["message"].as_str().unwrap().contains(message), "{rules}: {refused}");
    }
    let many = vec![json!({ "max_level": "read" }); 101];
    let many = json!({ "fine_grained_tokens": { "approve_automatically": many } }).to_string();
    let refused = alice.send("PATCH", POLICY, &many).expect(422);
    assert_eq!(refused["errors"][0]["message"], "expected 100 rules at most");
    for body in [
        "[]",
        "7",
        "{",
        "null",
        r#"{"owners":["bob"]}"#,
        r#"{"fine_grained_tokens":7}"#,
        r#"{"fine_grained_tokens":{"lifetime":"90d"}}"#,
        r#"{"ceiling":{"contents":1}}"#,
    ] {
        alice.send("PATCH", POLICY, body).expect(400);
    }
    assert_eq!(alice.get(POLICY).expect(200), before);
    // Stricter than the enterprise is an organization's own business.
    alice.patch(POLICY, &json!({ "fine_grained_tokens": { "max_lifetime": "89d" } })).expect(200);
    // A file that keeps its rules keeps them.
    gateway.gateway.edit("organizations/acme.yaml", &ACME.replace("managed: store\n", ""));
    let refused = alice.patch(POLICY, &json!({ "ceiling": {} })).expect(403);
    assert!(refused["message"].as_str().unwrap().contains("write `managed: store` into it"), "{refused}");
    let shown = alice.get(POLICY).expect(200);
    assert_eq!(
        (&shown["managed"], &shown["rules"]["fine_grained_tokens"]["max_lifetime"]),
        (&"file".into(), &"400000d".into())
    );
    root.call("PATCH", "/orgs/nowhere/token-policy", Some(&json!({}))).expect(404);
}

#[test]
fn rules_outlive_other_edits_and_the_process() {
    let spy = Spy::start();
    let (gateway, alice) = scene(&spy);
    alice.patch(POLICY, &json!({ "ceiling": { "contents": "read" } })).expect(200);
    let put = || gateway.ask(&token(3), "PUT", READ);
    assert_eq!(put(), 403);
    gateway.gateway.edit("organizations/acme.yaml", &ACME.replace("[alice]", "[alice, erin]"));
    assert_eq!(put(), 403, "another line of the file");
    let more = include_str!("../../../policies/catalogs/github.yaml").replace(
        "permissions:\n",
        "permissions:\n  more:\n    scope: repository\n    levels: [read]\n    description: More.\n",
    );
    gateway.gateway.edit("catalogs/github.yaml", &more);
    assert_eq!(put(), 403, "other permissions");
    // As a process that starts now reads it.
    let store = Store::open(gateway.store().path()).unwrap();
    let live = LivePolicy::load_with(gateway.gateway.live_inputs(), Some(store)).unwrap();
    let policy = live.snapshot();
    let kept = &policy.kept.organizations["acme"];
    assert_eq!(kept.ceiling.keys().collect::<Vec<_>>(), ["administration", "contents"]);
    assert_eq!(policy.organization("ACME").unwrap().ceiling.len(), 2);
}
