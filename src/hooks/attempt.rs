//! One attempt to deliver, and what becomes of the delivery by it.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::time::{sleep, timeout};

use crate::clock;
use crate::config::webhooks::Pace;
use crate::hooks::send::Receiver;
use crate::hooks::tally::{Outcome, Tally};
use crate::store::deliveries::{Attempted, DeliveryRow, DeliveryState};
use crate::store::error::StoreError;
use crate::store::{Changes, Store};

/// What an attempt is made with.
pub(super) struct Attempt {
    pub(super) store: Store,
    pub(super) receiver: Arc<Receiver>,
    pub(super) pace: Pace,
    pub(super) tally: Arc<Tally>,
}

impl Attempt {
    /// Makes it, and has the store know what it came to. Goes on until the store does: what was delivered must not be
    /// delivered again and again because a disk is full.
    pub(super) async fn make(self, delivery: DeliveryRow) {
        let at = clock::now();
        let mut status = None;
        let sent = timeout(self.pace.attempt, self.receiver.send(&delivery, &mut status)).await;
        let error = match sent {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some((Outcome::Unreachable, error.to_string())),
            Err(_) => {
                let waited = self.pace.attempt.as_secs_f64();
                Some((Outcome::TimedOut, format!("it did not answer within {waited} s")))
            }
        };
        let (outcome, error) = judge(status, error);
        self.tally.note(outcome);
        let tries = delivery.tries + 1;
        let state = match outcome {
            Outcome::Delivered => DeliveryState::Delivered,
            Outcome::Refused | Outcome::Unreachable | Outcome::TimedOut => {
                if tries < self.pace.attempts {
                    DeliveryState::Pending
                } else {
                    DeliveryState::Failed
                }
            }
        };
        self.tell(&delivery, (state, error.as_deref()));
        let wait = i64::try_from(back_off(&self.pace, tries, random()).as_millis()).unwrap_or(i64::MAX);
        let attempted = Attempted {
            at,
            state,
            due_at: clock::timestamp().as_millisecond().saturating_add(wait),
            status: status.map(|status| status.as_u16()),
            error,
        };
        while let Err(error) = self.note(delivery.id, attempted.clone()).await {
            tracing::warn!(%error, delivery = delivery.id, "what became of a notice could not be stored");
            sleep(self.pace.first).await;
        }
    }

    async fn note(&self, id: i64, attempted: Attempted) -> Result<(), StoreError> {
        self.store.write(move |changes: &Changes<'_>| changes.note_attempt(id, &attempted)).await
    }

    /// Says in the log that a receiver does not take what it is told, and that it does again.
    fn tell(&self, delivery: &DeliveryRow, (state, error): (DeliveryState, Option<&str>)) {
        let (hook, guid) = (&self.receiver.name, &delivery.guid);
        let error = error.unwrap_or_default();
        let news = self.receiver.turns(state != DeliveryState::Delivered);
        match (state, news) {
            (DeliveryState::Delivered, true) => tracing::info!(hook, "the webhook takes notices again"),
            (DeliveryState::Delivered, false) => tracing::debug!(hook, guid, "a notice was delivered"),
            (DeliveryState::Pending, true) => {
                tracing::warn!(hook, error, "the webhook does not take notices; they are sent again");
            }
            (DeliveryState::Pending, false) => tracing::debug!(hook, guid, error, "a notice is sent again"),
            (DeliveryState::Failed, _) => {
                tracing::warn!(hook, guid, error, "a notice was given up; it can be sent again by the API");
            }
        }
    }
}

/// What an attempt came to, by the status and by what went wrong otherwise. Once there is a status, it counts.
fn judge(status: Option<StatusCode>, error: Option<(Outcome, String)>) -> (Outcome, Option<String>) {
    match (status, error) {
        (Some(status), _) if status.is_success() => (Outcome::Delivered, None),
        (Some(status), _) => (Outcome::Refused, Some(format!("it answered {status}"))),
        (None, Some((outcome, error))) => (outcome, Some(error)),
        (None, None) => (Outcome::Unreachable, Some("it did not answer".to_owned())),
    }
}

/// How long to wait after `tries` attempts: twice as long as before, at most the longest time; of which up to a quarter is
/// left out by `chance`, so that those that failed together do not come back together.
fn back_off(pace: &Pace, tries: i64, chance: u8) -> Duration {
    let doublings = u32::try_from(tries.saturating_sub(1)).unwrap_or(u32::MAX).min(31);
    let whole = pace.first.saturating_mul(2_u32.saturating_pow(doublings)).min(pace.longest);
    whole.saturating_sub(whole / 4 * u32::from(chance) / u32::from(u8::MAX))
}

/// A number by chance. Where there is none, all come back together.
fn random() -> u8 {
    let mut byte = [0];
    let filled = aws_lc_rs::rand::fill(&mut byte);
    let [byte] = byte;
    if filled.is_ok() { byte } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(tries: i64, chance: u8, milliseconds: u64) {
        assert_eq!(back_off(&Pace::default(), tries, chance), Duration::from_millis(milliseconds));
    }

    #[test]
    fn waits_double_up_to_an_hour() {
        check(1, 0, 10_000);
        check(2, 0, 20_000);
        check(9, 0, 2_560_000);
        check(10, 0, 3_600_000);
        check(20, 0, 3_600_000);
        check(i64::MAX, 0, 3_600_000);
        check(1, 255, 7500);
        check(20, 255, 2_700_000);
    }

    #[test]
    fn a_status_counts_whatever_comes_after_it() {
        let broken = || Some((Outcome::Unreachable, "broken".to_owned()));
        assert_eq!(judge(Some(StatusCode::ACCEPTED), broken()), (Outcome::Delivered, None));
        assert_eq!(judge(Some(StatusCode::FOUND), None).0, Outcome::Refused);
        assert_eq!(judge(None, broken()), (Outcome::Unreachable, Some("broken".into())));
    }
}
