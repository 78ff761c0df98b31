//! The frames of HTTP/2 (RFC 9113 sections 4 and 6): how they are cut off a stream of bytes, and how ours are written.
//!
//! Pure. What a frame means where it stands is for `gateway/http2` to say.

use thiserror::Error;

/// What a client says first (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The largest payload that we take and send. It is what HTTP/2 begins with, so clients are not told.
pub const LARGEST_PAYLOAD: usize = 16_384;

/// How many bytes stand before a payload.
pub const HEAD_LENGTH: usize = 9;

/// The largest window (RFC 9113 section 6.9.1).
pub const LARGEST_WINDOW: i64 = 0x7fff_ffff;

/// The end of a stream, on [`Kind::Data`] and [`Kind::Headers`].
pub const END_STREAM: u8 = 1;
/// An answer to the same frame of ours, on [`Kind::Settings`] and [`Kind::Ping`].
pub const ACK: u8 = 1;
/// The end of the fields, on [`Kind::Headers`] and [`Kind::Continuation`].
pub const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;

/// Why a stream or a connection ends (RFC 9113 section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[repr(u32)]
#[expect(missing_docs, reason = "the names of the RFC say it")]
pub enum ErrorCode {
    #[error("no error")]
    NoError = 0,
    #[error("the protocol was not kept to")]
    Protocol = 1,
    #[error("internal error")]
    Internal = 2,
    #[error("more was sent than there was room for")]
    FlowControl = 3,
    #[error("a stream was used after its end")]
    StreamClosed = 5,
    #[error("a frame has the wrong size")]
    FrameSize = 6,
    #[error("the stream was not begun")]
    RefusedStream = 7,
    #[error("the stream is no longer wanted")]
    Cancel = 8,
    #[error("the compressed fields cannot be read")]
    Compression = 9,
    #[error("there was too much of what leads nowhere")]
    EnhanceYourCalm = 11,
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names of the RFC say it")]
pub enum Kind {
    Data = 0,
    Headers = 1,
    Priority = 2,
    Reset = 3,
    Settings = 4,
    PushPromise = 5,
    Ping = 6,
    GoAway = 7,
    WindowUpdate = 8,
    Continuation = 9,
    /// An extension, which is passed over (RFC 9113 section 5.5).
    Unknown = 255,
}

impl Kind {
    fn of(byte: u8) -> Self {
        const KNOWN: [Kind; 10] = [
            Kind::Data,
            Kind::Headers,
            Kind::Priority,
            Kind::Reset,
            Kind::Settings,
            Kind::PushPromise,
            Kind::Ping,
            Kind::GoAway,
            Kind::WindowUpdate,
            Kind::Continuation,
        ];
        KNOWN.get(usize::from(byte)).copied().unwrap_or(Self::Unknown)
    }
}

/// What stands before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead {
    /// Bytes of the payload, [`LARGEST_PAYLOAD`] at most.
    pub length: usize,
    /// What it is.
    pub kind: Kind,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 is the connection.
    pub stream: u32,
}

impl FrameHead {
    /// The head that `bytes` begin with; `None` as long as it has not come.
    ///
    /// # Errors
    /// The payload is too large; nothing behind it can be read.
    pub fn read(bytes: &[u8]) -> Result<Option<Self>, ErrorCode> {
        let Some((head, _)) = bytes.split_first_chunk::<HEAD_LENGTH>() else { return Ok(None) };
        let [a, b, c, kind, flags, stream @ ..] = *head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        if length > LARGEST_PAYLOAD {
            return Err(ErrorCode::FrameSize);
        }
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        Ok(Some(Self { length, kind: Kind::of(kind), flags, stream }))
    }

    /// Whether a flag stands on it.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Where the data or the fields of its payload stand: without padding, and without the priority that nobody looks at
    /// any more (RFC 9113 sections 6.1 and 6.2).
    ///
    /// # Errors
    /// [`ErrorCode::Protocol`], [`ErrorCode::FrameSize`]: of the connection.
    pub fn content(&self, payload: &[u8]) -> Result<std::ops::Range<usize>, ErrorCode> {
        let (mut start, mut end) = (0, payload.len());
        if self.has(PADDED) {
            let padding = payload.first().ok_or(ErrorCode::FrameSize)?;
            start = 1;
            end =
                end.checked_sub(usize::from(*padding)).filter(|end| *end >= 1).ok_or(ErrorCode::Protocol)?;
        }
        if self.kind == Kind::Headers && self.has(PRIORITY) {
            start += 5;
        }
        if start > end {
            return Err(if self.has(PADDED) { ErrorCode::Protocol } else { ErrorCode::FrameSize });
        }
        Ok(start..end)
    }
}

