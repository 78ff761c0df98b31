//! What groups make of someone is what their tokens may do, from one sign-in to the next.

use portcullis::domain::grant::UnixTime;
use portcullis::domain::membership::{Memberships, Role};
use portcullis::domain::permission::Level;
use portcullis::store::error::StoreError;
use portcullis::store::{Changes, Store};
use serde_json::{Value, json};

use crate::sign_in::attacks::Stage;
use crate::support::api::ApiGateway;
use crate::support::gateway::{policy_tokens, wait_for};
use crate::support::policy::token;

const DECLARED: &str = "organization: umbrella\nowners: [nobody]\nmembers: { erin: read }\n";
const READ: (&str, &str) = ("GET", "/repos/umbrella/alpha/contents/a");
const WRITE: (&str, &str) = ("PUT", "/repos/umbrella/alpha/contents/a");
const ADMINISTER: (&str, &str) = ("PATCH", "/repos/umbrella/alpha");

/// Whether a token may do this; there is no host behind the gateway.
fn may(gateway: &ApiGateway, token: &str, (method, target): (&str, &str)) -> bool {
    let answer = gateway.answer(token, method, target);
    match answer.body["reason"].as_str() {
        Some("upstream_unreachable") => true,
        Some("policy_forbids") => {
            let detail = answer.body["detail"].as_str().unwrap();
            assert!(detail.contains("membership; ") || detail.contains("the user's own role; "), "{detail}");
            false
        }
        other => panic!("{other:?}: {answer:?}"),
    }
}

fn may_all(gateway: &ApiGateway, token: &str) -> [bool; 3] {
    [READ, WRITE, ADMINISTER].map(|what| may(gateway, token, what))
}

#[test]
fn tokens_may_do_what_groups_say_and_no_more() {
    let stage = Stage::with_groups(
        "owners: { umbrella: [umbrella-owners] }, members: { umbrella: { readers: read, writers: write, admins: admin }, acme: { acme: admin } }",
    );
    let (_, declared) = policy_tokens(&[(
        1,
        "resource_owner: umbrella\nrepositories: all\npermissions: { contents: write, administration: write }",
    )]);
    stage.gateway.gateway.edit("tokens/test.yaml", &declared.replace("user: user1", "user: Dave"));
    let sign_in = |groups: Value| stage.with(&json!({ "groups": groups })).expect(200);
    assert_eq!(may_all(&stage.gateway, &token(1)), [true; 3], "roles are not declared");
    stage.gateway.gateway.edit("organizations/umbrella.yaml", DECLARED);
    assert_eq!(may_all(&stage.gateway, &token(1)), [false; 3], "nothing is known of dave");
    for (groups, want) in [
        (json!(["readers"]), [true, false, false]),
        (json!(["readers", "writers"]), [true, true, false]),
        (json!(["admins"]), [true, true, true]),
        (json!(["umbrella-owners"]), [true, true, true]),
        (json!(["acme"]), [false; 3]),
        (json!([]), [false; 3]),
        (json!(["writers"]), [true, true, false]),
    ] {
        sign_in(groups.clone());
        assert_eq!(may_all(&stage.gateway, &token(1)), want, "{groups}");
    }
    // What was said at a sign-in is read from the store where the index of tokens is made anew.
    let more = include_str!("../../../policies/catalogs/github.yaml").replace(
        "permissions:\n",
        "permissions:\n  more:\n    scope: repository\n    levels: [read]\n    description: More.\n",
    );
    stage.gateway.gateway.edit("catalogs/github.yaml", &more);
    assert_eq!(may_all(&stage.gateway, &token(1)), [true, true, false]);
    // Nobody else's token became anything by that.
    let of_frank = declared.replace("user: user1", "user: frank");
    stage.gateway.gateway.edit("tokens/test.yaml", &of_frank);
    assert_eq!(may_all(&stage.gateway, &token(1)), [false; 3]);
}

