//! Random walks through a token's life: whatever its user and the resource owners do in whatever order, it opens exactly
//! what is approved and still asked for.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::domain::lifecycle::Standing;
use crate::domain::lifecycle::fixture::opened;
use crate::domain::permission::Level;

type Items = BTreeSet<(&'static str, &'static str, String, Level)>;

/// What was said of one token, item by item: nothing of how it is kept.
#[derive(Default)]
struct Reference {
    /// By resource owner.
    approved: BTreeMap<String, Items>,
    asked: BTreeMap<String, Items>,
}

fn items(part: &Part) -> Items {
    opened(&part.terms).into_iter().collect()
}

impl Reference {
    /// Its user asks for `parts`. One's own, `commons`, and reading at `initech`, need nobody's approval.
    fn ask(&mut self, parts: &[Part]) {
        let wanted: BTreeMap<_, _> =
            parts.iter().map(|part| (part.owner.to_ascii_lowercase(), items(part))).collect();
        let owners: BTreeSet<_> = self.approved.keys().chain(self.asked.keys()).cloned().collect();
        for owner in owners.iter().filter(|owner| !wanted.contains_key(*owner)) {
            self.approved.remove(owner);
            self.asked.remove(owner);
        }
        for (owner, wanted) in wanted {
            let reads = wanted.iter().all(|item| item.3 == Level::Read);
            let needs_nobody = matches!(&*owner, "bob" | "commons") || owner == "initech" && reads;
            let before = self.approved.remove(&owner);
            let is_less = before.as_ref().is_some_and(|before| wanted.is_subset(before));
            self.asked.remove(&owner);
            if is_less || needs_nobody {
                self.approved.insert(owner, wanted);
                continue;
            }
            if let Some(before) = before {
                self.approved.insert(owner.clone(), before.intersection(&wanted).cloned().collect());
            }
            self.asked.insert(owner, wanted);
        }
    }

    fn decide(&mut self, owner: &str, verdict: Verdict) {
        let asked = self.asked.remove(owner);
        match (verdict, asked) {
            (Verdict::Approve, Some(asked)) => drop(self.approved.insert(owner.to_owned(), asked)),
            (Verdict::Approve, None) | (Verdict::Deny, _) => {}
        }
    }

    /// Nobody cares for owners where nothing is opened.
    fn shown(&self) -> [Vec<(&str, &Items)>; 2] {
        [&self.approved, &self.asked].map(|side| {
            let side = side.iter().map(|(owner, items)| (owner.as_str(), items));
            side.filter(|(_, items)| !items.is_empty()).collect()
        })
    }
}