/// How much a client takes on each stream before it makes more room, where its settings say so (RFC 9113 section 6.5.2).
/// Nothing else in them concerns us: we send no larger frames than all clients take, refer to no field, and push nothing.
///
/// # Errors
/// One is out of its range, or the payload is no list of settings: an error of the connection.
pub fn settings(payload: &[u8]) -> Result<Option<i64>, ErrorCode> {
    let (entries, []) = payload.as_chunks::<6>() else { return Err(ErrorCode::FrameSize) };
    let mut window = None;
    for [a, b, value @ ..] in entries {
        let value = u32::from_be_bytes(*value);
        match (u16::from_be_bytes([*a, *b]), value) {
            (2, 2..) | (5, ..=16_383 | 0x0100_0000..) => return Err(ErrorCode::Protocol),
            (4, _) if i64::from(value) > LARGEST_WINDOW => return Err(ErrorCode::FlowControl),
            (4, _) => window = Some(value.into()),
            _ => {}
        }
    }
    Ok(window)
}

/// The number that a payload is, of [`Kind::Reset`] or [`Kind::WindowUpdate`].
///
/// # Errors
/// It is none: an error of the connection.
pub fn number(payload: &[u8]) -> Result<u32, ErrorCode> {
    payload.try_into().map(u32::from_be_bytes).map_err(|_| ErrorCode::FrameSize)
}

/// Writes what stands before a payload of `length` bytes, which is not above [`LARGEST_PAYLOAD`].
pub fn push_head(output: &mut Vec<u8>, length: usize, kind: Kind, flags: u8, stream: u32) {
    let [a, b, c, ..] = length.to_le_bytes();
    output.extend_from_slice(&[c, b, a, kind as u8, flags]);
    output.extend_from_slice(&stream.to_be_bytes());
}

/// Writes our settings: how many streams there may be, how much may be sent on each before room is made, and how large the
/// fields of a request may be.
pub fn push_settings(output: &mut Vec<u8>, streams: u32, window: u32, fields: u32) {
    push_head(output, 18, Kind::Settings, 0, 0);
    for (setting, value) in [(3_u16, streams), (4, window), (6, fields)] {
        output.extend_from_slice(&setting.to_be_bytes());
        output.extend_from_slice(&value.to_be_bytes());
    }
}

/// Writes that the client's settings are taken.
pub fn push_settings_ack(output: &mut Vec<u8>) {
    push_head(output, 0, Kind::Settings, ACK, 0);
}

/// Writes a ping, or with `flags` [`ACK`] the answer to one.
pub fn push_ping(output: &mut Vec<u8>, flags: u8, payload: [u8; 8]) {
    push_head(output, payload.len(), Kind::Ping, flags, 0);
    output.extend_from_slice(&payload);
}

/// Writes that no stream behind `last` is taken.
pub fn push_go_away(output: &mut Vec<u8>, last: u32, code: ErrorCode) {
    push_head(output, 8, Kind::GoAway, 0, 0);
    output.extend_from_slice(&last.to_be_bytes());
    output.extend_from_slice(&(code as u32).to_be_bytes());
}

/// Writes that a stream has ended before its time.
pub fn push_reset(output: &mut Vec<u8>, stream: u32, code: ErrorCode) {
    push_head(output, 4, Kind::Reset, 0, stream);
    output.extend_from_slice(&(code as u32).to_be_bytes());
}

/// Writes that there is room for so many bytes more, on a stream or, with 0, on the connection.
pub fn push_window_update(output: &mut Vec<u8>, stream: u32, increment: u32) {
    push_head(output, 4, Kind::WindowUpdate, 0, stream);
    output.extend_from_slice(&increment.to_be_bytes());
}