#[test]
fn a_token_is_asked_for_within_what_groups_say() {
    let stage = Stage::with_groups("members: { umbrella: { writers: write } }");
    stage.gateway.gateway.edit("organizations/umbrella.yaml", DECLARED);
    let wish = json!({ "name": "a", "resource_owner": "umbrella", "repositories": "all", "permissions": { "contents": "write" } });
    let create = |groups: Value| {
        let session = stage.with(&json!({ "groups": groups })).expect(200);
        stage.gateway.control(session["token"].as_str().unwrap()).post("/user/personal-access-tokens", &wish)
    };
    let refused = create(json!([])).expect(422);
    assert_eq!(refused["errors"][0]["message"], "you are not a member of `umbrella`");
    let made = create(json!(["writers"])).expect(201);
    assert_eq!(made["state"], "pending");
}

/// Makes a user whom a provider signed in, in this group.
fn give(store: &Store, login: &'static str, (provider, group): (&'static str, &str), roles: &[(&str, Role)]) {
    let mut memberships = Memberships::default();
    for (organization, role) in roles {
        memberships.add(organization, *role);
    }
    let groups = [group.to_owned()];
    let give = move |changes: &Changes<'_>| {
        let user = changes.user(login, UnixTime(1))?;
        changes.set_provider(user.id, (provider, login), &groups)?;
        changes.set_memberships(user.id, &memberships)?;
        changes.set_administrator(user.id, true)
    };
    store.write_now(give).unwrap();
}

/// What a configuration gave once does not outlast it, though nobody signs in again.
#[test]
fn groups_make_what_the_configuration_says_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("portcullis.db")).unwrap();
    let given = |login, by, roles: &[(&str, Role)]| give(&store, login, by, roles);
    let (write, admin) = (Role::Member(Level::Write), Role::Member(Level::Admin));
    given("dave", ("idp", "w"), &[("umbrella", write), ("acme", Role::Owner)]);
    given("erin", ("idp", "was-admins"), &[("umbrella", admin)]);
    given("frank", ("gone", "w"), &[("umbrella", write)]);
    given("grace", ("idp", "w"), &[("umbrella", write), ("acme", write)]);
    given("heidi", ("idp", "w"), &[("umbrella", admin)]);
    drop(store);
    // She signed in when groups were not kept yet.
    let file = rusqlite::Connection::open(directory.path().join("portcullis.db")).unwrap();
    file.execute("UPDATE users SET group_names = NULL WHERE login = 'heidi'", []).unwrap();
    drop(file);
    let oidc = "oidc: [{ name: idp, issuer: 'http://127.0.0.1:9', client_id: a, client_secret_file: secret, members: { Umbrella: { w: write }, acme: { w: write } }, administrators: [] }]";
    let gateway = super::gateway_in(directory, oidc);
    let left = |login: &'static str| {
        let read = move |reads: portcullis::store::Reads<'_>| {
            Ok::<_, StoreError>((reads.memberships(login)?, reads.user(login)?.unwrap().administrator))
        };
        let (memberships, administrator) = gateway.store().read_now(read).unwrap();
        assert!(administrator, "that is said at sign-ins alone");
        let words =
            memberships.iter().map(|(organization, role)| format!("{organization}:{}", role.as_str()));
        words.collect::<Vec<_>>().join(" ")
    };
    for (login, want) in [
        ("dave", "acme:write umbrella:write"),
        ("erin", ""),
        ("frank", ""),
        ("grace", "acme:write umbrella:write"),
        ("heidi", "umbrella:admin"),
    ] {
        assert_eq!(left(login), want, "{login}");
    }
    assert_eq!(gateway.actions(), ["user.change_roles"; 3], "of dave, erin and frank");
    // Requests are judged by what is left.
    let (_, declared) = policy_tokens(&[(
        1,
        "resource_owner: umbrella\nrepositories: all\npermissions: { contents: write, administration: write }",
    )]);
    gateway.gateway.edit("organizations/umbrella.yaml", DECLARED);
    for (user, want) in [("dave", [true, true, false]), ("frank", [false; 3])] {
        gateway.gateway.edit("tokens/test.yaml", &declared.replace("user: user1", &format!("user: {user}")));
        assert_eq!(may_all(&gateway, &token(1)), want, "{user}");
    }
    // A store that nobody could follow for too long says nothing of anybody.
    gateway.gateway.edit("tokens/test.yaml", &declared.replace("user: user1", "user: dave"));
    // Whoever keeps the store up looks each second, and finds it followed.
    let live = gateway.gateway.running().live();
    wait_for("a refusal", || {
        live.peek().stored.set_stale(true);
        may_all(&gateway, &token(1)) == [false; 3]
    });
}
