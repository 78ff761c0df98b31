//! The rules that are in force at resource owners: of what policy files declare and what the store has, by what the enterprise
//! settles.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::lifecycle::rules::{Access, ApprovalRule, Keeper, KeptRules, TokenRules};
use crate::domain::permission::{Level, Vocabulary};
use crate::policy::public::PublicRepositories;
use crate::policy::snapshot::{Ceiling, Enterprise, Mode, Organization, Snapshot};
use crate::policy::tokens::permission::{PermissionFault, permission_level};

/// What policy files say of resource owners.
#[derive(Debug, Clone, Default)]
pub struct Declared {
    /// Of all of them.
    pub enterprise: Option<DeclaredEnterprise>,
    /// Of organizations, by lower-case name.
    pub organizations: HashMap<String, DeclaredOrganization>,
}

/// What `enterprise.yaml` says.
#[derive(Debug, Clone)]
pub struct DeclaredEnterprise {
    /// Its name.
    pub name: String,
    /// Who administers the gateway.
    pub administrators: Vec<String>,
    /// Who keeps its rules.
    pub keeper: Keeper,
    /// Its rules, by the file.
    pub rules: TokenRules,
}

/// What an organization's file says.
#[derive(Debug, Clone)]
pub struct DeclaredOrganization {
    /// The name as it is written there.
    pub name: String,
    /// Its owners.
    pub owners: Vec<String>,
    /// Its members' roles, by lower-case name.
    pub members: Option<HashMap<String, Level>>,
    /// What every token may read of it.
    pub public: Option<Arc<PublicRepositories>>,
    /// Whether its rules are acted on.
    pub mode: Mode,
    /// Who keeps its rules.
    pub keeper: Keeper,
    /// Its rules, by the file.
    pub rules: TokenRules,
}

impl DeclaredEnterprise {
    /// Its own rules.
    pub fn own<'r>(&'r self, kept: &'r KeptRules) -> &'r TokenRules {
        choose(self.keeper, &self.rules, kept.enterprise.as_ref())
    }

    fn in_force(&self, kept: &KeptRules, vocabulary: &Vocabulary) -> Enterprise {
        let rules = self.own(kept);
        Enterprise {
            name: self.name.clone(),
            administrators: self.administrators.clone(),
            access: rules.access,
            approval: rules.approval,
            max_lifetime: rules.max_lifetime,
            exempt_administrators: rules.exempt_administrators,
            classic: rules.classic,
            ceiling: ceiling(rules, vocabulary),
        }
    }
}

impl DeclaredOrganization {
    /// Its own rules, whatever the enterprise settles.
    pub fn own<'r>(&'r self, kept: &'r KeptRules) -> &'r TokenRules {
        choose(self.keeper, &self.rules, kept.organizations.get(&self.name.to_ascii_lowercase()))
    }

    /// What the enterprise has decided, no organization decides. Its longest lifetime and its ceiling hold beside those of
    /// the organization; they are looked at by themselves, so that a refusal names whose they are.
    fn in_force(
        &self,
        kept: &KeptRules,
        vocabulary: &Vocabulary,
        enterprise: Option<&Enterprise>,
    ) -> Organization {
        let rules = self.own(kept);
        let settled_approval = enterprise.and_then(|enterprise| enterprise.approval);
        let access = match enterprise.and_then(|enterprise| enterprise.access) {
            Some(Access::Allow) => Some(Access::Allow),
            Some(Access::Deny) | None => rules.access,
        };
        Organization {
            name: self.name.clone(),
            owners: self.owners.clone(),
            members: self.members.clone(),
            public: self.public.clone(),
            access: access.unwrap_or(Access::Allow),
            approval: settled_approval.or(rules.approval).unwrap_or(ApprovalRule::Required),
            automatic: if settled_approval.is_none() { rules.automatic.clone() } else { Vec::new() },
            max_lifetime: rules.max_lifetime,
            classic: enterprise
                .and_then(|enterprise| enterprise.classic)
                .or(rules.classic)
                .unwrap_or(Access::Allow),
            ceiling: ceiling(rules, vocabulary),
            mode: self.mode,
        }
    }
}

impl Declared {
    /// What is in force with what the store has: of the enterprise, and of organizations by lower-case name.
    pub fn in_force(
        &self,
        kept: &KeptRules,
        vocabulary: &Vocabulary,
    ) -> (Option<Enterprise>, HashMap<String, Organization>) {
        let enterprise = self.enterprise.as_ref().map(|declared| declared.in_force(kept, vocabulary));
        let in_force =
            |declared: &DeclaredOrganization| declared.in_force(kept, vocabulary, enterprise.as_ref());
        let organizations =
            self.organizations.iter().map(|(key, declared)| (key.clone(), in_force(declared)));
        let organizations = organizations.collect();
        (enterprise, organizations)
    }
}

fn choose<'r>(keeper: Keeper, declared: &'r TokenRules, kept: Option<&'r TokenRules>) -> &'r TokenRules {
    match keeper {
        Keeper::File => declared,
        Keeper::Store => kept.unwrap_or(declared),
    }
}

/// A permission that no catalog in use knows is held by no token.
fn ceiling(rules: &TokenRules, vocabulary: &Vocabulary) -> Ceiling {
    rules.ceiling.iter().filter_map(|(name, most)| Some((vocabulary.find(name)?, *most))).collect()
}

/// The most that a ceiling lets tokens hold of the permission `name`, where it is one; `None` is nothing.
///
/// # Errors
/// What is wrong with the name, or with the level.
pub fn ceiling_level(
    vocabulary: &Vocabulary,
    name: &str,
    level: &str,
) -> Result<Option<Level>, PermissionFault> {
    if level != "none" {
        return permission_level(vocabulary, name, level).map(|(_, level)| Some(level));
    }
    let unknown = || format!("unknown permission `{name}`; it is in none of the catalogs in use");
    vocabulary.find(name).map(|_| None).ok_or_else(|| PermissionFault::Name(unknown()))
}

/// What holds at `organization`, whoever says so; `None` where there are no rules for it.
pub fn effective(snapshot: &Snapshot, organization: &str) -> Option<TokenRules> {
    let own = snapshot.organization(organization)?;
    let enterprise = snapshot.enterprise.as_ref();
    let closed = enterprise.is_some_and(|enterprise| enterprise.access == Some(Access::Deny));
    let mut ceiling = own.ceiling.clone();
    for (permission, most) in enterprise.iter().flat_map(|enterprise| &enterprise.ceiling) {
        let of_both = ceiling.get(permission).map_or(*most, |own| *own.min(most));
        ceiling.insert(*permission, of_both);
    }
    let name = |permission| snapshot.vocabulary.name(permission).to_owned();
    let longest = enterprise.and_then(|enterprise| enterprise.max_lifetime);
    Some(TokenRules {
        access: Some(if closed { Access::Deny } else { own.access }),
        approval: Some(own.approval),
        automatic: own.automatic.clone(),
        max_lifetime: own.max_lifetime.into_iter().chain(longest).min(),
        exempt_administrators: enterprise.is_some_and(|enterprise| enterprise.exempt_administrators),
        classic: Some(own.classic),
        ceiling: ceiling.into_iter().map(|(permission, most)| (name(permission), most)).collect(),
    })
}
