//! What organizations and the enterprise say about tokens that users make.

use serde_json::{Value, json};

use crate::support::api::ApiGateway;
use crate::support::spy::Spy;

const READ: &str = "/repos/acme/alpha/contents/README.md";

/// `acme` with these lines, and an enterprise with those.
fn gateway(spy: &Spy, acme: &str, enterprise: &str) -> ApiGateway {
    let acme = format!("organization: acme\nowners: [alice]\n{acme}");
    let mut policies = vec![("organizations/acme.yaml", acme)];
    if !enterprise.is_empty() {
        policies.push(("enterprise.yaml", format!("enterprise: umbrella\n{enterprise}")));
    }
    policies.push(("bundles.yaml", "bundles: { ci-read: { contents: read, issues: read } }\n".into()));
    ApiGateway::before(spy.address, "github", &policies)
}

fn wish(level: &str, days: i64) -> Value {
    json!({
        "name": format!("{level} {days}"), "resource_owner": "acme", "repositories": "all",
        "permissions": { "contents": level }, "expires_in": days
    })
}

/// What bob is answered who asks for this: the state of the token, or the first error.
#[track_caller]
fn check((acme, enterprise): (&str, &str), asked: &[(&str, i64, &str)]) {
    let spy = Spy::start();
    let gateway = gateway(&spy, acme, enterprise);
    let bob = gateway.person("bob");
    for (level, days, want) in asked {
        let answer = bob.post("/user/personal-access-tokens", &wish(level, *days));
        let got = match answer.status {
            201 => answer.body["state"].as_str().unwrap().to_owned(),
            _ => answer.body["errors"][0]["message"].as_str().unwrap_or_default().to_owned(),
        };
        assert!(got.starts_with(want), "{acme} {enterprise} {level} {days}: {got}");
        if let Some(token) = answer.body["token"].as_str() {
            let passes = gateway.ask(token, "GET", READ) == 200;
            assert_eq!(passes, *want == "active", "{acme} {enterprise} {level} {days}");
        }
    }
}

#[test]
fn approval_lifetime_access_and_ceiling_of_organizations() {
    check(("", ""), &[("read", 30, "pending"), ("read", 367, "`acme` lets tokens live 366 days at most")]);
    check(("fine_grained_tokens: { approval: automatic }", ""), &[("write", 300, "active")]);
    check(
        ("fine_grained_tokens: { approve_automatically: [{ max_level: read, max_lifetime: 30d }] }", ""),
        &[("read", 30, "active"), ("read", 31, "pending"), ("write", 7, "pending")],
    );
    check(
        ("fine_grained_tokens: { max_lifetime: 7d }", ""),
        &[("read", 7, "pending"), ("read", 8, "`acme` lets tokens live 7 days at most")],
    );
    check(("fine_grained_tokens: { access: deny }", ""), &[("read", 7, "`acme` forbids access")]);
    check(("ceiling: { contents: read }", ""), &[("write", 7, "`acme` lets no token hold contents=write")]);
    check(("members: { carol: read }", ""), &[("read", 7, "you are not a member of `acme`")]);
}

#[test]
fn what_the_enterprise_settles_no_organization_decides() {
    let automatic = "fine_grained_tokens: { approval: automatic }";
    check((automatic, "fine_grained_tokens: { approval: required }"), &[("read", 7, "pending")]);
    check(("", automatic), &[("read", 7, "active")]);
    check(
        ("fine_grained_tokens: { max_lifetime: 90d }", "fine_grained_tokens: { max_lifetime: 30d }"),
        &[("read", 30, "pending"), ("read", 31, "`umbrella` lets tokens live 30 days at most")],
    );
    check((automatic, "ceiling: { contents: read }"), &[("write", 7, "`umbrella` lets no token hold")]);
    check(
        ("fine_grained_tokens: { access: deny }", "fine_grained_tokens: { access: allow }"),
        &[("read", 7, "pending")],
    );
    check((automatic, "fine_grained_tokens: { access: deny }"), &[("read", 7, "`acme` forbids access")]);
}

