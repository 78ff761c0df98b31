//! What webhooks are told: GitHub's payload of requests, and our own of tokens. Written with the change that it tells of.
//!
//! No payload holds a secret, nor the digest of one.

use serde_json::{Map, Value, json};

use crate::domain::hook::HookEvent;
use crate::domain::lifecycle::Part;
use crate::issuer::outbox::Notice;
use crate::issuer::shape::{self, moment, node_id};
use crate::issuer::{IssueError, Means, Setting, TokenView};
use crate::store::Changes;
use crate::store::people::Named;
use crate::store::rows::{PermissionWords, RequestRow, TokenRow};

/// What is told of a token beside the token itself.
pub(super) struct TokenNotice<'n> {
    /// What happened.
    pub(super) action: &'static str,
    /// At which resource owner, where at one.
    pub(super) org: Option<&'n str>,
    /// Further fields of the payload.
    pub(super) more: Map<String, Value>,
}

impl TokenNotice<'_> {
    /// That `action` happened to the token as a whole.
    pub(super) fn whole(action: &'static str) -> Self {
        Self { action, org: None, more: Map::new() }
    }

    pub(super) fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.more.insert(field.to_owned(), value.into());
        self
    }
}

/// Tells of the request `id`. What it adds is told by what its token is granted there now, so that an approval is told
/// before it is carried out.
pub(super) fn tell_request(
    changes: &Changes<'_>,
    setting: &Setting,
    action: &'static str,
    id: i64,
) -> Result<(), IssueError> {
    const EVENT: HookEvent = HookEvent::PersonalAccessTokenRequest;
    if !setting.outbox.wants(EVENT) {
        return Ok(());
    }
    let request = changes.reads().request(id)?.ok_or(IssueError::NotFound)?;
    let token = changes.reads().token(request.token_id)?.ok_or(IssueError::NotFound)?;
    let owner = &request.part.owner;
    let payload = json!({
        "action": action,
        "personal_access_token_request": request_of(changes, setting, &request, &token)?,
        "organization": organization(changes, setting, owner)?,
        "sender": sender(changes, setting)?,
    });
    let notice = Notice { event: EVENT, action, owners: std::slice::from_ref(owner) };
    setting.outbox.put(changes, setting, &notice, &payload)
}

fn request_of(
    changes: &Changes<'_>,
    setting: &Setting,
    request: &RequestRow,
    token: &TokenRow,
) -> Result<Value, IssueError> {
    let Part { owner, terms } = &request.part;
    let grants = changes.reads().grants_of(token.id)?;
    let before = grants.into_iter().find(|grant| grant.part.owner.eq_ignore_ascii_case(owner));
    let before = before.map(|grant| grant.part.terms.permissions).unwrap_or_default();
    let names = terms.reach.names();
    let listed = (terms.reach.as_str() == "subset").then(|| {
        let numbered = names.iter().map(|name| {
            let full_name = format!("{owner}/{name}");
            let id = changes.give_number(Named::Repository, &full_name)?;
            let node_id = node_id("Repository", id);
            Ok(json!({ "id": id, "node_id": node_id, "name": name, "full_name": full_name, "private": true }))
        });
        numbered.collect::<Result<Vec<_>, IssueError>>()
    });
    let listed = listed.transpose()?;
    Ok(json!({
        "id": request.id,
        "owner": shape::user(setting.outbox.url(), (&token.user, token.user_id), "User"),
        "permissions_added": PermissionWords::from(&terms.permissions.added_to(&before)),
        "permissions_upgraded": PermissionWords::from(&terms.permissions.raised_from(&before)),
        "permissions_result": PermissionWords::from(&terms.permissions),
        "repository_selection": terms.reach.as_str(),
        "repository_count": listed.as_ref().map(Vec::len),
        "repositories": listed,
        "created_at": moment(request.created_at),
        "token_id": token.id,
        "token_name": token.name,
        "token_expired": token.expires_at.is_some_and(|moment| moment <= setting.now),
        "token_expires_at": token.expires_at.map(moment),
        "token_last_used_at": token.last_used.as_ref().map(|used| moment(used.at)),
    }))
}

/// Tells of the token `id`, as it is now.
pub(super) fn tell_token(
    changes: &Changes<'_>,
    setting: &Setting,
    id: i64,
    notice: TokenNotice<'_>,
) -> Result<(), IssueError> {
    const EVENT: HookEvent = HookEvent::PersonalAccessToken;
    if !setting.outbox.wants(EVENT) {
        return Ok(());
    }
    let reads = changes.reads();
    let token = reads.token(id)?.ok_or(IssueError::NotFound)?;
    let view = TokenView { grants: reads.grants_of(id)?, requests: reads.requests_of(id)?, token };
    let mut owners = match notice.org {
        Some(org) => vec![org.to_owned()],
        None => owners_of(&view),
    };
    owners.dedup_by(|left, right| left.eq_ignore_ascii_case(right));
    let TokenNotice { action, more, .. } = notice;
    let prefix = setting.policy.format.prefix();
    let mut payload = json!({
        "action": action,
        "personal_access_token": shape::token(setting.outbox.url(), prefix, &view, setting.now),
        "sender": sender(changes, setting)?,
    });
    if let Some(payload) = payload.as_object_mut() {
        payload.extend(more);
        if let [owner] = owners.as_slice() {
            payload.insert("organization".to_owned(), organization(changes, setting, owner)?);
        }
    }
    setting.outbox.put(changes, setting, &Notice { event: EVENT, action, owners: &owners }, &payload)
}

/// Whom a token reaches, or would.
fn owners_of(view: &TokenView) -> Vec<String> {
    let granted = view.grants.iter().map(|grant| &grant.part);
    let parts = granted.chain(view.requests.iter().map(|request| &request.part));
    let mut owners: Vec<_> = parts.map(|part| part.owner.clone()).collect();
    owners.sort_by_key(|owner| owner.to_ascii_lowercase());
    owners
}

fn organization(changes: &Changes<'_>, setting: &Setting, owner: &str) -> Result<Value, IssueError> {
    let id = changes.give_number(Named::Owner, owner)?;
    Ok(shape::organization(setting.outbox.url(), owner, id))
}

/// Who did it. Whoever is no user of the store has no number.
fn sender(changes: &Changes<'_>, setting: &Setting) -> Result<Value, IssueError> {
    let actor = &setting.actor;
    let kind = match &actor.by {
        Means::Session | Means::TrustedHeader | Means::Token(_) | Means::Machine | Means::Holder => "User",
        Means::Gateway => "Bot",
    };
    let id = changes.reads().user(&actor.login)?.map_or(0, |user| user.id);
    Ok(shape::user(setting.outbox.url(), (&actor.login, id), kind))
}
