//! Bodies pass unharmed, in both directions, in constant memory; where one breaks off, both sides learn of it.

use std::fs;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use crate::support::gateway::{DEADLINE, TestGateway, authorization, head, wait_for};
use crate::support::wire::{Host, Wire, field, ok};

const WRITER: &str = "resource_owner: acme\nrepositories: [alpha]\npermissions: { contents: write }";
const FILE: &str = "/repos/acme/alpha/contents/a.bin";
const GIBIBYTE: u64 = 1 << 30;
/// What may lie in sockets and buffers on the way.
const ON_THE_WAY: u64 = 32 << 20;

fn before(host: &Host) -> TestGateway {
    TestGateway::before(host.address, "github", WRITER)
}

/// A head with token 1.
fn ask(method: &str, headers: &str) -> String {
    head(method, FILE, &format!("{}{headers}", authorization(1)))
}

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Who pours, and how far it came.
#[derive(Default)]
struct Pouring {
    sent: AtomicU64,
    blocked: AtomicBool,
}

impl Pouring {
    /// Sends a gibibyte, and says so when the other end takes nothing for half a second.
    fn pour(&self, wire: &mut Wire) {
        let block = vec![b'x'; 256 * 1024];
        let half_a_second = Some(Duration::from_millis(500));
        wire.socket().set_write_timeout(half_a_second).unwrap();
        while self.sent() < GIBIBYTE {
            let left = usize::try_from(GIBIBYTE - self.sent()).unwrap();
            match wire.write(&block[..left.min(block.len())]) {
                Ok(count) => drop(self.sent.fetch_add(count as u64, Ordering::SeqCst)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.blocked.store(true, Ordering::SeqCst);
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    #[track_caller]
    fn stands_still(&self) {
        wait_for("back-pressure", || self.blocked.load(Ordering::SeqCst));
        let taken = self.sent();
        assert!(taken < ON_THE_WAY, "{taken} bytes taken that nobody has read");
    }
}

/// Watches the memory of this process while `work` runs.
fn growth_during(what: &str, work: impl FnOnce()) {
    let before = resident();
    let done = AtomicBool::new(false);
    let most = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Ordering::SeqCst) {
                most = resident().max(most);
                std::thread::park_timeout(Duration::from_millis(5));
            }
            most
        });
        work();
        done.store(true, Ordering::SeqCst);
        watcher.join().unwrap()
    });
    let grown = most.saturating_sub(before);
    println!("{what}: {} KiB more in memory", grown / 1024);
    // Other tests run in this process too.
    assert!(grown < 128 << 20, "{what}: {grown} bytes more in memory");
}

#[test]
fn a_gibibyte_goes_down_in_constant_memory_and_a_reader_that_stops_stops_the_host() {
    let pouring = Arc::new(Pouring::default());
    let shared = Arc::clone(&pouring);
    let host = Host::start(move |mut wire, _| {
        while wire.head().is_some() {
            wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {GIBIBYTE}\r\n\r\n"));
            shared.pour(&mut wire);
        }
    });
    let gateway = before(&host);
    growth_during("a gibibyte down", || {
        let mut client = Wire::connect(gateway.address());
        client.send(ask("GET", ""));
        let head = client.head().unwrap();
        let length = GIBIBYTE.to_string();
        assert_eq!(field(&head, "content-length"), Some(length.as_str()));
        pouring.stands_still();
        client.skip(GIBIBYTE);
    });
    let audit = gateway.audit();
    assert_eq!(audit[0]["response_bytes"], GIBIBYTE);
    assert_eq!(audit[0]["effect"], "forwarded");
}

#[test]
fn a_gibibyte_goes_up_in_constant_memory_and_a_host_that_stops_stops_the_client() {
    let (go, went) = mpsc::channel();
    let went = std::sync::Mutex::new(went);
    let host = Host::start(move |mut wire, _| {
        wire.head().unwrap();
        went.lock().unwrap().recv_timeout(DEADLINE).unwrap();
        wire.skip(GIBIBYTE);
        wire.send(ok("stored"));
        wire.closed();
    });
    let gateway = before(&host);
    growth_during("a gibibyte up", || {
        let pouring = Arc::new(Pouring::default());
        let mut client = Wire::connect(gateway.address());
        client.send(ask("PUT", &format!("Content-Length: {GIBIBYTE}\r\n")));
        let shared = Arc::clone(&pouring);
        let sender = std::thread::spawn(move || {
            shared.pour(&mut client);
            client
        });
        pouring.stands_still();
        go.send(()).unwrap();
        assert_eq!(sender.join().unwrap().answer().1, "stored");
    });
    assert_eq!(gateway.audit()[0]["request_bytes"], GIBIBYTE);
}

