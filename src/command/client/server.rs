//! Calls over HTTP or HTTPS to a running gateway.
//!
//! One connection a call, as the control listener wants it. The credential goes to the server that was named and nowhere
//! else: no redirect is followed, and over plain HTTP it leaves this machine only where that is asked for by its name.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use clap::Args;
use http::uri::Authority;
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::CertificateError;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::command::UsageError;
use crate::command::client::{Question, Reply, USER_AGENT};
use crate::config::UpstreamTls;
use crate::domain::secret::Secret;
use crate::domain::target::CanonicalTarget;
use crate::tls::stream::MaybeTls;
use crate::{tasks, tls};

/// How long connecting may take, and TLS after it.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// How long a call may take in all. The control listener gives it as long as [`CONNECT_TIME`].
const CALL_TIME: Duration = Duration::from_secs(30);

/// The largest answer: far more than a page of a list.
const ANSWER_LIMIT: usize = 64 << 20;

/// Which server, and how it is trusted.
#[derive(Debug, Args)]
pub struct ServerArguments {
    /// Ask a running gateway: the URL of its control listener, or of its API on the data plane
    #[arg(long, value_name = "URL", env = "PORTCULLIS_SERVER", hide_env_values = true)]
    server: Option<String>,
    /// The authority of the server's certificate (PEM), in place of those of the system
    #[arg(long, value_name = "FILE", requires = "server")]
    ca: Option<PathBuf>,
    /// Send the credential over plain HTTP to another machine, so that everybody in between can read it
    #[arg(long, requires = "server")]
    danger_plain_http: bool,
}

impl ServerArguments {
    /// The URL; none is the same as an empty one.
    pub fn url(&self) -> Option<&str> {
        self.server.as_deref().filter(|url| !url.is_empty())
    }
}

/// A running gateway.
pub struct Server {
    origin: Origin,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    authorization: Option<HeaderValue>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// What a URL names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    url: String,
    authority: String,
    host: String,
    port: u16,
    secure: bool,
}

