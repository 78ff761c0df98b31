//! Introspection, the audit trail, users.

use std::borrow::Cow;

use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::api::answer::{ApiError, empty, json_answer, moment};
use crate::api::own::NEVER;
use crate::api::query::Paging;
use crate::api::{Answered, Call, Caller};
use crate::clock;
use crate::domain::grant::{Approval, UnixTime};
use crate::domain::lifecycle::terms::Permissions;
use crate::domain::permission::PermissionSet;
use crate::domain::secret::Secret;
use crate::domain::target::decode_once;
use crate::issuer::draft::FieldError;
use crate::issuer::users::UserEdit;
use crate::policy::decide::check_state;
use crate::policy::grants::index::Kept;
use crate::policy::grants::{Grant, Selection};
use crate::policy::tokens::parse_moment;
use crate::store::Reads;
use crate::store::audit::AuditQuery;
use crate::store::rows::PermissionWords;

/// Uses of the hosts' own credentials that are told at a time.
const MOST_USES: usize = 1000;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 24 * 60 * 60 * SECOND;

impl Call<'_> {
    /// `POST /introspect`: RFC 7662.
    pub(super) fn introspect(&self) -> Answered {
        let body = str::from_utf8(self.request.body).unwrap_or_default();
        let text = body.split('&').find_map(|field| field.strip_prefix("token="));
        let Some(text) = text.map(|text| Secret::new(decode_once(text).into_owned())) else {
            let message = "expected a form with the field `token`".to_owned();
            return Err(ApiError::Invalid(vec![FieldError {
                field: "token",
                code: "missing_field",
                message,
            }]));
        };
        let kept = Kept::default();
        let token = self.policy.format.parse(text.expose()).ok();
        let grant = token.and_then(|token| self.policy.token(&token.digest, &kept));
        let active = grant.filter(|grant| check_state(&self.policy, *grant, clock::now()).is_ok());
        let value = match (active, token) {
            (Some(grant), Some(token)) => json!({
                "active": true,
                "sub": grant.user(),
                "username": grant.user(),
                "client_id": token.public_id.as_str(),
                "token_type": "Bearer",
                "iat": grant.created_at().map(|moment| moment.0),
                "exp": Some(grant.expires_at()).filter(|moment| *moment != NEVER).map(|moment| moment.0),
                "scope": self.scope(grant),
                "resource_owners": self.parts(grant),
            }),
            _ => json!({ "active": false }),
        };
        Ok(json_answer(StatusCode::OK, &value))
    }

    /// Every permission that is held somewhere.
    fn scope(&self, grant: Grant<'_>) -> String {
        let parts = grant.parts().filter(|part| part.approval == Approval::Granted);
        let mut held: Vec<_> = parts.flat_map(|part| self.names(part.permissions)).collect();
        held.extend(self.names(grant.user_permissions()));
        held.sort();
        held.dedup();
        held.join(" ")
    }

    fn names(&self, set: &PermissionSet) -> Vec<String> {
        set.iter().map(|(id, level)| format!("{}={level}", self.policy.vocabulary.name(id))).collect()
    }

    fn parts(&self, grant: Grant<'_>) -> Vec<Value> {
        let shown = grant.parts().map(|part| {
            let (selection, names): (_, Vec<_>) = match part.selection {
                Selection::All => ("all", Vec::new()),
                Selection::Selected(names) if names.is_empty() => ("none", Vec::new()),
                Selection::Selected(names) => ("subset", names.iter().collect()),
            };
            let own = part.owner.eq_ignore_ascii_case(grant.user());
            let users = Some(grant.user_permissions()).filter(|_| own);
            json!({
                "resource_owner": part.owner,
                "state": if part.approval == Approval::Granted { "active" } else { "pending" },
                "repository_selection": selection,
                "repositories": names,
                "permissions": PermissionWords::from(&self.by_scope(part.permissions, users)),
            })
        });
        shown.collect()
    }

    /// As the store has them: by scope. Those of scope `user` stand apart from what is held at a resource owner.
    fn by_scope(&self, held: &PermissionSet, users: Option<&PermissionSet>) -> Permissions {
        let vocabulary = &self.policy.vocabulary;
        let mut permissions = Permissions::default();
        for (id, level) in held.iter().chain(users.into_iter().flat_map(PermissionSet::iter)) {
            if let Some(permission) = vocabulary.permission(id) {
                permissions.of_mut(permission.scope).insert(vocabulary.name(id).to_owned(), level);
            }
        }
        permissions
    }

    /// A token that a file declares, as far as files say.
    pub(super) fn declared_token(&self, grant: Grant<'_>) -> Value {
        json!({
            "id": null,
            "name": grant.name(),
            "description": null,
            "state": "active",
            "user": self.user(grant.user(), 0, "User"),
            "token_prefix": null,
            "created_at": grant.created_at().map(moment),
            "issued_at": null,
            "expires_at": Some(grant.expires_at()).filter(|end| *end != NEVER).map(moment),
            "last_used_at": null,
            "last_used_from": null,
            "last_used_by": null,
            "resource_owners": self.parts(grant),
        })
    }

    /// `DELETE /sessions/current`.
    pub(super) async fn sign_out(&self) -> Answered {
        let Caller::Person { session: Some(session), .. } = self.caller else {
            return Err(ApiError::NotFound);
        };
        self.api.issuer.sign_out(*session).await?;
        Ok(empty(StatusCode::NO_CONTENT))
    }

    /// `GET /users`.
    pub(super) async fn users(&self) -> Answered {
        self.administers()?;
        let find = |reads: Reads<'_>| reads.users();
        let users = self.api.issuer.store.read(find).await?;
        let shown = users.iter().map(|user| {
            json!({
                "login": user.login,
                "id": user.id,
                "administrator": super::is_administrator(&self.policy, &user.login, user.administrator),
                "suspended_at": user.suspended_at.map(moment),
                "created_at": moment(user.created_at),
                "signs_in_with_password": user.password.is_some(),
            })
        });
        Ok(json_answer(StatusCode::OK, &shown.collect::<Vec<_>>()))
    }

    /// `PUT` and `DELETE /users/{login}/suspended`.
    pub(super) async fn suspend(&self, login: &str, suspended: bool) -> Answered {
        self.administers()?;
        let known = login.to_owned();
        let find = move |reads: Reads<'_>| reads.user(&known);
        let user = self.api.issuer.store.read(find).await?.ok_or(ApiError::NotFound)?;
        let edit = UserEdit { suspended: Some(suspended), ..UserEdit::default() };
        self.api.issuer.set_user(self.setting(), user.login, edit).await?;
        Ok(empty(StatusCode::NO_CONTENT))
    }

    /// `GET /orgs/{org}/classic-tokens` and `GET /classic-tokens`.
    pub(super) async fn classic_uses(&self, org: Option<String>) -> Answered {
        let find = move |reads: Reads<'_>| reads.classic_uses(org.as_deref(), MOST_USES);
        let uses = self.api.issuer.store.read(find).await?;
        let shown = uses.iter().map(|used| {
            json!({
                "hashed_token": used.digest,
                "upstream": used.upstream,
                "organization": Some(&used.owner).filter(|owner| !owner.is_empty()),
                "uses": used.times,
                "first_used_at": moment(used.first_used_at),
                "last_used_at": moment(used.last.at),
                "last_used_from": used.last.from,
                "last_used_by": used.last.by,
            })
        });
        Ok(json_answer(StatusCode::OK, &shown.collect::<Vec<_>>()))
    }

    /// Refuses whoever does not administer the gateway.
    pub(super) fn administers(&self) -> Result<(), ApiError> {
        if self.is_administrator() {
            return Ok(());
        }
        Err(ApiError::Forbidden("only administrators of the gateway may do this".to_owned()))
    }

    /// `GET /audit-log`.
    pub(super) async fn audit_of_everything(&self) -> Answered {
        self.administers()?;
        self.audit(None).await
    }

    /// `GET /orgs/{org}/audit-log`.
    pub(super) async fn audit_of(&self, org: &str) -> Answered {
        self.audit(Some(org.to_owned())).await
    }

    async fn audit(&self, org: Option<String>) -> Answered {
        let paging = Paging::read(self.request.target)?;
        let (mut query, mut errors) = (AuditQuery::default(), Vec::new());
        for (name, value) in self.request.target.query_fields() {
            match &*name {
                "phrase" => read_phrase(&value, &mut query, &mut errors),
                "before" => match value.parse() {
                    Ok(id) => query.below = Some(id),
                    Err(_) => errors.push(FieldError::invalid("before", "expected the number of an entry")),
                },
                _ => {}
            }
        }
        if !errors.is_empty() {
            return Err(ApiError::Invalid(errors));
        }
        query.org = org.or(query.org);
        let limit = paging.per_page;
        let mut entries = self.api.issuer.store.read(move |reads| reads.audit(&query, limit + 1)).await?;
        let more = entries.len() > limit;
        entries.truncate(limit);
        let shown: Vec<Value> = entries
            .iter()
            .map(|entry| {
                let mut value: Value = serde_json::from_str(&entry.entry).unwrap_or_default();
                if let Some(value) = value.as_object_mut() {
                    value.insert("_document_id".to_owned(), entry.id.to_string().into());
                }
                value
            })
            .collect();
        let mut response = json_answer(StatusCode::OK, &shown);
        if let Some(last) = entries.last().filter(|_| more) {
            let target = self.request.target;
            let pieces = target.query().unwrap_or_default().split('&');
            let kept = pieces.filter(|piece| !piece.is_empty() && !piece.starts_with("before="));
            let before = format!("before={}", last.id);
            let query = kept.chain([before.as_str()]).collect::<Vec<_>>().join("&");
            let link = format!("<{}?{query}>; rel=\"next\"", self.url(target.path()));
            if let Ok(link) = HeaderValue::try_from(link) {
                response.headers_mut().insert(header::LINK, link);
            }
        }
        Ok(response)
    }
}

