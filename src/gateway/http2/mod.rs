//! A client's connection of HTTP/2: frames are read from it, and those of all its streams are written to it.
//!
//! One task reads and writes; each stream has a task of its own, which does what `http1` does for a request. What comes of
//! many streams at a time goes out in one piece.

mod answer;
mod nuisance;
mod session;
mod stream;
pub mod upload;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::task::coop::unconstrained;

use crate::clock;
use crate::clock::timer::Timer;
use crate::framing::frames::ErrorCode;
use crate::framing::head::HeadLimits;
use crate::gateway::flow::Origin;
use crate::gateway::http2::answer::Work;
use crate::gateway::http2::session::receive::Opened;
use crate::gateway::http2::session::{Shared, rest};
use crate::gateway::http2::stream::Stream;
use crate::gateway::inflow::Inflow;
use crate::gateway::listener::Listener;
use crate::gateway::socket::{Socket, linger};
use crate::gateway::worker::{Contained, Worker};
use crate::record::labels::Http2Fault;
use crate::tasks;

/// Serves one connection until it ends, or until the requests are answered that came before its client heard that
/// `listener` drains.
///
/// # Cancel safety
/// Dropping it closes the connection; requests under way are recorded as aborted.
pub async fn serve(worker: Arc<Worker>, socket: Box<dyn Socket>, origin: Origin, listener: &Listener) {
    let limits = &worker.gateway.limits;
    let session = Shared::new(HeadLimits {
        header_bytes: limits.header_bytes,
        header_count: limits.header_count,
        target_bytes: limits.target_bytes,
    });
    let mut driver = Driver {
        worker,
        origin: Arc::new(origin),
        session,
        inflow: Inflow::new(socket),
        writing: Vec::new(),
        written: 0,
        head: Timer::default(),
        idle: Timer::default(),
        silence: Timer::default(),
        farewell: Timer::default(),
        asked: false,
        has_input: true,
    };
    let mut drained = pin!(listener.drained());
    let (mut is_set, mut is_told) = (false, false);
    let ended = poll_fn(|context| {
        // Once is enough to be woken, if not by a task that was told to wait.
        if !is_told
            && (!std::mem::replace(&mut is_set, true) || listener.is_draining())
            && pin!(unconstrained(drained.as_mut())).poll(context).is_ready()
        {
            is_told = true;
            driver.session.lock().go();
        }
        driver.poll(context)
    })
    .await;
    match ended {
        Ended::Left => {}
        Ended::Over => driver.close().await,
        Ended::Fault(code) => {
            driver.worker.gateway.recorder.metrics.http2_broken(fault(code));
            tracing::debug!(%code, peer = %driver.origin.peer, "an HTTP/2 connection is given up");
            driver.break_off();
            driver.session.lock().close(code);
            driver.close().await;
        }
    }
}

/// What the metrics call it. Nobody is blamed who was only late.
fn fault(code: ErrorCode) -> Http2Fault {
    match code {
        ErrorCode::NoError => Http2Fault::TimedOut,
        ErrorCode::EnhanceYourCalm => Http2Fault::Flood,
        ErrorCode::Protocol
        | ErrorCode::Internal
        | ErrorCode::FlowControl
        | ErrorCode::StreamClosed
        | ErrorCode::FrameSize
        | ErrorCode::RefusedStream
        | ErrorCode::Cancel
        | ErrorCode::Compression => Http2Fault::Protocol,
    }
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// There is nobody to say anything to.
    Left,
    /// Everything was answered.
    Over,
    /// The client did what it must not.
    Fault(ErrorCode),
}

/// What reads and writes. Dropping it gives up all streams.
struct Driver {
    worker: Arc<Worker>,
    origin: Arc<Origin>,
    session: Shared,
    inflow: Inflow<Box<dyn Socket>>,
    /// What is being written, and how much of it was.
    writing: Vec<u8>,
    written: usize,
    /// Since a head or fields began that have not ended.
    head: Timer,
    /// Since the last stream has ended.
    idle: Timer,
    /// Since the client said anything, while it waits for answers.
    silence: Timer,
    /// Since the client was told to go.
    farewell: Timer,
    /// Whether the client was asked if it is there.
    asked: bool,
    /// Whether there may be whole frames in what was read.
    has_input: bool,
}

