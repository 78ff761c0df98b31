//! Certificates: what a listener offers, and whom an upstream connection trusts.
//!
//! Reads the PEM files that `config` names; knows nothing of sockets. TLS 1.2 and 1.3 with AWS-LC, passed explicitly, so
//! that no process-wide default decides.

mod expiry;
mod pem;
mod resolver;
pub mod stream;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::pki_types::ServerName;
use rustls::{CipherSuite, ClientConfig, RootCertStore, ServerConfig};

use crate::config::{Listener, UpstreamTls};
use crate::domain::fault::Fault;
use crate::domain::grant::UnixTime;
use crate::tls::pem::Pem;
use crate::tls::resolver::{PairTexts, Resolver};

/// The protocols that a listener speaks, the preferred one first (RFC 7301).
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What the certificate and key files of a listener say, read once: what is compared is what is used.
#[derive(Debug)]
pub struct Texts(Vec<PairTexts>);

/// SHA-256 over some [`Texts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextsDigest([u8; 32]);

impl Texts {
    /// Reads the files of `listener`.
    ///
    /// # Errors
    /// A fault for each file that cannot be read.
    pub fn read(listener: &Listener) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut read = |file| Pem::read(file).map_err(|fault| faults.push(fault)).ok();
        let pairs = listener.tls.iter().filter_map(|pair| {
            let (certificate, key) = (read(&pair.certificate), read(&pair.key));
            Some(PairTexts { certificate: certificate?, key: key? })
        });
        let pairs = pairs.collect();
        if faults.is_empty() { Ok(Self(pairs)) } else { Err(faults) }
    }

    /// Equal where the texts are.
    pub fn digest(&self) -> TextsDigest {
        let mut context = Context::new(&SHA256);
        for file in self.0.iter().flat_map(|pair| [&pair.certificate, &pair.key]) {
            context.update(&file.bytes().len().to_le_bytes());
            context.update(file.bytes());
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        TextsDigest(bytes)
    }

    /// When the certificate of each pair of `listener`, whose texts these are, expires, with its file.
    pub fn expiries(&self, listener: &Listener) -> Vec<(PathBuf, UnixTime)> {
        let expiry = |texts: &PairTexts| expiry::not_after(texts.certificate.certificates().ok()?.first()?);
        let pairs = listener.tls.iter().zip(&self.0);
        pairs.filter_map(|(pair, texts)| Some((pair.certificate.clone(), expiry(texts)?))).collect()
    }
}

/// AWS-LC, with the suites first whose hash processors have instructions for: with SHA-384 a handshake costs a tenth more,
/// and is no safer. Suites of AES-128 go before those of AES-256 by that, as with most servers; who offers one of the latter
/// alone gets it.
fn provider() -> Arc<CryptoProvider> {
    const FIRST: [CipherSuite; 3] = [
        CipherSuite::TLS13_AES_128_GCM_SHA256,
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ];
    let mut provider = default_provider();
    // Those of TLS 1.2 and 1.3 are never chosen between.
    provider.cipher_suites.sort_by_key(|suite| !FIRST.contains(&suite.suite()));
    Arc::new(provider)
}

/// The TLS of a listener as its files are now. See [`server_config_of`].
///
/// # Errors
/// A fault for each file that cannot be read; and as [`server_config_of`].
pub fn server_config(listener: &Listener) -> Result<Arc<ServerConfig>, Vec<Fault>> {
    server_config_of(listener, &Texts::read(listener)?)
}

/// The TLS of a listener whose files say `texts`: HTTP/2 and HTTP/1.1, a certificate by the name that the client asks
/// for, session tickets. A client that names no host, or one that no certificate is for, is offered the first certificate.
///
/// Tickets of another one of these are not taken, so it is to be made only where something changed.
///
/// # Errors
/// A fault for each file that holds no certificate or key, or does not fit the other one of its pair; and where the
/// listener has no certificate.
pub fn server_config_of(listener: &Listener, texts: &Texts) -> Result<Arc<ServerConfig>, Vec<Fault>> {
    let provider = provider();
    let resolver = Resolver::new(listener, &texts.0, &provider)?;
    let broken = |error: rustls::Error| vec![unusable(&error)];
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(broken)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    config.ignore_client_order = true;
    config.alpn_protocols = ALPN.map(Vec::from).into();
    config.ticketer = Ticketer::new().map_err(broken)?;
    Ok(Arc::new(config))
}

/// The files that [`Texts::read`] reads, for the watcher: certificate and key of each pair.
pub fn files(listener: &Listener) -> Vec<PathBuf> {
    listener.tls.iter().flat_map(|pair| [pair.certificate.clone(), pair.key.clone()]).collect()
}

/// The TLS towards an upstream: HTTP/1.1 without ALPN. Trusts the authorities in [`UpstreamTls::ca`] and no others, or,
/// without it, those of the system.
///
/// # Errors
/// The file cannot be read, or holds no certificate, or one that is no authority's; or the system has no authorities.
pub fn client_config(tls: &UpstreamTls) -> Result<Arc<ClientConfig>, Fault> {
    let roots = match &tls.ca {
        Some(file) => private_roots(file)?,
        None => system_roots()?,
    };
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The name that an upstream's certificate must be for.
///
/// # Errors
/// [`UpstreamTls::server_name`] is neither a DNS name nor an IP address, which `config` lets nobody write.
pub fn server_name(tls: &UpstreamTls) -> Result<ServerName<'static>, Fault> {
    ServerName::try_from(tls.server_name.clone()).map_err(|_| {
        let message = "is not a DNS name or an IP address; expected what the certificate is for";
        Fault::of_file(&tls.server_name, message)
    })
}

fn private_roots(file: &Path) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    for certificate in Pem::read(file)?.certificates()? {
        roots.add(certificate).map_err(|error| {
            Fault::of_file(file, format!("holds a certificate that no authority can have: {error}"))
        })?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, Fault> {
    const STORE: &str = "the system's certificates";

    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "some of the system's certificates cannot be read");
    }
    let mut roots = RootCertStore::empty();
    // Systems carry certificates that no verifier takes any more; one of those is no reason to trust none.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let message = "there are none; install them (`ca-certificates`), or name a file with `ca`";
        return Err(Fault::of_file(STORE, message));
    }
    Ok(roots)
}

/// A fault of the cryptography itself, not of a file.
fn unusable(error: &rustls::Error) -> Fault {
    Fault::of_file("TLS", format!("cannot be set up: {error}"))
}

#[cfg(test)]
mod tests;
