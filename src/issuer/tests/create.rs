//! Making a token: who has to approve, and what cannot be had.

use super::*;
use crate::domain::lifecycle::terms::{Names, Reach, Terms};
use crate::domain::permission::{Level, Scope};
use GrantState::{Active, Pending};

/// What a new token of `login` opens at once and waits for.
#[track_caller]
fn check(login: &str, parts: &[&str], state: GrantState, opens: &[&str], events: &[&str]) {
    let fixture = Fixture::new();
    let view = fixture.create(login, draft("nightly", parts)).unwrap();
    fixture.check(view.token.id, state, opens, events);
}

#[test]
fn what_is_one_s_own_needs_no_approval() {
    let events = ["create by bob", "access_granted bob by bob"];
    check("bob", &["bob all contents=write"], Active, &["bob all contents=write"], &events);
    let events = ["create by Bob", "access_granted bOB by Bob"];
    check("Bob", &["bOB alpha issues=read,emails=write"], Active, &["bOB alpha issues=read"], &events);
}

#[test]
fn an_organization_approves_unless_its_policy_says_otherwise() {
    let asked = |owner: &str| vec!["create by bob".to_owned(), format!("request_created {owner} by bob")];
    let granted = |owner: &str| vec!["create by bob".to_owned(), format!("access_granted {owner} by bob")];
    for (part, is_granted) in [
        ("acme all contents=write", false),
        ("ACME all contents=write", false),
        ("umbrella all members=read", false),
        ("commons all contents=write", true),
        ("initech all contents=read,members=read", true),
        ("initech all contents=read,members=write", false),
        ("shady all contents=read", false),
        ("unheard-of all contents=read", false),
        ("alice all contents=read", false),
    ] {
        let owner = part.split(' ').next().unwrap();
        let events = if is_granted { granted(owner) } else { asked(owner) };
        let events: Vec<_> = events.iter().map(String::as_str).collect();
        let (state, opens) = if is_granted { (Active, part.into()) } else { (Pending, format!("? {part}")) };
        check("bob", &[part], state, &[&opens], &events);
    }
}

#[test]
fn an_owner_of_the_organization_needs_nobody_else() {
    let events = ["create by Alice", "access_granted acme by Alice"];
    check("Alice", &["acme all contents=write"], Active, &["acme all contents=write"], &events);
    // Of this one only.
    let events = ["create by ulrich", "request_created unheard-of by ulrich"];
    check("ulrich", &["unheard-of - members=read"], Pending, &["? unheard-of - members=read"], &events);
}

#[test]
fn each_resource_owner_approves_for_itself() {
    check(
        "bob",
        &["umbrella all contents=read", "bob - emails=read", "acme alpha,beta contents=read"],
        Active,
        &["bob - ", "? acme alpha,beta contents=read", "? umbrella all contents=read"],
        &[
            "create by bob",
            "request_created umbrella by bob",
            "access_granted bob by bob",
            "request_created acme by bob",
        ],
    );
}

#[test]
fn a_rule_for_short_lives_fits_no_longer_one() {
    let fixture = Fixture::new();
    for (days, state) in [(7, Active), (8, Pending)] {
        let expiry = Expiry::At(UnixTime(NOW + days * DAY));
        let name = days.to_string();
        let view =
            fixture.create("bob", Draft { expiry, ..draft(&name, &["initech all contents=read"]) }).unwrap();
        assert_eq!(fixture.seen(view.token.id).0, state, "{days} days");
    }
}

/// What is objected to where bob asks for `parts`; nothing may be left behind.
#[track_caller]
fn check_refused(draft: Draft, want: &[(&str, &str)]) {
    let fixture = Fixture::new();
    check_invalid(fixture.create("bob", draft), want);
    assert_eq!(fixture.events(), [""; 0]);
    assert_eq!(fixture.run(fixture.issuer.tokens_of("bob".into(), (0, 10))).unwrap(), (Vec::new(), 0));
    assert_eq!(fixture.run(fixture.issuer.store.read(|reads| reads.user("bob"))).unwrap(), None);
}

