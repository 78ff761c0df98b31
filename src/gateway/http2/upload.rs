//! The body of a request over HTTP/2.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

use crate::clock::timer::Timer;
use crate::domain::refusal::{FramingError, Limit};
use crate::framing::head::{BodyFraming, HeadFault};
use crate::framing::hpack;
use crate::gateway::http2::session::Shared;
use crate::gateway::http2::stream::End;

/// The body of a request. It ends with its stream: whoever holds it longer finds it broken off.
#[derive(Debug)]
pub struct StreamBody(Option<Unread>);

/// A body that has not ended.
#[derive(Debug)]
struct Unread {
    session: Shared,
    id: u32,
    /// How much was not read.
    left: SizeHint,
    /// How long the client may send nothing while somebody waits for it.
    patience: Duration,
    timer: Timer,
    /// Whether the client waits to be told that it shall send.
    waits: bool,
}

impl StreamBody {
    /// No body.
    pub(super) const NOTHING: Self = Self(None);

    /// The body of stream `id`, which is framed so.
    pub(super) fn new(session: &Shared, id: u32, body: BodyFraming, patience: Duration, waits: bool) -> Self {
        let left = match body {
            BodyFraming::Empty => return Self::NOTHING,
            BodyFraming::Length(length) => SizeHint::with_exact(length),
            BodyFraming::Chunked => SizeHint::default(),
        };
        Self(Some(Unread { session: session.clone(), id, left, patience, timer: Timer::default(), waits }))
    }

    /// Waits for the end of a body that is to be empty.
    ///
    /// # Errors
    /// It was not, or did not end in time; `None` where the client left.
    pub(super) async fn end(&mut self) -> Result<(), Option<HeadFault>> {
        while let Some(frame) = self.frame().await {
            let Err(error) = frame else { continue };
            return Err(if error.kind() == io::ErrorKind::TimedOut {
                Some(Limit::BodyTime.into())
            } else if error.kind() == io::ErrorKind::InvalidData {
                Some(FramingError::ContentLength.into())
            } else {
                None
            });
        }
        Ok(())
    }
}

impl Unread {
    /// What comes next, and whether that was all.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<(Option<io::Result<Frame<Bytes>>>, bool)> {
        let mut session = self.session.lock();
        let Some(stream) = session.streams.get_mut(&self.id) else {
            return Poll::Ready((Some(Err(io::ErrorKind::BrokenPipe.into())), true));
        };
        if let Some(data) = stream.next() {
            let is_last = stream.is_read();
            session.taken(self.id, data.len());
            self.timer.clear();
            // It has not waited.
            self.waits = false;
            return Poll::Ready((Some(Ok(Frame::data(data))), is_last));
        }
        match stream.take_end() {
            Some(End::Whole(trailers)) => {
                Poll::Ready((trailers.map(|trailers| Ok(Frame::trailers(trailers))), true))
            }
            Some(End::Fault(fault)) => {
                Poll::Ready((Some(Err(io::Error::new(io::ErrorKind::InvalidData, fault))), true))
            }
            None => {
                stream.reader = Some(context.waker().clone());
                if std::mem::take(&mut self.waits) {
                    let mut block = Vec::new();
                    hpack::begin(&mut block);
                    hpack::push_status(&mut block, http::StatusCode::CONTINUE);
                    session.send_interim(self.id, &block);
                }
                drop(session);
                if self.timer.is_over(context, self.patience) {
                    let late = "the request's body did not arrive in time";
                    return Poll::Ready((Some(Err(io::Error::new(io::ErrorKind::TimedOut, late))), true));
                }
                Poll::Pending
            }
        }
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Some(unread) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let (frame, is_last) = std::task::ready!(unread.poll_next(context));
        if let (Some(Ok(frame)), Some(length)) = (&frame, unread.left.exact()) {
            let count = frame.data_ref().map_or(0, Bytes::len) as u64;
            unread.left = SizeHint::with_exact(length.saturating_sub(count));
        }
        if is_last {
            self.0 = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |unread| unread.left)
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.session.lock().unwant(self.id);
    }
}
