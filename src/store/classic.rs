//! Who still uses credentials that hosts issued, on what: to be looked at before an organization forbids them.

use rusqlite::{Result, params};

use crate::domain::grant::UnixTime;
use crate::store::error::StoreError;
use crate::store::rows::LastUse;
use crate::store::{Changes, Reads};

/// Entries that are kept: whoever presents junk must not fill the disk. The oldest go first.
const MOST: i64 = 100_000;

/// The use of one credential at one resource owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassicUse {
    /// The digest of the credential, in base64.
    pub digest: String,
    /// The upstream.
    pub upstream: String,
    /// The resource owner concerned; empty where that is not known.
    pub owner: String,
    /// How often.
    pub times: i64,
    /// When it was used first.
    pub first_used_at: UnixTime,
    /// When, from where and how it was used last.
    pub last: LastUse,
}

impl Changes<'_> {
    /// Notes uses of a credential: its digest in base64, the upstream, the resource owner.
    ///
    /// # Errors
    /// The database's.
    pub fn note_classic_use(
        &self,
        (digest, upstream, owner): (&str, &str, &str),
        times: u64,
        last: &LastUse,
    ) -> Result<(), StoreError> {
        let times = i64::try_from(times).unwrap_or(i64::MAX);
        self.0
            .prepare_cached(
                "INSERT INTO classic_uses (digest, upstream, owner_key, times, first_used_at, last_used_at, last_used_from, last_used_by)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, ?7)
                 ON CONFLICT (digest, upstream, owner_key) DO UPDATE SET times = times + ?4, last_used_at = ?5,
                 last_used_from = ?6, last_used_by = ?7",
            )?
            .execute(params![digest, upstream, owner, times, last.at, last.from, last.by])?;
        Ok(())
    }

    /// Lets go of the oldest uses, where there are more than are kept.
    ///
    /// # Errors
    /// The database's.
    pub fn trim_classic_uses(&self) -> Result<(), StoreError> {
        self.0
            .prepare_cached(
                "DELETE FROM classic_uses WHERE (digest, upstream, owner_key) IN (
                     SELECT digest, upstream, owner_key FROM classic_uses ORDER BY last_used_at
                     LIMIT max(0, (SELECT count(*) FROM classic_uses) - ?1))",
            )?
            .execute([MOST])?;
        Ok(())
    }
}

impl Reads<'_> {
    /// Uses at a resource owner, or at all of them; the latest first, at most `limit`.
    ///
    /// # Errors
    /// The database's.
    pub fn classic_uses(self, owner: Option<&str>, limit: usize) -> Result<Vec<ClassicUse>, StoreError> {
        let sql = format!(
            "SELECT digest, upstream, owner_key, times, first_used_at, last_used_at, last_used_from, last_used_by
             FROM classic_uses WHERE ?1 IS NULL OR owner_key = ?1 ORDER BY last_used_at DESC LIMIT {limit}"
        );
        let mut statement = self.0.prepare_cached(&sql)?;
        let rows = statement.query_map([owner.map(str::to_ascii_lowercase)], |row| {
            Ok(ClassicUse {
                digest: row.get(0)?,
                upstream: row.get(1)?,
                owner: row.get(2)?,
                times: row.get(3)?,
                first_used_at: row.get(4)?,
                last: LastUse { at: row.get(5)?, from: row.get(6)?, by: row.get(7)? },
            })
        })?;
        Ok(rows.collect::<Result<_>>()?)
    }
}
