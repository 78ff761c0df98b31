//! What an enterprise or an organization rules about tokens, by name: in policy files, in the store, and in the API.

use std::collections::{BTreeMap, HashMap};

use crate::domain::permission::Level;

/// Whether tokens may reach something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// They may.
    Allow,
    /// They may not.
    Deny,
}

/// Whether a token needs the approval of its resource owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApprovalRule {
    /// It does, unless an owner made it.
    Required,
    /// It does not.
    Automatic,
}

impl Access {
    /// `allow` or `deny`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }

    /// What `word` stands for.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Allow, Self::Deny].into_iter().find(|access| access.as_str() == word)
    }
}

impl ApprovalRule {
    /// `required` or `automatic`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Automatic => "automatic",
        }
    }

    /// What `word` stands for.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Required, Self::Automatic].into_iter().find(|rule| rule.as_str() == word)
    }
}

/// Tokens that need no approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AutomaticApproval {
    /// No permission of theirs is above it.
    pub max_level: Level,
    /// They live no longer, seconds.
    pub max_lifetime: Option<i64>,
}

/// All that one of them rules. `None` leaves it open: an enterprise to its organizations, an organization to what holds where
/// nobody says anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenRules {
    /// Whether fine-grained tokens may reach anything of theirs.
    pub access: Option<Access>,
    /// Whether these need approval.
    pub approval: Option<ApprovalRule>,
    /// Which of them need none all the same. Organizations only.
    pub automatic: Vec<AutomaticApproval>,
    /// The longest lifetime of one, seconds.
    pub max_lifetime: Option<i64>,
    /// Whether administrators' tokens may live longer. The enterprise only.
    pub exempt_administrators: bool,
    /// Whether credentials that hosts issued may be used.
    pub classic: Option<Access>,
    /// The most that any token may hold, by permission; `None` is nothing at all.
    pub ceiling: BTreeMap<String, Option<Level>>,
}

/// Who keeps rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keeper {
    /// The policy file that names who they are of.
    #[default]
    File,
    /// The store, from the first time that they are changed there; until then the file.
    Store,
}

impl Keeper {
    /// `file` or `store`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Store => "store",
        }
    }

    /// What `word` stands for.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::File, Self::Store].into_iter().find(|keeper| keeper.as_str() == word)
    }
}

/// The rules that the store has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptRules {
    /// Those of the enterprise.
    pub enterprise: Option<TokenRules>,
    /// Those of organizations, by lower-case name.
    pub organizations: HashMap<String, TokenRules>,
}
