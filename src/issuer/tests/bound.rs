//! Tokens that make and change tokens hand on no more than they hold.

use super::*;
use GrantState::{Active, Pending};

/// Bob acts by a token that holds `parts` and lives for 3 days.
fn by_token(fixture: &Fixture, parts: &[&str]) -> Setting {
    let parts = parts.iter().map(|text| part(text)).collect();
    let mut setting = fixture.by("bob");
    setting.actor.by = Means::Token(TokenDigest::of("the token that asks"));
    setting.bound = Some(Bound { parts, expires_at: UnixTime(NOW + 3 * DAY) });
    setting
}

const HELD: [&str; 2] = ["acme alpha,beta contents=write,members=read", "bob all contents=read"];

/// What a token that holds [`HELD`] is told where it asks for `parts`, until `days` have passed.
#[track_caller]
fn check(parts: &[&str], days: i64, want: &[(&str, &str)]) {
    let fixture = Fixture::new();
    let expiry = Expiry::At(UnixTime(NOW + days * DAY));
    let wish = Draft { expiry, ..draft("handed on", parts) };
    let made = fixture.run(fixture.issuer.create(by_token(&fixture, &HELD), wish.clone()));
    // The same by editing a token that opens nothing yet, and lives as long.
    let before = Draft { expiry, ..draft("edited", &["bob - emails=read"]) };
    let id = fixture.create("bob", before).unwrap().token.id;
    let edit = Edit { parts: Some(wish.parts), ..Edit::default() };
    let edited = fixture.run(fixture.issuer.edit(by_token(&fixture, &HELD), id, edit));
    // And by a new secret for one that opens it.
    let other = Draft { expiry, ..draft("renewed", parts) };
    let id = fixture.create("bob", other).unwrap().token.id;
    let renewal = Renewal { expiry, overlap: 0 };
    let renewed = fixture.run(fixture.issuer.regenerate(by_token(&fixture, &HELD), id, renewal));
    if want.is_empty() {
        made.unwrap();
        edited.unwrap();
        renewed.unwrap();
    } else {
        check_invalid(made, want);
        check_invalid(edited, want);
        check_invalid(renewed, want);
    }
}

#[test]
fn within_what_it_holds_a_token_hands_on() {
    check(&HELD, 3, &[]);
    check(&["ACME ALPHA contents=read"], 1, &[]);
    check(&["acme - members=read", "BOB alpha contents=read"], 3, &[]);
}

#[test]
fn beyond_what_it_holds_a_token_hands_on_nothing() {
    let lacks = ("permissions", "does not hold all of it itself");
    check(&["umbrella all contents=read"], 3, &[lacks]);
    check(&["acme alpha contents=read,issues=read"], 3, &[lacks]);
    check(&["acme alpha members=write"], 3, &[lacks]);
    check(&["acme all contents=read"], 3, &[lacks]);
    check(&["acme alpha,gamma contents=read"], 3, &[lacks]);
    check(&["bob all contents=write"], 3, &[lacks]);
    check(&["bob - emails=read"], 3, &[lacks]);
    check(&["bob all contents=read"], 4, &[("expires_at", "expires earlier itself")]);
    let both = [lacks, lacks, ("expires_at", "expires earlier itself")];
    check(&["bob all contents=write", "umbrella all contents=read"], 4, &both);
}

/// The text of a stronger token is as good as its permissions.
#[test]
fn a_new_secret_of_a_stronger_token_is_not_handed_out() {
    let fixture = Fixture::new();
    let id = fixture.token(&["acme all contents=write", "bob all contents=write"]);
    fixture.approve("acme", id);
    let digest = fixture.run(fixture.issuer.token(id)).unwrap().token.digest;
    let renewal = Renewal { expiry: Expiry::Usual, overlap: 0 };
    let renewed = fixture.run(fixture.issuer.regenerate(by_token(&fixture, &HELD), id, renewal));
    check_invalid(renewed, &[("permissions", "`bob`"), ("permissions", "`acme`")]);
    assert_eq!(fixture.run(fixture.issuer.token(id)).unwrap().token.digest, digest);
    assert_eq!(fixture.events(), [""; 0]);
}

/// What opens nothing today may open something tomorrow, when its text is known already.
#[test]
fn also_a_token_without_parts_is_not_made_to_live_longer() {
    let fixture = Fixture::new();
    let id = fixture.token(&["acme all contents=read"]);
    fixture.decide("acme", Verdict::Deny, &fixture.requests("acme", id)).unwrap();
    let renew = |days| {
        let renewal = Renewal { expiry: Expiry::At(UnixTime(NOW + days * DAY)), overlap: 0 };
        fixture.run(fixture.issuer.regenerate(by_token(&fixture, &HELD), id, renewal))
    };
    check_invalid(renew(4), &[("expires_at", "expires earlier itself")]);
    renew(3).unwrap();
}

#[test]
fn the_usual_life_is_no_longer_than_that_of_the_token_that_asks() {
    let fixture = Fixture::new();
    let wish = Draft { expiry: Expiry::Usual, ..draft("handed on", &["acme alpha contents=read"]) };
    let made = fixture.run(fixture.issuer.create(by_token(&fixture, &HELD), wish)).unwrap();
    assert_eq!(made.view.token.expires_at, Some(UnixTime(NOW + 3 * DAY)));
    // What the token that asks was granted is not granted to others by that.
    let asked = ["create by bob", "request_created acme by bob"];
    fixture.check(made.view.token.id, Pending, &["? acme alpha contents=read"], &asked);
}

#[test]
fn a_token_can_always_make_less_of_another() {
    let fixture = Fixture::new();
    let id = fixture.token(&["bob all contents=write"]);
    fixture.run(fixture.issuer.delete(by_token(&fixture, &[]), id)).unwrap();
    fixture.check(id, GrantState::Revoked, &[], &["destroy by bob"]);
    let id = fixture.token(&["bob all contents=write"]);
    let edit = Edit { name: Some("renamed".into()), ..Edit::default() };
    fixture.run(fixture.issuer.edit(by_token(&fixture, &[]), id, edit)).unwrap();
    fixture.check(id, Active, &["bob all contents=write"], &["update by bob"]);
}
