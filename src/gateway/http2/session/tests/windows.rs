//! How much may be sent, both ways.

use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::{begin, block, feed, frame, output, session};
use crate::framing::frames::{self, END_HEADERS, Kind, LARGEST_PAYLOAD};
use crate::gateway::http2::session::{CONNECTION_WINDOW, STREAM_WINDOW, Session};
use crate::gateway::http2::stream::Stream;

/// Sends as long as something of `data` goes out.
fn send_all(session: &mut Session, id: u32, data: &mut Bytes) -> Poll<Option<()>> {
    let mut context = Context::from_waker(Waker::noop());
    loop {
        let left = data.len();
        let sent = session.poll_send(id, data, true, &mut context);
        if sent.is_ready() || data.len() == left {
            return sent;
        }
    }
}

/// One frame, and then it is the next one's turn.
#[test]
fn streams_take_turns() {
    let mut session = session();
    feed(&mut session, &[begin(1), begin(3)].concat()).unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let mut data = Bytes::from(vec![7; 40_000]);
    assert!(session.poll_send(1, &mut data, true, &mut context).is_pending());
    assert_eq!(data.len(), 40_000 - LARGEST_PAYLOAD);
}

/// All of an answer as it goes out, in the pieces that there is room for.
#[test]
fn answers_keep_to_the_windows() {
    let mut session = session();
    feed(&mut session, &frame(Kind::Settings, 0, 0, [0, 4, 0, 0, 0, 10])).unwrap();
    feed(&mut session, &begin(1)).unwrap();
    output(&mut session);
    let mut data = Bytes::from(vec![7; 40_000]);
    assert!(send_all(&mut session, 1, &mut data).is_pending());
    assert_eq!(output(&mut session), [(Kind::Data, 1, vec![7; 10])]);
    assert!(session.streams[&1].writer.is_some());
    feed(&mut session, &frame(Kind::WindowUpdate, 0, 1, 1_000_000_u32.to_be_bytes())).unwrap();
    assert!(session.streams[&1].writer.is_none(), "was woken");
    assert!(send_all(&mut session, 1, &mut data).is_ready());
    let lengths: Vec<_> = output(&mut session).iter().map(|(_, _, payload)| payload.len()).collect();
    // And what was not said of the request is not wanted any more.
    assert_eq!(lengths, [16_384, 16_384, 7222, 4]);
    assert!(session.streams.is_empty());
    // The window of the connection is for all streams.
    feed(&mut session, &begin(3)).unwrap();
    feed(&mut session, &frame(Kind::WindowUpdate, 0, 3, 1_000_000_u32.to_be_bytes())).unwrap();
    let mut data = Bytes::from(vec![7; 40_000]);
    assert!(send_all(&mut session, 3, &mut data).is_pending());
    let sent: usize = output(&mut session).iter().map(|(_, _, payload)| payload.len()).sum();
    assert_eq!(sent, 65_535 - 40_000);
    // A window may be taken back below nothing.
    feed(&mut session, &frame(Kind::Settings, 0, 0, [0, 4, 0, 0, 0, 0])).unwrap();
    feed(&mut session, &frame(Kind::WindowUpdate, 0, 0, 1_000_000_u32.to_be_bytes())).unwrap();
    assert!(send_all(&mut session, 3, &mut data).is_ready());
}

#[test]
fn room_is_made_when_a_body_is_taken() {
    let mut session = session();
    feed(&mut session, &begin(1)).unwrap();
    let full = frame(Kind::Data, 0, 1, [0; LARGEST_PAYLOAD]);
    let frames = STREAM_WINDOW as usize / LARGEST_PAYLOAD;
    feed(&mut session, &full.repeat(frames)).unwrap();
    assert!(!session.has_output(), "nobody has taken anything");
    let came = session.streams.get_mut(&1).and_then(Stream::next).unwrap();
    assert_eq!(came.len(), STREAM_WINDOW as usize);
    for _ in 0..frames {
        session.taken(1, LARGEST_PAYLOAD);
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

/// A body that nobody can take yet keeps as much memory as it is long, however small its pieces.
#[test]
fn small_pieces_that_wait_keep_no_more_than_themselves() {
    let mut session = session();
    feed(&mut session, &begin(1)).unwrap();
    feed(&mut session, &frame(Kind::Data, 0, 1, b"x").repeat(10_000)).unwrap();
    let kept = session.streams[&1].memory();
    assert!((10_000..32_768).contains(&kept), "{kept}");
}

/// An interim answer behind the final one would be read as trailers.
#[test]
fn nothing_interim_comes_behind_the_final_head() {
    let mut session = session();
    let context = Context::from_waker(Waker::noop());
    feed(&mut session, &begin(1)).unwrap();
    session.send_interim(1, b"i");
    assert!(session.poll_send_fields(1, b"f", false, &context).is_ready());
    session.send_interim(1, b"i");
    let blocks: Vec<_> = output(&mut session).into_iter().map(|(_, _, block)| block).collect();
    assert_eq!(blocks, [b"i", b"f"]);
}

/// What comes behind a body that turned out to be malformed does not end its stream: the client is being told why.
#[test]
fn what_follows_a_malformed_body_is_passed_over() {
    let mut session = session();
    let head = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "a"),
        (":path", "/"),
        ("content-length", "1"),
    ];
    feed(&mut session, &frame(Kind::Headers, END_HEADERS, 1, block(&head))).unwrap();
    feed(&mut session, &frame(Kind::Data, 0, 1, b"hello").repeat(3)).unwrap();
    assert!(session.streams[&1].is_faulty());
    assert_eq!(output(&mut session), []);
    assert_eq!(session.unsaid, 15, "all of it makes room");
}
