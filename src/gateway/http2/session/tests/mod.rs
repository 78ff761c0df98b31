//! Frames, good and bad, and what comes of them. No socket: what crosses one is in `tests/it/http2`.

mod heads;
mod windows;

use bytes::BytesMut;
use proptest::prelude::*;

use super::receive::Opened;
use super::*;
use crate::clock;
use crate::domain::refusal::FramingError;
use crate::framing::frames::{ACK, END_HEADERS, END_STREAM, HEAD_LENGTH, LARGEST_PAYLOAD};
use crate::framing::hpack;
use crate::gateway::http2::stream::End;

const LIMITS: HeadLimits = HeadLimits { header_bytes: 8192, header_count: 32, target_bytes: 1024 };

/// A session that has heard the preface, and and settings, and whose own are written.
fn session() -> Session {
    let mut session = Session::new(LIMITS);
    feed(&mut session, frames::PREFACE).unwrap();
    feed(&mut session, &frame(Kind::Settings, 0, 0, b"")).unwrap();
    session.take_output(Vec::new());
    session
}

/// The id of a stream that was opened in `shared`.
pub(in crate::gateway::http2) fn opened(shared: &Shared) -> u32 {
    let mut session = shared.lock();
    feed(&mut session, frames::PREFACE).unwrap();
    feed(&mut session, &frame(Kind::Settings, 0, 0, b"")).unwrap();
    feed(&mut session, &begin(1)).unwrap().pop().unwrap().id
}

fn feed(session: &mut Session, bytes: &[u8]) -> Result<Vec<Opened>, ErrorCode> {
    session.receive(&mut BytesMut::from(bytes), clock::tick())?;
    Ok(session.fetch())
}

fn frame(kind: Kind, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frames::push_head(&mut bytes, payload.as_ref().len(), kind, flags, stream);
    bytes.extend_from_slice(payload.as_ref());
    bytes
}

fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        hpack::push_field(&mut block, name, value.as_bytes());
    }
    block
}

const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "https"), (":authority", "a"), (":path", "/")];

/// A request whose body comes behind it.
fn begin(stream: u32) -> Vec<u8> {
    frame(Kind::Headers, END_HEADERS, stream, block(&POST))
}

/// What was written: kind, stream, and the payload.
fn output(session: &mut Session) -> Vec<(Kind, u32, Vec<u8>)> {
    let output = session.take_output(Vec::new());
    let (mut rest, mut written) = (&output[..], Vec::new());
    while let Some(head) = FrameHead::read(rest).unwrap() {
        let (payload, behind) = rest[HEAD_LENGTH..].split_at(head.length);
        written.push((head.kind, head.stream, payload.to_vec()));
        rest = behind;
    }
    assert!(rest.is_empty());
    written
}

/// `bytes`, behind the beginning of stream 1, end that stream by `code` and nothing else.
#[track_caller]
fn check_reset(bytes: impl AsRef<[u8]>, code: ErrorCode) {
    let mut session = session();
    feed(&mut session, &begin(1)).unwrap();
    feed(&mut session, bytes.as_ref()).unwrap();
    let reset = (Kind::Reset, 1, (code as u32).to_be_bytes().to_vec());
    assert!(output(&mut session).contains(&reset), "{:?}", bytes.as_ref());
    assert!(session.streams.is_empty());
}

/// How the body of stream 1 ends that `bytes` are sent for.
#[track_caller]
fn check_end(fields: &[(&str, &str)], bytes: impl AsRef<[u8]>, want: Option<FramingError>) {
    let mut session = session();
    let head = frame(Kind::Headers, END_HEADERS, 1, block(&[&POST, fields].concat()));
    feed(&mut session, &head).unwrap().pop().unwrap().head.unwrap();
    feed(&mut session, bytes.as_ref()).unwrap();
    let stream = session.streams.get_mut(&1).unwrap();
    while stream.next().is_some() {}
    let end = match stream.take_end() {
        Some(End::Whole(_)) => None,
        Some(End::Fault(fault)) => Some(fault),
        None => panic!("no end"),
    };
    assert_eq!(end, want, "{fields:?}");
}