impl Origin {
    fn parse(url: &str) -> Result<Self, UsageError> {
        let wrong = |what: &str| {
            UsageError(format!(
                "`--server`: {what}; expected such as `http://127.0.0.1:9090` or `https://tokens.example.com`"
            ))
        };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("no URL"))?;
        let (secure, usual_port) = match scheme {
            "http" => (false, 80),
            "https" => (true, 443),
            _ => return Err(wrong("neither `http` nor `https`")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('@') {
            return Err(wrong("a URL with a credential, which everybody on this machine can see"));
        }
        if rest.contains(['/', '?', '#']) {
            return Err(wrong("a URL with a path"));
        }
        let authority: Authority = rest.parse().map_err(|_| wrong("a URL without a host"))?;
        let host = authority.host().trim_matches(['[', ']']).to_ascii_lowercase();
        let port = match rest.get(authority.host().len()..).unwrap_or_default() {
            "" => usual_port,
            port => {
                let number = port.strip_prefix(':').and_then(|port| port.parse().ok());
                number.filter(|port| *port != 0).ok_or_else(|| wrong("a port that is none"))?
            }
        };
        let url = format!("{scheme}://{rest}");
        Ok(Self { url, authority: rest.to_owned(), host, port, secure })
    }

    fn is_here(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl Server {
    /// The server at `url`, called with `credential`.
    ///
    /// # Errors
    /// [`UsageError`] for a URL, a file or a credential that cannot be used, and where the credential would leave this
    /// machine in the clear.
    pub fn new(
        url: &str,
        arguments: &ServerArguments,
        credential: Option<Secret>,
    ) -> Result<Self, UsageError> {
        let origin = Origin::parse(url)?;
        if !origin.secure && !origin.is_here() && !arguments.danger_plain_http {
            let (url, host) = (&origin.url, &origin.host);
            return Err(UsageError(format!(
                "`{url}` would carry the credential in the clear; use `https://{host}`, or a tunnel to a port of this machine (or, if the network is yours alone, `--danger-plain-http`)"
            )));
        }
        let settings = UpstreamTls { server_name: origin.host.clone(), ca: arguments.ca.clone() };
        let tls = origin.secure.then(|| connector(&settings)).transpose()?;
        let authorization = credential.map(|credential| {
            let value = HeaderValue::try_from(format!("Bearer {}", credential.expose()));
            let mut value = value.map_err(|_| {
                UsageError::new(
                    "the credential holds a character that none has; expected a session or a token",
                )
            })?;
            value.set_sensitive(true);
            Ok(value)
        });
        Ok(Self { origin, tls, authorization: authorization.transpose()? })
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.origin.url
    }

    /// Calls.
    ///
    /// # Errors
    /// There is no answer.
    ///
    /// # Cancel safety
    /// The connection is closed when dropped; whether the call was done is not known then.
    pub(super) async fn call(&self, question: &Question, target: &CanonicalTarget) -> anyhow::Result<Reply> {
        let stream = self.connect().await?;
        let answer = timeout(CALL_TIME, self.exchange(stream, question, target)).await;
        answer.unwrap_or_else(|_| {
            let seconds = CALL_TIME.as_secs();
            Err(anyhow!(
                "`{}` gave no answer within {seconds} seconds; whether it was done is not known, look before you try again",
                self.url()
            ))
        })
    }

    async fn connect(&self) -> anyhow::Result<MaybeTls<TcpStream>> {
        let Origin { url, host, port, .. } = &self.origin;
        let silent = || anyhow!("`{url}` does not answer; check the address, and what is in between");
        let connecting = timeout(CONNECT_TIME, TcpStream::connect((host.as_str(), *port)));
        let stream = connecting.await.map_err(|_| silent())?.map_err(|error| unreached(url, &error))?;
        let Some((connector, name)) = &self.tls else {
            return Ok(MaybeTls::Plain(stream));
        };
        let handshake = timeout(CONNECT_TIME, connector.connect(name.clone(), stream));
        let stream = handshake.await.map_err(|_| silent())?.map_err(|error| untrusted(url, &error))?;
        Ok(MaybeTls::Tls(Box::new(stream.into())))
    }

    async fn exchange(
        &self,
        stream: MaybeTls<TcpStream>,
        question: &Question,
        target: &CanonicalTarget,
    ) -> anyhow::Result<Reply> {
        let url = self.url();
        let broken = || format!("`{url}` broke the connection off; is it a gateway, and the right scheme?");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.with_context(broken)?;
        let connection = tasks::spawn("connection", connection);
        let response = sender.send_request(self.request(question, target)?).await.with_context(broken)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_LIMIT).collect().await;
        connection.abort();
        let body = match body {
            Ok(body) => body.to_bytes(),
            Err(error) => bail!("the answer of `{url}` broke off: {error}"),
        };
        Ok(Reply { status: head.status, headers: head.headers, body })
    }

    fn request(&self, question: &Question, target: &CanonicalTarget) -> anyhow::Result<Request<Full<Bytes>>> {
        let body = question.json.as_ref().map(|json| Bytes::from(json.to_string()));
        let mut request = Request::builder()
            .method(question.method.clone())
            .uri(target.as_str())
            .header(header::HOST, &self.origin.authority)
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::ACCEPT, "application/json")
            .header(header::CONNECTION, "close");
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        request.body(Full::from(body.unwrap_or_default())).context("the call cannot be written down")
    }
}

fn connector(settings: &UpstreamTls) -> Result<(TlsConnector, ServerName<'static>), UsageError> {
    let unusable = |fault: crate::domain::fault::Fault| UsageError(fault.to_string());
    let config = tls::client_config(settings).map_err(unusable)?;
    Ok((TlsConnector::from(config), tls::server_name(settings).map_err(unusable)?))
}

fn unreached(url: &str, error: &io::Error) -> anyhow::Error {
    if error.kind() == io::ErrorKind::ConnectionRefused {
        return anyhow!(
            "nothing listens at `{url}`; is the gateway running, and is this its `control.bind` or one of its listeners?"
        );
    }
    anyhow!("`{url}` cannot be reached: {error}; check the address")
}

fn untrusted(url: &str, error: &io::Error) -> anyhow::Error {
    let found = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    let next = match found {
        Some(rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        )) => "its authority is not trusted here; name the authority's file with `--ca`",
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => "the certificate is for another name; use one that it is for in `--server`",
        Some(rustls::Error::InvalidMessage(_)) => "no TLS is spoken there; is it `http://`?",
        Some(_) | None => "check the server's certificate and the clock",
    };
    anyhow!("`{url}` cannot be trusted: {error}; {next}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, want: Result<(&str, u16, bool), &str>) {
        match (Origin::parse(url), want) {
            (Ok(origin), Ok(want)) => {
                assert_eq!((origin.host.as_str(), origin.port, origin.is_here()), want, "{url}");
            }
            (Err(error), Err(want)) => assert!(error.0.contains(want), "{url}: {error}"),
            (got, want) => panic!("{url}: {got:?}, not {want:?}"),
        }
    }

    #[test]
    fn a_url_names_a_server_and_nothing_else() {
        check("http://127.0.0.1:9090", Ok(("127.0.0.1", 9090, true)));
        check("http://LOCALHOST/", Ok(("localhost", 80, true)));
        check("http://[::1]:8", Ok(("::1", 8, true)));
        check("https://tokens.example.com", Ok(("tokens.example.com", 443, false)));
        check("http://10.0.0.1", Ok(("10.0.0.1", 80, false)));
        check("http://localhost.example.com", Ok(("localhost.example.com", 80, false)));
        check("127.0.0.1:9090", Err("no URL"));
        check("ftp://h", Err("neither `http` nor `https`"));
        check("https://a:b@h", Err("a credential"));
        check("https://h/api", Err("a path"));
        check("https://h?x", Err("a path"));
        check("https://", Err("without a host"));
        for url in ["https://h:99999", "https://h:0", "https://h:"] {
            check(url, Err("port"));
        }
    }

    #[test]
    fn a_credential_leaves_the_machine_in_the_clear_only_where_that_is_asked_for() {
        let mut arguments = ServerArguments { server: None, ca: None, danger_plain_http: false };
        let secret = || Some(Secret::new("hunter2".into()));
        let error = Server::new("http://10.0.0.1", &arguments, secret()).unwrap_err();
        assert!(error.0.contains("in the clear") && error.0.contains("https://10.0.0.1"), "{error}");
        let server = Server::new("http://127.0.0.1", &arguments, secret()).unwrap();
        assert!(!format!("{server:?}").contains("hunter2"));
        arguments.danger_plain_http = true;
        assert!(Server::new("http://10.0.0.1", &arguments, secret()).is_ok());
        let error = Server::new("http://127.0.0.1", &arguments, Some(Secret::new("a\nb".into())));
        assert!(error.unwrap_err().0.contains("a session or a token"));
    }
}
