//! What a resource owner sees, filtered and paged.

use super::*;
use crate::domain::lifecycle::fixture::part;
use crate::store::lists::ListQuery;
use crate::store::rows::LastUse;
use crate::store::rows::Revoked;

/// User, name, what is opened, and when the token was used last.
const TOKENS: [(&str, &str, &str, Option<i64>); 6] = [
    ("bob", "one", "acme alpha,alphabet contents=read", Some(1_100)),
    ("Carol", "two", "ACME all contents=write,members=read", Some(1_200)),
    ("bob", "three", "acme Beta issues=read", None),
    ("dave", "four", "umbrella all contents=read", Some(1_300)),
    ("dave", "five", "acme - members=write", Some(1_400)),
    ("dave", "revoked", "acme all contents=read", Some(1_500)),
];

/// A store in which [`TOKENS`] are granted, and asked for as well, a second after each other.
fn filled() -> Fixture {
    let fixture = Fixture::new();
    for ((user, name, opens, used), at) in TOKENS.into_iter().zip(1_000..) {
        fixture.change(move |changes| {
            let id = add_token(changes, user, name)?;
            changes.grant(id, &part(opens), UnixTime(at), "alice")?;
            changes.add_request(id, &part(opens), None, UnixTime(at))?;
            if let Some(used) = used {
                let last = LastUse { at: UnixTime(used), from: "192.0.2.7".into(), by: "git".into() };
                changes.note_use(&format!("id of {name}"), &last)?;
            }
            if name == "revoked" {
                let revoked = Revoked { at: UnixTime(at), by: "dave".into(), why: "gone".into() };
                changes.revoke_token(id, &revoked)?;
            }
            Ok(())
        });
    }
    fixture
}

/// What stands in every query that does not say otherwise.
fn query() -> ListQuery {
    ListQuery { org: "Acme".into(), ascending: true, limit: 30, ..ListQuery::default() }
}

/// The names of the tokens that are listed, and how many there are; grants and requests alike.
#[track_caller]
fn check(fixture: &Fixture, query: &ListQuery, names: &[&str], total: usize) {
    let grants = fixture.look(|reads| reads.grants_at(query));
    let requests = fixture.look(|reads| reads.requests_at(query));
    let listed: Vec<_> = grants.entries.iter().map(|(token, _)| token.name.as_str()).collect();
    assert_eq!((&*listed, grants.total), (names, total), "{query:?}");
    let listed: Vec<_> = requests.entries.iter().map(|(token, _)| token.name.as_str()).collect();
    assert_eq!((&*listed, requests.total), (names, total), "{query:?}");
    for (token, grant) in &grants.entries {
        assert_eq!((grant.token_id, &*grant.granted_by), (token.id, "alice"));
        let opens = TOKENS.iter().find(|(_, name, ..)| *name == token.name).unwrap().2;
        assert_eq!(grant.part, part(opens));
    }
    for (token, request) in &requests.entries {
        assert_eq!((request.token_id, request.reason.as_deref()), (token.id, None));
    }
}

#[test]
fn each_filter_must_fit() {
    let fixture = filled();
    let all = ["one", "two", "three", "five"];
    check(&fixture, &query(), &all, 4);
    check(&fixture, &ListQuery { org: "UMBRELLA".into(), ..query() }, &["four"], 1);
    check(&fixture, &ListQuery { org: "nobody".into(), ..query() }, &[], 0);
    check(&fixture, &ListQuery { users: vec!["BOB".into()], ..query() }, &["one", "three"], 2);
    let users = vec!["bob".into(), "carol".into()];
    check(&fixture, &ListQuery { users, ..query() }, &["one", "two", "three"], 3);
    check(&fixture, &ListQuery { users: vec!["eve".into()], ..query() }, &[], 0);
    check(&fixture, &ListQuery { token_ids: vec![2, 4, 5], ..query() }, &["two", "five"], 2);
    let repository = |name: &str| ListQuery { repository: Some(name.into()), ..query() };
    check(&fixture, &repository("ALPHA"), &["one", "two"], 2);
    check(&fixture, &repository("beta"), &["two", "three"], 2);
    check(&fixture, &repository("alph"), &["two"], 1);
    let permission = |name: &str| ListQuery { permission: Some(name.into()), ..query() };
    check(&fixture, &permission("contents"), &["one", "two"], 2);
    check(&fixture, &permission("members"), &["two", "five"], 2);
    check(&fixture, &permission("member"), &[], 0);
    check(&fixture, &ListQuery { used_before: Some(UnixTime(1_200)), ..query() }, &["one"], 1);
    check(&fixture, &ListQuery { used_after: Some(UnixTime(1_100)), ..query() }, &["two", "five"], 2);
    let both = ListQuery { users: vec!["bob".into()], permission: Some("issues".into()), ..query() };
    check(&fixture, &both, &["three"], 1);
}

/// `repository` is a scope of permissions, not one of them.
#[test]
fn a_scope_is_no_permission() {
    let fixture = filled();
    for name in ["repository", "organization", "other"] {
        check(&fixture, &ListQuery { permission: Some(name.into()), ..query() }, &[], 0);
    }
}

#[test]
fn lists_are_in_order_and_come_in_pages() {
    let fixture = filled();
    check(&fixture, &ListQuery { ascending: false, ..query() }, &["five", "three", "two", "one"], 4);
    let page = |skip, limit| ListQuery { skip, limit, ..query() };
    check(&fixture, &page(0, 3), &["one", "two", "three"], 4);
    check(&fixture, &page(3, 3), &["five"], 4);
    check(&fixture, &page(4, 3), &[], 4);
    check(&fixture, &ListQuery { ascending: false, ..page(1, 2) }, &["three", "two"], 4);
}
