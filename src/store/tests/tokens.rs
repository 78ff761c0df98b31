//! Tokens with their secrets, grants and requests.

use super::*;
use crate::domain::lifecycle::fixture::{part, shown, terms};
use crate::domain::lifecycle::{RequestState, Standing};
use crate::store::rows::{LastUse, Revoked};
use crate::store::tokens::{Decided, NewSecret};

/// Renews a token, whose first secret is `one`, with the secrets and overlaps of `renewals` one after the other. Of what is
/// told at the last of them: the secrets that are good, and those that are gone.
#[track_caller]
fn check(renewals: &[(&'static str, Option<i64>)], good: &[(&str, i64)], gone: &[&str]) {
    let fixture = Fixture::new();
    let id = fixture.add_token("bob", "one");
    let (sender, told) = std::sync::mpsc::channel();
    fixture.store.follow(Box::new(move |changes| sender.send(changes).unwrap()));
    for (number, (text, overlap_until)) in renewals.iter().enumerate() {
        let secret = NewSecret {
            digest: TokenDigest::of(text),
            at: UnixTime(1_100 + i64::try_from(number).unwrap()),
            expires_at: Some(UnixTime(3_000)),
            overlap_until: overlap_until.map(UnixTime),
        };
        fixture.change(move |changes| changes.renew_token(id, &secret));
    }
    let (mut secrets, mut lost) = (Vec::new(), Vec::new());
    for change in told.try_iter().last().unwrap() {
        match change {
            Change::Token(token) => secrets.extend(token.secrets),
            Change::Gone(digest) => lost.push(digest),
            Change::User(_) | Change::Rules(_) | Change::Everything => {}
        }
    }
    let want: Vec<_> = good.iter().map(|(text, until)| (TokenDigest::of(text), UnixTime(*until))).collect();
    assert_eq!(secrets, want);
    lost.sort();
    let mut want: Vec<_> = gone.iter().map(|text| TokenDigest::of(text)).collect();
    want.sort();
    assert_eq!(lost, want);
    // Each text that it ever had leads to it.
    for text in renewals.iter().map(|renewal| renewal.0).chain(["one"]) {
        let found = fixture.look(|reads| reads.token_by_digest(&TokenDigest::of(text)));
        assert_eq!(found.map(|token| token.id), Some(id), "{text}");
    }
    assert_eq!(fixture.look(|reads| reads.token_by_digest(&TokenDigest::of("another"))), None);
    let Some(token) = fixture.look(|reads| reads.token(id)) else { panic!("it is there") };
    let renewed_at = 1_100 + i64::try_from(renewals.len()).unwrap() - 1;
    assert_eq!((token.created_at, token.issued_at), (UnixTime(1_000), UnixTime(renewed_at)));
}

#[test]
fn a_new_secret_replaces_the_one_before() {
    check(&[("two", None)], &[("two", 3_000)], &["one"]);
    check(&[("two", Some(1_500))], &[("two", 3_000), ("one", 1_500)], &[]);
    check(&[("two", Some(1_500)), ("three", Some(1_600))], &[("three", 3_000), ("two", 1_600)], &["one"]);
    check(&[("two", Some(1_500)), ("three", None)], &[("three", 3_000)], &["one", "two"]);
    check(&[("two", None), ("three", Some(1_600))], &[("three", 3_000), ("two", 1_600)], &[]);
}

#[test]
fn a_token_that_never_expires_has_no_last_moment() {
    let fixture = Fixture::new();
    let id = fixture.add_token("bob", "one");
    let secret =
        NewSecret { digest: TokenDigest::of("two"), at: UnixTime(1), expires_at: None, overlap_until: None };
    fixture.change(move |changes| changes.renew_token(id, &secret));
    let tokens = fixture.tokens();
    assert_eq!(tokens[&TokenDigest::of("two")].secrets, [(TokenDigest::of("two"), UnixTime(i64::MAX))]);
    assert_eq!(fixture.look(|reads| reads.token(id)).unwrap().expires_at, None);
}

#[test]
fn every_field_of_a_token_is_read_back() {
    let fixture = Fixture::new();
    let id = fixture.add_token("Bob", "one");
    fixture.change(move |changes| changes.rename_token(id, "nightly", Some("clones")));
    let use_of = |at: i64, from: &'static str| {
        let last = LastUse { at: UnixTime(at), from: from.to_owned(), by: "git".to_owned() };
        fixture.change(move |changes| changes.note_use("id of one", &last));
    };
    use_of(1_300, "192.0.2.7");
    use_of(1_200, "192.0.2.8");
    let token = fixture.look(|reads| reads.token(id)).unwrap();
    assert_eq!((token.user.as_str(), token.name.as_str()), ("Bob", "nightly"));
    assert_eq!((token.description.as_deref(), token.public_id.as_str()), (Some("clones"), "id of one"));
    assert_eq!((token.expires_at, token.previous, token.revoked), (Some(UnixTime(2_000)), None, None));
    // An earlier use that is told later is no news.
    let used = LastUse { at: UnixTime(1_300), from: "192.0.2.7".into(), by: "git".into() };
    assert_eq!(token.last_used, Some(used));
    let revoke = |at: i64, why: &'static str| {
        let revoked = Revoked { at: UnixTime(at), by: "bob".into(), why: why.into() };
        fixture.change(move |changes| changes.revoke_token(id, &revoked));
    };
    revoke(1_400, "first");
    revoke(1_500, "second");
    let token = fixture.look(|reads| reads.token(id)).unwrap();
    assert_eq!(token.revoked.map(|revoked| revoked.why), Some("first".into()));
    assert_eq!(fixture.tokens()[&TokenDigest::of("one")].standing, Standing::Revoked);
    assert_eq!(fixture.look(|reads| reads.tokens_of(token.user_id)), []);
    assert_eq!(fixture.look(|reads| reads.token(id + 1)), None);
    // The name is free again.
    fixture.change(|changes| {
        let id = add_token(changes, "bob", "other")?;
        changes.rename_token(id, "nightly", None)
    });
}

