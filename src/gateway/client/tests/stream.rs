//! What is read is what was sent, up to the first fault, however the bytes are cut and whatever is left unread.

use http::HeaderMap;
use http_body::Body;
use http_body_util::BodyExt;
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::runtime::Builder;

use super::client;
use crate::domain::refusal::FramingError;
use crate::domain::target::TargetError;
use crate::framing::head::HeadFault;
use crate::gateway::client::{ClientBody, Next};
use crate::gateway::script::{Cuts, Script, cuts};

/// A message, and what is to be read of it.
#[derive(Debug, Clone)]
struct Message {
    bytes: Vec<u8>,
    path: String,
    data: Vec<u8>,
    trailers: usize,
}

/// What was read of one request: its path, and its body where that was asked for.
#[derive(Debug)]
struct Seen {
    path: String,
    body: Option<Result<(Vec<u8>, usize), std::io::ErrorKind>>,
}

async fn read(body: ClientBody) -> Result<(Vec<u8>, usize), std::io::ErrorKind> {
    let hint = body.size_hint();
    let collected = body.collect().await.map_err(|error| error.kind())?;
    let trailers = collected.trailers().map_or(0, HeaderMap::len);
    let data = collected.to_bytes().to_vec();
    assert!(hint.lower() <= data.len() as u64 && hint.upper().is_none_or(|upper| upper == data.len() as u64));
    Ok((data, trailers))
}

/// Reads everything; leaves the bodies alone where `leaves` says so, over and over. The clock stands still, and jumps
/// when nobody can go on: a client that says nothing is idle until its time is over.
fn read_all(script: Script, leaves: &[bool]) -> (Vec<Seen>, Option<HeadFault>) {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let client = client(script);
        let mut seen = Vec::new();
        for leaves in leaves.iter().cycle() {
            match client.next().await {
                Next::End => return (seen, None),
                Next::Fault(fault) => return (seen, Some(fault)),
                Next::Request(head, body) => {
                    let path = head.parts.uri.to_string();
                    let body = if *leaves { None } else { Some(read(body).await) };
                    seen.push(Seen { path, body });
                }
            }
            if !client.end_exchange() {
                return (seen, None);
            }
        }
        panic!("no end")
    })
}

