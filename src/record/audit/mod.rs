//! The audit log: one JSON line for each request, written by a thread of its own.
//!
//! It never makes a request wait: where the queue is full or the disk is, lines are lost, counted and complained of, or,
//! where that is asked for, requests are refused.

pub mod chain;
mod collector;
mod kept;
pub mod search;
pub mod uses;
pub mod verify;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::mem;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use prometheus::IntCounter;

use crate::clock;
use crate::record::audit::chain::{BEFORE_ALL, Chain};
use crate::record::audit::collector::QueueCollector;
use crate::record::audit::kept::{Kept, head_of};
use crate::record::audit::uses::{UseListener, Uses};
use crate::record::json::LineWriter;
use crate::record::line::Line;
use crate::record::metrics::Metrics;
use crate::record::queue::{Batch, Bell, Queue};
use crate::record::sink::{FileSink, Rotation, Sink, WriteError, standard_output};

/// Lines of one worker that may wait: a second of a disk that stands still at 16,000 requests a second, and some 10 MB.
const QUEUE_LINES: usize = 16_384;

/// Bytes after which a batch is written: large enough that a write costs little for each line.
const BATCH_BYTES: usize = 64 * 1024;

/// How often the writer looks into the queues while lines come: a line is a blink late, and workers need not wake the
/// writer, which would cost each request a system call.
const ROUND: Duration = Duration::from_millis(10);

/// How many rounds without a line the writer waits before it sleeps until it is woken: half a second.
const IDLE_ROUNDS: u32 = 50;

/// The shortest time between two complaints.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(1);

/// Where audit lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// The standard output.
    Stdout,
    /// The end of a file, which may be rotated by renaming or deleting it, and rotates itself where that is said.
    File(PathBuf, Option<Rotation>),
    /// Nowhere.
    Off,
}

/// What happens to a request whose line has no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// It goes on, and its line is lost and counted.
    Drop,
    /// It is refused before it reaches the upstream.
    Refuse,
}

/// What is kept, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditSettings {
    /// Where lines go.
    pub output: Output,
    /// What happens to a request whose line has no place.
    pub when_full: WhenFull,
    /// Whether requests that are allowed, and would be by every rule on trial, have no line.
    pub leaves_out_allowed: bool,
    /// Whether each line holds a hash of all before it.
    pub chain: bool,
}

impl From<Output> for AuditSettings {
    fn from(output: Output) -> Self {
        Self { output, when_full: WhenFull::Drop, leaves_out_allowed: false, chain: false }
    }
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

/// The audit log. Lines still queued when it is dropped are written as long as the process lives; call
/// [`Audit::flush`] before it ends.
pub struct Audit {
    /// `None` where it is off.
    shared: Option<Arc<Shared>>,
    /// Disconnects when the writer has ended. `None` once flushed.
    ended: Mutex<Option<Receiver<()>>>,
    when_full: WhenFull,
    dropped: IntCounter,
    refused: IntCounter,
    complaints: Mutex<Complaints>,
}

/// What the writer and those who write to it share.
struct Shared {
    /// By worker.
    queues: Mutex<Vec<Arc<Queue>>>,
    bell: Arc<Bell>,
    stopping: AtomicBool,
    /// Whoever wants to know when tokens were used.
    uses: OnceLock<UseListener>,
    /// Of each queue, lines.
    capacity: usize,
}

impl Shared {
    fn queues(&self) -> Vec<Arc<Queue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}

impl Audit {
    /// Opens the output and starts the writer.
    ///
    /// # Errors
    /// When the file cannot be opened, or read to its last hash, or the thread cannot be started.
    pub fn open(settings: AuditSettings, metrics: &Metrics) -> io::Result<Self> {
        let AuditSettings { output, when_full, leaves_out_allowed, chain } = settings;
        let kept = |head| Kept { chain: chain.then(|| Chain::after(head)), leaves_out_allowed };
        match output {
            Output::Stdout => Self::start(standard_output()?, metrics, (QUEUE_LINES, kept(BEFORE_ALL))),
            Output::File(path, rotation) => {
                let head = if chain { head_of(&path)? } else { BEFORE_ALL };
                let sink = FileSink::open(path, rotation, clock::monotonic())?;
                Self::start(sink, metrics, (QUEUE_LINES, kept(head)))
            }
            Output::Off => Ok(Self::new(None, None, metrics)),
        }
        .map(|audit| Self { when_full, ..audit })
    }

