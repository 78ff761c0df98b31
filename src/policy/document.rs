//! Policy files as people write them. Raw: nothing is checked here but the shape.

use serde::Deserialize;

use crate::yaml::{Entries, Spanned};

/// `policies/organizations/*.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrganizationDocument {
    /// The resource owner that this is about.
    pub organization: Spanned<String>,
    /// Its owners: may grant, and hold every role.
    #[serde(default)]
    pub owners: Vec<Spanned<String>>,
    /// Its members' roles. Where given, a token never does more than its user may.
    pub members: Option<Entries<String>>,
    /// Its public repositories, which every token may read.
    pub public: Option<PublicDocument>,
    /// What holds for fine-grained tokens.
    #[serde(default)]
    pub fine_grained_tokens: TokenPolicyDocument,
    /// What holds for credentials that hosts issued.
    pub classic_tokens: Option<ClassicDocument>,
    /// The most that any token may hold here.
    pub ceiling: Option<Entries<String>>,
    /// `enforce` (default) or `shadow`: judged and recorded, not acted on.
    pub mode: Option<Spanned<String>>,
    /// `file` (default) or `store`: who keeps the rules about tokens from their first change there.
    pub managed: Option<Spanned<String>>,
}

/// Repositories that every token may read.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicDocument {
    /// `all`, or names.
    pub repositories: Spanned<RepositoriesDocument>,
    /// What of them may be read; `contents` where nothing is said.
    pub permissions: Option<Vec<Spanned<String>>>,
}

/// What holds for fine-grained tokens at an organization.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenPolicyDocument {
    /// `allow` (default) or `deny`.
    pub access: Option<Spanned<String>>,
    /// `required` (default) or `automatic`.
    pub approval: Option<Spanned<String>>,
    /// What needs no approval though others do.
    pub approve_automatically: Option<Vec<Spanned<AutomaticDocument>>>,
    /// The longest lifetime that a token may have: `90d`.
    pub max_lifetime: Option<Spanned<String>>,
}

/// Tokens that need no approval.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutomaticDocument {
    /// The highest level of all of their permissions.
    pub max_level: Spanned<String>,
    /// Their longest lifetime.
    pub max_lifetime: Option<Spanned<String>>,
}

/// What holds for credentials that hosts issued.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassicDocument {
    /// `allow` (default) or `deny`.
    pub access: Option<Spanned<String>>,
}

/// `policies/bundles.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundlesDocument {
    /// Name to permissions.
    pub bundles: Entries<Entries<String>>,
}

/// `policies/enterprise.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnterpriseDocument {
    /// What it is called.
    pub enterprise: Spanned<String>,
    /// Who administers the gateway.
    #[serde(default)]
    pub administrators: Vec<Spanned<String>>,
    /// What holds for fine-grained tokens at every resource owner.
    #[serde(default)]
    pub fine_grained_tokens: EnterpriseTokensDocument,
    /// What holds for credentials that hosts issued.
    pub classic_tokens: Option<ClassicDocument>,
    /// The most that any token may hold anywhere.
    pub ceiling: Option<Entries<String>>,
    /// `file` (default) or `store`: who keeps the rules about tokens from their first change there.
    pub managed: Option<Spanned<String>>,
}

/// What an enterprise settles. What is absent is left to organizations.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnterpriseTokensDocument {
    /// `allow` or `deny`.
    pub access: Option<Spanned<String>>,
    /// `required` or `automatic`.
    pub approval: Option<Spanned<String>>,
    /// The longest lifetime; organizations may only be stricter.
    pub max_lifetime: Option<Spanned<String>>,
    /// Whether administrators' tokens may live longer.
    pub exempt_administrators: Option<Spanned<bool>>,
}

/// A declared token, an element of `tokens` in `policies/tokens/*.yaml` or a line of `policies/tokens/*.jsonl`: its
/// digest is in the file, its text is not.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenDocument {
    /// For people.
    pub name: Spanned<String>,
    /// SHA-256 of the text, 64 hexadecimal digits.
    pub sha256: Spanned<String>,
    /// Whom it belongs to.
    pub user: Spanned<String>,
    /// The resource owner that it reaches.
    pub resource_owner: Option<Spanned<String>>,
    /// Which repositories: `all`, or names.
    pub repositories: Option<Spanned<RepositoriesDocument>>,
    /// What it may do there.
    pub permissions: Option<Entries<String>>,
    /// In place of the three fields above, for a token with several resource owners.
    pub grants: Option<Vec<Spanned<GrantDocument>>>,
    /// A date (its first moment, UTC) or a moment in RFC 3339.
    pub expires_at: Spanned<String>,
    /// When it was made; counts for `max_lifetime`.
    pub created_at: Option<Spanned<String>>,
    /// `active` (default), `pending` or `revoked`.
    pub state: Option<Spanned<String>>,
    /// Networks from which it may be used.
    pub networks: Option<Vec<Spanned<String>>>,
}

/// What a token opens at one resource owner.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantDocument {
    /// The resource owner.
    pub resource_owner: Spanned<String>,
    /// Which of its repositories.
    pub repositories: Option<Spanned<RepositoriesDocument>>,
    /// What may be done there.
    pub permissions: Entries<String>,
}

impl TokenDocument {
    /// Every mapping whose keys are no fields of ours.
    pub fn mappings(&self) -> impl Iterator<Item = &Entries<String>> {
        let of_grants = self.grants.iter().flatten().map(|grant| &grant.value.permissions);
        self.permissions.iter().chain(of_grants)
    }
}

/// `all`, or a list of names.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum RepositoriesDocument {
    /// `all`.
    Word(String),
    /// Names, without their owner.
    Names(Vec<String>),
}

/// `policies/deny.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenyDocument {
    /// Routes that are closed to every token.
    pub deny: Vec<Spanned<DenyRuleDocument>>,
}

/// One closed route.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenyRuleDocument {
    /// The rule's name, in refusals and records.
    pub name: Spanned<String>,
    /// `METHOD /template`; `*` is any method.
    pub route: Spanned<String>,
    /// The upstreams that it holds for; all where absent.
    pub upstreams: Option<Vec<Spanned<String>>>,
    /// `enforce` (default) or `shadow`.
    pub mode: Option<Spanned<String>>,
}
