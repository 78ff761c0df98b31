//! What a client and the exchange with it share: the socket, and where in what it sends it stands.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http_body::Frame;

use crate::clock::timer::Timer;
use crate::domain::refusal::Limit;
use crate::framing::chunks::Chunks;
use crate::framing::head::{BodyFraming, HeadFault, HeadLimits, RequestHead, head_end, read_head};
use crate::gateway::client::Timeouts;
use crate::gateway::inflow::{Inflow, Rest, Taken};
use crate::gateway::socket::Socket;

/// What a client that asks for it is told before it sends a body.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// How much of a body that nobody wants is read, so that the connection can be used again.
const LONGEST_UNWANTED: usize = 128 * 1024;

/// Where [`CONTINUE`] stands, which the client waits for before it sends the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interim {
    /// Nobody waits for it, or it has gone out.
    Done,
    /// Nothing of it has gone out.
    Due,
    /// So much of it has not gone out.
    Begun(&'static [u8]),
    /// All of it was written, and has to be flushed.
    Unflushed,
    /// It does not come any more: the answer came first, and nothing may stand inside of an answer.
    Never,
}

/// A client's connection.
pub(super) struct Connection {
    pub(super) inflow: Inflow<Box<dyn Socket>>,
    /// What has not come of the body at hand.
    pub(super) rest: Rest,
    /// How many exchanges have ended. A body that belongs to one of these reads nothing any more.
    pub(super) ended: u64,
    /// Whether nobody reads the body at hand any more.
    pub(super) is_unwanted: bool,
    /// Whether nothing more can be read.
    is_broken: bool,
    limits: HeadLimits,
    timeouts: Timeouts,
    timer: Timer,
    interim: Interim,
    /// Who waits for the end of the body, to see from then on whether the client leaves.
    pub(super) at_end: Option<Waker>,
}

impl Connection {
    pub(super) fn new(socket: Box<dyn Socket>, limits: HeadLimits, timeouts: Timeouts) -> Self {
        Self {
            inflow: Inflow::new(socket),
            rest: Rest::NOTHING,
            ended: 0,
            is_unwanted: false,
            is_broken: false,
            limits,
            timeouts,
            timer: Timer::default(),
            interim: Interim::Done,
            at_end: None,
        }
    }

    /// Gets ready for the next head.
    pub(super) fn begin(&mut self) {
        self.timer.clear();
        self.is_unwanted = false;
        self.inflow.rest();
    }

    pub(super) fn poll_head(
        &mut self,
        context: &mut Context<'_>,
        searched: &mut usize,
    ) -> Poll<Result<Option<Box<RequestHead>>, HeadFault>> {
        loop {
            if let Some(end) = head_end(&self.inflow.buffer, *searched, &self.limits)? {
                return Poll::Ready(self.take_head(end).map(Some));
            }
            *searched = self.inflow.buffer.len();
            let has_begun = *searched > 0;
            match self.inflow.poll_read(context) {
                // The time of a head begins at its first byte.
                Poll::Ready(Ok(1..)) if !has_begun => self.timer.clear(),
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Ok(None)),
                Poll::Pending => {
                    let period = if has_begun { self.timeouts.head } else { self.timeouts.idle };
                    if !self.timer.is_over(context, period) {
                        return Poll::Pending;
                    }
                    return Poll::Ready(if has_begun { Err(Limit::HeaderTime.into()) } else { Ok(None) });
                }
            }
        }
    }

    /// Takes the head of `length` bytes.
    fn take_head(&mut self, length: usize) -> Result<Box<RequestHead>, HeadFault> {
        let head = self.inflow.buffer.split_to(length).freeze();
        let head = read_head(&head, &self.limits)?;
        self.rest = match head.body {
            BodyFraming::Empty => Rest::NOTHING,
            BodyFraming::Length(length) => Rest::Length(length),
            BodyFraming::Chunked => {
                // Where the fault came together with the head, nothing at all goes on.
                Chunks::of_client(self.limits).advance(&self.inflow.buffer)?;
                Rest::Chunked(Box::new(Chunks::of_client(self.limits)))
            }
        };
        let waits = head.expects_continue && !self.rest.has_ended();
        self.interim = if waits { Interim::Due } else { Interim::Done };
        self.timer.clear();
        Ok(head)
    }

    pub(super) fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let next = ready!(self.poll_next(context));
        self.is_broken = next.is_err();
        Poll::Ready(next.transpose())
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<Frame<Bytes>>>> {
        if self.is_broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        loop {
            let taken = self.rest.take(&mut self.inflow.buffer);
            match taken.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
                Taken::Frame(frame) => {
                    self.timer.clear();
                    return Poll::Ready(Ok(Some(frame)));
                }
                Taken::End(trailers) => return Poll::Ready(Ok(trailers.map(Frame::trailers))),
                Taken::Nothing => {}
            }
            // Whoever writes the answer may go on with it, and takes the wake-up; the body comes behind it all the same.
            if let Poll::Ready(told) = self.poll_interim(context) {
                told?;
            }
            match self.inflow.poll_read(context) {
                Poll::Ready(Ok(1..)) => self.timer.clear(),
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if self.timer.is_over(context, self.timeouts.body) => {
                    let late = "the request's body did not arrive in time";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, late)));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Tells the client to send, where it waits for that.
    fn poll_interim(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let left = match self.interim {
                Interim::Done | Interim::Never => return Poll::Ready(Ok(())),
                Interim::Due => CONTINUE,
                Interim::Begun(left) => left,
                Interim::Unflushed => {
                    ready!(Pin::new(&mut *self.inflow.socket).poll_flush(context))?;
                    self.interim = Interim::Done;
                    return Poll::Ready(Ok(()));
                }
            };
            let count = ready!(Pin::new(&mut *self.inflow.socket).poll_write(context, left))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let left = left.get(count..).unwrap_or_default();
            self.interim = if left.is_empty() { Interim::Unflushed } else { Interim::Begun(left) };
        }
    }

    /// Before the answer: what has begun to go out goes out whole, and what has not never does.
    pub(super) fn poll_past_interim(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.interim {
            Interim::Done | Interim::Never => Poll::Ready(Ok(())),
            Interim::Due => {
                self.interim = Interim::Never;
                Poll::Ready(Ok(()))
            }
            Interim::Begun(_) | Interim::Unflushed => self.poll_interim(context),
        }
    }

    /// Whether another request may follow an answer that begins now, as far as is known. Where nobody wants the body, what
    /// has come of it is taken.
    pub(super) fn can_go_on(&mut self) -> bool {
        // Who waits to be told to send will not send, or will: that is not known.
        let is_known = self.rest.has_ended() || self.interim != Interim::Due;
        is_known && (!self.is_unwanted || self.pass_over())
    }

    /// Takes what has come of the body. `true` if that was the rest of it.
    pub(super) fn pass_over(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        let mut passed = 0;
        while !self.rest.has_ended() {
            let is_known = matches!(self.interim, Interim::Done | Interim::Unflushed);
            if !is_known || passed > LONGEST_UNWANTED {
                return false;
            }
            match self.poll_body(&mut context) {
                Poll::Ready(Some(Ok(frame))) => passed += frame.data_ref().map_or(0, Bytes::len),
                Poll::Ready(None) => {}
                Poll::Ready(Some(Err(_))) | Poll::Pending => return false,
            }
        }
        true
    }
}
