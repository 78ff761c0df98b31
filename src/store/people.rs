//! Users, their sessions, and the numbers that names have in the API.

use rusqlite::{OptionalExtension, Result, Row, params};

use crate::domain::grant::UnixTime;
use crate::domain::token::TokenDigest;
use crate::store::error::StoreError;
use crate::store::follow::Person;
use crate::store::rows::UserRow;
use crate::store::{Changes, Reads};

const USER_COLUMNS: &str = "id, login, password, administrator, suspended_at, created_at";

/// What has a number in the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// A resource owner.
    Owner,
    /// A repository, as `owner/name`.
    Repository,
}

impl Named {
    fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Repository => "repository",
        }
    }
}

fn user(row: &Row<'_>) -> Result<UserRow> {
    Ok(UserRow {
        id: row.get(0)?,
        login: row.get(1)?,
        password: row.get(2)?,
        administrator: row.get(3)?,
        suspended_at: row.get(4)?,
        created_at: row.get(5)?,
    })
}

impl Reads<'_> {
    /// The user with this login, in any case.
    ///
    /// # Errors
    /// The database's.
    pub fn user(self, login: &str) -> Result<Option<UserRow>, StoreError> {
        let sql = format!("SELECT {USER_COLUMNS} FROM users WHERE login_key = ?1");
        Ok(self.0.prepare_cached(&sql)?.query_row([login.to_ascii_lowercase()], user).optional()?)
    }

    /// Every user, by login.
    ///
    /// # Errors
    /// The database's.
    pub fn users(self) -> Result<Vec<UserRow>, StoreError> {
        let sql = format!("SELECT {USER_COLUMNS} FROM users ORDER BY login_key");
        let mut statement = self.0.prepare_cached(&sql)?;
        let rows = statement.query_map([], user)?;
        Ok(rows.collect::<Result<_>>()?)
    }

    /// Everyone whose tokens are judged by more than what they were granted.
    ///
    /// # Errors
    /// The database's.
    pub fn people(self) -> Result<Vec<Person>, StoreError> {
        Ok(self.people_since(None)?)
    }

    /// Whose session has this digest, where it has not ended at `now`.
    ///
    /// # Errors
    /// The database's.
    pub fn session(self, digest: &TokenDigest, now: UnixTime) -> Result<Option<UserRow>, StoreError> {
        let sql = format!(
            "SELECT {USER_COLUMNS} FROM users WHERE id = (SELECT user_id FROM sessions WHERE digest = ?1 AND expires_at > ?2)"
        );
        Ok(self.0.prepare_cached(&sql)?.query_row(params![digest, now], user).optional()?)
    }

    /// The number of a name, where it has one.
    ///
    /// # Errors
    /// The database's.
    pub fn number(self, kind: Named, name: &str) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT id FROM names WHERE kind = ?1 AND name_key = ?2";
        let key = name.to_ascii_lowercase();
        Ok(self.0.prepare_cached(sql)?.query_row([kind.as_str(), &key], |row| row.get(0)).optional()?)
    }
}

impl Changes<'_> {
    /// The user with this login, who is made where there is none.
    ///
    /// # Errors
    /// The database's.
    pub fn user(&self, login: &str, at: UnixTime) -> Result<UserRow, StoreError> {
        if let Some(known) = self.reads().user(login)? {
            return Ok(known);
        }
        self.0
            .prepare_cached("INSERT INTO users (login, login_key, created_at) VALUES (?1, ?2, ?3)")?
            .execute(params![login, login.to_ascii_lowercase(), at])?;
        Ok(UserRow {
            id: self.0.last_insert_rowid(),
            login: login.to_owned(),
            password: None,
            administrator: false,
            suspended_at: None,
            created_at: at,
        })
    }

    /// Sets a user's password, as its hash. Sessions end.
    ///
    /// # Errors
    /// The database's.
    pub fn set_password(&self, user_id: i64, hash: Option<&str>) -> Result<(), StoreError> {
        self.0
            .prepare_cached("UPDATE users SET password = ?2 WHERE id = ?1")?
            .execute(params![user_id, hash])?;
        self.end_sessions_of(user_id)
    }

    /// Says whether a user administers the gateway.
    ///
    /// # Errors
    /// The database's.
    pub fn set_administrator(&self, user_id: i64, administrator: bool) -> Result<(), StoreError> {
        self.0
            .prepare_cached("UPDATE users SET administrator = ?2 WHERE id = ?1")?
            .execute(params![user_id, administrator])?;
        Ok(())
    }

    /// Suspends a user: sessions end, and tokens work no more until `at` is `None` again.
    ///
    /// # Errors
    /// The database's.
    pub fn set_suspended(&self, user_id: i64, at: Option<UnixTime>) -> Result<(), StoreError> {
        self.0
            .prepare_cached("UPDATE users SET suspended_at = ?2, change = ?3 WHERE id = ?1")?
            .execute(params![user_id, at, self.next_change()?])?;
        self.end_sessions_of(user_id)?;
        self.touch_tokens_of(user_id)
    }

    /// Begins a session, and forgets those that have ended.
    ///
    /// # Errors
    /// The database's.
    pub fn add_session(
        &self,
        user_id: i64,
        digest: &TokenDigest,
        (at, expires_at): (UnixTime, UnixTime),
    ) -> Result<(), StoreError> {
        self.0.prepare_cached("DELETE FROM sessions WHERE expires_at <= ?1")?.execute([at])?;
        self.0
            .prepare_cached(
                "INSERT INTO sessions (digest, user_id, created_at, expires_at) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![digest, user_id, at, expires_at])?;
        Ok(())
    }

    /// Ends a session.
    ///
    /// # Errors
    /// The database's.
    pub fn end_session(&self, digest: &TokenDigest) -> Result<(), StoreError> {
        self.0.prepare_cached("DELETE FROM sessions WHERE digest = ?1")?.execute([digest])?;
        Ok(())
    }

    fn end_sessions_of(&self, user_id: i64) -> Result<(), StoreError> {
        self.0.prepare_cached("DELETE FROM sessions WHERE user_id = ?1")?.execute([user_id])?;
        Ok(())
    }

    /// Gives a name a number, where it has none.
    ///
    /// # Errors
    /// The database's.
    pub fn give_number(&self, kind: Named, name: &str) -> Result<i64, StoreError> {
        if let Some(known) = self.reads().number(kind, name)? {
            return Ok(known);
        }
        self.0
            .prepare_cached("INSERT INTO names (kind, name, name_key) VALUES (?1, ?2, ?3)")?
            .execute(params![kind.as_str(), name, name.to_ascii_lowercase()])?;
        Ok(self.0.last_insert_rowid())
    }
}