    fn start(
        sink: impl Sink + 'static,
        metrics: &Metrics,
        (capacity, kept): (usize, Kept),
    ) -> io::Result<Self> {
        let (end, ended) = mpsc::sync_channel(1);
        let shared = Arc::new(Shared {
            queues: Mutex::default(),
            bell: Arc::default(),
            stopping: AtomicBool::new(false),
            uses: OnceLock::new(),
            capacity,
        });
        let writer = Writer {
            shared: Arc::clone(&shared),
            readers: Vec::new(),
            sink: Box::new(sink),
            json: LineWriter::new(),
            kept,
            pending: Pending::default(),
            written: metrics.audit_lines(),
            dropped: metrics.audit_dropped(),
            complaints: Complaints::default(),
            uses: Uses::default(),
            _end: end,
        };
        let thread = thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run())?;
        shared.bell.hang_up_for(thread.thread().clone());
        Ok(Self::new(Some(shared), Some(ended), metrics))
    }

    fn new(shared: Option<Arc<Shared>>, ended: Option<Receiver<()>>, metrics: &Metrics) -> Self {
        metrics.add(Box::new(QueueCollector::new(shared.clone())));
        Self {
            shared,
            ended: Mutex::new(ended),
            when_full: WhenFull::Drop,
            dropped: metrics.audit_dropped(),
            refused: metrics.audit_refused(),
            complaints: Mutex::default(),
        }
    }

    /// Has `listener` told, every ten seconds or when it is quiet, when tokens were used last. The first one stays. Where no
    /// lines are kept, nothing is known.
    pub fn tell_uses(&self, listener: UseListener) {
        if let Some(shared) = &self.shared {
            shared.uses.get_or_init(|| listener);
        }
    }

    /// Whether lines are kept at all.
    pub fn is_on(&self) -> bool {
        self.shared.is_some()
    }

    /// The queue of worker `number`, made when first asked for; `None` where no lines are kept.
    pub(crate) fn queue(&self, number: usize) -> Option<Arc<Queue>> {
        let shared = self.shared.as_ref()?;
        let mut queues = shared.queues.lock().unwrap_or_else(PoisonError::into_inner);
        while queues.len() <= number {
            let queue = Queue::new(shared.capacity, Arc::clone(&shared.bell));
            // INVARIANT: the flag is set before the writer looks at the queues for the last time, under this lock. So it
            // finds this one, or the flag is seen here.
            if shared.is_stopping() {
                drop(queue.take(Batch::default(), true));
            }
            queues.push(Arc::new(queue));
        }
        queues.get(number).cloned()
    }

    /// Whether a request waits for a place of its line before it goes on.
    pub(crate) fn is_required(&self) -> bool {
        self.when_full == WhenFull::Refuse
    }

    /// A request is refused because its line would find no room.
    #[cold]
    pub(crate) fn refuse(&self) {
        self.refused.inc();
    }

