//! How a token ends, and that nothing brings it back.

use super::*;
use GrantState::{Active, Pending, Revoked};

/// What becomes of a token that waits for acme, after `end`.
#[track_caller]
fn check(end: impl FnOnce(&Fixture, i64), events: &[&str]) {
    let fixture = Fixture::new();
    let id = fixture.token(&["acme all contents=read", "bob all contents=read"]);
    end(&fixture, id);
    fixture.check(id, Revoked, &[], events);
    check_not_found(fixture.edit(id, &["bob all contents=read"]));
    check_not_found(fixture.regenerate(id, Expiry::Usual, 0));
    check_not_found(fixture.run(fixture.issuer.delete(fixture.by("bob"), id)));
    check_not_found(fixture.run(fixture.issuer.revoke(fixture.by("root"), id, "again".into())));
    fixture.check(id, Revoked, &[], &[]);
    assert_eq!(fixture.run(fixture.issuer.tokens_of("bob".into(), (0, 10))).unwrap(), (Vec::new(), 0));
}

#[test]
fn a_token_ends_by_its_user_or_an_administrator_and_takes_its_requests_with_it() {
    check(
        |fixture, id| fixture.run(fixture.issuer.delete(fixture.by("BOB"), id)).unwrap(),
        &["destroy by BOB", "request_cancelled acme by BOB"],
    );
    check(
        |fixture, id| fixture.run(fixture.issuer.revoke(fixture.by("root"), id, "unused".into())).unwrap(),
        &["credential_revoked by root", "request_cancelled acme by root"],
    );
}

#[test]
fn whoever_holds_the_text_can_give_it_up() {
    check(
        |fixture, id| {
            let digest = fixture.run(fixture.issuer.token(id)).unwrap().token.digest;
            let digests = vec![TokenDigest::of("unknown"), digest, digest];
            let given_up = fixture.run(fixture.issuer.give_up(fixture.by("somebody"), digests)).unwrap();
            assert_eq!(given_up, 1);
        },
        &["credential_revoked by somebody", "request_cancelled acme by somebody"],
    );
}

#[test]
fn a_text_that_was_replaced_ends_nothing_once_its_overlap_is_over() {
    let fixture = Fixture::new();
    let id = fixture.token(&["bob all contents=read"]);
    let digest = || fixture.run(fixture.issuer.token(id)).unwrap().token.digest;
    let give_up = |digest| fixture.run(fixture.issuer.give_up(fixture.by("somebody"), vec![digest])).unwrap();
    let first = digest();
    fixture.regenerate(id, Expiry::Usual, 0).unwrap();
    let second = digest();
    fixture.regenerate(id, Expiry::Usual, 60).unwrap();
    fixture.events();
    assert_eq!(give_up(first), 0, "retired");
    fixture.later.set(60);
    assert_eq!(give_up(second), 0, "its overlap is over");
    fixture.check(id, Active, &["bob all contents=read"], &[]);
    fixture.later.set(59);
    assert_eq!(give_up(second), 1);
    fixture.check(id, Revoked, &[], &["credential_revoked by somebody"]);
}

#[test]
fn tokens_of_a_suspended_user_rest_and_come_back_as_they_were() {
    let fixture = Fixture::new();
    let id = fixture.token(&["acme all contents=read", "bob all contents=read"]);
    let suspend = |suspended: bool| {
        let edit = users::UserEdit { suspended: Some(suspended), ..users::UserEdit::default() };
        fixture.run(fixture.issuer.set_user(fixture.by("root"), "Bob".into(), edit)).unwrap();
    };
    let opens = ["bob all contents=read", "? acme all contents=read"];
    suspend(true);
    suspend(true);
    fixture.check(id, GrantState::Suspended, &opens, &["user.suspend by root"]);
    let forbidden = |outcome: Result<(), IssueError>| {
        assert!(matches!(outcome, Err(IssueError::Forbidden(_))), "{outcome:?}");
    };
    forbidden(fixture.create("bob", draft("new", &["bob all"])).map(drop));
    forbidden(fixture.edit(id, &["bob all contents=write"]).map(drop));
    forbidden(fixture.regenerate(id, Expiry::Usual, 0).map(drop));
    // Meanwhile the resource owner may decide.
    fixture.approve("acme", id);
    let opens = ["acme all contents=read", "bob all contents=read"];
    fixture.check(id, GrantState::Suspended, &opens, &[]);
    suspend(false);
    fixture.check(id, Active, &opens, &["user.unsuspend by root"]);
    fixture.run(fixture.issuer.delete(fixture.by("bob"), id)).unwrap();
    suspend(true);
    assert_eq!(fixture.seen(id).0, Revoked);
}

#[test]
fn a_deleted_token_leaves_its_name_and_nothing_else() {
    let fixture = Fixture::new();
    let id = fixture.create("bob", draft("nightly", &["acme all contents=read"])).unwrap().token.id;
    fixture.approve("acme", id);
    fixture.run(fixture.issuer.delete(fixture.by("bob"), id)).unwrap();
    fixture.events();
    let again = fixture.create("bob", draft("nightly", &["acme all contents=read"])).unwrap().token.id;
    let asked = ["create by bob", "request_created acme by bob"];
    fixture.check(again, Pending, &["? acme all contents=read"], &asked);
    assert_ne!(again, id);
}

#[test]
fn old_entries_of_the_trail_are_removed_and_that_is_told() {
    let fixture = Fixture::new();
    fixture.token(&["bob all contents=read"]);
    fixture.later.set(10 * DAY);
    let edit = users::UserEdit { administrator: Some(true), ..users::UserEdit::default() };
    fixture.run(fixture.issuer.set_user(fixture.by("root"), "carol".into(), edit)).unwrap();
    fixture.events();
    let prune = |days: u64| {
        let age = std::time::Duration::from_secs(days * 24 * 60 * 60);
        fixture.run(fixture.issuer.prune_trail(fixture.by("portcullis"), age)).unwrap()
    };
    assert_eq!(prune(11), 0);
    assert_eq!(fixture.events(), Vec::<String>::new());
    assert!(prune(5) > 0);
    // That the chain is whole is looked at with them.
    assert_eq!(fixture.events(), ["audit_log.prune by portcullis"]);
    assert_eq!(prune(5), 0);
}
