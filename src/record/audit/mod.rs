//! The audit log: one JSON line for each request, written by a thread of its own.
//!
//! It never makes a request wait: where the queue is full or the disk is, lines are lost, counted and complained of.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use prometheus::IntCounter;

use crate::clock;
use crate::record::line::AuditLine;
use crate::record::metrics::Metrics;
use crate::record::sink::{FileSink, Sink, WriteError, standard_output};

/// Lines that may wait: a second of a disk that stands still at 16,000 requests a second, and some 10 MB at most.
const QUEUE_LINES: usize = 16_384;

/// Bytes after which a batch is written: large enough that a write costs little for each line.
const BATCH_BYTES: usize = 64 * 1024;

/// How long the writer waits for company after the first line of a batch. While it sleeps, senders need not wake
/// it, which would cost each request a system call; the line is a blink late.
const LINGER: Duration = Duration::from_millis(2);

/// The shortest time between two complaints.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(1);

/// Where audit lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// The standard output.
    Stdout,
    /// The end of a file, which may be rotated by renaming or deleting it.
    File(PathBuf),
    /// Nowhere.
    Off,
}

/// Whether the queue was written to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Flushed {
    /// It was.
    Whole,
    /// The time was up before.
    CutShort,
}

/// The way to the writer; `None` in the queue only wakes it.
type Message = Option<Box<AuditLine>>;

/// The audit log. Lines still queued when it is dropped are written as long as the process lives; call
/// [`Audit::flush`] before it ends.
pub struct Audit {
    /// `None` where it is off.
    queue: Option<SyncSender<Message>>,
    stopping: Arc<AtomicBool>,
    /// Disconnects when the writer has ended. `None` once flushed.
    ended: Mutex<Option<Receiver<()>>>,
    dropped: IntCounter,
    complaints: Mutex<Complaints>,
}

impl Audit {
    /// Opens `output` and starts the writer.
    ///
    /// # Errors
    /// When the file cannot be opened, or the thread cannot be started.
    pub fn open(output: Output, metrics: &Metrics) -> io::Result<Self> {
        match output {
            Output::Stdout => Self::start(standard_output()?, metrics, QUEUE_LINES),
            Output::File(path) => {
                Self::start(FileSink::open(path, clock::monotonic())?, metrics, QUEUE_LINES)
            }
            Output::Off => Ok(Self::new(None, None, Arc::default(), metrics)),
        }
    }

    fn start(sink: impl Sink + 'static, metrics: &Metrics, capacity: usize) -> io::Result<Self> {
        let (queue, messages) = mpsc::sync_channel(capacity);
        let (end, ended) = mpsc::sync_channel(1);
        let stopping = Arc::<AtomicBool>::default();
        let writer = Writer {
            messages,
            stopping: Arc::clone(&stopping),
            sink: Box::new(sink),
            batch: Batch::default(),
            written: metrics.audit_lines(),
            dropped: metrics.audit_dropped(),
            complaints: Complaints::default(),
            _end: end,
        };
        thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run())?;
        Ok(Self::new(Some(queue), Some(ended), stopping, metrics))
    }

    fn new(
        queue: Option<SyncSender<Message>>,
        ended: Option<Receiver<()>>,
        stopping: Arc<AtomicBool>,
        metrics: &Metrics,
    ) -> Self {
        Self {
            queue,
            stopping,
            ended: Mutex::new(ended),
            dropped: metrics.audit_dropped(),
            complaints: Mutex::default(),
        }
    }

    /// Whether lines are kept at all.
    pub fn is_on(&self) -> bool {
        self.queue.is_some()
    }

    /// Queues `line`. Never waits: a line that finds no room is lost and counted.
    pub fn write(&self, line: Box<AuditLine>) {
        let Some(queue) = &self.queue else { return };
        if queue.try_send(Some(line)).is_err() {
            self.dropped.inc();
            // Whoever finds the lock taken leaves the complaint to the other.
            let is_due =
                self.complaints.try_lock().is_ok_and(|mut complaints| complaints.is_due(clock::monotonic()));
            if is_due {
                tracing::error!(
                    dropped_in_all = self.dropped.get(),
                    "audit lines are lost because the output takes them too slowly; check its disk or reader"
                );
            }
        }
    }

    /// Writes what is queued and ends the writer, within `time`. It blocks; lines that come later are lost and
    /// counted.
    pub fn flush(&self, time: Duration) -> Flushed {
        let Some(ended) = self.ended.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Flushed::Whole;
        };
        // INVARIANT: the flag is set before the wake-up is sent. Where the queue is full no wake-up is needed: the
        // writer looks at the flag each time that it has emptied the queue.
        self.stopping.store(true, Ordering::SeqCst);
        if let Some(queue) = &self.queue {
            drop(queue.try_send(None));
        }
        match ended.recv_timeout(time) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => Flushed::Whole,
            Err(RecvTimeoutError::Timeout) => {
                tracing::error!("the audit log could not be written to its end in time");
                Flushed::CutShort
            }
        }
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit").field("is_on", &self.is_on()).finish_non_exhaustive()
    }
}

