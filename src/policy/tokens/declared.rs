//! One declared token: its document to its packed form.

use std::path::Path;

use crate::domain::fault::Fault;
use crate::domain::grant::{Approval, GrantState, UnixTime};
use crate::domain::permission::{Level, PermissionId, PermissionSet, Scope, Vocabulary};
use crate::domain::resource::{compare_names, owner_name, repository_name};
use crate::domain::token::TokenDigest;
use crate::policy::document::{GrantDocument, RepositoriesDocument, TokenDocument};
use crate::policy::grants::packed::{Packer, PartTerms, TokenTerms};
use crate::policy::tokens::parse_moment;
use crate::policy::tokens::permission::{PermissionFault, permission_level, with_implied};
use crate::yaml::{self, Entries, Spanned};

/// The longest name of a token, characters (GitHub's).
const NAME_LIMIT: usize = 40;

/// Some lines of a file, which places are told in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page<'p> {
    /// The file.
    pub(super) file: &'p Path,
    /// The lines.
    pub(super) text: &'p str,
    /// How many lines of the file stand before them.
    pub(super) before: u64,
}

/// What turns one token into packed form.
pub(super) struct Declared<'c, 'p> {
    pub(super) vocabulary: &'c Vocabulary,
    pub(super) packer: &'c mut Packer,
    pub(super) page: Page<'p>,
    pub(super) faults: &'c mut Vec<Fault>,
}

/// What a token opens at one resource owner, with a place to point at.
struct Part<'d> {
    owner: &'d Spanned<String>,
    names: Reach<'d>,
    permissions: PermissionSet,
}

/// Which repositories.
enum Reach<'d> {
    All,
    /// These, in the order of `compare_names`.
    Names(Vec<&'d str>),
}

impl Part<'_> {
    fn terms(&self) -> PartTerms<'_> {
        let names = match &self.names {
            Reach::All => None,
            Reach::Names(names) => Some(names.as_slice()),
        };
        PartTerms {
            owner: &self.owner.value,
            names,
            permissions: self.permissions,
            approval: Approval::Granted,
        }
    }
}

impl Declared<'_, '_> {
    /// Packs `token`, unless it has a fault.
    pub(super) fn token(&mut self, token: &Spanned<TokenDocument>) {
        let known = self.faults.len();
        let document = &token.value;
        let name = &document.name.value;
        if name.trim().is_empty() || name.chars().count() > NAME_LIMIT || name.contains(char::is_control) {
            self.fault(&document.name, format!("a token's name has 1 to {NAME_LIMIT} characters"));
        }
        let digest = TokenDigest::from_hex(&document.sha256.value);
        if digest.is_none() {
            self.fault(
                &document.sha256,
                "expected 64 hexadecimal digits: the SHA-256 of the token's text, as `portcullis token new` prints it",
            );
        }
        let parts = self.parts(token);
        let user = &document.user;
        if !is_user_name(&user.value) {
            self.fault(user, "a user's name holds letters, digits, `.`, `_`, `-`, `+` and `@`, at most 100");
        }
        let user_permissions = self.user_permissions(user, &parts);
        let expires_at = self.moment(&document.expires_at);
        let created_at = document.created_at.as_ref().and_then(|text| self.moment(text));
        let state = self.state(document.state.as_ref());
        if document.networks.as_ref().is_some_and(Vec::is_empty) {
            self.fault(token, "`networks` is empty; leave it out where any network may use the token");
        }
        let networks = self.networks(document.networks.as_deref().unwrap_or_default());
        let (Some(digest), Some(expires_at)) = (digest, expires_at) else { return };
        if self.faults.len() > known {
            return;
        }
        let line = self.page.before + yaml::place(&document.sha256).line.max(1);
        let parts: Vec<_> = parts.iter().map(Part::terms).collect();
        let terms = TokenTerms {
            digest,
            line,
            name,
            user: &user.value,
            expires_at,
            created_at,
            state,
            user_permissions,
            networks: &networks,
            parts: &parts,
        };
        if let Err(error) = self.packer.push(&terms) {
            self.fault(token, error.to_string());
        }
    }

