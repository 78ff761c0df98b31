//! One timer a connection, set as seldom as can be.

use std::pin::{Pin, pin};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep};

/// Stands for "never" where a duration goes past what an [`Instant`] holds.
const NEVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A deadline that moves with every request, and an alarm that is set anew only where it would come too late, or came too
/// early. Time goes by the kernel's ticks: a deadline may be some milliseconds off, and costs no exact reading.
#[derive(Debug, Default)]
pub struct Timer {
    deadline: Option<Duration>,
    alarm: Option<Alarm>,
}

/// A sleep, whom it wakes, and when.
#[derive(Debug)]
struct Alarm {
    sleep: Pin<Box<Sleep>>,
    waker: Waker,
    at: Duration,
}

impl Timer {
    /// Forgets the deadline, for something happened.
    pub fn clear(&mut self) {
        self.deadline = None;
    }

    /// Whether the deadline has come; without one, it is `period` from now. Otherwise wakes the task at it.
    pub fn is_over(&mut self, context: &mut Context<'_>, period: Duration) -> bool {
        let now = time();
        let deadline = *self.deadline.get_or_insert_with(|| now.saturating_add(period));
        let left = deadline.saturating_sub(now).min(NEVER);
        if left.is_zero() {
            return true;
        }
        match &mut self.alarm {
            Some(alarm) if alarm.will_come(deadline, context) => {}
            Some(alarm) => {
                alarm.sleep.as_mut().reset(Instant::now() + left);
                alarm.set(deadline, context);
            }
            None => {
                let sleep = Box::pin(sleep(left));
                let alarm = Alarm { sleep, waker: context.waker().clone(), at: deadline };
                self.alarm.insert(alarm).set(deadline, context);
            }
        }
        false
    }
}

impl Alarm {
    /// Whether it wakes the task of `context` at `deadline`, or before.
    fn will_come(&self, deadline: Duration, context: &Context<'_>) -> bool {
        self.at <= deadline && !self.sleep.is_elapsed() && self.waker.will_wake(context.waker())
    }

    /// Has it wake the task of `context` when the sleep ends, which is at `at`.
    fn set(&mut self, at: Duration, context: &mut Context<'_>) {
        self.at = at;
        self.waker.clone_from(context.waker());
        // A task that has done much would be told to wait, and nobody would have been told to wake it.
        if pin!(unconstrained(self.sleep.as_mut())).poll(context).is_ready() {
            // The time was over before it began.
            context.waker().wake_by_ref();
        }
    }
}

/// The last tick.
#[cfg(not(test))]
fn time() -> Duration {
    crate::clock::tick().0
}

/// The runtime's clock, which tests can put forward.
#[cfg(test)]
fn time() -> Duration {
    use std::sync::LazyLock;
    /// Before all that any runtime has put forward.
    static START: LazyLock<Option<Instant>> = LazyLock::new(|| Instant::now().checked_sub(NEVER));
    START.map(|start| start.elapsed()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use tokio::task::coop::{consume_budget, has_budget_remaining};

    use super::*;

    const PERIOD: Duration = Duration::from_secs(5);

    /// Waits for `timer`, having used up what a task may do at a time before each look at it.
    async fn wait(timer: &mut Timer, is_busy: bool) -> Duration {
        let start = Instant::now();
        poll_fn(|context| {
            while is_busy && has_budget_remaining() {
                assert!(pin!(consume_budget()).poll(context).is_ready());
            }
            if timer.is_over(context, PERIOD) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_comes_also_to_a_task_that_has_done_much_and_after_it_moved() {
        let mut timer = Timer::default();
        for is_busy in [true, false, true, true] {
            let took = wait(&mut timer, is_busy).await;
            assert!(took >= PERIOD && took < PERIOD + Duration::from_millis(5), "{took:?}");
            timer.clear();
            tokio::time::advance(PERIOD / 2).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_shorter_time_than_before_is_kept() {
        let mut timer = Timer::default();
        let is_over = poll_fn(|context| Poll::Ready(timer.is_over(context, PERIOD * 100))).await;
        assert!(!is_over);
        timer.clear();
        let took = wait(&mut timer, false).await;
        assert!(took >= PERIOD && took < PERIOD + Duration::from_millis(5), "{took:?}");
    }
}
