//! Traces: one span for some requests, exported over OTLP (OpenTelemetry protocol, HTTP with JSON).
//!
//! Off unless the configuration names a collector. A request that is not sampled pays for one look at its headers. A
//! sampled one leaves a copy of its record; what is made of that, and sent, is made on a thread of its own (`export`). The
//! exporter is our own, since the OpenTelemetry crates bring a second stack of HTTP, protobuf and tasks for what is one
//! POST of JSON here.

pub mod context;
mod export;
mod json;

use std::fmt;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use http::HeaderMap;
use prometheus::IntCounter;
use tokio::sync::{Notify, mpsc};

use crate::record::line::{Line, Text};
use crate::record::metrics::Metrics;
use crate::record::request_id::RequestId;
use crate::record::traces::context::{Span, SpanId, Start, TraceParent};
pub use crate::record::traces::export::Collector;

/// Spans that may wait: some megabytes.
const QUEUE_SPANS: usize = 4096;

/// What is told, and to whom.
#[derive(Debug)]
pub struct TraceSettings {
    /// Who takes spans.
    pub collector: Collector,
    /// The share of requests without a trace of their own that get one, 0 to 1.
    pub sample: f64,
    /// What the gateway is called in traces.
    pub service: String,
}

/// A request that was sampled and has ended.
#[derive(Debug)]
pub(crate) struct FinishedSpan {
    pub(crate) span: Span,
    pub(crate) line: Line,
    pub(crate) text: Text,
}

/// The way to the exporter; nothing where traces are off.
#[derive(Default)]
pub struct Traces {
    running: Option<Running>,
}

struct Running {
    sampler: Sampler,
    queue: mpsc::Sender<FinishedSpan>,
    dropped: IntCounter,
    stop: Arc<Notify>,
    /// Disconnects when the exporter has ended. `None` once flushed.
    ended: Mutex<Option<Receiver<()>>>,
}

impl Traces {
    /// No traces.
    pub fn off() -> Self {
        Self::default()
    }

    /// Starts the exporter.
    ///
    /// # Errors
    /// When its thread or its runtime cannot be made.
    pub fn start(settings: TraceSettings, metrics: &Metrics) -> io::Result<Self> {
        let (queue, spans) = mpsc::channel(QUEUE_SPANS);
        let (end, ended) = sync_channel::<()>(1);
        let stop = Arc::new(Notify::new());
        let sampler = Sampler::new(settings.sample);
        let exporter = export::Exporter {
            collector: settings.collector,
            service: settings.service,
            spans,
            stop: Arc::clone(&stop),
            exported: metrics.spans_exported(),
            dropped: metrics.spans_dropped(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("traces".to_owned()).spawn(move || run(&runtime, exporter, end))?;
        let dropped = metrics.spans_dropped();
        Ok(Self { running: Some(Running { sampler, queue, dropped, stop, ended: Mutex::new(Some(ended)) }) })
    }

    /// The span of a request with these header fields; `None` where it has none.
    pub(crate) fn sample(&self, headers: &HeaderMap, id: &RequestId) -> Option<Box<Span>> {
        let running = self.running.as_ref()?;
        running.sampler.sample(headers, id).map(Box::new)
    }

    /// Has a span exported. Never waits: one that finds no room is lost and counted.
    pub(crate) fn export(&self, finished: FinishedSpan) {
        let Some(running) = &self.running else { return };
        if running.queue.try_send(finished).is_err() {
            running.dropped.inc();
        }
    }

    /// Exports what waits and ends the exporter, within `time`. It blocks.
    pub fn flush(&self, time: Duration) {
        let Some(running) = &self.running else { return };
        let ended = running.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        running.stop.notify_one();
        if let Some(Err(RecvTimeoutError::Timeout)) = ended.map(|ended| ended.recv_timeout(time)) {
            tracing::warn!("the last spans could not be exported in time");
        }
    }
}

// The end is dropped when the exporter has ended, by a panic too; that is how the other side knows.
fn run(runtime: &tokio::runtime::Runtime, exporter: export::Exporter, end: SyncSender<()>) {
    runtime.block_on(exporter.run());
    drop(end);
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traces").field("is_on", &self.running.is_some()).finish_non_exhaustive()
    }
}

/// Chooses requests.
#[derive(Debug)]
struct Sampler {
    /// Of 2^32 requests, so many.
    threshold: u64,
}

impl Sampler {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the configuration holds it between 0 and 1"
    )]
    fn new(share: f64) -> Self {
        Self { threshold: (share.clamp(0.0, 1.0) * 4_294_967_296.0) as u64 }
    }

    /// Who asks with a trace decides by its flag; else the request's id decides, and names the trace.
    fn sample(&self, headers: &HeaderMap, id: &RequestId) -> Option<Span> {
        let number = id.number();
        let span = SpanId::of(number);
        if let Some(parent) = TraceParent::find(headers) {
            return parent.is_sampled().then(|| parent.child(span, headers));
        }
        let is_chosen = number & 0xffff_ffff < self.threshold;
        is_chosen.then(|| Span { trace_id: id.as_str().into(), id: span, start: Start::Here })
    }
}

#[cfg(test)]
mod tests;
