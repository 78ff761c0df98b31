//! Where one worker's records go: counters, queue and request ids that no other worker touches.

use std::io;
use std::sync::Arc;

use crate::clock::wall::WallClock;
use crate::record::Recorder;
use crate::record::line::{Line, Text};
use crate::record::metrics::{Metrics, UpstreamId};
use crate::record::queue::Queue;
use crate::record::request_id::RequestIds;
use crate::record::shard::Shard;

/// One worker's part of a [`Recorder`].
///
/// INVARIANT: only the thread of that worker opens and closes records with it, and opens and closes connections.
#[derive(Debug)]
pub struct WorkerRecorder {
    recorder: Arc<Recorder>,
    pub(crate) shard: Arc<Shard>,
    /// `None` where no audit lines are kept.
    pub(crate) queue: Option<Arc<Queue>>,
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
            request_ids: RequestIds::from_system()?,
            wall: WallClock::new(),
            recorder: Arc::clone(recorder),
        }))
    }

    /// The metrics of all workers.
    pub fn metrics(&self) -> &Metrics {
        &self.recorder.metrics
    }

    /// Puts a line on its way to the audit log.
    pub(crate) fn keep(&self, line: Line, text: &Text) {
        if let Some(queue) = &self.queue
            && queue.push(line, text).is_err()
        {
            self.recorder.audit.lose();
        }
    }

    /// A connection to the upstream was opened.
    pub fn upstream_connected(&self, upstream: UpstreamId) {
        if let Some(shard) = self.shard.of(Some(upstream)) {
            shard.connections.add(1);
        }
    }

    /// A connection was accepted; it is open until the guard is dropped.
    pub fn connection_opened(&self) -> OpenConnection {
        self.shard.accepted.add(1);
        OpenConnection(Arc::clone(&self.shard))
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
