//! Where one worker's records go: counters, queue and request ids that no other worker touches.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::clock::wall::WallClock;
use crate::record::Recorder;
use crate::record::audit::Audit;
use crate::record::line::{Line, Text};
use crate::record::metrics::{Metrics, UpstreamId};
use crate::record::queue::{Place, Queue};
use crate::record::request_id::RequestIds;
use crate::record::shard::Shard;
use crate::record::token_requests::WorkerTokens;
use crate::record::traces::Traces;

/// One worker's part of a [`Recorder`].
///
/// INVARIANT: only the thread of that worker opens and closes records with it, and opens and closes connections.
#[derive(Debug)]
pub struct WorkerRecorder {
    recorder: Arc<Recorder>,
    pub(crate) shard: Arc<Shard>,
    /// `None` where no audit lines are kept.
    pub(crate) queue: Option<Arc<Queue>>,
    /// `None` where tokens are not counted.
    pub(crate) tokens: Option<WorkerTokens>,
    pub(crate) request_ids: RequestIds,
    pub(crate) wall: WallClock,
}

impl WorkerRecorder {
    /// For worker `number`, from 0. A worker that takes the place of one that ended takes its number, and counts on.
    ///
    /// # Errors
    /// When the operating system has no random bytes.
    pub fn new(recorder: &Arc<Recorder>, number: usize) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            shard: recorder.metrics.shard(number),
            queue: recorder.audit.queue(number),
            tokens: recorder.metrics.worker_tokens(number),
            request_ids: RequestIds::from_system()?,
            wall: WallClock::new(),
            recorder: Arc::clone(recorder),
        }))
    }

    /// The metrics of all workers.
    pub fn metrics(&self) -> &Metrics {
        &self.recorder.metrics
    }

    /// The audit log.
    pub(crate) fn audit(&self) -> &Audit {
        &self.recorder.audit
    }

    /// The way to the collector of traces.
    pub(crate) fn traces(&self) -> &Traces {
        &self.recorder.traces
    }

    /// Puts a line on its way to the audit log.
    pub(crate) fn keep(&self, line: Line, text: &Text, place: Place) {
        if let Some(queue) = &self.queue
            && queue.push(line, text, place).is_err()
        {
            self.recorder.audit.lose();
        }
    }

    /// A connection to the upstream was opened; it is open until the guard is dropped.
    pub fn upstream_connected(&self, upstream: UpstreamId) -> OpenUpstreamConnection {
        if let Some(counters) = self.shard.of(Some(upstream)) {
            counters.connections.add(1);
        }
        OpenUpstreamConnection { shard: Arc::clone(&self.shard), upstream }
    }

    /// So many connections to the upstream are kept for the next request.
    pub fn upstream_connections_kept(&self, upstream: UpstreamId, count: usize) {
        if let Some(counters) = self.shard.of(Some(upstream)) {
            counters.idle.set(count);
        }
    }

    /// A task of this worker, or the worker itself, ended by a panic. Any thread may say so.
    pub fn panicked(&self) {
        self.shard.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection was accepted; it is open until the guard is dropped.
    pub fn connection_opened(&self) -> OpenConnection {
        self.shard.accepted.add(1);
        OpenConnection(Arc::clone(&self.shard))
    }
}

/// A connection to an upstream.
#[derive(Debug)]
#[must_use = "the connection counts as closed when this is dropped"]
pub struct OpenUpstreamConnection {
    shard: Arc<Shard>,
    upstream: UpstreamId,
}

impl Drop for OpenUpstreamConnection {
    fn drop(&mut self) {
        if let Some(counters) = self.shard.of(Some(self.upstream)) {
            counters.connections_closed.add(1);
        }
    }
}

/// A caller's connection.
#[derive(Debug)]
#[must_use = "the connection counts as closed when this is dropped"]
pub struct OpenConnection(Arc<Shard>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.closed.add(1);
    }
}