#[test]
fn what_is_no_http2_ends_the_connection() {
    use ErrorCode::{Compression, EnhanceYourCalm, FlowControl, FrameSize, Protocol};
    let open = |bytes: &[u8]| [&begin(1), bytes].concat();
    let data = |stream| frame(Kind::Data, 0, stream, b"x");
    for (bytes, code) in [
        (data(0), Protocol),
        (data(1), Protocol),
        (frame(Kind::Headers, END_HEADERS, 0, block(&POST)), Protocol),
        (begin(2), Protocol),
        ([begin(5), begin(2)].concat(), Protocol),
        ([begin(5), frame(Kind::Data, 0, 2, b"x")].concat(), Protocol),
        (frame(Kind::GoAway, 0, 0, b"1234567"), FrameSize),
        (frame(Kind::Headers, END_HEADERS | 8, 1, b"\x09x"), Protocol),
        (frame(Kind::Headers, END_HEADERS, 1, b"\x80"), Compression),
        (frame(Kind::Priority, 0, 0, b"12345"), Protocol),
        (frame(Kind::Priority, 0, 1, b"1234"), FrameSize),
        (frame(Kind::Reset, 0, 0, b"1234"), Protocol),
        (frame(Kind::Reset, 0, 1, b"1234"), Protocol),
        (open(&frame(Kind::Reset, 0, 1, b"123")), FrameSize),
        (frame(Kind::Settings, 0, 1, b""), Protocol),
        (frame(Kind::Settings, 0, 0, b"1"), FrameSize),
        (frame(Kind::Settings, ACK, 0, b"123456"), FrameSize),
        (frame(Kind::PushPromise, END_HEADERS, 1, b"1234"), Protocol),
        (frame(Kind::Ping, 0, 1, b"12345678"), Protocol),
        (frame(Kind::Ping, 0, 0, b"1234567"), FrameSize),
        (frame(Kind::GoAway, 0, 1, b"12345678"), Protocol),
        (frame(Kind::WindowUpdate, 0, 0, b"123"), FrameSize),
        (frame(Kind::WindowUpdate, 0, 0, [0; 4]), Protocol),
        (frame(Kind::WindowUpdate, 0, 0, [0x7f, 0xff, 0xff, 0xff]), FlowControl),
        (frame(Kind::WindowUpdate, 0, 1, [0, 0, 0, 1]), Protocol),
        (frame(Kind::Continuation, END_HEADERS, 1, b""), Protocol),
        (vec![0, 0x40, 1, 0, 0, 0, 0, 0, 1], FrameSize),
        // A window of a stream that is open already grows too large.
        (
            open(
                &[
                    frame(Kind::WindowUpdate, 0, 1, [0x7f, 0xff, 0, 0]),
                    frame(Kind::Settings, 0, 0, [0, 4, 0x7f, 0xff, 0xff, 0xff]),
                ]
                .concat(),
            ),
            FlowControl,
        ),
        // Fields go on with nothing between them, on their own stream, and not for ever.
        ([frame(Kind::Headers, 0, 1, b""), frame(Kind::Ping, 0, 0, b"12345678")].concat(), Protocol),
        ([frame(Kind::Headers, 0, 1, b""), frame(Kind::Continuation, 0, 3, b"")].concat(), Protocol),
        ([frame(Kind::Headers, 0, 1, b""), frame(Kind::Headers, 0, 1, b"")].concat(), Protocol),
        (
            [frame(Kind::Headers, 0, 1, b""), frame(Kind::Continuation, 0, 1, b"").repeat(30)].concat(),
            EnhanceYourCalm,
        ),
        (
            [frame(Kind::Headers, 0, 1, b""), frame(Kind::Continuation, 0, 1, [b'x'; 16_384]).repeat(2)]
                .concat(),
            EnhanceYourCalm,
        ),
    ] {
        assert_eq!(feed(&mut session(), &bytes).unwrap_err(), code, "{bytes:?}");
    }
    for first in [b"GET / HTTP/1.1\r\n".to_vec(), [frames::PREFACE, &begin(1)].concat()] {
        assert_eq!(feed(&mut Session::new(LIMITS), &first).unwrap_err(), Protocol);
    }
}

