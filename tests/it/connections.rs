//! When a connection goes on, to a client and to a host, and how it ends: what was said last is heard.

use std::sync::mpsc;

use crate::support::gateway::{DEADLINE, TestGateway, authorization, head, reason, status};
use crate::support::wire::{Host, Wire, field, ok};

const BODY: &str = "resource_owner: acme\nrepositories: [alpha]\npermissions: { contents: write }";
const COMMITS: &str = "/repos/acme/alpha/commits";
const FILE: &str = "/repos/acme/alpha/contents/a.bin";
const BYTES: &str = "Content-Type: application/octet-stream\r\n";

/// More than a gateway reads at a time.
const FLOOD: usize = 1 << 20;

fn before(host: &Host) -> TestGateway {
    TestGateway::before(host.address, "github", BODY)
}

fn ask(method: &str, target: &str, headers: &str) -> String {
    head(method, target, &format!("{}{headers}", authorization(1)))
}

/// A reset instead of an end may cost a client the answer (RFC 9112 section 9.6).
#[test]
fn an_answer_is_followed_by_an_end_though_the_client_goes_on_sending() {
    let host = Host::answering(|_| ok("hello"));
    let gateway = before(&host);
    for (head, want) in [
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 4\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\n".to_owned(), 400),
        (ask("GET", COMMITS, "Connection: close\r\n"), 200),
        (ask("PUT", "/nowhere", &format!("Content-Length: {FLOOD}\r\n")), 403),
    ] {
        let mut client = Wire::connect(gateway.address());
        client.send(&head);
        client.send(vec![b'x'; FLOOD]);
        let (answer, _) = client.answer();
        assert_eq!(status(&answer), want, "{head:?}");
        assert_eq!(field(&answer, "connection"), Some("close"), "{head:?}");
        assert_eq!(client.rest().unwrap(), "", "{head:?}");
    }
}

/// Shows each head, answers as `answer` says, and tells the number of its connection.
fn numbered(answer: &'static str) -> (Host, mpsc::Receiver<usize>) {
    let (tell, told) = mpsc::channel();
    let host = Host::start(move |mut wire, number| {
        while let Some(head) = wire.head() {
            let length = field(&head, "content-length").map_or(0, |length| length.parse().unwrap());
            wire.exactly(length);
            tell.send(number).unwrap();
            if wire.try_send(answer).is_err() {
                return;
            }
        }
    });
    (host, told)
}

const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// The connections to the host that two equal requests went over.
fn connections(request: &str, answer: &'static str) -> Vec<usize> {
    let (host, told) = numbered(answer);
    let gateway = before(&host);
    let mut client = Wire::connect(gateway.address());
    for _ in 0..2 {
        client.send(request);
        let (head, body) = client.answer();
        assert!(matches!(status(&head), 200 | 204), "{head}{body}");
    }
    told.try_iter().collect()
}

#[test]
fn a_connection_is_kept_only_where_nobody_could_cut_it_otherwise() {
    let sized = format!("{BYTES}Content-Length: 5\r\n");
    let get = || ask("GET", COMMITS, "");
    let put = || ask("PUT", FILE, &sized) + "hello";
    assert_eq!(connections(&get(), HELLO), [1, 1]);
    assert_eq!(connections(&put(), HELLO), [1, 1]);
    // Hosts that leave such a body unread take it for the next request.
    assert_eq!(connections(&(ask("GET", COMMITS, &sized) + "hello"), HELLO), [1, 2]);
    assert_eq!(connections(&(ask("DELETE", FILE, &sized) + "hello"), HELLO), [1, 2]);
    // What is announced where nothing may come.
    assert_eq!(connections(&put(), "HTTP/1.1 204 No Content\r\n\r\n"), [1, 1]);
    assert_eq!(connections(&put(), "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"), [1, 2]);
}

/// A host that answers early may never read the rest, whenever the answer ends.
#[test]
fn a_connection_over_which_an_answer_came_early_is_not_kept() {
    let host = Host::start(|mut wire, _| {
        while let Some(head) = wire.head() {
            if head.starts_with("PUT") {
                wire.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe");
                wire.exactly(5);
                wire.send("llo");
            } else {
                wire.send(ok("hello"));
            }
        }
    });
    let gateway = before(&host);
    let mut client = Wire::connect(gateway.address());
    client.send(ask("PUT", FILE, &format!("{BYTES}Content-Length: 5\r\n")));
    assert_eq!(status(&client.head().unwrap()), 200);
    client.send("12345");
    assert_eq!(client.exactly(5), "hello");
    client.send(ask("GET", COMMITS, ""));
    assert_eq!(client.answer().1, "hello");
    assert_eq!(host.connections(), 2);
}

