//! What a connection of HTTP/2 and its streams share: where each stands, how much may be sent, what goes out next
//! (RFC 9113 sections 5 and 6).
//!
//! No I/O and no clock: `connection` gives it frames and takes away what it wrote; streams put their answers in. All of
//! that is one thread, so nobody ever waits for the lock.

pub(super) mod receive;
mod send;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use tokio::task::AbortHandle;

use crate::framing::frames::{self, ErrorCode, FrameHead, Kind};
use crate::framing::head::HeadLimits;
use crate::framing::hpack::Decoder;
use crate::gateway::http2::nuisance::Nuisance;
use crate::gateway::http2::session::receive::{Block, Opened};
use crate::gateway::http2::stream::Stream;

/// How many requests a client may have under way on one connection.
pub(super) const STREAMS: u32 = 128;

/// How much of a body a client may send before the host takes it.
pub(super) const STREAM_WINDOW: u32 = 512 * 1024;

/// The same for all bodies of a connection.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// What it is before a client is told (RFC 9113 section 6.9.2).
const FIRST_WINDOW: i64 = 65_535;

/// How much may wait to be written before streams wait with more, and nothing more is read.
const OUTPUT: usize = 64 * 1024;

/// How much memory an idle connection keeps for what it will write.
const KEPT: usize = 8 * 1024;

/// What a ping says that asks whether the client is there, and one behind which nothing comes that it sent before it knew
/// that we go.
const ARE_YOU_THERE: [u8; 8] = *b"present?";
const LAST_CALL: [u8; 8] = *b"lastcall";

/// How far the end of a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Going {
    /// It goes on.
    Not,
    /// The client was told to begin no more streams, and may not have heard it yet.
    Told,
    /// No stream behind this one is begun any more.
    Final(u32),
}

/// One connection. A clone is the same one.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Session>>);

impl fmt::Debug for Shared {
    /// Tells nothing of what came: fields carry credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(limits: HeadLimits) -> Self {
        Self(Arc::new(Mutex::new(Session::new(limits))))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Session> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection.
pub(super) struct Session {
    limits: HeadLimits,
    decoder: Decoder,
    /// What is to be written.
    output: Vec<u8>,
    pub(super) streams: BTreeMap<u32, Stream>,
    /// Requests that have come and were not fetched.
    opened: Vec<Opened>,
    /// The last stream that was begun.
    last: u32,
    block: Option<Block>,
    has_preface: bool,
    has_settings: bool,
    going: Going,
    /// Streams that somebody works on, also where the client has given them up.
    alive: usize,
    /// How much may be sent: at all, and at first on a stream.
    window: i64,
    first_window: i64,
    /// How much may come, and how much was taken that the client has not been told of.
    room: i64,
    unsaid: u32,
    nuisance: Nuisance,
    /// Whether a stream was begun or has ended since [`Self::take_moved`].
    has_moved: bool,
    /// Who reads and writes the socket.
    driver: Option<Waker>,
    /// Streams that wait for room.
    waiting: Vec<Waker>,
}

impl Session {
    fn new(limits: HeadLimits) -> Self {
        let mut output = Vec::new();
        // More than we take, so that what is a little too large is refused with its reason.
        let fields = u32::try_from(limits.header_bytes.saturating_mul(2)).unwrap_or(u32::MAX);
        frames::push_settings(&mut output, STREAMS, STREAM_WINDOW, fields);
        frames::push_window_update(&mut output, 0, CONNECTION_WINDOW - 65_535);
        Self {
            limits,
            decoder: Decoder::default(),
            output,
            streams: BTreeMap::new(),
            opened: Vec::new(),
            last: 0,
            block: None,
            has_preface: false,
            has_settings: false,
            going: Going::Not,
            alive: 0,
            window: FIRST_WINDOW,
            first_window: FIRST_WINDOW,
            room: CONNECTION_WINDOW.into(),
            unsaid: 0,
            nuisance: Nuisance::default(),
            has_moved: false,
            driver: None,
            waiting: Vec::new(),
        }
    }

    /// The client gives a stream up.
    fn give_up(&mut self, id: u32) {
        if let Some(stream) = self.streams.remove(&id) {
            self.taken_of_connection(stream.unread());
            stream.abort();
        }
    }

    /// We give a stream up, for what the client did: that leads nowhere just as if the client gave it up (CVE-2025-8671).
    fn reset(&mut self, id: u32, code: ErrorCode) -> Result<(), ErrorCode> {
        frames::push_reset(&mut self.output, id, code);
        self.give_up(id);
        self.nuisance.add(Nuisance::OF_RESET)
    }

    /// The requests that have come.
    pub(super) fn fetch(&mut self) -> Vec<Opened> {
        std::mem::take(&mut self.opened)
    }

    /// Somebody works on a stream.
    pub(super) fn started(&mut self, id: u32, work: AbortHandle) {
        match self.streams.get_mut(&id) {
            Some(stream) => stream.work = Some(work),
            // It was given up before it began.
            None => work.abort(),
        }
    }

