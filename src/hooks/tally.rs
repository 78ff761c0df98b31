//! What is counted of deliveries.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::store::deliveries::DeliveryCounts;

/// What an attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver took it: 2xx.
    Delivered,
    /// It answered something else.
    Refused,
    /// It could not be reached, or broke off.
    Unreachable,
    /// It did not answer in time.
    TimedOut,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 4] = [Self::Delivered, Self::Refused, Self::Unreachable, Self::TimedOut];

    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
        }
    }
}

/// Numbers for metrics.
#[derive(Debug, Default)]
pub struct Tally {
    pending: AtomicI64,
    failed: AtomicI64,
    delivered: AtomicU64,
    refused: AtomicU64,
    unreachable: AtomicU64,
    timed_out: AtomicU64,
}

impl Tally {
    /// Notes how many deliveries there are.
    pub(super) fn count(&self, counts: DeliveryCounts) {
        self.pending.store(counts.pending, Ordering::Relaxed);
        self.failed.store(counts.failed, Ordering::Relaxed);
    }

    /// Notes an attempt.
    pub(super) fn note(&self, outcome: Outcome) {
        self.counter(outcome).fetch_add(1, Ordering::Relaxed);
    }

    fn counter(&self, outcome: Outcome) -> &AtomicU64 {
        match outcome {
            Outcome::Delivered => &self.delivered,
            Outcome::Refused => &self.refused,
            Outcome::Unreachable => &self.unreachable,
            Outcome::TimedOut => &self.timed_out,
        }
    }

    /// How many deliveries there are, as last seen.
    pub fn deliveries(&self) -> DeliveryCounts {
        DeliveryCounts {
            pending: self.pending.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    /// How many attempts came to `outcome`, since the start.
    pub fn attempts(&self, outcome: Outcome) -> u64 {
        self.counter(outcome).load(Ordering::Relaxed)
    }
}
