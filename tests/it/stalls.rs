//! Clients that stop in the middle: what they held is given back.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, channel};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Version};
use hyper::body::{Body, Frame};

use crate::support::gateway::{DEADLINE, TestGateway, authorization, head, policy_tokens};
use crate::support::policy::token;
use crate::support::secure::{Authority, Http2, get, http2, run, secure_gateway};
use crate::support::wire::{Host, Wire};

const BODY: &str = "resource_owner: acme\nrepositories: [alpha]\npermissions: { contents: write }";
const LIMITS: &str = "limits: { body_idle_time: 200ms }";
const FILE: &str = "/repos/acme/alpha/contents/a.bin";

fn upstreams(host: &Host) -> String {
    format!(
        "  - {{ name: forge, hosts: ['*'], url: 'http://{}', catalogs: [github], identity: {{ trusted_header: X-WEBAUTH-USER }}, timeouts: {{ response: 10m }} }}",
        host.address
    )
}

/// A host that answers without an end, and says when nobody wants to hear it any more.
fn endless() -> (Host, Receiver<()>) {
    let (left, ended) = channel();
    let host = Host::start(move |mut wire, _| {
        if wire.head().is_none() {
            return;
        }
        wire.socket().set_write_timeout(None).unwrap();
        let length = 1_u64 << 40;
        wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"));
        let block = vec![b'x'; 65536];
        while wire.try_send(&block).is_ok() {}
        left.send(()).unwrap();
    });
    (host, ended)
}

fn secure(host: &Host) -> (Authority, TestGateway) {
    let authority = Authority::new();
    let gateway = secure_gateway(&authority, LIMITS, &upstreams(host), &[policy_tokens(&[(1, BODY)])]);
    (authority, gateway)
}

#[test]
fn a_client_that_does_not_read_is_let_go() {
    let (host, ended) = endless();
    let top = format!("listeners: [{{ bind: 127.0.0.1:0 }}]\n{LIMITS}");
    let gateway = TestGateway::configured(&top, &upstreams(&host), &[policy_tokens(&[(1, BODY)])]);
    let mut client = Wire::connect(gateway.address());
    client.send(head("GET", FILE, &authorization(1)));
    ended.recv_timeout(DEADLINE).expect("the connection to the host is closed");
}

#[test]
fn a_stream_whose_window_stays_shut_is_let_go() {
    let (host, ended) = endless();
    let (authority, gateway) = secure(&host);
    run(async {
        let mut client = Http2::connect(gateway.address(), &authority).await;
        // Kept, and not read; the connection goes on, and answers pings.
        let answer = client.send(get(FILE)).await.unwrap();
        assert_eq!(answer.version(), Version::HTTP_2);
        tokio::task::spawn_blocking(move || ended.recv_timeout(DEADLINE))
            .await
            .unwrap()
            .expect("the connection to the host is closed");
        assert!(!client.connection.is_finished());
        drop(answer);
    });
}

#[test]
fn an_upload_that_stands_still_is_let_go() {
    let (left, ended) = channel();
    let host = Host::start(move |mut wire, _| {
        wire.closed();
        left.send(()).unwrap();
    });
    let (authority, gateway) = secure(&host);
    run(async {
        let (mut sender, connection) = http2(gateway.address(), &authority).await;
        let request = Request::put(format!("https://git.example.com{FILE}"))
            .header("authorization", format!("Bearer {}", token(1)))
            .body(Standstill(Some(Bytes::from_static(b"x"))))
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 408);
        assert!(!connection.is_finished());
    });
    ended.recv_timeout(DEADLINE).expect("the connection to the host is closed");
    let line = &gateway.audit()[0];
    assert_eq!((&line["reason"], &line["effect"]), (&"limit_exceeded".into(), &"refused".into()), "{line}");
}

/// One piece, and then nothing, not even an end.
struct Standstill(Option<Bytes>);

impl Body for Standstill {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.take().map_or(Poll::Pending, |piece| Poll::Ready(Some(Ok(Frame::data(piece)))))
    }
}
