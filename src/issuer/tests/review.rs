//! What resource owners decide, once, about what they have seen.

use super::*;
use GrantState::{Active, Pending};

#[test]
fn what_is_approved_works_and_is_decided() {
    let fixture = Fixture::new();
    let id = fixture.token(&["acme alpha contents=write", "umbrella all contents=read"]);
    let request = fixture.requests("acme", id);
    fixture.decide("ACME", Verdict::Approve, &request).unwrap();
    let opens = ["acme alpha contents=write", "? umbrella all contents=read"];
    fixture.check(id, Active, &opens, &["access_granted acme by alice"]);
    let granted = &fixture.run(fixture.issuer.token(id)).unwrap().grants[0];
    assert_eq!((&*granted.granted_by, granted.granted_at), ("alice", fixture.now()));
    for verdict in [Verdict::Approve, Verdict::Deny] {
        check_not_found(fixture.decide("acme", verdict, &request));
    }
    fixture.check(id, Active, &opens, &[]);
}

#[test]
fn what_is_denied_opens_nothing_and_may_be_asked_for_again() {
    let fixture = Fixture::new();
    let id = fixture.token(&["acme alpha contents=write"]);
    let request = fixture.requests("acme", id);
    fixture.decide("acme", Verdict::Deny, &request).unwrap();
    fixture.check(id, Active, &[], &["request_denied acme by alice"]);
    check_not_found(fixture.decide("acme", Verdict::Approve, &request));
    fixture.edit(id, &["acme alpha contents=write"]).unwrap();
    let asked = ["request_created acme by bob", "update by bob"];
    fixture.check(id, Pending, &["? acme alpha contents=write"], &asked);
    assert_ne!(fixture.requests("acme", id), request);
}

#[test]
fn a_denied_widening_leaves_what_was_granted() {
    let fixture = Fixture::new();
    let id = fixture.token(&["acme alpha contents=read"]);
    fixture.approve("acme", id);
    fixture.edit(id, &["acme all contents=write"]).unwrap();
    fixture.events();
    fixture.decide("acme", Verdict::Deny, &fixture.requests("acme", id)).unwrap();
    fixture.check(id, Active, &["acme alpha contents=read"], &["request_denied acme by alice"]);
}

#[test]
fn an_approved_widening_takes_the_place_of_what_was_granted() {
    let fixture = Fixture::new();
    let id = fixture.token(&["acme alpha contents=write"]);
    fixture.approve("acme", id);
    let grants = fixture.grants(id);
    fixture.edit(id, &["acme beta contents=read,members=read"]).unwrap();
    fixture.events();
    fixture.decide("acme", Verdict::Approve, &fixture.requests("acme", id)).unwrap();
    let opens = ["acme beta contents=read,members=read"];
    fixture.check(id, Active, &opens, &["access_granted acme by alice"]);
    assert_eq!(fixture.grants(id), grants, "its number stays");
}

#[test]
fn all_are_decided_or_none() {
    let fixture = Fixture::new();
    let ids = [fixture.token(&["acme alpha contents=read"]), fixture.token(&["acme beta contents=read"])];
    let other = fixture.token(&["umbrella all contents=read"]);
    let requests: Vec<_> = ids.iter().flat_map(|id| fixture.requests("acme", *id)).collect();
    let foreign = fixture.requests("umbrella", other)[0];
    for more in [foreign, requests[0], 99, -1] {
        for verdict in [Verdict::Approve, Verdict::Deny] {
            check_not_found(fixture.decide("acme", verdict, &[requests[0], requests[1], more]));
        }
    }
    fixture.check(ids[0], Pending, &["? acme alpha contents=read"], &[]);
    fixture.check(other, Pending, &["? umbrella all contents=read"], &[]);
    fixture.decide("acme", Verdict::Approve, &requests).unwrap();
    let events = ["access_granted acme by alice", "access_granted acme by alice"];
    fixture.check(ids[0], Active, &["acme alpha contents=read"], &events);
    fixture.check(ids[1], Active, &["acme beta contents=read"], &[]);
}

