//! Resource owners, repositories, and what a request is about.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use crate::domain::target::TargetError;

/// What a request is about. Borrows the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource<'a> {
    /// Nothing that belongs to a resource owner: the API's root, the token's own user.
    Nothing,
    /// A resource owner as a whole.
    Owner(&'a str),
    /// One repository.
    Repository(RepositoryName<'a>),
    /// The wiki of a repository: granted with the repository, by permissions of its own.
    Wiki(RepositoryName<'a>),
}

impl<'a> Resource<'a> {
    /// The resource owner's name as it came.
    pub fn owner(&self) -> Option<&'a str> {
        match self {
            Self::Nothing => None,
            Self::Owner(owner) => Some(owner),
            Self::Repository(repository) | Self::Wiki(repository) => Some(repository.owner),
        }
    }

    /// The repository.
    pub fn repository(&self) -> Option<RepositoryName<'a>> {
        match self {
            Self::Nothing | Self::Owner(_) => None,
            Self::Repository(repository) | Self::Wiki(repository) => Some(*repository),
        }
    }
}

/// `name` in lower case, as names are compared; most come so, and cost nothing.
pub fn lower_case(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

impl fmt::Display for Resource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::Owner(owner) => f.write_str(owner),
            Self::Repository(repository) => write!(f, "{repository}"),
            Self::Wiki(repository) => write!(f, "{repository}.wiki"),
        }
    }
}

/// `owner/name`, without `.git`. Compares without regard to ASCII case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepositoryName<'a> {
    /// The resource owner.
    pub owner: &'a str,
    /// The name within the owner.
    pub name: &'a str,
}

impl fmt::Display for RepositoryName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

/// Reads an owner's name out of a path segment or a policy file.
///
/// # Errors
/// [`TargetError::ResourceName`] for anything but letters, digits, `.`, `_`, `-`; for a name that ends in `.`;
/// for an empty one.
pub fn owner_name(text: &str) -> Result<&str, TargetError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if text.is_empty() || text.as_bytes().ends_with(b".") || !text.bytes().all(plain) {
        return Err(TargetError::ResourceName);
    }
    Ok(text)
}

/// Reads a repository's name out of a path segment or a policy file: one trailing `.git` is not part of it.
///
/// # Errors
/// [`TargetError::ResourceName`] as for [`owner_name`], and for what forges keep for themselves: a name that still
/// ends in `.git` or `.wiki`.
pub fn repository_name(text: &str) -> Result<&str, TargetError> {
    if !text.as_bytes().contains(&b'.') {
        // Nothing that is kept back, nothing to take off.
        return owner_name(text);
    }
    let name = owner_name(strip_suffix_ignoring_case(text, ".git").unwrap_or(text))?;
    let reserved = |suffix| strip_suffix_ignoring_case(name, suffix).is_some();
    if reserved(".git") || reserved(".wiki") {
        return Err(TargetError::ResourceName);
    }
    Ok(name)
}

/// `text` without `suffix`, which is ASCII and is compared without regard to case.
pub fn strip_suffix_ignoring_case<'a>(text: &'a str, suffix: &str) -> Option<&'a str> {
    let at = text.len().checked_sub(suffix.len())?;
    let (head, tail) = text.split_at_checked(at)?;
    tail.eq_ignore_ascii_case(suffix).then_some(head)
}

/// The order in which names are kept: bytes, ASCII case folded.
pub fn compare_names(left: &str, right: &str) -> Ordering {
    let right = right.bytes().map(|byte| byte.to_ascii_lowercase());
    left.bytes().map(|byte| byte.to_ascii_lowercase()).cmp(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: Option<&str>) {
        assert_eq!(repository_name(text).ok(), want, "{text:?}");
    }

    #[test]
    fn every_spelling_is_one_name_or_none() {
        check("alpha", Some("alpha"));
        check("alpha.git", Some("alpha"));
        check("alpha.GIT", Some("alpha"));
        check(".github", Some(".github"));
        for text in [
            "",
            ".git",
            "alpha.git.git",
            "alpha.wiki",
            "alpha.WIKI.git",
            "alpha.",
            "alpha..git",
            "al pha",
            "al%70ha",
            "*",
            "{x}",
            "ä",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn names_fold_ascii_case() {
        assert_eq!(compare_names("Alpha", "aLPHA"), Ordering::Equal);
        assert_eq!(compare_names("alpha", "beta"), Ordering::Less);
    }
}
