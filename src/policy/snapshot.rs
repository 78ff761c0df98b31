//! Everything that came from policy files, compiled. Immutable; swapped whole. The tokens of the store are beside it, in an
//! index that changes token by token.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::domain::lifecycle::rules::{Access, ApprovalRule, AutomaticApproval, KeptRules};
use crate::domain::membership::{Memberships, Role};
use crate::domain::permission::{Level, PermissionId, Vocabulary};
use crate::domain::refusal::Refusal;
use crate::domain::resource::lower_case;
use crate::domain::rule::{Authority, Forbidden, PolicyRule};
use crate::domain::token::{TokenDigest, TokenFormat};
use crate::policy::bundles::Bundles;
use crate::policy::grants::Grant;
use crate::policy::grants::index::{Found, Kept, TokenIndex};
use crate::policy::grants::table::TokenTable;
use crate::policy::public::PublicRepositories;
use crate::policy::rules::Declared;
use crate::policy::upstream::UpstreamPolicy;

/// One compiled state of all policy files. Cheap to clone, but for the rules of organizations.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Counts the snapshots of this process, from 1.
    pub generation: u64,
    /// The permissions of all catalogs.
    pub vocabulary: Arc<Vocabulary>,
    /// The upstreams, in the order of the configuration.
    pub upstreams: Arc<[UpstreamPolicy]>,
    /// What files say of resource owners.
    pub declared: Arc<Declared>,
    /// What the store says of them.
    pub kept: Arc<KeptRules>,
    /// What holds at every resource owner, where a file says so.
    pub enterprise: Option<Enterprise>,
    /// Organizations with a policy, by lower-case name.
    pub organizations: HashMap<String, Organization>,
    /// Permissions that are asked for by one name.
    pub bundles: Arc<Bundles>,
    /// Declared tokens.
    pub tokens: Arc<TokenTable>,
    /// The tokens of the store, compiled with the same vocabulary.
    pub stored: Arc<TokenIndex>,
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

/// The rules that are in force at an organization, and who is what there.
#[derive(Debug, Clone)]
pub struct Organization {
    /// The name as it is written there.
    pub name: String,
    /// Its owners.
    pub owners: Vec<String>,
    /// Its members' roles, by lower-case name; `None` where roles are not declared.
    pub members: Option<HashMap<String, Level>>,
    /// What every token may read of it.
    pub public: Option<Arc<PublicRepositories>>,
    /// Whether fine-grained tokens may reach it.
    pub access: Access,
    /// Whether they need approval.
    pub approval: ApprovalRule,
    /// Which of them need none all the same.
    pub automatic: Vec<AutomaticApproval>,
    /// The longest lifetime of a token, seconds.
    pub max_lifetime: Option<i64>,
    /// Whether credentials that hosts issued may reach it.
    pub classic: Access,
    /// The most that any token may hold.
    pub ceiling: Ceiling,
    /// Whether all this is acted on; approval is, in any case.
    pub mode: Mode,
}

/// The most that any token may hold; `None` as a level means nothing at all.
pub type Ceiling = HashMap<PermissionId, Option<Level>>;

/// The rules that are in force at every resource owner. `None` is left to organizations.
#[derive(Debug, Clone)]
pub struct Enterprise {
    /// Its name.
    pub name: String,
    /// Who administers the gateway.
    pub administrators: Vec<String>,
    /// Whether fine-grained tokens may reach anything.
    pub access: Option<Access>,
    /// Whether they need approval.
    pub approval: Option<ApprovalRule>,
    /// The longest lifetime of a token, seconds.
    pub max_lifetime: Option<i64>,
    /// Whether administrators' tokens may live longer.
    pub exempt_administrators: bool,
    /// Whether credentials that hosts issued may be used.
    pub classic: Option<Access>,
    /// The most that any token may hold.
    pub ceiling: Ceiling,
}

impl Enterprise {
    /// Whether `user` administers the gateway.
    pub fn is_administrator(&self, user: &str) -> bool {
        self.administrators.iter().any(|administrator| administrator.eq_ignore_ascii_case(user))
    }

    /// That `rule` of its own forbids a request.
    pub fn forbids(&self, rule: PolicyRule) -> Forbidden {
        Forbidden { authority: Authority::Enterprise, name: self.name.clone(), rule }
    }
}

impl Organization {
    /// That `rule` of its own forbids a request.
    pub fn forbids(&self, rule: PolicyRule) -> Forbidden {
        Forbidden { authority: Authority::Organization, name: self.name.clone(), rule }
    }

