//! Bodies: what a host could take out of one that the request's head did not say.
//!
//! Pure. Between decision and forward: the request is permitted by its head, and its body must not turn it into another
//! one. Gitea and GitLab take the caller (`sudo`) from bodies too, frameworks like Rails the method (`_method`).

use http::{HeaderMap, Method};

use crate::domain::refusal::{CredentialError, Refusal};
use crate::domain::target::TargetError;
use crate::headers::METHOD_OVERRIDE;
use crate::headers::identity::Identity;
use crate::protocol::fields::Unreadable;
use crate::protocol::media::Media;

pub mod fields;
pub mod media;

/// The field, folded, in which a host that is told of the caller by `Sudo` takes another caller.
const CALLER: &str = "sudo";

/// The most bytes of a body that is looked into.
pub const LONGEST: usize = 1024 * 1024;

/// How one body is to be looked into before it is forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inspection {
    media: Media,
    names: &'static [&'static str],
    /// Whether the host takes the caller out of bodies.
    caller: bool,
}

impl Inspection {
    /// What a request with a body needs; `None` where the body may pass unread.
    ///
    /// # Errors
    /// The host could take something out of this body, and it cannot be looked into.
    pub fn needed(
        method: &Method,
        headers: &HeaderMap,
        identity: &Identity,
    ) -> Result<Option<Self>, Refusal> {
        let caller = matches!(identity, Identity::Sudo { .. });
        let names: &[&str] = match (method == Method::POST, caller) {
            (true, true) => &[CALLER, METHOD_OVERRIDE],
            (true, false) => &[METHOD_OVERRIDE],
            (false, true) => &[CALLER],
            (false, false) => return Ok(None),
        };
        let media = Media::of(headers);
        let inspection = Self { media, names, caller };
        match (media, caller) {
            (Media::Form, _) | (Media::Json, true) | (Media::Unstated, false) => Ok(Some(inspection)),
            (Media::Opaque, _) | (Media::Json | Media::Other, false) => Ok(None),
            (Media::Ambiguous, _) | (Media::Unstated | Media::Other, true) => Err(inspection.unreadable()),
        }
    }

    /// Looks into the whole body.
    ///
    /// # Errors
    /// It holds what it must not, or cannot be read for certain.
    pub fn check(&self, body: &[u8]) -> Result<(), Refusal> {
        let found = if self.media == Media::Json {
            fields::find_in_json(body, self.names)
        } else {
            fields::find_in_form(body, self.names)
        };
        match found {
            Ok(None) => Ok(()),
            Ok(Some(CALLER)) => Err(CredentialError::Caller.into()),
            Ok(Some(_)) => Err(TargetError::MethodOverride.into()),
            Err(Unreadable) => Err(self.unreadable()),
        }
    }

    fn unreadable(&self) -> Refusal {
        if self.caller { CredentialError::Body.into() } else { TargetError::Form.into() }
    }
}

#[cfg(test)]
mod tests;
