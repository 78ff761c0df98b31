//! Each phase has its own time, and time that the gateway takes is not the client's.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Instant, advance, timeout};

use super::{LIMITS, TIMEOUTS};
use crate::domain::refusal::Limit;
use crate::framing::slot::FaultSlot;
use crate::framing::{Guarded, LINGER, REFUSED_HEAD};

const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const LONG: &[u8] = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n";

fn pair() -> (DuplexStream, Guarded<DuplexStream>, FaultSlot) {
    let (client, server) = duplex(4096);
    let (guarded, slot) = Guarded::new(server, LIMITS, TIMEOUTS);
    (client, guarded, slot)
}

async fn read(guarded: &mut Guarded<DuplexStream>) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4096];
    let length = guarded.read(&mut bytes).await?;
    bytes.truncate(length);
    Ok(bytes)
}

/// The next read takes this long, to the timer's millisecond.
async fn check_read(guarded: &mut Guarded<DuplexStream>, want: io::Result<&[u8]>, after: Duration) {
    let start = Instant::now();
    let got = read(guarded).await;
    let took = start.elapsed();
    assert_eq!(got.as_deref().map_err(io::Error::kind), want.map_err(|error| error.kind()));
    assert!(took >= after && took < after + Duration::from_millis(5), "took {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_request_ends() {
    let (_client, mut guarded, slot) = pair();
    check_read(&mut guarded, Ok(b""), TIMEOUTS.idle).await;
    check_read(&mut guarded, Ok(b""), Duration::ZERO).await;
    assert_eq!(slot.fault_at(0), None);
}

#[tokio::test(start_paused = true)]
async fn a_connection_between_requests_ends() {
    let (mut client, mut guarded, _slot) = pair();
    assert!(timeout(TIMEOUTS.idle / 2, read(&mut guarded)).await.is_err());
    client.write_all(HEAD).await.unwrap();
    check_read(&mut guarded, Ok(HEAD), Duration::ZERO).await;
    check_read(&mut guarded, Ok(b""), TIMEOUTS.idle).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_is_refused_however_it_drips() {
    let (mut client, mut guarded, slot) = pair();
    client.write_all(HEAD).await.unwrap();
    check_read(&mut guarded, Ok(HEAD), Duration::ZERO).await;
    let drip = async {
        for byte in HEAD {
            client.write_all(&[*byte]).await.unwrap();
            advance(TIMEOUTS.head / 8).await;
        }
    };
    let start = Instant::now();
    let ((), got) = tokio::join!(drip, read(&mut guarded));
    assert_eq!(got.unwrap(), REFUSED_HEAD);
    assert!(start.elapsed() >= TIMEOUTS.head);
    assert_eq!(slot.fault_at(0), None);
    assert_eq!(slot.fault_at(1), Some(Limit::HeaderTime.into()));
    // An end at once would be taken for a client that left, and the refusal never written.
    check_read(&mut guarded, Ok(b""), TIMEOUTS.idle).await;
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_head_begins_at_its_first_byte() {
    for wait in [TIMEOUTS.idle / 10, TIMEOUTS.idle * 9 / 10] {
        let (mut client, mut guarded, slot) = pair();
        assert!(timeout(wait, read(&mut guarded)).await.is_err());
        client.write_all(b"GET").await.unwrap();
        check_read(&mut guarded, Ok(REFUSED_HEAD), TIMEOUTS.head).await;
        assert_eq!(slot.fault_at(0), Some(Limit::HeaderTime.into()));
    }
}

#[tokio::test(start_paused = true)]
async fn each_partial_head_has_its_own_time() {
    let (mut client, mut guarded, _slot) = pair();
    client.write_all(b"GET").await.unwrap();
    assert!(timeout(TIMEOUTS.head / 2, read(&mut guarded)).await.is_err());
    client.write_all(b" / HTTP/1.1\r\nHost: a\r\n\r\nGET").await.unwrap();
    check_read(&mut guarded, Ok(HEAD), Duration::ZERO).await;
    check_read(&mut guarded, Ok(REFUSED_HEAD), TIMEOUTS.head).await;
}

#[tokio::test(start_paused = true)]
async fn a_stalled_body_is_an_error() {
    let (mut client, mut guarded, slot) = pair();
    client.write_all(LONG).await.unwrap();
    check_read(&mut guarded, Ok(LONG), Duration::ZERO).await;
    for _ in 0..3 {
        assert!(timeout(TIMEOUTS.body * 9 / 10, read(&mut guarded)).await.is_err());
        client.write_all(b"x").await.unwrap();
        check_read(&mut guarded, Ok(b"x"), Duration::ZERO).await;
    }
    let fault = || Err(io::ErrorKind::TimedOut.into());
    check_read(&mut guarded, fault(), TIMEOUTS.body).await;
    client.write_all(b"x").await.unwrap();
    check_read(&mut guarded, fault(), Duration::ZERO).await;
    assert_eq!(slot.fault_at(0), None);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_nobody_reads_does_not_stall() {
    let (mut client, mut guarded, _slot) = pair();
    client.write_all(LONG).await.unwrap();
    check_read(&mut guarded, Ok(LONG), Duration::ZERO).await;
    advance(TIMEOUTS.body * 10).await;
    check_read(&mut guarded, Err(io::ErrorKind::TimedOut.into()), TIMEOUTS.body).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_waits_for_its_answer_is_not_idle() {
    let (mut client, mut guarded, slot) = pair();
    client.write_all(HEAD).await.unwrap();
    check_read(&mut guarded, Ok(HEAD), Duration::ZERO).await;
    let answering = slot.answering();
    assert!(timeout(TIMEOUTS.idle * 5 / 2, read(&mut guarded)).await.is_err());
    advance(TIMEOUTS.idle * 9 / 10).await;
    drop(answering);
    check_read(&mut guarded, Ok(b""), TIMEOUTS.idle).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_written_to_is_not_idle() {
    let (_client, mut guarded, _slot) = pair();
    assert!(timeout(TIMEOUTS.idle * 9 / 10, read(&mut guarded)).await.is_err());
    guarded.write_all(b"x").await.unwrap();
    check_read(&mut guarded, Ok(b""), TIMEOUTS.idle).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_still_sending_is_listened_to_for_a_moment() {
    let (mut client, mut guarded, _slot) = pair();
    client.write_all(LONG).await.unwrap();
    check_read(&mut guarded, Ok(LONG), Duration::ZERO).await;
    assert!(timeout(LINGER, read(&mut guarded)).await.is_err());
    let start = Instant::now();
    let sending = async {
        while client.write_all(&[0; 4096]).await.is_ok() && start.elapsed() < LINGER / 2 {
            advance(Duration::from_millis(1)).await;
        }
    };
    let both = async { tokio::join!(sending, guarded.shutdown()) };
    let ((), shut) = timeout(LINGER * 2, both).await.expect("in time");
    assert!(shut.is_ok());
    assert!(start.elapsed() >= LINGER);
}

#[tokio::test(start_paused = true)]
async fn a_connection_between_requests_is_shut_at_once() {
    let (mut client, mut guarded, _slot) = pair();
    client.write_all(HEAD).await.unwrap();
    check_read(&mut guarded, Ok(HEAD), Duration::ZERO).await;
    let start = Instant::now();
    guarded.shutdown().await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
}
