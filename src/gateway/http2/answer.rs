//! The work on one stream: its request is answered, and the answer sent.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body::Body;

use crate::clock::timer::Timer;
use crate::framing::frames::{ErrorCode, LARGEST_PAYLOAD};
use crate::framing::head::{BodyFraming, HeadFault, RequestHead};
use crate::framing::hpack;
use crate::gateway::body::Received;
use crate::gateway::flow::{Answer, Arrived, Origin, answer};
use crate::gateway::http2::session::Shared;
use crate::gateway::http2::upload::StreamBody;
use crate::gateway::said::{is_never_sent, with_date};
use crate::gateway::worker::Worker;

/// Room for the fields of most answers.
const USUAL_FIELDS: usize = 512;

/// The work on one stream. Dropped before the answer was sent, it resets the stream.
#[derive(Debug)]
pub(super) struct Work {
    session: Shared,
    id: u32,
    /// What the client is told where the work ends before its time.
    code: ErrorCode,
}

/// Why an answer was not sent whole.
#[derive(Debug)]
enum Unsent {
    /// The client gave up the stream, or took nothing for too long.
    Client,
    /// The body broke off.
    Body,
}

impl Work {
    pub(super) fn new(session: &Shared, id: u32) -> Self {
        Self { session: session.clone(), id, code: ErrorCode::Internal }
    }

    /// Answers the request of `head`.
    pub(super) async fn run(
        mut self,
        worker: &Worker,
        origin: &Origin,
        head: Result<Box<RequestHead>, HeadFault>,
    ) {
        let patience = worker.gateway.limits.body_idle_time;
        let (head, mut body, mut fault) = match head {
            Ok(head) => {
                let body =
                    StreamBody::new(&self.session, self.id, head.body, patience, head.expects_continue);
                (head, body, None)
            }
            Err(fault) => (Box::default(), StreamBody::NOTHING, Some(fault)),
        };
        // That there is nothing must have come true before anybody acts on it.
        if head.body == BodyFraming::Length(0) {
            match body.end().await {
                Ok(()) => body = StreamBody::NOTHING,
                Err(Some(early)) => fault = Some(early),
                Err(None) => return,
            }
        }
        let is_head = head.parts.method == Method::HEAD;
        let arrived = Arrived { body: Received::Http2(body), fault };
        let response = answer(worker, origin, &head.parts, arrived).await;
        self.code = match self.send(response, is_head, patience).await {
            Ok(()) => return,
            Err(Unsent::Client) => ErrorCode::Cancel,
            Err(Unsent::Body) => ErrorCode::Internal,
        };
    }

    async fn send(&self, response: Answer, is_head: bool, patience: Duration) -> Result<(), Unsent> {
        let (mut body, block, status) = {
            let block = fields(&response, is_head);
            let status = response.status();
            (response.into_body(), block, status)
        };
        let is_empty = is_head || is_never_sent(status) || body.is_end_stream();
        let sent =
            poll_fn(|context| self.session.lock().poll_send_fields(self.id, &block, is_empty, context));
        sent.await.ok_or(Unsent::Client)?;
        if is_empty {
            return Ok(());
        }
        let mut sending =
            Sending { piece: Bytes::new(), trailers: None, is_read: false, timer: Timer::default() };
        poll_fn(|context| sending.poll(self, &mut body, patience, context)).await
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.session.lock().left(self.id, self.code);
    }
}

/// A body on its way out.
struct Sending {
    /// What has not gone out of the last piece.
    piece: Bytes,
    trailers: Option<HeaderMap>,
    /// Whether the body has given everything.
    is_read: bool,
    timer: Timer,
}

