//! What the audit trail says of each step, in GitHub's names and fields.

use serde_json::{Map, Value, json};

use crate::domain::lifecycle::Part;
use crate::issuer::tell::{TokenNotice, tell_request, tell_token};
use crate::issuer::{IssueError, Means, Setting};
use crate::store::Changes;
use crate::store::audit::{AuditKeys, hashed_token};
use crate::store::people::Named;
use crate::store::rows::TokenRow;

/// Something that happened.
pub(super) struct Event<'e> {
    action: &'static str,
    org: Option<&'e str>,
    user: Option<&'e str>,
    token: Option<&'e TokenRow>,
    fields: Map<String, Value>,
}

impl<'e> Event<'e> {
    pub(super) fn new(action: &'static str) -> Self {
        Self { action, org: None, user: None, token: None, fields: Map::new() }
    }

    /// Of `token`, and its user.
    pub(super) fn of(action: &'static str, token: &'e TokenRow) -> Self {
        Self { token: Some(token), user: Some(&token.user), ..Self::new(action) }
    }

    /// To this user.
    pub(super) fn to(mut self, user: &'e str) -> Self {
        self.user = Some(user);
        self
    }

    /// Of this organization.
    pub(super) fn of_org(mut self, org: &'e str) -> Self {
        self.org = Some(org);
        self
    }

    /// At the resource owner of `part`, about what it opens.
    pub(super) fn at(mut self, part: &'e Part) -> Self {
        self.org = Some(&part.owner);
        let reach = &part.terms.reach;
        self = self.with("repository_selection", reach.as_str());
        if !reach.names().is_empty() {
            let names = reach.names().iter().map(|name| format!("{}/{name}", part.owner));
            self = self.with("repositories", names.collect::<Vec<_>>());
        }
        self
    }

    pub(super) fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(field.to_owned(), value.into());
        self
    }

    /// With a field that may be absent.
    pub(super) fn with_some(self, field: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(field, value),
            None => self,
        }
    }

    /// Writes it down, as a part of what it tells of, and tells the webhooks that want it.
    pub(super) fn note(self, changes: &Changes<'_>, setting: &Setting) -> Result<(), IssueError> {
        let (token, org) = (self.token, self.org);
        let told = Told::of(self.action, &self.fields);
        self.write(changes, setting)?;
        match (told, token) {
            (Told::Request(action, id), _) => tell_request(changes, setting, action, id),
            (Told::Token(action), Some(token)) => {
                tell_token(changes, setting, token.id, TokenNotice::whole(action))
            }
            (Told::Revoked(why), Some(token)) => {
                let notice = TokenNotice { org, ..TokenNotice::whole("revoked") };
                tell_token(changes, setting, token.id, notice.with("reason", why))
            }
            (Told::Nothing, _) | (Told::Token(_) | Told::Revoked(_), None) => Ok(()),
        }
    }

    fn write(self, changes: &Changes<'_>, setting: &Setting) -> Result<(), IssueError> {
        let Self { action, org, user, token, fields } = self;
        let actor = &setting.actor;
        let milliseconds = setting.now_micros.div_euclid(1000);
        let mut entry = json!({
            "@timestamp": milliseconds,
            "created_at": milliseconds,
            "action": action,
            "actor": actor.login,
            "operation_type": operation(action),
        });
        let mut put = |field: &str, value: Option<Value>| {
            if let (Some(entry), Some(value)) = (entry.as_object_mut(), value) {
                entry.insert(field.to_owned(), value);
            }
        };
        let org_id = org.map(|org| changes.give_number(Named::Owner, org)).transpose()?;
        put("actor_id", changes.reads().user(&actor.login)?.map(|user| user.id.into()));
        put("actor_ip", actor.from.map(|from| from.to_string().into()));
        put("user_agent", actor.user_agent.clone().map(Into::into));
        put("request_id", actor.request_id.clone().map(Into::into));
        put("org", org.map(Into::into));
        put("org_id", org_id.map(Into::into));
        put("user", user.map(Into::into));
        put(
            "user_id",
            user.map(|user| changes.reads().user(user)).transpose()?.flatten().map(|user| user.id.into()),
        );
        let means = match &actor.by {
            Means::Session => None,
            Means::Token(digest) => {
                put("programmatic_access_type", Some("Fine-grained personal access token".into()));
                put("actor_hashed_token", Some(hashed_token(digest).into()));
                Some("token")
            }
            Means::TrustedHeader => Some("trusted_header"),
            Means::Machine => Some("machine"),
            Means::Holder => Some("holder"),
            Means::Gateway => Some("gateway"),
        };
        put("actor_means", means.map(Into::into));
        if let Some(token) = token {
            put("token_id", Some(token.id.into()));
            put("hashed_token", Some(hashed_token(&token.digest).into()));
            put("user_programmatic_access_id", Some(token.id.into()));
            put("user_programmatic_access_name", Some(token.name.clone().into()));
        }
        fields.into_iter().for_each(|(field, value)| put(&field, Some(value)));
        let keys = AuditKeys {
            action: action.to_owned(),
            actor: Some(actor.login.clone()),
            user: user.map(str::to_owned),
            org: org.map(str::to_owned),
            token_id: token.map(|token| token.id),
            hashed_token: token.map(|token| hashed_token(&token.digest)),
        };
        Ok(changes.add_audit(setting.now_micros, &keys, &entry.to_string())?)
    }
}

/// What webhooks are told of an event.
enum Told {
    /// Something became of a request.
    Request(&'static str, i64),
    /// Something became of a token.
    Token(&'static str),
    /// A token, or its access to one resource owner, was taken back: why.
    Revoked(String),
    /// Nothing. That a token was made is told when all of it is there.
    Nothing,
}

impl Told {
    fn of(action: &str, fields: &Map<String, Value>) -> Self {
        let request = fields.get("user_programmatic_access_request_id").and_then(Value::as_i64);
        let verb = action.strip_prefix("personal_access_token.").unwrap_or_default();
        match (verb, request) {
            ("request_created", Some(id)) => Self::Request("created", id),
            ("access_granted", Some(id)) => Self::Request("approved", id),
            ("request_denied", Some(id)) => Self::Request("denied", id),
            ("request_cancelled", Some(id)) => Self::Request("cancelled", id),
            ("credential_regenerated", _) => Self::Token("regenerated"),
            ("access_revoked", _) => Self::Revoked("its access to the resource owner was revoked".to_owned()),
            ("destroy" | "credential_revoked", _) => {
                let why = fields.get("explanation").and_then(Value::as_str);
                Self::Revoked(why.unwrap_or_default().to_owned())
            }
            _ => Self::Nothing,
        }
    }
}

/// GitHub's word for what kind of thing was done.
fn operation(action: &str) -> &'static str {
    match action.rsplit_once('.').map_or(action, |(_, verb)| verb) {
        "create" | "request_created" | "access_granted" | "sign_in" => "create",
        "destroy" | "access_revoked" | "credential_revoked" | "request_cancelled" | "request_denied" => {
            "remove"
        }
        _ => "modify",
    }
}
