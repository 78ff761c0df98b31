//! Tokens, what was granted to them, and what they wait for.

use rusqlite::{OptionalExtension, Result, Row, Rows, params};

use crate::domain::grant::UnixTime;
use crate::domain::lifecycle::terms::Terms;
use crate::domain::lifecycle::{Part, RequestState, Standing, StoredToken};
use crate::domain::token::TokenDigest;
use crate::store::error::StoreError;
use crate::store::rows::{
    GRANT_COLUMNS, GrantRow, REQUEST_COLUMNS, RequestRow, Revoked, TOKEN_COLUMNS, TokenRow, names_text, part,
    permissions_text,
};
use crate::store::{Change, Changes, Reads};

/// A moment that never comes.
const NEVER: UnixTime = UnixTime(i64::MAX);

/// A token to be made.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// The number of its user.
    pub user_id: i64,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// The part of its text that may be shown.
    pub public_id: String,
    /// The digest of its text.
    pub digest: TokenDigest,
    /// When it is made.
    pub at: UnixTime,
    /// When it stops working.
    pub expires_at: Option<UnixTime>,
}

/// A new secret for a token.
#[derive(Debug, Clone, Copy)]
pub struct NewSecret {
    /// The digest of its text.
    pub digest: TokenDigest,
    /// When it is made.
    pub at: UnixTime,
    /// When it stops working.
    pub expires_at: Option<UnixTime>,
    /// Until when the one before is good; `None` is not at all.
    pub overlap_until: Option<UnixTime>,
}

/// Who decided about a request, and why.
#[derive(Debug, Clone, Copy)]
pub struct Decided<'d> {
    /// What has become of it.
    pub state: RequestState,
    /// When.
    pub at: UnixTime,
    /// By whom.
    pub by: &'d str,
    /// Why.
    pub why: Option<&'d str>,
}