/// The parts of a token as those who judge have them: granted, and awaited.
fn parts(fixture: &Fixture, name: &str) -> (Vec<String>, Vec<String>) {
    let tokens = fixture.tokens();
    let token = &tokens[&TokenDigest::of(name)];
    (token.granted.iter().map(shown).collect(), token.awaited.iter().map(shown).collect())
}

#[test]
fn there_is_one_grant_at_a_resource_owner() {
    let fixture = Fixture::new();
    let id = fixture.add_token("bob", "one");
    let grant = |text: &'static str| {
        fixture.change(move |changes| changes.grant(id, &part(text), UnixTime(1_100), "alice"))
    };
    let first = grant("acme alpha,beta contents=write,members=read");
    let other = grant("umbrella - profile=read");
    assert_ne!(first, other);
    assert_eq!(grant("ACME all contents=read"), first);
    assert_eq!(parts(&fixture, "one").0, ["acme all contents=read", "umbrella - profile=read"]);
    let row = fixture.look(|reads| reads.grant(first)).unwrap();
    assert_eq!((row.granted_at, row.granted_by.as_str(), row.revoked_at), (UnixTime(1_100), "alice", None));
    let narrowed = row.clone();
    fixture.change(move |changes| changes.narrow(&narrowed, &terms("[] contents=read")));
    assert_eq!(parts(&fixture, "one").0, ["acme [] contents=read", "umbrella - profile=read"]);
    fixture.change(move |changes| changes.revoke_grant(&row, UnixTime(1_200), "alice"));
    assert_eq!(parts(&fixture, "one").0, ["umbrella - profile=read"]);
    let row = fixture.look(|reads| reads.grant(first)).unwrap();
    assert_eq!(row.revoked_at, Some(UnixTime(1_200)));
    // What is granted there afterwards is another grant.
    assert_ne!(grant("acme all contents=read"), first);
}

#[test]
fn a_request_is_decided_once() {
    let fixture = Fixture::new();
    let id = fixture.add_token("bob", "one");
    let ask = move |changes: &Changes<'_>, owner: &str| {
        changes.add_request(id, &part(&format!("{owner} all contents=read")), Some("builds"), UnixTime(1_100))
    };
    let request = fixture.change(move |changes| ask(changes, "acme"));
    let twice = fixture.store.write_now(move |changes| ask(changes, "Acme"));
    assert!(matches!(twice, Err(StoreError::Other(_))), "{twice:?}");
    fixture.change(move |changes| ask(changes, "umbrella"));
    assert_eq!(parts(&fixture, "one").1, ["acme all contents=read", "umbrella all contents=read"]);
    let row = fixture.look(|reads| reads.request(request)).unwrap();
    assert_eq!((row.reason.as_deref(), row.created_at), (Some("builds"), UnixTime(1_100)));
    for state in [RequestState::Denied, RequestState::Approved, RequestState::Cancelled] {
        let row = row.clone();
        let decided = Decided { state, at: UnixTime(1_200), by: "alice", why: None };
        fixture.change(move |changes| changes.decide_request(&row, &decided));
        let state = fixture.look(|reads| reads.request(request)).unwrap().state;
        assert_eq!(state, RequestState::Denied);
    }
    assert_eq!(parts(&fixture, "one").1, ["umbrella all contents=read"]);
    // It may be asked for anew.
    assert_ne!(fixture.change(move |changes| ask(changes, "acme")), request);
}
