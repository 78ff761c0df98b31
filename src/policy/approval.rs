//! Whether what a user asks for may be had at all, and who has to approve it.
//!
//! The rules are those that requests are judged by, asked beforehand: what could never be used is not handed out. They are
//! judged again at each use, since policy changes while tokens live.

use thiserror::Error;

use crate::domain::grant::UnixTime;
use crate::domain::lifecycle::Part;
use crate::domain::lifecycle::rules::{Access, ApprovalRule};
use crate::domain::lifecycle::terms::{Reach, Terms};
use crate::domain::membership::Memberships;
use crate::domain::permission::{Level, Scope};
use crate::domain::resource::{owner_name, repository_name};
use crate::domain::rule::in_days;
use crate::policy::snapshot::{Mode, Organization, Snapshot};
use crate::policy::tokens::permission::{PermissionFault, permission_level};

/// The longest lifetime where no policy says another one, seconds: 366 days, as at GitHub.
pub const LONGEST_LIFETIME: i64 = 366 * 24 * 60 * 60;

/// What a user asks for at one resource owner.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'w> {
    /// The user.
    pub user: &'w str,
    /// What they are at organizations beside what files say.
    pub memberships: &'w Memberships,
    /// At whom, and what.
    pub part: &'w Part,
    /// From when the token lives.
    pub from: UnixTime,
    /// Until when; `None` is for ever.
    pub until: Option<UnixTime>,
}

/// Who has to approve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    /// Nobody, because of this.
    Granted(Because),
    /// The resource owner.
    Required,
}

/// Why nobody has to approve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    /// It is the user's own.
    Own,
    /// The user owns the organization.
    Owner,
    /// The organization asks for no approval.
    Policy,
    /// One of its rules for tokens that need none fits.
    Rule,
}

impl Because {
    /// Who is said to have granted it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Own => "policy: one's own resources",
            Self::Owner => "policy: owner of the organization",
            Self::Policy => "policy: approval is not required",
            Self::Rule => "policy: approve_automatically",
        }
    }
}

/// Why something cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Objection {
    /// The name of a resource owner.
    #[error("`{0}` is no name of a resource owner; expected letters, digits, `.`, `_` and `-`")]
    Owner(String),
    /// The name of a repository.
    #[error(
        "`{0}` is no repository name; expected letters, digits, `.`, `_`, `-`, without the owner and without `.git`"
    )]
    Repository(String),
    /// A subset of nothing.
    #[error("`{0}`: the list of repositories is empty; name at least one, or choose `all` or `none`")]
    NoRepositories(String),
    /// Permissions on repositories, without any.
    #[error("`{0}`: permissions on repositories need a selection; choose `all`, or name repositories")]
    NoSelection(String),
    /// A permission that does not exist, or not so.
    #[error("{0}")]
    Permission(String),
    /// A permission where it means nothing.
    #[error("`{name}` is of scope `{}`, and cannot be held at `{owner}`", scope.as_str())]
    Scope {
        /// The permission.
        name: String,
        /// Its scope.
        scope: Scope,
        /// Where it was asked for.
        owner: String,
    },
    /// The organization takes no tokens.
    #[error("`{0}` forbids access via a personal access token with fine-grained permissions")]
    Access(String),
    /// The user has no business there.
    #[error("you are not a member of `{0}`")]
    Membership(String),
    /// Above the ceiling.
    #[error("`{owner}` lets no token hold {permission}={level}")]
    Ceiling {
        /// The resource owner, or the enterprise.
        owner: String,
        /// The permission.
        permission: String,
        /// The level that was asked for.
        level: Level,
    },
    /// Too long.
    #[error("`{owner}` lets tokens live {} at most", in_days(*.most))]
    Lifetime {
        /// The resource owner, or the enterprise.
        owner: String,
        /// Seconds.
        most: i64,
    },
}

impl Objection {
    /// The field of the API that it is about.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Owner(_) | Self::Access(_) | Self::Membership(_) => "resource_owner",
            Self::Repository(_) | Self::NoRepositories(_) | Self::NoSelection(_) => "repositories",
            Self::Permission(_) | Self::Scope { .. } | Self::Ceiling { .. } => "permissions",
            Self::Lifetime { .. } => "expires_at",
        }
    }
}

/// Who has to approve `wish`.
///
/// # Errors
/// Everything that stands against it.
pub fn examine(snapshot: &Snapshot, wish: &Wish<'_>) -> Result<Ruling, Vec<Objection>> {
    let Part { owner, terms } = wish.part;
    if owner_name(owner).is_err() {
        return Err(vec![Objection::Owner(owner.clone())]);
    }
    let mut objections = shape(owner, &terms.reach, terms);
    permissions(snapshot, wish, &mut objections);
    lifetime(snapshot, wish, &mut objections);
    let organization = snapshot.organization(owner);
    if let Some(organization) = enforced(snapshot, owner) {
        objections.extend(admission(organization, wish));
    }
    if snapshot.enterprise.as_ref().is_some_and(|enterprise| enterprise.access == Some(Access::Deny)) {
        objections.push(Objection::Access(owner.clone()));
    }
    if objections.is_empty() { Ok(ruling(organization, wish)) } else { Err(objections) }
}

/// What stands against a token that lives as long as `wish` does, and nothing else.
///
/// # Errors
/// Everything that does.
pub fn examine_lifetime(snapshot: &Snapshot, wish: &Wish<'_>) -> Result<(), Vec<Objection>> {
    let mut objections = Vec::new();
    lifetime(snapshot, wish, &mut objections);
    if objections.is_empty() { Ok(()) } else { Err(objections) }
}