    /// The permissions of scope `user`, which only a grant on the user itself can hold.
    fn user_permissions(&mut self, user: &Spanned<String>, parts: &[Part<'_>]) -> PermissionSet {
        let mut held = PermissionSet::default();
        for part in parts {
            let of_user = |(id, _): &(PermissionId, Level)| self.scope(*id) == Some(Scope::User);
            let of_user: Vec<_> = part.permissions.iter().filter(of_user).collect();
            for (id, level) in of_user {
                held.grant(id, level);
                if !part.owner.value.eq_ignore_ascii_case(&user.value) {
                    let message = format!(
                        "`{}` is a user's own permission; only a grant whose resource owner is the token's user (`{}`) can hold it",
                        self.vocabulary.name(id),
                        user.value
                    );
                    self.fault(part.owner, message);
                }
            }
        }
        held
    }

    fn parts<'d>(&mut self, token: &'d Spanned<TokenDocument>) -> Vec<Part<'d>> {
        let document = &token.value;
        match (&document.grants, &document.resource_owner, &document.permissions) {
            (None, Some(owner), Some(permissions)) => {
                self.part(owner, document.repositories.as_ref(), permissions).into_iter().collect()
            }
            (Some(grants), None, None) if document.repositories.is_none() => {
                if grants.is_empty() {
                    self.fault(token, "`grants` is empty; expected at least one resource owner");
                }
                let mut parts: Vec<Part<'_>> = Vec::new();
                for Spanned { value: GrantDocument { resource_owner, repositories, permissions }, .. } in
                    grants
                {
                    let owner = &resource_owner.value;
                    if parts.iter().any(|part| part.owner.value.eq_ignore_ascii_case(owner)) {
                        self.fault(
                            resource_owner,
                            "this resource owner stands in `grants` already; join the two",
                        );
                    }
                    parts.extend(self.part(resource_owner, repositories.as_ref(), permissions));
                }
                parts
            }
            _ => {
                self.fault(
                    token,
                    "expected `resource_owner`, `repositories` and `permissions`, or else `grants` with a list of them",
                );
                Vec::new()
            }
        }
    }

    fn part<'d>(
        &mut self,
        owner: &'d Spanned<String>,
        repositories: Option<&'d Spanned<RepositoriesDocument>>,
        permissions: &Entries<String>,
    ) -> Option<Part<'d>> {
        if owner_name(&owner.value).is_err() {
            self.fault(
                owner,
                "a resource owner's name holds letters, digits, `.`, `_` and `-`, and does not end in `.`",
            );
        }
        let permissions = self.permissions(permissions);
        let names = match repositories {
            Some(repositories) => self.selection(repositories)?,
            None if permissions.iter().any(|(id, _)| self.scope(id) == Some(Scope::Repository)) => {
                self.fault(owner, "`repositories` is missing: expected `all` or a list of names");
                return None;
            }
            None => Reach::Names(Vec::new()),
        };
        Some(Part { owner, names, permissions })
    }

    fn permissions(&mut self, entries: &Entries<String>) -> PermissionSet {
        let mut set = PermissionSet::default();
        for (name, level) in &entries.0 {
            match permission_level(self.vocabulary, &name.value, &level.value) {
                Ok((id, level)) => set.grant(id, level),
                Err(PermissionFault::Name(message)) => self.fault(name, message),
                Err(PermissionFault::Level(message)) => self.fault(level, message),
            }
        }
        with_implied(set, self.vocabulary)
    }

    fn selection<'d>(&mut self, repositories: &'d Spanned<RepositoriesDocument>) -> Option<Reach<'d>> {
        match &repositories.value {
            RepositoriesDocument::Word(word) if word == "all" => Some(Reach::All),
            RepositoriesDocument::Word(_) => {
                self.fault(repositories, "expected `all` or a list of repository names");
                None
            }
            RepositoriesDocument::Names(names) => {
                for name in names {
                    if repository_name(name) != Ok(name) {
                        self.fault(
                            repositories,
                            format!("`{name}` is no repository name; expected letters, digits, `.`, `_`, `-`, without the owner and without `.git`"),
                        );
                    }
                }
                if names.is_empty() {
                    self.fault(repositories, "the list is empty; expected `all` or at least one name");
                }
                let mut names: Vec<_> = names.iter().map(String::as_str).collect();
                names.sort_by(|left, right| compare_names(left, right));
                Some(Reach::Names(names))
            }
        }
    }

    fn moment(&mut self, text: &Spanned<String>) -> Option<UnixTime> {
        let moment = parse_moment(&text.value);
        if moment.is_none() {
            self.fault(text, "expected a date such as `2027-01-31` (its first moment, UTC) or a moment such as `2027-01-31T18:00:00Z`");
        }
        moment
    }

    fn state(&mut self, state: Option<&Spanned<String>>) -> GrantState {
        match state.map(|state| (state, state.value.as_str())) {
            None | Some((_, "active")) => GrantState::Active,
            Some((_, "pending")) => GrantState::Pending,
            Some((_, "revoked")) => GrantState::Revoked,
            Some((at, other)) => {
                self.fault(at, format!("unknown state `{other}`; expected `active`, `pending` or `revoked`"));
                GrantState::Revoked
            }
        }
    }

    fn networks(&mut self, networks: &[Spanned<String>]) -> Vec<ipnet::IpNet> {
        let read = |text: &Spanned<String>| {
            let network = text
                .value
                .parse()
                .ok()
                .or_else(|| text.value.parse::<std::net::IpAddr>().ok().map(ipnet::IpNet::from));
            if network.is_none() {
                self.fault(
                    text,
                    "expected a network such as `10.0.0.0/8` or `2001:db8::/32`, or one address",
                );
            }
            network
        };
        networks.iter().filter_map(read).collect()
    }

    fn scope(&self, id: PermissionId) -> Option<Scope> {
        self.vocabulary.permission(id).map(|permission| permission.scope)
    }

    fn fault<T>(&mut self, at: &Spanned<T>, message: impl Into<String>) {
        self.faults.push(self.page.fault_at(yaml::place(at), message));
    }
}

fn is_user_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+@".contains(&byte);
    (1..=100).contains(&text.len()) && text.bytes().all(plain)
}
