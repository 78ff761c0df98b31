//! Message framing: one request in is one request out, whatever stands in or behind it.

use std::io::{Read, Write};

use super::{CONTROLS, READER, Site, answers, connect, signed, site, sites, statuses, until_closed};
use crate::support::gateway::{TestGateway, authorization, read_answer, reason, status, wait_for};
use crate::support::spy::Spy;

/// A POST that [`READER`] may make.
pub(super) const FETCH: &str = "/acme/alpha.git/git-upload-pack";

/// What git says of its bodies. One whose kind is not said could be a form, and would be looked into.
pub(super) const PKT_LINES: &str = "Content-Type: application/x-git-upload-pack-request\r\n";

pub(super) fn git() -> Site {
    site("git", CONTROLS[1].1)
}

/// What an attacker wants to reach the host unjudged.
pub(super) fn smuggled() -> String {
    "POST /acme/smuggled.git/git-receive-pack HTTP/1.1\r\nHost: git.example.com\r\nContent-Length: 0\r\n\r\n"
        .into()
}

/// Whether the host saw the beginning of a request that nobody judged.
fn saw_smuggled(site: &Site) -> bool {
    site.spy.seen().contains("smuggled")
}

/// Fields behind which one parser reads chunks, and another does not.
const CHUNKED_OR_NOT: [&str; 26] = [
    "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked, identity\r\n",
    "Transfer-Encoding: identity, chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Transfer-Encoding: xchunked\r\n",
    "Transfer-Encoding: \"chunked\"\r\n",
    "Transfer-Encoding: chunked;q=1\r\n",
    "Transfer-Encoding: chunked \r\n",
    "Transfer-Encoding:\tchunked\r\n",
    "Transfer-Encoding:\x0bchunked\r\n",
    "Transfer-Encoding : chunked\r\n",
    "Transfer-Encoding\t: chunked\r\n",
    " Transfer-Encoding: chunked\r\n",
    "X: y\r\n Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding:\r\n chunked\r\n",
    "Transfer_Encoding: chunked\r\n",
    "X: y\nTransfer-Encoding: chunked\r\n",
    "X: y\rTransfer-Encoding: chunked\r\n",
    "X: y\0Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\n",
    "Transfer-Encoding: \r\n",
];

/// Fields behind which parsers read bodies of different lengths.
const LENGTH_OR_NOT: [&str; 22] = [
    "Content-Length: 0\r\nContent-Length: 5\r\n",
    "Content-Length: 5\r\nContent-Length: 0\r\n",
    "Content-Length: 0\r\nContent-Length: 0\r\n",
    "Content-Length: 0, 5\r\n",
    "Content-Length: 0,0\r\n",
    "Content-Length: +0\r\n",
    "Content-Length: -1\r\n",
    "Content-Length: 0x5\r\n",
    "Content-Length: 0_0\r\n",
    "Content-Length: \r\n",
    "Content-Length: 0 \r\n",
    "Content-Length: 0\x0b\r\n",
    "Content-Length : 0\r\n",
    "Content-Length: 18446744073709551616\r\n",
    "Content-Length: 99999999999999999999999999\r\n",
    "Content_Length: 0\r\n",
    "Content-Length: 1e1\r\n",
    ": x\r\n",
    "X\r\n",
    "X Y: z\r\n",
    "\r: x\r\n",
    "Host: git.example.com\r\n",
];

