//! The guard between a client's socket and hyper's HTTP/1 server: one request in is one request out.
//!
//! First of all stages: it sees the bytes before any parser does. hyper is lenient where two parsers could cut a
//! stream at different places (it drops a length beside `Transfer-Encoding`, it cuts a target at `#`), and it answers
//! what it cannot parse by itself, without a record. So the guard reads the stream to the letter and passes on only
//! what has one reading. It changes no byte, and it does not answer: for a head that does not pass it shows hyper a
//! made-up one, and the service, which learns of it from the [`FaultSlot`], refuses. HTTP/2 does not come through here.

pub mod answer;
pub mod chunks;
pub mod head;
pub mod slot;

mod messages;

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock::timer::Timer;
use crate::domain::refusal::{FramingError, Limit};
use crate::framing::head::{HeadFault, HeadLimits};
use crate::framing::messages::{Messages, Rest};
use crate::framing::slot::FaultSlot;

/// What hyper is shown in place of a head that does not pass.
const REFUSED_HEAD: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// How long a client that is still sending is listened to after the last byte of our answer.
const LINGER: Duration = Duration::from_secs(2);

/// How many bytes of such a client are thrown away at a time.
const LINGER_BUFFER: usize = 4096;

/// How long a client may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadTimeouts {
    /// From the first byte of a head to its end.
    pub head: Duration,
    /// Without a byte, from the end of one exchange, or the start of the connection, to the first byte of the next head.
    pub idle: Duration,
    /// Without a byte, inside a body, while somebody waits for it.
    pub body: Duration,
}

/// A client's connection, from which only requests with one reading can be read.
///
/// Writes pass through. When it is shut down while the client is still sending, it goes on reading for a moment and
/// throws away what comes: closing at once would reset the connection, and the client might lose our answer
/// (RFC 9112 section 9.6).
pub struct Guarded<S> {
    inner: S,
    messages: Messages,
    timeouts: HeadTimeouts,
    timer: Timer,
    slot: FaultSlot,
    end: End,
    /// Bytes that were read and not passed on: first `ready` of which the caller may have, then a partial head.
    withheld: Vec<u8>,
    ready: usize,
    /// How many of the `ready` bytes the caller has.
    given: usize,
    /// How many bytes of the partial head were judged to be one.
    searched: usize,
    /// Something was written, or a request was being answered, since the connection was last looked at for idleness.
    touched: bool,
    shut: bool,
}

/// What the reader gets once the withheld bytes are handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// More bytes of the client.
    Open,
    /// Nothing, until the refusal is written: hyper takes an end of the stream for a client that left.
    Refused,
    /// A body that cannot be read on.
    Malformed(FramingError),
    /// A body that takes too long.
    Stalled,
    /// The end of the stream, as the client's side ended it.
    ByClient,
    /// The end of the stream, for the connection was idle too long.
    Idle,
}

/// What the client is expected to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Head,
    Body,
}

impl<S> Guarded<S> {
    /// Guards `inner`, at whose first byte a request begins.
    pub fn new(inner: S, limits: HeadLimits, timeouts: HeadTimeouts) -> (Self, FaultSlot) {
        let slot = FaultSlot::default();
        let guarded = Self {
            inner,
            messages: Messages::new(limits),
            timeouts,
            timer: Timer::default(),
            slot: slot.clone(),
            end: End::Open,
            withheld: Vec::new(),
            ready: 0,
            given: 0,
            searched: 0,
            touched: false,
            shut: false,
        };
        (guarded, slot)
    }

    fn phase(&self) -> Phase {
        if self.end == End::Refused {
            Phase::Idle
        } else if !self.withheld.is_empty() {
            Phase::Head
        } else if self.messages.is_between() {
            Phase::Idle
        } else {
            Phase::Body
        }
    }

    /// Gives the caller what it may have of the withheld bytes. `false` if that is nothing.
    fn hand_out(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let waiting = self.withheld.get(self.given..self.ready).unwrap_or_default();
        if waiting.is_empty() {
            return false;
        }
        let length = waiting.len().min(buffer.remaining());
        buffer.put_slice(waiting.get(..length).unwrap_or_default());
        self.given += length;
        if self.given == self.ready {
            self.withheld.drain(..self.ready);
            self.ready = 0;
            self.given = 0;
            // Partial heads are rare; an idle connection keeps no memory for the next one.
            if self.withheld.is_empty() {
                self.withheld = Vec::new();
            }
        }
        true
    }

