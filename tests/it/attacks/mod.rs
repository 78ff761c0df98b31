//! Known attacks on software of this kind, each played against a whole gateway. The numbers are those of published
//! advisories about other products; what they have in common is that two parties read one request in two ways.

mod answers;
mod bodies;
mod credentials;
mod framing;
mod headers;
mod paths;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use rustls::pki_types::CertificateDer;

use crate::support::gateway::{DEADLINE, TestGateway, authorization, head, status};
use crate::support::http2::{Http2, Outcome, tls_gateway};
use crate::support::policy::token;
use crate::support::spy::Spy;

/// Reads one repository's files and changes nothing.
pub(crate) const READER: &str =
    "resource_owner: acme\nrepositories: [alpha]\npermissions: { contents: read }";

/// What [`READER`] may ask of each catalog.
const CONTROLS: [(&str, &str); 2] =
    [("github", "/repos/acme/alpha/commits"), ("git", "/acme/alpha.git/info/refs?service=git-upload-pack")];

/// A gateway and a host, reached over HTTP/1.1 and over HTTP/2.
struct Site {
    catalog: &'static str,
    control: &'static str,
    spy: Spy,
    plain: TestGateway,
    tls: TestGateway,
    certificate: CertificateDer<'static>,
}

pub(crate) fn upstream(address: SocketAddr, catalog: &str) -> String {
    format!(
        "  - {{ name: forge, hosts: ['git.example.com'], url: 'http://{address}', catalogs: [{catalog}], identity: {{ trusted_header: X-WEBAUTH-USER }} }}"
    )
}

/// One site a catalog.
fn sites() -> Vec<Site> {
    CONTROLS.map(|(catalog, control)| site(catalog, control)).into()
}

fn site(catalog: &'static str, control: &'static str) -> Site {
    let spy = Spy::start();
    let plain = TestGateway::before(spy.address, catalog, READER);
    let (tls, certificate) = tls_gateway(&upstream(spy.address, catalog), READER);
    Site { catalog, control, spy, plain, tls, certificate }
}

impl Site {
    /// Asks for `target` both ways; neither passes, and the host sees nothing.
    #[track_caller]
    fn refuses(&self, method: &str, target: &str) {
        let before = self.spy.seen();
        let answer = self.plain.request(method, target, "Connection: close\r\n");
        assert!((400..500).contains(&status(&answer)), "{}: {method} {target}: {answer}", self.catalog);
        let outcome = self.http2(&[(":method", method), (":path", target)], &[]);
        assert_ne!(outcome, passed(), "{}: HTTP/2 {method} {target}", self.catalog);
        assert_eq!(self.spy.seen(), before, "{}: {method} {target}", self.catalog);
    }

    /// Asks for `target` both ways; the host is asked for exactly the same.
    #[track_caller]
    fn forwards(&self, method: &str, target: &str) {
        let line = format!("{method} {target} HTTP/1.1\r\n");
        let before = self.spy.seen().len();
        let answer = self.plain.request(method, target, "");
        assert_eq!(status(&answer), 200, "{method} {target}: {answer}");
        let seen = self.spy.seen_since(before);
        assert!(seen.starts_with(&line), "{line}{seen}");
        let before = self.spy.seen().len();
        let outcome = self.http2(&[(":method", method), (":path", target)], &[]);
        assert_eq!(outcome, passed(), "HTTP/2 {method} {target}");
        let seen = self.spy.seen_since(before);
        assert!(seen.starts_with(&line), "HTTP/2: {line}{seen}");
    }

    /// A request over HTTP/2 with token 1. `pseudo` may leave out what is usual, `fields` adds to it.
    fn http2(&self, pseudo: &[(&str, &str)], fields: &[(&str, &str)]) -> Outcome {
        let bearer = format!("Bearer {}", token(1));
        let mut all = pseudo.to_vec();
        for (name, value) in [(":scheme", "https"), (":authority", "git.example.com")] {
            if pseudo.iter().all(|(known, _)| *known != name) {
                all.push((name, value));
            }
        }
        all.push(("authorization", &bearer));
        all.extend(fields);
        Http2::connect(&self.tls, &self.certificate).send(&all, None, &[])
    }

    /// A request that passes in itself, over HTTP/2, with further fields.
    fn http2_with(&self, fields: &[(&str, &str)]) -> Outcome {
        self.http2(&[(":method", "GET"), (":path", self.control)], fields)
    }

    /// The same over HTTP/1.1; `headers` are whole lines.
    fn request_with(&self, headers: &str) -> String {
        self.plain.request("GET", self.control, headers)
    }

    /// What the host has seen since `before`, lower case.
    fn seen_since(&self, before: usize) -> String {
        self.spy.seen_since(before).to_ascii_lowercase()
    }
}

/// What the spy answers came through.
pub(crate) fn passed() -> Outcome {
    Outcome::Answered("hello".into())
}

/// A head with token 1.
fn signed(method: &str, target: &str, headers: &str) -> String {
    head(method, target, &format!("{}{headers}", authorization(1)))
}

fn connect(gateway: &TestGateway) -> TcpStream {
    let stream = TcpStream::connect(gateway.address()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Sends `bytes` and gives the answers until the gateway closes.
fn until_closed(gateway: &TestGateway, bytes: &[u8]) -> Vec<String> {
    let mut stream = connect(gateway);
    stream.write_all(bytes).unwrap();
    let mut text = Vec::new();
    let ended = stream.read_to_end(&mut text);
    let text = String::from_utf8(text).unwrap();
    assert!(ended.is_ok(), "{ended:?} after {text:?}");
    answers(&text)
}

/// Takes a stream of answers apart; all of them have a length.
fn answers(mut text: &str) -> Vec<String> {
    let mut answers = Vec::new();
    while let Some((head, _)) = text.split_once("\r\n\r\n") {
        let at = head.len();
        let length = head
            .to_ascii_lowercase()
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok())
            .unwrap_or(0);
        let (answer, rest) = text.split_at(at + 4 + length);
        answers.push(answer.to_owned());
        text = rest;
    }
    assert_eq!(text, "", "half an answer");
    answers
}

/// The statuses of answers.
fn statuses(answers: &[String]) -> Vec<u16> {
    answers.iter().map(|answer| status(answer)).collect()
}
