//! A body and its exchange: what the one may still do when the other has ended.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::timeout;

use super::{client, request};
use crate::gateway::client::{Client, ClientBody, Next, Socket};
use crate::tasks;

const FIRST: &[u8] = b"POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
const SECOND: &[u8] = b"POST /second HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n";
const WAITS: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

fn pair(room: usize) -> (DuplexStream, Client) {
    let (far, near) = duplex(room);
    (far, client(near))
}

/// Polls once, as a task that nobody will wake.
fn poll(body: &mut ClientBody) -> Poll<Option<io::Result<Bytes>>> {
    let frame = Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()));
    frame.map(|frame| frame.map(|frame| frame.map(|frame| frame.into_data().unwrap())))
}

#[track_caller]
fn check_broken_off(body: &mut ClientBody) {
    let polled = poll(body);
    assert!(matches!(polled, Poll::Ready(Some(Err(_)))), "{polled:?}");
    assert!(!body.is_end_stream());
}

#[tokio::test]
async fn a_body_reads_nothing_of_the_next_request() {
    let (mut far, client) = pair(4096);
    far.write_all(FIRST).await.unwrap();
    let (_, mut old) = request(&client).await;
    assert!(poll(&mut old).is_pending());
    far.write_all(b"hello").await.unwrap();
    // The answer has gone out; whoever was fed with the body has not heard of it.
    assert!(client.end_exchange());
    check_broken_off(&mut old);
    far.write_all(SECOND).await.unwrap();
    far.write_all(b"sec").await.unwrap();
    let (path, mut new) = request(&client).await;
    assert_eq!(path, "/second");
    check_broken_off(&mut old);
    let Poll::Ready(Some(Ok(piece))) = poll(&mut new) else { panic!("nothing came") };
    assert_eq!(piece, "sec");
    drop(old);
    far.write_all(b"ond").await.unwrap();
    // The end of the old body says nothing about the new one, which is still wanted.
    assert!(client.can_go_on());
    assert_eq!(new.collect().await.unwrap().to_bytes(), "ond");
    assert!(client.end_exchange());
}

#[tokio::test]
async fn a_body_does_not_keep_the_connection_open() {
    let (mut far, client) = pair(4096);
    far.write_all(FIRST).await.unwrap();
    let (_, mut body) = request(&client).await;
    assert!(poll(&mut body).is_pending());
    drop(client);
    let closed = timeout(Duration::from_secs(10), far.read_to_end(&mut Vec::new())).await;
    closed.expect("closed in time").unwrap();
    check_broken_off(&mut body);
}

#[tokio::test]
async fn a_body_that_nobody_wants_is_passed_over_where_it_has_come() {
    let (mut far, client) = pair(4096);
    far.write_all(&[FIRST, b"he"].concat()).await.unwrap();
    let (_, body) = request(&client).await;
    assert!(client.can_go_on());
    drop(body);
    assert!(!client.can_go_on());
    far.write_all(b"llo").await.unwrap();
    assert!(client.can_go_on());
    assert!(client.end_exchange());
    far.write_all(SECOND).await.unwrap();
    assert_eq!(request(&client).await.0, "/second");
}

/// Says whether it was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_seen_though_another_task_read_its_body() {
    let (mut far, client) = pair(4096);
    far.write_all(FIRST).await.unwrap();
    let (_, mut body) = request(&client).await;
    let woken = Arc::<Woken>::default();
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);
    assert!(client.poll_left(&mut context).is_pending());
    far.write_all(b"hello").await.unwrap();
    let Poll::Ready(Some(Ok(_))) = poll(&mut body) else { panic!("nothing came") };
    assert!(woken.0.swap(false, Ordering::SeqCst), "who waits for the client to leave must ask anew");
    assert!(client.poll_left(&mut context).is_pending());
    drop(far);
    assert!(woken.0.load(Ordering::SeqCst));
    assert!(client.poll_left(&mut context).is_ready());
}

async fn told(far: &mut DuplexStream, want: &[u8]) {
    let mut got = vec![0; want.len()];
    far.read_exact(&mut got).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(want));
}

#[tokio::test]
async fn a_client_that_waits_is_told_once_somebody_wants_its_body() {
    let (mut far, client) = pair(10);
    let exchange = async {
        let (_, body) = request(&client).await;
        assert!(!client.can_go_on());
        let body = body.collect().await.unwrap().to_bytes();
        assert!(client.can_go_on());
        assert_eq!(body, "hello");
        client.clone().write_all(ANSWER).await.unwrap();
        assert!(client.end_exchange());
    };
    let far = async {
        far.write_all(WAITS).await.unwrap();
        told(&mut far, b"HTTP/1.1 100 Continue\r\n\r\n").await;
        far.write_all(b"hello").await.unwrap();
        told(&mut far, ANSWER).await;
        far
    };
    tokio::join!(exchange, far);
}

