//! The one place that reads the clock.
//!
//! Whatever decides takes the time as an argument; only the shell calls these functions. To read the clock exactly is
//! among the dearest things that a request does, up to a hundred nanoseconds on a virtual machine. What needs no such
//! exactness reads what the kernel noted at its last tick, some milliseconds ago.

pub mod timer;
pub mod wall;

use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

use crate::domain::grant::UnixTime;

/// The wall clock, to the second: what expiry dates are compared with.
pub fn now() -> UnixTime {
    UnixTime(clock_gettime(ClockId::RealtimeCoarse).tv_sec)
}

/// A moment by the clock that never goes back, as of the kernel's last tick: for waits of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(Duration);

impl Tick {
    /// How long before it `earlier` was; zero where it was not.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// The last tick.
pub fn tick() -> Tick {
    let time = clock_gettime(ClockId::MonotonicCoarse);
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
    Tick(Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), nanoseconds))
}

/// The wall clock, as fine as the system has it: what records are stamped with.
pub fn timestamp() -> Timestamp {
    Timestamp::now()
}

/// The clock that never goes back: what durations and deadlines are measured with.
#[expect(clippy::disallowed_methods, reason = "this module is the replacement that the lint names")]
pub fn monotonic() -> Instant {
    Instant::now()
}

/// The wall clock as RFC 3339 text in UTC with microseconds: `2027-01-31T08:00:00.000000Z`.
pub fn now_rfc3339_micros() -> String {
    rfc3339_micros(timestamp())
}

/// `moment` as RFC 3339 text in UTC with microseconds, always 27 characters long in this era.
pub fn rfc3339_micros(moment: Timestamp) -> String {
    format!("{moment:.6}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(nanoseconds: i128, want: &str) {
        assert_eq!(rfc3339_micros(Timestamp::from_nanosecond(nanoseconds).unwrap()), want);
    }

    #[test]
    fn text_has_microseconds_and_is_utc() {
        check(0, "1970-01-01T00:00:00.000000Z");
        check(1_000_000_000_000_123_999, "2001-09-09T01:46:40.000123Z");
    }

    #[test]
    fn the_clocks_agree_and_go_forward() {
        let (before, started) = (now(), monotonic());
        let between = timestamp().as_second();
        // The last tick may have been in the second before.
        assert!(before.0 <= between && between <= now().0 + 1);
        assert!(before.0 > 1_700_000_000);
        assert!(started <= monotonic());
        let tick_before = tick();
        while tick() == tick_before {
            std::hint::spin_loop();
        }
        assert!(tick().since(tick_before) > Duration::ZERO);
        assert_eq!(tick_before.since(tick()), Duration::ZERO);
        assert_eq!(now_rfc3339_micros().len(), "1970-01-01T00:00:00.000000Z".len());
    }
}
