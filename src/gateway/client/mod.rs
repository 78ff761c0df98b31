//! A client's connection of HTTP/1: heads are read from it, bodies, and answers are written to it.
//!
//! What is read passes `framing`. Both halves of an exchange have the connection: the body of the request reads, often
//! from inside of the exchange with the host, while the answer is written. All of that is one task, or for embedded git
//! two of the same thread, so nobody ever waits for the lock.

mod connection;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::io::AsyncWrite;
use tokio::time::timeout;

use crate::framing::head::{BodyFraming, HeadFault, HeadLimits, RequestHead};
use crate::gateway::client::connection::Connection;
use crate::gateway::socket::Socket;

/// How long a client that is still sending is listened to after the last byte of our answer.
const LINGER: Duration = Duration::from_secs(2);

/// How long a client may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// From the first byte of a head to its end.
    pub head: Duration,
    /// Without a byte, from the end of one exchange, or the start of the connection, to the first byte of the next head.
    pub idle: Duration,
    /// Without a byte, inside a body, while somebody waits for it.
    pub body: Duration,
}

/// A client's connection. A clone is the same connection, which is closed with the last of them.
#[derive(Clone)]
pub struct Client(Arc<Mutex<Connection>>);

/// What comes next from a client.
#[derive(Debug)]
pub enum Next {
    /// A request, with its body.
    Request(Box<RequestHead>, ClientBody),
    /// A head that does not pass. Nothing behind it can be read.
    Fault(HeadFault),
    /// Nothing more: the client left, or was idle for too long.
    End,
}

impl std::fmt::Debug for Client {
    /// Tells nothing of the bytes: a head carries a credential.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// A connection at whose first byte a request begins.
    pub fn new(socket: Box<dyn Socket>, limits: HeadLimits, timeouts: Timeouts) -> Self {
        Self(Arc::new(Mutex::new(Connection::new(socket, limits, timeouts))))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        lock(&self.0)
    }

    /// Reads the next head.
    ///
    /// # Cancel safety
    /// Cancel safe: what was read stays.
    pub async fn next(&self) -> Next {
        let mut searched = 0;
        self.lock().begin();
        let read = std::future::poll_fn(|context| self.lock().poll_head(context, &mut searched)).await;
        match read {
            Ok(None) => Next::End,
            Err(fault) => Next::Fault(fault),
            Ok(Some(head)) => {
                let left = match head.body {
                    BodyFraming::Empty => None,
                    BodyFraming::Length(length) => Some(SizeHint::with_exact(length)),
                    BodyFraming::Chunked => Some(SizeHint::default()),
                };
                let body = ClientBody(left.map(|left| Unread {
                    connection: Arc::downgrade(&self.0),
                    exchange: self.lock().ended,
                    left,
                }));
                Next::Request(head, body)
            }
        }
    }

    /// Has the connection end in a way that looks like no end, for an answer that only the end would delimit.
    pub fn break_off(&self) {
        self.lock().inflow.socket.break_off();
    }

    /// Whether more than the requests so far has come.
    pub fn has_begun(&self) -> bool {
        !self.lock().inflow.buffer.is_empty()
    }

    /// Ready when the client has left in the middle of an exchange.
    pub fn poll_left(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut connection = self.lock();
        // Who reads the body finds out by that, maybe in another task.
        if !connection.rest.has_ended() {
            if !connection.at_end.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                connection.at_end = Some(context.waker().clone());
            }
            return Poll::Pending;
        }
        // Before the client left it may have sent another request.
        if !connection.inflow.buffer.is_empty() {
            return Poll::Pending;
        }
        match ready!(connection.inflow.poll_read(context)) {
            Ok(1..) => Poll::Pending,
            Ok(0) | Err(_) => Poll::Ready(()),
        }
    }

    /// Whether another request may follow an answer that begins now.
    pub fn can_go_on(&self) -> bool {
        self.lock().can_go_on()
    }

    /// Ends the exchange: whoever still holds the body of its request reads no more, and what has come of it is taken.
    /// `true` if that was the rest of it, so that another request may follow.
    pub fn end_exchange(&self) -> bool {
        let mut connection = self.lock();
        connection.ended += 1;
        connection.pass_over()
    }

    /// Ends the connection. A client that is still sending is listened to for a moment: to close at once would reset
    /// the connection, and the client might lose our answer (RFC 9112 section 9.6).
    pub async fn close(&self, is_sending: bool) {
        let mut writing = self.clone();
        let shut = std::future::poll_fn(|context| Pin::new(&mut writing).poll_shutdown(context)).await;
        if shut.is_err() || !is_sending {
            return;
        }
        let listening = async { while self.listen().await {} };
        if timeout(LINGER, listening).await.is_err() {
            tracing::debug!("a client went on sending after the end");
        }
    }

    /// Throws away what comes next. `false` at the end.
    async fn listen(&self) -> bool {
        let read = std::future::poll_fn(|context| {
            let mut connection = self.lock();
            connection.inflow.buffer.clear();
            connection.inflow.poll_read(context)
        });
        matches!(read.await, Ok(1..))
    }
}

fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AsyncWrite for Client {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut connection = self.lock();
        ready!(connection.poll_past_interim(context))?;
        Pin::new(&mut *connection.inflow.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut connection = self.lock();
        ready!(connection.poll_past_interim(context))?;
        Pin::new(&mut *connection.inflow.socket).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.lock().inflow.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock().inflow.socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock().inflow.socket).poll_shutdown(context)
    }
}

/// The body of a client's request. It belongs to one exchange: once that has ended, whoever still holds the body finds
/// it broken off, and neither reads what comes behind it nor keeps the connection open.
#[derive(Debug)]
pub struct ClientBody(Option<Unread>);

/// A body that has not ended.
#[derive(Debug)]
struct Unread {
    connection: Weak<Mutex<Connection>>,
    exchange: u64,
    /// How much has not come.
    left: SizeHint,
}

impl ClientBody {
    /// No body.
    pub const NOTHING: Self = Self(None);
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Some(unread) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let broken_off = || Poll::Ready(Some(Err(io::ErrorKind::BrokenPipe.into())));
        let Some(shared) = unread.connection.upgrade() else {
            return broken_off();
        };
        let mut connection = lock(&shared);
        if connection.ended != unread.exchange {
            return broken_off();
        }
        let frame = ready!(connection.poll_body(context));
        if let (Some(Ok(frame)), Some(length)) = (&frame, unread.left.exact()) {
            let count = frame.data_ref().map_or(0, Bytes::len) as u64;
            unread.left = SizeHint::with_exact(length.saturating_sub(count));
        }
        let has_ended = connection.rest.has_ended();
        let waiting = connection.at_end.take_if(|_| has_ended);
        drop(connection);
        if has_ended {
            self.0 = None;
        }
        // Its own task asks anew anyhow.
        if let Some(waker) = waiting.filter(|waker| !waker.will_wake(context.waker())) {
            waker.wake();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |unread| unread.left)
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        if let Some(unread) = &self.0
            && let Some(shared) = unread.connection.upgrade()
        {
            let mut connection = lock(&shared);
            connection.is_unwanted |= connection.ended == unread.exchange;
        }
    }
}

#[cfg(test)]
mod tests;
