//! Making a token, and giving it a new secret.

use crate::domain::grant::UnixTime;
use crate::domain::lifecycle::Part;
use crate::domain::membership::Memberships;
use crate::domain::token::TokenDigest;
use crate::issuer::draft::{Draft, Expiry, FieldError, check_name, check_parts, check_text};
use crate::issuer::note::Event;
use crate::issuer::tell::{TokenNotice, tell_token};
use crate::issuer::{Bound, IssueError, Issued, Issuer, Setting, TokenView, own, view};
use crate::policy::approval::{Because, Ruling, Wish, examine, examine_lifetime, longest_lifetime};
use crate::store::Changes;
use crate::store::rows::{TokenRow, UserRow};
use crate::store::tokens::{NewSecret, NewToken};

/// What a token lives for where its user says nothing, seconds: 30 days.
const USUAL_LIFETIME: i64 = 30 * 24 * 60 * 60;

/// How long two secrets of a token may be good at a time, seconds: 7 days.
const LONGEST_OVERLAP: i64 = 7 * 24 * 60 * 60;

/// How a token gets its new secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewal {
    /// Until when the new one works.
    pub expiry: Expiry,
    /// How long the old one goes on, seconds.
    pub overlap: i64,
}

impl Issuer {
    /// Makes a token for the acting user. What needs approval waits for it; the rest works at once.
    ///
    /// # Errors
    /// [`IssueError`].
    ///
    /// # Cancel safety
    /// The token is made though nobody waits for it; then nobody knows its text.
    pub async fn create(&self, setting: Setting, draft: Draft) -> Result<Issued, IssueError> {
        let (text, public_id, digest) = self.text(None)?;
        let make = move |changes: &Changes<'_>, setting: &Setting| {
            create(changes, setting, &draft, (public_id, digest))
        };
        Ok(Issued { view: self.act(setting, make).await?, text })
    }

    /// Replaces the secret of one of the acting user's tokens. What was approved stays approved.
    ///
    /// # Errors
    /// [`IssueError`].
    ///
    /// # Cancel safety
    /// The secret is replaced though nobody waits for it; then nobody knows the new one.
    pub async fn regenerate(
        &self,
        setting: Setting,
        id: i64,
        renewal: Renewal,
    ) -> Result<Issued, IssueError> {
        let login = setting.actor.login.clone();
        let known = self.store.read(move |reads| own(reads, id, &login)).await?;
        let (text, _, digest) = self.text(Some(&known.token.public_id))?;
        let renew = move |changes: &Changes<'_>, setting: &Setting| {
            regenerate(changes, setting, id, (renewal, digest))
        };
        Ok(Issued { view: self.act(setting, renew).await?, text })
    }
}

fn create(
    changes: &Changes<'_>,
    setting: &Setting,
    draft: &Draft,
    (public_id, digest): (String, TokenDigest),
) -> Result<TokenView, IssueError> {
    let user = acting_user(changes, setting)?;
    let mut errors: Vec<FieldError> = check_name(&draft.name).into_iter().collect();
    errors.extend(check_text("description", draft.description.as_deref()));
    errors.extend(check_text("reason", draft.reason.as_deref()));
    errors.extend(check_parts(&draft.parts, setting.limits.repositories_per_token));
    let tokens = changes.reads().tokens_of(user.id)?;
    if tokens.iter().any(|token| token.name == draft.name) {
        errors.push(name_taken());
    }
    if tokens.len() >= setting.limits.tokens_per_user {
        let message = format!("you have {} tokens already; delete one first", tokens.len());
        errors.push(FieldError { field: "base", code: "custom", message });
    }
    let expires_at = expiry(setting, &draft.parts, draft.expiry, &mut errors);
    let memberships = changes.reads().memberships(&user.login)?;
    let rulings = rulings(setting, &memberships, &draft.parts, (setting.now, expires_at), &mut errors);
    if !errors.is_empty() {
        return Err(IssueError::Invalid(errors));
    }
    let token = NewToken {
        user_id: user.id,
        name: draft.name.clone(),
        description: draft.description.clone().filter(|text| !text.is_empty()),
        public_id,
        digest,
        at: setting.now,
        expires_at,
    };
    let id = changes.add_token(&token)?;
    let row = changes.reads().token(id)?.ok_or(IssueError::NotFound)?;
    Event::of("personal_access_token.create", &row)
        .with_some("token_expires_at", expires_at.map(|moment| moment.0))
        .note(changes, setting)?;
    for (part, ruling) in draft.parts.iter().zip(rulings) {
        grant_or_request(changes, setting, &row, (part, ruling, draft.reason.as_deref()))?;
    }
    tell_token(changes, setting, id, TokenNotice::whole("created"))?;
    view(changes.reads(), id)
}

