//! The rules about tokens: of an organization, and of the enterprise.

use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::api::answer::{ApiError, json_answer, moment};
use crate::api::body::read;
use crate::api::{Answered, Call};
use crate::domain::lifecycle::rules::{Keeper, TokenRules};
use crate::issuer::Capacity;
use crate::issuer::rules::RulesEdit;
use crate::policy::rules::effective;
use crate::policy::snapshot::Mode;
use crate::store::rules::RulesDocument;

impl Call<'_> {
    /// `/orgs/{org}/token-policy`, and `/enterprise/token-policy` for `None`.
    pub(super) async fn rules(&self, organization: Option<&str>) -> Answered {
        let edit = match *self.request.method {
            Method::GET | Method::HEAD => None,
            Method::PATCH => Some(RulesEdit::Merge(members(self.request.body)?)),
            Method::DELETE => Some(RulesEdit::Reset),
            _ => return Err(ApiError::NotFound),
        };
        if let Some(edit) = edit {
            let organization = organization.map(str::to_owned);
            let capacity = organization.clone().map_or(Capacity::Administrator, Capacity::OwnerOf);
            self.api.issuer.change_rules(self.setting_as(capacity), organization, edit).await?;
        }
        self.shown_rules(organization).await
    }

    async fn shown_rules(&self, organization: Option<&str>) -> Answered {
        // Not the policy that the call began with: it may have changed that.
        let policy = self.api.live.snapshot();
        let enterprise = policy.declared.enterprise.as_ref();
        let shown = |rules: &TokenRules| json!(RulesDocument::from(rules));
        let (mut value, keeper) = match organization {
            None => {
                let enterprise = enterprise.ok_or(ApiError::NotFound)?;
                let rules = shown(enterprise.own(&policy.kept));
                (json!({ "enterprise": enterprise.name, "rules": rules }), enterprise.keeper)
            }
            Some(organization) => {
                let key = organization.to_ascii_lowercase();
                let declared = policy.declared.organizations.get(&key).ok_or(ApiError::NotFound)?;
                let above = enterprise.map(
                    |enterprise| json!({ "name": enterprise.name, "rules": shown(enterprise.own(&policy.kept)) }),
                );
                let value = json!({
                    "organization": declared.name,
                    "mode": if declared.mode == Mode::Shadow { "shadow" } else { "enforce" },
                    "rules": shown(declared.own(&policy.kept)),
                    "enterprise": above,
                    "in_force": effective(&policy, &declared.name).map(|rules| shown(&rules)),
                });
                (value, declared.keeper)
            }
        };
        let whose = organization.map(str::to_owned);
        let row = match keeper {
            Keeper::File => None,
            Keeper::Store => self.api.issuer.store.read(move |reads| reads.rules(whose.as_deref())).await?,
        };
        if let Some(object) = value.as_object_mut() {
            object.insert("managed".to_owned(), keeper.as_str().into());
            object.insert("changed_at".to_owned(), row.as_ref().map(|row| moment(row.changed_at)).into());
            object.insert("changed_by".to_owned(), row.map(|row| row.changed_by).into());
        }
        Ok(json_answer(StatusCode::OK, &value))
    }
}

/// The members of a merge, whose shape is that of rules but for the `null`s.
fn members(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    let members: Map<String, Value> = read(body)?;
    let mut bare = Value::Object(members.clone());
    strip(&mut bare);
    match serde_json::from_value::<RulesDocument>(bare) {
        Ok(_) => Ok(members),
        Err(error) => Err(ApiError::Json(error.to_string())),
    }
}

fn strip(value: &mut Value) {
    if let Some(object) = value.as_object_mut() {
        object.retain(|_, member| !member.is_null());
        object.values_mut().for_each(strip);
    }
}