#[test]
fn what_can_never_be_used_is_not_handed_out() {
    for (parts, want) in [
        (&["closed all contents=read"][..], &[("resource_owner", "forbids access")][..]),
        (&["ac/me all contents=read"], &[("resource_owner", "no name of a resource owner")]),
        (&["acme all secrets=read"], &[("permissions", "lets no token hold secrets=read")]),
        (&["acme all issues=write"], &[("permissions", "lets no token hold issues=write")]),
        (&["acme all content=read"], &[("permissions", "did you mean `contents`?")]),
        (&["acme all contents=admin"], &[("permissions", "no level of `contents`")]),
        (&["acme all sealed=read"], &[("permissions", "cannot be granted to a token")]),
        (&["acme - emails=read"], &[("permissions", "of scope `user`, and cannot be held at `acme`")]),
        (&["bob - members=read"], &[("permissions", "of scope `organization`, and cannot be held at `bob`")]),
        (&["acme - contents=read"], &[("repositories", "need a selection")]),
        (&["acme [] contents=read"], &[("repositories", "the list of repositories is empty")]),
        (&["acme alpha.git contents=read"], &[("repositories", "is no repository name")]),
        (&["acme acme/alpha contents=read"], &[("repositories", "is no repository name")]),
        (
            &["acme a,b,c contents=read", "bob d,e contents=read"],
            &[("repositories", "at most 4 repositories")],
        ),
        (&["acme a contents=read", "ACME b contents=read"], &[("resource_owner", "stands twice")]),
        (&[], &[("resource_owner", "at least one resource owner")]),
        (
            &["acme all secrets=read,content=read", "closed all contents=read"],
            &[("permissions", "did you mean"), ("permissions", "secrets"), ("resource_owner", "forbids")],
        ),
    ] {
        check_refused(draft("nightly", parts), want);
    }
}

/// A permission that stands under another scope than it has.
#[test]
fn a_permission_counts_with_its_own_scope_only() {
    for (owner, scope, name) in [
        ("acme", Scope::Organization, "contents"),
        ("acme", Scope::User, "members"),
        ("acme", Scope::Repository, "members"),
        ("bob", Scope::Repository, "emails"),
        ("bob", Scope::User, "contents"),
    ] {
        let mut part = part(&format!("{owner} all"));
        part.terms.permissions.of_mut(scope).insert(name.into(), Level::Read);
        let draft = Draft { parts: vec![part], ..draft("nightly", &[]) };
        check_refused(draft, &[("permissions", &format!("`{name}` is of scope"))]);
    }
}

#[test]
fn names_that_read_as_another_are_refused() {
    for name in ["alpha,beta", "al pha", "*", "..", "alpha.wiki", ""] {
        let terms = Terms { reach: Reach::Subset(Names::new(vec![name.into()])), ..part("bob all").terms };
        let draft = Draft { parts: vec![Part { owner: "bob".into(), terms }], ..draft("nightly", &[]) };
        check_refused(draft, &[("repositories", "is no repository name")]);
    }
}

#[test]
fn texts_and_moments_have_bounds() {
    let own = || draft("nightly", &["bob all contents=read"]);
    for name in ["", " ", "a\nb", &"n".repeat(41)] {
        check_refused(Draft { name: name.into(), ..own() }, &[("name", "1 to 40 characters")]);
    }
    let long = || Some("é".repeat(1_025));
    check_refused(Draft { description: long(), ..own() }, &[("description", "at most 1024")]);
    check_refused(Draft { reason: long(), ..own() }, &[("reason", "at most 1024")]);
    for (expiry, words) in [
        (Expiry::At(UnixTime(NOW)), "still to come"),
        (Expiry::At(UnixTime(i64::MIN)), "still to come"),
        (Expiry::At(UnixTime(NOW + 366 * DAY + 1)), "366 days at most"),
        (Expiry::At(UnixTime(i64::MAX)), "366 days at most"),
        (Expiry::Never, "366 days at most"),
    ] {
        check_refused(Draft { expiry, ..own() }, &[("expires_at", words)]);
    }
    let of_acme = Draft { expiry: Expiry::At(UnixTime(NOW + 91 * DAY)), ..draft("n", &["acme all"]) };
    check_refused(of_acme, &[("expires_at", "`acme` lets tokens live 90 days at most")]);
    // The bounds themselves fit.
    let fixture = Fixture::new();
    let most = Draft {
        name: "é".repeat(40),
        description: Some("é".repeat(1_024)),
        reason: Some("é".repeat(1_024)),
        expiry: Expiry::At(UnixTime(NOW + 366 * DAY)),
        ..own()
    };
    fixture.create("bob", most).unwrap();
}