pub(super) fn name_taken() -> FieldError {
    let message = "name has already been taken".to_owned();
    FieldError { field: "name", code: "already_exists", message }
}

/// The acting user, who is made where there is none yet, and is not suspended.
pub(super) fn acting_user(changes: &Changes<'_>, setting: &Setting) -> Result<UserRow, IssueError> {
    let user = changes.user(&setting.actor.login, setting.now)?;
    match user.suspended_at {
        None => Ok(user),
        Some(_) => Err(IssueError::Forbidden(format!("the user `{}` is suspended", user.login))),
    }
}

/// Who has to approve each of `parts`; adds what stands against them.
pub(super) fn rulings(
    setting: &Setting,
    memberships: &Memberships,
    parts: &[Part],
    (from, until): (UnixTime, Option<UnixTime>),
    errors: &mut Vec<FieldError>,
) -> Vec<Ruling> {
    let mut rulings = Vec::new();
    for part in parts {
        let wish = Wish { user: &setting.actor.login, memberships, part, from, until };
        match examine(&setting.policy, &wish) {
            Ok(ruling) => rulings.push(ruling),
            Err(objections) => errors.extend(objections.into_iter().map(FieldError::from)),
        }
    }
    errors.extend(setting.bound.iter().flat_map(|bound| beyond(bound, parts, until)));
    rulings
}

/// What a token that hands on more than it has is told.
fn beyond(bound: &Bound, parts: &[Part], until: Option<UnixTime>) -> Vec<FieldError> {
    let is_held = |part: &&Part| {
        let mut held = bound.parts.iter().filter(|held| held.owner.eq_ignore_ascii_case(&part.owner));
        held.any(|held| part.terms.within(&held.terms))
    };
    let lacks = |part: &Part| {
        let message = format!(
            "`{}`: the token that asks for this does not hold all of it itself; sign in, or use one that does",
            part.owner
        );
        FieldError { field: "permissions", code: "custom", message }
    };
    let mut errors: Vec<_> = parts.iter().filter(|part| !is_held(part)).map(lacks).collect();
    if until.is_none_or(|until| until > bound.expires_at) {
        let message = "the token that asks for this expires earlier itself".to_owned();
        errors.push(FieldError { field: "expires_at", code: "custom", message });
    }
    errors
}

/// When a token expires that is made now.
fn expiry(
    setting: &Setting,
    parts: &[Part],
    expiry: Expiry,
    errors: &mut Vec<FieldError>,
) -> Option<UnixTime> {
    match expiry {
        Expiry::Never => None,
        Expiry::At(moment) => {
            if moment <= setting.now {
                errors.push(FieldError::invalid("expires_at", "expected a moment that is still to come"));
            }
            Some(moment)
        }
        Expiry::Usual => {
            let longest = longest_lifetime(&setting.policy, parts.iter().map(|part| part.owner.as_str()));
            let usual = UnixTime(setting.now.0.saturating_add(USUAL_LIFETIME.min(longest)));
            let bound = setting.bound.as_ref().map(|bound| bound.expires_at);
            Some(bound.map_or(usual, |bound| usual.min(bound)))
        }
    }
}