/// A well-formed message.
fn message() -> impl Strategy<Value = Message> {
    let data = || vec(any::<u8>(), 0..200);
    let plain = "/[a-z]{0,40}".prop_map(|path| Message {
        bytes: format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes(),
        path,
        data: Vec::new(),
        trailers: 0,
    });
    let sized = data().prop_map(|data| {
        let head = format!("PUT /a HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", data.len());
        Message { bytes: [head.as_bytes(), &data].concat(), path: "/a".to_owned(), data, trailers: 0 }
    });
    let chunked = (vec(data(), 0..4), vec("[a-z]{1,8}: [a-z ]{0,20}\r\n", 0..3)).prop_filter_map(
        "a trailer that is forbidden",
        |(chunks, trailers)| {
            let forbidden = ["host:", "expect:", "trailer:", "upgrade:"];
            if trailers.iter().any(|line| forbidden.iter().any(|name| line.starts_with(name))) {
                return None;
            }
            let mut bytes = b"POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: a\r\n\r\n".to_vec();
            for data in chunks.iter().filter(|data| !data.is_empty()) {
                bytes.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
                bytes.extend_from_slice(data);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(format!("0\r\n{}\r\n", trailers.concat()).as_bytes());
            Some(Message { bytes, path: "/b".to_owned(), data: chunks.concat(), trailers: trailers.len() })
        },
    );
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

fn bytes(messages: &[Message]) -> Vec<u8> {
    messages.iter().flat_map(|message| message.bytes.iter().copied()).collect()
}

/// Everything that was seen is one of the messages, in their order; a body that was asked for is whole.
fn check_seen(seen: &[Seen], messages: &[Message]) -> Result<(), TestCaseError> {
    prop_assert!(seen.len() <= messages.len());
    for (seen, message) in seen.iter().zip(messages) {
        prop_assert_eq!(&seen.path, &message.path);
        if let Some(body) = &seen.body {
            let want = (message.data.clone(), message.trailers);
            prop_assert_eq!(body.as_ref(), Ok(&want));
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn what_is_well_formed_is_read_as_it_was_sent(
        messages in vec(message(), 0..6),
        cuts in cuts(),
        hangs_up: bool,
    ) {
        let (seen, fault) = read_all(Script::new(&bytes(&messages), cuts, hangs_up), &[false]);
        prop_assert_eq!((seen.len(), fault), (messages.len(), None));
        check_seen(&seen, &messages)?;
    }

    #[test]
    fn a_body_that_is_left_unread_is_never_read_as_a_request(
        messages in vec(message(), 0..6),
        cuts in cuts(),
        leaves in vec(any::<bool>(), 1..6),
        hangs_up: bool,
    ) {
        let (seen, fault) = read_all(Script::new(&bytes(&messages), cuts, hangs_up), &leaves);
        prop_assert_eq!(fault, None);
        check_seen(&seen, &messages)?;
    }

    #[test]
    fn nothing_of_a_faulty_message_and_nothing_behind_it_is_read(
        before in vec(message(), 0..4),
        (faulty, fault) in faulty(),
        after in vec(message(), 0..3),
        cuts in cuts(),
        hangs_up: bool,
    ) {
        let sent = [bytes(&before).as_slice(), faulty.as_bytes(), &bytes(&after)].concat();
        let (seen, found) = read_all(Script::new(&sent, cuts, hangs_up), &[false]);
        prop_assert_eq!((seen.len(), found), (before.len(), Some(fault)));
        check_seen(&seen, &before)?;
    }

    #[test]
    fn a_message_that_breaks_off_is_never_whole(
        before in vec(message(), 0..3),
        last in message(),
        at in any::<prop::sample::Index>(),
        cuts in cuts(),
        hangs_up: bool,
    ) {
        let short = &last.bytes[..at.index(last.bytes.len())];
        let sent = [bytes(&before).as_slice(), short].concat();
        let (seen, _) = read_all(Script::new(&sent, cuts, hangs_up), &[false]);
        let (whole, broken) = seen.split_at(before.len().min(seen.len()));
        prop_assert_eq!(whole.len(), before.len());
        check_seen(whole, &before)?;
        for seen in broken {
            prop_assert_eq!(&seen.path, &last.path);
            prop_assert!(matches!(seen.body, Some(Err(_))), "{:?}", seen);
        }
    }
}

const FIRST: &str = "GET /first HTTP/1.1\r\nHost: a\r\n\r\n";
const CHUNKED: &str = "POST /late HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

fn paths(seen: &[Seen]) -> Vec<&str> {
    seen.iter().map(|seen| seen.path.as_str()).collect()
}

#[test]
fn a_faulty_body_that_comes_with_its_head_is_refused_with_it() {
    let sent = format!("{FIRST}{CHUNKED}5\r\nhello\r\n5;x\r\n");
    let (seen, fault) = read_all(Script::new(sent.as_bytes(), Cuts::none(), false), &[false]);
    assert_eq!(paths(&seen), ["/first"]);
    assert_eq!(fault, Some(FramingError::Chunk.into()));
}

#[test]
fn a_faulty_body_behind_a_head_that_was_passed_on_is_an_error() {
    let sent = format!("{CHUNKED}5\r\nhello\r\n5;x\r\n{FIRST}");
    for leaves in [false, true] {
        let cuts = Cuts { sizes: vec![CHUNKED.len(), 10, 4096], ..Cuts::none() };
        let (seen, fault) = read_all(Script::new(sent.as_bytes(), cuts, false), &[leaves]);
        assert_eq!(paths(&seen), ["/late"]);
        assert_eq!(fault, None);
        if !leaves {
            assert!(matches!(seen[0].body, Some(Err(std::io::ErrorKind::InvalidData))), "{seen:?}");
        }
    }
}

#[test]
fn a_client_that_hangs_up_in_a_head_has_sent_nothing() {
    let sent = format!("{FIRST}GET / HTTP/1.1\r\n");
    let (seen, fault) = read_all(Script::new(sent.as_bytes(), Cuts::none(), true), &[false]);
    assert_eq!((paths(&seen), fault), (vec!["/first"], None));
}
