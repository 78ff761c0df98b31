//! The compiled decision against a naive reading of the same files, on random small policies, tokens and requests; and
//! what no change of a policy may ever do.

mod model;
mod naive;
mod paths;
mod requests;

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderValue, Method, header};
use portcullis::domain::grant::UnixTime;
use portcullis::domain::refusal::Refusal;
use portcullis::domain::target::CanonicalTarget;
use portcullis::domain::token::{TokenDigest, TokenFormat};
use portcullis::policy::compile::compile;
use portcullis::policy::grants::index::Kept;
use portcullis::policy::judge::{Claim, Question, judge_claim};
use portcullis::policy::snapshot::Snapshot;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::RngSeed;

use crate::reference::model::{Deny, Policy, any_policy, deny, policy};
use crate::reference::naive::{Ask, Files};
use crate::reference::requests::{Request, request};
use crate::support::policy::{snapshot, upstream};

/// How many requests each policy is asked.
const REQUESTS: usize = 48;

/// The same cases at every run, so that a red one stays red while it is looked at. `PROPTEST_RNG_SEED` and
/// `PROPTEST_CASES` give others, and more.
fn config(cases: u32) -> ProptestConfig {
    let mut config = ProptestConfig::default();
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(20_261_122);
    }
    config.cases = config.cases.max(cases);
    config.failure_persistence = None;
    config
}

fn compiled_answer(snapshot: &Snapshot, ask: &Ask) -> &'static str {
    let outcome = CanonicalTarget::parse(&ask.target).map_err(Refusal::from).and_then(|target| {
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, HeaderValue::from_static("test"));
        let question = Question {
            method: &Method::from_bytes(ask.method.as_bytes()).unwrap(),
            target: &target,
            host: "git.example.com",
            server_name: None,
            headers: &headers,
            peer: ask.peer,
            now: UnixTime(ask.now),
            kept: &Kept::default(),
        };
        let claim = Claim::Digest(TokenDigest::from_hex(&ask.digest).unwrap());
        judge_claim(snapshot, &question, claim).outcome.map(drop)
    });
    outcome.map_or_else(|refusal| refusal.reason().as_str(), |()| "permit")
}

fn compiled(policy: &Policy) -> Snapshot {
    snapshot(&policy.sources(), &["small"])
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn the_compiled_decision_equals_the_naive_one(
        policy in policy(),
        requests in prop::collection::vec(request(), REQUESTS),
    ) {
        let snapshot = compiled(&policy);
        let files = Files::read(&policy.sources());
        for request in &requests {
            let ask = request.of(&policy);
            prop_assert_eq!(compiled_answer(&snapshot, &ask), files.answer(&ask), "{:?}", ask);
        }
    }

    #[test]
    fn what_compiles_is_what_the_documentation_allows(mut policy in any_policy()) {
        let outcome = compile(&policy.sources(), &[upstream(&["small"])], &TokenFormat::default(), 1);
        // A route that stands twice in the same words is one key of the rendered file.
        let mut words: Vec<_> = policy.routes.iter().map(|route| (route.methods, route.template.clone())).collect();
        words.sort();
        words.dedup();
        prop_assume!(words.len() == policy.routes.len());
        prop_assert_eq!(outcome.is_ok(), policy.drop_conflicts());
    }

    #[test]
    fn a_stricter_policy_opens_nothing(
        policy in policy(),
        changes in prop::collection::vec(change(), 1..4),
        requests in prop::collection::vec(request(), REQUESTS),
    ) {
        let mut policy = policy;
        if changes.iter().any(|change| matches!(change, Change::Expiry(_))) {
            // A shorter life may bring a token below a longest lifetime, which is what that is for.
            policy.organizations.values_mut().for_each(|organization| organization.max_lifetime = None);
        }
        let mut stricter = policy.clone();
        for change in &changes {
            change.apply(&mut stricter);
        }
        stricter.drop_conflicts();
        let (before, after) = (compiled(&policy), compiled(&stricter));
        for request in &requests {
            let ask = request.of(&policy);
            let (was, is) = (compiled_answer(&before, &ask), compiled_answer(&after, &ask));
            prop_assert!(is != "permit" || was == "permit", "{} became a permit: {:?}", was, ask);
        }
    }

    #[test]
    fn head_is_answered_as_get_where_it_has_no_route(
        policy in policy(),
        requests in prop::collection::vec(request(), REQUESTS),
    ) {
        let mut policy = policy;
        policy.routes.retain(|route| route.methods != "HEAD");
        policy.deny.retain(|deny| deny.methods != "HEAD");
        prop_assume!(!policy.routes.is_empty());
        let snapshot = compiled(&policy);
        for request in &requests {
            let ask = |method: &str| Ask { method: method.into(), ..request.of(&policy) };
            prop_assert_eq!(
                compiled_answer(&snapshot, &ask("HEAD")),
                compiled_answer(&snapshot, &ask("GET")),
                "{:?}",
                ask("GET")
            );
        }
    }
}

