//! What fine-grained tokens open, compiled for the hot path: a million of them in a few large blocks of memory.
//!
//! `packed` keeps the tokens of one policy file, `table` finds one among the files by its digest. Here is what is seen
//! of one token: a [`Grant`] borrows from its file and is copied freely. Nothing is allocated to read it.

pub mod index;
pub mod packed;
pub mod states;
pub mod table;

use std::cmp::Ordering;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::domain::grant::{Approval, GrantState, UnixTime};
use crate::domain::permission::PermissionSet;
use crate::domain::resource::{RepositoryName, Resource, compare_names};
use crate::domain::token::TokenDigest;
use crate::policy::grants::packed::{Record, Terms, TokenFile};
use crate::policy::grants::states::TokenStates;

/// What a fine-grained token opens, for whom, until when.
#[derive(Clone, Copy)]
pub struct Grant<'a> {
    file: &'a TokenFile,
    record: &'a Record,
}

/// What a token opens at one resource owner.
#[derive(Debug, Clone, Copy)]
pub struct GrantPart<'a> {
    /// The resource owner.
    pub owner: &'a str,
    /// Which of its repositories.
    pub selection: Selection<'a>,
    /// What may be done there.
    pub permissions: &'a PermissionSet,
    /// Whether it may be done yet.
    pub approval: Approval,
}

/// Which repositories of a resource owner.
#[derive(Debug, Clone, Copy)]
pub enum Selection<'a> {
    /// All, also those to come.
    All,
    /// These names.
    Selected(Names<'a>),
}

/// Names of repositories, in the order of [`compare_names`].
#[derive(Clone, Copy)]
pub struct Names<'a> {
    file: &'a TokenFile,
    references: &'a [u32],
}

impl<'a> Grant<'a> {
    /// The token's name, for people.
    pub fn name(self) -> &'a str {
        self.file.text(self.record.name)
    }

    /// The user whom the token belongs to.
    pub fn user(self) -> &'a str {
        self.file.text(self.record.user)
    }

    /// The digest of the token's text.
    pub fn digest(self) -> &'a TokenDigest {
        &self.record.digest
    }

    /// When it stops working.
    pub fn expires_at(self) -> UnixTime {
        self.record.expires_at
    }

    /// When it was made, where that is known.
    pub fn created_at(self) -> Option<UnixTime> {
        self.record.created_at()
    }

    /// Where the policy file says that it is no longer good.
    pub fn state(self) -> GrantState {
        self.record.state()
    }

    /// It alone, counted by its state.
    pub fn counted(self, now: UnixTime) -> TokenStates {
        let mut states = TokenStates::default();
        let place = match self.state() {
            GrantState::Active if self.expires_at() > now => &mut states.active,
            GrantState::Active => &mut states.expired,
            GrantState::Pending => &mut states.pending,
            GrantState::Revoked => &mut states.revoked,
            GrantState::Suspended => &mut states.suspended,
        };
        *place = 1;
        states
    }

    /// What it reaches: at each resource owner what was granted, and what is awaited.
    pub fn parts(self) -> Parts<'a> {
        Parts { file: self.file, words: self.terms().map_or(&[], |terms| terms.parts) }
    }

    /// Permissions of scope `user`, whatever part they were granted with.
    pub fn user_permissions(self) -> &'a PermissionSet {
        self.file.set(self.terms().and_then(|terms| terms.user_permissions))
    }

    /// Networks from which it may be used; none means any.
    pub fn networks(self) -> impl Iterator<Item = IpNet> {
        let references = self.terms().map_or(&[][..], |terms| terms.networks);
        references.iter().filter_map(move |reference| self.file.network(*reference))
    }

    /// The granted part that reaches `resource`; `None` where none does or where it belongs to nobody.
    pub fn part_for(self, resource: &Resource<'_>) -> Option<GrantPart<'a>> {
        self.part_at(resource, Approval::Granted)
    }

    /// The part that would reach `resource` once it is approved.
    pub fn awaited_part_for(self, resource: &Resource<'_>) -> Option<GrantPart<'a>> {
        self.part_at(resource, Approval::Awaited)
    }

    fn part_at(self, resource: &Resource<'_>, approval: Approval) -> Option<GrantPart<'a>> {
        let owner = resource.owner()?;
        self.parts().find(|part| {
            part.approval == approval
                && part.owner.eq_ignore_ascii_case(owner)
                && resource.repository().is_none_or(|repository| part.selection.covers(repository))
        })
    }

    /// Whether it may be used from `peer`.
    pub fn allows_peer(self, peer: IpAddr) -> bool {
        // A network that could not be read back must not open every other one.
        let Some(terms) = self.terms() else { return false };
        let peer = peer.to_canonical();
        terms.networks.is_empty() || self.networks().any(|network| network.contains(&peer))
    }

    fn terms(self) -> Option<Terms<'a>> {
        self.file.terms(self.record.terms)
    }
}

impl fmt::Debug for Grant<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("name", &self.name())
            .field("user", &self.user())
            .field("state", &self.state())
            .field("expires_at", &self.expires_at())
            .field("created_at", &self.created_at())
            .field("parts", &self.parts().collect::<Vec<_>>())
            .field("user_permissions", &self.user_permissions())
            .field("networks", &self.networks().collect::<Vec<_>>())
            .finish()
    }
}

/// The parts of a grant.
#[derive(Debug, Clone)]
pub struct Parts<'a> {
    file: &'a TokenFile,
    words: &'a [u32],
}

impl<'a> Iterator for Parts<'a> {
    type Item = GrantPart<'a>;

    fn next(&mut self) -> Option<GrantPart<'a>> {
        let [owner, permissions, head, ref rest @ ..] = *self.words else { return None };
        let approval = if head & 1 == 1 { Approval::Awaited } else { Approval::Granted };
        let (selection, rest) = match (head >> 1).checked_sub(1) {
            None => (Selection::All, rest),
            Some(count) => {
                let (references, rest) = rest.split_at_checked(count as usize)?;
                (Selection::Selected(Names { file: self.file, references }), rest)
            }
        };
        self.words = rest;
        let permissions = self.file.set(Some(permissions));
        Some(GrantPart { owner: self.file.text(owner), selection, permissions, approval })
    }
}

impl Selection<'_> {
    /// Whether it covers every repository of the owner.
    pub fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }

    /// Whether `repository` is in it; the owner has been compared already.
    pub fn covers(&self, repository: RepositoryName<'_>) -> bool {
        match self {
            Self::All => true,
            Self::Selected(names) => names.hold(repository.name),
        }
    }
}

impl<'a> Names<'a> {
    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.references.is_empty()
    }

    /// The names.
    pub fn iter(self) -> impl Iterator<Item = &'a str> {
        self.references.iter().map(move |reference| self.file.text(*reference))
    }

    fn hold(self, name: &str) -> bool {
        let order = |reference: &u32| -> Ordering { compare_names(self.file.text(*reference), name) };
        self.references.binary_search_by(order).is_ok()
    }
}

impl fmt::Debug for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests;
