//! Each phase has its own time, and time that the gateway takes is not the client's.

use std::io;
use std::time::Duration;

use http_body_util::BodyExt;
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Instant, advance, timeout};

use super::{TIMEOUTS, client, request};
use crate::domain::refusal::Limit;
use crate::gateway::client::{Client, ClientBody, LINGER, Next};

const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const LONG: &[u8] = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n";

fn pair() -> (DuplexStream, Client) {
    let (far, near) = duplex(4096);
    (far, client(near))
}

/// What is waited for comes after this long, to the timer's millisecond.
#[track_caller]
fn check_time(start: Instant, want: Duration) {
    let took = start.elapsed();
    assert!(took >= want && took < want + Duration::from_millis(5), "took {took:?}");
}

async fn check_end(client: &Client, after: Duration) {
    let start = Instant::now();
    let next = client.next().await;
    assert!(matches!(next, Next::End), "{next:?}");
    check_time(start, after);
}

async fn check_slow(client: &Client, after: Duration) {
    let start = Instant::now();
    let next = client.next().await;
    assert!(matches!(next, Next::Fault(fault) if fault == Limit::HeaderTime.into()), "{next:?}");
    check_time(start, after);
}

async fn check_piece(body: &mut ClientBody, want: Result<&[u8], io::ErrorKind>, after: Duration) {
    let start = Instant::now();
    let frame = body.frame().await.expect("more");
    let piece = frame.map(|frame| frame.into_data().unwrap());
    assert_eq!(piece.as_deref().map_err(io::Error::kind), want);
    check_time(start, after);
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_request_ends() {
    let (_far, client) = pair();
    check_end(&client, TIMEOUTS.idle).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_between_requests_ends() {
    let (mut far, client) = pair();
    assert!(timeout(TIMEOUTS.idle / 2, client.next()).await.is_err());
    far.write_all(HEAD).await.unwrap();
    request(&client).await;
    // However long the answer takes.
    advance(TIMEOUTS.idle * 3).await;
    assert!(client.end_exchange());
    check_end(&client, TIMEOUTS.idle).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_is_refused_however_it_drips() {
    let (mut far, client) = pair();
    let drip = async {
        for byte in HEAD {
            far.write_all(&[*byte]).await.unwrap();
            advance(TIMEOUTS.head / 8).await;
        }
    };
    let start = Instant::now();
    let ((), next) = tokio::join!(drip, client.next());
    assert!(matches!(next, Next::Fault(fault) if fault == Limit::HeaderTime.into()), "{next:?}");
    assert!(start.elapsed() >= TIMEOUTS.head);
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_head_begins_at_its_first_byte() {
    for wait in [TIMEOUTS.idle / 10, TIMEOUTS.idle * 9 / 10] {
        let (mut far, client) = pair();
        let start = Instant::now();
        let begin = async {
            tokio::time::sleep(wait).await;
            far.write_all(b"GET").await.unwrap();
        };
        let ((), next) = tokio::join!(begin, client.next());
        assert!(matches!(next, Next::Fault(_)), "{next:?}");
        check_time(start, wait + TIMEOUTS.head);
    }
}

#[tokio::test(start_paused = true)]
async fn each_partial_head_has_its_own_time() {
    let (mut far, client) = pair();
    far.write_all(b"GET").await.unwrap();
    assert!(timeout(TIMEOUTS.head / 2, client.next()).await.is_err());
    assert!(client.has_begun());
    far.write_all(b" / HTTP/1.1\r\nHost: a\r\n\r\nGET").await.unwrap();
    request(&client).await;
    advance(TIMEOUTS.head * 2).await;
    assert!(client.end_exchange());
    check_slow(&client, TIMEOUTS.head).await;
}

#[tokio::test(start_paused = true)]
async fn a_stalled_body_is_an_error() {
    let (mut far, client) = pair();
    far.write_all(LONG).await.unwrap();
    let (_, mut body) = request(&client).await;
    for _ in 0..3 {
        assert!(timeout(TIMEOUTS.body * 9 / 10, body.frame()).await.is_err());
        far.write_all(b"x").await.unwrap();
        check_piece(&mut body, Ok(b"x"), Duration::ZERO).await;
    }
    check_piece(&mut body, Err(io::ErrorKind::TimedOut), TIMEOUTS.body).await;
    far.write_all(b"x").await.unwrap();
    check_piece(&mut body, Err(io::ErrorKind::BrokenPipe), Duration::ZERO).await;
    assert!(!client.end_exchange());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_nobody_reads_does_not_stall() {
    let (mut far, client) = pair();
    far.write_all(LONG).await.unwrap();
    let (_, mut body) = request(&client).await;
    advance(TIMEOUTS.body * 10).await;
    check_piece(&mut body, Err(io::ErrorKind::TimedOut), TIMEOUTS.body).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_still_sending_is_listened_to_for_a_moment() {
    let (mut far, client) = pair();
    far.write_all(LONG).await.unwrap();
    let (_, body) = request(&client).await;
    drop(body);
    assert!(!client.end_exchange());
    let start = Instant::now();
    let flood = async {
        while far.write_all(&[b'x'; 4096]).await.is_ok() {
            advance(LINGER / 10).await;
        }
    };
    tokio::select! {
        () = flood => panic!("not listened to"),
        () = client.close(true) => {}
    }
    let took = start.elapsed();
    assert!(took >= LINGER && took < LINGER * 2, "took {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_between_requests_is_closed_at_once() {
    let (mut far, client) = pair();
    far.write_all(HEAD).await.unwrap();
    request(&client).await;
    assert!(client.end_exchange());
    let start = Instant::now();
    client.close(false).await;
    check_time(start, Duration::ZERO);
}
