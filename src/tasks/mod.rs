//! The one door through which tasks start.
//!
//! Each task has a name, which stands on everything that it logs at level debug and below.

use std::future::Future;

use tokio::task::{JoinHandle, JoinSet};
use tracing::Instrument as _;
use tracing::instrument::Instrumented;

/// Starts `future` as a task called `name` on the current runtime.
///
/// # Cancel safety
/// The task runs on when the handle is dropped; [`JoinHandle::abort`] ends it at its next `.await`.
#[expect(clippy::disallowed_methods, reason = "this module is the replacement that the lint names")]
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(named(name, future))
}

/// As [`spawn`], into `set`, with which it ends.
pub fn spawn_into<F>(set: &mut JoinSet<F::Output>, name: &'static str, future: F)
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    set.spawn(named(name, future));
}

fn named<F: Future>(name: &'static str, future: F) -> Instrumented<F> {
    // Debug, not info: a span costs on every poll, and a connection is polled often.
    future.instrument(tracing::debug_span!("task", name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_gives_its_output() {
        assert_eq!(spawn("sum", async { 1 + 1 }).await.unwrap(), 2);
    }
}