/// The client has not taken what it was sent before, so nothing can go out when its body is asked for.
#[tokio::test]
async fn nothing_stands_inside_of_an_answer() {
    let (mut far, client) = pair(64);
    let mut writing = client.clone();
    writing.write_all(&[b'x'; 64]).await.unwrap();
    let sending = tasks::spawn("test", async move {
        far.write_all(WAITS).await.unwrap();
        far
    });
    let (_, mut body) = request(&client).await;
    let mut far = sending.await.unwrap();
    assert!(poll(&mut body).is_pending());
    assert!(!client.can_go_on());
    let mut answer = pin!(async {
        writing.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n").await.unwrap();
        // The host goes on to ask for the body while it answers.
        assert!(poll(&mut body).is_pending());
        writing.write_all(b"0123456789").await.unwrap();
        assert!(poll(&mut body).is_pending());
        assert!(!client.end_exchange());
        client.close(false).await;
    });
    let mut got = Vec::new();
    let ((), read) = tokio::join!(&mut answer, far.read_to_end(&mut got));
    read.unwrap();
    let got = String::from_utf8(got).unwrap();
    let want = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789";
    assert_eq!(got.trim_start_matches('x'), want);
}

/// The task that was told to go on takes the other's wake-up for the socket; the body comes all the same.
#[tokio::test]
async fn a_body_comes_though_another_task_finishes_what_the_client_is_told() {
    let (mut far, client) = pair(80);
    let mut writing = client.clone();
    writing.write_all(&[b'x'; 70]).await.unwrap();
    far.write_all(WAITS).await.unwrap();
    let (_, body) = request(&client).await;
    let reading = tasks::spawn("test", body.collect());
    tokio::task::yield_now().await;
    let answering = tasks::spawn("test", async move { writing.write_all(ANSWER).await.unwrap() });
    tokio::task::yield_now().await;
    told(&mut far, &[b'x'; 70]).await;
    told(&mut far, b"HTTP/1.1 100 Continue\r\n\r\n").await;
    told(&mut far, ANSWER).await;
    far.write_all(b"hello").await.unwrap();
    let body = timeout(Duration::from_secs(10), reading).await.expect("in time").unwrap();
    assert_eq!(body.unwrap().to_bytes(), "hello");
    answering.await.unwrap();
}

/// A socket that keeps what it is given until it is flushed, and cannot flush at first, as TLS may.
struct Late {
    inner: DuplexStream,
    kept: Vec<u8>,
    is_stuck: bool,
}

impl tokio::io::AsyncRead for Late {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl Socket for Late {
    fn break_off(&self) {}
}

impl AsyncWrite for Late {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.kept.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.is_stuck) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let kept = std::mem::take(&mut self.kept);
        Pin::new(&mut self.inner).poll_write(context, &kept).map_ok(|count| assert_eq!(count, kept.len()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[tokio::test]
async fn what_the_client_is_told_leaves_the_buffers_too() {
    let (mut far, near) = duplex(4096);
    let client = client(Late { inner: near, kept: Vec::new(), is_stuck: true });
    far.write_all(WAITS).await.unwrap();
    let (_, body) = request(&client).await;
    let reading = tasks::spawn("test", body.collect());
    let heard = timeout(Duration::from_secs(10), told(&mut far, b"HTTP/1.1 100 Continue\r\n\r\n"));
    heard.await.expect("in time");
    far.write_all(b"hello").await.unwrap();
    assert_eq!(reading.await.unwrap().unwrap().to_bytes(), "hello");
}

#[tokio::test]
async fn what_was_begun_is_said_to_the_end_before_the_answer() {
    let (mut far, client) = pair(80);
    let mut writing = client.clone();
    writing.write_all(&[b'x'; 70]).await.unwrap();
    far.write_all(WAITS).await.unwrap();
    let (_, mut body) = request(&client).await;
    assert!(poll(&mut body).is_pending());
    drop(body);
    let answer = async {
        writing.write_all(ANSWER).await.unwrap();
        assert!(!client.end_exchange());
        client.close(false).await;
    };
    let mut got = Vec::new();
    let ((), read) = tokio::join!(answer, far.read_to_end(&mut got));
    read.unwrap();
    assert_eq!(got[70..], *[b"HTTP/1.1 100 Continue\r\n\r\n", ANSWER].concat());
}

#[tokio::test]
async fn no_debug_output_shows_a_credential() {
    let (mut far, client) = pair(4096);
    far.write_all(b"GET / HTTP/1.1\r\nAuthorization: Bearer secret\r\n").await.unwrap();
    let mut next = pin!(client.next());
    let polled =
        poll_fn(|context| Poll::Ready(next.as_mut().poll(context).map(|next| matches!(next, Next::End))));
    assert!(polled.await.is_pending());
    assert!(client.has_begun());
    assert!(!format!("{client:?}").contains("secret"));
}