#[test]
fn what_concerns_one_stream_ends_that_stream() {
    let last = frame(Kind::Data, END_STREAM, 1, b"x");
    check_reset(frame(Kind::WindowUpdate, 0, 1, [0; 4]), ErrorCode::Protocol);
    check_reset(frame(Kind::WindowUpdate, 0, 1, [0x7f, 0xff, 0xff, 0xff]), ErrorCode::FlowControl);
    check_reset([&last[..], &frame(Kind::Data, 0, 1, b"x")].concat(), ErrorCode::StreamClosed);
    check_reset([&last[..], &frame(Kind::Headers, END_HEADERS, 1, b"")].concat(), ErrorCode::StreamClosed);
    // Over the window of the stream, and within that of the connection.
    let full = frame(Kind::Data, 0, 1, [0; LARGEST_PAYLOAD]);
    check_reset(full.repeat(STREAM_WINDOW as usize / LARGEST_PAYLOAD + 1), ErrorCode::FlowControl);
}

/// Also where nobody reads, and padding counts.
#[test]
fn more_than_the_connection_has_room_for_ends_it() {
    let mut session = session();
    let padded = frame(Kind::Data, 8, 1, [&[100][..], &[0; LARGEST_PAYLOAD - 1]].concat());
    let mut sent = 0;
    for stream in [1, 3, 5] {
        feed(&mut session, &begin(stream)).unwrap();
        for _ in 0..STREAM_WINDOW as usize / LARGEST_PAYLOAD {
            let mut bytes = padded.clone();
            bytes[8] = u8::try_from(stream).unwrap();
            match feed(&mut session, &bytes) {
                Ok(_) => sent += LARGEST_PAYLOAD,
                Err(code) => {
                    assert_eq!(code, ErrorCode::FlowControl);
                    // Padding is given back at once, so a little more passes.
                    let most = CONNECTION_WINDOW as usize;
                    assert!((most..most + most / 50).contains(&sent), "{sent}");
                    return;
                }
            }
        }
    }
    panic!("{sent} bytes were taken");
}

#[test]
fn a_body_is_as_long_as_was_said() {
    let data = |flags, text: &str| frame(Kind::Data, flags, 1, text);
    let wrong = Some(FramingError::ContentLength);
    check_end(&[], data(END_STREAM, "hello"), None);
    check_end(&[("content-length", "5")], data(END_STREAM, "hello"), None);
    check_end(
        &[("content-length", "5")],
        [data(0, "hel"), data(0, "lo"), data(END_STREAM, "")].concat(),
        None,
    );
    check_end(&[("content-length", "4")], data(0, "hello"), wrong);
    check_end(&[("content-length", "6")], data(END_STREAM, "hello"), wrong);
    check_end(&[("content-length", "0")], data(END_STREAM, ""), None);
    check_end(&[("content-length", "0")], data(END_STREAM, "x"), wrong);
    let trailers = |flags, fields: &[(&str, &str)]| {
        [data(0, "hello"), frame(Kind::Headers, END_HEADERS | flags, 1, block(fields))].concat()
    };
    check_end(&[], trailers(END_STREAM, &[("x-sum", "1")]), None);
    check_end(&[("content-length", "6")], trailers(END_STREAM, &[("x-sum", "1")]), wrong);
    let wrong = Some(FramingError::Trailers);
    check_end(&[], trailers(0, &[("x-sum", "1")]), wrong);
    for field in
        [(":path", "/"), ("authorization", "x"), ("content-length", "5"), ("X-Upper", "1"), ("x", " 1")]
    {
        check_end(&[], trailers(END_STREAM, &[field]), wrong);
    }
    let many: Vec<_> = (0..=LIMITS.header_count).map(|_| ("x", "1")).collect();
    check_end(&[], trailers(END_STREAM, &many), wrong);
}

