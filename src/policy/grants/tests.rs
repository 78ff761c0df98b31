//! What is packed is read back, and found.

use std::sync::Arc;

use super::*;
use crate::domain::permission::{Level, Permission, PermissionId, Scope, Vocabulary};
use crate::policy::grants::packed::{LONGEST_TEXT, PackError, Packer, PartTerms, TokenTerms};
use crate::policy::grants::states::TokenStates;
use crate::policy::grants::table::{TokenPlace, TokenTable};

fn permission() -> PermissionId {
    let permission = Permission {
        name: "contents".into(),
        scope: Scope::Repository,
        levels: Level::ALL.into(),
        description: String::new(),
        implied: false,
        write_role: Level::Write,
    };
    Vocabulary::default().add(permission).unwrap()
}

fn digest(number: u64) -> TokenDigest {
    TokenDigest::of(&number.to_string())
}

/// A token that reaches `names` of `acme`.
fn terms<'t>(digest: TokenDigest, parts: &'t [PartTerms<'t>]) -> TokenTerms<'t> {
    TokenTerms {
        digest,
        line: 3,
        name: "ci",
        user: "bob",
        expires_at: UnixTime(100),
        created_at: None,
        state: GrantState::Active,
        user_permissions: PermissionSet::default(),
        networks: &[],
        parts,
    }
}

fn part<'t>(owner: &'t str, names: Option<&'t [&'t str]>) -> PartTerms<'t> {
    let mut permissions = PermissionSet::default();
    permissions.grant(permission(), Level::Write);
    PartTerms { owner, names, permissions, approval: Approval::Granted }
}

