//! One stream, as its connection sees it: what has come of a body, and how much may be sent.

use std::task::Waker;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use tokio::task::AbortHandle;

use crate::domain::refusal::FramingError;
use crate::framing::frames::{ErrorCode, LARGEST_WINDOW};
use crate::framing::head::BodyFraming;

/// How what the client sends has ended.
#[derive(Debug)]
pub(super) enum End {
    /// As it should, with trailers.
    Whole(Option<HeaderMap>),
    /// As no message ends.
    Fault(FramingError),
}

/// One stream.
pub(super) struct Stream {
    /// What has come of the body and was not read. A copy: it must not keep what else was read with it.
    inbox: BytesMut,
    end: Option<End>,
    /// How much has not come, where the client said how much there is.
    left: Option<u64>,
    /// Whether anybody reads the body.
    pub(super) is_wanted: bool,
    /// Who waits for more of it.
    pub(super) reader: Option<Waker>,
    /// How much may come, how much that is at most, and how much was taken that the client has not been told of.
    room: i64,
    most: u32,
    taken: u32,
    /// How much may be sent.
    pub(super) window: i64,
    /// Who waits for that to become more.
    pub(super) writer: Option<Waker>,
    /// Whether the head of its answer is on its way.
    pub(super) is_answered: bool,
    /// Who works on it.
    pub(super) work: Option<AbortHandle>,
}

impl Stream {
    /// A stream whose body, framed so, comes, or `is_ended` already. Of `None`, nobody wants it.
    pub(super) fn new(body: Option<BodyFraming>, is_ended: bool, window: i64, room: u32) -> Self {
        let left = match body {
            Some(BodyFraming::Empty) => Some(0),
            Some(BodyFraming::Length(length)) => Some(length),
            Some(BodyFraming::Chunked) | None => None,
        };
        Self {
            inbox: BytesMut::new(),
            end: is_ended.then_some(End::Whole(None)),
            left,
            is_wanted: body.is_some() && !is_ended,
            reader: None,
            room: room.into(),
            most: room,
            taken: 0,
            window,
            writer: None,
            is_answered: false,
            work: None,
        }
    }

    /// Whether the client has sent everything.
    pub(super) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// Whether what the client sent was malformed.
    pub(super) fn is_faulty(&self) -> bool {
        matches!(self.end, Some(End::Fault(_)))
    }

    /// The client has sent everything.
    pub(super) fn end(&mut self, end: End) {
        let is_short = matches!(end, End::Whole(_)) && self.left.is_some_and(|left| left > 0);
        self.end = Some(if is_short { End::Fault(FramingError::ContentLength) } else { end });
        self.wake_reader();
    }

    /// More of the body has come, in a frame that takes up `weight`. Gives how much of it nobody will read.
    ///
    /// # Errors
    /// It is more than there was room for.
    pub(super) fn take_data(
        &mut self,
        data: &[u8],
        weight: usize,
        is_last: bool,
    ) -> Result<usize, ErrorCode> {
        self.room -= i64::try_from(weight).unwrap_or(LARGEST_WINDOW);
        if self.room < 0 {
            return Err(ErrorCode::FlowControl);
        }
        if let Some(left) = &mut self.left {
            let Some(less) = left.checked_sub(data.len() as u64) else {
                self.end(End::Fault(FramingError::ContentLength));
                return Ok(weight);
            };
            *left = less;
        }
        let kept = if self.is_wanted { data.len() } else { 0 };
        if kept > 0 {
            self.inbox.extend_from_slice(data);
            self.wake_reader();
        }
        if is_last {
            self.end(End::Whole(None));
        }
        Ok(weight - kept)
    }

    /// What has come and was not read; nothing more where the body turned out to be malformed. What would be the rest of a
    /// body that said how long it is comes out only when the client has ended it too: the host would take it for whole.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        let may = match &self.end {
            Some(End::Whole(_)) => true,
            Some(End::Fault(_)) => false,
            None => self.left != Some(0),
        };
        (may && !self.inbox.is_empty()).then(|| self.inbox.split().freeze())
    }

    /// How what came has ended, once all of it was read that will be. It is told once.
    pub(super) fn take_end(&mut self) -> Option<End> {
        match &mut self.end {
            Some(end @ End::Fault(_)) => Some(std::mem::replace(end, End::Whole(None))),
            Some(end @ End::Whole(_)) if self.inbox.is_empty() => {
                Some(std::mem::replace(end, End::Whole(None)))
            }
            Some(End::Whole(_)) | None => None,
        }
    }

    /// Whether all has come, and all of it was read.
    pub(super) fn is_read(&self) -> bool {
        self.inbox.is_empty() && matches!(self.end, Some(End::Whole(None)))
    }

    /// Nobody reads the body any more. Gives how much of it nobody has read.
    pub(super) fn unwant(&mut self) -> usize {
        self.is_wanted = false;
        let unread = self.unread();
        self.inbox = BytesMut::new();
        unread
    }

    /// How much has come and was not read.
    pub(super) fn unread(&self) -> usize {
        self.inbox.len()
    }

    /// How much memory what has come takes.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.inbox.capacity()
    }

    /// So much was taken. Gives how much more the client may send, where it is time to tell it.
    pub(super) fn taken(&mut self, length: usize) -> Option<u32> {
        self.taken += u32::try_from(length).unwrap_or(self.most);
        if self.taken < self.most / 2 || self.has_ended() {
            return None;
        }
        self.room += i64::from(self.taken);
        Some(std::mem::take(&mut self.taken))
    }

    /// More may be sent, or less.
    ///
    /// # Errors
    /// It would be more than a window can be.
    pub(super) fn widen(&mut self, more: i64) -> Result<(), ErrorCode> {
        self.window += more;
        if self.window > LARGEST_WINDOW {
            return Err(ErrorCode::FlowControl);
        }
        if self.window > 0
            && let Some(writer) = self.writer.take()
        {
            writer.wake();
        }
        Ok(())
    }

    /// Ends the work on it.
    pub(super) fn abort(self) {
        if let Some(work) = &self.work {
            work.abort();
        }
    }

    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}