    /// Judges bytes that were just read. Gives how many of them, from the first on, the caller may keep.
    fn take(&mut self, fresh: &[u8]) -> usize {
        let direct = self.withheld.is_empty();
        let verdict = if direct {
            self.messages.scan(fresh, 0)
        } else {
            self.withheld.extend_from_slice(fresh);
            self.messages.scan(&self.withheld, self.searched)
        };
        let is_new_head = direct || verdict.pass > 0;
        let keep = if direct {
            self.withheld.extend_from_slice(fresh.get(verdict.pass..).unwrap_or_default());
            verdict.pass
        } else {
            self.ready = verdict.pass;
            0
        };
        match verdict.rest {
            Rest::Empty => self.timer.clear(),
            Rest::PartialHead => {
                self.searched = self.withheld.len() - self.ready;
                if is_new_head {
                    self.timer.start(self.timeouts.head);
                }
            }
            Rest::Refused(fault) => self.refuse(fault),
            Rest::Broken(error) => {
                self.withheld.clear();
                self.end = End::Malformed(error);
            }
        }
        keep
    }

    /// Puts the made-up head in place of the partial or faulty one.
    fn refuse(&mut self, fault: HeadFault) {
        self.slot.store(self.messages.heads(), fault);
        self.withheld.truncate(self.ready);
        self.withheld.extend_from_slice(REFUSED_HEAD);
        self.ready = self.withheld.len();
        self.end = End::Refused;
        self.timer.clear();
    }

    /// To be called when there is nothing to read. `true` if that has been so for too long, and the end is set.
    fn is_overdue(&mut self, cx: &mut Context<'_>) -> bool {
        let phase = self.phase();
        let period = match phase {
            Phase::Idle => self.timeouts.idle,
            Phase::Head => self.timeouts.head,
            Phase::Body => self.timeouts.body,
        };
        if phase == Phase::Idle {
            let answering = self.slot.is_answering();
            if self.touched || answering {
                self.timer.clear();
            }
            self.touched = answering;
        }
        if !self.timer.is_over(cx, period) {
            return false;
        }
        match phase {
            Phase::Idle => self.end = End::Idle,
            Phase::Head => self.refuse(Limit::HeaderTime.into()),
            Phase::Body => self.end = End::Stalled,
        }
        true
    }

    /// Whether the client may be sending something that nobody will read.
    fn is_client_sending(&self) -> bool {
        match self.end {
            End::Open => self.phase() != Phase::Idle,
            End::Refused | End::Malformed(_) | End::Stalled => true,
            End::ByClient | End::Idle => false,
        }
    }
}

impl<S: AsyncRead + Unpin> Guarded<S> {
    /// Reads from the client, past what must be withheld. `Ready` with nothing new if the end was set.
    fn poll_client(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if Pin::new(&mut self.inner).poll_read(cx, buffer)?.is_pending() {
            return if self.is_overdue(cx) { Poll::Ready(Ok(())) } else { Poll::Pending };
        }
        let fresh = buffer.filled().get(before..).unwrap_or_default();
        if fresh.is_empty() {
            self.end = End::ByClient;
            return Poll::Ready(Ok(()));
        }
        let keep = self.take(fresh);
        buffer.set_filled(before + keep);
        Poll::Ready(Ok(()))
    }

    /// Throws away what a client goes on sending, until it stops or [`LINGER`] is over.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // The timer first: of a client that sends without a pause the reads alone would use up the task's turn.
        while self.is_client_sending() && !self.timer.is_over(cx, LINGER) {
            let mut scratch = [0; LINGER_BUFFER];
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                Ok(()) | Err(_) => self.end = End::ByClient,
            }
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let guarded = self.get_mut();
        let before = buffer.filled().len();
        // Without room a read gives nothing, which must not be taken for the end of the stream.
        while buffer.remaining() > 0 && buffer.filled().len() == before && !guarded.hand_out(buffer) {
            match guarded.end {
                End::Open => ready!(guarded.poll_client(cx, buffer))?,
                End::Refused => {
                    if !guarded.is_overdue(cx) {
                        return Poll::Pending;
                    }
                }
                End::Malformed(error) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
                }
                End::Stalled => {
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "the request's body did not arrive in time",
                    )));
                }
                End::ByClient | End::Idle => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let guarded = self.get_mut();
        let written = ready!(Pin::new(&mut guarded.inner).poll_write(cx, bytes));
        guarded.touched = true;
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let guarded = self.get_mut();
        let written = ready!(Pin::new(&mut guarded.inner).poll_write_vectored(cx, slices));
        guarded.touched = true;
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let guarded = self.get_mut();
        if !guarded.shut {
            ready!(Pin::new(&mut guarded.inner).poll_shutdown(cx))?;
            guarded.shut = true;
            guarded.timer.clear();
        }
        guarded.poll_linger(cx).map(Ok)
    }
}

impl<S> fmt::Debug for Guarded<S> {
    /// Tells nothing of the bytes: a head carries a credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded")
            .field("heads", &self.messages.heads())
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