#[test]
fn a_policy_is_judged_at_each_use_too() {
    let spy = Spy::start();
    let gateway = gateway(&spy, "", "");
    let alice = gateway.person("alice");
    let (_, token) = alice.create(&wish("read", 90));
    assert_eq!(gateway.ask(&token, "GET", READ), 200);
    for (enterprise, rule) in [
        ("fine_grained_tokens: { max_lifetime: 30d }", "enterprise umbrella: maximum lifetime of 30 days; "),
        ("fine_grained_tokens: { access: deny }", "enterprise umbrella: access of fine-grained tokens; "),
        ("ceiling: { contents: none }", "enterprise umbrella: ceiling; "),
    ] {
        gateway.gateway.edit("enterprise.yaml", &format!("enterprise: umbrella\n{enterprise}\n"));
        let refused = gateway.answer(&token, "GET", READ);
        assert_eq!((refused.status, refused.body["reason"].as_str()), (403, Some("policy_forbids")));
        assert!(refused.body["detail"].as_str().unwrap().contains(rule), "{refused:?}");
    }
    let exempt =
        "administrators: [alice]\nfine_grained_tokens: { max_lifetime: 30d, exempt_administrators: true }";
    gateway.gateway.edit("enterprise.yaml", &format!("enterprise: umbrella\n{exempt}\n"));
    assert_eq!(gateway.ask(&token, "GET", READ), 200);
}

#[test]
fn a_bundle_stands_for_its_permissions() {
    let spy = Spy::start();
    let gateway = gateway(&spy, "", "");
    let alice = gateway.person("alice");
    let wish = |bundle: &str| json!({ "name": bundle, "resource_owner": "acme", "repositories": "all", "bundle": bundle });
    let (id, token) = alice.create(&wish("ci-read"));
    assert_eq!(gateway.ask(&token, "GET", READ), 200);
    let made = alice.get(&format!("/user/personal-access-tokens/{id}")).expect(200);
    let permissions = &made["resource_owners"][0]["permissions"];
    assert_eq!(*permissions, json!({ "repository": { "contents": "read", "issues": "read" } }));
    let unknown = alice.post("/user/personal-access-tokens", &wish("ci-write")).expect(422);
    assert_eq!(unknown["errors"][0]["message"], "unknown bundle `ci-write`; there are `ci-read`");
    assert_eq!(alice.get("/bundles").expect(200)[0]["name"], "ci-read");
}

#[test]
fn a_suspended_user_s_tokens_rest() {
    let spy = Spy::start();
    let gateway = gateway(&spy, "", "");
    gateway.add_user("root", true);
    let (root, alice) = (gateway.sign_in("root"), gateway.person("alice"));
    let (_, token) = alice.create(&wish("read", 30));
    assert_eq!(gateway.ask(&token, "GET", READ), 200);
    alice.call("PUT", "/users/bob/suspended", None).expect(403);
    let themselves = "Root";
    root.call("PUT", &format!("/users/{themselves}/suspended"), None).expect(403);
    root.call("PUT", "/users/alice/suspended", None).expect(204);
    assert_eq!(gateway.answer(&token, "GET", READ).body["reason"], "user_suspended");
    alice.get("/user").expect(401);
    root.delete("/users/alice/suspended").expect(204);
    assert_eq!(gateway.ask(&token, "GET", READ), 200);
}

#[test]
fn a_store_that_cannot_be_followed_is_not_gone_by_for_ever() {
    let spy = Spy::start();
    let gateway = gateway(&spy, "", "");
    let alice = gateway.person("alice");
    let (_, token) = alice.create(&wish("read", 30));
    let live = gateway.gateway.running().live();
    assert_eq!(live.look_at_store(std::time::Duration::from_secs(3600)), None, "no news");
    // Whoever keeps it up looks each second, and may find it followed before the request comes.
    crate::support::gateway::wait_for("a refusal", || {
        live.peek().stored.set_stale(true);
        let refused = gateway.answer(&token, "GET", READ);
        (refused.status, refused.body["reason"].as_str()) == (503, Some("store_stale"))
    });
    crate::support::gateway::wait_for("the store", || gateway.ask(&token, "GET", READ) == 200);
}
