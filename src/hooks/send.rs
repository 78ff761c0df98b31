//! One `POST` to a receiver, signed as GitHub signs.

use std::fmt;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::hmac;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderName, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::domain::secret::Secret;
use crate::store::deliveries::DeliveryRow;

/// How much of an answer is read, head and body, bytes each: nothing in it is wanted but the status.
const ANSWER_LIMIT: usize = 64 * 1024;

const AGENT: &str = concat!("Portcullis-Hookshot/", env!("CARGO_PKG_VERSION"));

const EVENT: HeaderName = HeaderName::from_static("x-github-event");
const DELIVERY: HeaderName = HeaderName::from_static("x-github-delivery");
const SIGNATURE: HeaderName = HeaderName::from_static("x-hub-signature-256");

/// What bodies are signed with.
#[derive(Clone)]
pub struct SigningKey(hmac::Key);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

impl SigningKey {
    /// Out of the secret that the receiver knows too.
    pub fn new(secret: &Secret) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes()))
    }

    /// `sha256=` and the HMAC of `body` in hexadecimal digits.
    pub fn sign(&self, body: &[u8]) -> String {
        let tag = hmac::sign(&self.0, body);
        tag.as_ref().iter().fold(String::from("sha256="), |mut text, byte| {
            text.extend(
                [byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0')),
            );
            text
        })
    }
}

/// A webhook, and how it is reached.
#[derive(Clone)]
pub struct Receiver {
    /// Its name.
    pub name: String,
    /// `host:port`.
    pub authority: String,
    /// The path, with the query where there is one.
    pub path: String,
    /// `None` speaks plain HTTP.
    pub tls: Option<(TlsConnector, ServerName<'static>)>,
    /// What bodies are signed with.
    pub key: SigningKey,
    /// Whether the last attempt failed.
    pub failing: Arc<AtomicBool>,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The path may be a secret.
        f.debug_struct("Receiver").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Receiver {
    /// Notes whether an attempt failed. Whether that is news.
    pub(super) fn turns(&self, failing: bool) -> bool {
        self.failing.swap(failing, Ordering::Relaxed) != failing
    }

    /// `Host`: without the port where it is the usual one.
    fn host(&self) -> &str {
        let usual = if self.tls.is_some() { ":443" } else { ":80" };
        self.authority.strip_suffix(usual).unwrap_or(&self.authority)
    }

    /// Sends `delivery`; `status` is set as soon as the receiver has answered. Follows no redirect.
    ///
    /// # Errors
    /// The receiver cannot be reached, or what it says is not HTTP.
    ///
    /// # Cancel safety
    /// Dropped, it closes the connection; the receiver may have the whole request.
    pub(super) async fn send(
        &self,
        delivery: &DeliveryRow,
        status: &mut Option<StatusCode>,
    ) -> io::Result<()> {
        let body = Bytes::from(delivery.payload.clone());
        let request = Request::post(&self.path)
            .header(HOST, self.host())
            .header(ACCEPT, "*/*")
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, AGENT)
            .header(EVENT, &delivery.event)
            .header(DELIVERY, &delivery.guid)
            .header(SIGNATURE, self.key.sign(&body))
            .body(Full::new(body))
            .map_err(io::Error::other)?;
        let stream = TcpStream::connect(&self.authority).await?;
        match &self.tls {
            None => post(TokioIo::new(stream), request, status).await,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await?;
                post(TokioIo::new(stream), request, status).await
            }
        }
    }
}

/// One request over a connection of its own.
async fn post<S>(stream: S, request: Request<Full<Bytes>>, status: &mut Option<StatusCode>) -> io::Result<()>
where
    S: Read + Write + Unpin + 'static,
{
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(ANSWER_LIMIT).handshake(stream).await.map_err(io::Error::other)?;
    let exchange = async move {
        let answer = sender.send_request(request).await?;
        *status = Some(answer.status());
        drain(answer.into_body()).await;
        Ok::<_, hyper::Error>(())
    };
    let (mut exchange, mut connection) = (pin!(exchange), pin!(connection));
    let ended = tokio::select! {
        biased;
        ended = &mut exchange => ended,
        // What came before its end is with the exchange already.
        _ = &mut connection => exchange.await,
    };
    ended.map_err(io::Error::other)
}

/// Reads a body to its end, or as far as it is read.
async fn drain(mut body: Incoming) {
    let mut left = ANSWER_LIMIT;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        let Some(rest) = left.checked_sub(length) else { return };
        left = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of GitHub's documentation, "Validating webhook deliveries".
    #[test]
    fn a_signature_is_the_one_of_the_documentation() {
        let key = SigningKey::new(&Secret::new("It's a Secret to Everybody".into()));
        let want = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert_eq!(key.sign(b"Hello, World!"), want);
    }
}
