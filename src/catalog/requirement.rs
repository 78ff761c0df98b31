//! The grammar of a requirement: `contents=write; contents=write,workflows=write`, `contents=read; public`, `none`, `never`.

use thiserror::Error;

use crate::domain::permission::{Level, Need, Requirement, Vocabulary};

/// What is wrong with a requirement.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequirementError {
    /// Not `name=level`.
    #[error(
        "`{0}` is no requirement; expected `name=read`, `name=write` or `name=admin` (`,` for all of, `;` for any of, `public` behind the last `;`), `none` or `never`"
    )]
    Form(String),
    /// A permission that no catalog defines.
    #[error("unknown permission `{0}`; define it under `permissions`")]
    Unknown(String),
    /// A level that the permission does not have.
    #[error("permission `{0}` has no level `{1}`")]
    Level(String, Level),
}

/// How a requirement ends that need not be met where the repository is public.
const PUBLIC: &str = "public";

/// Reads a requirement; gives besides whether it need not be met where the repository is public.
///
/// # Errors
/// [`RequirementError`].
pub fn parse(text: &str, vocabulary: &Vocabulary) -> Result<(Requirement, bool), RequirementError> {
    match text.rsplit_once(';') {
        Some((text, last)) if last.trim() == PUBLIC => Ok((any_of(text, vocabulary)?, true)),
        Some(_) | None => Ok((alone(text, vocabulary)?, false)),
    }
}

fn alone(text: &str, vocabulary: &Vocabulary) -> Result<Requirement, RequirementError> {
    match text.trim() {
        "none" => Ok(Requirement::Nothing),
        "never" => Ok(Requirement::Never),
        text => any_of(text, vocabulary),
    }
}

fn any_of(text: &str, vocabulary: &Vocabulary) -> Result<Requirement, RequirementError> {
    let all_of = |text: &str| text.split(',').map(|text| need(text, vocabulary)).collect();
    let alternatives: Result<Vec<_>, _> = text.split(';').map(all_of).collect();
    Ok(Requirement::AnyOf(alternatives?.into()))
}

fn need(text: &str, vocabulary: &Vocabulary) -> Result<Need, RequirementError> {
    let form = || RequirementError::Form(text.trim().to_owned());
    let (name, level) = text.trim().split_once('=').ok_or_else(form)?;
    let level = Level::parse(level).ok_or_else(form)?;
    let id = vocabulary.find(name).ok_or_else(|| RequirementError::Unknown(name.to_owned()))?;
    let known = vocabulary.permission(id).is_some_and(|permission| {
        permission.levels.is_empty() || permission.levels.iter().any(|granted| *granted >= level)
    });
    if !known {
        return Err(RequirementError::Level(name.to_owned(), level));
    }
    Ok(Need { permission: id, level })
}
