//! Certificates of an authority of our own, and clients that trust it: HTTP/2 above all.

use std::fs;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::support::gateway::{DEADLINE, TestGateway};
use crate::support::policy::token;

/// An authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) certificate: String,
}

/// A certificate and its key, PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, certificate }
    }

    /// A certificate for `names`.
    pub(crate) fn issue(&self, names: &[&str]) -> Pair {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        self.sign(&CertificateParams::new(names).unwrap())
    }

    /// As [`Self::issue`], until the beginning of `date`.
    pub(crate) fn issue_until(&self, names: &[&str], date: jiff::civil::Date) -> Pair {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        let number = |part: i8| u8::try_from(part).unwrap();
        params.not_after = rcgen::date_time_ymd(date.year().into(), number(date.month()), number(date.day()));
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// It alone.
    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap();
        roots.add(certificate).unwrap();
        roots
    }

    /// A client that trusts this authority and offers `alpn`.
    pub(crate) fn client(&self, alpn: &[&str]) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots())
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }
}

impl Pair {
    /// Writes `<name>.pem` and `<name>.key`, each in one step.
    pub(crate) fn write(&self, directory: &Path, name: &str) -> [PathBuf; 2] {
        let certificate = directory.join(format!("{name}.pem"));
        let key = directory.join(format!("{name}.key"));
        super::gateway::write(&certificate, &self.certificate);
        super::gateway::write(&key, &self.key);
        [certificate, key]
    }

    /// A server that has it.
    pub(crate) fn server(&self) -> ServerConfig {
        let certificate = CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap()
    }
}

/// A gateway with TLS for `git.example.com`, and `limits` (whole lines above `upstreams:`).
pub(crate) fn secure_gateway(
    authority: &Authority,
    limits: &str,
    upstreams: &str,
    policies: &[(&str, String)],
) -> TestGateway {
    let directory = TempDir::new().unwrap();
    fs::create_dir_all(directory.path().join("tls")).unwrap();
    authority.issue(&["git.example.com"]).write(&directory.path().join("tls"), "a");
    let top = format!(
        "listeners: [{{ bind: 127.0.0.1:0, tls: {{ certificate: tls/a.pem, key: tls/a.key }} }}]\n{limits}"
    );
    TestGateway::in_directory(directory, &top, upstreams, policies)
}

/// Runs a test that awaits; its end is also the end of its tasks.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(DEADLINE, test).await.expect("in time") })
}

/// A client's HTTP/2 connection for bodies of a kind, and what ends with it.
pub(crate) async fn http2<B>(
    address: SocketAddr,
    authority: &Authority,
) -> (SendRequest<B>, JoinHandle<hyper::Result<()>>)
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("git.example.com").unwrap();
    let connector = TlsConnector::from(Arc::new(authority.client(&["h2"])));
    let stream = connector.connect(name, stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .max_header_list_size(1 << 20)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    (sender, tokio::spawn(connection))
}

/// A client's HTTP/2 connection.
pub(crate) struct Http2 {
    pub(crate) sender: SendRequest<Full<Bytes>>,
    /// Ends with the connection.
    pub(crate) connection: JoinHandle<hyper::Result<()>>,
}

impl Http2 {
    pub(crate) async fn connect(address: SocketAddr, authority: &Authority) -> Self {
        let (sender, connection) = http2(address, authority).await;
        Self { sender, connection }
    }

    /// Sends with token 1 what `request` says beside its target.
    pub(crate) async fn send(
        &mut self,
        request: http::request::Builder,
    ) -> hyper::Result<Response<Incoming>> {
        self.sender.ready().await?;
        self.sender.send_request(request.body(Full::default()).unwrap()).await
    }

    /// The status, the fields and the text of the answer.
    pub(crate) async fn answer(
        &mut self,
        request: http::request::Builder,
    ) -> hyper::Result<(StatusCode, HeaderMap, String)> {
        let (head, body) = self.send(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok((head.status, head.headers, String::from_utf8(body.to_vec()).unwrap()))
    }
}

/// `GET target` with token 1.
pub(crate) fn get(target: &str) -> http::request::Builder {
    Request::get(format!("https://git.example.com{target}"))
        .header("authorization", format!("Bearer {}", token(1)))
}
