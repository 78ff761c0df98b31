//! Ways around the life of a token that were found by attacking it, each with the test that it needed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::api::{ApiGateway, Caller};
use crate::support::gateway::{policy_tokens, wait_for};
use crate::support::policy::token;
use crate::support::spy::Spy;

const ACME: &str = "organization: acme\nowners: [alice, user1]\n";
const READ: &str = "/repos/acme/alpha/contents/README.md";
const OWN: &str = "/user/personal-access-tokens";

fn gateway(spy: &Spy) -> ApiGateway {
    let declared = policy_tokens(&[(
        1,
        "resource_owner: acme\nrepositories: all\npermissions: { contents: read, organization_personal_access_tokens: write }",
    )]);
    ApiGateway::before(spy.address, "github", &[("organizations/acme.yaml", ACME.into()), declared])
}

fn wish(name: &str) -> Value {
    json!({ "name": name, "resource_owner": "acme", "repositories": "all", "permissions": { "contents": "read" } })
}

/// A token of alice's that makes, changes and regenerates her tokens.
fn steward(alice: &Caller, name: &str) -> (i64, String) {
    let wish = json!({
        "name": name, "expires_in": 30,
        "resource_owners": [
            { "resource_owner": "alice", "permissions": { "personal_access_tokens": "write" } },
            { "resource_owner": "acme", "repositories": "all", "permissions": { "contents": "read" } }
        ]
    });
    alice.create(&wish)
}

#[test]
fn the_old_text_of_a_token_takes_nothing_over_while_it_overlaps() {
    let gateway = gateway(&Spy::start());
    let alice = gateway.person("alice");
    let (id, old) = steward(&alice, "steward");
    let renewed = alice.post(&format!("{OWN}/{id}/regenerate"), &json!({ "overlap": 3600 })).expect(201);
    let thief = gateway.control(&old);
    thief.get("/token").expect(200);
    let refused = thief.post(&format!("{OWN}/{id}/regenerate"), &json!({})).expect(201);
    // What it can have ends when it ends itself.
    let until: jiff::Timestamp = refused["expires_at"].as_str().unwrap().parse().unwrap();
    let overlap: jiff::Timestamp = renewed["issued_at"].as_str().unwrap().parse().unwrap();
    assert!(until.as_second() <= overlap.as_second() + 3600, "{refused}");
    let longer = thief.post(&format!("{OWN}/{id}/regenerate"), &json!({ "expires_in": 30 }));
    assert!(longer.status == 401 || longer.status == 422, "{longer:?}");
}

#[test]
fn a_token_reaches_so_many_resource_owners_and_no_more() {
    let gateway = gateway(&Spy::start());
    let bob = gateway.person("bob");
    let owners: Vec<_> = (0..20_000).map(|at| json!({ "resource_owner": format!("o{at}") })).collect();
    let started = std::time::Instant::now();
    let refused = bob.post(OWN, &json!({ "name": "many", "resource_owners": owners })).expect(422);
    assert_eq!(refused["errors"][0]["message"], "expected at most 100 resource owners; make another token");
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
}

#[test]
fn a_suspended_user_decides_nothing_and_their_declared_tokens_rest() {
    let spy = Spy::start();
    let gateway = gateway(&spy);
    gateway.add_user("root", true);
    let (root, bob) = (gateway.sign_in("root"), gateway.person("bob"));
    gateway.person("user1");
    assert_eq!(gateway.ask(&token(1), "GET", READ), 200);
    bob.create(&wish("asks"));
    root.call("PUT", "/users/user1/suspended", None).expect(204);
    assert_eq!(gateway.answer(&token(1), "GET", READ).body["reason"], "user_suspended");
    gateway.data(&token(1)).get("/orgs/acme/personal-access-tokens").expect(403);
    root.delete("/users/user1/suspended").expect(204);
    assert_eq!(gateway.ask(&token(1), "GET", READ), 200);
}

#[test]
fn good_credentials_work_from_an_address_whose_bad_ones_failed() {
    let gateway = gateway(&Spy::start());
    let alice = gateway.person("alice");
    let junk = gateway.control(&token(99));
    for _ in 0..20 {
        junk.get("/user").expect(401);
    }
    let limited = junk.get("/user");
    assert_eq!((limited.status, limited.header("retry-after").is_some()), (403, true), "{limited:?}");
    alice.get("/user").expect(200);
    let session = |password: &str| {
        gateway.control("").post("/sessions", &json!({ "login": "bob", "password": password })).status
    };
    assert_eq!((0..10).map(|_| session("guess")).collect::<Vec<_>>(), [401; 10]);
    assert_eq!(session("guess"), 403);
    gateway.sign_in("alice");
}

#[test]
fn calls_that_fail_do_not_keep_changes_of_others_from_being_followed() {
    let spy = Spy::start();
    let gateway = gateway(&spy);
    let alice = gateway.person("alice");
    let (id, token) = alice.create(&wish("watched"));
    assert_eq!(gateway.ask(&token, "GET", READ), 200);
    let other = gateway.store();
    let revoked = portcullis::store::rows::Revoked {
        at: portcullis::domain::grant::UnixTime(1),
        by: "root".into(),
        why: "by another process".into(),
    };
    other
        .write_now::<_, portcullis::store::error::StoreError>(move |changes| {
            changes.revoke_token(id, &revoked)
        })
        .unwrap();
    wait_for("the revocation", || {
        alice.delete(&format!("{OWN}/0")).expect(404);
        gateway.ask(&token, "GET", READ) == 401
    });
}

/// As `sqlite3 portcullis.db ".restore copy.db"` does, through the same file.
#[test]
fn an_older_copy_of_the_store_is_taken_for_what_it_is() {
    let spy = Spy::start();
    let gateway = gateway(&spy);
    let alice = gateway.person("alice");
    let (_, kept) = alice.create(&wish("kept"));
    let file = gateway.gateway.directory.path().join("portcullis.db");
    let copy = gateway.gateway.directory.path().join("copy.db");
    let run = |statement: String| sqlite(&file, &statement);
    run(format!("VACUUM INTO '{}'", copy.display()));
    let (_, lost) = alice.create(&wish("lost"));
    assert_eq!((gateway.ask(&kept, "GET", READ), gateway.ask(&lost, "GET", READ)), (200, 200));
    // All that has come since goes, and the sequence goes back.
    run(format!(
        "ATTACH '{}' AS copy; BEGIN IMMEDIATE; DELETE FROM grants; DELETE FROM requests; DELETE FROM audit; DELETE FROM tokens;
         INSERT INTO tokens SELECT * FROM copy.tokens; INSERT INTO grants SELECT * FROM copy.grants;
         INSERT INTO audit SELECT * FROM copy.audit; UPDATE sequences SET value = (SELECT value FROM copy.sequences WHERE name = 'change')
         WHERE name = 'change'; COMMIT",
        copy.display()
    ));
    wait_for("the older copy", || gateway.ask(&lost, "GET", READ) == 401);
    assert_eq!(gateway.ask(&kept, "GET", READ), 200);
}

fn sqlite(file: &Path, statement: &str) {
    let script = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=20).executescript(sys.argv[2])";
    let done =
        std::process::Command::new("python3").args(["-c", script]).arg(file).arg(statement).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn nobody_else_reads_the_store() {
    let gateway = gateway(&Spy::start());
    let mode =
        fs::metadata(gateway.gateway.directory.path().join("portcullis.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
