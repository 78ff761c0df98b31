//! Tokens of the store to their packed form.
//!
//! What a token was granted is kept by name. A name that no catalog in use knows, or a level that it does not have, opens
//! nothing until one does.

use std::path::PathBuf;
use std::sync::Arc;

use crate::domain::grant::{Approval, GrantState};
use crate::domain::lifecycle::terms::{Permissions, Reach, Terms};
use crate::domain::lifecycle::{Part, Standing, StoredToken};
use crate::domain::permission::{PermissionSet, Scope, Vocabulary};
use crate::domain::token::TokenDigest;
use crate::policy::grants::packed::{PackError, Packer, PartTerms, TokenFile, TokenTerms};
use crate::policy::tokens::permission::with_implied;

/// What the store's tokens are said to stand in, where a file would be named.
const STORE: &str = "store";

/// A part, with its permissions as the vocabulary knows them.
struct Compiled<'p> {
    owner: &'p str,
    names: Option<Vec<&'p str>>,
    permissions: PermissionSet,
    approval: Approval,
}

impl<'p> Compiled<'p> {
    fn new(part: &'p Part, approval: Approval, vocabulary: &Vocabulary) -> Self {
        let Terms { reach, permissions } = &part.terms;
        let names = match reach {
            Reach::All => None,
            // A permission on repositories opens public ones at most, which no part is needed for.
            Reach::Public => Some(Vec::new()),
            Reach::Subset(names) => Some(names.as_slice().iter().map(String::as_str).collect()),
        };
        let scopes = [Scope::Organization, Scope::Repository];
        let permissions = with_implied(known(permissions, &scopes, vocabulary), vocabulary);
        Self { owner: &part.owner, names, permissions, approval }
    }

    fn terms(&self) -> PartTerms<'_> {
        PartTerms {
            owner: self.owner,
            names: self.names.as_deref(),
            permissions: self.permissions,
            approval: self.approval,
        }
    }
}

/// The permissions of `scopes` that `vocabulary` knows with the same scope, at most at the highest level that it has.
fn known(permissions: &Permissions, scopes: &[Scope], vocabulary: &Vocabulary) -> PermissionSet {
    let mut set = PermissionSet::default();
    for (scope, name, level) in permissions.iter().filter(|(scope, ..)| scopes.contains(scope)) {
        let found = vocabulary.find(name).and_then(|id| Some((id, vocabulary.permission(id)?)));
        let Some((id, permission)) = found.filter(|(_, permission)| permission.scope == scope) else {
            continue;
        };
        if let Some(level) = permission.levels.iter().filter(|known| **known <= level).max() {
            set.grant(id, *level);
        }
    }
    set
}

/// Adds `token` to `packer`, once for each of its secrets.
///
/// # Errors
/// [`PackError`].
pub fn pack(token: &StoredToken, vocabulary: &Vocabulary, packer: &mut Packer) -> Result<(), PackError> {
    let granted = token.granted.iter().map(|part| Compiled::new(part, Approval::Granted, vocabulary));
    let awaited = token.awaited.iter().map(|part| Compiled::new(part, Approval::Awaited, vocabulary));
    // One that was taken back opens nothing, and takes no room for it.
    let stands = token.standing != Standing::Revoked;
    let compiled: Vec<_> = granted.chain(awaited).filter(|_| stands).collect();
    let parts: Vec<_> = compiled.iter().map(Compiled::terms).collect();
    let own = token.granted.iter().find(|part| part.owner.eq_ignore_ascii_case(&token.user));
    let user_permissions =
        own.map(|part| known(&part.terms.permissions, &[Scope::User], vocabulary)).unwrap_or_default();
    let state = match token.standing {
        Standing::Revoked => GrantState::Revoked,
        Standing::Suspended => GrantState::Suspended,
        Standing::Good if token.granted.is_empty() && !token.awaited.is_empty() => GrantState::Pending,
        Standing::Good => GrantState::Active,
    };
    for (digest, expires_at) in &token.secrets {
        packer.push(&TokenTerms {
            digest: *digest,
            line: 0,
            name: &token.name,
            user: &token.user,
            expires_at: *expires_at,
            created_at: Some(token.issued_at),
            state,
            user_permissions,
            networks: &[],
            parts: &parts,
        })?;
    }
    Ok(())
}

/// `token`, packed alone under each of its digests.
///
/// # Errors
/// [`PackError`].
pub fn alone(
    token: &StoredToken,
    vocabulary: &Vocabulary,
) -> Result<Vec<(TokenDigest, Arc<TokenFile>)>, PackError> {
    let mut packer = Packer::default();
    let mut files = Vec::new();
    for secret in &token.secrets {
        let one = StoredToken { secrets: vec![*secret], ..token.clone() };
        pack(&one, vocabulary, &mut packer)?;
        files.push((secret.0, Arc::new(finish(&mut packer))));
    }
    Ok(files)
}

