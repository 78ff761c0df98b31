//! One address of the data plane, as all workers see it: what it speaks, and whether it still takes connections.
//!
//! Apart from sockets and workers: sockets outlive a worker that is replaced, and a listener may go while workers stay.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use tokio::sync::watch;

/// What workers know of one listener.
#[derive(Debug)]
pub struct Listener {
    /// Its TLS for new connections; replaced when a certificate changes. `None` is plain HTTP.
    pub tls: ArcSwapOption<ServerConfig>,
    /// Says the same as `drain`. Every answer looks at it, and a lock that all workers take is dear.
    is_draining: AtomicBool,
    drain: watch::Sender<Option<Drain>>,
}

/// How a listener ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// How long a connection without a request may wait for one: its client may have sent it already. Whoever sends one
    /// is told to close with its answer.
    pub patience: Duration,
    /// What becomes of the connections that the kernel has taken and no worker has accepted.
    pub waiting: Waiting,
}

/// Connections that wait to be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// They are ours: the socket ends with this process or this listener, and would reset them.
    Accept,
    /// Somebody else has the socket too and accepts them.
    Leave,
}

impl Listener {
    /// Takes connections, with this TLS or none.
    pub fn new(tls: Option<Arc<ServerConfig>>) -> Self {
        let (drain, _) = watch::channel(None);
        Self { tls: ArcSwapOption::new(tls), is_draining: AtomicBool::new(false), drain }
    }

    /// Takes no more connections; those that are open end when their requests are answered. There is no way back.
    pub fn drain(&self, drain: Drain) {
        self.is_draining.store(true, Ordering::Release);
        self.drain.send_replace(Some(drain));
    }

    /// Whether connections are to be closed with their next answer.
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }

    /// Resolves when it drains.
    ///
    /// # Cancel safety
    /// Nothing is lost when this is dropped.
    pub async fn drained(&self) -> Drain {
        let mut told = self.drain.subscribe();
        let drain = told.wait_for(Option::is_some).await.ok().and_then(|drain| *drain);
        // The channel lives as long as `self`, so the other case does not come.
        drain.unwrap_or(Drain { patience: Duration::ZERO, waiting: Waiting::Accept })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks;

    #[tokio::test]
    async fn whoever_waits_hears_of_the_drain_also_afterwards() {
        let listener = Arc::new(Listener::new(None));
        assert!(!listener.is_draining());
        let drain = Drain { patience: Duration::from_secs(3), waiting: Waiting::Leave };
        let waiting = Arc::clone(&listener);
        let early = tasks::spawn("test", async move { waiting.drained().await });
        tokio::task::yield_now().await;
        assert!(!early.is_finished());
        listener.drain(drain);
        assert!(listener.is_draining());
        assert_eq!((early.await.unwrap(), listener.drained().await), (drain, drain));
    }
}
