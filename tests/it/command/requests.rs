//! `portcullis audit requests`, and `audit verify --log`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::command::{Finished, command, finish};
use crate::support::gateway::{TestGateway, authorization, head, policy_tokens};
use crate::support::spy::Spy;

/// The files of a gateway that was asked for some things, and has ended.
fn site(audit: &str) -> TestGateway {
    let spy = Spy::start();
    let upstreams = format!(
        "  - {{ name: forge, hosts: ['*'], url: 'http://{}', catalogs: [github], identity: {{ trusted_header: X-WEBAUTH-USER }} }}",
        spy.address
    );
    let held = "resource_owner: acme\nrepositories: [alpha]\npermissions: { contents: read }";
    let policies = [policy_tokens(&[(1, held), (2, held)])];
    let top = format!("listeners: [{{ bind: 127.0.0.1:0 }}]\naudit: {audit}");
    let mut gateway = TestGateway::configured(&top, &upstreams, &policies);
    for (method, target, token) in [
        ("GET", "/repos/acme/alpha/contents/a", 1),
        ("PUT", "/repos/acme/alpha/contents/a", 1),
        ("GET", "/repos/acme/beta/contents/a", 2),
        ("GET", "/repos/acme/alpha/contents/b", 2),
        ("GET", "/repos/acme/alpha/contents/c", 9),
    ] {
        gateway.raw(head(method, target, &authorization(token)));
    }
    gateway.stop();
    gateway
}

fn run(site: &TestGateway, line: &str) -> Finished {
    let words: Vec<_> = line.split_whitespace().collect();
    finish(command(site.directory.path(), &words), "")
}

/// `path: reason` of what is found.
fn found(site: &TestGateway, line: &str) -> Vec<String> {
    let told = run(site, &format!("audit requests --json {line}")).expect(0).stdout;
    let lines = told.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .map(|line| {
            let (_, name) = line["path"].as_str().unwrap().split_once("/acme/").unwrap();
            format!("{} {name}: {}", line["method"].as_str().unwrap(), line["reason"].as_str().unwrap())
        })
        .collect()
}

#[test]
fn requests_are_found_by_what_they_were() {
    let site = site("{ file: audit.log }");
    let all = [
        "GET alpha/contents/c: bad_credentials",
        "GET alpha/contents/b: granted",
        "GET beta/contents/a: resource_not_granted",
        "PUT alpha/contents/a: permission_missing",
        "GET alpha/contents/a: granted",
    ];
    assert_eq!(found(&site, ""), all);
    assert_eq!(found(&site, "--limit 2"), all[..2]);
    assert_eq!(found(&site, "--refused"), [all[0], all[2], all[3]]);
    assert_eq!(found(&site, "--user USER2"), [all[1], all[2]]);
    assert_eq!(found(&site, "--org Acme"), all[1..]);
    assert_eq!(found(&site, "--repository acme/ALPHA"), [all[1], all[3], all[4]]);
    assert_eq!(found(&site, "--reason permission_missing --user user1"), [all[3]]);
    assert_eq!(found(&site, "--since 1h").len(), 5);
    assert!(found(&site, "--until 1h").is_empty() && found(&site, "--since 2999-01-01").is_empty());
    assert!(found(&site, "--peer 192.0.2.7").is_empty());
    let rows = run(&site, "audit requests --limit 1").expect(0).rows();
    assert_eq!(rows[0][3..7], ["GET", "/repos/acme/alpha/contents/c", "401", "bad_credentials"]);
    let id = rows[0].last().unwrap();
    assert_eq!(found(&site, &format!("--id {id}")), [all[0]]);
    run(&site, "audit requests --user nobody").expect(0).tells(&["there was no such request"]);
    run(&site, "audit requests --since soon").expect(2);
    run(&site, "audit requests --log nowhere").expect(2).tells(&["`nowhere` cannot be read"]);
}

#[test]
fn only_refused_requests_are_kept_where_that_is_asked_for() {
    let site = site("{ file: audit.log, requests: refused }");
    let refused = ["c: bad_credentials", "a: resource_not_granted", "a: permission_missing"];
    let found = found(&site, "");
    assert!(found.iter().zip(refused).all(|(found, want)| found.ends_with(want)), "{found:?}");
    assert_eq!(found.len(), 3);
    run(&site, "audit verify --log audit.log").expect(0);
}

/// The file that a test changes.
fn log(site: &TestGateway) -> PathBuf {
    site.directory.path().join("audit.log")
}

fn change(file: &Path, change: impl FnOnce(&str) -> String) {
    let text = fs::read_to_string(file).unwrap();
    let changed = change(&text);
    assert_ne!(text, changed);
    fs::write(file, changed).unwrap();
}

#[test]
fn a_log_that_was_changed_is_told_with_the_line() {
    let site = site("{ file: audit.log }");
    let whole = run(&site, "audit verify --log audit.log --json").expect(0).json();
    assert_eq!((&whole["ok"], &whole["lines"]), (&true.into(), &5.into()));
    let head = whole["head"].as_str().unwrap();
    let rows = run(&site, "audit verify --log audit.log").expect(0).stdout;
    assert!(rows.starts_with("lines  5\nhead   ") && rows.contains(head), "{rows}");
    run(&site, &format!("audit verify --log audit.log --head {head}")).expect(0);
    let other = "0f".repeat(32);
    run(&site, &format!("audit verify --log audit.log --head {other}")).expect(1).tells(&["cut off"]);
    // Rotated by others, it is read with what came before.
    fs::rename(log(&site), site.directory.path().join("audit.log.1")).unwrap();
    fs::write(log(&site), "").unwrap();
    assert_eq!(run(&site, "audit verify --log audit.log --json").expect(0).json()["lines"], 5);
    assert_eq!(found(&site, "").len(), 5);
    let older = site.directory.path().join("audit.log.1");
    change(&older, |text| text.replacen("permission_missing", "granted", 1));
    let broken =
        run(&site, "audit verify --log audit.log --json").expect(1).tells(&["broken at line 2"]).json();
    assert_eq!((&broken["ok"], &broken["line"]), (&false.into(), &2.into()));
    change(&older, |text| text.lines().take(1).collect());
    run(&site, &format!("audit verify --log audit.log --head {head}")).expect(1);
}

#[test]
fn a_log_without_a_chain_is_told() {
    let site = site("{ file: audit.log, chain: false }");
    run(&site, "audit verify --log audit.log").expect(1).tells(&["no line holds a hash"]);
    assert!(!fs::read_to_string(log(&site)).unwrap().contains("hash\":\""));
}