/// A change that only takes away.
#[derive(Debug, Clone)]
enum Change {
    Permission(Index, bool),
    Repository(Index),
    Ceiling(&'static str, &'static str),
    Deny(Deny),
    Expiry(&'static str),
    State(&'static str),
    Network,
    Access,
    Members,
}

fn change() -> impl Strategy<Value = Change> {
    let permission = select(vec!["code", "notes", "team"]);
    prop_oneof![
        (any::<Index>(), any::<bool>()).prop_map(|(at, whole)| Change::Permission(at, whole)),
        any::<Index>().prop_map(Change::Repository),
        (permission, select(vec!["none", "read"])).prop_map(|(name, most)| Change::Ceiling(name, most)),
        deny().prop_map(Change::Deny),
        select(vec!["2026-11-21", "2026-11-22", "2026-11-23"]).prop_map(Change::Expiry),
        select(vec!["pending", "revoked"]).prop_map(Change::State),
        Just(Change::Network),
        Just(Change::Access),
        Just(Change::Members),
    ]
}

impl Change {
    fn apply(&self, policy: &mut Policy) {
        match self {
            Self::Permission(at, whole) => {
                for part in policy.tokens.iter_mut().flat_map(|token| &mut token.parts) {
                    if part.permissions.is_empty() {
                        continue;
                    }
                    let name = *part.permissions.keys().nth(at.index(part.permissions.len())).unwrap();
                    if *whole {
                        part.permissions.remove(name);
                    } else {
                        part.permissions.insert(name, "read");
                    }
                }
            }
            Self::Repository(at) => {
                for part in policy.tokens.iter_mut().flat_map(|token| &mut token.parts) {
                    match &mut part.repositories {
                        None => part.repositories = Some(vec!["alpha"]),
                        Some(names) if names.len() > 1 => drop(names.remove(at.index(names.len()))),
                        Some(_) => {}
                    }
                }
            }
            Self::Ceiling(name, most) => {
                let ceiling = &mut policy.organizations.entry("acme").or_default().ceiling;
                let lowest = ceiling.get(name).is_some_and(|most| *most == "none");
                ceiling.insert(name, if lowest { "none" } else { most });
            }
            Self::Deny(rule) => policy.deny.push(rule.clone()),
            Self::Expiry(when) => {
                for token in &mut policy.tokens {
                    token.expires_at = token.expires_at.min(when);
                }
            }
            Self::State(state) => policy.tokens[0].state = Some(state),
            Self::Network => {
                for token in policy.tokens.iter_mut().filter(|token| token.networks.is_empty()) {
                    token.networks = vec!["10.0.0.0/8"];
                }
            }
            Self::Access => policy.organizations.entry("acme").or_default().deny_access = true,
            Self::Members => {
                let members = &mut policy.organizations.entry("acme").or_default().members;
                members.get_or_insert_with(|| BTreeMap::from([("bob", "read")]));
            }
        }
    }
}

/// The properties say little where nearly everything is refused for one reason.
#[test]
fn the_requests_reach_every_step() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::new(config(1));
    let mut seen: BTreeMap<&'static str, u32> = BTreeMap::new();
    let strategy = (policy(), prop::collection::vec(request(), 4 * REQUESTS));
    for _ in 0..128 {
        let (policy, requests): (Policy, Vec<Request>) = strategy.new_tree(&mut runner).unwrap().current();
        let snapshot = compiled(&policy);
        for request in &requests {
            *seen.entry(compiled_answer(&snapshot, &request.of(&policy))).or_default() += 1;
        }
    }
    for word in [
        "permit",
        "ambiguous_target",
        "bad_credentials",
        "token_expired",
        "token_revoked",
        "token_pending",
        "no_route",
        "resource_not_granted",
        "permission_missing",
        "never_grantable",
        "policy_forbids",
        "constraint_failed",
    ] {
        assert!(seen.get(word).is_some_and(|count| *count >= 20), "{word}: {seen:?}");
    }
}
