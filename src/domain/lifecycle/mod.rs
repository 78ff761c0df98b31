//! What users ask for and resource owners grant: the words of a token's life, whatever enforces or stores them.
//!
//! Permissions stand here by name, as people and files write them. A name means something only to a vocabulary, and the
//! vocabulary changes while tokens live on.

#[cfg(test)]
pub(crate) mod fixture;
pub mod rules;
pub mod terms;

use crate::domain::grant::UnixTime;
use crate::domain::lifecycle::terms::Terms;
use crate::domain::token::TokenDigest;

/// What a token opens, or would, at one resource owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The resource owner, as it was written.
    pub owner: String,
    /// What is opened there.
    pub terms: Terms,
}

/// A token of the store, as far as requests are judged by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredToken {
    /// Its name, 1 to 40 characters.
    pub name: String,
    /// The login of the user whom it belongs to.
    pub user: String,
    /// Digests of its secrets, each with the moment from which it is no longer good: the present one, and after a
    /// regeneration with overlap the one before.
    pub secrets: Vec<(TokenDigest, UnixTime)>,
    /// When the present secret was made; lifetimes count from here.
    pub issued_at: UnixTime,
    /// What has become of it.
    pub standing: Standing,
    /// What its resource owners have granted.
    pub granted: Vec<Part>,
    /// What waits for them.
    pub awaited: Vec<Part>,
}

/// What has become of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is good as far as it was granted.
    Good,
    /// It was deleted or its secret was given up; there is no way back.
    Revoked,
    /// Its user is suspended.
    Suspended,
}

/// What has become of a request for approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestState {
    /// It waits for the resource owner.
    Pending,
    /// It was granted.
    Approved,
    /// It was refused.
    Denied,
    /// The token's user took it back, or asked for something else.
    Cancelled,
}

impl RequestState {
    const ALL: [Self; 4] = [Self::Pending, Self::Approved, Self::Denied, Self::Cancelled];

    /// The word in the store and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state that `word` names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}