impl Driver {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
        self.session.lock().drive(context);
        loop {
            let is_full = !self.session.lock().has_room();
            let has_read = match self.poll_read(context) {
                Poll::Ready(Ok(true)) => true,
                Poll::Ready(Ok(false)) => return Poll::Ready(Ended::Left),
                Poll::Ready(Err(code)) => return Poll::Ready(Ended::Fault(code)),
                Poll::Pending => false,
            };
            let has_written = match self.poll_write(context) {
                Poll::Ready(true) => true,
                Poll::Ready(false) => return Poll::Ready(Ended::Left),
                Poll::Pending => false,
            };
            let session = self.session.lock();
            if has_written && session.is_closed() && !session.is_busy() && !session.has_output() {
                return Poll::Ready(Ended::Over);
            }
            let may_read = is_full && session.has_room();
            drop(session);
            if !has_read && !may_read {
                return self.poll_late(context).map(Ended::Fault);
            }
        }
    }

    /// Reads once, and takes the frames that are there. `false` at the end of the stream.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, ErrorCode>> {
        if !self.session.lock().has_room() {
            return Poll::Pending;
        }
        if !std::mem::take(&mut self.has_input) {
            match self.inflow.poll_read(context) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Ok(false)),
                Poll::Pending => return Poll::Pending,
            }
            self.asked = false;
            self.silence.clear();
        }
        let mut session = self.session.lock();
        let received = session.receive(&mut self.inflow.buffer, clock::tick());
        let opened = session.fetch();
        self.has_input = !session.has_room();
        if received == Ok(true) && !session.is_in_fields() {
            self.head.clear();
        }
        let is_busy = session.is_busy();
        drop(session);
        if !is_busy {
            self.inflow.rest();
        }
        for request in opened {
            self.start(request);
        }
        Poll::Ready(received.map(|_| true))
    }

    fn start(&self, Opened { id, head }: Opened) {
        let contained = Contained(Arc::clone(&self.worker));
        let work = Work::new(&self.session, id);
        let (worker, origin) = (Arc::clone(&self.worker), Arc::clone(&self.origin));
        let task = tasks::spawn("stream", async move {
            work.run(&worker, &origin, head).await;
            drop(contained);
        });
        self.session.lock().started(id, task.abort_handle());
    }

    /// Writes what there is. Ready once it is written: `false` where the client takes no more.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        loop {
            let unwritten = self.writing.get(self.written..).unwrap_or_default();
            if unwritten.is_empty() {
                self.writing.clear();
                self.written = 0;
                let mut session = self.session.lock();
                if session.has_output() {
                    self.writing = session.take_output(std::mem::take(&mut self.writing));
                    continue;
                }
                drop(session);
                return Pin::new(&mut *self.inflow.socket).poll_flush(context).map(|flushed| flushed.is_ok());
            }
            match Pin::new(&mut *self.inflow.socket).poll_write(context, unwritten) {
                Poll::Ready(Ok(count @ 1..)) => self.written += count,
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(false),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Nothing can be read. Ready when that has been so for too long.
    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<ErrorCode> {
        let limits = &self.worker.gateway.limits;
        let mut session = self.session.lock();
        // Where nothing is read because the client does not read, its socket is what is watched.
        if !session.has_room() || !session.is_in_head(&self.inflow.buffer) {
            self.head.clear();
        } else if self.head.is_over(context, limits.header_time) {
            return Poll::Ready(ErrorCode::NoError);
        }
        // Whatever it says meanwhile: it has heard that it is to go, or will not.
        if session.is_told() && self.farewell.is_over(context, limits.header_time) {
            session.close(ErrorCode::NoError);
            context.waker().wake_by_ref();
        }
        if session.take_moved() {
            self.idle.clear();
        }
        if session.is_busy() {
            self.idle.clear();
        } else {
            self.asked = false;
            self.silence.clear();
            session.rest();
            rest(&mut self.writing);
            if self.idle.is_over(context, limits.idle_time) && session.go() {
                context.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
        if !session.has_room() {
            self.silence.clear();
        }
        let patience = if self.asked { limits.header_time } else { limits.idle_time };
        if self.silence.is_over(context, patience) {
            if self.asked {
                return Poll::Ready(ErrorCode::NoError);
            }
            session.ask();
            self.asked = true;
            self.silence.clear();
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Gives up all streams.
    fn break_off(&self) {
        let streams = self.session.lock().break_off();
        streams.for_each(Stream::abort);
    }

    /// Says what is left to say, and keeps the socket until the client has heard it.
    async fn close(mut self) {
        if poll_fn(|context| self.poll_write(context)).await {
            // A client of HTTP/2 always sends: it makes room for more with each piece that it reads.
            linger(&mut *self.inflow.socket).await;
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.break_off();
    }
}
