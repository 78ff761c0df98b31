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

/// Chunks of a host are put together up to this size, at which a call to the kernel is cheap beside its data.
const LARGEST_JOINED: usize = 64 * 1024;

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
    /// Nothing but its end, with trailers, or its fault.
    End(Result<Option<Box<HeaderMap>>, FramingError>),
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
        if let Self::End(end) = self {
            // A fault stays: what stands behind it is no message.
            let trailers = end.as_mut().map_err(|error| *error)?.take();
            *self = Self::NOTHING;
            return Ok(Taken::End(trailers.map(|trailers| *trailers)));
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
                let (taken, end) = join(chunks, buffer);
                if let Some(end) = end {
                    *self = Self::End(end.map(|trailers| trailers.map(Box::new)));
                }
                return match taken {
                    Some(data) => Ok(Taken::Frame(Frame::data(data))),
                    None => self.take(buffer),
                };
            }
            Self::End(_) => 0,
        };
        Ok(Taken::Frame(Frame::data(buffer.split_to(length).freeze())))
    }
}

/// Takes the data of the next chunk, of a host of as many as `buffer` has: each piece of a body is a call to the kernel,
/// and some hosts send small ones. Also how the body ends, where it does.
fn join(
    chunks: &mut Chunks,
    buffer: &mut BytesMut,
) -> (Option<Bytes>, Option<Result<Option<HeaderMap>, FramingError>>) {
    let mut joined = BytesMut::new();
    let most = if chunks.is_of_host() { LARGEST_JOINED } else { 1 };
    while !buffer.is_empty() && joined.len() < most {
        let piece = match chunks.next(buffer) {
            Ok(piece) => piece,
            Err(error) => return (some(joined), Some(Err(error))),
        };
        buffer.advance(piece.used - piece.data);
        let data = buffer.split_to(piece.data);
        if piece.ended {
            return (some(joined), Some(Ok(chunks.take_trailers())));
        }
        if joined.is_empty() {
            joined = data;
            continue;
        }
        // Once, and not whenever it has to grow.
        let all = LARGEST_JOINED.min(joined.len() + data.len() + buffer.len());
        if joined.capacity() < all {
            let mut room = BytesMut::with_capacity(all);
            room.extend_from_slice(&joined);
            joined = room;
        }
        joined.extend_from_slice(&data);
    }
    (some(joined), None)
}

fn some(joined: BytesMut) -> Option<Bytes> {
    (!joined.is_empty()).then(|| joined.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::head::HeadLimits;

    const LIMITS: HeadLimits = HeadLimits { header_bytes: 1024, header_count: 16, target_bytes: 0 };

    fn rest() -> Rest {
        Rest::Chunked(Box::new(Chunks::of_host(LIMITS)))
    }

    #[track_caller]
    fn check_frame(taken: Result<Taken, FramingError>, want: &[u8]) {
        let Ok(Taken::Frame(frame)) = taken else { panic!("{taken:?}") };
        assert_eq!(frame.data_ref().unwrap(), want);
    }

    #[test]
    fn small_chunks_are_one_piece_and_the_end_comes_behind() {
        let (mut rest, mut buffer) =
            (rest(), BytesMut::from(&b"1\r\na\r\n2\r\nbc\r\n0\r\nx: 1\r\n\r\nGET"[..]));
        check_frame(rest.take(&mut buffer), b"abc");
        assert!(!rest.has_ended());
        let Ok(Taken::End(Some(trailers))) = rest.take(&mut buffer) else { panic!("no end") };
        assert_eq!(trailers.get("x").unwrap(), "1");
        assert!(rest.has_ended());
        assert_eq!(&buffer[..], b"GET");
    }

    #[test]
    fn a_large_chunk_is_passed_on_as_it_is() {
        let large = "x".repeat(LARGEST_JOINED);
        let mut buffer = BytesMut::from(format!("{LARGEST_JOINED:x}\r\n{large}\r\n1\r\na\r\n").as_bytes());
        let mut rest = rest();
        check_frame(rest.take(&mut buffer), large.as_bytes());
        check_frame(rest.take(&mut buffer), b"a");
        assert!(matches!(rest.take(&mut buffer), Ok(Taken::Nothing)));
    }

    #[test]
    fn a_fault_comes_behind_the_data_and_is_no_end() {
        let (mut rest, mut buffer) = (rest(), BytesMut::from(&b"1\r\na\r\nz\r\n0\r\n\r\n"[..]));
        check_frame(rest.take(&mut buffer), b"a");
        for _ in 0..2 {
            assert_eq!(rest.take(&mut buffer).unwrap_err(), FramingError::Chunk);
            assert!(!rest.has_ended());
        }
    }
}
