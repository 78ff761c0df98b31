//! The wall clock for those who have read the other clock already.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::clock;

/// How long the distance between the two clocks is taken for granted. Set back or forward, the wall clock is followed
/// within this time.
const TRUST: Duration = Duration::from_secs(1);

/// Tells the wall clock's time out of that of the clock that never goes back, so that one of them need be read.
#[derive(Debug)]
pub struct WallClock {
    start: Instant,
    /// What the wall clock says at `start`, in microseconds since 1970.
    offset: AtomicI64,
    /// When that was found out, in microseconds since `start`.
    checked: AtomicU64,
}

impl WallClock {
    /// As the clocks stand now.
    pub fn new() -> Self {
        let start = clock::monotonic();
        let offset = clock::timestamp().as_microsecond();
        Self { start, offset: AtomicI64::new(offset), checked: AtomicU64::new(0) }
    }

    /// The wall clock's time at `moment`, in microseconds since 1970; `moment` must have been read just now.
    pub fn at(&self, moment: Instant) -> i64 {
        let since = moment.saturating_duration_since(self.start);
        let micros = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        let age = micros.saturating_sub(self.checked.load(Ordering::Relaxed));
        if u128::from(age) >= TRUST.as_micros() {
            self.check(micros);
        }
        self.offset.load(Ordering::Relaxed).saturating_add_unsigned(micros)
    }

    #[cold]
    fn check(&self, micros: u64) {
        let offset = clock::timestamp().as_microsecond().saturating_sub_unsigned(micros);
        self.offset.store(offset, Ordering::Relaxed);
        self.checked.store(micros, Ordering::Relaxed);
    }
}

impl Default for WallClock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_the_wall_clock_says() {
        let wall = WallClock::new();
        let (before, told, after) = (clock::timestamp(), wall.at(clock::monotonic()), clock::timestamp());
        let slack = 1_000_000;
        assert!(told > before.as_microsecond() - slack && told < after.as_microsecond() + slack, "{told}");
    }

    #[test]
    fn a_clock_that_was_set_is_followed_within_a_second() {
        let wall = WallClock::new();
        let hour = 3_600_000_000;
        wall.offset.fetch_sub(hour, Ordering::Relaxed);
        let now = clock::monotonic();
        let wrong = wall.at(now);
        let right = wall.at(now + TRUST);
        assert!(right - wrong > hour / 2, "{right} {wrong}");
    }
}
