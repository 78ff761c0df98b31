//! Audit lines on their way from a worker to the writer.
//!
//! Each worker has a queue of its own. It takes the lock for as long as it takes to copy a line; the writer takes it
//! some hundred times a second for as long as it takes to exchange a full batch for an empty one. So the two hardly
//! ever meet, no line is an allocation of its own, and nothing is freed by another thread than made it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;

use crate::record::line::{Line, Text};

/// Bytes of text that may wait, beside the number of lines: paths may be long.
const QUEUE_BYTES: usize = 16 * 1024 * 1024;

/// Lines, and the text that they point into.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) lines: Vec<Line>,
    pub(crate) text: String,
}

impl Batch {
    pub(crate) fn clear(&mut self) {
        self.lines.clear();
        self.text.clear();
    }
}

/// What workers and the writer tell each other beside lines.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    sleeping: AtomicBool,
    writer: OnceLock<Thread>,
    /// Whether the last lines could not be written.
    failing: AtomicBool,
}

impl Bell {
    /// Lines were written, or could not be.
    pub(crate) fn tell_written(&self, is_written: bool) {
        self.failing.store(!is_written, Ordering::Relaxed);
    }

    /// Wakes the writer where it sleeps, which costs a system call; where it does not, it comes by itself.
    ///
    /// INVARIANT: whoever calls this has changed something under a lock that the writer takes after it set the flag.
    /// So either the writer sees the change, or this sees the flag.
    pub(crate) fn ring(&self) {
        if self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::Relaxed) {
            self.wake();
        }
    }

    /// Wakes the writer, or keeps it from falling asleep.
    pub(crate) fn wake(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    /// Whether the writer sleeps.
    #[cfg(test)]
    pub(crate) fn is_quiet(&self) -> bool {
        self.sleeping.load(Ordering::SeqCst)
    }

    /// `writer` is whom it wakes.
    pub(crate) fn hang_up_for(&self, writer: Thread) {
        self.writer.get_or_init(|| writer);
    }

    /// Sleeps until the bell rings, unless `is_due` already. For the writer alone.
    pub(crate) fn sleep(&self, is_due: impl FnOnce() -> bool) {
        self.sleeping.store(true, Ordering::SeqCst);
        if !is_due() {
            std::thread::park();
        }
        self.sleeping.store(false, Ordering::SeqCst);
    }
}

/// One worker's queue.
#[derive(Debug)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    capacity: usize,
    bell: Arc<Bell>,
}

#[derive(Debug, Default)]
struct Inner {
    batch: Batch,
    /// Places of lines that have not come yet.
    reserved: usize,
    closed: bool,
}

impl Inner {
    fn is_full(&self, capacity: usize) -> bool {
        self.batch.lines.len() + self.reserved >= capacity || self.batch.text.len() > QUEUE_BYTES
    }
}

/// Whether a line has a place already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// [`Queue::reserve`] gave it one.
    Reserved,
    /// It takes one that is free.
    Any,
}

/// A line that found no room.
#[derive(Debug)]
pub(crate) struct Full;

impl Queue {
    pub(crate) fn new(capacity: usize, bell: Arc<Bell>) -> Self {
        Self { inner: Mutex::default(), capacity, bell }
    }

    /// Takes `line`, whose texts are in `text`.
    ///
    /// # Errors
    /// [`Full`], also when the writer has ended.
    pub(crate) fn push(&self, mut line: Line, text: &Text, place: Place) -> Result<(), Full> {
        let mut inner = self.lock();
        if place == Place::Reserved {
            inner.reserved = inner.reserved.saturating_sub(1);
        } else if inner.is_full(self.capacity) {
            return Err(Full);
        }
        let Inner { batch, closed, .. } = &mut *inner;
        let text = text.as_str();
        if *closed {
            return Err(Full);
        }
        line.text_at(batch.text.len());
        batch.text.push_str(text);
        batch.lines.push(line);
        drop(inner);
        self.bell.ring();
        Ok(())
    }

    /// Keeps a place for a line that [`Queue::push`] will bring.
    ///
    /// # Errors
    /// [`Full`], also when the writer has ended or could not write the last lines.
    pub(crate) fn reserve(&self) -> Result<(), Full> {
        let mut inner = self.lock();
        if inner.closed || inner.is_full(self.capacity) || self.bell.failing.load(Ordering::Relaxed) {
            return Err(Full);
        }
        inner.reserved += 1;
        Ok(())
    }

    /// How many lines wait.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().batch.lines.len()
    }

    /// How many may.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Exchanges what waits for `empty`. When it is `last`, nothing is taken afterwards.
    pub(crate) fn take(&self, empty: Batch, last: bool) -> Batch {
        let mut inner = self.lock();
        inner.closed |= last;
        std::mem::replace(&mut inner.batch, empty)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
