//! Before hyper's own server, over TCP.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::sync::Mutex;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::{LIMITS, TIMEOUTS};
use crate::domain::refusal::{FramingError, Refusal};
use crate::framing::Guarded;
use crate::framing::slot::FaultSlot;

const FIRST: &[u8] = b"POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
/// Ends a head whose client waits until it is asked for the body.
const WAITS: &[u8] = b"Expect: 100-continue\r\n\r\n";
const SMUGGLED: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// What the service saw of one request: its path and its body, or its refusal.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Request(String, Result<Vec<u8>, Option<FramingError>>),
    Refused(Refusal),
}

/// Finds the guard's own error under those of hyper.
fn cause(error: &(dyn Error + 'static)) -> Option<FramingError> {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return error.get_ref()?.downcast_ref::<FramingError>().copied();
    }
    cause(error.source()?)
}

async fn answer(
    request: Request<Incoming>,
    slot: &FaultSlot,
    seen: &Mutex<Vec<Seen>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let _answering = slot.answering();
    let ordinal = seen.lock().unwrap().len() as u64;
    let mut response = Response::default();
    if let Some(fault) = slot.fault_at(ordinal) {
        let refusal = Refusal::from(fault);
        *response.status_mut() = refusal.status();
        seen.lock().unwrap().push(Seen::Refused(refusal));
        return Ok(response);
    }
    // Not yet done when hyper looks for what the client sends next.
    tokio::task::yield_now().await;
    let path = request.uri().to_string();
    if path == "/unread" {
        *response.status_mut() = StatusCode::FORBIDDEN;
        seen.lock().unwrap().push(Seen::Request(path, Ok(Vec::new())));
        return Ok(response);
    }
    let body = request.into_body().collect().await;
    let body = body.map(|body| body.to_bytes().to_vec()).map_err(|error| cause(&error));
    seen.lock().unwrap().push(Seen::Request(path, body));
    Ok(response)
}

/// Sends these pieces, one by one, and gives the statuses of the answers and what the service saw.
async fn exchange(pieces: &[&[u8]]) -> (Vec<String>, Vec<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Mutex::default();
    let server = async {
        let (socket, _) = listener.accept().await.unwrap();
        let (guarded, slot) = Guarded::new(socket, LIMITS, TIMEOUTS);
        let service = service_fn(|request| answer(request, &slot, &seen));
        let connection = http1::Builder::new().serve_connection(TokioIo::new(guarded), service);
        connection.await
    };
    let client = async {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let mut answers = String::new();
        for piece in pieces {
            // A server that refuses may stop listening before everything is sent.
            if socket.write_all(piece).await.is_err() {
                break;
            }
            if piece.ends_with(WAITS) {
                while !answers.ends_with("\r\n\r\n") {
                    answers.push(char::from(socket.read_u8().await.unwrap()));
                }
            }
            tokio::task::yield_now().await;
        }
        socket.read_to_string(&mut answers).await.unwrap();
        answers
    };
    let both = async { tokio::join!(server, client) };
    let (_served, answers) = timeout(Duration::from_secs(10), both).await.expect("in time");
    let statuses = answers.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 "));
    let statuses = statuses.map(|status| status.chars().take(3).collect()).collect();
    (statuses, seen.into_inner().unwrap())
}

fn first() -> Seen {
    Seen::Request("/first".to_owned(), Ok(b"hello".to_vec()))
}

fn refused(error: FramingError) -> Seen {
    Seen::Refused(Refusal::Framing(error))
}

#[tokio::test]
async fn a_length_beside_chunks_is_refused_and_its_body_is_no_request() {
    let clash =
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let sent = [FIRST, clash, SMUGGLED].concat();
    let want =
        (vec!["200".to_owned(), "400".to_owned()], vec![first(), refused(FramingError::TransferEncoding)]);
    assert_eq!(exchange(&[&sent]).await, want);
    let bytes: Vec<_> = sent.chunks(1).collect();
    assert_eq!(exchange(&bytes).await, want);
}

#[tokio::test]
async fn a_refusal_arrives_though_the_client_goes_on_sending() {
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 4\r\n\r\n";
    let flood = vec![b'x'; 1 << 20];
    let (statuses, seen) = exchange(&[head, &flood]).await;
    assert_eq!(statuses, ["400"]);
    assert_eq!(seen, [refused(FramingError::ContentLength)]);
}

#[tokio::test]
async fn an_answer_arrives_though_nobody_reads_the_body() {
    let head = format!("POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 1 << 22);
    let (statuses, seen) = exchange(&[head.as_bytes(), &vec![b'x'; 1 << 22]]).await;
    assert_eq!(statuses, ["403"]);
    assert_eq!(seen, [Seen::Request("/unread".to_owned(), Ok(Vec::new()))]);
}

#[tokio::test]
async fn a_chunk_that_is_malformed_breaks_its_body_and_is_no_request() {
    let head = b"POST /late HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n";
    let (_, seen) = exchange(&[FIRST, head, WAITS, b"5\r\nhello\r\n0;\r\n\r\n", SMUGGLED]).await;
    let late = Seen::Request("/late".to_owned(), Err(Some(FramingError::Chunk)));
    assert_eq!(seen, [first(), late]);
}
