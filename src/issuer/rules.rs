//! Rules about tokens, where policy files leave them to the store.

use serde_json::{Map, Value};

use crate::domain::lifecycle::rules::{Access, ApprovalRule, Keeper, KeptRules, TokenRules};
use crate::domain::permission::Level;
use crate::domain::rule::{Authority, in_days};
use crate::issuer::draft::FieldError;
use crate::issuer::note::Event;
use crate::issuer::{IssueError, Issuer, Setting};
use crate::policy::rules::ceiling_level;
use crate::policy::snapshot::Snapshot;
use crate::policy::tokens::permission::PermissionFault;
use crate::store::Changes;
use crate::store::rules::{RuleFault, RulesDocument};

/// The event of what GitHub has none for.
const RULES_UPDATE: &str = "personal_access_token.rules_update";

/// What becomes of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RulesEdit {
    /// They take these members, as RFC 7396 says: `null` takes one away.
    Merge(Map<String, Value>),
    /// The policy file has the word again.
    Reset,
}

/// Whose rules they are, by the policy files.
struct Whose<'s> {
    authority: Authority,
    name: &'s str,
    keeper: Keeper,
    declared: &'s TokenRules,
}

impl Whose<'_> {
    /// The key of the store.
    fn organization(&self) -> Option<&str> {
        match self.authority {
            Authority::Enterprise => None,
            Authority::Organization => Some(self.name),
        }
    }
}

impl Issuer {
    /// Changes the rules of `organization`, or of the enterprise. They are in force when this returns.
    ///
    /// # Errors
    /// [`IssueError::NotFound`]: no policy file names it. [`IssueError::Forbidden`]: its file keeps the rules.
    /// [`IssueError::Invalid`], [`IssueError::Store`].
    ///
    /// # Cancel safety
    /// It is done though nobody waits for it.
    pub async fn change_rules(
        &self,
        setting: Setting,
        organization: Option<String>,
        edit: RulesEdit,
    ) -> Result<(), IssueError> {
        self.act(setting, move |changes, setting| change(changes, setting, organization.as_deref(), &edit))
            .await
    }
}

fn whose<'s>(policy: &'s Snapshot, organization: Option<&str>) -> Option<Whose<'s>> {
    let Some(organization) = organization else {
        let found = policy.declared.enterprise.as_ref()?;
        let (name, declared) = (&found.name, &found.rules);
        return Some(Whose { authority: Authority::Enterprise, name, keeper: found.keeper, declared });
    };
    let found = policy.declared.organizations.get(&organization.to_ascii_lowercase())?;
    let (name, declared) = (&found.name, &found.rules);
    Some(Whose { authority: Authority::Organization, name, keeper: found.keeper, declared })
}

fn change(
    changes: &Changes<'_>,
    setting: &Setting,
    organization: Option<&str>,
    edit: &RulesEdit,
) -> Result<(), IssueError> {
    let whose = whose(&setting.policy, organization).ok_or(IssueError::NotFound)?;
    if whose.keeper == Keeper::File {
        let message = format!(
            "the policy file of `{}` keeps its rules; change them there, or write `managed: store` into it",
            whose.name
        );
        return Err(IssueError::Forbidden(message));
    }
    let kept = changes.reads().rules(whose.organization())?.and_then(|row| row.rules);
    let before = kept.as_ref().unwrap_or(whose.declared);
    let after = match edit {
        RulesEdit::Reset => None,
        RulesEdit::Merge(members) => {
            let after = merged(before, members)?;
            let errors = objections(changes, setting, &whose, (before, &after))?;
            if !errors.is_empty() {
                return Err(IssueError::Invalid(errors));
            }
            Some(after)
        }
    };
    if after == kept || after.as_ref() == Some(before) {
        return Ok(());
    }
    changes.set_rules(whose.organization(), after.as_ref(), (setting.now, &setting.actor.login))?;
    let by_file = after.is_none();
    let mut events = differences(before, after.as_ref().unwrap_or(whose.declared));
    if events.is_empty() {
        // Who keeps them has changed, at least.
        events.push((RULES_UPDATE, Vec::new()));
    }
    for (action, mut fields) in events {
        if by_file {
            fields.push(("managed", Keeper::File.as_str().into()));
        }
        let event = match whose.authority {
            Authority::Enterprise => Event::new(action).with("business", whose.name),
            Authority::Organization => Event::new(action).of_org(whose.name),
        };
        let event = fields.into_iter().fold(event, |event, (field, value)| event.with(field, value));
        event.note(changes, setting)?;
    }
    Ok(())
}

/// `rules` with `members` in their places.
fn merged(rules: &TokenRules, members: &Map<String, Value>) -> Result<TokenRules, IssueError> {
    let invalid = |message: String| IssueError::Invalid(vec![FieldError::invalid("rules", message)]);
    let mut value = serde_json::to_value(RulesDocument::from(rules)).unwrap_or_default();
    if let Some(object) = value.as_object_mut() {
        merge(object, members);
    }
    let document: RulesDocument =
        serde_json::from_value(value).map_err(|error| invalid(error.to_string()))?;
    document.read().map_err(|faults| {
        let told = |RuleFault { field, message }| FieldError::invalid(field, message);
        IssueError::Invalid(faults.into_iter().map(told).collect())
    })
}

