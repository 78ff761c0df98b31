//! Users, resource owners and tokens as JSON, for the API and for notices; GitHub's shapes where GitHub has them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::domain::grant::UnixTime;
use crate::domain::lifecycle::Part;
use crate::issuer::TokenView;
use crate::store::rows::PermissionWords;

/// What follows a user's URL in GitHub's simple user.
const USER_URLS: [(&str, &str); 9] = [
    ("followers_url", "/followers"),
    ("following_url", "/following{/other_user}"),
    ("gists_url", "/gists{/gist_id}"),
    ("starred_url", "/starred{/owner}{/repo}"),
    ("subscriptions_url", "/subscriptions"),
    ("organizations_url", "/orgs"),
    ("repos_url", "/repos"),
    ("events_url", "/events{/privacy}"),
    ("received_events_url", "/received_events"),
];

/// What follows an organization's URL in GitHub's simple organization.
const ORGANIZATION_URLS: [(&str, &str); 7] = [
    ("url", ""),
    ("repos_url", "/repos"),
    ("events_url", "/events"),
    ("hooks_url", "/hooks"),
    ("issues_url", "/issues"),
    ("members_url", "/members{/member}"),
    ("public_members_url", "/public_members{/member}"),
];

/// GitHub's older form of a node's id.
pub fn node_id(kind: &str, id: i64) -> String {
    STANDARD.encode(format!("0{}:{kind}{id}", kind.len()))
}

/// Puts the URLs below `base` into `object`.
pub fn put_urls(object: &mut Value, base: &str, urls: &[(&str, &str)]) {
    if let Some(object) = object.as_object_mut() {
        object.extend(urls.iter().map(|(name, rest)| ((*name).to_owned(), format!("{base}{rest}").into())));
    }
}

/// `moment` in RFC 3339.
pub fn moment(moment: UnixTime) -> String {
    moment.to_string()
}

/// A user, or a resource owner, of this `kind` (`User`, `Organization`, `Bot`), with links below `url`.
pub fn user(url: &str, (login, id): (&str, i64), kind: &str) -> Value {
    let base = format!("{url}/users/{login}");
    let mut user = json!({
        "login": login,
        "id": id,
        "node_id": node_id(kind, id),
        "avatar_url": "",
        "gravatar_id": "",
        "url": base,
        "html_url": format!("{url}/{login}"),
        "type": kind,
        "site_admin": false,
    });
    put_urls(&mut user, &base, &USER_URLS);
    user
}

/// A resource owner, as notices show it.
pub(super) fn organization(url: &str, login: &str, id: i64) -> Value {
    let mut organization = json!({
        "login": login,
        "id": id,
        "node_id": node_id("Organization", id),
        "avatar_url": "",
        "description": null,
    });
    put_urls(&mut organization, &format!("{url}/orgs/{login}"), &ORGANIZATION_URLS);
    organization
}

/// A token, as its user sees it: with links below `url`, and `prefix` before what may be shown of its text.
pub fn token(url: &str, prefix: &str, view: &TokenView, now: UnixTime) -> Value {
    let TokenView { token, grants, requests } = view;
    let granted = grants.iter().map(|grant| {
        let mut value = part(&grant.part, "active");
        value.insert("grant_id".to_owned(), grant.id.into());
        value.insert("granted_at".to_owned(), moment(grant.granted_at).into());
        value.insert("granted_by".to_owned(), grant.granted_by.clone().into());
        Value::from(value)
    });
    let awaited = requests.iter().map(|request| {
        let mut value = part(&request.part, "pending");
        value.insert("request_id".to_owned(), request.id.into());
        value.insert("requested_at".to_owned(), moment(request.created_at).into());
        Value::from(value)
    });
    let used = token.last_used.as_ref();
    json!({
        "id": token.id,
        "name": token.name,
        "description": token.description,
        "state": state(view, now),
        "user": user(url, (&token.user, token.user_id), "User"),
        "token_prefix": format!("{prefix}{}", token.public_id),
        "created_at": moment(token.created_at),
        "issued_at": moment(token.issued_at),
        "expires_at": token.expires_at.map(moment),
        "last_used_at": used.map(|used| moment(used.at)),
        "last_used_from": used.map(|used| used.from.clone()),
        "last_used_by": used.map(|used| used.by.clone()),
        "resource_owners": granted.chain(awaited).collect::<Vec<_>>(),
    })
}

fn state(view: &TokenView, now: UnixTime) -> &'static str {
    let TokenView { token, grants, requests } = view;
    if token.revoked.is_some() {
        "revoked"
    } else if token.expires_at.is_some_and(|moment| moment <= now) {
        "expired"
    } else if token.user_suspended_at.is_some() {
        "suspended"
    } else if grants.is_empty() && !requests.is_empty() {
        "pending"
    } else {
        "active"
    }
}

fn part(part: &Part, state: &str) -> Map<String, Value> {
    let value = json!({
        "resource_owner": part.owner,
        "state": state,
        "repository_selection": part.terms.reach.as_str(),
        "repositories": part.terms.reach.names(),
        "permissions": PermissionWords::from(&part.terms.permissions),
    });
    value.as_object().cloned().unwrap_or_default()
}
