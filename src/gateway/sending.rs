//! A request on its way to a host: the head, then the upload, framed anew.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::{HeaderMap, Method};
use http_body::Body;

use crate::gateway::body::Upload;
use crate::gateway::link::Link;

/// A request, in as far as it has not gone out.
#[derive(Debug)]
pub struct Sending {
    /// The head; then what stands around the pieces of a chunked upload.
    framing: Vec<u8>,
    written: usize,
    /// The piece of the upload at hand, and what stands behind it.
    piece: Bytes,
    tail: &'static [u8],
    upload: Upload,
    /// How much of the upload has not come; `None` where that is not known, and it goes out in chunks.
    left: Option<u64>,
    has_body: bool,
    /// Whether the upload has given everything.
    is_read: bool,
    /// Whether the host may have seen any of it.
    is_seen: bool,
    method: Method,
}

/// Why a request does not go out whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsent {
    /// The host takes no more; it may answer all the same.
    Host,
    /// The upload broke off. What has gone out is not a request.
    Upload,
}

impl Sending {
    /// A request whose head is `head`, but for the field that frames the body. `says_empty` is whether the client said
    /// how long its body is, in case there is none.
    pub fn new(mut head: Vec<u8>, method: Method, upload: Upload, says_empty: bool) -> Self {
        let is_read = upload.is_end_stream();
        let length = upload.size_hint().exact();
        match length {
            _ if is_read && !says_empty => {}
            _ if is_read => head.extend_from_slice(b"content-length: 0\r\n"),
            Some(length) => head.extend_from_slice(format!("content-length: {length}\r\n").as_bytes()),
            None => head.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        }
        head.extend_from_slice(b"\r\n");
        Self {
            framing: head,
            written: 0,
            piece: Bytes::new(),
            tail: b"",
            upload,
            left: if is_read { Some(0) } else { length },
            has_body: !is_read,
            is_read,
            is_seen: false,
            method,
        }
    }

    /// Whether the answer has no body, whatever its head says.
    pub fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// Whether all of it went out.
    pub fn has_ended(&self) -> bool {
        self.is_read && self.is_flushed()
    }

    /// From the beginning, for another connection; `None` where the host may have seen it, and might do it twice.
    pub fn again(mut self) -> Option<Self> {
        self.written = 0;
        // Safe methods change nothing (RFC 9110 section 9.2.1); a body is not kept.
        (!self.is_seen || !self.has_body && self.method.is_safe()).then_some(self)
    }

    /// Sends what can be sent. Ready once all of it has gone out.
    pub fn poll_send(&mut self, link: &mut Link, context: &mut Context<'_>) -> Poll<Result<(), Unsent>> {
        loop {
            let is_flushed = self.is_flushed();
            // The first piece goes out together with the head, where it is there.
            let has_room = self.piece.is_empty() && self.tail.is_empty() && !self.is_seen;
            if !self.is_read && (is_flushed || has_room) {
                match self.poll_next(context) {
                    Poll::Ready(next) => next?,
                    Poll::Pending if is_flushed => {
                        ready!(link.poll_flush(context)).map_err(|_| Unsent::Host)?;
                        return Poll::Pending;
                    }
                    Poll::Pending => {}
                }
            }
            if !self.is_flushed() {
                ready!(self.poll_write(link, context)).map_err(|_| Unsent::Host)?;
            } else if self.is_read {
                return link.poll_flush(context).map_err(|_| Unsent::Host);
            }
        }
    }

    fn is_flushed(&self) -> bool {
        self.written == self.framing.len() && self.piece.is_empty() && self.tail.is_empty()
    }

    fn poll_write(&mut self, link: &mut Link, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let framing = self.framing.get(self.written..).unwrap_or_default();
        let slices = [IoSlice::new(framing), IoSlice::new(&self.piece), IoSlice::new(self.tail)];
        let count = ready!(link.poll_write(context, &slices))?;
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.is_seen = true;
        let of_framing = count.min(framing.len());
        let of_piece = (count - of_framing).min(self.piece.len());
        self.written += of_framing;
        self.piece.advance(of_piece);
        self.tail = self.tail.get(count - of_framing - of_piece..).unwrap_or_default();
        Poll::Ready(Ok(()))
    }

    /// Takes what comes next of the upload.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Unsent>> {
        let frame = ready!(Pin::new(&mut self.upload).poll_frame(context));
        if self.is_flushed() {
            self.framing.clear();
            self.written = 0;
        }
        let taken = match frame {
            None => self.end(&HeaderMap::new()),
            Some(Err(_)) => Err(Unsent::Upload),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => self.take(data),
                Err(other) => self.end(&other.into_trailers().unwrap_or_default()),
            },
        };
        Poll::Ready(taken)
    }

    fn take(&mut self, data: Bytes) -> Result<(), Unsent> {
        // A chunk of no bytes would be the last one.
        if data.is_empty() {
            return Ok(());
        }
        match &mut self.left {
            None => {
                self.framing.extend_from_slice(format!("{:X}\r\n", data.len()).as_bytes());
                self.tail = b"\r\n";
            }
            Some(left) => *left = left.checked_sub(data.len() as u64).ok_or(Unsent::Upload)?,
        }
        self.piece = data;
        // Chunks have an end of their own, which may bring trailers.
        if self.left.is_some() && self.upload.is_end_stream() {
            return self.end(&HeaderMap::new());
        }
        Ok(())
    }

    fn end(&mut self, trailers: &HeaderMap) -> Result<(), Unsent> {
        self.is_read = true;
        if let Some(left) = self.left {
            return if left == 0 { Ok(()) } else { Err(Unsent::Upload) };
        }
        self.framing.extend_from_slice(b"0\r\n");
        for (name, value) in trailers {
            push_field(&mut self.framing, name.as_str(), &[value.as_bytes()]);
        }
        self.framing.extend_from_slice(b"\r\n");
        Ok(())
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
