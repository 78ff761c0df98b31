//! Public repositories: what every token may read, whatever it was granted, and whatever its resource owner says of tokens.

use std::collections::HashSet;

use crate::domain::action::Action;
use crate::domain::fault::Fault;
use crate::domain::permission::{Level, Need, PermissionSet, Scope, Vocabulary};
use crate::domain::resource::{RepositoryName, lower_case, repository_name};
use crate::policy::compile::Source;
use crate::policy::document::{PublicDocument, RepositoriesDocument};
use crate::policy::tokens::permission::with_implied;

/// What may be read where nothing is said.
const USUAL: &str = "contents";

/// Repositories that every token may read.
#[derive(Debug, Clone)]
pub struct PublicRepositories {
    /// Their names in lower case; `None` is all of them.
    names: Option<HashSet<String>>,
    /// What of them may be read.
    permissions: PermissionSet,
}

impl PublicRepositories {
    /// Whether everybody may do `action`. What it needs does not tell alone: who may read a commit may comment on it, and who
    /// may read releases sees the drafts of whoever the host takes them for. The catalog says which routes are meant.
    pub fn open(&self, action: &Action<'_>) -> bool {
        let named = |RepositoryName { name, .. }| {
            self.names.as_ref().is_none_or(|names| names.contains(&*lower_case(name)))
        };
        action.public
            && action.resource.repository().is_some_and(named)
            && action.requirement.satisfied_by(|need| self.holds(need))
    }

    /// Whether everybody holds `need`: never more than reading.
    pub fn holds(&self, need: Need) -> bool {
        self.permissions.satisfies(need)
    }
}

/// Compiles what `source` says of its organization's public repositories.
pub(super) fn compile(
    document: &PublicDocument,
    source: &Source,
    vocabulary: &Vocabulary,
    mut fault: impl FnMut(Fault),
) -> PublicRepositories {
    let at = &document.repositories;
    let names = match &at.value {
        RepositoriesDocument::Word(word) => {
            if word != "all" {
                fault(source.fault(at, "expected `all`, or a list of repository names"));
            }
            None
        }
        RepositoriesDocument::Names(names) => {
            let mut known = HashSet::new();
            for name in names {
                if let Ok(name) = repository_name(name) {
                    known.insert(name.to_ascii_lowercase());
                } else {
                    let message = format!("`{name}` is no repository's name; expected one without its owner");
                    fault(source.fault(at, message));
                }
            }
            Some(known)
        }
    };
    let mut permissions = PermissionSet::default();
    let readable = |name: &str| {
        let id = vocabulary.find(name)?;
        let permission = vocabulary.permission(id)?;
        let fits = permission.scope == Scope::Repository && permission.levels.contains(&Level::Read);
        fits.then_some(id)
    };
    match &document.permissions {
        // It may be in none of the catalogs in use.
        None => readable(USUAL).into_iter().for_each(|id| permissions.grant(id, Level::Read)),
        Some(names) => {
            for name in names {
                if let Some(id) = readable(&name.value) {
                    permissions.grant(id, Level::Read);
                } else {
                    let message =
                        format!("`{}` is no permission on repositories that can be read", name.value);
                    fault(source.fault(name, message));
                }
            }
        }
    }
    PublicRepositories { names, permissions: with_implied(permissions, vocabulary) }
}
