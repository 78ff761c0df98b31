//! Declared tokens: documents to grants.

use std::collections::HashSet;
use std::sync::Arc;

use crate::domain::fault::Fault;
use crate::domain::grant::{Grant, GrantPart, GrantState, Selection, UnixTime};
use crate::domain::permission::{Level, PermissionId, PermissionSet, Scope, Vocabulary};
use crate::domain::resource::{owner_name, repository_name};
use crate::domain::token::TokenDigest;
use crate::policy::compile::Source;
use crate::policy::document::{GrantDocument, RepositoriesDocument, TokenDocument, TokensDocument};
use crate::yaml::{Entries, Spanned};

/// The longest name of a token, characters (GitHub's).
const NAME_LIMIT: usize = 40;

/// Equal sets and names are kept once: a million tokens have few different ones.
#[derive(Debug, Default)]
pub struct Interner {
    sets: HashSet<Arc<PermissionSet>>,
    names: HashSet<Arc<str>>,
}

impl Interner {
    fn set(&mut self, set: PermissionSet) -> Arc<PermissionSet> {
        if let Some(known) = self.sets.get(&set) {
            return Arc::clone(known);
        }
        let set = Arc::new(set);
        self.sets.insert(Arc::clone(&set));
        set
    }

    fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        self.names.insert(Arc::clone(&name));
        name
    }
}

/// Turns the tokens of one file into grants.
#[derive(Debug)]
pub struct TokenCompiler<'a> {
    source: &'a Source,
    vocabulary: &'a Vocabulary,
    interner: &'a mut Interner,
    faults: &'a mut Vec<Fault>,
}

impl<'a> TokenCompiler<'a> {
    /// For the tokens of `source`; what is wrong with them goes to `faults`.
    pub fn new(
        source: &'a Source,
        vocabulary: &'a Vocabulary,
        interner: &'a mut Interner,
        faults: &'a mut Vec<Fault>,
    ) -> Self {
        Self { source, vocabulary, interner, faults }
    }

    /// The grants of `document`, each with its digest and where the digest stands. What has a fault is left out.
    pub fn compile(&mut self, document: TokensDocument) -> Vec<(TokenDigest, Spanned<String>, Grant)> {
        let compile = |token: Spanned<TokenDocument>| {
            let before = self.faults.len();
            let grant = self.token(&token);
            grant
                .filter(|_| self.faults.len() == before)
                .map(|(digest, grant)| (digest, token.value.sha256, grant))
        };
        document.tokens.into_iter().filter_map(compile).collect()
    }

    fn token(&mut self, token: &Spanned<TokenDocument>) -> Option<(TokenDigest, Grant)> {
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
        let grant = Grant {
            name: name.as_str().into(),
            user: self.interner.name(&user.value),
            parts: parts.into_iter().map(|(part, _)| part).collect(),
            user_permissions: self.interner.set(user_permissions),
            expires_at: expires_at?,
            created_at,
            state,
            networks,
        };
        Some((digest?, grant))
    }

    /// The permissions of scope `user`, which only a grant on the user itself can hold.
    fn user_permissions(
        &mut self,
        user: &Spanned<String>,
        parts: &[(GrantPart, Spanned<String>)],
    ) -> PermissionSet {
        let mut held = PermissionSet::default();
        for (part, at) in parts {
            let of_user: Vec<_> =
                part.permissions.iter().filter(|(id, _)| self.scope(*id) == Some(Scope::User)).collect();
            for (id, level) in of_user {
                held.grant(id, level);
                if !part.owner.eq_ignore_ascii_case(&user.value) {
                    let message = format!(
                        "`{}` is a user's own permission; only a grant whose resource owner is the token's user (`{}`) can hold it",
                        self.vocabulary.name(id),
                        user.value
                    );
                    self.fault(at, message);
                }
            }
        }
        held
    }

