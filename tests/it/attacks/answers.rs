//! Answers of a host that does not keep to HTTP: none becomes somebody else's.

use super::{CONTROLS, READER};
use crate::support::gateway::{TestGateway, status};
use crate::support::spy::{HELLO, Spy};

/// Answers that two parsers cut differently do not reach the client, and do not become the next answer.
#[test]
fn answers_with_two_readings_reach_nobody() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: a\r\n b\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 5\r\n\r\nhello",
        "SSH-2.0-x\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
    ] {
        let spy = Spy::answering(answer);
        let gateway = TestGateway::before(spy.address, "github", READER);
        let got = gateway.request("GET", CONTROLS[0].1, "");
        assert_eq!(status(&got), 502, "{answer:?}: {got}");
    }
}

/// A host that sends more than its answer: the rest is nobody's answer.
#[test]
fn what_follows_an_answer_is_nobodys_answer() {
    const EVIL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    for first in [
        HELLO.to_owned(),
        "HTTP/1.1 204 No Content\r\n\r\n".into(),
        "HTTP/1.1 304 Not Modified\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
    ] {
        let answer: &'static str = Box::leak(format!("{first}{EVIL}").into_boxed_str());
        let spy = Spy::answering(answer);
        let gateway = TestGateway::before(spy.address, "github", READER);
        for method in ["GET", "HEAD", "GET", "HEAD", "GET", "GET", "GET", "GET"] {
            let got = gateway.request(method, CONTROLS[0].1, "Connection: close\r\n");
            assert!(!got.contains("evil"), "{first:?} {method}: {got}");
        }
    }
}

/// Interim answers do not stand for the final one.
#[test]
fn interim_answers_are_not_final() {
    let spy = Spy::answering(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\nSet-Cookie: a=b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\nSet-Cookie: a=b\r\n\r\nhello",
    );
    let gateway = TestGateway::before(spy.address, "github", READER);
    let answer = gateway.request("GET", CONTROLS[0].1, "Connection: close\r\n");
    assert_eq!(status(&answer), 200, "{answer}");
    assert!(answer.ends_with("hello") && !answer.to_ascii_lowercase().contains("cookie"), "{answer}");
}
