//! A socket that does as a test tells it.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use crate::gateway::socket::Socket;

/// How a socket cuts what goes through it.
#[derive(Debug, Clone)]
pub(crate) struct Cuts {
    /// How many bytes a read gives or a write takes, over and over. For 0 it is not ready.
    pub(crate) sizes: Vec<usize>,
    pub(crate) is_vectored: bool,
    /// Whether a flush takes a second try.
    pub(crate) flushes_late: bool,
}

/// Any cuts.
pub(crate) fn cuts() -> impl Strategy<Value = Cuts> {
    let sizes = (vec(0..40_usize, 0..12), 1..200_usize).prop_map(|(mut sizes, size)| {
        sizes.push(size);
        sizes
    });
    (sizes, any::<bool>(), any::<bool>()).prop_map(|(sizes, is_vectored, flushes_late)| Cuts {
        sizes,
        is_vectored,
        flushes_late,
    })
}

impl Cuts {
    /// Everything at once.
    pub(crate) fn none() -> Self {
        Self { sizes: vec![usize::MAX], is_vectored: true, flushes_late: false }
    }
}

/// What a socket was given to send.
pub(crate) type Written = Arc<Mutex<Vec<u8>>>;

/// A socket whose other end sends what it is told to, and then hangs up or says nothing.
#[derive(Debug)]
pub(crate) struct Script {
    unread: VecDeque<u8>,
    hangs_up: bool,
    cuts: Cuts,
    reads: usize,
    writes: usize,
    unflushed: bool,
    /// What went out.
    pub(crate) written: Written,
    writes_left: usize,
}

impl Script {
    pub(crate) fn new(sent: &[u8], cuts: Cuts, hangs_up: bool) -> Self {
        Self {
            unread: sent.iter().copied().collect(),
            hangs_up,
            cuts,
            reads: 0,
            writes: 0,
            unflushed: false,
            written: Written::default(),
            writes_left: usize::MAX,
        }
    }

    /// The same, whose other end takes no more after so many writes.
    pub(crate) fn broken_after(mut self, writes: usize) -> Self {
        self.writes_left = writes;
        self
    }

    fn size(cuts: &Cuts, turn: &mut usize, context: &Context<'_>) -> Poll<usize> {
        let size = cuts.sizes[*turn % cuts.sizes.len()];
        *turn += 1;
        if size == 0 {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(size)
    }

    fn take(&mut self, bytes: &[u8]) -> usize {
        self.unflushed = true;
        self.written.lock().unwrap().extend_from_slice(bytes);
        bytes.len()
    }

    fn poll_room(&mut self, context: &Context<'_>) -> Poll<io::Result<usize>> {
        let Some(left) = self.writes_left.checked_sub(1) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let size = std::task::ready!(Self::size(&self.cuts, &mut self.writes, context));
        self.writes_left = left;
        Poll::Ready(Ok(size))
    }
}

impl AsyncRead for Script {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let script = self.get_mut();
        assert!(buffer.remaining() > 0);
        if script.unread.is_empty() {
            return if script.hangs_up { Poll::Ready(Ok(())) } else { Poll::Pending };
        }
        let size = std::task::ready!(Self::size(&script.cuts, &mut script.reads, context));
        let count = size.min(script.unread.len()).min(buffer.remaining());
        let piece: Vec<u8> = script.unread.drain(..count).collect();
        buffer.put_slice(&piece);
        Poll::Ready(Ok(()))
    }
}

impl Socket for Script {
    fn break_off(&self) {}
}

impl Socket for DuplexStream {
    fn break_off(&self) {}
}

impl AsyncWrite for Script {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let script = self.get_mut();
        let size = std::task::ready!(script.poll_room(context))?;
        Poll::Ready(Ok(script.take(&bytes[..size.min(bytes.len())])))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let script = self.get_mut();
        let size = std::task::ready!(script.poll_room(context))?;
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        Poll::Ready(Ok(script.take(&bytes[..size.min(bytes.len())])))
    }

    fn is_write_vectored(&self) -> bool {
        self.cuts.is_vectored
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let script = self.get_mut();
        if std::mem::take(&mut script.unflushed) && script.cuts.flushes_late {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
