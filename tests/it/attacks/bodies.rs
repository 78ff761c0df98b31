//! Bodies: each arrives whole, ends where it ends, and leaves nothing behind when nobody wants it.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use super::framing::{FETCH, PKT_LINES, git, heads, smuggled};
use super::{CONTROLS, READER, answers, connect, passed, signed, statuses, until_closed, upstream};
use crate::support::gateway::{DEADLINE, TestGateway, policy_tokens, read_answer, status, wait_for};
use crate::support::http2::{Http2, tls_gateway};
use crate::support::policy::token;
use crate::support::spy::{HELLO, Spy};

/// What passes arrives as it was sent: lengths, chunks, and what comes behind them on the same connection.
#[test]
fn bodies_arrive_whole_and_end_where_they_end() {
    let site = git();
    let inner = smuggled();
    let length = inner.len();
    let rows = [
        (format!("Content-Length: {length}\r\n"), inner.clone(), inner.clone()),
        (
            "Transfer-Encoding: chunked\r\n".into(),
            format!("{length:x}\r\n{inner}\r\n0\r\n\r\n"),
            format!("{length:X}\r\n{inner}\r\n0\r\n\r\n"),
        ),
        (
            "Transfer-Encoding: Chunked\r\n".into(),
            format!("5\r\nhello\r\n{length:X}\r\n{inner}\r\n00\r\n\r\n"),
            "5\r\nhello\r\n".into(),
        ),
    ];
    for (fields, body, want) in rows {
        // The spy answers at each empty line, so one request at a time.
        let before = site.spy.seen().len();
        let mut stream = connect(&site.plain);
        let head = signed("POST", FETCH, &(fields.clone() + PKT_LINES));
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        assert_eq!(status(&read_answer(&mut stream)), 200, "{fields}");
        wait_for("the body", || site.spy.seen_since(before).contains(&want));
        let seen = site.spy.seen_since(before);
        assert!(seen.starts_with(&format!("POST {FETCH} HTTP/1.1\r\n")), "{seen}");
        let lengths = seen.to_ascii_lowercase();
        let lengths = lengths.split("\r\n\r\n").next().unwrap();
        assert_eq!(
            lengths.matches("content-length:").count() + lengths.matches("transfer-encoding:").count(),
            1,
            "{seen}"
        );
    }
    let before = site.spy.seen().len();
    let get = signed("GET", site.control, "Content-Length: 5\r\n") + "hello";
    let next = signed("GET", site.control, "Connection: close\r\n");
    let got = until_closed(&site.plain, (get + &next).as_bytes());
    assert_eq!(statuses(&got), [200, 200]);
    assert_eq!(heads(&site.spy.seen_since(before)), 2);
}

/// The body of a refused request is never read as the next request, and what comes behind it is judged.
#[test]
fn the_body_of_a_refused_request_is_no_request() {
    let site = git();
    let inner = signed("POST", FETCH, "X-Smuggled: smuggled\r\nContent-Length: 0\r\n");
    let length = inner.len();
    let chunked = format!("{length:x}\r\n{inner}\r\n0\r\n\r\n");
    let refused = "/acme/beta.git/git-upload-pack";
    for (fields, body) in [
        (format!("Content-Length: {length}\r\n"), inner.clone()),
        ("Transfer-Encoding: chunked\r\n".into(), chunked.clone()),
        (format!("Expect: 100-continue\r\nContent-Length: {length}\r\n"), inner),
        ("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n".into(), chunked),
    ] {
        for target in [refused, "/notifications", "/acme/../alpha", "/acme/alpha.git/git-receive-pack"] {
            for together in [true, false] {
                let head = signed("POST", target, &fields);
                let mut stream = connect(&site.plain);
                let first = if together {
                    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
                    read_answer(&mut stream)
                } else {
                    stream.write_all(head.as_bytes()).unwrap();
                    let first = read_answer(&mut stream);
                    // The gateway may have closed already.
                    let _late = stream.write_all(body.as_bytes());
                    first
                };
                assert!((400..500).contains(&status(&first)), "{target} {fields}: {first}");
                assert!(!first.contains("100 Continue"), "{first}");
                let _more = stream
                    .write_all(signed("GET", "/acme/gamma.git/HEAD", "Connection: close\r\n").as_bytes());
                let mut rest = String::new();
                let _ended = stream.read_to_string(&mut rest);
                for answer in answers(&rest) {
                    assert_eq!(status(&answer), 404, "{target} {fields}: {answer}");
                }
            }
        }
    }
    site.spy.saw_nothing();
}

