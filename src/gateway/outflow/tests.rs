//! What goes out is what was asked, however the receiver cuts it; what broke off never looks like what ended.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::runtime::Builder;

use super::{Framing, Outflow, Stopped};
use crate::framing::chunks::Chunks;
use crate::framing::head::HeadLimits;
use crate::gateway::script::{Cuts, Script, cuts};

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

const TRAILERS: HeadLimits = HeadLimits { header_bytes: 1024, header_count: 8, target_bytes: 0 };

#[derive(Debug, Clone)]
enum Step {
    Wait,
    Data(Vec<u8>),
    Trailers,
    Fault,
}

/// A body that takes these steps.
#[derive(Debug)]
struct Steps(VecDeque<Step>);

impl Body for Steps {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(match self.0.pop_front() {
            None => None,
            Some(Step::Wait) => {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Some(Step::Data(data)) => Some(Ok(Frame::data(data.into()))),
            Some(Step::Trailers) => {
                let mut trailers = HeaderMap::new();
                trailers.insert("x-sum", "1".parse().unwrap());
                Some(Ok(Frame::trailers(trailers)))
            }
            Some(Step::Fault) => Some(Err(io::ErrorKind::UnexpectedEof.into())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}

/// Sends everything; gives what went out.
fn send(outflow: &mut Outflow<Steps>, mut receiver: Script) -> (Result<(), Stopped>, Vec<u8>) {
    let runtime = Builder::new_current_thread().build().unwrap();
    let sent = runtime.block_on(poll_fn(|context| outflow.poll_send(&mut receiver, context)));
    let written = receiver.written.lock().unwrap().clone();
    (sent, written)
}

fn receiver(cuts: Cuts) -> Script {
    Script::new(b"", cuts, false)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let piece = prop_oneof![
        2 => Just(Step::Wait),
        5 => vec(any::<u8>(), 0..100).prop_map(Step::Data),
    ];
    let end = prop_oneof![Just(None), Just(Some(Step::Trailers)), Just(Some(Step::Fault))];
    (vec(piece, 0..10), end).prop_map(|(mut steps, end)| {
        steps.extend(end);
        steps
    })
}

fn data(steps: &[Step]) -> Vec<u8> {
    let pieces = steps.iter().filter_map(|step| match step {
        Step::Data(data) => Some(data.as_slice()),
        Step::Wait | Step::Trailers | Step::Fault => None,
    });
    pieces.collect::<Vec<_>>().concat()
}

/// The data in a chunked body, the trailers if there are any, and whether it has ended.
fn unchunk(mut bytes: &[u8]) -> (Vec<u8>, Option<HeaderMap>, bool) {
    let mut chunks = Chunks::of_client(TRAILERS);
    let mut data = Vec::new();
    while !bytes.is_empty() {
        let piece = chunks.next(bytes).expect("well-formed");
        data.extend_from_slice(&bytes[piece.used - piece.data..piece.used]);
        bytes = &bytes[piece.used..];
        if piece.ended {
            assert!(bytes.is_empty(), "{bytes:?} behind the end");
            return (data, chunks.take_trailers(), true);
        }
    }
    (data, None, false)
}

proptest! {
    #[test]
    fn a_body_goes_out_as_it_comes(
        steps in steps(),
        cuts in cuts(),
        trailers: bool,
        (framing, off) in (0..3, -1_i64..=1),
    ) {
        let want = data(&steps);
        let length = want.len() as u64;
        let framing = match framing {
            0 => Framing::Length(length.saturating_add_signed(off)),
            1 => Framing::Chunked { trailers },
            _ => Framing::Close,
        };
        let breaks = matches!(steps.last(), Some(Step::Fault));
        let has_trailers = matches!(steps.last(), Some(Step::Trailers));
        let mut outflow = Outflow::new(HEAD.to_vec(), Steps(steps.into()), framing);
        let (sent, written) = send(&mut outflow, receiver(cuts));
        let misfits = matches!(framing, Framing::Length(stated) if stated != length);
        // What follows the whole length is not asked for where there is none.
        let asks = framing != Framing::Length(0);
        prop_assert_eq!(sent.is_err(), asks && (breaks || misfits), "{:?}", sent);
        prop_assert_eq!(outflow.has_ended(), sent.is_ok());
        prop_assert_eq!(outflow.is_unseen(), written.is_empty());
        let Some(body) = written.strip_prefix(HEAD) else {
            prop_assert!(written.is_empty() && sent.is_err() && (want.is_empty() || misfits), "{written:?}");
            return Ok(());
        };
        match framing {
            Framing::Chunked { .. } => {
                let (got, got_trailers, ended) = unchunk(body);
                prop_assert_eq!(got, want);
                prop_assert_eq!(ended, sent.is_ok());
                prop_assert_eq!(got_trailers.is_some(), ended && has_trailers && trailers);
            }
            Framing::Length(stated) => {
                prop_assert!(want.starts_with(body) && body.len() as u64 <= stated);
                prop_assert!(sent.is_err() || body.len() as u64 == stated);
            }
            Framing::Close => prop_assert_eq!(body, want),
        }
    }

    #[test]
    fn what_nobody_has_seen_can_be_sent_again(
        steps in steps(),
        cuts in cuts(),
        (is_chunked, writes_left) in (any::<bool>(), 0..4_usize),
    ) {
        let want = data(&steps);
        let breaks = matches!(steps.last(), Some(Step::Fault));
        let length = want.len() as u64;
        let framing = if is_chunked { Framing::Chunked { trailers: false } } else { Framing::Length(length) };
        let mut outflow = Outflow::new(HEAD.to_vec(), Steps(steps.into()), framing);
        let broken = receiver(cuts.clone()).broken_after(writes_left);
        let (sent, first) = send(&mut outflow, broken);
        if !outflow.is_unseen() || !matches!(sent, Err(Stopped::Receiver(_))) {
            prop_assert!(!first.is_empty() || breaks);
            return Ok(());
        }
        outflow.rewind();
        let (sent, written) = send(&mut outflow, receiver(cuts));
        prop_assert_eq!(sent.is_ok(), !breaks || framing == Framing::Length(0));
        if let Some(body) = written.strip_prefix(HEAD) {
            let got = if is_chunked { unchunk(body).0 } else { body.to_vec() };
            prop_assert_eq!(got, want);
        } else {
            prop_assert!(sent.is_err() && want.is_empty());
        }
    }
}

#[test]
fn the_first_piece_goes_out_with_the_head() {
    let steps = Steps(vec![Step::Data(b"hello".to_vec()), Step::Wait].into());
    let mut outflow = Outflow::new(HEAD.to_vec(), steps, Framing::Chunked { trailers: false });
    let once = receiver(Cuts::none()).broken_after(1);
    let (_, written) = send(&mut outflow, once);
    assert_eq!(written, [HEAD, b"5\r\nhello\r\n"].concat());
}

#[test]
fn a_receiver_that_takes_nothing_is_an_error() {
    struct Full;
    impl tokio::io::AsyncWrite for Full {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(0))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }
    let mut outflow = Outflow::new(HEAD.to_vec(), Steps(VecDeque::new()), Framing::Close);
    let sent = outflow.poll_send(&mut Full, &mut Context::from_waker(std::task::Waker::noop()));
    let Poll::Ready(Err(Stopped::Receiver(error))) = sent else { panic!("{sent:?}") };
    assert_eq!(error.kind(), io::ErrorKind::WriteZero);
}