/// Who owned an organization when a call came may own it no longer when its turn has come.
#[test]
fn an_approval_takes_an_owner_of_its_moment() {
    let fixture = Fixture::new();
    let id = fixture.token(&["acme alpha contents=read"]);
    let review = || Review {
        org: "acme".into(),
        requests: fixture.requests("acme", id),
        verdict: Verdict::Approve,
        reason: None,
    };
    let as_owner =
        |login: &str, org: &str| Setting { capacity: Capacity::OwnerOf(org.into()), ..fixture.by(login) };
    let refused = |setting: Setting, want: &str| {
        let outcome = fixture.run(fixture.issuer.review(setting, review()));
        assert!(matches!(&outcome, Err(IssueError::Forbidden(why)) if why.contains(want)), "{outcome:?}");
    };
    refused(as_owner("carol", "acme"), "`carol` owns `acme` no longer");
    refused(as_owner("alice", "umbrella"), "`alice` owns `umbrella` no longer");
    refused(
        Setting { capacity: Capacity::Administrator, ..fixture.by("alice") },
        "administers the gateway no longer",
    );
    fixture.check(id, Pending, &["? acme alpha contents=read"], &[]);
    fixture.run(fixture.issuer.review(as_owner("alice", "acme"), review())).unwrap();
    fixture.check(id, Active, &["acme alpha contents=read"], &["access_granted acme by alice"]);
}

#[test]
fn an_approval_is_judged_by_the_policy_of_its_day() {
    let mut fixture = Fixture::new();
    let id = fixture.token(&["acme alpha contents=read"]);
    let request = fixture.requests("acme", id);
    for (enterprise, want) in [
        ("fine_grained_tokens: { access: deny }", ("resource_owner", "forbids access")),
        ("ceiling: { contents: none }", ("permissions", "`holding` lets no token")),
        ("fine_grained_tokens: { max_lifetime: 4d }", ("expires_at", "4 days at most")),
    ] {
        fixture.policy = policy(enterprise);
        check_invalid(fixture.decide("acme", Verdict::Approve, &request), &[want]);
        fixture.check(id, Pending, &["? acme alpha contents=read"], &[]);
    }
    // To deny it is always possible.
    fixture.decide("acme", Verdict::Deny, &request).unwrap();
    fixture.check(id, Active, &[], &["request_denied acme by alice"]);
}

#[test]
fn what_the_user_is_told_has_a_bound() {
    let fixture = Fixture::new();
    let id = fixture.token(&["acme alpha contents=read"]);
    let requests = fixture.requests("acme", id);
    let review = |length: usize| Review {
        org: "acme".into(),
        requests: requests.clone(),
        verdict: Verdict::Deny,
        reason: Some("é".repeat(length)),
    };
    let decide = |length| fixture.run(fixture.issuer.review(fixture.by("alice"), review(length)));
    check_invalid(decide(1_025), &[("reason", "at most 1024")]);
    decide(1_024).unwrap();
}

#[test]
fn a_grant_that_is_taken_back_takes_what_is_asked_for_there_with_it() {
    let fixture = Fixture::new();
    let id =
        fixture.token(&["acme alpha contents=read", "bob all contents=read", "umbrella all contents=read"]);
    fixture.approve("acme", id);
    let widened = ["acme all contents=write", "bob all contents=read", "umbrella all contents=read"];
    fixture.edit(id, &widened).unwrap();
    fixture.events();
    let (grants, request) = (fixture.grants(id), fixture.requests("acme", id));
    let revoke = |org: &str, grants: &[i64]| {
        fixture.run(fixture.issuer.revoke_grants(fixture.by("alice"), org.into(), grants.into()))
    };
    let of_acme = fixture.run(fixture.issuer.token(id)).unwrap().grants;
    let of_acme = of_acme.iter().find(|grant| grant.part.owner == "acme").unwrap().id;
    // All of them or none, and only its own.
    check_not_found(revoke("acme", &grants));
    check_not_found(revoke("umbrella", &[of_acme]));
    check_not_found(revoke("acme", &[of_acme, of_acme]));
    check_not_found(revoke("acme", &[99]));
    let opens = [
        "acme alpha contents=read",
        "bob all contents=read",
        "? acme all contents=write",
        "? umbrella all contents=read",
    ];
    fixture.check(id, Active, &opens, &[]);
    revoke("Acme", &[of_acme]).unwrap();
    let events = ["access_revoked acme by alice", "request_denied acme by alice"];
    fixture.check(id, Active, &["bob all contents=read", "? umbrella all contents=read"], &events);
    check_not_found(revoke("acme", &[of_acme]));
    check_not_found(fixture.decide("acme", Verdict::Approve, &request));
}

#[test]
fn what_belongs_to_a_token_that_is_gone_is_not_decided_about() {
    let fixture = Fixture::new();
    let id = fixture.token(&["acme alpha contents=read", "bob all contents=read"]);
    let (request, grants) = (fixture.requests("acme", id), fixture.grants(id));
    fixture.run(fixture.issuer.delete(fixture.by("bob"), id)).unwrap();
    fixture.events();
    check_not_found(fixture.decide("acme", Verdict::Approve, &request));
    let revoke = fixture.issuer.revoke_grants(fixture.by("bob"), "bob".into(), grants);
    check_not_found(fixture.run(revoke));
    fixture.check(id, GrantState::Revoked, &[], &[]);
}
