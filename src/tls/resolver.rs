//! Which certificate a client is offered.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use rustls::Error;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::config::{Certificate, Listener};
use crate::domain::fault::Fault;
use crate::tls::pem::Pem;

/// The certificates of a listener by name (RFC 6066 section 3).
#[derive(Debug)]
pub(super) struct Resolver {
    /// By whole name, lower case.
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what follows the first label: `*.example.com` is at `example.com`.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    /// For every other name, and for none.
    default: Arc<CertifiedKey>,
}

impl Resolver {
    /// Of the pairs of `listener`, whose files say what `texts` do. All faults are gathered.
    pub(super) fn new(
        listener: &Listener,
        texts: &[PairTexts],
        provider: &CryptoProvider,
    ) -> Result<Self, Vec<Fault>> {
        let mut pairs = Vec::new();
        let mut faults = Vec::new();
        for (pair, texts) in listener.tls.iter().zip(texts) {
            match key_pair(pair, texts, provider) {
                Ok(key) => pairs.push((pair, Arc::new(key))),
                Err(found) => faults.extend(found),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let Some((_, default)) = pairs.first() else {
            let message =
                format!("the listener `{}` has no certificate; it is for plain HTTP", listener.bind);
            return Err(vec![Fault::of_file("tls", message)]);
        };
        let mut resolver =
            Self { exact: HashMap::new(), wildcard: HashMap::new(), default: Arc::clone(default) };
        for (pair, key) in &pairs {
            for host in &pair.hosts {
                let host = host.to_ascii_lowercase();
                let (names, name) = match host.strip_prefix("*.") {
                    Some(parent) => (&mut resolver.wildcard, parent.to_owned()),
                    None => (&mut resolver.exact, host),
                };
                names.entry(name).or_insert_with(|| Arc::clone(key));
            }
        }
        Ok(resolver)
    }

    /// The certificate for `name`, in any case.
    pub(super) fn choose(&self, name: Option<&str>) -> &Arc<CertifiedKey> {
        let name = name.map(str::to_ascii_lowercase).unwrap_or_default();
        let by_parent = || self.wildcard.get(name.split_once('.')?.1);
        self.exact.get(&name).or_else(by_parent).unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.choose(hello.server_name())))
    }
}

/// What the two files of a pair say.
#[derive(Debug)]
pub(super) struct PairTexts {
    pub(super) certificate: Pem,
    pub(super) key: Pem,
}

/// A certificate chain and its key, which fit each other.
fn key_pair(
    pair: &Certificate,
    texts: &PairTexts,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, Vec<Fault>> {
    let chain = texts.certificate.certificates();
    let key = texts.key.private_key().and_then(|key| {
        provider.key_provider.load_private_key(key).map_err(|_| {
            let message = "holds a private key that cannot be used; expected RSA of 2048 to 8192 bits, ECDSA or Ed25519";
            Fault::of_file(&pair.key, message)
        })
    });
    let (chain, key) = match (chain, key) {
        (Ok(chain), Ok(key)) => (chain, key),
        (chain, key) => return Err([chain.err(), key.err()].into_iter().flatten().collect()),
    };
    let pair_of = CertifiedKey::new(chain, key);
    match pair_of.keys_match() {
        Ok(()) => Ok(pair_of),
        Err(Error::InconsistentKeys(_)) => Err(vec![mismatch(pair)]),
        Err(error) => Err(vec![bad_certificate(&pair.certificate, &error)]),
    }
}

fn mismatch(pair: &Certificate) -> Fault {
    let message = format!(
        "is not the key of the first certificate in `{}`; expected a pair, with the server's own certificate first",
        pair.certificate.display()
    );
    Fault::of_file(&pair.key, message)
}

fn bad_certificate(file: &Path, error: &Error) -> Fault {
    Fault::of_file(file, format!("holds a certificate that cannot be used: {error}"))
}
