//! Frames, good and bad, and what comes of them. No socket: what crosses one is in `tests/it/http2`.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::receive::Opened;
use super::*;
use crate::clock;
use crate::domain::refusal::FramingError;
use crate::framing::frames::{ACK, END_HEADERS, END_STREAM, HEAD_LENGTH, LARGEST_PAYLOAD};
use crate::framing::head::{BodyFraming, HeadFault};
use crate::framing::hpack;
use crate::gateway::http2::stream::End;

const LIMITS: HeadLimits = HeadLimits { header_bytes: 8192, header_count: 32, target_bytes: 1024 };

/// A session that has heard the preface, and whose own settings are written.
fn session() -> Session {
    let mut session = Session::new(LIMITS);
    feed(&mut session, frames::PREFACE).unwrap();
    session.take_output(Vec::new());
    session
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
    assert_eq!(feed(&mut Session::new(LIMITS), b"GET / HTTP/1.1\r\n").unwrap_err(), Protocol);
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

/// The head that these fields are, or its fault.
#[track_caller]
fn check_head(fields: &[(&str, &str)], flags: u8, want: Result<BodyFraming, HeadFault>) {
    let bytes = frame(Kind::Headers, END_HEADERS | flags, 1, block(fields));
    let opened = feed(&mut session(), &bytes).unwrap().pop().unwrap();
    assert_eq!(opened.head.map(|head| head.body), want, "{fields:?}");
}

#[test]
fn heads_are_judged_as_those_of_http1() {
    use FramingError::{
        ConnectionField, ContentLength, FieldName, FieldValue, Host, PseudoField, RequestLine,
    };
    let plus = |fields: &[(&'static str, &'static str)]| [&POST, fields].concat();
    check_head(&POST, 0, Ok(BodyFraming::Chunked));
    check_head(&POST, END_STREAM, Ok(BodyFraming::Empty));
    check_head(&plus(&[("content-length", "5")]), 0, Ok(BodyFraming::Length(5)));
    check_head(&plus(&[("content-length", "0")]), END_STREAM, Ok(BodyFraming::Empty));
    check_head(&plus(&[("te", "trailers"), ("host", "A")]), END_STREAM, Ok(BodyFraming::Empty));
    check_head(&[POST[0], POST[1], POST[3], ("host", "a")], END_STREAM, Ok(BodyFraming::Empty));
    for (fields, want) in [
        (plus(&[("content-length", "5")]), ContentLength),
        (plus(&[("content-length", "0"), ("content-length", "0")]), ContentLength),
        (plus(&[("content-length", "+0")]), ContentLength),
        (plus(&[("content_length", "0")]), ContentLength),
        (plus(&[(":method", "GET")]), PseudoField),
        (plus(&[(":path", "/")]), PseudoField),
        (plus(&[(":scheme", "https")]), PseudoField),
        (plus(&[(":protocol", "websocket")]), PseudoField),
        (plus(&[(":status", "200")]), PseudoField),
        (plus(&[(":authority", "a")]), Host),
        (plus(&[("x", "1"), (":foo", "1")]), PseudoField),
        (vec![POST[0], POST[1], ("x", "1"), POST[2], POST[3]], PseudoField),
        (vec![POST[1], POST[2], POST[3]], PseudoField),
        (vec![POST[0], POST[2], POST[3]], PseudoField),
        (vec![POST[0], POST[1], POST[2]], PseudoField),
        (vec![POST[0], (":scheme", "ftp"), POST[2], POST[3]], PseudoField),
        (vec![POST[0], POST[1], POST[3]], Host),
        (vec![POST[0], POST[1], (":authority", "a,b"), POST[3]], Host),
        (vec![POST[0], POST[1], (":authority", "x@a"), POST[3]], Host),
        (vec![POST[0], POST[1], (":authority", " a"), POST[3]], Host),
        (plus(&[("host", "b")]), Host),
        (plus(&[("host", "a"), ("host", "a")]), Host),
        (plus(&[("host", "a"), ("host", "b")]), Host),
        (vec![(":method", "G T"), POST[1], POST[2], POST[3]], RequestLine),
        (vec![(":method", ""), POST[1], POST[2], POST[3]], RequestLine),
        (plus(&[("X-Upper", "1")]), FieldName),
        (plus(&[("", "1")]), FieldName),
        (plus(&[("a b", "1")]), FieldName),
        (plus(&[("x", "a\r\nb: c")]), FieldValue),
        (plus(&[("x", "a\0")]), FieldValue),
        (plus(&[("x", " a")]), FieldValue),
        (plus(&[("authorization", "B\u{e4}")]), FieldValue),
        (plus(&[("connection", "close")]), ConnectionField),
        (plus(&[("keep-alive", "5")]), ConnectionField),
        (plus(&[("proxy-connection", "close")]), ConnectionField),
        (plus(&[("transfer-encoding", "chunked")]), ConnectionField),
        (plus(&[("upgrade", "h2c")]), ConnectionField),
        (plus(&[("http2-settings", "x")]), ConnectionField),
        (plus(&[("te", "gzip")]), ConnectionField),
        (plus(&[("transfer_encoding", "chunked")]), FramingError::TransferEncoding),
    ] {
        check_head(&fields, END_STREAM, Err(want.into()));
    }
}

#[test]
fn targets_and_sizes_are_judged_as_those_of_http1() {
    use crate::domain::refusal::Limit;
    use crate::domain::target::TargetError;
    for (target, want) in [
        ("", TargetError::NotOriginForm),
        ("*", TargetError::NotOriginForm),
        ("http://a/", TargetError::NotOriginForm),
        ("/a#b", TargetError::Fragment),
        ("/a b", TargetError::InvalidCharacter),
        ("/\u{e4}", TargetError::InvalidCharacter),
    ] {
        check_head(&[POST[0], POST[1], POST[2], (":path", target)], END_STREAM, Err(want.into()));
    }
    let connect = [(":method", "CONNECT"), (":authority", "a:443")];
    check_head(&connect, 0, Err(TargetError::NotOriginForm.into()));
    let long = format!("/{}", "x".repeat(1024));
    check_head(&[POST[0], POST[1], POST[2], (":path", &long)], END_STREAM, Err(Limit::TargetLength.into()));
    let many: Vec<_> = POST.into_iter().chain((0..=LIMITS.header_count).map(|_| ("x", "1"))).collect();
    check_head(&many, END_STREAM, Err(Limit::HeaderCount.into()));
    let large = "x".repeat(LIMITS.header_bytes);
    check_head(&[&POST[..], &[("x", &large)]].concat(), END_STREAM, Err(Limit::HeaderBytes.into()));
}

/// A field that was kept is referred to again and again: it costs nothing to say, and weighs as if it had been said.
#[test]
fn fields_that_are_compressed_away_count_whole() {
    let mut session = session();
    let value = "x".repeat(4000);
    let kept = [&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], value.as_bytes()].concat();
    feed(&mut session, &frame(Kind::Headers, END_HEADERS | END_STREAM, 1, [block(&POST), kept].concat()))
        .unwrap();
    let bomb = frame(Kind::Headers, END_HEADERS | END_STREAM, 3, [block(&POST), vec![0xbe; 16_000]].concat());
    let head = feed(&mut session, &bomb).unwrap().pop().unwrap().head;
    assert_eq!(head.unwrap_err(), crate::domain::refusal::Limit::HeaderBytes.into());
    // The table is as it was: others go on.
    let next = frame(Kind::Headers, END_HEADERS | END_STREAM, 5, [block(&POST), vec![0xbe]].concat());
    assert_eq!(feed(&mut session, &next).unwrap().pop().unwrap().head.unwrap().parts.headers["x"], value);
}

