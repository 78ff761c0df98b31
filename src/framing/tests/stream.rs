//! What comes out is what went in, up to the first fault, however the bytes are cut.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::runtime::Builder;

use super::{LIMITS, TIMEOUTS};
use crate::domain::refusal::FramingError;
use crate::domain::target::TargetError;
use crate::framing::head::HeadFault;
use crate::framing::{Guarded, REFUSED_HEAD};

/// A client that sends these pieces, one a read, and then nothing more.
struct Script {
    pieces: VecDeque<Vec<u8>>,
    hangs_up: bool,
}

impl Script {
    /// Sends `bytes` in pieces of the lengths in `cuts`, over and over; all at once if there are none.
    fn new(bytes: &[u8], cuts: &[usize], hangs_up: bool) -> Self {
        let mut pieces = VecDeque::new();
        let mut rest = bytes;
        let mut lengths = cuts.iter().cycle();
        while !rest.is_empty() {
            let length = lengths.next().map_or(rest.len(), |length| rest.len().min(*length));
            let (piece, after) = rest.split_at(length);
            pieces.push_back(piece.to_vec());
            rest = after;
        }
        Self { pieces, hangs_up }
    }
}

impl AsyncRead for Script {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let script = self.get_mut();
        assert!(buffer.remaining() > 0);
        let Some(mut piece) = script.pieces.pop_front() else {
            return if script.hangs_up { Poll::Ready(Ok(())) } else { Poll::Pending };
        };
        if piece.len() > buffer.remaining() {
            script.pieces.push_front(piece.split_off(buffer.remaining()));
        }
        buffer.put_slice(&piece);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// All that a reader gets that reads `sizes` bytes at a time, how it ended, and the fault with its number.
struct Outcome {
    bytes: Vec<u8>,
    error: Option<io::ErrorKind>,
    fault: Option<(u64, HeadFault)>,
}

/// The clock stands still, and jumps when nobody can go on: a stream that never ends is idle until its time is over.
fn read_all(script: Script, sizes: &[usize]) -> Outcome {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let (mut guarded, slot) = Guarded::new(script, LIMITS, TIMEOUTS);
        let mut outcome = Outcome { bytes: Vec::new(), error: None, fault: None };
        for size in sizes.iter().cycle() {
            let mut piece = vec![0; *size];
            match guarded.read(&mut piece).await {
                Ok(0) => break,
                Ok(length) => outcome.bytes.extend_from_slice(&piece[..length]),
                Err(error) => {
                    outcome.error = Some(error.kind());
                    break;
                }
            }
        }
        outcome.fault = (0..100).find_map(|at| Some((at, slot.fault_at(at)?)));
        outcome
    })
}

