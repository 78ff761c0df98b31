//! HTTP/2 frame by frame (RFC 9113), so that what no client library would send can be sent.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use crate::support::gateway::{DEADLINE, TestGateway, policy_tokens};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RESET: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GO_AWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// The text above `upstreams:` for a listener with [`certificate`]'s files.
pub(crate) const TLS: &str =
    "listeners: [{ bind: 127.0.0.1:0, tls: { certificate: cert.pem, key: key.pem } }]";

/// A gateway as [`TestGateway::before`] makes it, behind TLS, with a certificate for `git.example.com`.
pub(crate) fn tls_gateway(upstreams: &str, body: &str) -> (TestGateway, CertificateDer<'static>) {
    tls_gateway_with(TLS, upstreams, body)
}

/// As [`tls_gateway`], with this above `upstreams:`.
pub(crate) fn tls_gateway_with(
    top: &str,
    upstreams: &str,
    body: &str,
) -> (TestGateway, CertificateDer<'static>) {
    let directory = tempfile::tempdir().unwrap();
    let certificate = certificate(&directory);
    let policies = [policy_tokens(&[(1, body)])];
    let gateway = TestGateway::in_directory(directory, top, upstreams, &policies);
    (gateway, certificate)
}

fn certificate(directory: &TempDir) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["git.example.com".into()]).unwrap();
    std::fs::write(directory.path().join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(directory.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

/// One connection.
pub(crate) struct Http2 {
    stream: StreamOwned<ClientConnection, TcpStream>,
    next: u32,
}

/// What came of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The body of the answer.
    Answered(String),
    /// The stream or the whole connection was given up.
    Broken,
}

impl Http2 {
    /// Connects and sends the preface.
    pub(crate) fn connect(gateway: &TestGateway, certificate: &CertificateDer<'static>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = ServerName::try_from("git.example.com").unwrap();
        let session = ClientConnection::new(Arc::new(config), name).unwrap();
        let stream = TcpStream::connect(gateway.address()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut stream = StreamOwned::new(session, stream);
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
        Self { stream, next: 1 }
    }

    /// Sends one request: its fields in this order, pseudo-fields too, its body, its trailers.
    pub(crate) fn send(
        &mut self,
        fields: &[(&str, &str)],
        body: Option<&[u8]>,
        trailers: &[(&str, &str)],
    ) -> Outcome {
        let id = self.next;
        self.next += 2;
        let end = |last: bool| if last { END_STREAM } else { 0 };
        let ends = body.is_none() && trailers.is_empty();
        let mut bytes = frame(HEADERS, END_HEADERS | end(ends), id, &block(fields));
        if let Some(body) = body {
            bytes.extend(frame(DATA, end(trailers.is_empty()), id, body));
        }
        if !trailers.is_empty() {
            bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, id, &block(trailers)));
        }
        if self.stream.write_all(&bytes).is_err() {
            return Outcome::Broken;
        }
        self.answer(id)
    }

    /// Sends `bytes`, if the gateway still takes any.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).and_then(|()| self.stream.flush()).is_ok()
    }

    /// The next frame but for settings, which are confirmed, and room that is made; `None` at the end of the connection.
    pub(crate) fn frame(&mut self) -> Option<Frame> {
        loop {
            let mut head = [0; 9];
            match self.stream.read_exact(&mut head) {
                Ok(()) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    panic!("no answer in time")
                }
                Err(_) => return None,
            }
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            self.stream.read_exact(&mut payload).unwrap();
            let [_, _, _, kind, flags, id @ ..] = head;
            match kind {
                SETTINGS if flags & 1 == 0 => {
                    self.write(&frame(SETTINGS, 1, 0, &[]));
                }
                SETTINGS | WINDOW_UPDATE => {}
                _ => return Some(Frame { kind, flags, id: u32::from_be_bytes(id), payload }),
            }
        }
    }

    /// Why the gateway ends the connection, once all that came before is read.
    pub(crate) fn blamed(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.frame() {
            if frame.kind == GO_AWAY {
                code = Some(u32::from_be_bytes(frame.payload[4..8].try_into().unwrap()));
            }
        }
        code
    }

    /// What becomes of stream `id`.
    pub(crate) fn answer(&mut self, id: u32) -> Outcome {
        let mut body = Vec::new();
        while let Some(Frame { kind, flags, id: of, payload }) = self.frame() {
            match kind {
                RESET if of == id => return Outcome::Broken,
                GO_AWAY => return Outcome::Broken,
                DATA if of == id => body.extend(payload),
                _ => {}
            }
            if of == id && matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
                return Outcome::Answered(String::from_utf8(body).unwrap());
            }
        }
        Outcome::Broken
    }
}

/// A frame that the gateway sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) id: u32,
    pub(crate) payload: Vec<u8>,
}

/// The bytes of a frame.
pub(crate) fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(id.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Literal fields without indexing, without Huffman coding (RFC 7541 section 6.2.2).
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            integer(text.len(), &mut bytes);
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

/// An integer with a prefix of 7 bits (RFC 7541 section 5.1).
fn integer(value: usize, bytes: &mut Vec<u8>) {
    let Some(mut rest) = value.checked_sub(127) else {
        bytes.push(u8::try_from(value).unwrap());
        return;
    };
    bytes.push(127);
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap());
}