/// What would make a body whole for the host is kept back until the client has made it whole.
#[test]
fn the_rest_of_a_body_comes_out_with_its_end() {
    let mut session = session();
    let head = frame(Kind::Headers, END_HEADERS, 1, block(&[&POST[..], &[("content-length", "5")]].concat()));
    feed(&mut session, &[head, frame(Kind::Data, 0, 1, b"hel")].concat()).unwrap();
    let mut next = |bytes: &[u8]| {
        feed(&mut session, bytes).unwrap();
        session.streams.get_mut(&1).unwrap().next()
    };
    assert_eq!(next(b"").unwrap(), "hel");
    assert_eq!(next(&frame(Kind::Data, 0, 1, b"lo")), None);
    assert_eq!(next(&frame(Kind::Data, END_STREAM, 1, b"")).unwrap(), "lo");
}

/// Of what nobody reads nothing is kept: it makes room for others.
#[test]
fn the_body_of_a_malformed_request_is_thrown_away() {
    let mut session = session();
    let head = frame(Kind::Headers, END_HEADERS, 1, block(&[&POST[..], &[("X-Upper", "1")]].concat()));
    feed(&mut session, &[head, frame(Kind::Data, 0, 1, [0; 1000])].concat()).unwrap();
    assert_eq!((session.streams[&1].unread(), session.unsaid), (0, 1000));
}

#[test]
fn what_leads_nowhere_is_bounded() {
    let ended = frame(Kind::Headers, END_HEADERS | END_STREAM, 1, block(&POST));
    for (bytes, allowed) in [
        (frame(Kind::Ping, 0, 0, b"12345678"), 2000),
        (frame(Kind::Settings, 0, 0, b""), 2000),
        (frame(Kind::Priority, 0, 1, b"12345"), 2000),
        (frame(Kind::Unknown, 0, 0, b""), 2000),
        ([begin(1), frame(Kind::Reset, 0, 1, b"1234")].concat(), 200),
        // Streams that we have to reset for what the client did.
        ([begin(1), frame(Kind::WindowUpdate, 0, 1, [0; 4])].concat(), 200),
        ([begin(1), frame(Kind::WindowUpdate, 0, 1, [0x7f, 0xff, 0xff, 0xff])].concat(), 200),
        ([ended.clone(), frame(Kind::Data, 0, 1, b"x")].concat(), 200),
        ([ended.clone(), frame(Kind::Headers, END_HEADERS, 1, b"")].concat(), 200),
        ([begin(1), frame(Kind::Data, 0, 1, b"")].concat(), 2000),
    ] {
        let mut session = session();
        let mut stream = 1_u32;
        let now = clock::tick();
        let count = (1..10_000_u32).find(|_| {
            let mut input = BytesMut::from(&bytes[..]);
            if bytes[3] == Kind::Headers as u8 {
                let length = ended.len();
                input[5..9].copy_from_slice(&stream.to_be_bytes());
                input[length + 5..length + 9].copy_from_slice(&stream.to_be_bytes());
                stream += 2;
            }
            let received = session.receive(&mut input, now);
            session.take_output(Vec::new());
            // Whoever worked on it is gone with it.
            session.alive = 0;
            received == Err(ErrorCode::EnhanceYourCalm)
        });
        assert!(count.is_some_and(|count| count.abs_diff(allowed) <= 1), "{count:?}: {bytes:?}");
    }
}