/// A host that shows each request, head and `body` bytes of body, and answers `stored`.
fn showing(body: usize) -> (Host, mpsc::Receiver<String>) {
    let (show, shown) = mpsc::channel();
    let host = Host::start(move |mut wire, _| {
        while let Some(head) = wire.head() {
            let body = wire.exactly(body);
            show.send(head + &body).unwrap();
            wire.send(ok("stored"));
        }
    });
    (host, shown)
}

#[test]
fn uploads_with_a_length_and_in_chunks_arrive_as_they_were_sent() {
    let gzip = "\u{1f}\u{b}not really gzip, and nobody looks";
    let (host, shown) = showing(gzip.len());
    let gateway = before(&host);
    let mut client = Wire::connect(gateway.address());
    let fields = format!("Content-Encoding: gzip\r\nContent-Length: {}\r\n", gzip.len());
    client.send(ask("PUT", &fields) + gzip);
    assert_eq!(client.answer().1, "stored");
    let seen = shown.recv_timeout(DEADLINE).unwrap();
    assert!(seen.ends_with(gzip), "{seen}");
    assert_eq!(field(&seen, "content-encoding"), Some("gzip"));
    assert_eq!(field(&seen, "transfer-encoding"), None);

    let chunks = "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
    let (host, shown) = showing(chunks.len());
    let gateway = before(&host);
    let mut client = Wire::connect(gateway.address());
    client.send(ask("PUT", "Transfer-Encoding: chunked\r\n") + "5\r\nhello\r\n");
    client.send("6\r\n world\r\n0\r\n\r\n");
    assert_eq!(client.answer().1, "stored");
    let seen = shown.recv_timeout(DEADLINE).unwrap();
    assert_eq!(field(&seen, "transfer-encoding"), Some("chunked"), "{seen}");
    assert!(seen.contains("hello") && seen.contains(" world") && seen.ends_with("0\r\n\r\n"), "{seen}");
    // The same connection goes on.
    client.send(ask("PUT", "Transfer-Encoding: chunked\r\n") + chunks);
    assert_eq!(client.answer().1, "stored");
}

#[test]
fn what_a_client_may_not_say_it_may_not_say_in_trailers_either() {
    let (show, shown) = mpsc::channel();
    let host = Host::start(move |mut wire, _| {
        let head = wire.head().unwrap();
        let body = wire.until("0\r\n").unwrap() + &wire.until("\r\n\r\n").unwrap_or_default();
        show.send(head + &body).unwrap();
        wire.send(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum, set-cookie, x-request-id\r\n\r\n5\r\nhello\r\n0\r\nx-sum: down\r\nset-cookie: a=b\r\nx-request-id: theirs\r\n\r\n",
        );
        wire.closed();
    });
    let gateway = before(&host);
    let mut client = Wire::connect(gateway.address());
    let fields =
        "TE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum, X-WEBAUTH-USER, x_forwarded_for\r\n";
    client.send(
        ask("PUT", fields)
            + "5\r\nhello\r\n0\r\nx-sum: up\r\nX-WEBAUTH-USER: root\r\nx_forwarded_for: evil\r\n\r\n",
    );
    let head = client.head().unwrap();
    let body = client.until("x-sum: down\r\n").unwrap() + &client.until("\r\n").unwrap();
    assert_eq!(field(&head, "transfer-encoding"), Some("chunked"));
    assert!(body.contains("hello"), "{body}");
    assert!(!body.contains("cookie") && !body.contains("theirs"), "{body}");
    let seen = shown.recv_timeout(DEADLINE).unwrap();
    assert!(seen.contains("te: trailers\r\n") && seen.contains("x-sum: up\r\n"), "{seen}");
    assert!(!seen.contains("root") && !seen.contains("evil"), "{seen}");
}

