//! Users whom a provider signs in.
//!
//! A user is known by the provider and by what it calls them for ever. Their login is claimed once, and stays: another person
//! never gets it by being renamed, nor by another provider, nor the login of a user with a password.

use crate::domain::membership::{Memberships, Role};
use crate::issuer::note::Event;
use crate::issuer::users::{Session, is_login};
use crate::issuer::{IssueError, Issuer, Setting};
use crate::store::memberships::ProvidedRow;
use crate::store::rows::UserRow;
use crate::store::{Changes, Reads};

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

impl Issuer {
    /// Takes from users what they are by a provider's word that it could not give any more: `gives` says what each provider
    /// makes of people. Without that, what a configuration gave once would last as long as nobody signs in again. Gives how
    /// many users lose something. Waits on the caller's thread.
    ///
    /// # Errors
    /// [`IssueError::Store`]; nothing has changed then.
    pub fn take_back_roles(
        &self,
        setting: Setting,
        gives: impl Fn(&str, &str, Role) -> bool + Send + 'static,
    ) -> Result<usize, IssueError> {
        let left = move |row: &ProvidedRow| {
            let keeps = |organization: &str, role| {
                row.provider.as_deref().is_some_and(|provider| gives(provider, organization, role))
            };
            row.memberships.filtered(keeps)
        };
        let people = self.store.read_now(|reads: Reads<'_>| reads.provided())?;
        if people.iter().all(|row| left(row) == row.memberships) {
            return Ok(0);
        }
        self.store.write_now(move |changes| {
            let mut count = 0;
            for row in changes.reads().provided()? {
                let left = left(&row);
                if left != row.memberships {
                    set_roles(changes, &setting, (row.id, &row.login), (row.provider.as_deref(), &left))?;
                    count += 1;
                }
            }
            Ok(count)
        })
    }
}

/// Makes of a user what `memberships` say, by the word of `provider`.
fn set_roles(
    changes: &Changes<'_>,
    setting: &Setting,
    (user_id, login): (i64, &str),
    (provider, memberships): (Option<&str>, &Memberships),
) -> Result<(), IssueError> {
    changes.set_memberships(user_id, memberships)?;
    let roles = memberships.iter().map(|(organization, role)| format!("{organization}:{}", role.as_str()));
    Event::new("user.change_roles")
        .to(login)
        .with_some("provider", provider)
        .with("roles", roles.collect::<Vec<_>>())
        .note(changes, setting)
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
        let by = (Some(person.provider.as_str()), &person.memberships);
        set_roles(changes, &setting, (user.id, &user.login), by)?;
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
