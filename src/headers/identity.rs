//! How an upstream learns who calls.

use http::{HeaderMap, HeaderName, HeaderValue, header};

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
}

/// The name cannot stand in a header field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the user's name cannot stand in a header field")]
pub struct UserNameError;

impl Identity {
    /// Puts the caller's identity on a request.
    ///
    /// # Errors
    /// [`UserNameError`], and nothing is put on.
    pub fn put_on(&self, headers: &mut HeaderMap, user: &str) -> Result<(), UserNameError> {
        let name = || HeaderValue::from_str(user).map_err(|_| UserNameError);
        match self {
            Self::TrustedHeader(field) => {
                headers.insert(field.clone(), name()?);
            }
            Self::Account { authorization, user_header } => {
                if let Some(field) = user_header {
                    headers.insert(field.clone(), name()?);
                }
                headers.insert(header::AUTHORIZATION, authorization.clone());
            }
            Self::Sudo { authorization } => {
                headers.insert(HeaderName::from_static("sudo"), name()?);
                headers.insert(header::AUTHORIZATION, authorization.clone());
            }
            Self::RemoteUser => {}
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
        }
    }
}