/// What a client makes of one answer: `None` where it broke off.
fn heard(client: &mut Wire) -> Option<String> {
    let head = client.head()?;
    if let Some(length) = field(&head, "content-length") {
        let length: usize = length.parse().unwrap();
        let rest = client.rest().unwrap_or_default();
        return rest.get(..length).map(str::to_owned);
    }
    let mut body = String::new();
    loop {
        let size = client.until("\r\n")?;
        let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
        let piece = client.until("\r\n").filter(|piece| piece.len() == size + 2)?;
        if size == 0 {
            return Some(body);
        }
        body += piece.trim_end();
    }
}

/// Whatever the pieces in which an answer comes, it goes on as it is; wherever it breaks off, its client can tell.
#[test]
fn an_answer_in_pieces_is_whole_and_one_that_breaks_off_is_not() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhelloworld",
        "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\nContent-Length: 10\n\nhelloworld",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n05;x=y\r\nworld\r\n0\r\nx: y\r\n\r\n",
    ] {
        let cut = std::sync::atomic::AtomicUsize::new(0);
        let host = Host::start(move |mut wire, _| {
            if wire.head().is_none() {
                return;
            }
            let at = cut.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let (first, second) = answer.split_at(at / 2);
            wire.send(first);
            if at.is_multiple_of(2) {
                // So that the rest mostly comes for itself.
                std::thread::yield_now();
                wire.send(second);
            }
        });
        let gateway = before(&host);
        for at in 0..answer.len() * 2 {
            let mut client = Wire::connect(gateway.address());
            client.send(ask("GET", COMMITS, "Connection: close\r\n"));
            let got = heard(&mut client);
            if at.is_multiple_of(2) {
                assert_eq!(got.as_deref(), Some("helloworld"), "{at}");
            } else {
                let failed = |got: &String| got.contains("upstream_failed");
                assert!(got.as_ref().is_none_or(failed), "{at}: {got:?}");
            }
        }
    }
}

/// Old clients know the end of a body by the end of the connection.
#[test]
fn an_old_client_can_tell_an_answer_that_breaks_off_from_a_whole_one() {
    for (end, is_whole) in [("0\r\n\r\n", true), ("", false), ("5\r\nhel", false), ("x\r\n", false)] {
        let host = Host::start(move |mut wire, _| {
            while wire.head().is_some() {
                wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
                wire.send(end);
                if !is_whole {
                    return;
                }
            }
        });
        let gateway = before(&host);
        let mut client = Wire::connect(gateway.address());
        client.send(ask("GET", COMMITS, "").replacen("HTTP/1.1", "HTTP/1.0", 1));
        let rest = client.rest();
        assert_eq!(rest.is_ok(), is_whole, "{end:?}: {rest:?}");
        assert!(rest.is_err() || rest.unwrap().ends_with("\r\n\r\nhello"));
    }
}

/// An upload that its client breaks off looks broken to the host too.
#[test]
fn an_upload_that_breaks_off_is_never_whole() {
    for (fields, body) in [
        ("Content-Length: 10\r\n", "hello"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\nx"),
    ] {
        let (tell, told) = mpsc::channel();
        let host = Host::start(move |mut wire, _| {
            let _head = wire.head();
            wire.until("hello").expect("the beginning");
            tell.send(None).unwrap();
            tell.send(Some(wire.rest())).unwrap();
        });
        let gateway = before(&host);
        let mut client = Wire::connect(gateway.address());
        client.send(ask("PUT", FILE, &format!("{BYTES}{fields}")));
        let (first, second) = body.split_at(body.find("hello").unwrap() + 5);
        client.send(first);
        assert!(told.recv_timeout(DEADLINE).unwrap().is_none());
        client.send(second);
        drop(client);
        let rest = told.recv_timeout(DEADLINE).unwrap().unwrap().unwrap_or_default();
        assert!(rest.is_empty() || rest == "\r\n", "{fields}: {rest:?}");
    }
}

/// Each of these is told why, and none of what it sent is taken for a request.
#[test]
fn a_client_that_waits_to_be_told_hears_the_refusal_instead() {
    let host = Host::answering(|_| ok("hello"));
    let gateway = before(&host);
    let mut client = Wire::connect(gateway.address());
    client.send(ask("PUT", "/nowhere", "Content-Length: 5\r\nExpect: 100-continue\r\n"));
    let (answer, body) = client.answer();
    assert_eq!((status(&answer), field(&answer, "connection")), (403, Some("close")));
    assert_eq!(reason(&(answer + &body)), "no_route");
    client.send(ask("GET", COMMITS, ""));
    assert_eq!(client.rest().unwrap_or_default(), "");
    assert_eq!(host.connections(), 0);
}