impl Changes<'_> {
    /// Adds a token, and gives its number.
    ///
    /// # Errors
    /// The database's; `SQLITE_CONSTRAINT` where the user has a token of that name.
    pub fn add_token(&self, token: &NewToken) -> Result<i64, StoreError> {
        let change = self.next_change()?;
        self.0
            .prepare_cached(
                "INSERT INTO tokens (user_id, name, description, public_id, digest, created_at, issued_at, expires_at, change)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7, ?8)",
            )?
            .execute(params![
                token.user_id,
                token.name,
                token.description,
                token.public_id,
                token.digest,
                token.at,
                token.expires_at,
                change
            ])?;
        Ok(self.0.last_insert_rowid())
    }

    /// Changes what a token is called and said to be for.
    ///
    /// # Errors
    /// The database's.
    pub fn rename_token(&self, id: i64, name: &str, description: Option<&str>) -> Result<(), StoreError> {
        self.0
            .prepare_cached("UPDATE tokens SET name = ?2, description = ?3 WHERE id = ?1")?
            .execute(params![id, name, description])?;
        self.touch(id)
    }

    /// Gives a token a new secret. The one before is good until the overlap ends, and those before that no more.
    ///
    /// # Errors
    /// The database's.
    pub fn renew_token(&self, id: i64, secret: &NewSecret) -> Result<(), StoreError> {
        let change = self.next_change()?;
        let overlap = secret.overlap_until;
        self.0
            .prepare_cached(
                "INSERT OR REPLACE INTO retired (digest, token_id, change)
                 SELECT previous_digest, id, ?2 FROM tokens WHERE id = ?1 AND previous_digest IS NOT NULL
                 UNION ALL SELECT digest, id, ?2 FROM tokens WHERE id = ?1 AND ?3 IS NULL",
            )?
            .execute(params![id, change, overlap])?;
        self.0
            .prepare_cached(
                "UPDATE tokens SET previous_digest = CASE WHEN ?5 IS NULL THEN NULL ELSE digest END, previous_until = ?5,
                 digest = ?2, issued_at = ?3, expires_at = ?4, change = ?6 WHERE id = ?1",
            )?
            .execute(params![id, secret.digest, secret.at, secret.expires_at, overlap, change])?;
        Ok(())
    }

    /// Takes a token back, for good. Its open requests are for their callers to close.
    ///
    /// # Errors
    /// The database's.
    pub fn revoke_token(&self, id: i64, revoked: &Revoked) -> Result<(), StoreError> {
        self.0
            .prepare_cached(
                "UPDATE tokens SET revoked_at = ?2, revoked_by = ?3, revoked_why = ?4 WHERE id = ?1 AND revoked_at IS NULL",
            )?
            .execute(params![id, revoked.at, revoked.by, revoked.why])?;
        self.touch(id)
    }

    /// Grants `part`, in place of what was granted at the same resource owner; gives the grant's number, which stays.
    ///
    /// # Errors
    /// The database's.
    pub fn grant(&self, token_id: i64, part: &Part, at: UnixTime, by: &str) -> Result<i64, StoreError> {
        let owner_key = part.owner.to_ascii_lowercase();
        let known: Option<i64> = self
            .0
            .prepare_cached(
                "SELECT id FROM grants WHERE token_id = ?1 AND owner_key = ?2 AND revoked_at IS NULL",
            )?
            .query_row(params![token_id, owner_key], |row| row.get(0))
            .optional()?;
        let (reach, permissions) = (&part.terms.reach, permissions_text(&part.terms.permissions));
        let names = names_text(reach);
        let id = if let Some(id) = known {
            self.0
                .prepare_cached(
                    "UPDATE grants SET selection = ?2, repositories = ?3, permissions = ?4, granted_at = ?5, granted_by = ?6
                     WHERE id = ?1",
                )?
                .execute(params![id, reach.as_str(), names, permissions, at, by])?;
            id
        } else {
            self.0
                .prepare_cached(
                    "INSERT INTO grants (token_id, owner, owner_key, selection, repositories, permissions, granted_at, granted_by)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                )?
                .execute(params![token_id, part.owner, owner_key, reach.as_str(), names, permissions, at, by])?;
            self.0.last_insert_rowid()
        };
        self.touch(token_id)?;
        Ok(id)
    }

    /// Makes a grant smaller. Who granted it and when stays.
    ///
    /// # Errors
    /// The database's.
    pub fn narrow(&self, grant: &GrantRow, terms: &Terms) -> Result<(), StoreError> {
        self.0
            .prepare_cached(
                "UPDATE grants SET selection = ?2, repositories = ?3, permissions = ?4 WHERE id = ?1",
            )?
            .execute(params![
                grant.id,
                terms.reach.as_str(),
                names_text(&terms.reach),
                permissions_text(&terms.permissions)
            ])?;
        self.touch(grant.token_id)
    }

    /// Takes a grant back.
    ///
    /// # Errors
    /// The database's.
    pub fn revoke_grant(&self, grant: &GrantRow, at: UnixTime, by: &str) -> Result<(), StoreError> {
        self.0
            .prepare_cached(
                "UPDATE grants SET revoked_at = ?2, revoked_by = ?3 WHERE id = ?1 AND revoked_at IS NULL",
            )?
            .execute(params![grant.id, at, by])?;
        self.touch(grant.token_id)
    }

    /// Adds a request, and gives its number. There is one at a time for a token and a resource owner.
    ///
    /// # Errors
    /// The database's.
    pub fn add_request(
        &self,
        token_id: i64,
        part: &Part,
        reason: Option<&str>,
        at: UnixTime,
    ) -> Result<i64, StoreError> {
        let (reach, permissions) = (&part.terms.reach, permissions_text(&part.terms.permissions));
        self.0
            .prepare_cached(
                "INSERT INTO requests (token_id, owner, owner_key, selection, repositories, permissions, reason, state, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'pending', ?8)",
            )?
            .execute(params![
                token_id,
                part.owner,
                part.owner.to_ascii_lowercase(),
                reach.as_str(),
                names_text(reach),
                permissions,
                reason,
                at
            ])?;
        let id = self.0.last_insert_rowid();
        self.touch(token_id)?;
        Ok(id)
    }

    /// Ends a request that is pending.
    ///
    /// # Errors
    /// The database's.
    pub fn decide_request(&self, request: &RequestRow, decided: &Decided<'_>) -> Result<(), StoreError> {
        self.0
            .prepare_cached(
                "UPDATE requests SET state = ?2, decided_at = ?3, decided_by = ?4, decided_why = ?5
                 WHERE id = ?1 AND state = 'pending'",
            )?
            .execute(params![request.id, decided.state.as_str(), decided.at, decided.by, decided.why])?;
        self.touch(request.token_id)
    }

    /// Notes that a token has changed.
    fn touch(&self, id: i64) -> Result<(), StoreError> {
        let change = self.next_change()?;
        self.0.prepare_cached("UPDATE tokens SET change = ?2 WHERE id = ?1")?.execute(params![id, change])?;
        Ok(())
    }

    /// Notes that all tokens of a user have changed.
    pub(super) fn touch_tokens_of(&self, user_id: i64) -> Result<(), StoreError> {
        let change = self.next_change()?;
        self.0
            .prepare_cached("UPDATE tokens SET change = ?2 WHERE user_id = ?1")?
            .execute(params![user_id, change])?;
        Ok(())
    }

    pub(super) fn next_change(&self) -> Result<i64, StoreError> {
        let next = "UPDATE sequences SET value = value + 1 WHERE name = 'change' RETURNING value";
        Ok(self.0.prepare_cached(next)?.query_row([], |row| row.get(0))?)
    }
}

