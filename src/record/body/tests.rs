//! Bodies end their records once, however hyper treats them.

use std::collections::VecDeque;
use std::io;
use std::pin::pin;

use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Empty, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::record::fixture::Fixture;

/// Gives these frames, then an end, or waits for ever.
struct Frames {
    frames: VecDeque<Result<Frame<Bytes>, io::Error>>,
    ends: bool,
}

fn data(text: &'static str) -> Frame<Bytes> {
    Frame::data(Bytes::from_static(text.as_bytes()))
}

fn frames<const N: usize>(frames: [Result<Frame<Bytes>, io::Error>; N]) -> Frames {
    Frames { frames: frames.into(), ends: true }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.frames.pop_front() {
            None if !self.ends => Poll::Pending,
            frame => Poll::Ready(frame),
        }
    }
}

fn attach<B: Body<Data = Bytes> + Unpin>(fixture: &Fixture, body: B) -> RecordedBody<B> {
    let mut record = fixture.open(&Method::GET, "/");
    record.routed(fixture.forge());
    record.responded(StatusCode::OK);
    RecordedBody::attach(Response::new(body), record).into_body()
}

#[track_caller]
fn check(fixture: &Fixture, effect: &str, reason: &str, response_bytes: u64) {
    let line = fixture.line();
    assert_eq!(
        (&line["effect"], &line["reason"], &line["response_bytes"]),
        (&json!(effect), &json!(reason), &json!(response_bytes))
    );
    fixture.check_counted_once();
    let aborted = u64::from(effect == "aborted");
    assert_eq!(fixture.sum("portcullis_aborted_total{upstream=\"forge\"}"), aborted);
}

/// The next frame of a body that must not wait.
fn next<B: Body<Data = Bytes> + Unpin>(body: &mut B) -> Option<Result<Frame<Bytes>, B::Error>> {
    let mut context = Context::from_waker(std::task::Waker::noop());
    match pin!(body.frame()).poll(&mut context) {
        Poll::Ready(frame) => frame,
        Poll::Pending => panic!("the body waits"),
    }
}

#[test]
fn a_body_read_to_its_end_is_whole() {
    let fixture = Fixture::new();
    let mut body = attach(&fixture, frames([Ok(data("abc")), Ok(data("de"))]));
    while next(&mut body).is_some() {}
    check(&fixture, "forwarded", "undecided", 5);
}

#[test]
fn a_body_dropped_between_is_aborted() {
    let fixture = Fixture::new();
    let mut body = attach(&fixture, frames([Ok(data("abc")), Ok(data("de"))]));
    assert!(next(&mut body).is_some());
    drop(body);
    check(&fixture, "aborted", "undecided", 3);
}

#[test]
fn a_body_that_is_never_polled_is_aborted() {
    let fixture = Fixture::new();
    drop(attach(&fixture, frames([Ok(data("abc"))])));
    check(&fixture, "aborted", "undecided", 0);
}

#[test]
fn an_empty_body_is_whole_from_the_start() {
    let fixture = Fixture::new();
    let body = attach(&fixture, Empty::<Bytes>::new());
    assert!(body.is_end_stream());
    drop(body);
    check(&fixture, "forwarded", "undecided", 0);
}

#[test]
fn a_body_of_known_size_is_whole_with_its_last_byte_and_keeps_its_size() {
    let fixture = Fixture::new();
    let mut body = attach(&fixture, Full::new(Bytes::from_static(b"abcd")));
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(4), false));
    assert!(next(&mut body).is_some());
    drop(body);
    check(&fixture, "forwarded", "undecided", 4);
}

#[test]
fn a_declared_length_ends_a_body_that_does_not_know_its_own() {
    let fixture = Fixture::new();
    let mut record = fixture.open(&Method::GET, "/");
    record.responded(StatusCode::OK);
    let response =
        Response::builder().header(CONTENT_LENGTH, "5").body(frames([Ok(data("abc")), Ok(data("de"))]));
    let mut body = RecordedBody::attach(response.unwrap(), record).into_body();
    assert!(next(&mut body).is_some());
    assert!(next(&mut body).is_some());
    drop(body);
    check(&fixture, "forwarded", "undecided", 5);
}

#[test]
fn trailers_pass_and_end_the_record() {
    let fixture = Fixture::new();
    let trailers = HeaderMap::from_iter([(http::header::ETAG, http::HeaderValue::from_static("x"))]);
    let mut body = attach(&fixture, frames([Ok(data("abc")), Ok(Frame::trailers(trailers))]));
    assert!(next(&mut body).unwrap().unwrap().is_data());
    let frame = next(&mut body).unwrap().unwrap();
    assert_eq!(frame.trailers_ref().unwrap()[http::header::ETAG], "x");
    drop(body);
    check(&fixture, "forwarded", "undecided", 3);
}

