//! Numbers that one thread writes and any thread reads: counters, levels, and how long things took.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Nanoseconds. From an answer out of the upstream's memory to a clone or an upload of some gigabytes; 15 minutes is
/// past what load balancers and CI jobs commonly wait for.
pub(crate) static REQUEST_BOUNDS: [u64; 17] = [
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    60_000_000_000,
    300_000_000_000,
    900_000_000_000,
];

/// Nanoseconds until the head of the upstream's answer: as for requests, without the tail that belongs to the body.
pub(crate) static UPSTREAM_BOUNDS: [u64; 15] = [
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    60_000_000_000,
];

/// Nanoseconds. A decision is some look-ups in memory, a microsecond or so; at a millisecond something is wrong with
/// the machine or the policy.
pub(crate) static DECISION_BOUNDS: [u64; 11] =
    [250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000];

/// A number that only grows.
///
/// INVARIANT: one thread writes it, the worker whose shard it belongs to; what another thread adds at the same moment
/// may be lost. Any thread may read it.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that rises and falls, as it was last told.
///
/// INVARIANT: as for [`Counter`].
#[derive(Debug, Default)]
pub(crate) struct Level(AtomicU64);

impl Level {
    pub(crate) fn set(&self, value: usize) {
        self.0.store(u64::try_from(value).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How often durations fell between which bounds.
#[derive(Debug)]
pub(crate) struct Durations<const N: usize> {
    bounds: &'static [u64; N],
    buckets: [Counter; N],
    beyond: Counter,
    nanoseconds: Counter,
}

impl<const N: usize> Durations<N> {
    pub(crate) fn new(bounds: &'static [u64; N]) -> Self {
        let buckets = std::array::from_fn(|_| Counter::default());
        Self { bounds, buckets, beyond: Counter::default(), nanoseconds: Counter::default() }
    }

    pub(crate) fn observe(&self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let at = self.bounds.partition_point(|bound| *bound < nanoseconds);
        self.buckets.get(at).unwrap_or(&self.beyond).add(1);
        self.nanoseconds.add(nanoseconds);
    }
}

/// The sum of several [`Durations`].
#[derive(Debug)]
pub(crate) struct DurationsTotal {
    bounds: &'static [u64],
    counts: Vec<u64>,
    beyond: u64,
    nanoseconds: u64,
}

impl DurationsTotal {
    /// Of all `parts`, which have these bounds.
    pub(crate) fn of<'a, const N: usize>(
        bounds: &'static [u64; N],
        parts: impl Iterator<Item = &'a Durations<N>>,
    ) -> Self {
        let mut total = Self { bounds, counts: vec![0; N], beyond: 0, nanoseconds: 0 };
        for part in parts {
            total.add(part);
        }
        total
    }

    fn add<const N: usize>(&mut self, durations: &Durations<N>) {
        for (total, bucket) in self.counts.iter_mut().zip(&durations.buckets) {
            *total += bucket.get();
        }
        self.beyond += durations.beyond.get();
        self.nanoseconds = self.nanoseconds.wrapping_add(durations.nanoseconds.get());
    }

    /// Each bound in nanoseconds, with how many were not above it.
    pub(crate) fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        self.bounds.iter().zip(&self.counts).scan(0, |sum, (bound, count)| {
            *sum += count;
            Some((*bound, *sum))
        })
    }

    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.beyond
    }

    pub(crate) fn nanoseconds(&self) -> u64 {
        self.nanoseconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_at_or_below_its_bound() {
        let durations = Durations::new(&DECISION_BOUNDS);
        for nanoseconds in [0, 250, 251, 1_000_000, 1_000_001] {
            durations.observe(Duration::from_nanos(nanoseconds));
        }
        let total = DurationsTotal::of(&DECISION_BOUNDS, [&durations].into_iter());
        let counts: Vec<_> = total.cumulative().map(|(_, count)| count).collect();
        assert_eq!(counts, [2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4]);
        assert_eq!((total.count(), total.nanoseconds()), (5, 2_000_502));
    }
}
