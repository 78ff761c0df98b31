//! What the bodies of calls say.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::api::answer::ApiError;
use crate::api::query::moment;
use crate::api::{BODY_LIMIT, Call};
use crate::domain::grant::UnixTime;
use crate::domain::lifecycle::Part;
use crate::domain::lifecycle::terms::{Names, Permissions, Reach, Terms};
use crate::domain::permission::{Level, Scope};
use crate::issuer::draft::{Draft, Edit, Expiry, FieldError};

const DAY: i64 = 24 * 60 * 60;

/// `POST` and `PATCH` of a token.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenBody {
    name: Option<String>,
    description: Option<String>,
    resource_owner: Option<String>,
    repositories: Option<Repositories>,
    permissions: Option<PermissionBody>,
    bundle: Option<String>,
    resource_owners: Option<Vec<PartBody>>,
    expires_at: Option<String>,
    expires_in: Option<i64>,
    reason: Option<String>,
}

/// What a token opens at one resource owner.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PartBody {
    resource_owner: String,
    repositories: Option<Repositories>,
    permissions: Option<PermissionBody>,
    bundle: Option<String>,
}

/// `"all"`, `"none"`, or names.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Repositories {
    Word(String),
    Names(Vec<String>),
}

/// Names to levels, in one map or by scope.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum PermissionBody {
    Flat(BTreeMap<String, String>),
    ByScope(BTreeMap<String, BTreeMap<String, String>>),
}

/// `POST` of a regeneration.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RenewalBody {
    expires_at: Option<String>,
    expires_in: Option<i64>,
    /// Seconds.
    #[serde(default)]
    pub(super) overlap: i64,
}

/// `POST` of a review of requests.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReviewBody {
    pub(super) pat_request_ids: Option<Vec<i64>>,
    pub(super) action: String,
    pub(super) reason: Option<String>,
}

/// `POST` of a revocation of grants.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RevokeBody {
    pub(super) pat_ids: Option<Vec<i64>>,
    pub(super) action: String,
}

/// The JSON of `bytes`; nothing counts as an empty object.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    if bytes.len() > BODY_LIMIT {
        return Err(ApiError::TooLarge);
    }
    let bytes = if bytes.is_empty() { b"{}" } else { bytes };
    serde_json::from_slice(bytes).map_err(|error| ApiError::Json(error.to_string()))
}

/// The moment that `expires_at` or `expires_in` says.
fn expiry((at, days): (Option<&str>, Option<i64>), now: UnixTime, errors: &mut Vec<FieldError>) -> Expiry {
    match (at, days) {
        (None, None) => Expiry::Usual,
        (Some(text), None) => moment(text, "expires_at", errors).map_or(Expiry::Usual, Expiry::At),
        (None, Some(days)) if (1..=36_525).contains(&days) => Expiry::At(UnixTime(now.0 + days * DAY)),
        (None, Some(_)) => {
            errors.push(FieldError::invalid("expires_in", "expected a whole number of days, 1 or more"));
            Expiry::Usual
        }
        (Some(_), Some(_)) => {
            errors.push(FieldError::invalid("expires_in", "expected `expires_at` or `expires_in`, not both"));
            Expiry::Usual
        }
    }
}

fn missing(field: &'static str) -> FieldError {
    FieldError { field, code: "missing_field", message: format!("`{field}` is missing") }
}

impl RenewalBody {
    /// Until when the new text is to work.
    pub(super) fn expiry(&self, now: UnixTime) -> Result<Expiry, ApiError> {
        let mut errors = Vec::new();
        let expiry = expiry((self.expires_at.as_deref(), self.expires_in), now, &mut errors);
        if errors.is_empty() { Ok(expiry) } else { Err(ApiError::Invalid(errors)) }
    }
}

impl TokenBody {
    /// A token that is asked for.
    pub(super) fn draft(self, call: &Call<'_>, now: UnixTime) -> Result<Draft, ApiError> {
        let mut errors = Vec::new();
        if self.name.is_none() {
            errors.push(missing("name"));
        }
        let expiry = expiry((self.expires_at.as_deref(), self.expires_in), now, &mut errors);
        let (name, description, reason) = (self.name.clone(), self.description.clone(), self.reason.clone());
        let parts = self.parts(call, &mut errors);
        if parts.is_none() {
            errors.push(missing("resource_owner"));
        }
        match (name, parts) {
            (Some(name), Some(parts)) if errors.is_empty() => {
                Ok(Draft { name, description, expiry, parts, reason })
            }
            _ => Err(ApiError::Invalid(errors)),
        }
    }

    /// What is to be changed of a token.
    pub(super) fn edit(self, call: &Call<'_>) -> Result<Edit, ApiError> {
        let mut errors = Vec::new();
        if self.expires_at.is_some() || self.expires_in.is_some() {
            let message = "a token lives as long as it was made for; regenerate it to change that";
            errors.push(FieldError::invalid("expires_at", message));
        }
        let (name, description, reason) = (self.name.clone(), self.description.clone(), self.reason.clone());
        let parts = self.parts(call, &mut errors);
        if errors.is_empty() {
            Ok(Edit { name, description, parts, reason })
        } else {
            Err(ApiError::Invalid(errors))
        }
    }

