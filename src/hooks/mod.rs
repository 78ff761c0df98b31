//! Delivers what the outbox of the store holds to the webhooks: at least once, each delivery apart.
//!
//! Runs beside requests, on the thread of the control plane. A delivery is attempted until the receiver takes it or it has
//! failed too often; what is not delivered when the process ends is attempted after the next start. Every webhook has places
//! of its own, so that one that hangs holds up nobody but itself.

mod attempt;
pub mod send;
pub mod tally;
mod under_way;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::clock;
use crate::config::webhooks::Pace;
use crate::hooks::attempt::Attempt;
use crate::hooks::send::Receiver;
use crate::hooks::tally::Tally;
use crate::hooks::under_way::UnderWay;
use crate::issuer::outbox::Outbox;
use crate::store::deliveries::{DeliveryCounts, DeliveryRow};
use crate::store::error::StoreError;
use crate::store::{Reads, Store};
use crate::tasks;

/// Deliveries under way at a time, over all webhooks. Each has one place at least, so more than this many have as many as
/// they are.
const PLACES: usize = 8;

/// How often the outbox is looked at though nobody has said that there is something: another process may have put it there.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Delivers to the webhooks.
#[derive(Debug)]
pub struct Courier {
    /// Where the outbox is.
    pub store: Store,
    /// Who says when there is something in it.
    pub outbox: Arc<Outbox>,
    /// The webhooks.
    pub receivers: Vec<Receiver>,
    /// How hard it is tried.
    pub pace: Pace,
    /// What is counted.
    pub tally: Arc<Tally>,
}

/// A webhook at work.
struct Route {
    receiver: Arc<Receiver>,
    under_way: UnderWay,
}

/// What a look into the outbox has found.
#[derive(Default)]
struct Found {
    /// What is due, for each webhook.
    due: Vec<Vec<DeliveryRow>>,
    /// When something else is due, milliseconds since 1970.
    next: Option<i64>,
    /// How many there are, where that was asked.
    counts: Option<DeliveryCounts>,
}

impl Courier {
    /// Delivers, until `leaves` says that another process does; never ends.
    ///
    /// # Cancel safety
    /// Attempts under way end with it, and are made again after the next start.
    pub async fn run(self, mut leaves: watch::Receiver<bool>) {
        let routes: Vec<_> = self
            .receivers
            .iter()
            .map(|receiver| Route { receiver: Arc::new(receiver.clone()), under_way: UnderWay::default() })
            .collect();
        self.give_up_unknown().await;
        let mut attempts = JoinSet::new();
        let (mut readable, mut counted) = (true, None::<Instant>);
        loop {
            // Counting costs more than looking for what is due.
            let counts = counted.is_none_or(|counted| counted.elapsed() >= LOOK_EVERY);
            let wait = match self.look(&routes, counts).await {
                Ok(found) => {
                    counted = counted.filter(|_| !counts).or_else(|| Some(clock::monotonic()));
                    readable = true;
                    self.begin(&routes, found, &mut attempts)
                }
                Err(error) => {
                    if readable {
                        tracing::warn!(%error, "the outbox cannot be read; webhooks are told later");
                    }
                    readable = false;
                    LOOK_EVERY
                }
            };
            tokio::select! {
                () = sleep(wait) => {}
                () = self.outbox.filled() => {}
                Some(ended) = attempts.join_next(), if !attempts.is_empty() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "an attempt to deliver ended badly; it is made again");
                    }
                }
                _ = leaves.wait_for(|leaves| *leaves) => break,
            }
        }
        // What has begun goes on to its end.
        while attempts.join_next().await.is_some() {}
        std::future::pending::<()>().await;
    }

    /// Gives up what waits for webhooks that are not configured any more.
    async fn give_up_unknown(&self) {
        let known: Vec<_> = self.receivers.iter().map(|receiver| receiver.name.clone()).collect();
        let give_up = move |changes: &crate::store::Changes<'_>| {
            changes.give_up_deliveries(&known, "the webhook is not configured any more")
        };
        match self.store.write::<usize, StoreError>(give_up).await {
            Ok(0) => {}
            Ok(count) => tracing::warn!(count, "notices for webhooks that are not configured were given up"),
            Err(error) => tracing::warn!(%error, "the outbox could not be looked through"),
        }
    }

    async fn look(&self, routes: &[Route], counts: bool) -> Result<Found, StoreError> {
        let share = (PLACES / routes.len().max(1)).max(1);
        let wanted: Vec<_> = routes
            .iter()
            .map(|route| (route.receiver.name.clone(), route.under_way.numbers(), share))
            .collect();
        let now = clock::timestamp().as_millisecond();
        let find = move |reads: Reads<'_>| {
            let mut found = find(reads, &wanted, now)?;
            if counts {
                found.counts = Some(reads.count_deliveries()?);
            }
            Ok(found)
        };
        self.store.read(find).await
    }

    /// Begins what was found; gives how long to wait for more.
    fn begin(&self, routes: &[Route], found: Found, attempts: &mut JoinSet<()>) -> Duration {
        if let Some(counts) = found.counts {
            self.tally.count(counts);
        }
        for (route, due) in routes.iter().zip(found.due) {
            for delivery in due {
                let Some(place) = route.under_way.take(delivery.id) else { continue };
                let attempt = Attempt {
                    store: self.store.clone(),
                    receiver: Arc::clone(&route.receiver),
                    pace: self.pace,
                    tally: Arc::clone(&self.tally),
                };
                tasks::spawn_into(attempts, "webhook delivery", async move {
                    attempt.make(delivery).await;
                    drop(place);
                });
            }
        }
        let now = clock::timestamp().as_millisecond();
        let next = found.next.map(|next| u64::try_from(next - now).unwrap_or_default().max(1));
        next.map_or(LOOK_EVERY, |next| Duration::from_millis(next).min(LOOK_EVERY))
    }
}

/// What is due at `now`, for webhooks with the deliveries that are under way and the places that there are.
fn find(reads: Reads<'_>, wanted: &[(String, Vec<i64>, usize)], now: i64) -> Result<Found, StoreError> {
    let mut found = Found::default();
    for (name, under_way, places) in wanted {
        let free = places.saturating_sub(under_way.len());
        let mut due = Vec::new();
        if free > 0 {
            due = reads.due_deliveries(name, now, places.saturating_add(under_way.len()))?;
            due.retain(|delivery| !under_way.contains(&delivery.id));
            due.truncate(free);
        }
        found.due.push(due);
        found.next = [found.next, reads.next_due(name, now)?].into_iter().flatten().min();
    }
    Ok(found)
}