/// What `packer` holds, as the file of the store.
pub fn finish(packer: &mut Packer) -> TokenFile {
    packer.finish(PathBuf::from(STORE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::grant::UnixTime;
    use crate::domain::lifecycle::terms::Names;
    use crate::domain::permission::{Level, Permission};

    fn vocabulary() -> Vocabulary {
        let mut vocabulary = Vocabulary::default();
        for (name, scope, levels, implied) in [
            ("metadata", Scope::Repository, &[Level::Read][..], true),
            ("contents", Scope::Repository, &[Level::Read, Level::Write], false),
            ("members", Scope::Organization, &[Level::Read, Level::Write], false),
            ("emails", Scope::User, &[Level::Read, Level::Write], false),
        ] {
            let permission = Permission {
                name: name.into(),
                scope,
                levels: levels.into(),
                description: String::new(),
                implied,
                write_role: Level::Write,
            };
            vocabulary.add(permission).unwrap();
        }
        vocabulary
    }

    fn part(owner: &str, reach: Reach, permissions: &[(Scope, &str, Level)]) -> Part {
        let mut held = Permissions::default();
        for (scope, name, level) in permissions {
            held.of_mut(*scope).insert((*name).to_owned(), *level);
        }
        Part { owner: owner.into(), terms: Terms { reach, permissions: held } }
    }

    fn token(granted: Vec<Part>, awaited: Vec<Part>) -> StoredToken {
        StoredToken {
            name: "nightly".into(),
            user: "bob".into(),
            secrets: vec![(TokenDigest::of("a"), UnixTime(2_000)), (TokenDigest::of("b"), UnixTime(1_500))],
            issued_at: UnixTime(1_000),
            standing: Standing::Good,
            granted,
            awaited,
        }
    }

    /// Its state, and its parts as `owner repositories name=level,… (awaited)`.
    fn shown(token: &StoredToken) -> (GrantState, Vec<String>) {
        let vocabulary = vocabulary();
        let packed = alone(token, &vocabulary).unwrap();
        let grant = packed.first().unwrap().1.grant(0).unwrap();
        let parts = grant.parts().map(|part| {
            let permissions: Vec<_> = part
                .permissions
                .iter()
                .map(|(id, level)| format!("{}={level}", vocabulary.name(id)))
                .collect();
            format!("{} {:?} {} {:?}", part.owner, part.selection, permissions.join(","), part.approval)
        });
        (grant.state(), parts.collect())
    }

    #[test]
    fn what_no_catalog_knows_opens_nothing() {
        let contents = (Scope::Repository, "contents", Level::Admin);
        let lost = (Scope::Repository, "gone", Level::Write);
        let moved = (Scope::Organization, "emails", Level::Write);
        let granted = part("acme", Reach::All, &[contents, lost, moved]);
        let (state, parts) = shown(&token(vec![granted], Vec::new()));
        assert_eq!(state, GrantState::Active);
        assert_eq!(parts, ["acme All metadata=read,contents=write Granted"]);
    }

    #[test]
    fn what_is_awaited_stands_beside_what_is_granted() {
        let read = (Scope::Repository, "contents", Level::Read);
        let write = (Scope::Repository, "contents", Level::Write);
        let alpha = || Reach::Subset(Names::new(vec!["alpha".into()]));
        let both = token(vec![part("acme", alpha(), &[read])], vec![part("acme", alpha(), &[write])]);
        let (state, parts) = shown(&both);
        assert_eq!(state, GrantState::Active);
        assert_eq!(
            parts,
            [
                "acme Selected([\"alpha\"]) metadata=read,contents=read Granted",
                "acme Selected([\"alpha\"]) metadata=read,contents=write Awaited"
            ]
        );
        let (state, _) = shown(&token(Vec::new(), vec![part("acme", alpha(), &[write])]));
        assert_eq!(state, GrantState::Pending);
        let suspended = StoredToken { standing: Standing::Suspended, ..both.clone() };
        assert_eq!(shown(&suspended).0, GrantState::Suspended);
        assert_eq!(shown(&StoredToken { standing: Standing::Revoked, ..both }).0, GrantState::Revoked);
    }

    #[test]
    fn a_user_s_own_permissions_come_from_the_user_s_own_part() {
        let emails = (Scope::User, "emails", Level::Read);
        let held = |owner: &str| {
            let token = token(vec![part(owner, Reach::Public, &[emails])], Vec::new());
            let packed = alone(&token, &vocabulary()).unwrap();
            assert_eq!(packed.len(), 2, "one for each secret");
            packed.iter().all(|(_, file)| !file.grant(0).unwrap().user_permissions().is_empty())
        };
        assert!(held("Bob"));
        assert!(!held("acme"));
    }
}
