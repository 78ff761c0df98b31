//! The audit trail: its chain, and how entries are found.

use super::*;
use crate::store::audit::{AuditEntry, AuditKeys, AuditQuery, Chain, Noted, PRUNED, Pruned, hexadecimal};

type Entry =
    (&'static str, &'static str, Option<&'static str>, Option<&'static str>, Option<i64>, &'static str);

/// Action, actor, user, resource owner, token, and what is said.
const ENTRIES: [Entry; 5] = [
    ("user.create", "root", Some("bob"), None, None, "{}"),
    ("token.create", "Bob", Some("bob"), None, Some(1), "{}"),
    (
        "token.granted",
        "bob",
        Some("bob"),
        Some("Acme"),
        Some(1),
        r#"{"repositories":["Acme/Alpha","Acme/b"]}"#,
    ),
    (
        "token.granted",
        "carol",
        Some("carol"),
        Some("umbrella"),
        Some(2),
        r#"{"repositories":["umbrella/a"]}"#,
    ),
    ("tokens.swept", "root", None, None, None, r#"{"why":"acme/alpha is old"}"#),
];

/// A trail of [`ENTRIES`], the first at 1001 microseconds.
fn filled() -> Fixture {
    let fixture = Fixture::new();
    for ((action, actor, user, org, token_id, entry), at) in ENTRIES.into_iter().zip(1_001..) {
        let keys = AuditKeys {
            action: action.into(),
            actor: Some(actor.into()),
            user: user.map(Into::into),
            org: org.map(Into::into),
            token_id,
            hashed_token: token_id.map(|id| format!("hash {id}")),
        };
        fixture.change(move |changes| changes.add_audit(at, &keys, entry));
    }
    fixture
}

fn entries(fixture: &Fixture, query: &AuditQuery, limit: usize) -> Vec<AuditEntry> {
    fixture.look(|reads| reads.audit(query, limit))
}

/// The numbers of what is found.
#[track_caller]
fn check(fixture: &Fixture, query: &AuditQuery, want: &[i64]) {
    let found: Vec<_> = entries(fixture, query, 100).iter().map(|entry| entry.id).collect();
    assert_eq!(found, want, "{query:?}");
}

#[test]
fn entries_are_found_by_every_key() {
    let fixture = filled();
    let query = AuditQuery::default;
    let text = |text: &str| Some(text.to_owned());
    check(&fixture, &query(), &[5, 4, 3, 2, 1]);
    check(&fixture, &AuditQuery { action: text("token.granted"), ..query() }, &[4, 3]);
    check(&fixture, &AuditQuery { action: text("token.*"), ..query() }, &[4, 3, 2]);
    check(&fixture, &AuditQuery { action: text("token"), ..query() }, &[]);
    check(&fixture, &AuditQuery { action: text("*"), ..query() }, &[5, 4, 3, 2, 1]);
    check(&fixture, &AuditQuery { actor: text("BOB"), ..query() }, &[3, 2]);
    check(&fixture, &AuditQuery { user: text("Bob"), ..query() }, &[3, 2, 1]);
    check(&fixture, &AuditQuery { org: text("aCME"), ..query() }, &[3]);
    check(&fixture, &AuditQuery { token_id: Some(1), ..query() }, &[3, 2]);
    check(&fixture, &AuditQuery { hashed_token: text("hash 2"), ..query() }, &[4]);
    check(&fixture, &AuditQuery { repository: text("acme/ALPHA"), ..query() }, &[3]);
    check(&fixture, &AuditQuery { repository: text("acme/alph"), ..query() }, &[]);
    check(&fixture, &AuditQuery { since: Some(1_004), ..query() }, &[5, 4]);
    check(&fixture, &AuditQuery { until: Some(1_003), ..query() }, &[2, 1]);
    check(&fixture, &AuditQuery { below: Some(3), ..query() }, &[2, 1]);
    check(&fixture, &AuditQuery { actor: text("root"), user: text("bob"), ..query() }, &[1]);
    check(&fixture, &AuditQuery { actor: text("' OR 1 --"), ..query() }, &[]);
    let newest = entries(&fixture, &query(), 2);
    assert_eq!(newest.iter().map(|entry| entry.id).collect::<Vec<_>>(), [5, 4]);
    assert_eq!(newest[1].entry, ENTRIES[3].5);
}

fn chain(fixture: &Fixture) -> Chain {
    fn verify(reads: Reads<'_>) -> Result<Chain, StoreError> {
        reads.verify_audit()
    }
    fixture.look(verify)
}

/// What checking the chain finds after `sql`.
#[track_caller]
fn check_chain(sql: &str, want: Option<i64>) {
    let fixture = filled();
    if !sql.is_empty() {
        assert!(fixture.tamper(sql) > 0, "{sql}");
    }
    match chain(&fixture) {
        Chain::Whole { entries, .. } => assert_eq!((entries, None), (5, want), "{sql}"),
        Chain::Broken { at, .. } => assert_eq!(Some(at), want, "{sql}"),
    }
}

#[test]
fn the_chain_tells_of_every_change_in_its_middle() {
    check_chain("", None);
    check_chain("UPDATE audit SET entry = '{ }' WHERE id = 2", Some(2));
    check_chain("UPDATE audit SET entry = '{ }' WHERE id = 1", Some(1));
    check_chain("UPDATE audit SET entry = '{ }' WHERE id = 5", Some(5));
    check_chain("UPDATE audit SET hash = zeroblob(32) WHERE id = 2", Some(2));
    check_chain("DELETE FROM audit WHERE id = 3", Some(4));
    check_chain("DELETE FROM audit WHERE id = 1", Some(2));
    // Numbered anew, so that no gap is left.
    let moved = "UPDATE audit SET entry = (SELECT entry FROM audit b WHERE b.id = 4) WHERE id = 3";
    check_chain(moved, Some(3));
    let added = "INSERT INTO audit (id, at, action, entry, hash) SELECT 6, at, action, entry, hash FROM audit WHERE id = 5";
    check_chain(added, Some(6));
}

#[test]
fn whoever_has_noted_a_hash_can_tell_what_was_cut_off() {
    let fixture = filled();
    let Chain::Whole { head, .. } = chain(&fixture) else { panic!("it is whole") };
    assert_eq!(entries(&fixture, &AuditQuery::default(), 1)[0].hash, head);
    assert_eq!(fixture.look(|reads| reads.audit_noted(&head)), Noted::Entry);
    assert_eq!(fixture.tamper("DELETE FROM audit WHERE id = 5"), 1);
    assert!(matches!(chain(&fixture), Chain::Whole { entries: 4, .. }));
    assert_eq!(fixture.look(|reads| reads.audit_noted(&head)), Noted::Unknown);
}

#[test]
fn an_empty_trail_is_whole() {
    let fixture = Fixture::new();
    let whole = Chain::Whole { entries: 0, first: 1, head: vec![0; 32] };
    assert_eq!(chain(&fixture), whole);
}

/// A trail whose entries from before 1004 are kept no longer, as the sixth one says.
fn pruned() -> (Fixture, Pruned) {
    let fixture = filled();
    let pruned = fixture.change(|changes| {
        let pruned = changes.prune_audit(1_004)?.unwrap();
        let entry = format!(r#"{{"up_to":{},"hash":"{}"}}"#, pruned.up_to, hexadecimal(&pruned.hash));
        let keys = AuditKeys { action: PRUNED.into(), ..AuditKeys::default() };
        changes.add_audit(1_006, &keys, &entry)?;
        Ok(pruned)
    });
    (fixture, pruned)
}

#[test]
fn entries_that_are_kept_no_longer_leave_a_chain() {
    let (fixture, pruned) = pruned();
    assert_eq!((pruned.up_to, pruned.entries), (3, 3));
    check(&fixture, &AuditQuery::default(), &[6, 5, 4]);
    assert!(matches!(chain(&fixture), Chain::Whole { entries: 3, first: 4, .. }), "{:?}", chain(&fixture));
    let hash = pruned.hash;
    assert_eq!(fixture.look(move |reads| reads.audit_noted(&hash)), Noted::Before);
    assert_eq!(fixture.look(move |reads| reads.audit_noted(&[0; 32])), Noted::Unknown);
    let none = fixture.change(|changes| changes.prune_audit(1_004));
    assert_eq!(none, None, "all of them are younger");
    // The last one stays, however old it is.
    let last = fixture.change(|changes| changes.prune_audit(i64::MAX)).unwrap();
    assert_eq!((last.up_to, last.entries), (5, 2));
}

#[test]
fn a_beginning_that_was_cut_off_otherwise_is_told() {
    for sql in [
        "UPDATE audit_start SET id = 2",
        "UPDATE audit_start SET hash = zeroblob(32)",
        "DELETE FROM audit_start",
        "DELETE FROM audit WHERE id = 4",
        "DELETE FROM audit WHERE id = 6",
        "UPDATE audit SET entry = replace(entry, '3', '2') WHERE id = 6",
    ] {
        let (fixture, _) = pruned();
        assert!(fixture.tamper(sql) > 0, "{sql}");
        assert!(matches!(chain(&fixture), Chain::Broken { .. }), "{sql}");
    }
    // With a start that the rest follows from.
    let (fixture, _) = pruned();
    let found = entries(&fixture, &AuditQuery { below: Some(5), ..AuditQuery::default() }, 1);
    let hash = hexadecimal(&found[0].hash);
    assert_eq!(fixture.tamper("DELETE FROM audit WHERE id = 4"), 1);
    assert_eq!(fixture.tamper(&format!("UPDATE audit_start SET id = 4, hash = X'{hash}'")), 1);
    let Chain::Broken { why, .. } = chain(&fixture) else { panic!("it is whole") };
    assert!(why.contains("no entry says"), "{why}");
}

#[test]
fn an_entry_with_an_earlier_time_takes_no_younger_ones_with_it() {
    let fixture = filled();
    let keys = AuditKeys { action: "user.create".into(), ..AuditKeys::default() };
    fixture.change(move |changes| changes.add_audit(1, &keys, "{}"));
    fixture.change(|changes| changes.add_audit(1_006, &AuditKeys::default(), "{}"));
    let pruned = fixture.change(|changes| changes.prune_audit(1_003)).unwrap();
    assert_eq!((pruned.up_to, pruned.entries), (2, 2));
}
