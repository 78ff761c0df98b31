//! The end of a token: deleted by its user, given up by whoever holds its text, or unused for too long.

use std::time::Duration;

use crate::domain::grant::UnixTime;
use crate::domain::token::TokenDigest;
use crate::issuer::edit::cancel;
use crate::issuer::note::Event;
use crate::issuer::{IssueError, Issuer, Setting, TokenView, own, view};
use crate::store::Changes;
use crate::store::rows::Revoked;

/// Unused tokens that are taken back in one transaction.
const AT_ONCE: usize = 1000;

impl Issuer {
    /// Deletes one of the acting user's tokens. It works no more when this returns.
    ///
    /// # Errors
    /// [`IssueError`].
    ///
    /// # Cancel safety
    /// It is deleted though nobody waits for it.
    pub async fn delete(&self, setting: Setting, id: i64) -> Result<(), IssueError> {
        let delete = move |changes: &Changes<'_>, setting: &Setting| {
            let known = own(changes.reads(), id, &setting.actor.login)?;
            end(changes, setting, &known, ("personal_access_token.destroy", "deleted by its user"))
        };
        self.act(setting, delete).await
    }

    /// Takes any token back: for administrators.
    ///
    /// # Errors
    /// [`IssueError`].
    ///
    /// # Cancel safety
    /// It is taken back though nobody waits for it.
    pub async fn revoke(&self, setting: Setting, id: i64, why: String) -> Result<(), IssueError> {
        let revoke = move |changes: &Changes<'_>, setting: &Setting| {
            let known = view(changes.reads(), id)?;
            if known.token.revoked.is_some() {
                return Err(IssueError::NotFound);
            }
            end(changes, setting, &known, ("personal_access_token.credential_revoked", &why))
        };
        self.act(setting, revoke).await
    }

    /// Takes back tokens that nobody has used for `unused`, nor made anew. Gives how many.
    ///
    /// # Errors
    /// [`IssueError`].
    ///
    /// # Cancel safety
    /// They are taken back though nobody waits for it.
    pub async fn take_back_unused(&self, setting: Setting, unused: Duration) -> Result<usize, IssueError> {
        let take_back = move |changes: &Changes<'_>| {
            let unused = i64::try_from(unused.as_secs()).unwrap_or(i64::MAX);
            let found =
                changes.reads().unused_since(UnixTime(setting.now.0.saturating_sub(unused)), AT_ONCE)?;
            for id in &found {
                let known = view(changes.reads(), *id)?;
                let why = "nobody used it for too long";
                end(changes, &setting, &known, ("personal_access_token.destroy", why))?;
            }
            Ok(found.len())
        };
        self.change(take_back).await
    }

    /// Takes back every token of which one of `digests` is a secret that works; the rest is nobody's business. Gives how
    /// many there were.
    ///
    /// # Errors
    /// [`IssueError`].
    ///
    /// # Cancel safety
    /// They are taken back though nobody waits for it.
    pub async fn give_up(&self, setting: Setting, digests: Vec<TokenDigest>) -> Result<usize, IssueError> {
        let give_up = move |changes: &Changes<'_>| {
            let mut count = 0;
            for digest in &digests {
                let Some(token) = changes.reads().token_by_digest(digest)? else { continue };
                let known = view(changes.reads(), token.id)?;
                let works = known.token.revoked.is_none() && is_secret(&known, digest, setting.now);
                if works {
                    let why = "its text was reported as leaked";
                    end(changes, &setting, &known, ("personal_access_token.credential_revoked", why))?;
                    count += 1;
                }
            }
            Ok(count)
        };
        self.change(give_up).await
    }
}

/// Whether `digest` is that of a secret of the token that still counts, rather than one that was replaced.
fn is_secret(known: &TokenView, digest: &TokenDigest, now: UnixTime) -> bool {
    let overlapping =
        known.token.previous.is_some_and(|(previous, until)| previous == *digest && until > now);
    let lives = known.token.expires_at.is_none_or(|moment| moment > now);
    lives && (known.token.digest == *digest || overlapping)
}

fn end(
    changes: &Changes<'_>,
    setting: &Setting,
    known: &TokenView,
    (action, why): (&'static str, &str),
) -> Result<(), IssueError> {
    let revoked = Revoked { at: setting.now, by: setting.actor.login.clone(), why: why.to_owned() };
    changes.revoke_token(known.token.id, &revoked)?;
    Event::of(action, &known.token).with("explanation", why).note(changes, setting)?;
    known.requests.iter().try_for_each(|request| cancel(changes, setting, known, request))
}
