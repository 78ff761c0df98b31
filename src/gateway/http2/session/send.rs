//! What goes out on streams.

use std::task::{Context, Poll};

use bytes::Bytes;

use crate::framing::frames::{self, END_STREAM, ErrorCode, Kind, LARGEST_PAYLOAD};
use crate::gateway::http2::session::Session;

impl Session {
    /// An interim answer, unless the final one is on its way. It is small, and there is one at most, so that it waits for no
    /// room.
    pub(in crate::gateway::http2) fn send_interim(&mut self, id: u32, block: &[u8]) {
        if self.streams.get(&id).is_some_and(|stream| !stream.is_answered) {
            frames::push_fields(&mut self.output, id, 0, block);
            self.wake_driver();
        }
    }

    /// The head of an answer, or its trailers; `is_end` where nothing comes behind. Ready once it is on its way: `None` where
    /// the stream has ended.
    pub(in crate::gateway::http2) fn poll_send_fields(
        &mut self,
        id: u32,
        block: &[u8],
        is_end: bool,
        context: &Context<'_>,
    ) -> Poll<Option<()>> {
        let has_room = self.has_room();
        let Some(stream) = self.streams.get_mut(&id) else { return Poll::Ready(None) };
        stream.is_answered |= has_room;
        if !has_room {
            self.wait(context);
            return Poll::Pending;
        }
        frames::push_fields(&mut self.output, id, if is_end { END_STREAM } else { 0 }, block);
        if is_end {
            self.sent(id);
        }
        self.wake_driver();
        Poll::Ready(Some(()))
    }

    fn wait(&mut self, context: &Context<'_>) {
        if !self.waiting.iter().any(|waiting| waiting.will_wake(context.waker())) {
            self.waiting.push(context.waker().clone());
        }
    }

    /// A frame of `data`, as much as there is room for; `is_last` where nothing comes behind it. Ready once all of it is on its
    /// way: `None` where the stream has ended.
    pub(in crate::gateway::http2) fn poll_send(
        &mut self,
        id: u32,
        data: &mut Bytes,
        is_last: bool,
        context: &mut Context<'_>,
    ) -> Poll<Option<()>> {
        let has_room = self.has_room();
        let Some(stream) = self.streams.get_mut(&id) else { return Poll::Ready(None) };
        if data.is_empty() && !is_last {
            return Poll::Ready(Some(()));
        }
        let window = usize::try_from(stream.window.min(self.window)).unwrap_or_default();
        let length = data.len().min(window).min(LARGEST_PAYLOAD);
        if !has_room || length == 0 && !data.is_empty() {
            if has_room && stream.window <= 0 {
                stream.writer = Some(context.waker().clone());
            } else {
                self.wait(context);
            }
            return Poll::Pending;
        }
        let sent = i64::try_from(length).unwrap_or_default();
        stream.window -= sent;
        self.window -= sent;
        let ends = is_last && length == data.len();
        frames::push_head(&mut self.output, length, Kind::Data, if ends { END_STREAM } else { 0 }, id);
        self.output.extend_from_slice(&data.split_to(length));
        self.wake_driver();
        if ends {
            self.sent(id);
        } else if !data.is_empty() {
            // Behind the others, which shall have their turn.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(()))
    }

    /// All of an answer is on its way. What has not come of the request is not wanted any more (RFC 9113 section 8.1).
    fn sent(&mut self, id: u32) {
        if let Some(stream) = self.streams.remove(&id) {
            self.taken_of_connection(stream.unread());
            if !stream.has_ended() {
                frames::push_reset(&mut self.output, id, ErrorCode::NoError);
            }
        }
    }
}