/// Lengths, bodies and trailers over HTTP/2.
#[test]
fn http2_bodies_end_where_they_end() {
    let spy = Spy::start();
    let (gateway, certificate) = tls_gateway(&upstream(spy.address, "git"), READER);
    let bearer = format!("Bearer {}", token(1));
    let send = |method: &str, fields: &[(&str, &str)], body: Option<&[u8]>, trailers: &[(&str, &str)]| {
        let mut all = vec![
            (":method", method),
            (":scheme", "https"),
            (":authority", "git.example.com"),
            (":path", if method == "GET" { CONTROLS[1].1 } else { FETCH }),
            ("authorization", &bearer),
        ];
        all.extend(fields);
        Http2::connect(&gateway, &certificate).send(&all, body, trailers)
    };
    for method in ["GET", "POST"] {
        for fields in [
            [("content-length", "5"), ("content-length", "50")].as_slice(),
            &[("content-length", "5"), ("content-length", "5")],
            &[("content-length", "50"), ("content-length", "5")],
            &[("content-length", "5, 5")],
            &[("content-length", "+5")],
            &[("content-length", "0x5")],
            &[("content-length", "4")],
            &[("content-length", "")],
        ] {
            let before = spy.seen();
            assert_ne!(send(method, fields, Some(b"hello"), &[]), passed(), "{method} {fields:?}");
            let seen = spy.seen_since(before.len());
            assert_eq!(seen.matches("content-length").count(), usize::from(!seen.is_empty()), "{seen}");
        }
        for fields in [
            [("content-length", "5")].as_slice(),
            &[("content-length", "0"), ("content-length", "0")],
            &[("content-length", "0"), ("content-length", "5")],
        ] {
            let before = spy.seen();
            assert_ne!(send(method, fields, None, &[]), passed(), "{method} {fields:?}");
            assert_eq!(spy.seen(), before, "{method} {fields:?}");
        }
    }
    // A host that folds names would read these.
    let before = spy.seen();
    for folded in [("content_length", "50"), ("transfer_encoding", "chunked")] {
        assert_ne!(
            send("POST", &[folded, ("content-length", "5")], Some(b"hello"), &[]),
            passed(),
            "{folded:?}"
        );
    }
    assert_eq!(spy.seen(), before);
    assert_eq!(send("POST", &[("content-length", "5")], Some(b"hello"), &[]), passed());
    wait_for("the body", || spy.seen().ends_with("\r\n\r\nhello"));
}

/// CVE-2026-50572: requests that are refused while their body is on its way leave nothing behind.
#[test]
fn ten_thousand_early_refusals_leave_nothing_behind() {
    const CONNECTIONS: usize = 4;
    const EACH: usize = 2_500;
    let spy = Spy::start();
    let gateway = TestGateway::before(spy.address, "git", READER);
    let address = gateway.address();
    let body = vec![b'x'; 64 * 1024];
    let senders: Vec<_> = (0..CONNECTIONS)
        .map(|seed| {
            let body = body.clone();
            thread::spawn(move || {
                for round in 0..EACH {
                    let mut stream = std::net::TcpStream::connect(address).unwrap();
                    stream.set_read_timeout(Some(DEADLINE)).unwrap();
                    stream.set_write_timeout(Some(DEADLINE)).unwrap();
                    let framing = if round % 2 == 0 {
                        "Content-Length: 10000000\r\n"
                    } else {
                        "Transfer-Encoding: chunked\r\n"
                    };
                    let target =
                        ["/acme/beta.git/git-upload-pack", "/x/../y", "/notifications"][(round + seed) % 3];
                    stream.write_all(signed("POST", target, framing).as_bytes()).unwrap();
                    // The gateway may have refused and closed by now.
                    let _sent = if round % 2 == 0 {
                        stream.write_all(&body[..=(round * 97) % body.len()])
                    } else {
                        stream.write_all(b"5\r\nhello\r\nffff\r\nxx")
                    };
                    let mut answer = [0; 12];
                    stream.read_exact(&mut answer).unwrap();
                    assert!(answer.starts_with(b"HTTP/1.1 4"), "{answer:?}");
                }
            })
        })
        .collect();
    for sender in senders {
        sender.join().unwrap();
    }
    for gauge in ["portcullis_requests_in_flight", "portcullis_connections_open"] {
        assert!(gateway.running().metrics().contains(gauge), "no {gauge}");
        wait_for(gauge, || gateway.metric(gauge) == 0.0);
    }
    spy.saw_nothing();
    assert_eq!(status(&gateway.request("GET", CONTROLS[1].1, "")), 200);
}

/// A host that never reads an upload, and answers at once: its connection is not used again.
#[test]
fn a_connection_with_an_unread_upload_is_not_used_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let host = thread::spawn(move || {
        let mut first = listener.accept().unwrap().0;
        let mut head = [0; 1024];
        let _read = first.read(&mut head).unwrap();
        first.write_all(HELLO.as_bytes()).unwrap();
        first.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut second = listener.accept().unwrap().0;
        let count = second.read(&mut head).unwrap();
        second.write_all(HELLO.as_bytes()).unwrap();
        let mut rest = Vec::new();
        let _ended = first.read_to_end(&mut rest);
        (String::from_utf8_lossy(&head[..count]).into_owned(), rest)
    });
    let top = "listeners: [{ bind: 127.0.0.1:0 }]";
    let gateway = TestGateway::configured(top, &upstream(address, "git"), &[policy_tokens(&[(1, READER)])]);
    let mut stream = connect(&gateway);
    let upload = signed("POST", FETCH, &format!("{PKT_LINES}Content-Length: 1000\r\n")) + "x";
    stream.write_all(upload.as_bytes()).unwrap();
    assert_eq!(status(&read_answer(&mut stream)), 200);
    let answer = gateway.request("GET", CONTROLS[1].1, "");
    assert_eq!(status(&answer), 200);
    drop(stream);
    let (second, rest) = host.join().unwrap();
    assert!(second.starts_with("GET "), "{second}");
    assert!(!String::from_utf8_lossy(&rest).contains("GET "), "{rest:?}");
}