    /// The parts, each with a place to point at.
    fn parts(&mut self, token: &Spanned<TokenDocument>) -> Vec<(GrantPart, Spanned<String>)> {
        let document = &token.value;
        match (&document.grants, &document.resource_owner, &document.permissions) {
            (None, Some(owner), Some(permissions)) => {
                self.part(owner, document.repositories.as_ref(), permissions).into_iter().collect()
            }
            (Some(grants), None, None) if document.repositories.is_none() => {
                if grants.is_empty() {
                    self.fault(token, "`grants` is empty; expected at least one resource owner");
                }
                let mut parts: Vec<(GrantPart, Spanned<String>)> = Vec::new();
                for Spanned { value: GrantDocument { resource_owner, repositories, permissions }, .. } in
                    grants
                {
                    if parts.iter().any(|(part, _)| part.owner.eq_ignore_ascii_case(&resource_owner.value)) {
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

    fn part(
        &mut self,
        owner: &Spanned<String>,
        repositories: Option<&Spanned<RepositoriesDocument>>,
        permissions: &Entries<String>,
    ) -> Option<(GrantPart, Spanned<String>)> {
        if owner_name(&owner.value).is_err() {
            self.fault(
                owner,
                "a resource owner's name holds letters, digits, `.`, `_` and `-`, and does not end in `.`",
            );
        }
        let permissions = self.permissions(permissions);
        let selection = match repositories {
            Some(repositories) => self.selection(repositories),
            None if permissions.iter().any(|(id, _)| self.scope(id) == Some(Scope::Repository)) => {
                self.fault(owner, "`repositories` is missing: expected `all` or a list of names");
                None
            }
            None => Some(Selection::of([])),
        };
        let part = GrantPart {
            owner: self.interner.name(&owner.value),
            selection: selection?,
            permissions: self.interner.set(permissions),
        };
        Some((part, owner.clone()))
    }

    fn permissions(&mut self, entries: &Entries<String>) -> PermissionSet {
        let mut set = PermissionSet::default();
        for (name, level) in &entries.0 {
            if let Some((id, level)) =
                permission_level(self.vocabulary, name, level, self.source, self.faults)
            {
                set.grant(id, level);
            }
        }
        if entries.0.is_empty() {
            return set;
        }
        with_implied(set, self.vocabulary)
    }

    fn selection(&mut self, repositories: &Spanned<RepositoriesDocument>) -> Option<Selection> {
        match &repositories.value {
            RepositoriesDocument::Word(word) if word == "all" => Some(Selection::All),
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
                Some(Selection::of(names.iter().map(|name| name.as_str().into())))
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

    fn networks(&mut self, networks: &[Spanned<String>]) -> Box<[ipnet::IpNet]> {
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
        self.faults.push(self.source.fault(at, message));
    }
}

/// Reads a date (its first moment, UTC) or a moment in RFC 3339.
pub fn parse_moment(text: &str) -> Option<UnixTime> {
    let moment = if text.contains(['T', 't', ' ']) {
        text.parse::<jiff::Timestamp>().ok()?
    } else {
        let date = text.parse::<jiff::civil::Date>().ok()?;
        date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp()
    };
    Some(UnixTime(moment.as_second()))
}

/// Adds what any repository permission brings with it (`metadata` at GitHub).
pub fn with_implied(mut set: PermissionSet, vocabulary: &Vocabulary) -> PermissionSet {
    let scope = |id| vocabulary.permission(id).map(|permission| permission.scope);
    if set.iter().any(|(id, _)| scope(id) == Some(Scope::Repository)) {
        for (id, _) in vocabulary.iter().filter(|(_, permission)| permission.implied) {
            set.grant(id, Level::Read);
        }
    }
    set
}

/// Reads `name: level`, where the permission can be granted at that level.
pub fn permission_level(
    vocabulary: &Vocabulary,
    name: &Spanned<String>,
    level: &Spanned<String>,
    source: &Source,
    faults: &mut Vec<Fault>,
) -> Option<(PermissionId, Level)> {
    let Some((id, known)) =
        vocabulary.find(&name.value).and_then(|id| Some((id, vocabulary.permission(id)?)))
    else {
        faults.push(source.fault(
            name,
            format!("unknown permission `{}`{}", name.value, suggestion(vocabulary, &name.value)),
        ));
        return None;
    };
    if known.levels.is_empty() {
        faults.push(source.fault(name, format!("`{}` cannot be granted to a token", name.value)));
        return None;
    }
    let granted = Level::parse(&level.value).filter(|level| known.levels.contains(level));
    if granted.is_none() {
        let levels: Vec<_> = known.levels.iter().map(|level| format!("`{level}`")).collect();
        let message =
            format!("`{}` is no level of `{}`; expected {}", level.value, name.value, levels.join(" or "));
        faults.push(source.fault(level, message));
    }
    granted.map(|level| (id, level))
}

/// Names of the vocabulary that look like `name`.
fn suggestion(vocabulary: &Vocabulary, name: &str) -> String {
    let close: Vec<_> = vocabulary
        .iter()
        .map(|(_, permission)| permission.name.as_str())
        .filter(|known| known.starts_with(name) || name.starts_with(known) || distance(known, name) <= 2)
        .map(|known| format!("`{known}`"))
        .take(4)
        .collect();
    if close.is_empty() {
        "; it is in none of the catalogs in use".to_owned()
    } else {
        format!("; did you mean {}?", close.join(" or "))
    }
}

/// Levenshtein distance.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (at, one) in left.chars().enumerate() {
        let mut diagonal = at;
        let mut before = at + 1;
        if let Some(first) = row.first_mut() {
            *first = before;
        }
        for (cell, other) in row.iter_mut().skip(1).zip(right.chars()) {
            let replaced = diagonal + usize::from(one != other);
            diagonal = *cell;
            before = replaced.min(before + 1).min(*cell + 1);
            *cell = before;
        }
    }
    row.last().copied().unwrap_or_default()
}

fn is_user_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+@".contains(&byte);
    (1..=100).contains(&text.len()) && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_its_first_moment() {
        for (text, want) in [
            ("1970-01-02", Some(86_400)),
            ("1970-01-02T00:00:01Z", Some(86_401)),
            ("1970-01-02T01:00:00+01:00", Some(86_400)),
            ("1970-01-02T00:00:00", None),
            ("1970-13-01", None),
            ("noon", None),
            ("", None),
        ] {
            assert_eq!(parse_moment(text), want.map(UnixTime), "{text}");
        }
    }
}