/// `actor:bob action:personal_access_token.* created:>=2026-11-01`, as in GitHub's audit log.
pub(super) fn read_phrase(phrase: &str, query: &mut AuditQuery, errors: &mut Vec<FieldError>) {
    for word in phrase.split_whitespace() {
        let (key, value) = word.split_once(':').unwrap_or(("", word));
        let value = Cow::from(value.trim_matches('"'));
        let text = Some(value.clone().into_owned());
        match key {
            "actor" => query.actor = text,
            "action" => query.action = text,
            "user" => query.user = text,
            "org" => query.org = text,
            "repo" => query.repository = text,
            "hashed_token" => query.hashed_token = text,
            "token_id" => match value.parse() {
                Ok(id) => query.token_id = Some(id),
                Err(_) => errors.push(FieldError::invalid("phrase", "`token_id` is a whole number")),
            },
            "created" if created(&value, query).is_some() => {}
            _ => errors.push(FieldError::invalid(
                "phrase",
                format!("`{word}` is not understood; expected `actor:`, `action:`, `user:`, `org:`, `repo:`, `token_id:`, `hashed_token:` or `created:` with `>=`, `<` or `..`"),
            )),
        }
    }
}

/// `2026-11-01`, `>=2026-11-01`, `<2026-12-01`, `2026-11-01..2026-11-30`. A date means the whole day.
fn created(text: &str, query: &mut AuditQuery) -> Option<()> {
    let micros = |text: &str| parse_moment(text).map(|UnixTime(second)| second.saturating_mul(SECOND));
    let length = |text: &str| if text.contains(['T', 't']) { SECOND } else { DAY };
    if let Some(from) = text.strip_prefix(">=") {
        query.since = Some(micros(from)?);
    } else if let Some(until) = text.strip_prefix('<') {
        query.until = Some(micros(until)?);
    } else {
        let (from, until) = text.split_once("..").unwrap_or((text, text));
        query.since = Some(micros(from)?);
        query.until = Some(micros(until)?.saturating_add(length(until)));
    }
    Some(())
}