    /// Nobody works on a stream any more. Where it has not ended, it ends by `code`.
    pub(super) fn left(&mut self, id: u32, code: ErrorCode) {
        self.alive -= 1;
        self.has_moved = true;
        if let Some(stream) = self.streams.remove(&id) {
            self.taken_of_connection(stream.unread());
            frames::push_reset(&mut self.output, id, code);
        }
        self.wake_driver();
    }

    /// Nobody reads the body of a stream any more.
    pub(super) fn unwant(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id) {
            let unread = stream.unwant();
            self.taken_of_connection(unread);
        }
    }

    /// So much of a body was taken.
    pub(super) fn taken(&mut self, id: u32, length: usize) {
        self.taken_of_connection(length);
        if let Some(increment) = self.streams.get_mut(&id).and_then(|stream| stream.taken(length)) {
            frames::push_window_update(&mut self.output, id, increment);
            self.wake_driver();
        }
    }

    fn taken_of_connection(&mut self, length: usize) {
        self.unsaid += u32::try_from(length).unwrap_or(CONNECTION_WINDOW);
        if self.unsaid >= CONNECTION_WINDOW / 2 {
            self.room += i64::from(self.unsaid);
            frames::push_window_update(&mut self.output, 0, std::mem::take(&mut self.unsaid));
            self.wake_driver();
        }
    }

    /// Whether more may be put in to be written.
    pub(super) fn has_room(&self) -> bool {
        self.output.len() < OUTPUT
    }

    /// What is to be written, in exchange for an empty buffer.
    pub(super) fn take_output(&mut self, empty: Vec<u8>) -> Vec<u8> {
        let output = std::mem::replace(&mut self.output, empty);
        self.wake_waiting();
        output
    }

    /// Whether anything is to be written.
    pub(super) fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    fn wake_waiting(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }

    /// Is woken when there is something to be written, or to end.
    pub(super) fn drive(&mut self, context: &Context<'_>) {
        if !self.driver.as_ref().is_some_and(|driver| driver.will_wake(context.waker())) {
            self.driver = Some(context.waker().clone());
        }
    }

    fn wake_driver(&self) {
        if let Some(driver) = &self.driver {
            driver.wake_by_ref();
        }
    }

    /// Whether anybody works on a stream.
    pub(super) fn is_busy(&self) -> bool {
        self.alive > 0
    }

    /// Whether the client has begun to say something that it has to get through with, and is not sending a body.
    pub(super) fn is_in_head(&self, input: &[u8]) -> bool {
        let is_data =
            FrameHead::read(input).is_ok_and(|head| head.is_some_and(|head| head.kind == Kind::Data));
        !self.has_settings || self.block.is_some() || !input.is_empty() && !is_data
    }

    /// Whether fields are to go on in the next frame.
    pub(super) fn is_in_fields(&self) -> bool {
        self.block.is_some()
    }

    /// Whether the client was told to go, and has not confirmed that it heard.
    pub(super) fn is_told(&self) -> bool {
        self.going == Going::Told
    }

    /// Gives back the memory of large answers.
    pub(super) fn rest(&mut self) {
        rest(&mut self.output);
    }

    /// Whether a stream was begun or has ended since this was asked last.
    pub(super) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.has_moved)
    }

    /// Asks the client whether it is there.
    pub(super) fn ask(&mut self) {
        frames::push_ping(&mut self.output, 0, ARE_YOU_THERE);
    }

    /// Tells the client to begin no more streams, unless it was told. Those that it began before it heard that are answered.
    pub(super) fn go(&mut self) -> bool {
        let is_new = self.going == Going::Not;
        if is_new {
            self.going = Going::Told;
            frames::push_go_away(&mut self.output, 0x7fff_ffff, ErrorCode::NoError);
            frames::push_ping(&mut self.output, 0, LAST_CALL);
        }
        is_new
    }

    /// Begins no more streams; the client is told so, and why.
    pub(super) fn close(&mut self, code: ErrorCode) {
        let last = match self.going {
            Going::Final(_) if code == ErrorCode::NoError => return,
            // What was told before stands.
            Going::Final(last) => last,
            Going::Not | Going::Told => self.last,
        };
        self.going = Going::Final(last);
        frames::push_go_away(&mut self.output, last, code);
    }

    /// Whether no streams are begun any more.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.going, Going::Final(_))
    }

    /// Gives everything up. The streams have to be aborted by who gets them, without the lock.
    pub(super) fn break_off(&mut self) -> impl Iterator<Item = Stream> + use<> {
        self.wake_waiting();
        std::mem::take(&mut self.streams).into_values()
    }
}

/// Has a buffer of which nothing is left keep no more than small answers need.
pub(super) fn rest(buffer: &mut Vec<u8>) {
    if buffer.is_empty() && buffer.capacity() > KEPT {
        *buffer = Vec::new();
    }
}

#[cfg(test)]
pub(super) mod tests;
