//! Users, their sessions, and the numbers of names.

use super::*;
use crate::domain::lifecycle::Standing;
use crate::store::people::Named;
use crate::store::rows::UserRow;

fn users(reads: Reads<'_>) -> Result<Vec<UserRow>, StoreError> {
    reads.users()
}

#[test]
fn a_login_is_one_user_in_any_case() {
    let fixture = Fixture::new();
    let bob = fixture.change(|changes| changes.user("Bob", UnixTime(5)));
    assert_eq!((bob.login.as_str(), bob.created_at, bob.administrator), ("Bob", UnixTime(5), false));
    assert_eq!(fixture.change(|changes| changes.user("bOB", UnixTime(6))), bob);
    assert_eq!(fixture.look(|reads| reads.user("BOB")), Some(bob.clone()));
    fixture.change(|changes| changes.user("alice", UnixTime(7)));
    fixture.change(move |changes| changes.set_administrator(bob.id, true));
    let users = fixture.look(users);
    let shown: Vec<_> = users.iter().map(|user| (user.login.as_str(), user.administrator)).collect();
    assert_eq!(shown, [("alice", false), ("Bob", true)]);
    assert_eq!(fixture.look(|reads| reads.user("eve")), None);
}

#[test]
fn tokens_of_a_suspended_user_rest() {
    let fixture = Fixture::new();
    fixture.add_token("bob", "one");
    fixture.add_token("bob", "two");
    fixture.add_token("carol", "three");
    let standings = || fixture.tokens().into_values().map(|token| (token.name, token.standing));
    let bob = fixture.look(|reads| reads.user("bob")).unwrap().id;
    for (at, standing) in [(Some(UnixTime(9)), Standing::Suspended), (None, Standing::Good)] {
        fixture.change(move |changes| changes.set_suspended(bob, at));
        for (name, found) in standings() {
            let want = if name == "three" { Standing::Good } else { standing };
            assert_eq!(found, want, "{name}");
        }
        assert_eq!(fixture.look(|reads| reads.user("bob")).unwrap().suspended_at, at);
    }
}

/// Whose session `text` is at `now`.
#[track_caller]
fn check_session(fixture: &Fixture, text: &str, now: i64, want: Option<&str>) {
    let found = fixture.look(|reads| reads.session(&TokenDigest::of(text), UnixTime(now)));
    assert_eq!(found.as_ref().map(|user| user.login.as_str()), want, "{text} at {now}");
}

/// Begins a session at `at`, good until `until`.
fn begin(fixture: &Fixture, user: i64, text: &'static str, (at, until): (i64, i64)) {
    let times = (UnixTime(at), UnixTime(until));
    fixture.change(move |changes| changes.add_session(user, &TokenDigest::of(text), times));
}

#[test]
fn a_session_ends_by_time_by_sign_out_by_a_new_password_and_by_suspension() {
    let fixture = Fixture::new();
    let [bob, carol] =
        ["bob", "carol"].map(|login| fixture.change(move |changes| changes.user(login, UnixTime(1))).id);
    begin(&fixture, bob, "a", (10, 20));
    check_session(&fixture, "a", 19, Some("bob"));
    check_session(&fixture, "a", 20, None);
    check_session(&fixture, "b", 19, None);
    begin(&fixture, bob, "b", (11, 50));
    begin(&fixture, carol, "c", (12, 50));
    fixture.change(|changes| changes.end_session(&TokenDigest::of("b")));
    check_session(&fixture, "b", 19, None);
    check_session(&fixture, "a", 19, Some("bob"));
    fixture.change(move |changes| changes.set_password(bob, Some("hash")));
    check_session(&fixture, "a", 19, None);
    check_session(&fixture, "c", 19, Some("carol"));
    fixture.change(move |changes| changes.set_suspended(carol, Some(UnixTime(19))));
    check_session(&fixture, "c", 19, None);
    assert_eq!(fixture.look(|reads| reads.user("bob")).unwrap().password.as_deref(), Some("hash"));
}

#[test]
fn sessions_that_have_ended_are_forgotten_when_another_begins() {
    let fixture = Fixture::new();
    let bob = fixture.change(|changes| changes.user("bob", UnixTime(1))).id;
    begin(&fixture, bob, "a", (10, 20));
    begin(&fixture, bob, "b", (20, 30));
    check_session(&fixture, "a", 10, None);
    check_session(&fixture, "b", 29, Some("bob"));
}

#[test]
fn a_name_keeps_its_number() {
    let fixture = Fixture::new();
    let number = |kind, name: &'static str| fixture.change(move |changes| changes.give_number(kind, name));
    let acme = number(Named::Owner, "Acme");
    assert_eq!(number(Named::Owner, "ACME"), acme);
    assert_ne!(number(Named::Repository, "acme"), acme);
    assert_ne!(number(Named::Owner, "umbrella"), acme);
    assert_eq!(fixture.look(|reads| reads.number(Named::Owner, "acme")), Some(acme));
    assert_eq!(fixture.look(|reads| reads.number(Named::Repository, "umbrella")), None);
}
