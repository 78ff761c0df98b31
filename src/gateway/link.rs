//! One connection to a host: its stream, and what was read of it and not yet taken.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::clock::timer::Timer;
use crate::record::worker::OpenUpstreamConnection;
use crate::tls::stream::MaybeTls;

/// How much is read at a time at first.
const SMALLEST_READ: usize = 8 * 1024;

/// How much is read at a time from a host that sends faster than that.
const LARGEST_READ: usize = 128 * 1024;

/// A connection to a host.
#[derive(Debug)]
pub struct Link {
    stream: MaybeTls<TcpStream>,
    /// What was read and not taken.
    pub buffer: BytesMut,
    /// Counts how long the host does nothing.
    pub timer: Timer,
    read_size: usize,
    /// Says that the connection is open.
    _open: Option<OpenUpstreamConnection>,
}

impl Link {
    /// A connection over which nothing went yet.
    pub fn new(stream: MaybeTls<TcpStream>, open: Option<OpenUpstreamConnection>) -> Self {
        let (buffer, timer) = (BytesMut::new(), Timer::default());
        Self { stream, buffer, timer, read_size: SMALLEST_READ, _open: open }
    }

    /// Reads what is there. Gives how many bytes; none at the end of the stream.
    pub fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.buffer.capacity() - self.buffer.len() < self.read_size / 2 {
            self.buffer.reserve(self.read_size);
        }
        let room = self.buffer.capacity() - self.buffer.len();
        // A future that is made anew for each poll keeps nothing between them.
        let read = pin!(self.stream.read_buf(&mut self.buffer)).poll(context);
        if matches!(read, Poll::Ready(Ok(count)) if count == room) {
            self.read_size = LARGEST_READ.min(self.read_size * 2);
        }
        read
    }

    /// Writes some of `slices`.
    pub fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    /// Sees to it that what was written goes out.
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// Makes it ready to be kept: an unused connection keeps no large buffer.
    pub fn rest(&mut self) {
        self.timer.clear();
        if self.read_size > SMALLEST_READ {
            self.read_size = SMALLEST_READ;
            self.buffer = BytesMut::new();
        }
    }

    /// Whether the host has neither closed it nor sent anything that nobody asked for.
    pub fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let mut context = Context::from_waker(Waker::noop());
        let read = Pin::new(&mut self.stream).poll_read(&mut context, &mut ReadBuf::new(&mut byte));
        self.buffer.is_empty() && read.is_pending()
    }
}
