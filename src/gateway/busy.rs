//! Whether a connection of HTTP/2 is idle: what its requests tell it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The requests of one connection. A clone speaks of the same connection.
#[derive(Debug, Clone, Default)]
pub struct Requests(Arc<Counts>);

/// As long as one of these lives, a connection on which nothing moves is not idle.
#[derive(Debug)]
#[must_use = "the connection counts as idle as soon as this is dropped"]
pub struct Answering(Requests);

#[derive(Debug, Default)]
struct Counts {
    under_way: AtomicUsize,
    arrived: AtomicU64,
}

impl Requests {
    /// Says that a request is being answered. To be taken when it arrives and kept until its answer has ended or is
    /// dropped: a host may take longer to answer than a client may be idle.
    pub fn answering(&self) -> Answering {
        self.0.under_way.fetch_add(1, Ordering::Relaxed);
        self.0.arrived.fetch_add(1, Ordering::Relaxed);
        Answering(self.clone())
    }

    /// Resolves when no request was under way for at least `time`.
    pub async fn idle(&self, time: std::time::Duration) {
        let mut seen = None;
        loop {
            let is_free = self.0.under_way.load(Ordering::Relaxed) == 0;
            let arrived = Some(self.0.arrived.load(Ordering::Relaxed)).filter(|_| is_free);
            if arrived.is_some() && arrived == seen {
                return;
            }
            seen = arrived;
            tokio::time::sleep(time).await;
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}
