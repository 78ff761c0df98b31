//! Everything that came from policy files, compiled. Immutable; swapped whole.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::domain::permission::{Level, PermissionId, Vocabulary};
use crate::domain::token::{TokenDigest, TokenFormat};
use crate::policy::grants::Grant;
use crate::policy::grants::table::TokenTable;
use crate::policy::upstream::UpstreamPolicy;

/// One compiled state of all policy files.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Counts the snapshots of this process, from 1.
    pub generation: u64,
    /// The permissions of all catalogs.
    pub vocabulary: Vocabulary,
    /// The upstreams, in the order of the configuration.
    pub upstreams: Vec<UpstreamPolicy>,
    /// Organizations with a policy, by lower-case name.
    pub organizations: HashMap<String, Organization>,
    /// Declared tokens.
    pub tokens: TokenTable,
    /// What tokens look like.
    pub format: TokenFormat,
}

/// Whether a rule is acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Acted on.
    Enforce,
    /// Judged and recorded only.
    Shadow,
}

/// What an organization's policy file says.
#[derive(Debug, Clone)]
pub struct Organization {
    /// The name as it is written there.
    pub name: String,
    /// Its owners.
    pub owners: Vec<String>,
    /// Its members' roles, by lower-case name; `None` where roles are not declared.
    pub members: Option<HashMap<String, Level>>,
    /// Whether fine-grained tokens may reach it.
    pub access: Access,
    /// The longest lifetime of a token, seconds.
    pub max_lifetime: Option<i64>,
    /// The most that any token may hold; `None` as a level means nothing at all.
    pub ceiling: HashMap<PermissionId, Option<Level>>,
    /// Whether all this is acted on.
    pub mode: Mode,
}

/// Whether tokens may reach an organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// They may.
    Allow,
    /// They may not.
    Deny,
}

impl Organization {
    /// The role of `user`: owners have every role. `None` where roles are declared and the user has none;
    /// `Some(Admin)` where roles are not declared.
    pub fn role(&self, user: &str) -> Option<Level> {
        let Some(members) = &self.members else {
            return Some(Level::Admin);
        };
        if self.owners.iter().any(|owner| owner.eq_ignore_ascii_case(user)) {
            return Some(Level::Admin);
        }
        members.get(&*lower_case(user)).copied()
    }
}

impl Snapshot {
    /// The policy of the organization called `name`.
    pub fn organization(&self, name: &str) -> Option<&Organization> {
        if self.organizations.is_empty() {
            return None;
        }
        self.organizations.get(&*lower_case(name))
    }

    /// The declared token with this digest.
    pub fn token(&self, digest: &TokenDigest) -> Option<Grant<'_>> {
        self.tokens.get(digest)
    }
}

/// `name` in lower case; most come so.
fn lower_case(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}
