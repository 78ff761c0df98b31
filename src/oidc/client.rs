//! Asks a provider: one request over a connection of its own, no redirect followed, the answer bounded.

use std::fmt;
use std::io;
use std::net::IpAddr;

use bytes::Bytes;
use http::header::{ACCEPT, HOST};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Collected, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The largest answer, bytes.
const LARGEST_ANSWER: usize = 1 << 20;

/// Something of a provider's that can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    secure: bool,
    /// As in `Host`.
    named: String,
    /// `host:port`.
    authority: String,
    host: String,
    path: String,
}

impl Endpoint {
    /// Reads `url`: `https`, or `http` on loopback where `plain` lets it.
    pub(super) fn parse(url: &str, plain: bool) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let is_loopback =
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        let (secure, port) = match uri.scheme_str()? {
            "https" => (true, 443),
            "http" if plain && is_loopback => (false, 80),
            _ => return None,
        };
        let port = authority.port_u16().unwrap_or(port);
        let behind = url.split_once("://")?.1.get(authority.as_str().len()..)?;
        let behind = behind.split('#').next().unwrap_or_default();
        let slash = if behind.starts_with('/') { "" } else { "/" };
        Some(Self {
            secure,
            named: authority.as_str().to_owned(),
            authority: format!("{}:{port}", authority.host()),
            host,
            path: format!("{slash}{behind}"),
        })
    }
}

/// By which TLS a provider is asked.
#[derive(Clone)]
pub(super) struct Client {
    /// `None` where nothing but loopback is asked.
    pub(super) tls: Option<TlsConnector>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// Sends `request`, whose target and `Host` are set here, and gives the answer whole. It is bounded in size, and in time
    /// by the caller.
    pub(super) async fn send(
        &self,
        endpoint: &Endpoint,
        mut request: Request<Full<Bytes>>,
    ) -> io::Result<(StatusCode, Bytes)> {
        *request.uri_mut() = endpoint.path.parse().map_err(io::Error::other)?;
        request.headers_mut().insert(HOST, endpoint.named.parse().map_err(io::Error::other)?);
        request.headers_mut().insert(ACCEPT, http::HeaderValue::from_static("application/json"));
        let stream = TcpStream::connect(&endpoint.authority).await?;
        match (&self.tls, endpoint.secure) {
            (_, false) => exchange(TokioIo::new(stream), request).await,
            (Some(connector), true) => {
                let name = ServerName::try_from(endpoint.host.clone()).map_err(io::Error::other)?;
                exchange(TokioIo::new(connector.connect(name, stream).await?), request).await
            }
            (None, true) => Err(io::Error::other("a provider on plain HTTP named an endpoint with TLS")),
        }
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> io::Result<(StatusCode, Bytes)>
where
    S: Read + Write + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(stream).await.map_err(io::Error::other)?;
    let answered = async {
        let answer = sender.send_request(request).await.map_err(io::Error::other)?;
        let status = answer.status();
        Ok((status, whole(answer.into_body()).await?))
    };
    tokio::pin!(connection);
    tokio::pin!(answered);
    tokio::select! {
        answer = &mut answered => answer,
        // It ends as soon as all was read, which `answered` may still have to take.
        ended = &mut connection => match ended {
            Ok(()) => answered.await,
            Err(error) => Err(io::Error::other(error)),
        },
    }
}

async fn whole(body: Incoming) -> io::Result<Bytes> {
    Limited::new(body, LARGEST_ANSWER).collect().await.map(Collected::to_bytes).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_of_tls_or_on_loopback() {
        let read = |url: &str, plain| {
            Endpoint::parse(url, plain)
                .map(|found| format!("{} {} {}", found.secure, found.authority, found.path))
        };
        let check = |url, plain, want: Option<&str>| assert_eq!(read(url, plain).as_deref(), want, "{url}");
        check("https://sso.example.com/token?a=b", false, Some("true sso.example.com:443 /token?a=b"));
        check("https://sso.example.com:8443", false, Some("true sso.example.com:8443 /"));
        check("https://[2001:db8::1]/x", false, Some("true [2001:db8::1]:443 /x"));
        check("http://127.0.0.1:81/x", true, Some("false 127.0.0.1:81 /x"));
        check("http://127.0.0.1:81/x", false, None);
        check("http://sso.example.com/x", true, None);
        check("https://user@sso.example.com/x", true, None);
        check("ftp://sso.example.com/x", true, None);
        check("/token", true, None);
    }
}
