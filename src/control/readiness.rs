//! Whether requests may come: what `/readyz` answers.

use std::sync::atomic::{AtomicBool, Ordering};

/// Ready when a policy is in force and the gateway is not shutting down.
///
/// A policy that went stale does not make it unready: what was in force goes on being enforced, and a metric says so.
#[derive(Debug, Default)]
pub struct Readiness {
    loaded: AtomicBool,
    draining: AtomicBool,
}

impl Readiness {
    /// Not ready: nothing is loaded.
    pub fn new() -> Self {
        Self::default()
    }

    /// A policy is in force.
    pub fn snapshot_loaded(&self) {
        self.loaded.store(true, Ordering::Release);
    }

    /// The gateway shuts down; there is no way back.
    pub fn draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// The checks that fail, one line each; none when it is ready.
    pub fn failed_checks(&self) -> Vec<&'static str> {
        let unloaded = !self.loaded.load(Ordering::Acquire);
        let draining = self.draining.load(Ordering::Acquire);
        [
            unloaded.then_some("snapshot: no policy is loaded yet; see the log\n"),
            draining.then_some("drain: the gateway is shutting down\n"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_loaded_and_not_draining() {
        let readiness = Readiness::new();
        assert_eq!(readiness.failed_checks().len(), 1);
        readiness.snapshot_loaded();
        assert!(readiness.failed_checks().is_empty());
        readiness.draining();
        assert_eq!(readiness.failed_checks(), ["drain: the gateway is shutting down\n"]);
    }
}
