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

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::config::{Listener, UpstreamTls};
use crate::domain::fault::Fault;
use crate::domain::grant::UnixTime;
use crate::tls::resolver::Resolver;

/// The protocols that a listener speaks, the preferred one first (RFC 7301).
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The TLS of a listener: HTTP/2 and HTTP/1.1, a certificate by the name that the client asks for, session tickets.
///
/// Files are read anew at each call. A client that names no host, or one that no certificate is for, is offered the
/// first certificate.
///
/// # Errors
/// A fault for each file that cannot be read, holds no certificate or key, or does not fit the other one of its pair;
/// and where the listener has no certificate.
pub fn server_config(listener: &Listener) -> Result<Arc<ServerConfig>, Vec<Fault>> {
    let provider = Arc::new(default_provider());
    let resolver = Resolver::new(listener, &provider)?;
    let broken = |error: rustls::Error| vec![unusable(&error)];
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(broken)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = ALPN.map(Vec::from).into();
    config.ticketer = Ticketer::new().map_err(broken)?;
    Ok(Arc::new(config))
}

/// The files that [`server_config`] reads, for the watcher: certificate and key of each pair.
pub fn files(listener: &Listener) -> Vec<PathBuf> {
    listener.tls.iter().flat_map(|pair| [pair.certificate.clone(), pair.key.clone()]).collect()
}

/// When the certificate of each pair of `listener` expires, with its file; those that cannot be read are left out.
pub fn expiries(listener: &Listener) -> Vec<(PathBuf, UnixTime)> {
    let expiry = |file: &Path| {
        let chain = pem::certificates(file).ok()?;
        expiry::not_after(chain.first()?)
    };
    listener
        .tls
        .iter()
        .filter_map(|pair| Some((pair.certificate.clone(), expiry(&pair.certificate)?)))
        .collect()
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
    let provider: Arc<CryptoProvider> = Arc::new(default_provider());
    let config = ClientConfig::builder_with_provider(provider)
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
    for certificate in pem::certificates(file)? {
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