/// RFC 7396.
fn merge(object: &mut Map<String, Value>, members: &Map<String, Value>) {
    for (name, value) in members {
        match value {
            Value::Null => drop(object.remove(name)),
            Value::Object(members) => {
                let below = object.entry(name.clone()).or_insert_with(|| Map::new().into());
                if !below.is_object() {
                    *below = Map::new().into();
                }
                if let Some(below) = below.as_object_mut() {
                    merge(below, members);
                }
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                object.insert(name.clone(), value.clone());
            }
        }
    }
}

/// Why rules may not become what they are to be. What has not changed is not objected to.
fn objections(
    changes: &Changes<'_>,
    setting: &Setting,
    whose: &Whose<'_>,
    (before, after): (&TokenRules, &TokenRules),
) -> Result<Vec<FieldError>, IssueError> {
    let mut errors = Vec::new();
    for (name, most) in after.ceiling.iter().filter(|(name, most)| before.ceiling.get(*name) != Some(*most)) {
        let level = most.map_or("none", Level::as_str);
        if let Err(PermissionFault::Name(message) | PermissionFault::Level(message)) =
            ceiling_level(&setting.policy.vocabulary, name, level)
        {
            errors.push(FieldError::invalid("ceiling", message));
        }
    }
    match whose.authority {
        Authority::Enterprise if !after.automatic.is_empty() => {
            let field = "fine_grained_tokens.approve_automatically";
            errors.push(FieldError::invalid(field, "organizations have it, the enterprise does not"));
        }
        Authority::Enterprise => {}
        Authority::Organization => {
            if after.exempt_administrators {
                let field = "fine_grained_tokens.exempt_administrators";
                errors.push(FieldError::invalid(field, "the enterprise has it, organizations do not"));
            }
            if let Some(enterprise) = &setting.policy.declared.enterprise {
                // As it is now, which may be later than the policy that the call began with.
                let row = changes.reads().rules(None)?;
                let kept = KeptRules { enterprise: row.and_then(|row| row.rules), ..KeptRules::default() };
                settled(&enterprise.name, enterprise.own(&kept), (before, after), &mut errors);
            }
        }
    }
    Ok(errors)
}

/// What the enterprise has settled, an organization does not change.
fn settled(
    name: &str,
    enterprise: &TokenRules,
    (before, after): (&TokenRules, &TokenRules),
    errors: &mut Vec<FieldError>,
) {
    let mut object = |field: &'static str, is: &str| {
        let message = format!("the enterprise `{name}` has settled this: {is}");
        errors.push(FieldError { field, code: "custom", message });
    };
    if let Some(access) = enterprise.access.filter(|_| before.access != after.access) {
        object("fine_grained_tokens.access", access.as_str());
    }
    if let Some(approval) = enterprise
        .approval
        .filter(|_| (before.approval, &before.automatic) != (after.approval, &after.automatic))
    {
        object("fine_grained_tokens.approval", approval.as_str());
    }
    if let Some(access) = enterprise.classic.filter(|_| before.classic != after.classic) {
        object("classic_tokens.access", access.as_str());
    }
    if let (Some(most), true) = (enterprise.max_lifetime, before.max_lifetime != after.max_lifetime)
        && after.max_lifetime.is_some_and(|lifetime| lifetime > most)
    {
        object("fine_grained_tokens.max_lifetime", &format!("{} at most", in_days(most)));
    }
}

type Fields = Vec<(&'static str, Value)>;

/// What the audit trail is told: GitHub's events where it has one.
fn differences(before: &TokenRules, after: &TokenRules) -> Vec<(&'static str, Fields)> {
    let (was, is) = (RulesDocument::from(before), RulesDocument::from(after));
    let mut events: Vec<(&str, Fields)> = Vec::new();
    for (kind, was, is) in
        [("fine_grained", before.access, after.access), ("classic", before.classic, after.classic)]
    {
        if was != is {
            let action = if is == Some(Access::Deny) {
                "personal_access_token.access_restriction_enabled"
            } else {
                "personal_access_token.access_restriction_disabled"
            };
            let access: Value = is.map(Access::as_str).into();
            events.push((action, vec![("token_type", kind.into()), ("access", access)]));
        }
    }
    if before.approval != after.approval {
        let action = if after.approval == Some(ApprovalRule::Automatic) {
            "personal_access_token.auto_approve_grant_requests_enabled"
        } else {
            "personal_access_token.auto_approve_grant_requests_disabled"
        };
        events.push((action, vec![("approval", after.approval.map(ApprovalRule::as_str).into())]));
    }
    if before.max_lifetime != after.max_lifetime {
        let action = if after.max_lifetime.is_some() {
            "personal_access_token.expiration_limit_set"
        } else {
            "personal_access_token.expiration_limit_unset"
        };
        events.push((action, vec![("max_lifetime", is.fine_grained_tokens.max_lifetime.clone().into())]));
    }
    let mut more: Fields = Vec::new();
    if before.automatic != after.automatic {
        let rules = serde_json::to_value(&is.fine_grained_tokens.approve_automatically);
        more.push(("approve_automatically", rules.unwrap_or_default()));
    }
    if before.exempt_administrators != after.exempt_administrators {
        more.push(("exempt_administrators", after.exempt_administrators.into()));
    }
    if was.ceiling != is.ceiling {
        more.push(("ceiling", serde_json::to_value(&is.ceiling).unwrap_or_default()));
    }
    if !more.is_empty() {
        events.push((RULES_UPDATE, more));
    }
    events
}