    /// `None` where nothing is said of it.
    fn parts(self, call: &Call<'_>, errors: &mut Vec<FieldError>) -> Option<Vec<Part>> {
        let Self { resource_owner, repositories, permissions, bundle, resource_owners, .. } = self;
        let bare = repositories.is_none() && permissions.is_none() && bundle.is_none();
        match (resource_owner, resource_owners) {
            (Some(resource_owner), None) => {
                let one = PartBody { resource_owner, repositories, permissions, bundle };
                Some(vec![one.part(call, errors)])
            }
            (None, Some(parts)) if bare => {
                Some(parts.into_iter().map(|part| part.part(call, errors)).collect())
            }
            (None, None) if bare => None,
            (None, None) => {
                errors.push(missing("resource_owner"));
                Some(Vec::new())
            }
            (Some(_) | None, Some(_)) => {
                let message =
                    "expected `resource_owner`, `repositories` and `permissions`, or else `resource_owners`";
                errors.push(FieldError::invalid("resource_owners", message));
                Some(Vec::new())
            }
        }
    }
}

impl PartBody {
    fn part(self, call: &Call<'_>, errors: &mut Vec<FieldError>) -> Part {
        let reach = match self.repositories {
            None => Reach::Public,
            Some(Repositories::Names(names)) => Reach::Subset(Names::new(names)),
            Some(Repositories::Word(word)) => match word.as_str() {
                "all" => Reach::All,
                "none" => Reach::Public,
                _ => {
                    let message = "expected `all`, `none`, or a list of names";
                    errors.push(FieldError::invalid("repositories", message));
                    Reach::Public
                }
            },
        };
        let permissions = match (self.permissions, self.bundle) {
            (None, None) => Permissions::default(),
            (Some(PermissionBody::Flat(levels)), None) => flat(&levels, call, errors),
            (Some(PermissionBody::ByScope(scopes)), None) => by_scope(&scopes, errors),
            (None, Some(name)) => bundle(&name, call, errors),
            (Some(_), Some(_)) => {
                let message = "expected `permissions` or `bundle`, not both";
                errors.push(FieldError::invalid("bundle", message));
                Permissions::default()
            }
        };
        Part { owner: self.resource_owner, terms: Terms { reach, permissions } }
    }
}

/// What the policy files call `name`.
fn bundle(name: &str, call: &Call<'_>, errors: &mut Vec<FieldError>) -> Permissions {
    call.policy.bundles.get(name).cloned().unwrap_or_else(|| {
        let known: Vec<_> = call.policy.bundles.keys().map(|known| format!("`{known}`")).collect();
        let known = if known.is_empty() {
            "there are none".to_owned()
        } else {
            format!("there are {}", known.join(", "))
        };
        errors.push(FieldError::invalid("bundle", format!("unknown bundle `{name}`; {known}")));
        Permissions::default()
    })
}

fn level(text: &str, name: &str, errors: &mut Vec<FieldError>) -> Option<Level> {
    let level = Level::parse(text);
    if level.is_none() {
        let message = format!("`{text}` is no level of `{name}`; expected `read`, `write` or `admin`");
        errors.push(FieldError::invalid("permissions", message));
    }
    level
}

/// Each goes to the scope that the vocabulary knows it with; unknown ones are objected to later, by name.
fn flat(levels: &BTreeMap<String, String>, call: &Call<'_>, errors: &mut Vec<FieldError>) -> Permissions {
    let mut permissions = Permissions::default();
    let vocabulary = &call.policy.vocabulary;
    for (name, text) in levels {
        let known = vocabulary.find(name).and_then(|id| vocabulary.permission(id));
        let scope = known.map_or(Scope::Repository, |permission| permission.scope);
        if let Some(level) = level(text, name, errors) {
            permissions.of_mut(scope).insert(name.clone(), level);
        }
    }
    permissions
}

fn by_scope(
    scopes: &BTreeMap<String, BTreeMap<String, String>>,
    errors: &mut Vec<FieldError>,
) -> Permissions {
    let mut permissions = Permissions::default();
    for (scope, levels) in scopes {
        let scope = match scope.as_str() {
            "organization" => Scope::Organization,
            "repository" => Scope::Repository,
            "other" => Scope::User,
            _ => {
                let message =
                    format!("unknown scope `{scope}`; expected `organization`, `repository` or `other`");
                errors.push(FieldError::invalid("permissions", message));
                continue;
            }
        };
        for (name, text) in levels {
            if let Some(level) = level(text, name, errors) {
                permissions.of_mut(scope).insert(name.clone(), level);
            }
        }
    }
    permissions
}