#[derive(Debug, Clone)]
enum Step {
    Edit(Vec<&'static str>),
    Decide(&'static str, Verdict),
    /// About a request that was decided or taken back already.
    DecideAgain(Verdict),
    Revoke(&'static str),
    Regenerate(bool),
    Rename,
}

/// Two spellings of every name.
fn any_part() -> impl Strategy<Value = &'static str> {
    let parts = [
        "acme all contents=read",
        "acme all contents=write",
        "ACME alpha,beta contents=read",
        "Acme ALPHA contents=write,issues=read",
        "acme Beta,gamma contents=write",
        "acme - members=write",
        "acme alpha members=read,contents=read",
        "initech all contents=read",
        "INITECH alpha contents=write",
        "initech Alpha,beta contents=read,members=read",
        "commons alpha contents=write",
        "bob all contents=write",
        "BOB alpha contents=read,issues=write",
    ];
    proptest::sample::select(parts.to_vec())
}

fn any_step() -> impl Strategy<Value = Step> {
    let owners = || proptest::sample::select(vec!["acme", "initech"]);
    let verdicts = || prop_oneof![2 => Just(Verdict::Approve), 1 => Just(Verdict::Deny)];
    prop_oneof![
        6 => vec(any_part(), 1..4).prop_map(Step::Edit),
        4 => (owners(), verdicts()).prop_map(|(owner, verdict)| Step::Decide(owner, verdict)),
        1 => verdicts().prop_map(Step::DecideAgain),
        1 => owners().prop_map(Step::Revoke),
        1 => any::<bool>().prop_map(Step::Regenerate),
        1 => Just(Step::Rename),
    ]
}

/// Does `step` to the token `id`, and to `reference`; `done` are requests that nobody may decide about any more.
fn take_step(
    fixture: &Fixture,
    id: i64,
    step: Step,
    (reference, done): (&mut Reference, &mut BTreeSet<i64>),
) {
    let requests = |org: &str| fixture.requests(org, id);
    let before: BTreeSet<_> = ["acme", "initech"].into_iter().flat_map(requests).collect();
    match step {
        Step::Edit(texts) => {
            let mut parts: Vec<Part> = Vec::new();
            for part in texts.into_iter().map(part) {
                if !parts.iter().any(|known| known.owner.eq_ignore_ascii_case(&part.owner)) {
                    parts.push(part);
                }
            }
            reference.ask(&parts);
            let edit = Edit { parts: Some(parts), ..Edit::default() };
            fixture.run(fixture.issuer.edit(fixture.by("bob"), id, edit)).unwrap();
        }
        Step::Decide(org, verdict) => {
            fixture.decide(org, verdict, &requests(org)).unwrap();
            reference.decide(org, verdict);
        }
        Step::DecideAgain(verdict) => {
            for (org, request) in
                ["acme", "initech"].iter().flat_map(|org| done.iter().map(move |id| (org, id)))
            {
                check_not_found(fixture.decide(org, verdict, &[*request]));
            }
        }
        Step::Revoke(org) => {
            let view = fixture.run(fixture.issuer.token(id)).unwrap();
            let here = view.grants.iter().filter(|grant| grant.part.owner.eq_ignore_ascii_case(org));
            let here: Vec<_> = here.map(|grant| grant.id).collect();
            if !here.is_empty() {
                reference.approved.remove(org);
                reference.asked.remove(org);
            }
            fixture.run(fixture.issuer.revoke_grants(fixture.by("alice"), org.into(), here)).unwrap();
        }
        Step::Regenerate(overlaps) => {
            let expiry = Expiry::At(UnixTime(NOW + 5 * DAY));
            fixture.regenerate(id, expiry, if overlaps { 60 } else { 0 }).unwrap();
        }
        Step::Rename => {
            let edit = Edit { description: Some("another".into()), ..Edit::default() };
            fixture.run(fixture.issuer.edit(fixture.by("bob"), id, edit)).unwrap();
        }
    }
    let after: BTreeSet<_> = ["acme", "initech"].into_iter().flat_map(requests).collect();
    done.extend(before.difference(&after));
}

/// What whoever judges requests gets to see, item by item; the same for each of the token's secrets.
fn found(fixture: &Fixture) -> Reference {
    let mut found = Reference::default();
    let take = |token: &crate::domain::lifecycle::StoredToken, _: usize| {
        assert_eq!(token.standing, Standing::Good);
        let by_owner = |parts: &[Part]| -> BTreeMap<_, _> {
            parts.iter().map(|part| (part.owner.to_ascii_lowercase(), items(part))).collect()
        };
        found = Reference { approved: by_owner(&token.granted), asked: by_owner(&token.awaited) };
    };
    fixture.issuer.store.each_token(take).unwrap();
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_token_opens_what_is_approved_and_still_asked_for(
        first in any_part(),
        steps in vec(any_step(), 1..16),
    ) {
        let mut fixture = Fixture::new();
        fixture.issuer.limits.repositories_per_token = 100;
        let id = fixture.token(&[first]);
        let (mut reference, mut done) = (Reference::default(), BTreeSet::new());
        reference.ask(&[part(first)]);
        let now = found(&fixture);
        prop_assert_eq!(now.shown(), reference.shown());
        for step in steps {
            let shown = format!("{step:?}");
            take_step(&fixture, id, step, (&mut reference, &mut done));
            let now = found(&fixture);
            prop_assert_eq!(now.shown(), reference.shown(), "{}", shown);
        }
        fixture.events();
    }
}
