//! Users whom a provider signs in.
//!
//! A user is known by the provider and by what it calls them for ever. Their login is claimed once, and stays: another person
//! never gets it by being renamed, nor by another provider, nor the login of a user with a password.

use std::sync::Arc;

use crate::domain::membership::Memberships;
use crate::issuer::note::Event;
use crate::issuer::users::{Session, is_login};
use crate::issuer::{IssueError, Issuer, Setting};
use crate::store::error::StoreError;
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
    /// Their groups, as far as something is made of them.
    pub groups: Vec<String>,
    /// What is made of them.
    pub made: Made,
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

/// What a provider's groups make of someone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// What they are at organizations.
    pub memberships: Memberships,
    /// Whether they administer the gateway; `None` leaves it as it is.
    pub administrator: Option<bool>,
}

/// What is made of whoever a provider signed in, in these groups.
pub type GroupMapping = Arc<dyn Fn(Option<&str>, &[String]) -> Made + Send + Sync>;

impl Issuer {
    /// Makes of users what `mapping` makes of the groups in which they were when they signed in last: what it gave at that
    /// time would otherwise last as long as nobody signs in again. Gives how many users become something else.
    ///
    /// # Errors
    /// [`IssueError::Store`]; nothing has changed then.
    ///
    /// # Cancel safety
    /// What has begun in the store goes on to its end.
    pub async fn apply_groups(&self, setting: Setting, mapping: GroupMapping) -> Result<usize, IssueError> {
        let differ = Arc::clone(&mapping);
        let others = self.store.read(move |reads| Ok::<_, IssueError>(others(reads, &differ)?.len())).await?;
        if others == 0 {
            return Ok(0);
        }
        self.change(move |changes| apply_groups(changes, &setting, &mapping)).await
    }

    /// As [`Self::apply_groups`], on the caller's thread.
    ///
    /// # Errors
    /// As [`Self::apply_groups`].
    pub fn apply_groups_now(&self, setting: Setting, mapping: GroupMapping) -> Result<usize, IssueError> {
        let others = self.store.read_now(|reads| Ok::<_, IssueError>(others(reads, &mapping)?.len()))?;
        if others == 0 {
            return Ok(0);
        }
        self.store.write_now(move |changes| apply_groups(changes, &setting, &mapping))
    }
}

/// Those of whom `mapping` makes something else than they are, and what.
fn others(reads: Reads<'_>, mapping: &GroupMapping) -> Result<Vec<(ProvidedRow, Made)>, StoreError> {
    let made = |row: ProvidedRow| {
        let made = mapping(row.provider.as_deref(), &row.groups);
        let same = made.memberships == row.memberships
            && made.administrator.is_none_or(|administrator| administrator == row.administrator);
        (!same).then_some((row, made))
    };
    Ok(reads.provided()?.into_iter().filter_map(made).collect())
}

fn apply_groups(
    changes: &Changes<'_>,
    setting: &Setting,
    mapping: &GroupMapping,
) -> Result<usize, IssueError> {
    let others = others(changes.reads(), mapping)?;
    for (row, made) in &others {
        let was = (&row.memberships, row.administrator);
        become_made(changes, setting, (row.id, &row.login), (row.provider.as_deref(), was, made))?;
    }
    Ok(others.len())
}

/// Makes a user what `made` says, by the word of a provider, where they `were` something else.
fn become_made(
    changes: &Changes<'_>,
    setting: &Setting,
    (user_id, login): (i64, &str),
    (provider, (were, administered), made): (Option<&str>, (&Memberships, bool), &Made),
) -> Result<(), IssueError> {
    if made.memberships != *were {
        changes.set_memberships(user_id, &made.memberships)?;
        let roles =
            made.memberships.iter().map(|(organization, role)| format!("{organization}:{}", role.as_str()));
        Event::new("user.change_roles")
            .to(login)
            .with_some("provider", provider)
            .with("roles", roles.collect::<Vec<_>>())
            .note(changes, setting)?;
    }
    if let Some(administrator) = made.administrator.filter(|administrator| *administrator != administered) {
        changes.set_administrator(user_id, administrator)?;
        let action = if administrator { "user.promote" } else { "user.demote" };
        Event::new(action).to(login).with_some("provider", provider).note(changes, setting)?;
    }
    Ok(())
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
    changes.set_provider(user.id, (&person.provider, &person.subject), &person.groups)?;
    let were = changes.reads().memberships(&user.login)?;
    let was = (&were, user.administrator);
    become_made(changes, &setting, (user.id, &user.login), (Some(&person.provider), was, &person.made))?;
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