/// `SELECT` of a token, up to the condition.
fn select_token(condition: &str) -> String {
    format!("SELECT {TOKEN_COLUMNS} FROM tokens t JOIN users u ON u.id = t.user_id {condition}")
}

impl Reads<'_> {
    /// The token with this number, also where it was taken back.
    ///
    /// # Errors
    /// The database's.
    pub fn token(self, id: i64) -> Result<Option<TokenRow>, StoreError> {
        let sql = select_token("WHERE t.id = ?1");
        Ok(self.0.prepare_cached(&sql)?.query_row([id], TokenRow::read).optional()?)
    }

    /// The token that has, or had, this digest.
    ///
    /// # Errors
    /// The database's.
    pub fn token_by_digest(self, digest: &TokenDigest) -> Result<Option<TokenRow>, StoreError> {
        let sql = select_token(
            "WHERE t.id IN (SELECT id FROM tokens WHERE digest = ?1
                 UNION SELECT id FROM tokens WHERE previous_digest = ?1
                 UNION SELECT token_id FROM retired WHERE digest = ?1) LIMIT 1",
        );
        Ok(self.0.prepare_cached(&sql)?.query_row([digest], TokenRow::read).optional()?)
    }

    /// The tokens of a user that were not taken back, the latest first.
    ///
    /// # Errors
    /// The database's.
    pub fn tokens_of(self, user_id: i64) -> Result<Vec<TokenRow>, StoreError> {
        let sql = select_token("WHERE t.user_id = ?1 AND t.revoked_at IS NULL ORDER BY t.id DESC");
        let mut statement = self.0.prepare_cached(&sql)?;
        let rows = statement.query_map([user_id], TokenRow::read)?;
        Ok(rows.collect::<Result<_>>()?)
    }

    /// What was granted to a token and not taken back.
    ///
    /// # Errors
    /// The database's.
    pub fn grants_of(self, token_id: i64) -> Result<Vec<GrantRow>, StoreError> {
        let sql = format!(
            "SELECT {GRANT_COLUMNS} FROM grants g WHERE g.token_id = ?1 AND g.revoked_at IS NULL ORDER BY g.id"
        );
        let mut statement = self.0.prepare_cached(&sql)?;
        let rows = statement.query_map([token_id], |row| GrantRow::read(row, 0))?;
        Ok(rows.collect::<Result<_>>()?)
    }

    /// What a token waits for.
    ///
    /// # Errors
    /// The database's.
    pub fn requests_of(self, token_id: i64) -> Result<Vec<RequestRow>, StoreError> {
        let sql = format!(
            "SELECT {REQUEST_COLUMNS} FROM requests r WHERE r.token_id = ?1 AND r.state = 'pending' ORDER BY r.id"
        );
        let mut statement = self.0.prepare_cached(&sql)?;
        let rows = statement.query_map([token_id], |row| RequestRow::read(row, 0))?;
        Ok(rows.collect::<Result<_>>()?)
    }

    /// The request with this number.
    ///
    /// # Errors
    /// The database's.
    pub fn request(self, id: i64) -> Result<Option<RequestRow>, StoreError> {
        let sql = format!("SELECT {REQUEST_COLUMNS} FROM requests r WHERE r.id = ?1");
        Ok(self.0.prepare_cached(&sql)?.query_row([id], |row| RequestRow::read(row, 0)).optional()?)
    }

    /// The grant with this number, also where it was taken back.
    ///
    /// # Errors
    /// The database's.
    pub fn grant(self, id: i64) -> Result<Option<GrantRow>, StoreError> {
        let sql = format!("SELECT {GRANT_COLUMNS} FROM grants g WHERE g.id = ?1");
        Ok(self.0.prepare_cached(&sql)?.query_row([id], |row| GrantRow::read(row, 0)).optional()?)
    }

    /// The number of the last change.
    pub(super) fn last_change(self) -> Result<i64> {
        let last = "SELECT value FROM sequences WHERE name = 'change'";
        self.0.prepare_cached(last)?.query_row([], |row| row.get(0))
    }

    /// Everything that changed above `seen`, and the number of the last change.
    pub(super) fn changes_since(self, seen: i64) -> Result<(i64, Vec<Change>)> {
        let last = self.last_change()?;
        let mut changes = Vec::new();
        let mut tokens = self.0.prepare_cached(&format!("{STORED} WHERE t.change > ?1 ORDER BY t.change"))?;
        let mut granted =
            self.0.prepare_cached(&format!("{GRANTED} AND token_id = ?1 ORDER BY owner_key"))?;
        let mut awaited =
            self.0.prepare_cached(&format!("{AWAITED} AND token_id = ?1 ORDER BY owner_key"))?;
        let mut rows = tokens.query([seen])?;
        while let Some(row) = rows.next()? {
            let (id, mut token): (i64, _) = (row.get(0)?, stored_token(row)?);
            token.granted = granted.query_map([id], |row| part(row, 1))?.collect::<Result<_>>()?;
            token.awaited = awaited.query_map([id], |row| part(row, 1))?.collect::<Result<_>>()?;
            changes.push(Change::Token(Box::new(token)));
        }
        changes.extend(self.people_since(Some(seen))?.into_iter().map(Change::User));
        changes.extend(self.rules_since(seen)?.map(Change::Rules));
        let mut retired = self.0.prepare_cached("SELECT digest FROM retired WHERE change > ?1")?;
        for digest in retired.query_map([seen], |row| row.get(0))? {
            changes.push(Change::Gone(digest?));
        }
        Ok((last, changes))
    }

    /// Gives every token to `take`, with how many there are. Three lists in the order of tokens, read side by side.
    pub(super) fn each_token(self, take: &mut impl FnMut(&StoredToken, usize)) -> Result<(), StoreError> {
        let count: i64 = self.0.query_row("SELECT count(*) FROM tokens", [], |row| row.get(0))?;
        let count = usize::try_from(count).unwrap_or_default();
        let mut tokens = self.0.prepare(&format!("{STORED} ORDER BY t.id"))?;
        let mut granted = self.0.prepare(&format!("{GRANTED} ORDER BY token_id, owner_key"))?;
        let mut awaited = self.0.prepare(&format!("{AWAITED} ORDER BY token_id, owner_key"))?;
        let (mut granted, mut awaited) = (Parts::new(granted.query([])?), Parts::new(awaited.query([])?));
        let mut rows = tokens.query([])?;
        while let Some(row) = rows.next()? {
            let (id, mut token) = (row.get(0)?, stored_token(row)?);
            granted.take_of(id, &mut token.granted)?;
            awaited.take_of(id, &mut token.awaited)?;
            take(&token, count);
        }
        Ok(())
    }
}

