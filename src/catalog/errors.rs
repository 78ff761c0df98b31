//! How a catalog's clients are told of a refusal.

use std::borrow::Cow;
use std::collections::HashMap;

use http::{HeaderName, HeaderValue, StatusCode};

use crate::domain::reason::Reason;
use crate::domain::refusal::Refusal;

/// The body that clients of this kind of host understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ErrorFormat {
    /// A JSON object.
    #[default]
    Json,
    /// One line of text, which git prints behind `remote:`.
    Text,
}

/// How refusals look.
#[derive(Debug, Clone, Default)]
pub struct ErrorStyle {
    /// The body's format.
    pub format: ErrorFormat,
    /// `WWW-Authenticate` on 401, so that credential helpers ask.
    pub challenge: Option<HeaderValue>,
    /// Further members of the JSON body; `{status}` stands for the status code.
    pub fields: Vec<(String, String)>,
    /// The host's own sentence, where clients compare it.
    pub messages: HashMap<Reason, String>,
    /// The host's own sentence for a rule above grants, by the rule's name.
    pub rules: HashMap<&'static str, String>,
    /// The host's own status, where clients know no other.
    pub statuses: HashMap<Reason, StatusCode>,
    /// The field that tells what would have been enough.
    pub accepted_header: Option<HeaderName>,
    /// The field of answers that tells when the token expires.
    pub expiration_header: Option<HeaderName>,
}

impl ErrorStyle {
    /// The HTTP status of `refusal`.
    pub fn status(&self, refusal: &Refusal) -> StatusCode {
        self.statuses.get(&refusal.reason()).copied().unwrap_or_else(|| refusal.status())
    }

    /// The host's own sentence for `refusal`, where clients compare it.
    pub fn message(&self, refusal: &Refusal) -> Option<Cow<'_, str>> {
        if let Refusal::Policy(forbidden) = refusal
            && let Some(sentence) = self.rules.get(forbidden.rule.as_str())
        {
            return Some(Cow::Owned(forbidden.fill(sentence)));
        }
        self.messages.get(&refusal.reason()).map(|message| Cow::Borrowed(message.as_str()))
    }
}
