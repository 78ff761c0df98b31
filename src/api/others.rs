//! Introspection, the audit trail, users.

use http::StatusCode;
use serde_json::{Value, json};

use crate::api::answer::{ApiError, empty, json_answer, moment};
use crate::api::own::NEVER;
use crate::api::{Answered, Call, Caller};
use crate::clock;
use crate::domain::grant::Approval;
use crate::domain::lifecycle::terms::Permissions;
use crate::domain::permission::PermissionSet;
use crate::domain::secret::Secret;
use crate::domain::target::decode_once;
use crate::issuer::Capacity;
use crate::issuer::draft::FieldError;
use crate::issuer::users::UserEdit;
use crate::policy::decide::check_state;
use crate::policy::grants::index::Kept;
use crate::policy::grants::{Grant, Selection};
use crate::store::Reads;
use crate::store::rows::PermissionWords;

/// Uses of the hosts' own credentials that are told at a time.
const MOST_USES: usize = 1000;

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
                "administrator": self.policy.is_administrator(&user.login, user.administrator),
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
        if suspended
            && user.login.eq_ignore_ascii_case(self.login())
            && !matches!(self.caller, Caller::Machine(_))
        {
            return Err(ApiError::Forbidden(
                "nobody suspends themselves; have another administrator do it".to_owned(),
            ));
        }
        let edit = UserEdit { suspended: Some(suspended), ..UserEdit::default() };
        self.api.issuer.set_user(self.setting_as(Capacity::Administrator), user.login, edit).await?;
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
}