/// A client that does not read what it asks for is not read either.
#[test]
fn what_waits_to_be_written_is_bounded() {
    let mut session = session();
    session.output.resize(OUTPUT - 10, 0);
    let mut input = BytesMut::from(&frame(Kind::Ping, 0, 0, b"12345678").repeat(3)[..]);
    let length = input.len();
    session.receive(&mut input, clock::tick()).unwrap();
    assert_eq!(input.len(), length / 3 * 2, "one was taken");
    session.take_output(Vec::new());
    session.receive(&mut input, clock::tick()).unwrap();
    assert!(input.is_empty());
    assert_eq!(output(&mut session).len(), 2);
}

#[test]
fn streams_over_the_limit_are_refused_also_while_work_on_old_ones_ends() {
    let mut session = session();
    for stream in (1..).step_by(2).take(STREAMS as usize) {
        assert_eq!(feed(&mut session, &begin(stream)).unwrap().len(), 1);
    }
    // The client gives one up; who works on it has not noticed.
    feed(&mut session, &frame(Kind::Reset, 0, 1, b"1234")).unwrap();
    let next = 2 * STREAMS + 1;
    assert!(feed(&mut session, &begin(next)).unwrap().is_empty());
    assert_eq!(output(&mut session), [(Kind::Reset, next, 7_u32.to_be_bytes().to_vec())]);
    session.left(1, ErrorCode::Internal);
    assert!(!session.has_output(), "what has ended is not reset");
    assert_eq!(feed(&mut session, &begin(next + 2)).unwrap().len(), 1);
}

#[test]
fn a_client_that_is_told_to_go_is_served_until_it_has_heard_it() {
    let mut session = session();
    session.go();
    let told = output(&mut session);
    assert_eq!(told[0], (Kind::GoAway, 0, [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0].to_vec()));
    assert_eq!(feed(&mut session, &begin(1)).unwrap().len(), 1);
    feed(&mut session, &frame(Kind::Ping, ACK, 0, &told[1].2)).unwrap();
    assert_eq!(output(&mut session), [(Kind::GoAway, 0, [0, 0, 0, 1, 0, 0, 0, 0].to_vec())]);
    // What comes all the same is not begun, whole as it may be.
    let late = [begin(3), frame(Kind::Data, END_STREAM, 3, b"x"), frame(Kind::Reset, 0, 3, b"1234")].concat();
    assert!(feed(&mut session, &late).unwrap().is_empty());
    assert!(session.is_closed() && session.is_busy());
    // The last stream stays what it was.
    session.close(ErrorCode::Protocol);
    assert_eq!(output(&mut session), [(Kind::GoAway, 0, [0, 0, 0, 1, 0, 0, 0, 1].to_vec())]);
}

proptest! {
    /// Whatever frames come, in whatever pieces: nothing panics, and what is kept is bounded.
    #[test]
    fn any_frames_are_taken_or_a_fault(
        frames in prop::collection::vec(
            (0_u8..12, any::<u8>(), 0_u32..8, prop::collection::vec(any::<u8>(), 0..40), any::<bool>()), 1..60,
        ),
        cut in 1_usize..50,
    ) {
        let mut session = session();
        let mut bytes = Vec::new();
        for (kind, flags, stream, payload, is_request) in frames {
            if is_request {
                bytes.extend(begin(stream * 2 + 1));
            }
            frames::push_head(&mut bytes, payload.len(), Kind::Unknown, flags, stream);
            let at = bytes.len() - HEAD_LENGTH + 3;
            bytes[at] = kind;
            bytes.extend(payload);
        }
        let mut input = BytesMut::new();
        for piece in bytes.chunks(cut) {
            input.extend_from_slice(piece);
            if session.receive(&mut input, clock::tick()).is_err() {
                break;
            }
            prop_assert!(session.streams.len() <= session.alive);
            prop_assert!(session.room >= 0 && session.output.len() < OUTPUT + 8192);
            let unread: usize = session.streams.values().map(Stream::unread).sum();
            let all = session.room + i64::from(session.unsaid) + i64::try_from(unread).unwrap();
            prop_assert_eq!(all, i64::from(CONNECTION_WINDOW), "room is neither lost nor made");
        }
    }
}
