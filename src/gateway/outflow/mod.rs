//! A head and the body behind it on their way out, in the pieces in which the body comes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::Body;
use tokio::io::AsyncWrite;

/// The beginning of a body goes out in the memory of the head as long as both are no larger: to copy it is cheaper than to
/// hand two pieces to the kernel.
const SMALL: usize = 4096;

/// How a body is delimited on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes have not come.
    Length(u64),
    /// In chunks, with trailers where they are wanted.
    Chunked {
        /// Whether the receiver wants them.
        trailers: bool,
    },
    /// By the end of the connection.
    Close,
}

/// A message, in as far as it has not gone out.
pub struct Outflow<B> {
    /// The head; then what stands around the chunks.
    around: Vec<u8>,
    written: usize,
    /// The piece of the body at hand, and what stands behind it.
    piece: Bytes,
    tail: &'static [u8],
    body: B,
    framing: Framing,
    /// Whether the body has given everything.
    is_read: bool,
    is_broken: bool,
    reach: Reach,
}

/// How far a message has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// It is its head.
    Head,
    /// The first piece of the body has come.
    Piece,
    /// The receiver may have seen some of it.
    Seen,
}

impl<B> std::fmt::Debug for Outflow<B> {
    /// Tells nothing of the bytes: a head carries a credential.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outflow").field("framing", &self.framing).finish_non_exhaustive()
    }
}

/// Why a message does not go out whole.
#[derive(Debug)]
pub enum Stopped {
    /// The receiver takes no more.
    Receiver(io::Error),
    /// The body broke off. All that came before has gone out.
    Body,
}

impl<B: Body<Data = Bytes> + Unpin> Outflow<B> {
    /// A message of `head`, whole, and `body`.
    pub fn new(head: Vec<u8>, body: B, framing: Framing) -> Self {
        let is_read = framing == Framing::Length(0);
        Self {
            around: head,
            written: 0,
            piece: Bytes::new(),
            tail: b"",
            body,
            framing,
            is_read,
            is_broken: false,
            reach: Reach::Head,
        }
    }

    /// Whether all of it went out.
    pub fn has_ended(&self) -> bool {
        self.is_read && !self.is_broken && self.is_flushed()
    }

    /// Whether nothing of it went out.
    pub fn is_unseen(&self) -> bool {
        self.reach != Reach::Seen
    }

    /// Begins again: with everything where nothing went out, and otherwise with the head.
    pub fn rewind(&mut self) {
        self.written = 0;
    }

    /// The buffer of the head, to be used again.
    pub fn into_buffer(mut self) -> Vec<u8> {
        self.around.clear();
        self.around
    }

    /// Sends what can be sent. Ready once all of it has gone out.
    pub fn poll_send(
        &mut self,
        receiver: &mut (impl AsyncWrite + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Stopped>> {
        loop {
            let is_flushed = self.is_flushed();
            // The first piece goes out together with the head, where it is there.
            let has_room = is_flushed || self.reach == Reach::Head;
            let waits = !self.is_read && has_room && self.poll_next(context).is_pending();
            if self.is_broken && self.is_unseen() {
                return Poll::Ready(Err(Stopped::Body));
            }
            if !self.is_flushed() {
                ready!(self.poll_write(receiver, context)).map_err(Stopped::Receiver)?;
            } else if waits || self.is_read {
                ready!(Pin::new(&mut *receiver).poll_flush(context)).map_err(Stopped::Receiver)?;
                if self.is_broken {
                    return Poll::Ready(Err(Stopped::Body));
                }
                return if self.is_read { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
        }
    }

    fn is_flushed(&self) -> bool {
        self.written == self.around.len() && self.piece.is_empty() && self.tail.is_empty()
    }

    fn poll_write(
        &mut self,
        receiver: &mut (impl AsyncWrite + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let around = self.around.get(self.written..).unwrap_or_default();
        let slices = [IoSlice::new(around), IoSlice::new(&self.piece), IoSlice::new(self.tail)];
        let receiver = Pin::new(receiver);
        let mut unsent = slices.iter().filter(|slice| !slice.is_empty());
        let first = unsent.next().map_or(&[][..], |slice| slice);
        let count = ready!(if unsent.next().is_some() && receiver.is_write_vectored() {
            receiver.poll_write_vectored(context, &slices)
        } else {
            receiver.poll_write(context, first)
        })?;
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.reach = Reach::Seen;
        let of_around = count.min(around.len());
        let of_piece = (count - of_around).min(self.piece.len());
        self.written += of_around;
        self.piece.advance(of_piece);
        self.tail = self.tail.get(count - of_around - of_piece..).unwrap_or_default();
        Poll::Ready(Ok(()))
    }

    /// Takes what comes next of the body.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if self.is_flushed() {
            self.around.clear();
            self.written = 0;
        }
        match frame {
            None => self.end(&HeaderMap::new()),
            Some(Err(_)) => self.break_off(),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => self.take(data),
                Err(other) => self.end(&other.into_trailers().unwrap_or_default()),
            },
        }
        Poll::Ready(())
    }

    fn take(&mut self, data: Bytes) {
        // A chunk of no bytes would be the last one.
        if data.is_empty() {
            return;
        }
        let is_unseen = self.is_unseen();
        if is_unseen {
            self.reach = Reach::Piece;
        }
        match &mut self.framing {
            Framing::Chunked { .. } => {
                self.around.extend_from_slice(format!("{:X}\r\n", data.len()).as_bytes());
                self.tail = b"\r\n";
            }
            Framing::Length(left) => match left.checked_sub(data.len() as u64) {
                Some(less) => *left = less,
                None => return self.break_off(),
            },
            Framing::Close => {}
        }
        if is_unseen && self.around.len() + data.len() <= SMALL {
            self.around.extend_from_slice(&data);
            self.around.extend_from_slice(std::mem::take(&mut self.tail));
        } else {
            self.piece = data;
        }
        // Behind chunks trailers may come.
        if !matches!(self.framing, Framing::Chunked { .. }) && self.body.is_end_stream() {
            self.end(&HeaderMap::new());
        }
    }

    fn end(&mut self, trailers: &HeaderMap) {
        self.is_read = true;
        match self.framing {
            Framing::Length(0) | Framing::Close => {}
            Framing::Length(_) => self.is_broken = true,
            Framing::Chunked { trailers: wanted } => {
                self.around.extend_from_slice(b"0\r\n");
                for (name, value) in trailers.iter().filter(|_| wanted) {
                    push_field(&mut self.around, name.as_str(), &[value.as_bytes()]);
                }
                self.around.extend_from_slice(b"\r\n");
            }
        }
    }

    fn break_off(&mut self) {
        self.is_read = true;
        self.is_broken = true;
    }
}

/// Writes one field line; `value` in parts. The types of `http` hold no line ends.
pub fn push_field(head: &mut Vec<u8>, name: &str, value: &[&[u8]]) {
    head.extend_from_slice(name.as_bytes());
    head.extend_from_slice(b": ");
    for part in value {
        head.extend_from_slice(part);
    }
    head.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