/// What [`stored_token`] reads, before the condition.
const STORED: &str = "SELECT t.id, u.login, u.suspended_at, t.name, t.digest, t.previous_digest, t.previous_until, t.issued_at, \
     t.expires_at, t.revoked_at FROM tokens t JOIN users u ON u.id = t.user_id";

/// What was granted, before more conditions.
const GRANTED: &str =
    "SELECT token_id, owner, selection, repositories, permissions FROM grants WHERE revoked_at IS NULL";

/// What is waited for, before more conditions.
const AWAITED: &str =
    "SELECT token_id, owner, selection, repositories, permissions FROM requests WHERE state = 'pending'";

/// Parts in the order of their tokens.
struct Parts<'r> {
    rows: Rows<'r>,
    next: Option<(i64, Part)>,
}

impl<'r> Parts<'r> {
    fn new(rows: Rows<'r>) -> Self {
        Self { rows, next: None }
    }

    /// Moves the parts of the token `id`, which is above all that were asked for before, to `parts`.
    fn take_of(&mut self, id: i64, parts: &mut Vec<Part>) -> Result<()> {
        loop {
            match self.next.take() {
                Some((of, found)) if of == id => parts.push(found),
                Some(later) if later.0 > id => {
                    self.next = Some(later);
                    return Ok(());
                }
                Some(_) | None => {}
            }
            match self.rows.next()? {
                Some(row) => self.next = Some((row.get(0)?, part(row, 1)?)),
                None => return Ok(()),
            }
        }
    }
}

/// A token without its parts.
fn stored_token(row: &Row<'_>) -> Result<StoredToken> {
    let expires_at = row.get::<_, Option<UnixTime>>(8)?.unwrap_or(NEVER);
    let previous: (Option<TokenDigest>, Option<UnixTime>) = (row.get(5)?, row.get(6)?);
    let mut secrets = vec![(row.get(4)?, expires_at)];
    secrets.extend(previous.0.zip(previous.1));
    let (revoked, suspended): (Option<UnixTime>, Option<UnixTime>) = (row.get(9)?, row.get(2)?);
    let standing = match (revoked, suspended) {
        (Some(_), _) => Standing::Revoked,
        (None, Some(_)) => Standing::Suspended,
        (None, None) => Standing::Good,
    };
    Ok(StoredToken {
        name: row.get(3)?,
        user: row.get(1)?,
        secrets,
        issued_at: row.get(7)?,
        standing,
        granted: Vec::new(),
        awaited: Vec::new(),
    })
}
