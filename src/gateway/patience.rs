//! How long a client may leave us waiting: with what it sends, and with what it takes.
//!
//! Whoever stops in the middle holds a connection, a connection to the host, or a git. HTTP/1 bodies are watched by
//! `client`; the rest is here, for each layer in which a client can stop: its socket, and the flow control of HTTP/2.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::gateway::body::BodyError;

/// Counts from when it is first asked until it is told that something moved.
#[derive(Debug)]
struct Patience {
    time: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    fn new(time: Duration) -> Self {
        Self { time, waiting: None }
    }

    fn moved(&mut self) {
        self.waiting = None;
    }

    /// Ready when nothing moved for too long.
    fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let time = self.time;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(time)));
        waiting.as_mut().poll(context)
    }
}

/// A client's socket. A write that cannot go on for too long is an error: the client has stopped reading.
#[derive(Debug)]
pub struct PatientSocket<S> {
    inner: S,
    patience: Patience,
}

impl<S> PatientSocket<S> {
    /// Waits for `time` at most.
    pub fn new(inner: S, time: Duration) -> Self {
        Self { inner, patience: Patience::new(time) }
    }

    /// The socket itself.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    fn watch<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.patience.moved();
            return written;
        }
        let stopped = || io::Error::new(io::ErrorKind::TimedOut, "the client has stopped reading");
        self.patience.poll_over(context).map(|()| Err(stopped()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PatientSocket<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PatientSocket<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let socket = self.get_mut();
        let written = Pin::new(&mut socket.inner).poll_write(context, bytes);
        socket.watch(context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let socket = self.get_mut();
        let written = Pin::new(&mut socket.inner).poll_write_vectored(context, slices);
        socket.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }
}

/// What a client uploads over HTTP/2. Where it does not go on for too long while somebody waits for it, that is an error.
#[derive(Debug)]
pub struct PatientBody {
    inner: Incoming,
    patience: Patience,
}

impl PatientBody {
    /// Waits for `time` at most.
    pub fn new(inner: Incoming, time: Duration) -> Self {
        Self { inner, patience: Patience::new(time) }
    }
}

impl Body for PatientBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(context);
        if frame.is_ready() {
            self.patience.moved();
            return frame.map_err(Into::into);
        }
        let stalled = || io::Error::new(io::ErrorKind::TimedOut, "the upload does not go on");
        self.patience.poll_over(context).map(|()| Some(Err(stalled().into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

tokio::task_local! {
    /// The answer that the task of an HTTP/2 stream sends.
    static TAKING: Arc<Taking>;
}

/// How an answer is taken by its client.
#[derive(Debug, Default)]
pub struct Taking {
    pieces: AtomicU64,
    full: AtomicBool,
}

impl Taking {
    /// That of the answer which the current task sends, where the task is an HTTP/2 stream's.
    pub fn of_task() -> Option<Arc<Self>> {
        TAKING.try_with(Arc::clone).ok()
    }

    /// The client has room for another piece.
    pub fn asked(&self) {
        self.full.store(false, Ordering::Relaxed);
    }

    /// A piece is on its way to the client.
    pub fn given(&self) {
        self.pieces.fetch_add(1, Ordering::Relaxed);
        self.full.store(true, Ordering::Relaxed);
    }

    /// How many pieces were given, as long as the client has not taken the last one.
    fn stuck_at(&self) -> Option<u64> {
        let full = self.full.load(Ordering::Relaxed);
        full.then(|| self.pieces.load(Ordering::Relaxed))
    }
}

/// Runs the task of an HTTP/2 stream, and drops it, which resets the stream, when its client takes nothing of the
/// answer for `time`, or up to twice as long.
pub async fn while_taken(stream: impl Future, time: Duration) {
    let taking = Arc::<Taking>::default();
    let mut stream = pin!(TAKING.scope(Arc::clone(&taking), stream));
    let mut patience = Patience::new(time);
    let mut seen = None;
    std::future::poll_fn(|context| {
        if stream.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        // Most answers are taken at once: nothing is counted before one is not.
        while let stuck @ Some(_) = taking.stuck_at() {
            if patience.poll_over(context).is_pending() {
                return Poll::Pending;
            }
            patience.moved();
            if stuck == std::mem::replace(&mut seen, stuck) {
                tracing::debug!("a client takes nothing of its answer");
                return Poll::Ready(());
            }
        }
        patience.moved();
        Poll::Pending
    })
    .await;
}