    /// A line found no room in its queue.
    #[cold]
    pub(crate) fn lose(&self) {
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

    /// Writes what is queued and ends the writer, within `time`. It blocks; lines that come later are lost and
    /// counted.
    pub fn flush(&self, time: Duration) -> Flushed {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (Some(ended), Some(shared)) = (ended, &self.shared) else {
            return Flushed::Whole;
        };
        shared.stopping.store(true, Ordering::SeqCst);
        shared.bell.wake();
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
struct Pending {
    bytes: Vec<u8>,
    lines: usize,
}

/// What was taken out of one queue and is not written yet.
struct Reader {
    queue: Arc<Queue>,
    batches: VecDeque<Batch>,
    /// How much of the first batch is written.
    at: usize,
    spare: Batch,
}

impl Reader {
    fn new(queue: Arc<Queue>) -> Self {
        Self { queue, batches: VecDeque::new(), at: 0, spare: Batch::default() }
    }

    fn take(&mut self, last: bool) {
        let batch = self.queue.take(mem::take(&mut self.spare), last);
        if batch.lines.is_empty() {
            self.spare = batch;
        } else {
            self.batches.push_back(batch);
        }
    }

    fn first(&self) -> Option<(&Line, &str)> {
        let batch = self.batches.front()?;
        Some((batch.lines.get(self.at)?, &batch.text))
    }

    fn ended(&self) -> Option<Instant> {
        self.first().map(|(line, _)| line.ended)
    }

    fn advance(&mut self) {
        self.at += 1;
        if self.batches.front().is_some_and(|batch| batch.lines.len() <= self.at) {
            self.at = 0;
            if let Some(mut batch) = self.batches.pop_front() {
                batch.clear();
                self.spare = batch;
            }
        }
    }
}

/// The writing end.
struct Writer {
    shared: Arc<Shared>,
    /// By worker.
    readers: Vec<Reader>,
    sink: Box<dyn Sink>,
    json: LineWriter,
    kept: Kept,
    pending: Pending,
    written: IntCounter,
    dropped: IntCounter,
    complaints: Complaints,
    uses: Uses,
    /// Tells by being dropped that the writer has ended.
    _end: SyncSender<()>,
}

impl Writer {
    fn run(mut self) {
        let mut idle = 0;
        loop {
            let is_last = self.shared.is_stopping();
            // Lines that end later than this may be taken while others that ended before them still come. They wait for
            // the next round, so that of two requests, one of which was made because the other was answered, the
            // latter always stands first.
            let until = clock::monotonic();
            let found = self.write_queues(until, is_last);
            idle = if found { 0 } else { idle + 1 };
            self.tell_uses(until, idle >= IDLE_ROUNDS);
            if is_last {
                return;
            }
            if idle < IDLE_ROUNDS {
                thread::park_timeout(ROUND);
            } else {
                let queues = self.shared.queues();
                self.shared
                    .bell
                    .sleep(|| self.shared.is_stopping() || queues.iter().any(|queue| queue.waiting() > 0));
            }
        }
    }

    /// Writes what ended by `until`; all there is where it `is_last`. Tells whether there was anything.
    fn write_queues(&mut self, until: Instant, is_last: bool) -> bool {
        let queues = self.shared.queues();
        for queue in queues.into_iter().skip(self.readers.len()) {
            self.readers.push(Reader::new(queue));
        }
        for reader in &mut self.readers {
            reader.take(is_last);
        }
        let mut found = false;
        while let Some(reader) = next(&mut self.readers, until, is_last) {
            found = true;
            let Some((line, text)) = reader.first() else { break };
            if self.pending.lines == 0 && self.sink.prepare(until) {
                self.kept.begin();
            }
            let start = self.pending.bytes.len();
            let written = self.kept.write(&mut self.json, (line, text), &mut self.pending.bytes);
            if self.shared.uses.get().is_some() {
                self.uses.note(line, text);
            }
            reader.advance();
            match written {
                Ok(lines) => self.pending.lines += lines,
                Err(error) => {
                    self.pending.bytes.truncate(start);
                    self.lose(1, &error);
                }
            }
            if self.pending.bytes.len() >= BATCH_BYTES {
                self.write_pending();
            }
        }
        self.write_pending();
        found || self.readers.iter().any(|reader| reader.first().is_some())
    }

    fn tell_uses(&mut self, now: Instant, quiet: bool) {
        if let Some(listener) = self.shared.uses.get()
            && let Some(uses) = self.uses.due(now, quiet || self.shared.is_stopping())
        {
            listener(uses);
        }
    }

    fn write_pending(&mut self) {
        if self.pending.lines == 0 {
            return;
        }
        let result = self.sink.write_lines(&self.pending.bytes);
        self.shared.bell.tell_written(result.is_ok());
        let lost = result.as_ref().map_or_else(|error| error.lost, |()| 0);
        let written = self.pending.lines.saturating_sub(lost);
        self.kept.settle(written);
        self.written.inc_by(u64::try_from(written).unwrap_or(u64::MAX));
        self.pending.bytes.clear();
        self.pending.lines = 0;
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

/// Of all first lines, that which ended first, where it ended by `until` or is to be written anyway.
fn next(readers: &mut [Reader], until: Instant, anyway: bool) -> Option<&mut Reader> {
    readers
        .iter_mut()
        .filter_map(|reader| Some((reader.ended().filter(|ended| anyway || *ended <= until)?, reader)))
        .min_by_key(|(ended, _)| *ended)
        .map(|(_, reader)| reader)
}

#[cfg(test)]
mod tests;
