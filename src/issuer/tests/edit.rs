//! Changing what a token opens: less at once, more after approval, and nothing by the way.

use super::*;
use GrantState::{Active, Pending};

/// Bob has what acme granted, and asks for `wanted` there: what is open from then on, and what happened.
#[track_caller]
fn check(granted: &str, wanted: &str, opens: &[&str], events: &[&str]) {
    let fixture = Fixture::new();
    let id = fixture.token(&[granted]);
    fixture.approve("acme", id);
    fixture.check(id, Active, &[granted], &[]);
    fixture.edit(id, &[wanted]).unwrap();
    fixture.check(id, Active, opens, events);
}

const ASKED: [&str; 2] = ["request_created acme by bob", "update by bob"];

#[test]
fn less_acts_at_once() {
    let update = &["update by bob"];
    let granted = "acme alpha,beta contents=write,members=read";
    for less in [
        "acme alpha contents=write,members=read",
        "acme alpha,beta contents=read,members=read",
        "acme alpha,beta contents=write",
        "acme - members=read",
    ] {
        check(granted, less, &[less], update);
    }
    check("acme all contents=read", "acme alpha contents=read", &["acme alpha contents=read"], update);
}

#[test]
fn more_waits_and_what_was_granted_goes_on() {
    let granted = "acme alpha contents=read";
    for more in [
        "acme alpha,beta contents=read",
        "acme all contents=read",
        "acme alpha contents=write",
        "acme alpha contents=read,issues=read",
        "acme alpha contents=read,members=read",
    ] {
        check(granted, more, &[granted, &format!("? {more}")], &ASKED);
    }
}

#[test]
fn what_is_no_longer_asked_for_ends_though_the_rest_waits() {
    check(
        "acme alpha,beta contents=write",
        "acme beta,gamma contents=write",
        &["acme beta contents=write", "? acme beta,gamma contents=write"],
        &ASKED,
    );
    check(
        "acme all contents=write",
        "acme all contents=read,issues=read",
        &["acme all contents=read", "? acme all contents=read,issues=read"],
        &ASKED,
    );
    check(
        "acme alpha contents=write,members=read",
        "acme beta members=write",
        &["acme - members=read", "? acme beta members=write"],
        &ASKED,
    );
}

#[test]
fn the_same_in_other_letters_is_nothing_new() {
    let granted = "acme Alpha,beta contents=read";
    check(granted, granted, &[granted], &[]);
    check(granted, "ACME alpha,BETA contents=read", &["acme alpha,BETA contents=read"], &["update by bob"]);
    check(
        granted,
        "ACME ALPHA contents=read,issues=read",
        &["acme Alpha contents=read", "? ACME ALPHA contents=read,issues=read"],
        &["request_created ACME by bob", "update by bob"],
    );
}

#[test]
fn a_request_is_taken_back_by_asking_for_what_there_is() {
    let fixture = Fixture::new();
    let id = fixture.token(&["acme alpha contents=read"]);
    fixture.approve("acme", id);
    fixture.edit(id, &["acme alpha contents=write"]).unwrap();
    let request = fixture.requests("acme", id);
    fixture.events();
    fixture.edit(id, &["acme alpha contents=write"]).unwrap();
    assert_eq!(fixture.requests("acme", id), request, "the same is asked for once");
    assert_eq!(fixture.events(), [""; 0]);
    fixture.edit(id, &["acme alpha contents=read"]).unwrap();
    let cancelled = ["request_cancelled acme by bob", "update by bob"];
    fixture.check(id, Active, &["acme alpha contents=read"], &cancelled);
    check_not_found(fixture.decide("acme", Verdict::Approve, &request));
    fixture.check(id, Active, &["acme alpha contents=read"], &[]);
}

#[test]
fn whoever_asks_for_something_else_asks_anew() {
    let fixture = Fixture::new();
    let id = fixture.token(&["acme alpha contents=read"]);
    let before = fixture.requests("acme", id);
    fixture.edit(id, &["acme alpha contents=write"]).unwrap();
    let events = ["request_cancelled acme by bob", "request_created acme by bob", "update by bob"];
    fixture.check(id, Pending, &["? acme alpha contents=write"], &events);
    // What the resource owner has seen is not what would be granted.
    check_not_found(fixture.decide("acme", Verdict::Approve, &before));
    fixture.check(id, Pending, &["? acme alpha contents=write"], &[]);
    // Less than what was asked for was not granted either.
    fixture.edit(id, &["acme - members=read"]).unwrap();
    fixture.check(id, Pending, &["? acme - members=read"], &events);
}