/// Writes compressed fields, in as many frames as they need. `flags` is [`END_STREAM`] or nothing.
pub fn push_fields(output: &mut Vec<u8>, stream: u32, flags: u8, block: &[u8]) {
    let (mut kind, mut flags, mut rest) = (Kind::Headers, flags, block);
    loop {
        let (piece, behind) = rest.split_at(rest.len().min(LARGEST_PAYLOAD));
        let end = if behind.is_empty() { END_HEADERS } else { 0 };
        push_head(output, piece.len(), kind, flags | end, stream);
        output.extend_from_slice(piece);
        if behind.is_empty() {
            return;
        }
        (kind, flags, rest) = (Kind::Continuation, 0, behind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_as_they_were_written() {
        let mut output = Vec::new();
        push_head(&mut output, 0x1234, Kind::Data, END_STREAM, 0x7654_3210);
        assert_eq!(output, [0, 0x12, 0x34, 0, 1, 0x76, 0x54, 0x32, 0x10]);
        for length in 0..HEAD_LENGTH {
            assert_eq!(FrameHead::read(&output[..length]), Ok(None));
        }
        // The highest bit means nothing.
        output[5] |= 0x80;
        let want = FrameHead { length: 0x1234, kind: Kind::Data, flags: END_STREAM, stream: 0x7654_3210 };
        assert_eq!(FrameHead::read(&output), Ok(Some(want)));
        assert_eq!(FrameHead::read(&[0, 0x40, 1, 0, 0, 0, 0, 0, 1]), Err(ErrorCode::FrameSize));
        let unknown = FrameHead::read(&[0, 0, 0, 10, 0xff, 0, 0, 0, 1]).unwrap().unwrap();
        assert_eq!(unknown.kind, Kind::Unknown);
    }

    #[track_caller]
    fn check_content(kind: Kind, flags: u8, payload: &[u8], want: Result<&[u8], ErrorCode>) {
        let head = FrameHead { length: payload.len(), kind, flags, stream: 1 };
        assert_eq!(head.content(payload).map(|range| &payload[range]), want);
    }

    #[test]
    fn padding_and_priority_are_no_content() {
        check_content(Kind::Data, 0, b"abc", Ok(b"abc"));
        check_content(Kind::Data, PADDED, b"\x02abcd", Ok(b"ab"));
        check_content(Kind::Data, PADDED, b"\x02ab", Ok(b""));
        check_content(Kind::Data, PADDED, b"\x03ab", Err(ErrorCode::Protocol));
        check_content(Kind::Data, PADDED, b"", Err(ErrorCode::FrameSize));
        check_content(Kind::Data, PRIORITY, b"abc", Ok(b"abc"));
        check_content(Kind::Headers, PRIORITY, b"12345abc", Ok(b"abc"));
        check_content(Kind::Headers, PRIORITY, b"1234", Err(ErrorCode::FrameSize));
        check_content(Kind::Headers, PRIORITY | PADDED, b"\x0112345abc", Ok(b"ab"));
        check_content(Kind::Headers, PRIORITY | PADDED, b"\x0212345a", Err(ErrorCode::Protocol));
    }

    #[test]
    fn settings_have_their_ranges() {
        let entry = |number: u16, value: u32| [&number.to_be_bytes()[..], &value.to_be_bytes()].concat();
        let known =
            [entry(1, 0), entry(2, 1), entry(3, 7), entry(4, 9), entry(5, 16_384), entry(99, 1)].concat();
        assert_eq!(settings(&known), Ok(Some(9)));
        assert_eq!(settings(b""), Ok(None));
        for (wrong, want) in [
            (entry(2, 2), ErrorCode::Protocol),
            (entry(4, 0x8000_0000), ErrorCode::FlowControl),
            (entry(5, 16_383), ErrorCode::Protocol),
            (entry(5, 0x0100_0000), ErrorCode::Protocol),
            (b"12345".to_vec(), ErrorCode::FrameSize),
        ] {
            assert_eq!(settings(&wrong), Err(want), "{wrong:?}");
        }
        assert_eq!(number(&[0, 0, 1, 2]), Ok(258));
        assert_eq!(number(&[0, 0, 1]), Err(ErrorCode::FrameSize));
    }

    #[test]
    fn long_fields_go_on_in_other_frames() {
        let block = vec![7; LARGEST_PAYLOAD * 2 + 1];
        let mut output = Vec::new();
        push_fields(&mut output, 3, END_STREAM, &block);
        let (mut rest, mut read, mut heads) = (&output[..], Vec::new(), Vec::new());
        while let Some(head) = FrameHead::read(rest).unwrap() {
            heads.push((head.kind, head.flags, head.stream));
            read.extend_from_slice(&rest[HEAD_LENGTH..HEAD_LENGTH + head.length]);
            rest = &rest[HEAD_LENGTH + head.length..];
        }
        assert_eq!(read, block);
        let want = [
            (Kind::Headers, END_STREAM, 3),
            (Kind::Continuation, 0, 3),
            (Kind::Continuation, END_HEADERS, 3),
        ];
        assert_eq!(heads, want);
        output.clear();
        push_fields(&mut output, 3, 0, b"");
        assert_eq!(output.len(), HEAD_LENGTH);
    }
}
