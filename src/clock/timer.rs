//! One timer a connection, set as seldom as can be.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Stands for "never" where a duration goes past what an [`Instant`] holds.
const NEVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A deadline that moves with every request, and the sleep that is moved only where it would end too late, or has
/// ended too early.
#[derive(Debug, Default)]
pub struct Timer {
    deadline: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    /// Forgets the deadline, for something happened.
    pub fn clear(&mut self) {
        self.deadline = None;
    }

    /// Sets the deadline to `period` from now.
    pub fn start(&mut self, period: Duration) {
        let now = Instant::now();
        self.deadline = Some(now.checked_add(period).unwrap_or(now + NEVER));
    }

    /// Whether the deadline has come; without one, it is `period` from now. Otherwise wakes the task at it.
    pub fn is_over(&mut self, cx: &mut Context<'_>, period: Duration) -> bool {
        if self.deadline.is_none() {
            self.start(period);
        }
        let Some(deadline) = self.deadline else {
            return false;
        };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        while sleep.as_mut().poll(cx) == Poll::Ready(()) {
            if sleep.deadline() >= deadline {
                return true;
            }
            sleep.as_mut().reset(deadline);
        }
        false
    }
}
