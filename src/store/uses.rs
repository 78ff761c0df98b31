//! When tokens were used last, and which nobody uses.

use rusqlite::{Result, params};

use crate::domain::grant::UnixTime;
use crate::store::error::StoreError;
use crate::store::rows::LastUse;
use crate::store::{Changes, Reads};

impl Changes<'_> {
    /// Notes the last use of the token with this public id, unless a later one is known.
    ///
    /// # Errors
    /// The database's.
    pub fn note_use(&self, public_id: &str, last: &LastUse) -> Result<(), StoreError> {
        self.0
            .prepare_cached(
                "UPDATE tokens SET last_used_at = ?2, last_used_from = ?3, last_used_by = ?4
                 WHERE public_id = ?1 AND (last_used_at IS NULL OR last_used_at <= ?2)",
            )?
            .execute(params![public_id, last.at, last.from, last.by])?;
        Ok(())
    }

    /// Says whether uses are noted from `at` on; what was not noted is not held against a token later.
    ///
    /// # Errors
    /// The database's.
    pub fn note_uses_from(&self, at: Option<UnixTime>) -> Result<(), StoreError> {
        match at {
            Some(at) => {
                self.0.execute("INSERT OR IGNORE INTO sequences VALUES ('uses_since', ?1)", [at])?;
            }
            None => {
                self.0.execute("DELETE FROM sequences WHERE name = 'uses_since'", [])?;
            }
        }
        Ok(())
    }
}

impl Reads<'_> {
    /// Tokens that were made and used before `since` for the last time, at most `limit` of them.
    ///
    /// # Errors
    /// The database's.
    pub fn unused_since(self, since: UnixTime, limit: usize) -> Result<Vec<i64>, StoreError> {
        let sql = format!(
            "SELECT id FROM tokens WHERE revoked_at IS NULL AND issued_at < ?1
             AND (last_used_at IS NULL OR last_used_at < ?1)
             AND ?1 >= (SELECT value FROM sequences WHERE name = 'uses_since') ORDER BY id LIMIT {limit}"
        );
        let mut statement = self.0.prepare(&sql)?;
        let rows = statement.query_map([since], |row| row.get(0))?;
        Ok(rows.collect::<Result<_>>()?)
    }
}