    /// Whether `user` is one of its owners.
    pub fn is_owner(&self, user: &str) -> bool {
        self.owners.iter().any(|owner| owner.eq_ignore_ascii_case(user))
    }

    /// Whether `user` is one of its owners, by its file or by the word of whoever signed them in.
    pub fn is_owned_by(&self, user: &str, memberships: &Memberships) -> bool {
        self.is_owner(user) || memberships.owns(&self.name)
    }

    /// The role of `user`: owners have every role. `None` where roles are declared and the user has none;
    /// `Some(Admin)` where roles are not declared. `by_word` gives what they are by the word of whoever signed them in; it is
    /// asked only where their own file does not say all already.
    pub fn role(&self, user: &str, by_word: impl FnOnce() -> Option<Role>) -> Option<Level> {
        let Some(members) = &self.members else {
            return Some(Level::Admin);
        };
        if self.is_owner(user) {
            return Some(Level::Admin);
        }
        let declared = members.get(&*lower_case(user)).copied();
        if declared == Some(Level::Admin) { declared } else { declared.max(by_word().map(Role::level)) }
    }
}

/// Tells which snapshot is in force. What is done in turn is judged by the one that is in force when its turn has come, and
/// not by that of the moment when it was asked for.
#[derive(Clone)]
pub struct InForce(Arc<dyn Fn() -> Arc<Snapshot> + Send + Sync>);

impl InForce {
    /// As `look` says.
    pub fn new(look: impl Fn() -> Arc<Snapshot> + Send + Sync + 'static) -> Self {
        Self(Arc::new(look))
    }

    /// The snapshot that is in force now.
    pub fn now(&self) -> Arc<Snapshot> {
        (self.0)()
    }
}

impl fmt::Debug for InForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InForce").field(&self.now().generation).finish()
    }
}

impl Snapshot {
    /// Puts the rules that the store has in force, where files leave them to it.
    pub fn keep_rules(&mut self, kept: Arc<KeptRules>) {
        (self.enterprise, self.organizations) = self.declared.in_force(&kept, &self.vocabulary);
        self.kept = kept;
    }

    /// The policy of the organization called `name`.
    pub fn organization(&self, name: &str) -> Option<&Organization> {
        if self.organizations.is_empty() {
            return None;
        }
        self.organizations.get(&*lower_case(name))
    }

    /// Whether `user` owns the organization called `name`, by its file or by the word of whoever signed them in.
    pub fn is_owned_by(&self, name: &str, user: &str, memberships: &Memberships) -> bool {
        self.organization(name).is_some_and(|organization| organization.is_owned_by(user, memberships))
    }

    /// Whether `user` administers the gateway: by `enterprise.yaml`, or because the store says so.
    pub fn is_administrator(&self, user: &str, stored: bool) -> bool {
        stored || self.enterprise.as_ref().is_some_and(|enterprise| enterprise.is_administrator(user))
    }

    /// The role of `user` at `organization`, whoever says so: its file, or who signed them in. The word of the latter is none
    /// while the store that has it was not followed for too long.
    pub fn role(&self, organization: &Organization, user: &str) -> Option<Level> {
        let by_word = || self.stored.role(user, &organization.name).filter(|_| !self.stored.is_stale());
        organization.role(user, by_word)
    }

    /// The token with this digest. The answer may borrow from `kept`, which must be new.
    ///
    /// What the store says goes before what files declare: a token that was taken back there stays so.
    ///
    /// # Errors
    /// [`Refusal::UnknownToken`]; [`Refusal::Stale`] for tokens of a store that was not followed for too long.
    pub fn holder<'a>(&'a self, digest: &TokenDigest, kept: &'a Kept) -> Result<Grant<'a>, Refusal> {
        match self.stored.find(digest, kept) {
            Found::Grant(_) if self.stored.is_stale() => Err(Refusal::Stale),
            Found::Grant(grant) => Ok(grant),
            Found::Gone => Err(Refusal::UnknownToken),
            Found::Unknown => self.tokens.get(digest).ok_or(Refusal::UnknownToken),
        }
    }

    /// As [`Self::holder`], where it does not matter why there is none.
    pub fn token<'a>(&'a self, digest: &TokenDigest, kept: &'a Kept) -> Option<Grant<'a>> {
        self.holder(digest, kept).ok()
    }
}