impl Sending {
    fn poll<B: Body<Data = Bytes> + Unpin>(
        &mut self,
        work: &Work,
        body: &mut B,
        patience: Duration,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Unsent>> {
        let mut gone = 0;
        loop {
            if self.piece.is_empty() && !self.is_read {
                match ready!(Pin::new(&mut *body).poll_frame(context)) {
                    None => self.is_read = true,
                    Some(Err(_)) => return Poll::Ready(Err(Unsent::Body)),
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => {
                            self.piece = data;
                            self.is_read = body.is_end_stream();
                        }
                        Err(other) => {
                            self.trailers = other.into_trailers().ok();
                            self.is_read = true;
                        }
                    },
                }
            }
            let is_last = self.is_read && self.trailers.is_none();
            let left = self.piece.len();
            let mut session = work.session.lock();
            let sent = session.poll_send(work.id, &mut self.piece, is_last, context);
            // Where the socket takes no more, that is what is watched.
            gone += left - self.piece.len();
            if self.piece.len() < left || !session.has_room() {
                self.timer.clear();
            }
            drop(session);
            match sent {
                Poll::Ready(Some(())) if is_last => return Poll::Ready(Ok(())),
                // Behind the others, which shall have their turn.
                Poll::Ready(Some(())) if gone >= LARGEST_PAYLOAD && self.trailers.is_none() => {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Ready(Some(())) => {}
                Poll::Ready(None) => return Poll::Ready(Err(Unsent::Client)),
                Poll::Pending if self.timer.is_over(context, patience) => {
                    tracing::debug!("a client takes nothing of its answer");
                    return Poll::Ready(Err(Unsent::Client));
                }
                Poll::Pending => return Poll::Pending,
            }
            self.timer.clear();
            if let Some(trailers) = &self.trailers {
                let mut block = Vec::new();
                hpack::begin(&mut block);
                push_fields(&mut block, trailers);
                let sent = ready!(work.session.lock().poll_send_fields(work.id, &block, true, context));
                return Poll::Ready(sent.ok_or(Unsent::Client));
            }
        }
    }
}

/// The fields of an answer (RFC 9113 section 8.3.2).
fn fields<B: Body>(response: &Response<B>, is_head: bool) -> Vec<u8> {
    let status = response.status();
    let mut block = Vec::with_capacity(USUAL_FIELDS);
    hpack::begin(&mut block);
    hpack::push_status(&mut block, status);
    push_fields(
        &mut block,
        response.headers().iter().filter(|(name, _)| {
            // It says nothing of an answer without a body (RFC 9110 section 8.6).
            status != StatusCode::NO_CONTENT || *name != header::CONTENT_LENGTH
        }),
    );
    if !response.headers().contains_key(header::DATE) {
        with_date(|date| hpack::push_field(&mut block, "date", date.as_bytes()));
    }
    let is_told = response.headers().contains_key(header::CONTENT_LENGTH);
    // Of a body that is not sent it is known only where somebody said it.
    let least = u64::from(is_head);
    if let Some(length) = response.body().size_hint().exact()
        && !is_told
        && !is_never_sent(status)
        && length >= least
    {
        hpack::push_field(&mut block, "content-length", length.to_string().as_bytes());
    }
    block
}

fn push_fields<'a>(block: &mut Vec<u8>, fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>) {
    for (name, value) in fields {
        hpack::push_field(block, name.as_str(), value.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use http_body::Frame;

    use super::*;
    use crate::framing::head::HeadLimits;
    use crate::gateway::http2::session::tests::opened;

    /// A body that always has another piece of this size.
    struct Endless(usize);

    impl Body for Endless {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            Poll::Ready(Some(Ok(Frame::data(vec![7; self.0].into()))))
        }
    }

    /// However small its pieces, an answer that always has more lets the others go on after a frame's worth.
    #[tokio::test]
    async fn a_turn_is_as_long_as_a_frame() {
        const LIMITS: HeadLimits = HeadLimits { header_bytes: 8192, header_count: 32, target_bytes: 1024 };
        for size in [1000, 8192, LARGEST_PAYLOAD, 100_000] {
            let session = Shared::new(LIMITS);
            let id = opened(&session);
            session.lock().take_output(Vec::new());
            let work = Work::new(&session, id);
            let mut sending =
                Sending { piece: Bytes::new(), trailers: None, is_read: false, timer: Timer::default() };
            let mut context = Context::from_waker(Waker::noop());
            let turn = sending.poll(&work, &mut Endless(size), Duration::from_secs(60), &mut context);
            assert!(turn.is_pending());
            let sent = session.lock().take_output(Vec::new()).len();
            assert!((LARGEST_PAYLOAD..2 * LARGEST_PAYLOAD).contains(&sent), "{size}: {sent}");
        }
    }
}
