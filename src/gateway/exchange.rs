//! One request and its answer over a connection to a host.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::framing::answer::{AnswerFraming, AnswerHead, take_head};
use crate::framing::chunks::Chunks;
use crate::framing::head::HeadLimits;
use crate::gateway::body::Progress;
use crate::gateway::inflow::{Rest, Taken};
use crate::gateway::link::Link;
use crate::gateway::outflow::Stopped;
use crate::gateway::pool::Pool;
use crate::gateway::sending::Sending;

/// How large the trailers of an answer may be.
const TRAILERS: HeadLimits = HeadLimits { header_bytes: 64 * 1024, header_count: 128, target_bytes: 0 };

/// A request that is under way on a connection.
#[derive(Debug)]
pub struct Exchange {
    link: Box<Link>,
    sending: Sending,
    /// Whether the host goes on taking the request.
    is_sending: bool,
    searched: usize,
    has_interim: bool,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Lost {
    /// The connection ended without a byte of an answer. The request, where it may be sent again.
    Closed(Option<Box<Sending>>),
    /// The host took too long.
    Timeout,
    /// What came is no answer, or the upload broke off.
    Failed,
}

impl Exchange {
    /// Begins.
    pub fn new(link: Box<Link>, sending: Sending) -> Self {
        Self { link, sending, is_sending: true, searched: 0, has_interim: false }
    }

    /// Sends the request and waits for the head of the answer: as long as the upload moves, and then for `patience`.
    ///
    /// # Errors
    /// [`Lost`]; the connection is closed.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub async fn answer(
        mut self,
        patience: Duration,
        progress: &Progress,
    ) -> Result<(AnswerHead, Self), Lost> {
        let mut seen = (progress.bytes(), progress.has_ended());
        self.link.timer.clear();
        let answered = poll_fn(|context| {
            let head = self.poll_head(context);
            if head.is_ready() {
                return head;
            }
            while self.link.timer.is_over(context, patience) {
                let now = (progress.bytes(), progress.has_ended());
                if now == seen {
                    return Poll::Ready(Err(Lost::Timeout));
                }
                seen = now;
                self.link.timer.clear();
            }
            Poll::Pending
        })
        .await;
        match answered {
            Ok(head) => Ok((head, self)),
            Err(Lost::Closed(_)) => Err(Lost::Closed(self.sending.again().map(Box::new))),
            Err(lost) => Err(lost),
        }
    }

    fn poll_head(&mut self, context: &mut Context<'_>) -> Poll<Result<AnswerHead, Lost>> {
        if self.poll_send(context).is_err() {
            return Poll::Ready(Err(Lost::Failed));
        }
        loop {
            match take_head(&mut self.link.inflow.buffer, &mut self.searched, self.sending.is_head()) {
                Ok(Some(head)) if head.status == http::StatusCode::SWITCHING_PROTOCOLS => {
                    return Poll::Ready(Err(Lost::Failed));
                }
                Ok(Some(head)) if head.status.is_informational() => self.has_interim = true,
                Ok(Some(head)) => return Poll::Ready(Ok(head)),
                Ok(None) => match ready!(self.link.inflow.poll_read(context)) {
                    Ok(1..) => {}
                    Ok(0) | Err(_) if self.link.inflow.buffer.is_empty() && !self.has_interim => {
                        return Poll::Ready(Err(Lost::Closed(None)));
                    }
                    Ok(0) | Err(_) => return Poll::Ready(Err(Lost::Failed)),
                },
                Err(_) => return Poll::Ready(Err(Lost::Failed)),
            }
        }
    }

    /// Goes on with the request.
    ///
    /// # Errors
    /// The upload broke off.
    fn poll_send(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if !self.is_sending {
            return Ok(());
        }
        match self.sending.poll_send(&mut self.link, context) {
            Poll::Pending => {}
            Poll::Ready(Ok(()) | Err(Stopped::Receiver(_))) => self.is_sending = false,
            Poll::Ready(Err(Stopped::Body)) => return Err(io::ErrorKind::BrokenPipe.into()),
        }
        Ok(())
    }
}

/// The body of a host's answer. Gives its connection back when it has ended; dropped before, it closes it.
#[derive(Debug)]
pub struct HostBody {
    pool: Arc<Pool>,
    /// `None` once it has ended.
    exchange: Option<Box<Exchange>>,
    rest: Rest,
    is_reusable: bool,
    /// Why it broke off. Told one turn later, so that what came before it can go out.
    fault: Option<io::Error>,
}

impl HostBody {
    /// The body behind `head`.
    pub fn new(pool: Arc<Pool>, exchange: Exchange, head: &AnswerHead) -> Self {
        let rest = match head.body {
            AnswerFraming::Length(length) => Rest::Length(length),
            AnswerFraming::Chunked => Rest::Chunked(Box::new(Chunks::of_host(TRAILERS))),
            AnswerFraming::Close => Rest::Close,
        };
        // A host that answered before it took the whole request may not read the rest of it, or not as that.
        let is_reusable = head.reusable && exchange.sending.is_settled();
        let mut body = Self { pool, exchange: Some(Box::new(exchange)), rest, is_reusable, fault: None };
        if body.rest.has_ended() {
            body.finish();
        }
        body
    }

    /// The body ended as it should.
    fn finish(&mut self) {
        let Some(exchange) = self.exchange.take() else { return };
        if self.is_reusable && exchange.link.inflow.buffer.is_empty() {
            self.pool.keep(exchange.link);
        }
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<Frame<Bytes>>>> {
        let Some(exchange) = &mut self.exchange else {
            return Poll::Ready(Ok(None));
        };
        exchange.poll_send(context)?;
        loop {
            match self.rest.take(&mut exchange.link.inflow.buffer).map_err(io::Error::other)? {
                Taken::Frame(frame) => {
                    if self.rest.has_ended() {
                        self.finish();
                    }
                    return Poll::Ready(Ok(Some(frame)));
                }
                Taken::End(trailers) => {
                    self.finish();
                    return Poll::Ready(Ok(trailers.map(Frame::trailers)));
                }
                Taken::Nothing => {}
            }
            match (ready!(exchange.link.inflow.poll_read(context))?, &self.rest) {
                (1.., _) => {}
                (0, Rest::Close) => {
                    self.exchange = None;
                    return Poll::Ready(Ok(None));
                }
                (0, _) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            }
        }
    }
}

impl Body for HostBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(fault) = self.fault.take() {
            self.exchange = None;
            return Poll::Ready(Some(Err(fault)));
        }
        match ready!(self.poll_next(context)) {
            Ok(frame) => Poll::Ready(frame.map(Ok)),
            Err(fault) => {
                self.fault = Some(fault);
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.exchange.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.rest {
            Rest::Length(left) => SizeHint::with_exact(*left),
            Rest::Chunked(_) | Rest::End(_) | Rest::Close => SizeHint::default(),
        }
    }
}