/// Requests that two parsers cut differently: field lines, and what follows the head.
fn smuggling_attempts() -> Vec<(&'static str, String)> {
    let inner = smuggled();
    let ended = format!("0\r\n\r\n{inner}");
    let hidden = format!("{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len());
    let chunked =
        CHUNKED_OR_NOT.into_iter().flat_map(|fields| [(fields, ended.clone()), (fields, hidden.clone())]);
    let lengths = LENGTH_OR_NOT.into_iter().map(|fields| (fields, inner.clone()));
    chunked.chain(lengths).collect()
}

/// RUSTSEC-2021-0078, RUSTSEC-2021-0079, RUSTSEC-2021-0020, RUSTSEC-2020-0008, CVE-2026-2835: every head with two
/// readings is refused, alone, behind a good request and byte by byte, and ends its connection.
#[test]
fn heads_with_two_readings_end_the_connection() {
    let site = git();
    for (fields, rest) in smuggling_attempts() {
        for (method, target) in [("POST", FETCH), ("GET", site.control)] {
            let request = signed(method, target, fields) + &rest;
            let before = site.spy.seen();
            let alone = until_closed(&site.plain, request.as_bytes());
            assert_eq!(statuses(&alone), [400], "{fields:?}: {alone:?}");
            assert_eq!(reason_of(&alone[0]), "malformed_request", "{fields:?}: {alone:?}");
            assert_eq!(site.spy.seen(), before, "{fields:?}");
        }
        let good = signed("GET", site.control, "");
        let bad = signed("POST", FETCH, fields) + &rest;
        let before = site.spy.seen().len();
        let both = until_closed(&site.plain, (good + &bad).as_bytes());
        assert_eq!(statuses(&both), [200, 400], "{fields:?}: {both:?}");
        assert_eq!(heads(&site.spy.seen_since(before)), 1, "{fields:?}");
        assert!(!saw_smuggled(&site), "{fields:?}");
    }
}

/// The reason in a refusal of the git catalog, or before any catalog is known.
fn reason_of(answer: &str) -> String {
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    if body.starts_with('{') {
        return reason(answer);
    }
    let last = body.trim_end().lines().last().unwrap();
    last.split(',').next().unwrap().to_owned()
}

/// How many requests the host saw.
pub(super) fn heads(seen: &str) -> usize {
    seen.matches(" HTTP/1.1\r\n").count()
}

/// The same, one byte at a time: nothing of a head is passed on before it is whole.
#[test]
fn slow_heads_with_two_readings_reach_nobody() {
    let site = git();
    for (fields, _) in smuggling_attempts().into_iter().step_by(5) {
        let mut stream = connect(&site.plain);
        for byte in signed("POST", FETCH, fields).as_bytes() {
            if stream.write_all(&[*byte]).is_err() {
                break;
            }
        }
        assert_eq!(status(&read_answer(&mut stream)), 400, "{fields:?}");
    }
    site.spy.saw_nothing();
}

/// Request lines with two readings.
#[test]
fn request_lines_with_two_readings_end_the_connection() {
    let site = git();
    let fields = format!("Host: git.example.com\r\n{}\r\n", authorization(1));
    for line in [
        format!("GET  {} HTTP/1.1\r\n", site.control),
        format!("GET {}  HTTP/1.1\r\n", site.control),
        format!("GET\t{} HTTP/1.1\r\n", site.control),
        format!(" GET {} HTTP/1.1\r\n", site.control),
        format!("\r\nGET {} HTTP/1.1\r\n", site.control),
        format!("GET {} HTTP/1.1\n", site.control),
        format!("GET {} HTTP/1.1 \r\n", site.control),
        format!("GET {} HTTP/1.1 HTTP/1.1\r\n", site.control),
        format!("GET {} HTTP/1.2\r\n", site.control),
        format!("GET {} HTTP/2.0\r\n", site.control),
        format!("GET {} HTTP/0.9\r\n", site.control),
        format!("GET {} http/1.1\r\n", site.control),
        format!("GET {} HTTP/1.1\0\r\n", site.control),
        format!("GET {}\r\n", site.control),
        format!("GE\0T {} HTTP/1.1\r\n", site.control),
        format!("GET {}\r HTTP/1.1\r\n", site.control),
        format!("GET {}\0 HTTP/1.1\r\n", site.control),
        format!("G{{}} {} HTTP/1.1\r\n", site.control),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(),
        "\u{16}\u{3}\u{1}\0\u{5}\r\n".into(),
    ] {
        let got = until_closed(&site.plain, (line.clone() + &fields + &smuggled()).as_bytes());
        assert_eq!(statuses(&got), [400], "{line:?}: {got:?}");
    }
    site.spy.saw_nothing();
}

/// Chunked bodies that no parser should read.
const MALFORMED_CHUNKS: [&str; 35] = [
    "0x5\r\nhello\r\n0\r\n\r\n",
    "+5\r\nhello\r\n0\r\n\r\n",
    "-5\r\nhello\r\n0\r\n\r\n",
    " 5\r\nhello\r\n0\r\n\r\n",
    "5 \r\nhello\r\n0\r\n\r\n",
    "5_0\r\nhello\r\n0\r\n\r\n",
    "g\r\nhello\r\n0\r\n\r\n",
    "\r\nhello\r\n0\r\n\r\n",
    "5\nhello\r\n0\r\n\r\n",
    "5\rhello\r\n0\r\n\r\n",
    "5\r\nhello\n0\r\n\r\n",
    "5\r\nhellox\n0\r\n\r\n",
    "5\r\nhello0\r\n\r\n",
    "5\r\nhellox\r\n0\r\n\r\n",
    "4\r\nhello\r\n0\r\n\r\n",
    "5;x\r\nhello\r\n0\r\n\r\n",
    "5;x=y\r\nhello\r\n0\r\n\r\n",
    "5;x=\"\r\n\"\r\nhello\r\n0\r\n\r\n",
    "5;\n\r\nhello\r\n0\r\n\r\n",
    "10000000000000005\r\nhello\r\n0\r\n\r\n",
    "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "0000000000000000005\r\nhello\r\n0\r\n\r\n",
    "0\n\n",
    "0\r\n\n",
    "0;x\r\n\r\n",
    "0\r\nX\r\n\r\n",
    "0\r\nX : y\r\n\r\n",
    "0\r\n X: y\r\n\r\n",
    "0\r\nX: y\n\r\n",
    "0\r\nContent-Length: 5\r\n\r\n",
    "0\r\nContent_Length: 5\r\n\r\n",
    "0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "0\r\nHost: other\r\n\r\n",
    "0\r\nAuthorization: Bearer x\r\n\r\n",
    "0\r\nConnection: close\r\n\r\n",
];

/// Chunked bodies that parsers disagree about: sizes, extensions, line ends, trailers that frame or authenticate.
#[test]
fn malformed_chunks_end_the_connection() {
    let site = git();
    let inner = smuggled();
    for body in MALFORMED_CHUNKS {
        let head = signed("POST", FETCH, &format!("{PKT_LINES}Transfer-Encoding: chunked\r\n"));
        let got = until_closed(&site.plain, format!("{head}{body}{inner}").as_bytes());
        assert_eq!(statuses(&got), [400], "{body:?}: {got:?}");
        site.spy.saw_nothing();
    }
    for body in MALFORMED_CHUNKS {
        // The head alone first: it passes, and then the body breaks off.
        let mut stream = connect(&site.plain);
        let before = heads(&site.spy.seen());
        let head = signed("POST", FETCH, &format!("{PKT_LINES}Transfer-Encoding: chunked\r\n"));
        stream.write_all(head.as_bytes()).unwrap();
        wait_for("the head", || heads(&site.spy.seen()) > before);
        stream.write_all(format!("{body}{inner}").as_bytes()).unwrap();
        let mut rest = String::new();
        // The gateway may reset what it does not read on.
        let _ended = stream.read_to_string(&mut rest);
        assert!(answers(&rest).len() <= 1, "{body:?}: {rest}");
        assert!(!saw_smuggled(&site), "{body:?}: {}", site.spy.seen());
        assert_eq!(heads(&site.spy.seen()), before + 1, "{body:?}");
    }
}

/// CVE-2026-2833, CVE-2026-69243: nothing leaves HTTP, and nothing behind an `Upgrade` is passed on.
#[test]
fn nobody_leaves_http() {
    for site in sites() {
        for fields in [
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
            "Upgrade: h2c\r\n",
            "Upgrade: TLS/1.0\r\n",
            "HTTP2-Settings: x\r\n",
            "Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 5\r\n",
        ] {
            let request = signed("GET", site.control, fields) + &smuggled();
            let mut stream = connect(&site.plain);
            stream.write_all(request.as_bytes()).unwrap();
            let answer = read_answer(&mut stream);
            assert_eq!(status(&answer), 400, "{fields}: {answer}");
        }
        site.spy.saw_nothing();
    }
    // A host that switches although nobody asked.
    let spy =
        Spy::answering("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n");
    let gateway = TestGateway::before(spy.address, "github", READER);
    let answer = gateway.request("GET", CONTROLS[0].1, "");
    assert_eq!(status(&answer), 502, "{answer}");
}

/// `Expect` in every form that has one reading, HTTP/1.0, and a length on requests that have no body.
#[test]
fn old_and_odd_clients_are_judged_like_any_other() {
    for site in sites() {
        for expect in ["100-continue", "100-Continue", "nothing", "100-continue, x", ""] {
            let refused =
                signed("GET", "/notifications", &format!("Expect: {expect}\r\nConnection: close\r\n"));
            assert_eq!(status(&site.plain.raw(refused)), 403, "{expect}");
            let answer = site.request_with(&format!("Expect: {expect}\r\nConnection: close\r\n"));
            assert!([200, 417].contains(&status(&answer)), "{expect}: {answer}");
            assert!(!site.spy.seen().contains("expect"), "{}", site.spy.seen());
        }
        let before = site.spy.seen().len();
        let old = |target: &str| signed("GET", target, "").replacen("HTTP/1.1", "HTTP/1.0", 1);
        assert_eq!(statuses(&until_closed(&site.plain, old("/notifications").as_bytes())), [403]);
        assert_eq!(site.seen_since(before), "");
        let got = until_closed(&site.plain, (old(site.control) + &smuggled()).as_bytes());
        assert_eq!(statuses(&got), [200], "HTTP/1.0 has no second request");
        let seen = site.spy.seen_since(before);
        assert!(seen.starts_with(&format!("GET {} HTTP/1.1\r\n", site.control)), "{seen}");
        let chunked =
            old(site.control).replacen("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 1);
        assert_eq!(statuses(&until_closed(&site.plain, chunked.as_bytes())), [400]);
        let without_host = old(site.control).replacen("Host: git.example.com\r\n", "", 1);
        assert_eq!(statuses(&until_closed(&site.plain, without_host.as_bytes())), [400]);
    }
}

/// A pipeline is judged request by request.
#[test]
fn each_request_of_a_pipeline_is_judged() {
    let site = git();
    let mut bytes = String::new();
    let mut want = Vec::new();
    for _ in 0..50 {
        bytes += &signed("GET", site.control, "");
        bytes += &signed("GET", "/acme/smuggled.git/HEAD", "");
        bytes += &signed("POST", "/acme/alpha.git/git-receive-pack", "");
        want.extend([200, 404, 403]);
    }
    bytes += &signed("GET", "/acme/./alpha", "");
    bytes += &smuggled();
    bytes += &signed("GET", site.control, "Content-Length: 0\r\nContent-Length: 0\r\n");
    bytes += &signed("GET", site.control, "");
    want.extend([400, 401, 400]);
    let got = until_closed(&site.plain, bytes.as_bytes());
    assert_eq!(statuses(&got), want);
    assert!(!saw_smuggled(&site) && !site.spy.seen().contains("git-receive-pack"));
    assert_eq!(heads(&site.spy.seen()), 50);
}