/// Does what `ruling` says of `part`, and notes it.
pub(super) fn grant_or_request(
    changes: &Changes<'_>,
    setting: &Setting,
    token: &TokenRow,
    (part, ruling, reason): (&Part, Ruling, Option<&str>),
) -> Result<(), IssueError> {
    match ruling {
        Ruling::Granted(because) => {
            let id = changes.grant(token.id, part, setting.now, because.as_str())?;
            Event::of("personal_access_token.access_granted", token)
                .at(part)
                .with("user_programmatic_access_grant_id", id)
                .with("granted_by", because.as_str())
                .note(changes, setting)
        }
        Ruling::Required => {
            let id = changes.add_request(token.id, part, reason, setting.now)?;
            Event::of("personal_access_token.request_created", token)
                .at(part)
                .with("user_programmatic_access_request_id", id)
                .with_some("reason", reason)
                .note(changes, setting)
        }
    }
}

/// What was granted without a person's approval, and would not be to a token that lives until `until`.
fn outgrown(
    setting: &Setting,
    memberships: &Memberships,
    known: &TokenView,
    until: Option<UnixTime>,
) -> Vec<FieldError> {
    let needs_approval = |part: &Part| {
        let wish = Wish { user: &known.token.user, memberships, part, from: setting.now, until };
        !matches!(examine(&setting.policy, &wish), Ok(Ruling::Granted(_)))
    };
    let by_rule = known.grants.iter().filter(|grant| grant.granted_by == Because::Rule.as_str());
    by_rule
        .filter(|grant| needs_approval(&grant.part))
        .map(|grant| {
            let message = format!(
                "`{}` grants this without approval to tokens that live shorter only; choose an earlier moment",
                grant.part.owner
            );
            FieldError { field: "expires_at", code: "custom", message }
        })
        .collect()
}

fn regenerate(
    changes: &Changes<'_>,
    setting: &Setting,
    id: i64,
    (renewal, digest): (Renewal, TokenDigest),
) -> Result<TokenView, IssueError> {
    acting_user(changes, setting)?;
    let known = own(changes.reads(), id, &setting.actor.login)?;
    let memberships = changes.reads().memberships(&setting.actor.login)?;
    let parts: Vec<_> = known
        .grants
        .iter()
        .map(|grant| grant.part.clone())
        .chain(known.requests.iter().map(|request| request.part.clone()))
        .collect();
    let mut errors = Vec::new();
    let expires_at = expiry(setting, &parts, renewal.expiry, &mut errors);
    for part in &parts {
        let wish = Wish {
            user: &setting.actor.login,
            memberships: &memberships,
            part,
            from: setting.now,
            until: expires_at,
        };
        if let Err(objections) = examine_lifetime(&setting.policy, &wish) {
            errors.extend(objections.into_iter().map(FieldError::from));
        }
    }
    errors.extend(setting.bound.iter().flat_map(|bound| beyond(bound, &parts, expires_at)));
    errors.extend(outgrown(setting, &memberships, &known, expires_at));
    if !(0..=LONGEST_OVERLAP).contains(&renewal.overlap) {
        let message = format!("expected 0 to {LONGEST_OVERLAP} seconds");
        errors.push(FieldError::invalid("overlap", message));
    }
    if !errors.is_empty() {
        return Err(IssueError::Invalid(errors));
    }
    let overlap_until = (renewal.overlap > 0).then(|| {
        let until = UnixTime(setting.now.0.saturating_add(renewal.overlap));
        known.token.expires_at.map_or(until, |end| until.min(end))
    });
    changes.renew_token(id, &NewSecret { digest, at: setting.now, expires_at, overlap_until })?;
    let renewed = view(changes.reads(), id)?;
    Event::of("personal_access_token.credential_regenerated", &renewed.token)
        .with("previous_hashed_token", crate::store::audit::hashed_token(&known.token.digest))
        .with_some("previous_works_until", overlap_until.map(|moment| moment.0))
        .with_some("token_expires_at", expires_at.map(|moment| moment.0))
        .note(changes, setting)?;
    Ok(renewed)
}