#[test]
fn what_leads_nowhere_is_bounded() {
    for (bytes, allowed) in [
        (frame(Kind::Ping, 0, 0, b"12345678"), 2000),
        (frame(Kind::Settings, 0, 0, b""), 2000),
        (frame(Kind::Priority, 0, 1, b"12345"), 2000),
        (frame(Kind::Unknown, 0, 0, b""), 2000),
        ([begin(1), frame(Kind::Reset, 0, 1, b"1234")].concat(), 200),
        ([begin(1), frame(Kind::Data, 0, 1, b"")].concat(), 2000),
    ] {
        let mut session = session();
        let mut stream = 1_u32;
        let now = clock::tick();
        let count = (1..10_000_u32).find(|_| {
            let mut input = BytesMut::from(&bytes[..]);
            if bytes.starts_with(&begin(1)) {
                let length = begin(1).len();
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

/// All of an answer as it goes out, in the pieces that there is room for.
#[test]
fn answers_keep_to_the_windows() {
    let mut session = session();
    let mut context = Context::from_waker(Waker::noop());
    feed(&mut session, &frame(Kind::Settings, 0, 0, [0, 4, 0, 0, 0, 10])).unwrap();
    feed(&mut session, &begin(1)).unwrap();
    output(&mut session);
    let mut data = Bytes::from(vec![7; 40_000]);
    assert!(session.poll_send(1, &mut data, true, &mut context).is_pending());
    assert_eq!(output(&mut session), [(Kind::Data, 1, vec![7; 10])]);
    assert!(session.streams[&1].writer.is_some());
    feed(&mut session, &frame(Kind::WindowUpdate, 0, 1, 1_000_000_u32.to_be_bytes())).unwrap();
    assert!(session.streams[&1].writer.is_none(), "was woken");
    assert!(session.poll_send(1, &mut data, true, &mut context).is_ready());
    let lengths: Vec<_> = output(&mut session).iter().map(|(_, _, payload)| payload.len()).collect();
    // And what was not said of the request is not wanted any more.
    assert_eq!(lengths, [16_384, 16_384, 7222, 4]);
    assert!(session.streams.is_empty());
    // The window of the connection is for all streams.
    feed(&mut session, &begin(3)).unwrap();
    feed(&mut session, &frame(Kind::WindowUpdate, 0, 3, 1_000_000_u32.to_be_bytes())).unwrap();
    let mut data = Bytes::from(vec![7; 40_000]);
    assert!(session.poll_send(3, &mut data, true, &mut context).is_pending());
    let sent: usize = output(&mut session).iter().map(|(_, _, payload)| payload.len()).sum();
    assert_eq!(sent, 65_535 - 40_000);
    // A window may be taken back below nothing.
    feed(&mut session, &frame(Kind::Settings, 0, 0, [0, 4, 0, 0, 0, 0])).unwrap();
    feed(&mut session, &frame(Kind::WindowUpdate, 0, 0, 1_000_000_u32.to_be_bytes())).unwrap();
    assert!(session.poll_send(3, &mut data, true, &mut context).is_ready());
}

#[test]
fn room_is_made_when_a_body_is_taken() {
    let mut session = session();
    feed(&mut session, &begin(1)).unwrap();
    let full = frame(Kind::Data, 0, 1, [0; LARGEST_PAYLOAD]);
    let frames = STREAM_WINDOW as usize / LARGEST_PAYLOAD;
    feed(&mut session, &full.repeat(frames)).unwrap();
    assert!(!session.has_output(), "nobody has taken anything");
    for _ in 0..frames {
        let data = session.streams.get_mut(&1).and_then(Stream::next).unwrap();
        session.take(1, data.len());
    }
    let told: Vec<_> = output(&mut session)
        .into_iter()
        .map(|(kind, stream, payload)| (kind, stream, frames::number(&payload).unwrap()))
        .collect();
    let half = STREAM_WINDOW / 2;
    let update = |stream, increment| (Kind::WindowUpdate, stream, increment);
    assert_eq!(told, [update(1, half), update(0, CONNECTION_WINDOW / 2), update(1, half)]);
    feed(&mut session, &full.repeat(frames)).unwrap();
    // What nobody wants is room for others.
    session.unwant(1);
    assert_eq!(
        output(&mut session),
        [(Kind::WindowUpdate, 0, (CONNECTION_WINDOW / 2).to_be_bytes().to_vec())]
    );
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
        }
    }
}
