//! What a user writes when asking for a token, and what can be wrong with it.

use std::fmt::Write as _;

use crate::domain::grant::UnixTime;
use crate::domain::lifecycle::Part;
use crate::policy::approval::Objection;

/// The longest name of a token, characters (GitHub's).
const LONGEST_NAME: usize = 40;

/// The longest description and reason, characters (GitHub's).
pub const LONGEST_TEXT: usize = 1024;

/// Resource owners that one token may reach.
const MOST_OWNERS: usize = 100;

/// A token that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Until when it works.
    pub expiry: Expiry,
    /// What it opens.
    pub parts: Vec<Part>,
    /// What those who approve are told.
    pub reason: Option<String>,
}

/// What is to be changed; `None` leaves it as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edit {
    /// Its name.
    pub name: Option<String>,
    /// What it is for; empty takes it away.
    pub description: Option<String>,
    /// What it opens: all of it.
    pub parts: Option<Vec<Part>>,
    /// What those who approve are told.
    pub reason: Option<String>,
}

/// Until when a token works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// 30 days, or less where policy allows less.
    Usual,
    /// Until this moment.
    At(UnixTime),
    /// For ever.
    Never,
}

/// What is wrong with one field, in the words of GitHub's API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The field.
    pub field: &'static str,
    /// `missing_field`, `invalid`, `already_exists` or `custom`.
    pub code: &'static str,
    /// What is wrong, and what was expected.
    pub message: String,
}

impl FieldError {
    /// A value that cannot be taken.
    pub fn invalid(field: &'static str, message: impl Into<String>) -> Self {
        Self { field, code: "invalid", message: message.into() }
    }
}

impl From<Objection> for FieldError {
    fn from(objection: Objection) -> Self {
        Self { field: objection.field(), code: "custom", message: objection.to_string() }
    }
}

/// All of them in one sentence.
pub(super) fn describe(errors: &[FieldError]) -> String {
    let mut text = String::new();
    for error in errors {
        let between = if text.is_empty() { "" } else { "; " };
        // Writing into a text cannot fail.
        write!(text, "{between}{}: {}", error.field, error.message).ok();
    }
    text
}

/// What is wrong with a name.
pub(super) fn check_name(name: &str) -> Option<FieldError> {
    let fits =
        !name.trim().is_empty() && name.chars().count() <= LONGEST_NAME && !name.contains(char::is_control);
    (!fits).then(|| {
        FieldError::invalid(
            "name",
            format!("expected 1 to {LONGEST_NAME} characters, and no control characters"),
        )
    })
}

/// What is wrong with a text of several lines.
pub(super) fn check_text(field: &'static str, text: Option<&str>) -> Option<FieldError> {
    let too_long = text.is_some_and(|text| text.chars().count() > LONGEST_TEXT);
    too_long.then(|| FieldError::invalid(field, format!("expected at most {LONGEST_TEXT} characters")))
}

/// What is wrong with what a token opens, however it may be judged.
pub(super) fn check_parts(parts: &[Part], most_repositories: usize) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if parts.is_empty() {
        let message = "expected at least one resource owner".to_owned();
        errors.push(FieldError { field: "resource_owner", code: "missing_field", message });
    }
    if parts.len() > MOST_OWNERS {
        let message = format!("expected at most {MOST_OWNERS} resource owners; make another token");
        return vec![FieldError::invalid("resource_owner", message)];
    }
    for (at, part) in parts.iter().enumerate() {
        if parts.iter().take(at).any(|other| other.owner.eq_ignore_ascii_case(&part.owner)) {
            let message = format!("`{}` stands twice; join the two", part.owner);
            errors.push(FieldError::invalid("resource_owner", message));
        }
    }
    let repositories: usize = parts.iter().map(|part| part.terms.reach.names().len()).sum();
    if repositories > most_repositories {
        let message =
            format!("expected at most {most_repositories} repositories; choose `all`, or make another token");
        errors.push(FieldError::invalid("repositories", message));
    }
    errors
}
