//! Who follows the store sees what is in it: in order, nothing too little, and what another process changed.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::domain::lifecycle::fixture::part;
use crate::domain::lifecycle::{RequestState, Standing};
use crate::store::rows::Revoked;
use crate::store::tokens::{Decided, NewSecret};

/// What is told of `store` from now on.
fn told(store: &Store) -> Receiver<Vec<Change>> {
    let (sender, receiver) = channel();
    store.follow(Box::new(move |changes| drop(sender.send(changes))));
    receiver
}

/// Waits until something is told.
#[track_caller]
fn next(told: &Receiver<Vec<Change>>) -> Vec<Change> {
    told.recv_timeout(DEADLINE).expect("told in time")
}

#[test]
fn a_change_is_told_before_its_call_returns() {
    let fixture = Fixture::new();
    let told = told(&fixture.store);
    fixture.add_token("bob", "one");
    let mut index = Index::new();
    follow(&mut index, &told.try_recv().unwrap());
    assert_eq!(index, fixture.tokens());
    // What is no change of a token is not told.
    fixture.change(|changes| changes.user("carol", UnixTime(1)));
    assert!(told.try_recv().is_err());
}

#[test]
fn the_first_follower_stays() {
    let fixture = Fixture::new();
    let first = told(&fixture.store);
    let second = told(&fixture.store);
    fixture.add_token("bob", "one");
    assert_eq!((first.try_iter().count(), second.try_iter().count()), (1, 0));
}

/// Tokens are read first and followed afterwards; nothing may fall between.
#[test]
fn what_changed_before_anybody_followed_is_told_to_who_does() {
    let fixture = Fixture::new();
    let mut index = fixture.tokens();
    let id = fixture.add_token("bob", "one");
    let other = Store::open(fixture.store.path()).unwrap();
    let revoked = Revoked { at: UnixTime(5), by: "root".into(), why: "leaked".into() };
    other.write_now(move |changes| changes.revoke_token(id, &revoked)).unwrap();
    // The store looks for changes, and there is nobody to be told.
    fixture.change(|changes| changes.user("carol", UnixTime(1)));
    let told = told(&fixture.store);
    while index.values().all(|token| token.standing != Standing::Revoked) {
        follow(&mut index, &next(&told));
    }
    assert_eq!(index, fixture.tokens());
}

/// A call is judged by what is in force: what another process changed before it is, when it is done.
#[test]
fn what_another_process_changed_is_told_before_a_call_is_done() {
    let fixture = Fixture::new();
    let other = Store::open(fixture.store.path()).unwrap();
    let told = told(&fixture.store);
    other.write_now(|changes| add_token(changes, "bob", "one")).unwrap();
    fixture.change(move |_| {
        assert_eq!(told.try_iter().count(), 1);
        Ok(())
    });
}

#[test]
fn what_another_process_changes_is_followed() {
    let fixture = Fixture::new();
    let other = Store::open(fixture.store.path()).unwrap();
    let told = told(&fixture.store);
    let mut index = Index::new();
    let id = other.write_now(|changes| add_token(changes, "bob", "one")).unwrap();
    follow(&mut index, &next(&told));
    assert_eq!(index, fixture.tokens());
    let renewed = NewSecret {
        digest: TokenDigest::of("new"),
        at: UnixTime(1_500),
        expires_at: Some(UnixTime(2_500)),
        overlap_until: None,
    };
    other.write_now(move |changes| changes.renew_token(id, &renewed)).unwrap();
    let changes = next(&told);
    assert!(changes.contains(&Change::Gone(TokenDigest::of("one"))), "{changes:?}");
    follow(&mut index, &changes);
    assert_eq!(index, fixture.tokens());
    assert_eq!(index.into_keys().collect::<Vec<_>>(), [TokenDigest::of("new")]);
    // Both write, and each sees what the other did.
    fixture.add_token("bob", "two");
    other.write_now(|changes| add_token(changes, "bob", "three")).unwrap();
    assert_eq!(fixture.tokens().len(), 3);
}

#[test]
fn parts_stand_in_one_order_whoever_reads_them() {
    let fixture = Fixture::new();
    let told = told(&fixture.store);
    let id = fixture.add_token("bob", "one");
    fixture.change(move |changes| {
        for text in ["umbrella all contents=read", "acme all contents=read"] {
            changes.grant(id, &part(text), UnixTime(1_100), "alice")?;
            changes.add_request(id, &part(text), None, UnixTime(1_100))?;
        }
        Ok(())
    });
    let mut index = Index::new();
    for changes in told.try_iter() {
        follow(&mut index, &changes);
    }
    assert_eq!(index, fixture.tokens());
}