#[test]
fn a_client_is_told_to_go_on_only_after_the_decision() {
    let (host, shown) = showing(5);
    let gateway = before(&host);
    let fields = "Content-Length: 5\r\nExpect: 100-continue\r\n";
    let mut client = Wire::connect(gateway.address());
    client.send(ask("PUT", fields));
    assert_eq!(client.head().unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("hello");
    assert_eq!(client.answer().1, "stored");
    assert!(shown.recv_timeout(DEADLINE).unwrap().ends_with("hello"));

    let mut client = Wire::connect(gateway.address());
    let target = "/repos/acme/beta/contents/a.bin";
    client.send(head("PUT", target, &format!("{}{fields}", authorization(1))));
    let (head, _) = client.answer();
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    client.closed();
    assert_eq!(host.connections(), 1);
}

/// What the client gets for `method`, its headers and the host's bytes; the host closes behind them where told so.
fn exchange(method: &str, headers: &str, answer: &'static str) -> (String, String) {
    let host = Host::start(move |mut wire, _| {
        wire.head();
        wire.send(answer);
    });
    let gateway = before(&host);
    let mut client = Wire::connect(gateway.address());
    client.send(ask(method, &format!("{headers}Connection: close\r\n")));
    let head = client.head().unwrap();
    (head, client.rest().unwrap())
}

#[test]
fn answers_keep_their_shape() {
    let (head, body) = exchange(
        "GET",
        "Range: bytes=0-4\r\n",
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-4/11\r\nContent-Length: 5\r\n\r\nhello",
    );
    assert!(head.starts_with("HTTP/1.1 206 ") && body == "hello", "{head}{body}");
    assert_eq!(field(&head, "content-range"), Some("bytes 0-4/11"));
    let (head, body) = exchange(
        "GET",
        "Range: bytes=99-\r\n",
        "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */11\r\nContent-Length: 0\r\n\r\n",
    );
    assert!(head.starts_with("HTTP/1.1 416 ") && body.is_empty(), "{head}{body}");
    assert_eq!(field(&head, "content-range"), Some("bytes */11"));
    let (head, body) = exchange("HEAD", "", "HTTP/1.1 200 OK\r\nContent-Length: 4711\r\n\r\n");
    assert_eq!((field(&head, "content-length"), body.as_str()), (Some("4711"), ""));
    let (head, body) = exchange("GET", "", "HTTP/1.1 204 No Content\r\nETag: \"a\"\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 204 ") && body.is_empty(), "{head}{body}");
    assert_eq!((field(&head, "content-length"), field(&head, "transfer-encoding")), (None, None));
    let (head, body) = exchange(
        "GET",
        "If-None-Match: \"a\"\r\n",
        "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 4711\r\n\r\n",
    );
    assert!(head.starts_with("HTTP/1.1 304 ") && body.is_empty(), "{head}{body}");
    assert_eq!(field(&head, "etag"), Some("\"a\""));
}

#[test]
fn interim_answers_of_the_host_do_not_harm_the_final_one() {
    // hyper's server has no way to send 103; the client gets the final answer, which repeats what mattered.
    let (head, body) = exchange(
        "GET",
        "",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nLink: </b>\r\nContent-Length: 5\r\n\r\nhello",
    );
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!((field(&head, "link"), body.as_str()), (Some("</b>"), "hello"));
}

#[test]
fn an_old_host_that_closes_at_the_end_is_answered_for_in_our_version() {
    for answer in [
        "HTTP/1.1 200 OK\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ] {
        let (head, body) = exchange("GET", "", answer);
        // An intermediary speaks its own version (RFC 9110 section 6.2), so that a cut body can be told from a whole one.
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(body == "hello" || body == "5\r\nhello\r\n0\r\n\r\n", "{body}");
    }
}

#[test]
fn large_heads_of_answers_pass() {
    let host = Host::answering(|_| {
        let field = format!("X-Large: {}\r\n", "x".repeat(8000));
        format!("HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n", field.repeat(8))
    });
    let gateway = before(&host);
    let mut client = Wire::connect(gateway.address());
    client.send(ask("GET", ""));
    let (head, _) = client.answer();
    assert_eq!(head.matches("x-large: ").count(), 8, "{}", head.len());
}

#[test]
fn a_client_that_leaves_takes_its_upstream_connection_with_it() {
    let (left, leaves) = mpsc::channel();
    let host = Host::start(move |mut wire, _| {
        let head = wire.head().unwrap();
        if head.starts_with("GET") {
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nhello");
        } else {
            wire.exactly(5);
        }
        wire.closed();
        left.send(()).unwrap();
    });
    let gateway = before(&host);
    let mut client = Wire::connect(gateway.address());
    client.send(ask("GET", ""));
    client.until("hello").unwrap();
    client.reset();
    leaves.recv_timeout(DEADLINE).unwrap();
    let mut client = Wire::connect(gateway.address());
    client.send(ask("PUT", "Content-Length: 1000000\r\n") + "hello");
    wait_for("the upload to arrive", || host.connections() == 2);
    client.reset();
    leaves.recv_timeout(DEADLINE).unwrap();
    wait_for("both to end", || gateway.metric("portcullis_requests_in_flight") < 1.0);
    let audit = gateway.audit();
    let effects: Vec<_> = audit.iter().map(|line| &line["effect"]).collect();
    assert_eq!(effects, ["aborted", "aborted"]);
    assert_eq!(audit[0]["verdict"], "allow");
}

#[test]
fn an_answer_that_breaks_off_is_never_seen_as_whole() {
    for (answer, seen) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello", "hello"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "5\r\nhello\r\n"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello", "5\r\nhello\r\n"),
    ] {
        let host = Host::start(move |mut wire, _| {
            wire.head();
            wire.send(answer);
        });
        let gateway = before(&host);
        let mut client = Wire::connect(gateway.address());
        client.send(ask("GET", ""));
        client.head().unwrap();
        let rest = client.rest().unwrap_or_default();
        assert!(rest.is_empty() || rest == seen, "{rest:?}");
        let audit = gateway.audit();
        assert_eq!(
            (&audit[0]["effect"], &audit[0]["reason"]),
            (&"aborted".into(), &"upstream_failed".into())
        );
    }
}
