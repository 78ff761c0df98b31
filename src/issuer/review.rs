//! What resource owners do: approve and deny requests, and take grants back.

use crate::domain::lifecycle::RequestState;
use crate::issuer::draft::{FieldError, LONGEST_TEXT};
use crate::issuer::edit::note_revoked;
use crate::issuer::note::Event;
use crate::issuer::{IssueError, Issuer, Setting, view};
use crate::policy::approval::{Wish, examine};
use crate::store::Changes;
use crate::store::tokens::Decided;

/// What is decided about requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// The resource owner that decides.
    pub org: String,
    /// The requests' numbers.
    pub requests: Vec<i64>,
    /// Whether they are granted.
    pub verdict: Verdict,
    /// What their users are told.
    pub reason: Option<String>,
}

/// What is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// They are granted.
    Approve,
    /// They are not.
    Deny,
}

impl Issuer {
    /// Decides about requests, all of them or none.
    ///
    /// # Errors
    /// [`IssueError::NotFound`] where one is no open request to this resource owner.
    ///
    /// # Cancel safety
    /// They are decided though nobody waits for it.
    pub async fn review(&self, setting: Setting, review: Review) -> Result<(), IssueError> {
        let decide = move |changes: &Changes<'_>, setting: &Setting| {
            if review.reason.as_ref().is_some_and(|reason| reason.chars().count() > LONGEST_TEXT) {
                let message = format!("expected at most {LONGEST_TEXT} characters");
                return Err(IssueError::Invalid(vec![FieldError::invalid("reason", message)]));
            }
            review.requests.iter().try_for_each(|id| decide(changes, setting, &review, *id))
        };
        self.act(setting, decide).await
    }

    /// Takes grants back, all of them or none. What their tokens wait for at this resource owner ends too.
    ///
    /// # Errors
    /// [`IssueError::NotFound`] where one is no grant of this resource owner.
    ///
    /// # Cancel safety
    /// They are taken back though nobody waits for it.
    pub async fn revoke_grants(
        &self,
        setting: Setting,
        org: String,
        grants: Vec<i64>,
    ) -> Result<(), IssueError> {
        let revoke = move |changes: &Changes<'_>, setting: &Setting| {
            grants.iter().try_for_each(|id| revoke_grant(changes, setting, &org, *id))
        };
        self.act(setting, revoke).await
    }
}

fn decide(changes: &Changes<'_>, setting: &Setting, review: &Review, id: i64) -> Result<(), IssueError> {
    let request = changes.reads().request(id)?.ok_or(IssueError::NotFound)?;
    let here = request.part.owner.eq_ignore_ascii_case(&review.org);
    let known = view(changes.reads(), request.token_id)?;
    if !here || request.state != RequestState::Pending || known.token.revoked.is_some() {
        return Err(IssueError::NotFound);
    }
    let (by, why) = (setting.actor.login.as_str(), review.reason.as_deref());
    let state = match review.verdict {
        Verdict::Approve => RequestState::Approved,
        Verdict::Deny => RequestState::Denied,
    };
    changes.decide_request(&request, &Decided { state, at: setting.now, by, why })?;
    let noted = |action| {
        Event::of(action, &known.token)
            .at(&request.part)
            .with("user_programmatic_access_request_id", id)
            .with_some("reason", why)
            .note(changes, setting)
    };
    match review.verdict {
        Verdict::Approve => {
            // Policy may have changed since the request was made.
            let memberships = changes.reads().memberships(&known.token.user)?;
            let (from, until) = (known.token.issued_at, known.token.expires_at);
            let wish =
                Wish { user: &known.token.user, memberships: &memberships, part: &request.part, from, until };
            if let Err(objections) = examine(&setting.policy, &wish) {
                return Err(IssueError::Invalid(objections.into_iter().map(FieldError::from).collect()));
            }
            // Before it is granted: what is new is told by what was granted until now.
            noted("personal_access_token.access_granted")?;
            changes.grant(request.token_id, &request.part, setting.now, by)?;
            Ok(())
        }
        Verdict::Deny => noted("personal_access_token.request_denied"),
    }
}

fn revoke_grant(changes: &Changes<'_>, setting: &Setting, org: &str, id: i64) -> Result<(), IssueError> {
    let grant = changes.reads().grant(id)?.ok_or(IssueError::NotFound)?;
    let here = grant.part.owner.eq_ignore_ascii_case(org) && grant.revoked_at.is_none();
    let known = view(changes.reads(), grant.token_id)?;
    if !here || known.token.revoked.is_some() {
        return Err(IssueError::NotFound);
    }
    changes.revoke_grant(&grant, setting.now, &setting.actor.login)?;
    note_revoked(changes, setting, &known, &grant)?;
    let here = known.requests.iter().filter(|request| request.part.owner.eq_ignore_ascii_case(org));
    for request in here {
        let by = &setting.actor.login;
        let decided =
            Decided { state: RequestState::Denied, at: setting.now, by, why: Some("access was revoked") };
        changes.decide_request(request, &decided)?;
        Event::of("personal_access_token.request_denied", &known.token)
            .at(&request.part)
            .with("user_programmatic_access_request_id", request.id)
            .note(changes, setting)?;
    }
    Ok(())
}
