//! How many tokens there are, in which state, and how many expire soon.
//!
//! Asked at each scrape, since a token expires without any change of the policy. This module knows no policy: whoever puts
//! the parts together says how to count.

use std::fmt;
use std::sync::{Arc, OnceLock};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::proto::MetricType::GAUGE;

use crate::clock;
use crate::domain::grant::UnixTime;
use crate::record::sample::{Words, gauge, labelled};

const DAY: i64 = 24 * 60 * 60;

/// The values of `within`, with their lengths in seconds.
const HORIZONS: [(&str, i64); 3] = [("1d", DAY), ("7d", 7 * DAY), ("30d", 30 * DAY)];

const BY_STATE: Words = Words {
    name: "tokens",
    help: "Tokens in the policy in force, by state.",
    kind: GAUGE,
    labels: &["state"],
};

const EXPIRING: Words = Words {
    name: "tokens_expiring",
    help: "Active tokens that expire within this time.",
    kind: GAUGE,
    labels: &["within"],
};

/// How many tokens are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenCounts {
    /// Work.
    pub active: usize,
    /// Would work, if they had not expired.
    pub expired: usize,
    /// Wait for approval.
    pub pending: usize,
    /// Were taken back.
    pub revoked: usize,
    /// Belong to users who are suspended.
    pub suspended: usize,
}

/// What counts the tokens of the policy in force.
pub trait Census: Send + Sync {
    /// The tokens by state, at `now`.
    fn states(&self, now: UnixTime) -> TokenCounts;

    /// The active tokens that expire within `seconds` from `now`.
    fn expiring(&self, now: UnixTime, seconds: i64) -> usize;
}

/// Tells the census of the policy in force; nothing but zeros before there is one.
#[derive(Clone)]
pub(crate) struct CensusCollector {
    census: Arc<OnceLock<Box<dyn Census>>>,
    descriptions: [Desc; 2],
}

impl CensusCollector {
    pub(crate) fn new() -> Self {
        Self { census: Arc::default(), descriptions: [BY_STATE, EXPIRING].map(Words::description) }
    }

    /// Has `census` asked from now on; the first one stays.
    pub(crate) fn ask(&self, census: Box<dyn Census>) {
        self.census.get_or_init(|| census);
    }
}

impl fmt::Debug for CensusCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CensusCollector").finish_non_exhaustive()
    }
}

impl Collector for CensusCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let now = clock::now();
        let census = self.census.get();
        let counts = census.map(|census| census.states(now)).unwrap_or_default();
        let metric = |label: &str, value: &str, count: usize| {
            labelled(gauge(u64::try_from(count).unwrap_or(u64::MAX)), &[(label, value)])
        };
        let states = [
            ("active", counts.active),
            ("expired", counts.expired),
            ("pending", counts.pending),
            ("revoked", counts.revoked),
            ("suspended", counts.suspended),
        ];
        let expiring = HORIZONS.map(|(word, seconds)| {
            metric("within", word, census.map_or(0, |census| census.expiring(now, seconds)))
        });
        vec![
            BY_STATE.family(states.map(|(state, count)| metric("state", state, count)).into()),
            EXPIRING.family(expiring.into()),
        ]
    }
}