/// Keeps a fault that happens with every line from filling the log.
#[derive(Debug, Default)]
struct Complaints {
    last: Option<Instant>,
}

impl Complaints {
    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.last.is_none_or(|last| now.saturating_duration_since(last) >= COMPLAINT_INTERVAL);
        if is_due {
            self.last = Some(now);
        }
        is_due
    }
}

/// Lines that go out in one write.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    lines: usize,
}

/// The writing end.
struct Writer {
    messages: Receiver<Message>,
    stopping: Arc<AtomicBool>,
    sink: Box<dyn Sink>,
    batch: Batch,
    written: IntCounter,
    dropped: IntCounter,
    complaints: Complaints,
    /// Tells by being dropped that the writer has ended.
    _end: SyncSender<()>,
}

impl Writer {
    fn run(mut self) {
        while let Ok(message) = self.messages.recv() {
            self.take(message);
            if !self.stopping.load(Ordering::SeqCst) {
                thread::sleep(LINGER);
            }
            self.write_queue();
            if self.stopping.load(Ordering::SeqCst) {
                // Once more: the flag may have been set, and lines queued before it, since the queue was empty.
                self.write_queue();
                return;
            }
        }
    }

    fn write_queue(&mut self) {
        while let Ok(message) = self.messages.try_recv() {
            self.take(message);
        }
        self.write_batch();
    }

    fn take(&mut self, message: Message) {
        let Some(line) = message else { return };
        let start = self.batch.bytes.len();
        if let Err(error) = serde_json::to_writer(&mut self.batch.bytes, &line) {
            self.batch.bytes.truncate(start);
            self.lose(1, &error.into());
            return;
        }
        self.batch.bytes.push(b'\n');
        self.batch.lines += 1;
        if self.batch.bytes.len() >= BATCH_BYTES {
            self.write_batch();
        }
    }

    fn write_batch(&mut self) {
        if self.batch.lines == 0 {
            return;
        }
        let result = self.sink.write_lines(&self.batch.bytes, clock::monotonic());
        let lost = result.as_ref().map_or_else(|error| error.lost, |()| 0);
        let written = self.batch.lines.saturating_sub(lost);
        self.written.inc_by(u64::try_from(written).unwrap_or(u64::MAX));
        self.batch.bytes.clear();
        self.batch.lines = 0;
        if let Err(WriteError { lost, error }) = result {
            self.lose(lost, &error);
        }
    }

    fn lose(&mut self, lines: usize, error: &io::Error) {
        self.dropped.inc_by(u64::try_from(lines).unwrap_or(u64::MAX));
        if self.complaints.is_due(clock::monotonic()) {
            tracing::error!(
                %error,
                dropped_in_all = self.dropped.get(),
                "audit lines are lost because they cannot be written; free the disk or check the output"
            );
        }
    }
}

#[cfg(test)]
mod tests;
