//! A listener's certificates: put in force when they change, and only then, since session tickets end with them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;

use crate::app::tell;
use crate::config;
use crate::domain::fault::Fault;
use crate::domain::grant::UnixTime;
use crate::gateway::listener::Listener;
use crate::live::Look;
use crate::live::files::{Stamp, stamps};
use crate::tls::{self, Texts, TextsDigest};

/// A listener as it is configured and as workers know it.
#[derive(Debug)]
pub(super) struct Served {
    /// What the configuration says of it.
    pub(super) config: config::Listener,
    /// What workers know of it.
    pub(super) listener: Arc<Listener>,
    /// Where it listens: what the configuration says, with the port that the system has chosen where that is 0.
    pub(super) address: SocketAddr,
    /// When the certificates in use expire, with their files.
    pub(super) expiries: Vec<(PathBuf, UnixTime)>,
    seen: Vec<Stamp>,
    in_force: Option<TextsDigest>,
    /// Why what the files say is not in force, as it was told.
    faults: Vec<Fault>,
}

/// Whether something else is in use than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Renewal {
    Same,
    Renewed,
}

/// What the files of a listener come to.
#[derive(Debug)]
pub(super) struct Loaded {
    seen: Vec<Stamp>,
    digest: Option<TextsDigest>,
    tls: Option<Arc<ServerConfig>>,
    expiries: Vec<(PathBuf, UnixTime)>,
}

/// Reads the files of a listener.
///
/// # Errors
/// All their faults.
pub(super) fn load(config: &config::Listener) -> Result<Loaded, Vec<Fault>> {
    // Before they are read: what changes meanwhile is then seen at the next look.
    let seen = stamps_of(config);
    if config.tls.is_empty() {
        return Ok(Loaded { seen, digest: None, tls: None, expiries: Vec::new() });
    }
    let texts = Texts::read(config)?;
    let tls = tls::server_config_of(config, &texts)?;
    let expiries = texts.expiries(config);
    Ok(Loaded { seen, digest: Some(texts.digest()), tls: Some(tls), expiries })
}

impl Served {
    /// A listener with what its files came to.
    pub(super) fn new(config: config::Listener, loaded: Loaded) -> Self {
        let Loaded { seen, digest, tls, expiries } = loaded;
        let listener = Arc::new(Listener::new(tls));
        Self { address: config.bind, config, listener, seen, in_force: digest, expiries, faults: Vec::new() }
    }

    /// Puts another configuration of it in force, with what its files came to.
    pub(super) fn change(&mut self, config: config::Listener, loaded: Loaded) {
        let Loaded { seen, digest, tls, expiries } = loaded;
        self.expiries = expiries;
        self.listener.tls.store(tls);
        (self.config, self.seen, self.in_force) = (config, seen, digest);
        self.faults.clear();
    }

    /// Looks at the files. What has a fault is looked at again at every look: it may pass without a change of any file
    /// (no file descriptor was left).
    pub(super) fn look(&mut self, look: Look) -> Renewal {
        if self.config.tls.is_empty() {
            return Renewal::Same;
        }
        let now = stamps_of(&self.config);
        if now == self.seen && look == Look::AtStamps && self.faults.is_empty() {
            return Renewal::Same;
        }
        self.seen = now;
        let bind = self.config.bind;
        let renewal = match self.renew() {
            Ok(renewal) => renewal,
            Err(faults) => {
                if faults != self.faults {
                    tracing::error!(%bind, "certificate files refused; the last good ones stay in use");
                    tell(&faults);
                }
                self.faults = faults;
                return Renewal::Same;
            }
        };
        if renewal == Renewal::Renewed {
            tracing::info!(%bind, "new certificates in use");
        } else if !self.faults.is_empty() {
            tracing::info!(%bind, "the certificate files say again what is in use");
        }
        self.faults.clear();
        renewal
    }

    fn renew(&mut self) -> Result<Renewal, Vec<Fault>> {
        let texts = Texts::read(&self.config)?;
        let digest = texts.digest();
        if self.in_force == Some(digest) {
            return Ok(Renewal::Same);
        }
        self.listener.tls.store(Some(tls::server_config_of(&self.config, &texts)?));
        self.in_force = Some(digest);
        self.expiries = texts.expiries(&self.config);
        Ok(Renewal::Renewed)
    }
}

fn stamps_of(config: &config::Listener) -> Vec<Stamp> {
    tls::files(config).iter().flat_map(|file| stamps(file)).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::config::Certificate;

    fn write_pair(folder: &Path) {
        let pair = rcgen::generate_simple_self_signed(["git.example.com".to_owned()]).unwrap();
        fs::write(folder.join("key.pem"), pair.signing_key.serialize_pem()).unwrap();
        fs::write(folder.join("cert.pem"), pair.cert.pem()).unwrap();
    }

    fn in_use(served: &Served) -> Arc<ServerConfig> {
        served.listener.tls.load_full().unwrap()
    }

    #[test]
    fn certificates_are_replaced_when_they_change_and_looked_at_again_after_a_fault() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        write_pair(folder.path());
        let pair = Certificate { hosts: Vec::new(), certificate: certificate.clone(), key };
        let config = config::Listener { name: None, bind: "127.0.0.1:0".parse().unwrap(), tls: vec![pair] };
        let mut served = Served::new(config.clone(), load(&config).unwrap());
        let first = in_use(&served);
        // Looked at for another reason, written anew with the same text, and unreadable for a while: nothing changes,
        // and tickets stay good.
        served.look(Look::AtTexts);
        let text = fs::read(&certificate).unwrap();
        fs::write(&certificate, &text).unwrap();
        served.look(Look::AtStamps);
        fs::remove_file(&certificate).unwrap();
        served.look(Look::AtStamps);
        assert_eq!(served.faults.len(), 1);
        fs::write(&certificate, &text).unwrap();
        served.look(Look::AtStamps);
        assert!(served.faults.is_empty());
        assert!(Arc::ptr_eq(&first, &in_use(&served)));
        // A fault that passes without a change of any file.
        write_pair(folder.path());
        served.seen = stamps_of(&config);
        served.faults = vec![Fault::of_file(&certificate, "cannot be read: no file descriptor is left")];
        served.look(Look::AtStamps);
        assert!(!Arc::ptr_eq(&first, &in_use(&served)));
    }
}
