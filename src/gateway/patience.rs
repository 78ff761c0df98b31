//! How long a client may take nothing of what it is sent.
//!
//! Whoever stops in the middle holds a connection, a connection to the host, or a git. What clients send is watched by
//! `client` and `http2`, and what the flow control of HTTP/2 holds back by `http2`.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

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
