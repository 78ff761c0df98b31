//! `portcullis audit`.

use std::fs;

use portcullis::store::audit::{AuditKeys, PRUNED, hexadecimal};
use portcullis::store::{Changes, Store};
use serde_json::{Value, json};

use crate::command::local::Site;
use crate::support::api::PASSWORD;

/// Changes the file of the store behind the gateway's back.
fn tamper(site: &Site, sql: &str) {
    let connection = rusqlite::Connection::open(site.0.path().join("portcullis.db")).unwrap();
    assert_eq!(connection.execute(sql, []).unwrap(), 1, "{sql}");
}

fn actions(site: &Site, line: &str) -> Vec<String> {
    let told = site.run(&format!("audit query --json {line}")).expect(0);
    let entries = told.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    entries.map(|entry| entry["action"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_was_done_is_found() {
    let site = Site::new();
    site.run_with("user add alice --password-stdin", PASSWORD).expect(0);
    let secret = site.create("nightly");
    site.run("request approve acme 1").expect(0);
    let trail = [
        "personal_access_token.access_granted",
        "personal_access_token.request_created",
        "personal_access_token.create",
    ];
    assert_eq!(actions(&site, "--token-id 1"), trail);
    assert_eq!(actions(&site, "--action personal_access_token.* --limit 2"), trail[..2]);
    assert_eq!(actions(&site, "--org acme"), trail[..2]);
    assert_eq!(actions(&site, "--repository acme/alpha --actor bob"), trail[1..2]);
    assert_eq!(actions(&site, "--user alice"), ["user.change_password", "user.create"]);
    assert_eq!(actions(&site, "--since 1h").len(), 5);
    assert!(actions(&site, "--until 1h").is_empty() && actions(&site, "--since 2099-01-01").is_empty());
    let whole = site.run("audit query --json").expect(0).stdout;
    let digest =
        serde_json::from_str::<Value>(whole.lines().next().unwrap()).unwrap()["hashed_token"].clone();
    assert_eq!(actions(&site, &format!("--hashed-token {}", digest.as_str().unwrap())), trail);
    assert!(!whole.contains(&secret) && !whole.contains(PASSWORD));
    let rows = site.run("audit query --limit 1").expect(0).rows();
    assert_eq!((rows[0][2].as_str(), rows[0].last().unwrap().as_str()), (trail[0], "1 nightly"));
    assert_eq!(site.run("audit query --user nobody").expect(0).tells(&["nothing of that kind"]).stdout, "");
}

#[test]
fn a_trail_that_is_whole_has_a_head_that_can_be_noted() {
    let site = Site::new();
    let empty = site.run("audit verify --json").expect(0).json();
    assert_eq!((&empty["ok"], &empty["entries"]), (&true.into(), &0.into()));
    let nothing = empty["head"].as_str().unwrap();
    site.create("a");
    let noted = site.run("audit verify --json").expect(0).json();
    let noted = noted["head"].as_str().unwrap();
    site.create("b");
    let told = site.run(&format!("audit verify --head {noted}")).expect(0).stdout;
    assert!(told.starts_with("entries  ") && !told.contains(noted), "{told}");
    site.run(&format!("audit verify --head {nothing}")).expect(0);
    let unknown = "0f".repeat(32);
    let told =
        site.run(&format!("audit verify --json --head {unknown}")).expect(1).tells(&["cut off"]).json();
    assert_eq!(told["ok"], false);
    tamper(&site, "DELETE FROM audit WHERE id = (SELECT max(id) FROM audit)");
    site.run(&format!("audit verify --head {noted}")).expect(0);
}

/// Takes entries off the beginning, with the entry that says so, as anybody can who may write the file.
fn take_off_what_is_older_than(site: &Site, id: i64) {
    let file = site.0.path().join("portcullis.db");
    let at = "SELECT at FROM audit WHERE id = ?1";
    let at = rusqlite::Connection::open(&file).unwrap().query_row(at, [id], |row| row.get(0)).unwrap();
    let take_off = move |changes: &Changes<'_>| {
        let pruned = changes.prune_audit(at)?.unwrap();
        let entry = json!({ "up_to": pruned.up_to, "hash": hexadecimal(&pruned.hash) }).to_string();
        changes.add_audit(at, &AuditKeys { action: PRUNED.into(), ..AuditKeys::default() }, &entry)
    };
    Store::open(&file).unwrap().write_now(take_off).unwrap();
}

/// Where nothing is to be taken off, an entry that says it was is no excuse.
#[test]
fn a_beginning_that_is_gone_is_told_where_all_is_kept() {
    let site = Site::new();
    site.create("a");
    let noted = site.run("audit verify --json").expect(0).json()["head"].as_str().unwrap().to_owned();
    site.create("b");
    let later = site.run("audit verify --json").expect(0).json()["head"].as_str().unwrap().to_owned();
    site.create("c");
    take_off_what_is_older_than(&site, 3);
    let told = site.run("audit verify --json").expect(1).tells(&["`api.keep_audit_trail` keeps all"]).json();
    assert_eq!((&told["ok"], &told["broken_at"]), (&false.into(), &Value::Null));
    let old = site.run(&format!("audit verify --json --head {noted}")).expect(1).json();
    assert_eq!(old["head_met"], "before_first");
    // What was noted is followed by what is there.
    let since = site.run(&format!("audit verify --json --head {later}")).expect(1).json();
    assert_eq!(since["head_met"], "entry");
    site.run(&format!("audit verify --first 3 --head {later}")).expect(0);
    site.run("audit verify --first 2").expect(1);
    let file = site.0.path().join("portcullis.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(file, text.replace("api: {", "api: { keep_audit_trail: 365d,")).unwrap();
    let rows = site.run("audit verify").expect(0).stdout;
    assert!(rows.contains("kept no longer  1 to "), "{rows}");
}

#[test]
fn a_trail_that_was_changed_is_told_with_the_entry() {
    let site = Site::new();
    site.create("a");
    tamper(&site, "UPDATE audit SET entry = replace(entry, 'bob', 'eve') WHERE id = 2");
    let told = site.run("audit verify").expect(1).tells(&["broken at entry 2", "changed"]);
    assert_eq!(told.stdout, "");
    let told = site.run("audit verify --json").expect(1).json();
    assert_eq!((&told["ok"], &told["broken_at"]), (&false.into(), &2.into()));
    tamper(&site, "DELETE FROM audit WHERE id = 1");
    site.run("audit verify").expect(1).tells(&["broken at entry 2", "missing"]);
}
