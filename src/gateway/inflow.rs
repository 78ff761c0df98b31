//! What is read of a socket, and the pieces of a body in it.

use std::io;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http_body::Frame;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::domain::refusal::FramingError;
use crate::framing::chunks::Chunks;

/// How much is read at a time at first.
const SMALLEST_READ: usize = 8 * 1024;

/// How much is read at a time from who sends faster than that.
const LARGEST_READ: usize = 128 * 1024;

/// A socket, and what was read of it and not taken.
#[derive(Debug)]
pub struct Inflow<S> {
    /// The socket.
    pub socket: S,
    /// What was read and not taken.
    pub buffer: BytesMut,
    read_size: usize,
}

impl<S: AsyncRead + Unpin> Inflow<S> {
    /// Reads from `socket`.
    pub fn new(socket: S) -> Self {
        Self { socket, buffer: BytesMut::new(), read_size: SMALLEST_READ }
    }

    /// Reads what is there. Gives how many bytes; none at the end of the stream.
    pub fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.buffer.capacity() - self.buffer.len() < self.read_size / 2 {
            self.buffer.reserve(self.read_size);
        }
        let room = self.buffer.capacity() - self.buffer.len();
        // A future that is made anew for each poll keeps nothing between them.
        let read = pin!(self.socket.read_buf(&mut self.buffer)).poll(context);
        if matches!(read, Poll::Ready(Ok(count)) if count == room) {
            self.read_size = LARGEST_READ.min(self.read_size * 2);
        }
        read
    }

    /// Between two messages: gives back the memory that a large body took, and begins at the front of the buffer, where
    /// the processor has it at hand.
    pub fn rest(&mut self) {
        if !self.buffer.is_empty() {
            return;
        }
        if self.read_size > SMALLEST_READ {
            self.read_size = SMALLEST_READ;
            self.buffer = BytesMut::new();
        }
        self.buffer.reserve(SMALLEST_READ);
    }
}

/// What has not come of a body.
#[derive(Debug)]
pub enum Rest {
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked(Box<Chunks>),
    /// Everything up to the end of the stream.
    Close,
}

/// What [`Rest::take`] found.
#[derive(Debug)]
pub enum Taken {
    /// A piece of the body.
    Frame(Frame<Bytes>),
    /// More must be read.
    Nothing,
    /// The body has ended.
    End(Option<HeaderMap>),
}

impl Rest {
    /// No body, or its end.
    pub const NOTHING: Self = Self::Length(0);

    /// Whether all has come.
    pub fn has_ended(&self) -> bool {
        matches!(self, Self::Length(0))
    }

    /// Takes the next piece out of `buffer`.
    ///
    /// # Errors
    /// Chunks that are malformed; nothing behind them can be read.
    pub fn take(&mut self, buffer: &mut BytesMut) -> Result<Taken, FramingError> {
        if self.has_ended() {
            return Ok(Taken::End(None));
        }
        if buffer.is_empty() {
            return Ok(Taken::Nothing);
        }
        let length = match self {
            Self::Length(left) => {
                let length = usize::try_from(*left).map_or(buffer.len(), |left| left.min(buffer.len()));
                *left = left.saturating_sub(length as u64);
                length
            }
            Self::Close => buffer.len(),
            Self::Chunked(chunks) => {
                let piece = chunks.next(buffer)?;
                buffer.advance(piece.used - piece.data);
                if piece.ended {
                    let trailers = chunks.take_trailers();
                    *self = Self::NOTHING;
                    return Ok(Taken::End(trailers));
                }
                if piece.data == 0 {
                    return Ok(Taken::Nothing);
                }
                piece.data
            }
        };
        Ok(Taken::Frame(Frame::data(buffer.split_to(length).freeze())))
    }
}
