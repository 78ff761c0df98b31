//! PEM files (RFC 7468): certificates and private keys.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::config::credential::warn_if_exposed;
use crate::domain::fault::Fault;

/// The largest file. All public authorities together take a fourth of it.
const MAX_BYTES: u64 = 1024 * 1024;

/// A PEM file as it was read once. Its bytes are wiped when dropped, for there may be a key in it.
pub(super) struct Pem {
    path: PathBuf,
    bytes: Zeroizing<Vec<u8>>,
    metadata: Metadata,
}

impl Pem {
    /// Reads the whole file.
    pub(super) fn read(path: &Path) -> Result<Self, Fault> {
        let unreadable =
            |error| Fault::of_file(path, format!("cannot be read: {error}; expected a PEM file"));
        let source = File::open(path).map_err(unreadable)?;
        let metadata = source.metadata().map_err(unreadable)?;
        // Full capacity from the start: growing would leave a copy behind that nobody wipes.
        let length = metadata.len().min(MAX_BYTES) + 1;
        let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or_default()));
        source.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(Fault::of_file(path, "is larger than 1 MiB; expected a PEM file"));
        }
        Ok(Self { path: path.to_owned(), bytes, metadata })
    }

    /// What stands in it.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its certificates, in its order; at least one.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, Fault> {
        let certificates: Result<Vec<_>, Error> = CertificateDer::pem_slice_iter(&self.bytes).collect();
        match certificates {
            Ok(certificates) if certificates.is_empty() => Err(Fault::of_file(
                &self.path,
                "holds no certificate; expected PEM, with `-----BEGIN CERTIFICATE-----`",
            )),
            Ok(certificates) => Ok(certificates),
            Err(error) => Err(malformed(&self.path, &error)),
        }
    }

    /// Its first private key.
    pub(super) fn private_key(&self) -> Result<PrivateKeyDer<'static>, Fault> {
        warn_if_exposed(&self.path, &self.metadata);
        PrivateKeyDer::from_pem_slice(&self.bytes).map_err(|error| {
            if matches!(error, Error::NoItemsFound) {
                let message =
                    "holds no private key; expected PEM, with `-----BEGIN PRIVATE KEY-----`, not encrypted";
                return Fault::of_file(&self.path, message);
            }
            malformed(&self.path, &error)
        })
    }
}

impl fmt::Debug for Pem {
    /// Tells nothing of the bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pem").field(&self.path).finish()
    }
}

/// The error itself stays out: it may quote the file, and there may be a key in it.
fn malformed(file: &Path, error: &Error) -> Fault {
    let what = match error {
        Error::MissingSectionEnd { .. } => "a section has no end line",
        Error::IllegalSectionStart { .. } => "a section starts with a malformed line",
        Error::Base64Decode(_) => "a section is not base64",
        Error::Io(_) | Error::NoItemsFound | Error::SectionTooLarge | _ => "it is cut or garbled",
    };
    Fault::of_file(file, format!("is not well-formed PEM: {what}; export it again"))
}
