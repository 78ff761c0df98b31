//! How an upstream learns who calls.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, header};

use crate::headers::fold;

/// The header fields that tell the host who calls, with the gateway's own credential where the host wants one.
#[derive(Debug, Clone)]
pub enum Identity {
    /// The user's name in a field that the host trusts (Gitea, Forgejo, Gerrit).
    TrustedHeader(HeaderName),
    /// One service account; the user's name in a field beside it.
    Account {
        /// The value of `Authorization`, marked sensitive.
        authorization: HeaderValue,
        /// Where the user's name goes.
        user_header: Option<HeaderName>,
    },
    /// An administrator's credential, and `Sudo: user` (Gitea, GitLab).
    Sudo {
        /// The value of `Authorization`, marked sensitive.
        authorization: HeaderValue,
    },
    /// Told outside of HTTP (`REMOTE_USER`).
    RemoteUser,
    /// By the credential that the client came with, which the host itself issued; nobody else may be named.
    Classic {
        /// The value of `Authorization`, as it came, marked sensitive.
        authorization: HeaderValue,
        /// How the host is told of others.
        others: Arc<Identity>,
    },
}

/// The name cannot stand in a header field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the user's name cannot stand in a header field")]
pub struct UserNameError;

impl Identity {
    /// Gives `field` the fields that tell the host of `user`.
    ///
    /// # Errors
    /// [`UserNameError`], where the name cannot stand in one; the request must not be sent then.
    pub fn tell(&self, user: &str, mut field: impl FnMut(&str, &[u8])) -> Result<(), UserNameError> {
        if !user.bytes().all(|byte| matches!(byte, 0x20..=0x7e)) {
            return Err(UserNameError);
        }
        match self {
            Self::TrustedHeader(name) => field(name.as_str(), user.as_bytes()),
            Self::Account { authorization, user_header } => {
                if let Some(name) = user_header {
                    field(name.as_str(), user.as_bytes());
                }
                field(header::AUTHORIZATION.as_str(), authorization.as_bytes());
            }
            Self::Sudo { authorization } => {
                field("sudo", user.as_bytes());
                field(header::AUTHORIZATION.as_str(), authorization.as_bytes());
            }
            Self::RemoteUser => {}
            Self::Classic { authorization, .. } => {
                field(header::AUTHORIZATION.as_str(), authorization.as_bytes());
            }
        }
        Ok(())
    }

    /// Whether a client's field called `name` could be taken for this identity.
    pub fn could_be(&self, name: &str) -> bool {
        let same = |field: &HeaderName| fold(field.as_str()) == name;
        match self {
            Self::TrustedHeader(field) => same(field),
            Self::Account { user_header, .. } => user_header.as_ref().is_some_and(same),
            Self::Sudo { .. } | Self::RemoteUser => false,
            Self::Classic { others, .. } => others.could_be(name),
        }
    }
}