/// A well-formed message.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let data = || vec(any::<u8>(), 0..200);
    let plain =
        "[a-z]{0,40}".prop_map(|path| format!("GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes());
    let sized = data().prop_map(|data| {
        let head = format!("PUT /a HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", data.len());
        [head.as_bytes(), &data].concat()
    });
    let chunked =
        (vec(data(), 0..4), vec("[a-z]{1,8}: [a-z ]{0,20}\r\n", 0..3)).prop_map(|(chunks, trailers)| {
            let mut bytes = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: a\r\n\r\n".to_vec();
            for data in chunks.iter().filter(|data| !data.is_empty()) {
                bytes.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
                bytes.extend_from_slice(data);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(format!("0\r\n{}\r\n", trailers.concat()).as_bytes());
            bytes
        });
    prop_oneof![plain, sized, chunked]
}

/// A head that does not pass, and why.
fn faulty() -> impl Strategy<Value = (&'static str, HeadFault)> {
    prop::sample::select(vec![
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            FramingError::TransferEncoding.into(),
        ),
        ("GET / HTTP/1.1\nHost: a\n\n", FramingError::LineEnd.into()),
        ("GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", TargetError::Fragment.into()),
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", FramingError::RequestLine.into()),
        ("GET / HTTP/1.1\r\n\r\n", FramingError::Host.into()),
    ])
}

proptest! {
    #[test]
    fn what_is_well_formed_comes_out_as_it_went_in(
        messages in vec(message(), 0..6),
        cuts in vec(1..80_usize, 0..12),
        sizes in vec(1..400_usize, 1..6),
        hangs_up: bool,
    ) {
        let sent = messages.concat();
        let outcome = read_all(Script::new(&sent, &cuts, hangs_up), &sizes);
        prop_assert_eq!(outcome.bytes, sent);
        prop_assert_eq!((outcome.error, outcome.fault), (None, None));
    }

    #[test]
    fn nothing_of_a_faulty_message_and_nothing_behind_it_comes_out(
        before in vec(message(), 0..4),
        (faulty, fault) in faulty(),
        after in vec(message(), 0..3),
        (cuts, sizes) in (vec(1..80_usize, 0..12), vec(1..400_usize, 1..6)),
        hangs_up: bool,
    ) {
        let sent = [before.concat().as_slice(), faulty.as_bytes(), &after.concat()].concat();
        let outcome = read_all(Script::new(&sent, &cuts, hangs_up), &sizes);
        prop_assert_eq!(outcome.bytes, [&before.concat(), REFUSED_HEAD].concat());
        prop_assert_eq!(outcome.fault, Some((before.len() as u64, fault)));
        prop_assert_eq!(outcome.error, None);
    }
}

const FIRST: &str = "GET /first HTTP/1.1\r\nHost: a\r\n\r\n";
const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn a_faulty_body_that_comes_with_its_head_is_refused_with_it() {
    let sent = format!("{FIRST}{CHUNKED}5\r\nhello\r\n5;x\r\n");
    let outcome = read_all(Script::new(sent.as_bytes(), &[], false), &[4096]);
    assert_eq!(outcome.bytes, [FIRST.as_bytes(), REFUSED_HEAD].concat());
    assert_eq!(outcome.fault, Some((1, FramingError::Chunk.into())));
    assert_eq!(outcome.error, None);
}

#[test]
fn a_faulty_body_that_comes_behind_its_withheld_head_is_refused_with_it() {
    let sent = format!("{CHUNKED}5\r\nhello\r\n5;x\r\n");
    let outcome = read_all(Script::new(sent.as_bytes(), &[20, 4096], false), &[4096]);
    assert_eq!(outcome.bytes, REFUSED_HEAD);
    assert_eq!(outcome.fault, Some((0, FramingError::Chunk.into())));
}

#[test]
fn a_faulty_body_behind_a_head_that_was_passed_on_is_an_error() {
    let sent = format!("{CHUNKED}5\r\nhello\r\n5;x\r\n{FIRST}");
    let cuts = [CHUNKED.len(), 10, 4096];
    let outcome = read_all(Script::new(sent.as_bytes(), &cuts, false), &[4096]);
    assert_eq!(outcome.bytes, format!("{CHUNKED}5\r\nhello\r\n").as_bytes());
    assert_eq!(outcome.error, Some(io::ErrorKind::InvalidData));
    assert_eq!(outcome.fault, None);
}

#[test]
fn a_client_that_hangs_up_in_a_head_has_sent_nothing() {
    let sent = format!("{FIRST}GET / HTTP/1.1\r\n");
    let outcome = read_all(Script::new(sent.as_bytes(), &[], true), &[4096]);
    assert_eq!(outcome.bytes, FIRST.as_bytes());
    assert_eq!((outcome.error, outcome.fault), (None, None));
}

#[test]
fn no_debug_output_shows_a_credential() {
    let (mut guarded, _slot) = Guarded::new((), LIMITS, TIMEOUTS);
    guarded.withheld.extend_from_slice(b"Authorization: Bearer secret");
    assert_eq!(format!("{guarded:?}"), "Guarded { heads: 0, end: Open, .. }");
}