#[test]
fn who_is_no_member_asks_in_vain() {
    let fixture = Fixture::new();
    let refused = fixture.create("eve", draft("nightly", &["Acme all contents=read"]));
    check_invalid(refused, &[("resource_owner", "not a member of `acme`")]);
}

#[test]
fn a_name_stands_once_among_a_user_s_tokens_and_there_are_only_so_many() {
    let fixture = Fixture::new();
    let own = |name: &str| draft(name, &["commons all contents=read"]);
    fixture.create("bob", own("one")).unwrap();
    check_invalid(fixture.create("BOB", own("one")), &[("name", "already been taken")]);
    fixture.create("carol", own("one")).unwrap();
    fixture.create("bob", own("two")).unwrap();
    let last = fixture.create("bob", own("three")).unwrap();
    check_invalid(fixture.create("bob", own("four")), &[("base", "you have 3 tokens already")]);
    fixture.run(fixture.issuer.delete(fixture.by("bob"), last.token.id)).unwrap();
    fixture.create("bob", own("three")).unwrap();
}

#[test]
fn the_usual_life_is_a_month_or_what_policy_allows() {
    let fixture = Fixture::new();
    for (parts, days) in [
        (&["bob all contents=read"][..], 30),
        (&["acme all contents=read"], 30),
        (&["bob all contents=read", "Commons all contents=read"], 5),
    ] {
        let name = format!("{days} {}", parts[0]);
        let view = fixture.create("bob", Draft { expiry: Expiry::Usual, ..draft(&name, parts) }).unwrap();
        assert_eq!(view.token.expires_at, Some(UnixTime(NOW + days * DAY)), "{parts:?}");
    }
}

#[test]
fn an_enterprise_is_above_its_organizations() {
    let own = |days: i64, permission: &str| {
        let expiry = Expiry::At(UnixTime(NOW + days * DAY));
        Draft { expiry, ..draft(&format!("{days} {permission}"), &[&format!("bob all {permission}")]) }
    };
    let strict =
        "administrators: [Bob]\nceiling: { contents: read }\nfine_grained_tokens: { max_lifetime: 10d }";
    let fixture = Fixture::under(strict);
    fixture.create("bob", own(10, "contents=read")).unwrap();
    let refused = fixture.create("bob", own(11, "contents=write"));
    let want =
        [("permissions", "`holding` lets no token"), ("expires_at", "`holding` lets tokens live 10 days")];
    check_invalid(refused, &want);
    let fixture = Fixture::under(&strict.replace("10d", "10d, exempt_administrators: true"));
    fixture.create("bob", own(11, "contents=read")).unwrap();
    let fixture = Fixture::under("fine_grained_tokens: { access: deny }");
    let refused = fixture.create("bob", own(1, "contents=read"));
    check_invalid(refused, &[("resource_owner", "`bob` forbids access")]);
    let fixture = Fixture::under("fine_grained_tokens: { approval: required, access: allow }");
    for (part, state) in [
        ("commons all contents=read", Pending),
        ("initech all contents=read", Pending),
        ("closed all contents=read", Pending),
    ] {
        let view = fixture.create("bob", draft(part.split(' ').next().unwrap(), &[part])).unwrap();
        assert_eq!(fixture.seen(view.token.id).0, state, "{part}");
    }
}

/// Between the moment a token is asked for and the one in which it is made, the rules may change.
#[test]
fn a_token_is_judged_by_the_rules_of_the_moment_in_which_it_is_made() {
    let fixture = Fixture::new();
    let stricter = policy("fine_grained_tokens: { approval: required }");
    let setting = Setting { in_force: InForce::new(move || Arc::clone(&stricter)), ..fixture.by("bob") };
    let made = fixture.run(fixture.issuer.create(setting, draft("late", &["commons all contents=read"])));
    let events = ["create by bob", "request_created commons by bob"];
    fixture.check(made.unwrap().view.token.id, Pending, &["? commons all contents=read"], &events);
}
