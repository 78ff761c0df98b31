//! What a client may do that leads nowhere: pings, settings, streams that are given up at once. Each costs us more than
//! it costs the client, so there is a bound (CVE-2023-44487, CVE-2019-9512 and their like).

use std::time::Duration;

use crate::clock::Tick;
use crate::framing::frames::ErrorCode;

/// How much of it there may be in each [`PERIOD`].
const MOST: u32 = 2000;

const PERIOD: Duration = Duration::from_secs(1);

/// Counts it.
#[derive(Debug, Default)]
pub(super) struct Nuisance {
    since: Option<Tick>,
    count: u32,
}

impl Nuisance {
    /// What a stream counts that is given up: somebody may have begun to work on it, at the host too.
    pub(super) const OF_RESET: u32 = 10;

    /// It is `now`, as far as what comes next is concerned.
    pub(super) fn at(&mut self, now: Tick) {
        if self.since.is_none_or(|since| now.since(since) >= PERIOD) {
            *self = Self { since: Some(now), count: 0 };
        }
    }

    /// There was so much more.
    ///
    /// # Errors
    /// It is too much.
    pub(super) fn add(&mut self, weight: u32) -> Result<(), ErrorCode> {
        self.count = self.count.saturating_add(weight);
        if self.count > MOST { Err(ErrorCode::EnhanceYourCalm) } else { Ok(()) }
    }
}
