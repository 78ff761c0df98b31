//! Bodies that count what passes through them, and tell the record how the answer ended.
//!
//! Whoever sends a body drops it without asking for its end where nothing more can follow. So an answer counts as
//! whole as soon as its last byte was handed over, not only when the end was asked for.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};

use crate::record::{Record, RequestBody};

/// The body of an answer. It owns the record of its request: closes it at the end, and aborts it where the body
/// breaks off or is dropped before.
#[derive(Debug)]
pub struct RecordedBody<B> {
    inner: B,
    /// `None` once the answer has ended.
    record: Option<Record>,
    /// Bytes still to come, where the answer says how many it has.
    left: Option<u64>,
}

impl<B: Body<Data = Bytes> + Unpin> RecordedBody<B> {
    /// Puts `record` on the body of `response`. Call it last: whoever changes the headers or the body afterwards
    /// changes what the record does not see.
    pub fn attach(response: Response<B>, record: Record) -> Response<Self> {
        let (head, inner) = response.into_parts();
        let declared = head
            .headers
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok())
            .and_then(|length| length.parse().ok());
        let mut body =
            Self { left: declared.or_else(|| inner.size_hint().exact()), inner, record: Some(record) };
        if body.has_ended() || body.is_never_sent(head.status) {
            body.close();
        }
        Response::from_parts(head, body)
    }

    /// Whether HTTP leaves the body out, whatever the headers say of it (RFC 9112 section 6.3).
    fn is_never_sent(&self, status: StatusCode) -> bool {
        status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED
            || self.record.as_ref().is_some_and(Record::wants_head)
    }

    fn has_ended(&self) -> bool {
        self.inner.is_end_stream() || self.left == Some(0)
    }

    fn close(&mut self) {
        if let Some(record) = self.record.take() {
            record.close();
        }
    }

    fn see<E>(&mut self, frame: Option<&Result<Frame<Bytes>, E>>) {
        match frame {
            Some(Ok(frame)) => {
                if let Some(bytes) = frame.data_ref() {
                    let count = length(bytes);
                    self.left = self.left.map(|left| left.saturating_sub(count));
                    if let Some(record) = &mut self.record {
                        record.add_response_bytes(count);
                    }
                }
                // Nothing follows trailers.
                if frame.is_trailers() || self.has_ended() {
                    self.close();
                }
            }
            Some(Err(_)) => {
                if let Some(record) = self.record.take() {
                    record.break_off();
                }
            }
            None => self.close(),
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for RecordedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.inner).poll_frame(context));
        self.see(frame.as_ref());
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The body of a request, counted for its record.
#[derive(Debug)]
pub struct CountedBody<B> {
    inner: B,
    seen: Arc<RequestBody>,
}

impl<B: Body<Data = Bytes> + Unpin> CountedBody<B> {
    /// Counts `body` for `record`.
    pub fn new(body: B, record: &Record) -> Self {
        Self { inner: body, seen: Arc::clone(&record.request_body) }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for CountedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.inner).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                let count = frame.data_ref().map_or(0, length);
                self.seen.add(count);
            }
            Some(Err(_)) => self.seen.broken.store(true, Ordering::Relaxed),
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn length(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
