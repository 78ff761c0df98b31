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
    /// What they are at organizations by these groups.
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

/// What whoever a provider signed in, in these groups, is at organizations; `None` where that cannot be said.
pub type GroupMapping = Arc<dyn Fn(Option<&str>, Option<&[String]>) -> Option<Memberships> + Send + Sync>;

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
fn others(reads: Reads<'_>, mapping: &GroupMapping) -> Result<Vec<(ProvidedRow, Memberships)>, StoreError> {
    let made = |row: ProvidedRow| {
        let made = mapping(row.provider.as_deref(), row.groups.as_deref())?;
        (made != row.memberships).then_some((row, made))
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
        set_roles(changes, setting, (row.id, &row.login), (row.provider.as_deref(), made))?;
    }
    Ok(others.len())
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
    changes.set_provider(user.id, (&person.provider, &person.subject), &person.groups)?;
    let provider = Some(person.provider.as_str());
    if changes.reads().memberships(&user.login)? != person.memberships {
        set_roles(changes, &setting, (user.id, &user.login), (provider, &person.memberships))?;
    }
    if let Some(administrator) =
        person.administrator.filter(|administrator| *administrator != user.administrator)
    {
        changes.set_administrator(user.id, administrator)?;
        let action = if administrator { "user.promote" } else { "user.demote" };
        Event::new(action).to(&user.login).with_some("provider", provider).note(changes, &setting)?;
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