/// The organization whose rules are acted on.
fn enforced<'s>(snapshot: &'s Snapshot, owner: &str) -> Option<&'s Organization> {
    snapshot.organization(owner).filter(|organization| organization.mode == Mode::Enforce)
}

fn shape(owner: &str, reach: &Reach, terms: &Terms) -> Vec<Objection> {
    let mut objections: Vec<_> = reach
        .names()
        .iter()
        .filter(|name| repository_name(name) != Ok(name))
        .map(|name| Objection::Repository(name.clone()))
        .collect();
    match reach {
        Reach::Subset(names) if names.as_slice().is_empty() => {
            objections.push(Objection::NoRepositories(owner.to_owned()));
        }
        Reach::Public if !terms.permissions.repository.is_empty() => {
            objections.push(Objection::NoSelection(owner.to_owned()));
        }
        Reach::Public | Reach::Subset(_) | Reach::All => {}
    }
    objections
}

fn permissions(snapshot: &Snapshot, wish: &Wish<'_>, objections: &mut Vec<Objection>) {
    let Part { owner, terms } = wish.part;
    let own = owner.eq_ignore_ascii_case(wish.user);
    let organization = enforced(snapshot, owner);
    for (scope, name, level) in terms.permissions.iter() {
        let id = match permission_level(&snapshot.vocabulary, name, level.as_str()) {
            Ok((id, _)) => id,
            Err(PermissionFault::Name(message) | PermissionFault::Level(message)) => {
                objections.push(Objection::Permission(message));
                continue;
            }
        };
        let true_scope = snapshot.vocabulary.permission(id).map_or(scope, |permission| permission.scope);
        let fits = match true_scope {
            Scope::Repository => true,
            Scope::Organization => !own,
            Scope::User => own,
        };
        if true_scope != scope || !fits {
            let (name, owner) = (name.to_owned(), owner.clone());
            objections.push(Objection::Scope { name, scope: true_scope, owner });
        }
        let ceilings = [
            organization.map(|organization| (&organization.name, &organization.ceiling)),
            snapshot.enterprise.as_ref().map(|enterprise| (&enterprise.name, &enterprise.ceiling)),
        ];
        for (whose, ceiling) in ceilings.into_iter().flatten() {
            if ceiling.get(&id).is_some_and(|most| *most < Some(level)) {
                let (owner, permission) = (whose.clone(), name.to_owned());
                objections.push(Objection::Ceiling { owner, permission, level });
            }
        }
    }
}

fn lifetime(snapshot: &Snapshot, wish: &Wish<'_>, objections: &mut Vec<Objection>) {
    let lifetime = wish.until.map(|until| until.0.saturating_sub(wish.from.0));
    let owner = &wish.part.owner;
    let of_owner = enforced(snapshot, owner).and_then(|organization| organization.max_lifetime);
    let enterprise = snapshot.enterprise.as_ref();
    let exempt = |user| {
        enterprise
            .is_some_and(|enterprise| enterprise.exempt_administrators && enterprise.is_administrator(user))
    };
    let of_enterprise = enterprise
        .filter(|_| !exempt(wish.user))
        .and_then(|enterprise| Some((&enterprise.name, enterprise.max_lifetime?)));
    // Who says nothing lets tokens live a year.
    let own = (owner, of_owner.unwrap_or(LONGEST_LIFETIME));
    for (whose, most) in [Some(own), of_enterprise].into_iter().flatten() {
        if lifetime.is_none_or(|lifetime| lifetime > most) {
            objections.push(Objection::Lifetime { owner: whose.clone(), most });
        }
    }
}

fn admission(organization: &Organization, wish: &Wish<'_>) -> Option<Objection> {
    if organization.access == Access::Deny {
        return Some(Objection::Access(organization.name.clone()));
    }
    let role = organization.role(wish.user, || wish.memberships.at(&organization.name));
    role.is_none().then(|| Objection::Membership(organization.name.clone()))
}

fn ruling(organization: Option<&Organization>, wish: &Wish<'_>) -> Ruling {
    let Part { owner, terms } = wish.part;
    let Some(organization) = organization else {
        // Nobody is known who could approve it but administrators.
        let own = owner.eq_ignore_ascii_case(wish.user);
        return if own { Ruling::Granted(Because::Own) } else { Ruling::Required };
    };
    if organization.is_owned_by(wish.user, wish.memberships) {
        return Ruling::Granted(Because::Owner);
    }
    if organization.approval == ApprovalRule::Automatic {
        return Ruling::Granted(Because::Policy);
    }
    let lifetime = wish.until.map(|until| until.0.saturating_sub(wish.from.0));
    let highest = terms.permissions.iter().map(|(_, _, level)| level).max();
    let fits = organization.automatic.iter().any(|rule| {
        let lives = rule.max_lifetime.is_none_or(|most| lifetime.is_some_and(|lifetime| lifetime <= most));
        lives && highest <= Some(rule.max_level)
    });
    if fits { Ruling::Granted(Because::Rule) } else { Ruling::Required }
}

/// The longest that a token which reaches all of `owners` may live, seconds.
pub fn longest_lifetime<'o>(snapshot: &Snapshot, owners: impl Iterator<Item = &'o str>) -> i64 {
    let of_owner = |owner| {
        let most = enforced(snapshot, owner).and_then(|organization| organization.max_lifetime);
        most.unwrap_or(LONGEST_LIFETIME)
    };
    let of_enterprise = snapshot.enterprise.as_ref().and_then(|enterprise| enterprise.max_lifetime);
    owners.map(of_owner).chain(of_enterprise).min().unwrap_or(LONGEST_LIFETIME)
}
