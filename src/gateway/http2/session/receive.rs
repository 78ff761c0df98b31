//! What a client sends, frame by frame.

use bytes::{Buf, BytesMut};

use crate::clock::Tick;
use crate::domain::refusal::FramingError;
use crate::framing::frames::{
    self, ACK, END_HEADERS, END_STREAM, ErrorCode, FrameHead, HEAD_LENGTH, Kind, LARGEST_WINDOW,
};
use crate::framing::head::http2::{Behind, HeadFields, TrailerFields};
use crate::framing::head::{HeadFault, RequestHead};
use crate::gateway::http2::nuisance::Nuisance;
use crate::gateway::http2::session::{Going, LAST_CALL, STREAM_WINDOW, STREAMS, Session};
use crate::gateway::http2::stream::{End, Stream};

/// Room in smaller pieces than this costs more to tell than it is worth.
const SMALL_UPDATE: u32 = 64;

/// The least that clients put into a frame with fields that go on.
const USUAL_PIECE: usize = 1024;

/// Fields that go on in the next frame.
#[derive(Debug)]
pub(super) struct Block {
    stream: u32,
    flags: u8,
    bytes: Vec<u8>,
    frames: usize,
}

/// A request that has come.
#[derive(Debug)]
pub(in crate::gateway::http2) struct Opened {
    pub(in crate::gateway::http2) id: u32,
    pub(in crate::gateway::http2) head: Result<Box<RequestHead>, HeadFault>,
}

impl Session {
    /// Takes all whole frames out of `input`, at `now`. The requests among them are to be fetched. Gives whether
    /// there were any.
    ///
    /// # Errors
    /// The connection must end.
    pub(in crate::gateway::http2) fn receive(
        &mut self,
        input: &mut BytesMut,
        now: Tick,
    ) -> Result<bool, ErrorCode> {
        self.nuisance.at(now);
        if !self.has_preface {
            let common = input.len().min(frames::PREFACE.len());
            if input.get(..common) != frames::PREFACE.get(..common) {
                return Err(ErrorCode::Protocol);
            }
            if common < frames::PREFACE.len() {
                return Ok(false);
            }
            input.advance(common);
            self.has_preface = true;
        }
        let mut is_any = false;
        // What waits to be written is bounded by not reading what would add to it.
        while self.has_room()
            && let Some(head) = FrameHead::read(input)?
            && let Some(payload) = input.get(HEAD_LENGTH..HEAD_LENGTH + head.length)
        {
            let is_expected = match &self.block {
                Some(block) => head.kind == Kind::Continuation && head.stream == block.stream,
                None => head.kind != Kind::Continuation,
            };
            // Settings come first (RFC 9113 section 3.4).
            if !is_expected || !self.has_settings && head.kind != Kind::Settings {
                return Err(ErrorCode::Protocol);
            }
            self.take(head, payload)?;
            input.advance(HEAD_LENGTH + head.length);
            is_any = true;
        }
        Ok(is_any)
    }

    fn take(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), ErrorCode> {
        let is_of_stream = head.stream != 0;
        let placed = |wants_stream: bool| {
            if is_of_stream == wants_stream { Ok(()) } else { Err(ErrorCode::Protocol) }
        };
        match head.kind {
            Kind::Headers => {
                placed(true)?;
                let content = payload.get(head.content(payload)?).unwrap_or_default();
                if head.has(END_HEADERS) {
                    return self.fields(head.stream, head.flags, content);
                }
                self.block =
                    Some(Block { stream: head.stream, flags: head.flags, bytes: content.into(), frames: 1 });
                Ok(())
            }
            Kind::Continuation => self.go_on(head, payload),
            Kind::Settings => {
                placed(false)?;
                self.nuisance.add(1)?;
                self.settings(head, payload)
            }
            Kind::Ping => {
                placed(false)?;
                self.nuisance.add(1)?;
                self.ping(head, payload.try_into().map_err(|_| ErrorCode::FrameSize)?);
                Ok(())
            }
            Kind::WindowUpdate => self.window_update(head.stream, frames::number(payload)? & 0x7fff_ffff),
            Kind::Reset => {
                placed(true)?;
                self.nuisance.add(Nuisance::OF_RESET)?;
                frames::number(payload)?;
                self.was_begun(head.stream)?;
                self.give_up(head.stream);
                Ok(())
            }
            Kind::Priority => {
                placed(true)?;
                self.nuisance.add(1)?;
                if head.length == 5 { Ok(()) } else { Err(ErrorCode::FrameSize) }
            }
            // The client goes. It says so, and what it has asked for is still answered.
            Kind::GoAway => {
                placed(false)?;
                self.nuisance.add(1)?;
                if head.length >= 8 { Ok(()) } else { Err(ErrorCode::FrameSize) }
            }
            Kind::Data => {
                placed(true)?;
                self.data(head, payload)
            }
            Kind::Unknown => self.nuisance.add(1),
            Kind::PushPromise => Err(ErrorCode::Protocol),
        }
    }

    fn was_begun(&self, stream: u32) -> Result<(), ErrorCode> {
        let is_of_client = !stream.is_multiple_of(2);
        if is_of_client && stream <= self.last { Ok(()) } else { Err(ErrorCode::Protocol) }
    }

