//! A fine-grained token compiled for the hot path.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::domain::permission::PermissionSet;
use crate::domain::resource::{RepositoryName, Resource, compare_names};

/// A moment: seconds since 1970-01-01 00:00 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(pub i64);

/// What a fine-grained token opens, for whom, until when.
#[derive(Debug, Clone)]
pub struct Grant {
    /// The token's name, for people.
    pub name: Box<str>,
    /// The user whom the token belongs to.
    pub user: Arc<str>,
    /// What it reaches, one part for each resource owner.
    pub parts: Box<[GrantPart]>,
    /// Permissions of scope `user`, whatever part they were granted with.
    pub user_permissions: Arc<PermissionSet>,
    /// When it stops working.
    pub expires_at: UnixTime,
    /// When it was made, where that is known.
    pub created_at: Option<UnixTime>,
    /// Where the policy file says that it is no longer good.
    pub state: GrantState,
    /// Networks from which it may be used; empty means any.
    pub networks: Box<[IpNet]>,
}

/// The declared state of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantState {
    /// Works.
    Active,
    /// Waits for its resource owner's approval.
    Pending,
    /// Was taken back.
    Revoked,
}

/// What a token opens at one resource owner.
#[derive(Debug, Clone)]
pub struct GrantPart {
    /// The resource owner.
    pub owner: Arc<str>,
    /// Which of its repositories.
    pub selection: Selection,
    /// What may be done there.
    pub permissions: Arc<PermissionSet>,
}

/// Which repositories of a resource owner.
#[derive(Debug, Clone)]
pub enum Selection {
    /// All, also those to come.
    All,
    /// These names, in the order of [`compare_names`].
    Selected(Box<[Box<str>]>),
}

impl Selection {
    /// The repositories called `names`.
    pub fn of(names: impl IntoIterator<Item = Box<str>>) -> Self {
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort_by(|left, right| compare_names(left, right));
        Self::Selected(names.into())
    }

    /// Whether it covers every repository of the owner.
    pub fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }

    /// Whether `repository` is in it; the owner has been compared already.
    pub fn covers(&self, repository: RepositoryName<'_>) -> bool {
        match self {
            Self::All => true,
            Self::Selected(names) => {
                names.binary_search_by(|name| compare_names(name, repository.name)).is_ok()
            }
        }
    }
}

impl Grant {
    /// The part that reaches `resource`; `None` where none does or where it belongs to nobody.
    pub fn part_for(&self, resource: &Resource<'_>) -> Option<&GrantPart> {
        let owner = resource.owner()?;
        self.parts.iter().find(|part| {
            part.owner.eq_ignore_ascii_case(owner)
                && resource.repository().is_none_or(|repository| part.selection.covers(repository))
        })
    }

    /// Whether it may be used from `peer`.
    pub fn allows_peer(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.networks.is_empty() || self.networks.iter().any(|network| network.contains(&peer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selections_compare_whole_names_without_case() {
        let selection = Selection::of(["beta".into(), "Alpha".into()]);
        let covers = |name| selection.covers(RepositoryName { owner: "acme", name });
        assert!(covers("alpha") && covers("ALPHA") && covers("beta"));
        assert!(!covers("alph") && !covers("alphaa") && !covers("*") && !covers(""));
    }
}
