//! Who signed a user in, and what they made of them at organizations.

use rusqlite::{OptionalExtension, Params, Result, Statement, params, params_from_iter};

use crate::domain::membership::{Memberships, Role};
use crate::store::error::StoreError;
use crate::store::follow::Person;
use crate::store::{Changes, Reads};

/// A user whom a provider signed in, or who is something at an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvidedRow {
    /// The user's number.
    pub id: i64,
    /// Their login.
    pub login: String,
    /// Who signed them in.
    pub provider: Option<String>,
    /// In which groups they were then, of those that made something of them; `None` where that is not known.
    pub groups: Option<Vec<String>>,
    /// What they are.
    pub memberships: Memberships,
}

impl Reads<'_> {
    /// What the user with this login, in any case, is at organizations by their last sign-in.
    ///
    /// # Errors
    /// The database's.
    pub fn memberships(self, login: &str) -> Result<Memberships, StoreError> {
        let sql = "SELECT org_key, role FROM memberships WHERE user_id = (SELECT id FROM users WHERE login_key = ?1)";
        let mut roles = self.0.prepare_cached(sql)?;
        Ok(collect(&mut roles, [login.to_ascii_lowercase()])?)
    }

    /// Everyone of whom there is more to know than their login, and who has changed above `seen`; the others too, where they
    /// have.
    pub(super) fn people_since(self, seen: Option<i64>) -> Result<Vec<Person>> {
        let everyone = "SELECT id, login_key, suspended_at IS NOT NULL FROM users \
            WHERE suspended_at IS NOT NULL OR id IN (SELECT user_id FROM memberships)";
        let changed = "SELECT id, login_key, suspended_at IS NOT NULL FROM users WHERE change > ?1";
        let mut users = self.0.prepare_cached(if seen.is_some() { changed } else { everyone })?;
        let mut roles = self.0.prepare_cached("SELECT org_key, role FROM memberships WHERE user_id = ?1")?;
        let mut rows = users.query(params_from_iter(seen))?;
        let mut people = Vec::new();
        while let Some(row) = rows.next()? {
            let memberships = collect(&mut roles, [row.get::<_, i64>(0)?])?;
            people.push(Person { login: row.get(1)?, suspended: row.get(2)?, memberships });
        }
        Ok(people)
    }

    /// Everyone whom a provider signed in, or who is something at an organization.
    ///
    /// # Errors
    /// The database's.
    pub fn provided(self) -> Result<Vec<ProvidedRow>, StoreError> {
        let sql = "SELECT id, login, provider, group_names FROM users \
            WHERE provider IS NOT NULL OR id IN (SELECT user_id FROM memberships) ORDER BY id";
        let mut users = self.0.prepare_cached(sql)?;
        let mut roles = self.0.prepare_cached("SELECT org_key, role FROM memberships WHERE user_id = ?1")?;
        let mut rows = users.query([])?;
        let mut people = Vec::new();
        while let Some(row) = rows.next()? {
            let id = row.get(0)?;
            let groups: Option<String> = row.get(3)?;
            people.push(ProvidedRow {
                id,
                login: row.get(1)?,
                provider: row.get(2)?,
                groups: groups.and_then(|groups| serde_json::from_str(&groups).ok()),
                memberships: collect(&mut roles, [id])?,
            });
        }
        Ok(people)
    }

    /// The login of the user whom `provider` calls `subject`.
    ///
    /// # Errors
    /// The database's.
    pub fn login_of(self, provider: &str, subject: &str) -> Result<Option<String>, StoreError> {
        let sql = "SELECT login FROM users WHERE provider = ?1 AND subject = ?2";
        Ok(self.0.prepare_cached(sql)?.query_row([provider, subject], |row| row.get(0)).optional()?)
    }

    /// Whether a provider made the user, or took them over.
    ///
    /// # Errors
    /// The database's.
    pub fn is_provided(self, user_id: i64) -> Result<bool, StoreError> {
        let sql = "SELECT provider IS NOT NULL FROM users WHERE id = ?1";
        Ok(self.0.prepare_cached(sql)?.query_row([user_id], |row| row.get(0)).optional()?.unwrap_or(false))
    }
}

/// The memberships that `statement` gives: organization and role.
fn collect(statement: &mut Statement<'_>, of: impl Params) -> Result<Memberships> {
    let mut rows = statement.query(of)?;
    let mut memberships = Memberships::default();
    while let Some(row) = rows.next()? {
        let (organization, word): (String, String) = (row.get(0)?, row.get(1)?);
        // A word of a newer version gives nothing here.
        if let Some(role) = Role::parse(&word) {
            memberships.add(&organization, role);
        }
    }
    Ok(memberships)
}

impl Changes<'_> {
    /// Says by whom, and as what, a user is signed in, and in which groups.
    ///
    /// # Errors
    /// The database's.
    pub fn set_provider(
        &self,
        user_id: i64,
        (provider, subject): (&str, &str),
        groups: &[String],
    ) -> Result<(), StoreError> {
        let groups = serde_json::to_string(groups).unwrap_or_default();
        self.0
            .prepare_cached("UPDATE users SET provider = ?2, subject = ?3, group_names = ?4 WHERE id = ?1")?
            .execute(params![user_id, provider, subject, groups])?;
        Ok(())
    }

    /// Replaces all that a user is at organizations.
    ///
    /// # Errors
    /// The database's.
    pub fn set_memberships(&self, user_id: i64, memberships: &Memberships) -> Result<(), StoreError> {
        self.0.prepare_cached("DELETE FROM memberships WHERE user_id = ?1")?.execute([user_id])?;
        let sql = "INSERT INTO memberships (org_key, user_id, role) VALUES (?1, ?2, ?3)";
        let mut statement = self.0.prepare_cached(sql)?;
        for (organization, role) in memberships.iter() {
            statement.execute(params![organization, user_id, role.as_str()])?;
        }
        self.0
            .prepare_cached("UPDATE users SET change = ?2 WHERE id = ?1")?
            .execute(params![user_id, self.next_change()?])?;
        Ok(())
    }
}
