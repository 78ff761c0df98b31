//! Changing what a token is called and what it opens: less acts at once, more waits for approval, and what was approved
//! goes on meanwhile.

use crate::domain::lifecycle::{Part, RequestState};
use crate::issuer::draft::{Edit, FieldError, check_name, check_parts, check_text};
use crate::issuer::issue::{acting_user, grant_or_request, name_taken, rulings};
use crate::issuer::note::Event;
use crate::issuer::{IssueError, Issuer, Setting, TokenView, own, view};
use crate::policy::approval::Ruling;
use crate::store::Changes;
use crate::store::rows::{GrantRow, RequestRow};
use crate::store::tokens::Decided;

impl Issuer {
    /// Changes one of the acting user's tokens.
    ///
    /// # Errors
    /// [`IssueError`].
    ///
    /// # Cancel safety
    /// The token is changed though nobody waits for it.
    pub async fn edit(&self, setting: Setting, id: i64, edit: Edit) -> Result<TokenView, IssueError> {
        self.act(setting, move |changes, setting| change(changes, setting, id, &edit)).await
    }
}

fn change(changes: &Changes<'_>, setting: &Setting, id: i64, edit: &Edit) -> Result<TokenView, IssueError> {
    let user = acting_user(changes, setting)?;
    let known = own(changes.reads(), id, &setting.actor.login)?;
    let mut errors: Vec<FieldError> = edit.name.as_deref().and_then(check_name).into_iter().collect();
    errors.extend(check_text("description", edit.description.as_deref()));
    errors.extend(check_text("reason", edit.reason.as_deref()));
    if let Some(name) = &edit.name
        && changes.reads().tokens_of(user.id)?.iter().any(|other| other.id != id && other.name == *name)
    {
        errors.push(name_taken());
    }
    let mut new = Vec::new();
    if let Some(parts) = &edit.parts {
        errors.extend(check_parts(parts, setting.limits.repositories_per_token));
        let lifetime = (known.token.issued_at, known.token.expires_at);
        let memberships = changes.reads().memberships(&setting.actor.login)?;
        let rulings = rulings(setting, &memberships, parts, lifetime, &mut errors);
        new = parts.iter().zip(rulings).collect();
    }
    if !errors.is_empty() {
        return Err(IssueError::Invalid(errors));
    }
    let name = edit.name.as_deref().unwrap_or(&known.token.name);
    let description = match &edit.description {
        None => known.token.description.as_deref(),
        Some(text) => Some(text.as_str()).filter(|text| !text.is_empty()),
    };
    let mut fields = Vec::new();
    if (name, description) != (known.token.name.as_str(), known.token.description.as_deref()) {
        changes.rename_token(id, name, description)?;
        fields.push(if name == known.token.name { "description" } else { "name" });
    }
    if edit.parts.is_some() && reshape(changes, setting, &known, (&new, edit.reason.as_deref()))? {
        fields.push("permissions");
    }
    let now = view(changes.reads(), id)?;
    if !fields.is_empty() {
        Event::of("personal_access_token.update", &now.token)
            .with("pat_field_changed", fields.join(","))
            .note(changes, setting)?;
    }
    Ok(now)
}

/// Makes a token open what `new` says. Whether that is something else than before.
fn reshape(
    changes: &Changes<'_>,
    setting: &Setting,
    known: &TokenView,
    (new, reason): (&[(&Part, Ruling)], Option<&str>),
) -> Result<bool, IssueError> {
    let mut reshaped = false;
    let at = |owner: &str, part: &Part| part.owner.eq_ignore_ascii_case(owner);
    for (part, ruling) in new {
        let grant = known.grants.iter().find(|grant| at(&part.owner, &grant.part));
        let request = known.requests.iter().find(|request| at(&part.owner, &request.part));
        reshaped |= reshape_part(changes, setting, known, (part, *ruling, reason), (grant, request))?;
    }
    let left_out = |part: &Part| !new.iter().any(|(other, _)| at(&part.owner, other));
    for grant in known.grants.iter().filter(|grant| left_out(&grant.part)) {
        changes.revoke_grant(grant, setting.now, &setting.actor.login)?;
        note_revoked(changes, setting, known, grant)?;
        reshaped = true;
    }
    for request in known.requests.iter().filter(|request| left_out(&request.part)) {
        cancel(changes, setting, known, request)?;
        reshaped = true;
    }
    Ok(reshaped)
}

/// The same at one resource owner.
fn reshape_part(
    changes: &Changes<'_>,
    setting: &Setting,
    known: &TokenView,
    (part, ruling, reason): (&Part, Ruling, Option<&str>),
    (grant, request): (Option<&GrantRow>, Option<&RequestRow>),
) -> Result<bool, IssueError> {
    let terms = &part.terms;
    if grant.is_some_and(|grant| grant.part.terms == *terms) && request.is_none()
        || request.is_some_and(|request| request.part.terms == *terms)
    {
        return Ok(false);
    }
    if let Some(request) = request {
        cancel(changes, setting, known, request)?;
    }
    let narrows = grant.is_some_and(|grant| terms.within(&grant.part.terms));
    if let (Some(grant), true) = (grant, narrows) {
        changes.narrow(grant, &part.terms)?;
        return Ok(true);
    }
    if let (Some(grant), Ruling::Required) = (grant, ruling) {
        // What is no longer asked for ends at once, whatever becomes of the rest.
        let both = grant.part.terms.meet(terms);
        if both != grant.part.terms {
            changes.narrow(grant, &both)?;
        }
    }
    grant_or_request(changes, setting, &known.token, (part, ruling, reason))?;
    Ok(true)
}

/// Takes a request back, on behalf of the token's user.
pub(super) fn cancel(
    changes: &Changes<'_>,
    setting: &Setting,
    known: &TokenView,
    request: &RequestRow,
) -> Result<(), IssueError> {
    let by = &setting.actor.login;
    let decided = Decided { state: RequestState::Cancelled, at: setting.now, by, why: None };
    changes.decide_request(request, &decided)?;
    Event::of("personal_access_token.request_cancelled", &known.token)
        .at(&request.part)
        .with("user_programmatic_access_request_id", request.id)
        .note(changes, setting)
}

/// Notes that a grant was taken back.
pub(super) fn note_revoked(
    changes: &Changes<'_>,
    setting: &Setting,
    known: &TokenView,
    grant: &GrantRow,
) -> Result<(), IssueError> {
    Event::of("personal_access_token.access_revoked", &known.token)
        .at(&grant.part)
        .with("user_programmatic_access_grant_id", grant.id)
        .note(changes, setting)
}
