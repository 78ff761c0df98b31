//! A client's connection of HTTP/1: heads are read from it, bodies, and answers are written to it.
//!
//! What is read passes `framing`. Both halves of an exchange have the connection: the body of the request reads, often
//! from inside of the exchange with the host, while the answer is written. All of that is one task, or for embedded git
//! two of the same thread, so nobody ever waits for the lock.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::clock::timer::Timer;
use crate::domain::refusal::Limit;
use crate::framing::chunks::Chunks;
use crate::framing::head::{BodyFraming, HeadFault, HeadLimits, RequestHead, head_end, read_head};
use crate::gateway::inflow::{Inflow, Rest, Taken};

/// What a client that asks for it is told before it sends a body.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// How much of a body that nobody wants is read, so that the connection can be used again.
const LONGEST_UNWANTED: usize = 128 * 1024;

/// How long a client that is still sending is listened to after the last byte of our answer.
const LINGER: Duration = Duration::from_secs(2);

/// A socket, with TLS or without.
pub trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Socket for S {}

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

/// A client's connection. A clone is the same connection.
#[derive(Clone)]
pub struct Client(Arc<Mutex<Connection>>);

struct Connection {
    inflow: Inflow<Box<dyn Socket>>,
    /// What has not come of the body at hand.
    rest: Rest,
    /// Whether nobody reads it any more.
    is_unwanted: bool,
    /// Whether nothing more can be read.
    is_broken: bool,
    limits: HeadLimits,
    timeouts: Timeouts,
    timer: Timer,
    /// What has not gone out of [`CONTINUE`], which the client waits for before it sends the body.
    interim: &'static [u8],
}

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
        Self(Arc::new(Mutex::new(Connection {
            inflow: Inflow::new(socket),
            rest: Rest::NOTHING,
            is_unwanted: false,
            is_broken: false,
            limits,
            timeouts,
            timer: Timer::default(),
            interim: b"",
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
                let body = ClientBody(left.map(|left| (self.clone(), left)));
                Next::Request(Box::new(head), body)
            }
        }
    }

    /// Whether a part of a head has come.
    pub fn has_begun(&self) -> bool {
        !self.lock().inflow.buffer.is_empty()
    }

    /// Ready when the client has left in the middle of an exchange.
    pub fn poll_left(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut connection = self.lock();
        // Who reads the body finds out by that; and before the client left it may have sent another request.
        if !connection.rest.has_ended() || !connection.inflow.buffer.is_empty() {
            return Poll::Pending;
        }
        match ready!(connection.inflow.poll_read(context)) {
            Ok(1..) => Poll::Pending,
            Ok(0) | Err(_) => Poll::Ready(()),
        }
    }

    /// Whether the connection can be used again, if the body of the request was left unread: takes what has come of it.
    pub fn can_go_on(&self) -> bool {
        let mut connection = self.lock();
        !connection.is_unwanted || connection.pass_over()
    }

    /// Whether all of the request has come; takes what has.
    pub fn is_between(&self) -> bool {
        self.lock().pass_over()
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

impl Connection {
    /// Gets ready for the next head.
    fn begin(&mut self) {
        self.timer.clear();
        self.is_unwanted = false;
        self.inflow.rest();
    }

    fn poll_head(
        &mut self,
        context: &mut Context<'_>,
        searched: &mut usize,
    ) -> Poll<Result<Option<RequestHead>, HeadFault>> {
        loop {
            if let Some(end) = head_end(&self.inflow.buffer, *searched, &self.limits)? {
                return Poll::Ready(self.take_head(end).map(Some));
            }
            *searched = self.inflow.buffer.len();
            let has_begun = *searched > 0;
            match self.inflow.poll_read(context) {
                // The time of a head begins at its first byte.
                Poll::Ready(Ok(1..)) if !has_begun => self.timer.clear(),
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Ok(None)),
                Poll::Pending => {
                    let period = if has_begun { self.timeouts.head } else { self.timeouts.idle };
                    if !self.timer.is_over(context, period) {
                        return Poll::Pending;
                    }
                    return Poll::Ready(if has_begun { Err(Limit::HeaderTime.into()) } else { Ok(None) });
                }
            }
        }
    }

    /// Takes the head of `length` bytes.
    fn take_head(&mut self, length: usize) -> Result<RequestHead, HeadFault> {
        let head = self.inflow.buffer.split_to(length).freeze();
        let head = read_head(&head, &self.limits)?;
        self.rest = match head.body {
            BodyFraming::Empty => Rest::NOTHING,
            BodyFraming::Length(length) => Rest::Length(length),
            BodyFraming::Chunked => {
                // Where the fault came together with the head, nothing at all goes on.
                Chunks::of_client(self.limits).advance(&self.inflow.buffer)?;
                Rest::Chunked(Box::new(Chunks::of_client(self.limits)))
            }
        };
        self.interim = if head.expects_continue && !self.rest.has_ended() { CONTINUE } else { b"" };
        self.timer.clear();
        Ok(head)
    }

    fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let next = ready!(self.poll_next(context));
        self.is_broken = next.is_err();
        Poll::Ready(next.transpose())
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<Frame<Bytes>>>> {
        if self.is_broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        loop {
            let taken = self.rest.take(&mut self.inflow.buffer);
            match taken.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
                Taken::Frame(frame) => {
                    self.timer.clear();
                    return Poll::Ready(Ok(Some(frame)));
                }
                Taken::End(trailers) => return Poll::Ready(Ok(trailers.map(Frame::trailers))),
                Taken::Nothing => {}
            }
            ready!(self.poll_interim(context))?;
            match self.inflow.poll_read(context) {
                Poll::Ready(Ok(1..)) => self.timer.clear(),
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if self.timer.is_over(context, self.timeouts.body) => {
                    let late = "the request's body did not arrive in time";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, late)));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Tells the client to send, where it waits for that.
    fn poll_interim(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.interim.is_empty() {
            let count = ready!(Pin::new(&mut *self.inflow.socket).poll_write(context, self.interim))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.interim = self.interim.get(count..).unwrap_or_default();
            if self.interim.is_empty() {
                ready!(Pin::new(&mut *self.inflow.socket).poll_flush(context))?;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Before the answer: what has begun to go out goes out whole, and what has not is not needed any more.
    fn poll_past_interim(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.interim.len() == CONTINUE.len() { Poll::Ready(Ok(())) } else { self.poll_interim(context) }
    }

    /// Takes what has come of the body. `true` if that was the rest of it.
    fn pass_over(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        let mut passed = 0;
        while !self.rest.has_ended() {
            // Who waits to be told to send will not send, or will: that is not known.
            if !self.interim.is_empty() || passed > LONGEST_UNWANTED {
                return false;
            }
            match self.poll_body(&mut context) {
                Poll::Ready(Some(Ok(frame))) => passed += frame.data_ref().map_or(0, Bytes::len),
                Poll::Ready(None) => {}
                Poll::Ready(Some(Err(_))) | Poll::Pending => return false,
            }
        }
        true
    }
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

/// The body of a client's request, and how much of it has not come. `None` once it has ended.
#[derive(Debug)]
pub struct ClientBody(Option<(Client, SizeHint)>);

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
        let Some((client, left)) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let mut connection = client.lock();
        let frame = ready!(connection.poll_body(context));
        if let (Some(Ok(frame)), Some(length)) = (&frame, left.exact()) {
            let count = frame.data_ref().map_or(0, Bytes::len) as u64;
            *left = SizeHint::with_exact(length.saturating_sub(count));
        }
        let has_ended = connection.rest.has_ended();
        drop(connection);
        if has_ended {
            self.0 = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |(_, left)| *left)
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        if let Some((client, _)) = &self.0 {
            client.lock().is_unwanted = true;
        }
    }
}