/// Something that happens to one of three tokens, or to their user.
#[derive(Debug, Clone)]
enum Step {
    Add,
    Rename(usize),
    Renew(usize, bool),
    Revoke(usize),
    Grant(usize, &'static str),
    RevokeGrant(usize),
    Ask(usize, &'static str),
    Decide(usize, RequestState),
    Suspend(bool),
}

fn any_step() -> impl Strategy<Value = Step> {
    let parts = || {
        prop_oneof![
            Just("umbrella all contents=read"),
            Just("acme alpha,beta contents=write,members=read"),
            Just("ACME - members=read"),
            Just("bob all emails=read"),
        ]
    };
    let states = prop_oneof![Just(RequestState::Approved), Just(RequestState::Denied)];
    prop_oneof![
        2 => Just(Step::Add),
        1 => (0..3_usize).prop_map(Step::Rename),
        3 => (0..3_usize, any::<bool>()).prop_map(|(at, overlaps)| Step::Renew(at, overlaps)),
        1 => (0..3_usize).prop_map(Step::Revoke),
        3 => (0..3_usize, parts()).prop_map(|(at, part)| Step::Grant(at, part)),
        1 => (0..3_usize).prop_map(Step::RevokeGrant),
        3 => (0..3_usize, parts()).prop_map(|(at, part)| Step::Ask(at, part)),
        2 => (0..3_usize, states).prop_map(|(at, state)| Step::Decide(at, state)),
        1 => any::<bool>().prop_map(Step::Suspend),
    ]
}

/// Does `step`, the `number`th one, to one of the tokens `ids`; nothing where it does not fit.
fn take_step(
    changes: &Changes<'_>,
    step: &Step,
    ids: &mut Vec<i64>,
    number: usize,
) -> Result<(), StoreError> {
    let at = UnixTime(1_000 + i64::try_from(number).unwrap());
    let token = |at: usize| ids.get(at).copied().unwrap_or_default();
    match step {
        Step::Add if ids.len() < 3 => ids.push(add_token(changes, "bob", &format!("token {number}"))?),
        Step::Rename(of) => changes.rename_token(token(*of), &format!("name {number}"), Some("renamed"))?,
        Step::Renew(of, overlaps) => {
            let digest = TokenDigest::of(&format!("secret {number}"));
            let overlap_until = overlaps.then_some(UnixTime(1_900));
            let secret = NewSecret { digest, at, expires_at: None, overlap_until };
            changes.renew_token(token(*of), &secret)?;
        }
        Step::Revoke(of) => {
            changes.revoke_token(token(*of), &Revoked { at, by: "bob".into(), why: "gone".into() })?;
        }
        Step::Grant(of, text) if *of < ids.len() => {
            changes.grant(token(*of), &part(text), at, "alice")?;
        }
        Step::RevokeGrant(of) => {
            if let Some(grant) = changes.reads().grants_of(token(*of))?.first() {
                changes.revoke_grant(grant, at, "alice")?;
            }
        }
        Step::Ask(of, text) if *of < ids.len() => {
            let asked = changes.reads().requests_of(token(*of))?;
            if !asked.iter().any(|known| known.part.owner.eq_ignore_ascii_case(&part(text).owner)) {
                changes.add_request(token(*of), &part(text), None, at)?;
            }
        }
        Step::Add | Step::Grant(..) | Step::Ask(..) => {}
        Step::Decide(of, state) => {
            if let Some(request) = changes.reads().requests_of(token(*of))?.first() {
                changes.decide_request(request, &Decided { state: *state, at, by: "alice", why: None })?;
            }
        }
        Step::Suspend(suspended) => {
            let user = changes.user("bob", at)?;
            changes.set_suspended(user.id, suspended.then_some(at))?;
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Whoever reads everything and whoever has followed every change have the same.
    #[test]
    fn all_changes_together_are_what_is_there(steps in vec(any_step(), 1..40)) {
        let fixture = Fixture::new();
        let told = told(&fixture.store);
        let ids = Arc::new(Mutex::new(Vec::new()));
        let mut index = Index::new();
        for (number, step) in steps.into_iter().enumerate() {
            let ids = Arc::clone(&ids);
            fixture.change(move |changes| take_step(changes, &step, &mut ids.lock().unwrap(), number));
            for changes in told.try_iter() {
        follow(&mut index, &changes);
    }
            prop_assert_eq!(&index, &fixture.tokens());
        }
    }
}