#[test]
fn a_body_that_breaks_off_is_the_upstreams_fault() {
    let fixture = Fixture::new();
    let mut body = attach(&fixture, frames([Ok(data("abc")), Err(io::ErrorKind::ConnectionReset.into())]));
    assert!(next(&mut body).unwrap().is_ok());
    assert!(next(&mut body).unwrap().is_err());
    drop(body);
    check(&fixture, "aborted", "upstream_failed", 3);
    assert_eq!(fixture.sum("portcullis_upstream_errors_total{cause=\"failed\",upstream=\"forge\"}"), 1);
}

#[test]
fn a_body_that_breaks_off_after_the_callers_own_is_the_callers_fault() {
    let fixture = Fixture::new();
    let mut record = fixture.open(&Method::POST, "/");
    record.routed(fixture.forge());
    let broken = || io::Error::from(io::ErrorKind::ConnectionReset);
    let mut request_body = CountedBody::new(frames([Ok(data("ab")), Err(broken())]), &record);
    assert!(next(&mut request_body).unwrap().is_ok());
    assert!(next(&mut request_body).unwrap().is_err());
    record.responded(StatusCode::OK);
    let response = Response::new(frames([Err(broken())]));
    let mut body = RecordedBody::attach(response, record).into_body();
    assert!(next(&mut body).unwrap().is_err());
    assert_eq!(fixture.line()["request_bytes"], json!(2));
    check(&fixture, "aborted", "undecided", 0);
    assert_eq!(fixture.sum("portcullis_upstream_errors_total{"), 0);
}

#[test]
fn a_request_body_is_counted_and_otherwise_unchanged() {
    let fixture = Fixture::new();
    let record = fixture.open(&Method::POST, "/");
    let mut body = CountedBody::new(Full::new(Bytes::from_static(b"abcd")), &record);
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(4), false));
    assert!(next(&mut body).is_some());
    assert!(body.is_end_stream());
    record.close();
    assert_eq!(fixture.line()["request_bytes"], json!(4));
}

/// Serves one connection with `body` for whatever is asked, and gives the caller's end of it.
fn serve(fixture: &Fixture, status: StatusCode, body: fn() -> Frames) -> (DuplexStream, impl Future) {
    let (caller, server) = duplex(64 * 1024);
    let recorder = Arc::clone(&fixture.worker);
    let forge = fixture.forge();
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let path = PathAndQuery::from_static("/");
        let head = crate::record::fixture::head(request.method(), &path);
        let mut record = Record::open(&recorder, &head);
        record.routed(forge);
        record.responded(status);
        let mut response = Response::new(body());
        *response.status_mut() = status;
        let response = RecordedBody::attach(response, record);
        async move { Ok::<_, io::Error>(response) }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(server), service);
    (caller, connection)
}

#[tokio::test]
async fn hyper_sends_a_body_whole() {
    let fixture = Fixture::new();
    let (mut caller, connection) =
        serve(&fixture, StatusCode::OK, || frames([Ok(data("abc")), Ok(data("de"))]));
    caller.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    connection.await;
    let mut answer = String::new();
    caller.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), "{answer}");
    check(&fixture, "forwarded", "undecided", 5);
}

#[tokio::test]
async fn hyper_leaves_bodies_out_without_an_abort() {
    for (method, status) in
        [("HEAD", StatusCode::OK), ("GET", StatusCode::NO_CONTENT), ("GET", StatusCode::NOT_MODIFIED)]
    {
        let fixture = Fixture::new();
        let (mut caller, connection) = serve(&fixture, status, || frames([Ok(data("abc"))]));
        let request = format!("{method} / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        caller.write_all(request.as_bytes()).await.unwrap();
        connection.await;
        check(&fixture, "forwarded", "undecided", 0);
    }
}

#[tokio::test]
async fn a_caller_who_leaves_mid_body_aborts() {
    let fixture = Fixture::new();
    let (mut caller, connection) =
        serve(&fixture, StatusCode::OK, || Frames { frames: [Ok(data("abc"))].into(), ends: false });
    caller.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let reader = async move {
        let mut answer = Vec::new();
        while !answer.ends_with(b"abc\r\n") {
            assert_ne!(caller.read_buf(&mut answer).await.unwrap(), 0);
        }
        drop(caller);
    };
    tokio::join!(connection, reader);
    check(&fixture, "aborted", "undecided", 3);
}