#[test]
fn a_resource_owner_that_is_left_out_is_given_up() {
    let fixture = Fixture::new();
    let both = ["acme all contents=read", "bob all contents=write"];
    let id = fixture.token(&both);
    fixture.approve("acme", id);
    fixture.edit(id, &["acme all contents=write", "bob all contents=write"]).unwrap();
    fixture.events();
    fixture.edit(id, &["bob all contents=write"]).unwrap();
    let events = ["access_revoked acme by bob", "request_cancelled acme by bob", "update by bob"];
    fixture.check(id, Active, &["bob all contents=write"], &events);
    // What was granted there once is not granted again.
    fixture.edit(id, &["ACME all contents=read", "bob all contents=write"]).unwrap();
    let events = ["request_created ACME by bob", "update by bob"];
    fixture.check(id, Active, &["bob all contents=write", "? ACME all contents=read"], &events);
}

#[test]
fn where_nobody_approves_more_acts_at_once_too() {
    let fixture = Fixture::new();
    let id = fixture.token(&["bob alpha contents=read", "initech all contents=read"]);
    fixture.edit(id, &["bob all contents=write", "initech all contents=read,issues=read"]).unwrap();
    let opens = ["bob all contents=write", "initech all contents=read,issues=read"];
    let events = ["access_granted bob by bob", "access_granted initech by bob", "update by bob"];
    fixture.check(id, Active, &opens, &events);
    // Beyond the rule, an approval.
    fixture.edit(id, &["bob all contents=write", "initech all contents=write"]).unwrap();
    let opens = ["bob all contents=write", "initech all contents=read", "? initech all contents=write"];
    fixture.check(id, Active, &opens, &["request_created initech by bob", "update by bob"]);
}

#[test]
fn names_and_descriptions_change_without_anything_else() {
    let fixture = Fixture::new();
    let id = fixture.token(&["acme all contents=read"]);
    fixture.create("bob", draft("other", &["bob all"])).unwrap();
    fixture.events();
    let edit = |edit: Edit| fixture.run(fixture.issuer.edit(fixture.by("bob"), id, edit));
    let text = |text: &str| Some(text.to_owned());
    let view = edit(Edit { name: text("nightly"), description: text("clones"), ..Edit::default() }).unwrap();
    assert_eq!((&*view.token.name, view.token.description.as_deref()), ("nightly", Some("clones")));
    let view = edit(Edit { description: text(""), ..Edit::default() }).unwrap();
    assert_eq!((&*view.token.name, view.token.description), ("nightly", None));
    fixture.check(id, Pending, &["? acme all contents=read"], &["update by bob", "update by bob"]);
    edit(Edit { name: text("nightly"), ..Edit::default() }).unwrap();
    check_invalid(edit(Edit { name: text("other"), ..Edit::default() }), &[("name", "already been taken")]);
    check_invalid(edit(Edit { name: text(""), ..Edit::default() }), &[("name", "1 to 40")]);
    let long = || text(&"x".repeat(1_025));
    check_invalid(edit(Edit { description: long(), ..Edit::default() }), &[("description", "at most")]);
    check_invalid(edit(Edit { reason: long(), ..Edit::default() }), &[("reason", "at most")]);
    check_invalid(
        edit(Edit { parts: Some(vec![]), ..Edit::default() }),
        &[("resource_owner", "at least one")],
    );
    assert_eq!(fixture.events(), [""; 0]);
}

#[test]
fn an_edit_is_judged_like_a_new_token_and_changes_all_or_nothing() {
    let fixture = Fixture::new();
    let id = fixture.token(&["acme all contents=read", "bob all contents=read"]);
    let refused = fixture.edit(id, &["acme all secrets=read", "bob alpha contents=read"]);
    check_invalid(refused, &[("permissions", "lets no token hold secrets=read")]);
    let many = fixture.edit(id, &["acme a,b,c,d,e contents=read"]);
    check_invalid(many, &[("repositories", "at most 4")]);
    // Lives longer than what commons lets tokens live.
    let other = Draft { expiry: Expiry::Usual, ..draft("long", &["bob all contents=read"]) };
    let long = fixture.create("bob", other).unwrap().token.id;
    let refused = fixture.edit(long, &["commons all contents=read"]);
    check_invalid(refused, &[("expires_at", "5 days at most")]);
    fixture.events();
    fixture.check(id, Active, &["bob all contents=read", "? acme all contents=read"], &[]);
}

#[test]
fn nobody_changes_another_s_token() {
    let fixture = Fixture::new();
    let id = fixture.token(&["bob all contents=read"]);
    for login in ["carol", "alice", "bo"] {
        let edit = Edit { name: Some("mine".into()), ..Edit::default() };
        check_not_found(fixture.run(fixture.issuer.edit(fixture.by(login), id, edit)));
        check_not_found(fixture.run(fixture.issuer.delete(fixture.by(login), id)));
        let renewal = Renewal { expiry: Expiry::Usual, overlap: 0 };
        check_not_found(fixture.run(fixture.issuer.regenerate(fixture.by(login), id, renewal)));
    }
    check_not_found(fixture.edit(id + 1, &["bob all contents=read"]));
    fixture.check(id, Active, &["bob all contents=read"], &[]);
}
