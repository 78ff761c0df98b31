//! Users whom a provider signs in.
//!
//! A user is known by the provider and by what it calls them for ever. Their login is claimed once, and stays: another person
//! never gets it by being renamed, nor by another provider, nor the login of a user with a password.

use crate::domain::membership::Memberships;
use crate::issuer::note::Event;
use crate::issuer::users::{Session, is_login};
use crate::issuer::{IssueError, Issuer, Setting};
use crate::store::Changes;
use crate::store::rows::UserRow;

/// Someone, by a provider's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provided {
    /// The provider's name.
    pub provider: String,
    /// What it calls them, for ever.
    pub subject: String,
    /// The login that it claims for them.
    pub login: String,
    /// What they are at organizations.
    pub memberships: Memberships,
    /// Whether they administer the gateway; `None` leaves it as it is.
    pub administrator: Option<bool>,
}

impl Issuer {
    /// Begins a session for someone whom a provider signed in; they are made where they are new, and become what the provider
    /// says.
    ///
    /// # Errors
    /// [`IssueError::Forbidden`]: the login is none, or another's; the user is suspended.
    ///
    /// # Cancel safety
    /// As [`Issuer::sign_in`].
    pub async fn sign_in_provided(
        &self,
        mut setting: Setting,
        person: Provided,
    ) -> Result<Session, IssueError> {
        let first = setting.clone();
        let user = self.change(move |changes| settle(changes, first, &person)).await?;
        setting.actor.login.clone_from(&user.login);
        self.begin_session(setting, user).await
    }
}

/// The user who `person` is, with what the provider says of them.
fn settle(changes: &Changes<'_>, mut setting: Setting, person: &Provided) -> Result<UserRow, IssueError> {
    let (user, is_new) = find(changes, &setting, person)?;
    if user.suspended_at.is_some() {
        return Err(IssueError::Forbidden(format!("the user `{}` is suspended", user.login)));
    }
    setting.actor.login.clone_from(&user.login);
    if is_new {
        Event::new("user.create")
            .to(&user.login)
            .with("provider", person.provider.as_str())
            .note(changes, &setting)?;
    }
    changes.set_provider(user.id, &person.provider, &person.subject)?;
    if changes.reads().memberships(&user.login)? != person.memberships {
        changes.set_memberships(user.id, &person.memberships)?;
        let roles =
            person.memberships.iter().map(|(organization, role)| format!("{organization}:{}", role.as_str()));
        Event::new("user.change_roles")
            .to(&user.login)
            .with("provider", person.provider.as_str())
            .with("roles", roles.collect::<Vec<_>>())
            .note(changes, &setting)?;
    }
    if let Some(administrator) =
        person.administrator.filter(|administrator| *administrator != user.administrator)
    {
        changes.set_administrator(user.id, administrator)?;
        let action = if administrator { "user.promote" } else { "user.demote" };
        Event::new(action)
            .to(&user.login)
            .with("provider", person.provider.as_str())
            .note(changes, &setting)?;
    }
    changes.reads().user(&user.login)?.ok_or(IssueError::NotFound)
}

/// The user, and whether they were made just now.
fn find(changes: &Changes<'_>, setting: &Setting, person: &Provided) -> Result<(UserRow, bool), IssueError> {
    if let Some(login) = changes.reads().login_of(&person.provider, &person.subject)? {
        return Ok((changes.reads().user(&login)?.ok_or(IssueError::NotFound)?, false));
    }
    let login = person.login.as_str();
    if !is_login(login) {
        let message = "the provider's name for you is no login: expected 1 to 100 letters, digits, `.`, `_`, `-`, `+` and `@`";
        return Err(IssueError::Forbidden(message.to_owned()));
    }
    let known = changes.reads().user(login)?;
    if let Some(known) = &known
        && (known.password.is_some() || changes.reads().is_provided(known.id)?)
    {
        let message = format!("the login `{}` is another user's; ask an administrator", known.login);
        return Err(IssueError::Forbidden(message));
    }
    Ok((changes.user(login, setting.now)?, known.is_none()))
}