    /// Fields go on. How many is bounded as they are, also where most of them are compressed away.
    fn go_on(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), ErrorCode> {
        let most = self.limits.header_bytes.saturating_mul(2);
        let Some(mut block) = self.block.take() else { return Err(ErrorCode::Protocol) };
        block.frames += 1;
        block.bytes.extend_from_slice(payload);
        if block.bytes.len() > most || block.frames > most / USUAL_PIECE + 8 {
            return Err(ErrorCode::EnhanceYourCalm);
        }
        if head.has(END_HEADERS) {
            return self.fields(block.stream, block.flags, &block.bytes);
        }
        self.block = Some(block);
        Ok(())
    }

    /// A whole block of fields: a request, or what comes behind its body.
    fn fields(&mut self, id: u32, flags: u8, block: &[u8]) -> Result<(), ErrorCode> {
        let is_end = flags & END_STREAM != 0;
        let unreadable = |_| ErrorCode::Compression;
        if id.is_multiple_of(2) {
            return Err(ErrorCode::Protocol);
        }
        if id <= self.last {
            let mut fields = TrailerFields::new(&self.limits);
            self.decoder.decode(block, |field| fields.take(field)).map_err(unreadable)?;
            let end = if is_end { fields.trailers() } else { Err(FramingError::Trailers) };
            let Some(stream) = self.streams.get_mut(&id) else {
                // Of a stream that has ended; the client may not have known it.
                return self.nuisance.add(1);
            };
            if stream.has_ended() {
                return self.reset(id, ErrorCode::StreamClosed);
            }
            stream.end(end.map_or_else(End::Fault, End::Whole));
            return Ok(());
        }
        let mut fields = HeadFields::new(&self.limits);
        self.decoder.decode(block, |field| fields.take(field)).map_err(unreadable)?;
        self.last = id;
        if self.is_closed() {
            // The client asks somebody else; it is told that we have not begun.
            return self.nuisance.add(1);
        }
        if self.alive >= STREAMS as usize {
            self.nuisance.add(1)?;
            frames::push_reset(&mut self.output, id, ErrorCode::RefusedStream);
            return Ok(());
        }
        let head = fields.head(if is_end { Behind::Nothing } else { Behind::Body });
        let body = head.as_ref().ok().map(|head| head.body);
        self.alive += 1;
        self.has_moved = true;
        self.streams.insert(id, Stream::new(body, is_end, self.first_window, STREAM_WINDOW));
        self.opened.push(Opened { id, head });
        Ok(())
    }

    fn data(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), ErrorCode> {
        self.was_begun(head.stream)?;
        let data = payload.get(head.content(payload)?).unwrap_or_default();
        // Padding counts too.
        self.room -= i64::try_from(head.length).unwrap_or(LARGEST_WINDOW);
        if self.room < 0 {
            return Err(ErrorCode::FlowControl);
        }
        let is_end = head.has(END_STREAM);
        if data.is_empty() && !is_end {
            self.nuisance.add(1)?;
        }
        let Some(stream) = self.streams.get_mut(&head.stream) else {
            // Of a stream that has ended; the client may not have known it.
            self.taken_of_connection(head.length);
            return self.nuisance.add(1);
        };
        if stream.is_faulty() {
            // It is being told so.
            self.taken_of_connection(head.length);
            return self.nuisance.add(1);
        }
        let is_wanted = stream.is_wanted;
        let unread = if stream.has_ended() {
            Err(ErrorCode::StreamClosed)
        } else {
            stream.take_data(data, head.length, is_end)
        };
        match unread {
            Ok(unread) if is_wanted => self.taken(head.stream, unread),
            // It makes room for others, and not for more of its own.
            Ok(unread) => self.taken_of_connection(unread),
            Err(code) => {
                self.taken_of_connection(head.length);
                return self.reset(head.stream, code);
            }
        }
        Ok(())
    }

    fn settings(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), ErrorCode> {
        if head.has(ACK) {
            return if payload.is_empty() { Ok(()) } else { Err(ErrorCode::FrameSize) };
        }
        self.has_settings = true;
        if let Some(window) = frames::settings(payload)? {
            let more = window - std::mem::replace(&mut self.first_window, window);
            self.streams.values_mut().try_for_each(|stream| stream.widen(more))?;
        }
        frames::push_settings_ack(&mut self.output);
        Ok(())
    }

    fn ping(&mut self, head: FrameHead, payload: [u8; 8]) {
        if !head.has(ACK) {
            frames::push_ping(&mut self.output, ACK, payload);
        } else if payload == LAST_CALL && self.going == Going::Told {
            self.close(ErrorCode::NoError);
        }
    }

    fn window_update(&mut self, id: u32, increment: u32) -> Result<(), ErrorCode> {
        if (1..SMALL_UPDATE).contains(&increment) {
            self.nuisance.add(1)?;
        }
        if id == 0 {
            let was_shut = self.window <= 0;
            self.window += i64::from(increment);
            if increment == 0 || self.window > LARGEST_WINDOW {
                return Err(if increment == 0 { ErrorCode::Protocol } else { ErrorCode::FlowControl });
            }
            if was_shut && self.window > 0 {
                self.wake_waiting();
            }
            return Ok(());
        }
        self.was_begun(id)?;
        let Some(stream) = self.streams.get_mut(&id) else { return self.nuisance.add(1) };
        let widened = if increment == 0 { Err(ErrorCode::Protocol) } else { stream.widen(increment.into()) };
        widened.or_else(|code| self.reset(id, code))
    }
}