#[test]
fn every_field_is_read_back() {
    let networks = ["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
    let parts = [part("acme", Some(&["Alpha", "beta"])), part("umbrella", None), part("bob", Some(&[]))];
    let mut user_permissions = PermissionSet::default();
    user_permissions.grant(permission(), Level::Admin);
    let mut packer = Packer::default();
    let long = "n".repeat(40 * 4);
    packer
        .push(&TokenTerms {
            created_at: Some(UnixTime(-5)),
            state: GrantState::Pending,
            user_permissions,
            networks: &networks,
            name: &long,
            ..terms(digest(1), &parts)
        })
        .unwrap();
    packer.push(&terms(digest(2), &[])).unwrap();
    let file = packer.finish("a.yaml".into());
    let grant = file.grant(0).unwrap();
    assert_eq!((grant.name(), grant.user(), grant.digest()), (long.as_str(), "bob", &digest(1)));
    assert_eq!((grant.expires_at(), grant.created_at()), (UnixTime(100), Some(UnixTime(-5))));
    assert_eq!((grant.state(), file.line(0)), (GrantState::Pending, Some(3)));
    assert_eq!(grant.networks().collect::<Vec<_>>(), networks);
    assert_eq!(*grant.user_permissions(), user_permissions);
    let owners: Vec<_> = grant.parts().map(|part| (part.owner, part.selection.is_all())).collect();
    assert_eq!(owners, [("acme", false), ("umbrella", true), ("bob", false)]);
    assert_eq!(*grant.parts().next().unwrap().permissions, parts[0].permissions);
    assert!(grant.allows_peer("10.1.2.3".parse().unwrap()));
    assert!(!grant.allows_peer("192.0.2.7".parse().unwrap()));

    let plain = file.grant(1).unwrap();
    assert_eq!((plain.created_at(), plain.state()), (None, GrantState::Active));
    assert_eq!((plain.parts().count(), plain.networks().count()), (0, 0));
    assert!(plain.user_permissions().is_empty() && plain.allows_peer("192.0.2.7".parse().unwrap()));
    assert_eq!(file.grant(2).map(|grant| grant.name().to_owned()), None);

    let mut packer = Packer::default();
    packer.copy(grant, digest(3)).unwrap();
    let copy = packer.finish("b.yaml".into());
    assert_eq!(format!("{:?}", copy.grant(0)), format!("{:?}", Some(grant)));
    assert_eq!(copy.grant(0).unwrap().digest(), &digest(3));
}

/// One packer packs file after file; nothing of one is seen in the next.
#[test]
fn a_packer_forgets_what_it_has_packed() {
    let mut packer = Packer::default();
    let networks = ["10.0.0.0/8".parse().unwrap()];
    let revoked = GrantState::Revoked;
    let parts = [part("acme", Some(&["alpha"]))];
    let one = TokenTerms { state: revoked, networks: &networks, ..terms(digest(1), &parts) };
    packer.push(&one).unwrap();
    let first = packer.finish("a".into());
    assert!(packer.is_empty());
    packer.push(&terms(digest(2), &[part("umbrella", None)])).unwrap();
    let second = packer.finish("b".into());
    assert_eq!((first.len(), second.len()), (1, 1));
    let now = UnixTime(0);
    assert_eq!((first.states(now).revoked, second.states(now).revoked), (1, 0));
    let grant = second.grant(0).unwrap();
    assert_eq!((grant.digest(), grant.name(), grant.networks().count()), (&digest(2), "ci", 0));
    assert_eq!(grant.parts().map(|part| part.owner).collect::<Vec<_>>(), ["umbrella"]);
    assert_eq!(first.grant(0).unwrap().networks().collect::<Vec<_>>(), networks);
}

#[test]
fn selections_compare_whole_names_without_case() {
    let mut packer = Packer::default();
    packer.push(&terms(digest(1), &[part("Acme", Some(&["Alpha", "beta"]))])).unwrap();
    let file = packer.finish("a.yaml".into());
    let covers = |owner, name| {
        let resource = Resource::Repository(RepositoryName { owner, name });
        file.grant(0).unwrap().part_for(&resource).is_some()
    };
    for name in ["alpha", "ALPHA", "beta"] {
        assert!(covers("acme", name), "{name}");
    }
    for name in ["alph", "alphaa", "*", ""] {
        assert!(!covers("acme", name), "{name}");
    }
    assert!(!covers("acm", "alpha") && !covers("", "alpha"));
}

#[test]
fn a_text_that_no_path_could_hold_is_refused() {
    let mut packer = Packer::default();
    let long = "n".repeat(LONGEST_TEXT);
    assert_eq!(packer.push(&TokenTerms { user: &long, ..terms(digest(1), &[]) }), Err(PackError::Text));
    let long = "n".repeat(LONGEST_TEXT - 1);
    packer.push(&TokenTerms { user: &long, ..terms(digest(1), &[]) }).unwrap();
    assert_eq!(packer.finish("a".into()).grant(0).unwrap().user(), long);
}

/// The tokens `numbers`, `file` of them a file.
fn table(numbers: std::ops::Range<u64>, a_file: usize) -> TokenTable {
    let numbers: Vec<_> = numbers.collect();
    let files = numbers.chunks(a_file).map(|numbers| {
        let mut packer = Packer::default();
        for number in numbers {
            let name = format!("t{number}");
            packer.push(&TokenTerms { name: &name, ..terms(digest(*number), &[]) }).unwrap();
        }
        Arc::new(packer.finish("a".into()))
    });
    TokenTable::build(files.collect(), || {}).unwrap()
}

#[test]
fn every_token_is_found_and_no_other() {
    assert!(TokenTable::default().get(&digest(0)).is_none());
    for (count, a_file) in [(1, 1), (2, 1), (5_000, 700), (5_000, 5_000)] {
        let table = table(0..count, a_file);
        assert_eq!((table.len() as u64, table.grants().count() as u64), (count, count));
        for number in 0..count {
            let found = table.get(&digest(number)).map(Grant::name);
            assert_eq!(found, Some(format!("t{number}").as_str()), "{count}");
            assert!(table.get(&digest(count + number)).is_none(), "{count}");
        }
    }
}

/// Digests that nobody hashed: they differ in a few bits only.
#[test]
fn digests_that_are_alike_are_told_apart() {
    let near = |last: u8| TokenDigest::from_hex(&format!("{}{last:02x}", "f".repeat(62))).unwrap();
    let mut packer = Packer::default();
    for last in 0..100 {
        let name = last.to_string();
        packer.push(&TokenTerms { name: &name, ..terms(near(last), &[]) }).unwrap();
    }
    let table = TokenTable::build(vec![Arc::new(packer.finish("a".into()))], || {}).unwrap();
    for last in 0..100 {
        assert_eq!(table.get(&near(last)).map(Grant::name), Some(last.to_string().as_str()));
    }
    assert!(table.get(&near(100)).is_none());
}

#[test]
fn a_digest_that_stands_twice_is_told_with_both_places() {
    let file = |numbers: &[u64]| {
        let mut packer = Packer::default();
        for number in numbers {
            packer.push(&terms(digest(*number), &[])).unwrap();
        }
        Arc::new(packer.finish("a".into()))
    };
    let twice = TokenTable::build(vec![file(&[1, 2]), file(&[3, 2, 3])], || {}).unwrap_err();
    let place = |file, entry| TokenPlace { file, entry };
    let told: Vec<_> = twice.duplicates.iter().map(|duplicate| (duplicate.first, duplicate.again)).collect();
    assert_eq!(told, [(place(0, 1), place(1, 1)), (place(1, 0), place(1, 2))]);
}

#[test]
fn tokens_are_counted_by_state() {
    let mut packer = Packer::default();
    for (number, state, expires_at) in [
        (1, GrantState::Active, 100),
        (2, GrantState::Active, 101),
        (3, GrantState::Active, 200),
        (4, GrantState::Pending, 1),
        (5, GrantState::Revoked, 300),
        (6, GrantState::Active, i64::MAX),
        (7, GrantState::Active, -1),
    ] {
        let expires_at = UnixTime(expires_at);
        packer.push(&TokenTerms { expires_at, state, ..terms(digest(number), &[]) }).unwrap();
    }
    let table = TokenTable::build(vec![Arc::new(packer.finish("a".into()))], || {}).unwrap();
    let states = table.states(UnixTime(100));
    assert_eq!(states, TokenStates { active: 3, expired: 2, pending: 1, revoked: 1, suspended: 0 });
    assert_eq!([0, 1, 99, 100].map(|within| table.expiring(UnixTime(100), within)), [0, 1, 1, 2]);
    assert_eq!(table.expiring(UnixTime(100), i64::MAX), 3);
}
