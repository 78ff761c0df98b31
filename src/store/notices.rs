//! What users are told of their tokens by themselves: that one expires, and that one is used from elsewhere; and what
//! has been told already.

use rusqlite::{OptionalExtension, Result, params};

use crate::domain::grant::UnixTime;
use crate::domain::network::Network;
use crate::domain::token::TokenDigest;
use crate::store::error::StoreError;
use crate::store::{Changes, Reads};

const DAY: i64 = 24 * 60 * 60;

/// For how long after its expiry a token is told of as expired, seconds: a week, so that one that expired while the
/// gateway was down is, and old ones are not where the first webhook comes.
const LATE: i64 = 7 * DAY;

/// Networks of one token that are remembered. Of more, those where it was used longest ago are forgotten.
const MOST_NETWORKS: i64 = 256;

/// A token of which something is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiring {
    /// Its number.
    pub token_id: i64,
    /// The digest of its secret.
    pub digest: TokenDigest,
    /// Within how many days it expires: 14, 3 or 1; 0 where it has.
    pub days: i64,
}

/// What is known of a network that a token is used from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// The token was never used before.
    First,
    /// It was used from there before.
    Before,
    /// It was used from elsewhere only.
    Elsewhere,
}

impl Reads<'_> {
    /// Tokens that expire within 14, 3 or 1 days, or have expired, and of whose secret that was not told yet, at most
    /// `limit` of them. What was to live for no longer than that anyway is not told.
    ///
    /// # Errors
    /// The database's.
    pub fn expiring(self, now: UnixTime, limit: usize) -> Result<Vec<Expiring>, StoreError> {
        let sql = format!(
            "SELECT id, digest, stage FROM
                 (SELECT t.id, t.digest, t.expires_at - t.issued_at AS life, n.digest AS told, n.days AS told_days,
                      CASE WHEN t.expires_at <= ?1 THEN 0 WHEN t.expires_at <= ?1 + {DAY} THEN 1
                          WHEN t.expires_at <= ?1 + 3 * {DAY} THEN 3 ELSE 14 END AS stage
                  FROM tokens t LEFT JOIN notices n ON n.token_id = t.id
                  WHERE t.revoked_at IS NULL AND t.expires_at > ?1 - {LATE} AND t.expires_at <= ?1 + 14 * {DAY})
             WHERE (told IS NULL OR told <> digest OR told_days > stage) AND life > stage * {DAY}
             ORDER BY id LIMIT {limit}"
        );
        let mut statement = self.0.prepare_cached(&sql)?;
        let rows = statement.query_map([now], |row| {
            Ok(Expiring { token_id: row.get(0)?, digest: row.get(1)?, days: row.get(2)? })
        })?;
        Ok(rows.collect::<Result<_>>()?)
    }

    /// The number of the token with this public id.
    ///
    /// # Errors
    /// The database's.
    pub fn token_of_public_id(self, public_id: &str) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT id FROM tokens WHERE public_id = ?1";
        Ok(self.0.prepare_cached(sql)?.query_row([public_id], |row| row.get(0)).optional()?)
    }
}

impl Changes<'_> {
    /// Notes that `expiring` was told.
    ///
    /// # Errors
    /// The database's.
    pub fn note_expiring(&self, expiring: &Expiring) -> Result<(), StoreError> {
        self.0
            .prepare_cached("INSERT OR REPLACE INTO notices (token_id, digest, days) VALUES (?1, ?2, ?3)")?
            .execute(params![expiring.token_id, expiring.digest, expiring.days])?;
        Ok(())
    }

    /// Notes that a token was used from `network`; gives what was known before.
    ///
    /// # Errors
    /// The database's.
    pub fn note_network(&self, token_id: i64, network: Network, at: UnixTime) -> Result<Seen, StoreError> {
        let network = network.to_string();
        let known = self
            .0
            .prepare_cached("UPDATE networks SET seen_at = ?3 WHERE token_id = ?1 AND network = ?2")?
            .execute(params![token_id, network, at])?;
        if known > 0 {
            return Ok(Seen::Before);
        }
        let others: i64 = self
            .0
            .prepare_cached("SELECT count(*) FROM networks WHERE token_id = ?1")?
            .query_row([token_id], |row| row.get(0))?;
        self.0
            .prepare_cached("INSERT INTO networks (token_id, network, seen_at) VALUES (?1, ?2, ?3)")?
            .execute(params![token_id, network, at])?;
        if others >= MOST_NETWORKS {
            self.0
                .prepare_cached(
                    "DELETE FROM networks WHERE token_id = ?1 AND network = (SELECT network FROM networks
                     WHERE token_id = ?1 AND network <> ?2 ORDER BY seen_at LIMIT 1)",
                )?
                .execute(params![token_id, network])?;
        }
        Ok(if others == 0 { Seen::First } else { Seen::Elsewhere })
    }
}
