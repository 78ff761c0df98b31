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

/// How workers wake the writer.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    sleeping: AtomicBool,
    writer: OnceLock<Thread>,
}

impl Bell {
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
    closed: bool,
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
    pub(crate) fn push(&self, mut line: Line, text: &Text) -> Result<(), Full> {
        let mut inner = self.lock();
        let Inner { batch, closed } = &mut *inner;
        let text = text.as_str();
        if *closed || batch.lines.len() >= self.capacity || batch.text.len() + text.len() > QUEUE_BYTES {
            return Err(Full);
        }
        line.text_at(batch.text.len());
        batch.text.push_str(text);
        batch.lines.push(line);
        drop(inner);
        self.bell.ring();
        Ok(())
    }

    /// Exchanges what waits for `empty`. When it is `last`, nothing is taken afterwards.
    pub(crate) fn take(&self, empty: Batch, last: bool) -> Batch {
        let mut inner = self.lock();
        inner.closed |= last;
        std::mem::replace(&mut inner.batch, empty)
    }

    /// Whether lines wait, as the writer must see it before it sleeps.
    pub(crate) fn has_lines(&self) -> bool {
        !self.lock().batch.lines.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
