//! How many tokens there are, in which state, and how many expire soon.
//!
//! Counted when a policy comes into force, and told by the time of the scrape: a token expires without any change of
//! the policy.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricType::GAUGE;
use prometheus::proto::{Metric, MetricFamily};

use crate::clock;
use crate::domain::grant::{Grant, GrantState, UnixTime};
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

/// The tokens of one policy.
#[derive(Debug, Default)]
pub struct Census {
    /// When the active ones expire, in order, in seconds since 1970.
    expiries: Vec<i64>,
    pending: usize,
    revoked: usize,
}

impl Census {
    /// Of these tokens.
    pub fn of<'a>(grants: impl Iterator<Item = &'a Grant>) -> Self {
        let mut census = Self::default();
        for grant in grants {
            match grant.state {
                GrantState::Active => census.expiries.push(grant.expires_at.0),
                GrantState::Pending => census.pending += 1,
                GrantState::Revoked => census.revoked += 1,
            }
        }
        census.expiries.sort_unstable();
        census
    }

    /// How many tokens there are.
    pub fn total(&self) -> usize {
        self.expiries.len() + self.pending + self.revoked
    }

    /// How many of the active ones expire at `moment` or before.
    fn expired_by(&self, moment: i64) -> usize {
        self.expiries.partition_point(|expiry| *expiry <= moment)
    }

    fn by_state(&self, now: UnixTime) -> [(&'static str, usize); 4] {
        let expired = self.expired_by(now.0);
        [
            ("active", self.expiries.len() - expired),
            ("expired", expired),
            ("pending", self.pending),
            ("revoked", self.revoked),
        ]
    }

    fn expiring(&self, now: UnixTime) -> [(&'static str, usize); 3] {
        HORIZONS
            .map(|(word, time)| (word, self.expired_by(now.0.saturating_add(time)) - self.expired_by(now.0)))
    }
}

/// Tells the census of the policy in force.
#[derive(Clone)]
pub(crate) struct CensusCollector {
    census: Arc<Mutex<Census>>,
    descriptions: [Desc; 2],
}

impl CensusCollector {
    pub(crate) fn new() -> Self {
        Self { census: Arc::default(), descriptions: [BY_STATE, EXPIRING].map(Words::description) }
    }

    pub(crate) fn replace(&self, census: Census) {
        *self.census.lock().unwrap_or_else(PoisonError::into_inner) = census;
    }
}

impl Collector for CensusCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let metric = |label: &'static str| {
            move |(value, count): (&str, usize)| -> Metric {
                labelled(gauge(u64::try_from(count).unwrap_or(u64::MAX)), &[(label, value)])
            }
        };
        let now = clock::now();
        let census = self.census.lock().unwrap_or_else(PoisonError::into_inner);
        vec![
            BY_STATE.family(census.by_state(now).map(metric("state")).into()),
            EXPIRING.family(census.expiring(now).map(metric("within")).into()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(state: GrantState, expires_at: i64) -> Grant {
        Grant {
            name: "ci".into(),
            user: "ci-bot".into(),
            parts: Box::default(),
            user_permissions: Arc::default(),
            expires_at: UnixTime(expires_at),
            created_at: None,
            state,
            networks: Box::default(),
        }
    }

    #[test]
    fn tokens_are_counted_by_state_and_by_the_time_that_is_left() {
        let now = 1_800_000_000;
        let active = [now - 1, now, now + 1, now + DAY, now + DAY + 1, now + 8 * DAY, now + 31 * DAY];
        let grants: Vec<_> = active
            .into_iter()
            .map(|expiry| grant(GrantState::Active, expiry))
            .chain([grant(GrantState::Revoked, now + 1), grant(GrantState::Pending, now - 1)])
            .collect();
        let census = Census::of(grants.iter());
        assert_eq!(census.total(), 9);
        let now = UnixTime(now);
        assert_eq!(census.by_state(now), [("active", 5), ("expired", 2), ("pending", 1), ("revoked", 1)]);
        assert_eq!(census.expiring(now), [("1d", 2), ("7d", 3), ("30d", 4)]);
    }
}
