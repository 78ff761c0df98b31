//! A catalog as people write it. Raw: nothing is checked here but the shape.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::yaml::{Entries, Spanned};

/// One catalog file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogDocument {
    /// The catalog's name.
    pub catalog: Spanned<String>,
    /// One line for people.
    #[serde(default)]
    pub description: String,
    /// Which path parameters name resources.
    #[serde(default)]
    pub resource: ResourceParameters,
    /// The header field that tells which permissions would have been enough.
    pub accepted_permissions_header: Option<Spanned<String>>,
    /// The header field of answers that tells when the token expires.
    pub token_expiration_header: Option<Spanned<String>>,
    /// Query fields in which the host would take a credential.
    #[serde(default)]
    pub forbidden_query: Vec<String>,
    /// Header fields in which the host would take a credential.
    #[serde(default)]
    pub forbidden_headers: Vec<String>,
    /// How refusals are told to this host's clients.
    #[serde(default)]
    pub errors: ErrorsDocument,
    /// The host's permissions.
    pub permissions: Entries<PermissionDocument>,
    /// `METHOD /template` to what it needs.
    pub routes: Entries<RouteDocument>,
}

/// Which path parameters name resources.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceParameters {
    /// Parameters that hold a resource owner's name.
    #[serde(default)]
    pub owner: Vec<String>,
    /// Parameters that hold a repository's name.
    #[serde(default)]
    pub repository: Vec<String>,
    /// Parameters that hold a repository's name and `.wiki`.
    #[serde(default)]
    pub wiki: Vec<String>,
}

/// How refusals are told.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorsDocument {
    /// `json` (default) or `text`.
    pub format: Option<Spanned<String>>,
    /// `WWW-Authenticate` on 401.
    pub challenge: Option<Spanned<String>>,
    /// Further members of the JSON body; `{status}` stands for the status code.
    #[serde(default)]
    pub fields: BTreeMap<String, String>,
    /// The host's own sentence for a reason.
    #[serde(default)]
    pub messages: BTreeMap<String, Spanned<String>>,
    /// The host's own sentence for a rule of an organization or the enterprise.
    #[serde(default)]
    pub rules: BTreeMap<String, Spanned<String>>,
    /// The host's own status for a reason.
    #[serde(default)]
    pub statuses: BTreeMap<String, Spanned<u16>>,
}

/// One permission.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PermissionDocument {
    /// `repository`, `organization` or `user`.
    pub scope: Spanned<String>,
    /// The levels that may be granted.
    pub levels: Spanned<Vec<String>>,
    /// One line for people.
    #[serde(default)]
    pub description: String,
    /// Held at `read` by every token with any repository permission.
    #[serde(default)]
    pub implied: bool,
    /// The role that a token's user needs to use it at `write` or above.
    pub write_role: Option<Spanned<String>>,
}

/// What a route needs.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum RouteDocument {
    /// Always the same.
    Fixed(String),
    /// A query field says.
    ByQuery(ByQueryDocument),
}

/// A query field that decides what a route needs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByQueryDocument {
    /// The field.
    pub query: String,
    /// Value to requirement.
    pub values: BTreeMap<String, String>,
    /// The requirement where the field is absent; without it, its absence is no route.
    pub absent: Option<String>,
}
