//! Who signed a user in, and what they made of them at organizations.

use rusqlite::{OptionalExtension, Result, params};

use crate::domain::membership::{Memberships, Role};
use crate::store::error::StoreError;
use crate::store::{Changes, Reads};

impl Reads<'_> {
    /// What the user with this login, in any case, is at organizations by their last sign-in.
    ///
    /// # Errors
    /// The database's.
    pub fn memberships(self, login: &str) -> Result<Memberships, StoreError> {
        let sql = "SELECT org_key, role FROM memberships WHERE user_id = (SELECT id FROM users WHERE login_key = ?1)";
        let mut statement = self.0.prepare_cached(sql)?;
        let rows = statement.query_map([login.to_ascii_lowercase()], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        })?;
        let mut memberships = Memberships::default();
        for row in rows {
            let (organization, word) = row?;
            // A word of a newer version gives nothing here.
            if let Some(role) = Role::parse(&word) {
                memberships.add(&organization, role);
            }
        }
        Ok(memberships)
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

impl Changes<'_> {
    /// Says by whom, and as what, a user is signed in.
    ///
    /// # Errors
    /// The database's.
    pub fn set_provider(&self, user_id: i64, provider: &str, subject: &str) -> Result<(), StoreError> {
        self.0
            .prepare_cached("UPDATE users SET provider = ?2, subject = ?3 WHERE id = ?1")?
            .execute(params![user_id, provider, subject])?;
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
        Ok(())
    }
}
