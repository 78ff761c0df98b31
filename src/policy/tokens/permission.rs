//! Permissions as policy files grant them: a name and a level.

use crate::domain::permission::{Level, PermissionId, PermissionSet, Scope, Vocabulary};

/// What is wrong with a permission and its level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PermissionFault {
    /// With the name; a message.
    Name(String),
    /// With the level; a message.
    Level(String),
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

/// Reads `name: level`.
///
/// # Errors
/// [`PermissionFault`] where the permission cannot be granted at that level.
pub fn permission_level(
    vocabulary: &Vocabulary,
    name: &str,
    level: &str,
) -> Result<(PermissionId, Level), PermissionFault> {
    let Some((id, known)) = vocabulary.find(name).and_then(|id| Some((id, vocabulary.permission(id)?)))
    else {
        let message = format!("unknown permission `{name}`{}", suggestion(vocabulary, name));
        return Err(PermissionFault::Name(message));
    };
    if known.levels.is_empty() {
        return Err(PermissionFault::Name(format!("`{name}` cannot be granted to a token")));
    }
    Level::parse(level).filter(|level| known.levels.contains(level)).map(|level| (id, level)).ok_or_else(
        || {
            let levels: Vec<_> = known.levels.iter().map(|level| format!("`{level}`")).collect();
            let levels = levels.join(" or ");
            PermissionFault::Level(format!("`{level}` is no level of `{name}`; expected {levels}"))
        },
    )
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
