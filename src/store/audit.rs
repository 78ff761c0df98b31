//! The audit trail: what was done to tokens and people, in a chain in which each entry holds all that stand before it.
//!
//! An entry is the text of a JSON object, with a number, a time, and keys that it is found by. Its hash is SHA-256 over the
//! hash of the entry before it and all of that, a line each; the first one follows 32 zero bytes. Whoever changes, adds or takes away an entry in the middle has to write all later
//! hashes anew; whoever has noted one hash can tell.
//!
//! Entries that are kept no longer are taken off the beginning. An entry at the end says up to which one, with the hash that
//! the rest follows; so the beginning cannot be cut off otherwise.

use aws_lc_rs::digest::{Context, SHA256};
use rusqlite::types::Value;
use rusqlite::{OptionalExtension, Result, Row, ToSql, params, params_from_iter};

use crate::domain::token::TokenDigest;
use crate::store::error::StoreError;
use crate::store::{Changes, Reads};

/// What the entry says that tells of entries taken off the beginning.
pub const PRUNED: &str = "audit_log.prune";

/// The hash before the first entry.
const BEFORE_ALL: [u8; 32] = [0; 32];

/// What an entry is found by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditKeys {
    /// The event: `personal_access_token.access_granted`.
    pub action: String,
    /// Who did it.
    pub actor: Option<String>,
    /// Whom it happened to.
    pub user: Option<String>,
    /// The resource owner concerned.
    pub org: Option<String>,
    /// The number of the token concerned.
    pub token_id: Option<i64>,
    /// The digest of the token concerned, in base64.
    pub hashed_token: Option<String>,
}

impl AuditKeys {
    /// With names in lower case, as they are looked for.
    fn folded(&self) -> Self {
        let folded = |name: &Option<String>| name.as_ref().map(|name| name.to_ascii_lowercase());
        Self { actor: folded(&self.actor), user: folded(&self.user), org: folded(&self.org), ..self.clone() }
    }
}

/// An entry of the trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its number, from 1, without gaps.
    pub id: i64,
    /// The JSON object.
    pub entry: String,
    /// The hash of it and all before it.
    pub hash: Vec<u8>,
}

/// What is looked for. Each field that is given must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// The event, or the beginning of one that ends in `*`.
    pub action: Option<String>,
    /// Who did it.
    pub actor: Option<String>,
    /// Whom it happened to.
    pub user: Option<String>,
    /// The resource owner concerned.
    pub org: Option<String>,
    /// The token concerned.
    pub token_id: Option<i64>,
    /// The digest of the token concerned, in base64.
    pub hashed_token: Option<String>,
    /// `owner/name` of a repository concerned.
    pub repository: Option<String>,
    /// From this moment, microseconds since 1970.
    pub since: Option<i64>,
    /// Before this moment.
    pub until: Option<i64>,
    /// Only entries below this number: the next page of the newest first.
    pub below: Option<i64>,
}

/// What checking the chain found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chain {
    /// Every entry follows from the one before.
    Whole {
        /// How many there are.
        entries: u64,
        /// The number of the first of them; above 1 where those before it are kept no longer.
        first: i64,
        /// The hash of the last one: note it down to prove later that nothing was cut off.
        head: Vec<u8>,
    },
    /// One does not.
    Broken {
        /// The number of the first entry that does not.
        at: i64,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// What a hash that was noted is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    /// That of an entry.
    Entry,
    /// That which the first entry follows: of the last one that is kept no longer, or of none.
    Before,
    /// Of nothing that is known.
    Unknown,
}

impl Noted {
    /// The word for scripts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Entry => "entry",
            Self::Before => "before_first",
            Self::Unknown => "unknown",
        }
    }
}

impl Changes<'_> {
    /// Adds an entry at the end, at `at` microseconds since 1970.
    ///
    /// # Errors
    /// The database's.
    pub fn add_audit(&self, at: i64, keys: &AuditKeys, entry: &str) -> Result<(), StoreError> {
        let last = self.reads().last_audit()?;
        let (id, before) = last.map_or_else(|| (1, BEFORE_ALL.to_vec()), |(id, hash)| (id + 1, hash));
        let keys = keys.folded();
        let hash = hash_of(&before, &covered(id, at, &keys, entry));
        self.0
            .prepare_cached(
                "INSERT INTO audit (id, at, action, actor_key, user_key, org_key, token_id, hashed_token, entry, hash)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute(params![
                id,
                at,
                keys.action,
                keys.actor,
                keys.user,
                keys.org,
                keys.token_id,
                keys.hashed_token,
                entry,
                hash
            ])?;
        Ok(())
    }
}

/// Entries that are kept no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pruned {
    /// The number of the last of them.
    pub up_to: i64,
    /// Its hash.
    pub hash: Vec<u8>,
    /// How many they were.
    pub entries: usize,
}

impl Changes<'_> {
    /// Takes off the entries from before `moment`, microseconds since 1970, but for the last one. Whoever does it adds an entry
    /// ([`PRUNED`]) that says so, with `up_to` and `hash` in hexadecimal digits, in the same change.
    ///
    /// # Errors
    /// The database's.
    pub fn prune_audit(&self, moment: i64) -> Result<Option<Pruned>, StoreError> {
        let last = "SELECT id, hash FROM audit WHERE id < (SELECT COALESCE(min(CASE WHEN at >= ?1 THEN id END), max(id)) FROM audit) ORDER BY id DESC LIMIT 1";
        let found = self.0.query_row(last, [moment], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let Some((up_to, hash)) = found else { return Ok(None) };
        let hash: Vec<u8> = hash;
        let entries = self.0.execute("DELETE FROM audit WHERE id <= ?1", [up_to])?;
        let start = "INSERT INTO audit_start (one, id, hash) VALUES (1, ?1, ?2) ON CONFLICT (one) DO UPDATE SET id = ?1, hash = ?2";
        self.0.execute(start, params![up_to, hash])?;
        Ok(Some(Pruned { up_to, hash, entries }))
    }
}

impl Reads<'_> {
    /// The newest `limit` entries that fit, the newest first.
    ///
    /// # Errors
    /// The database's.
    pub fn audit(self, query: &AuditQuery, limit: usize) -> Result<Vec<AuditEntry>, StoreError> {
        let (mut conditions, mut values) = (String::from("1"), Vec::<Value>::new());
        let mut and = |condition: &str, value: Option<Value>| {
            if let Some(value) = value {
                conditions.push_str(" AND ");
                conditions.push_str(condition);
                values.push(value);
            }
        };
        let folded = |text: &String| text.to_ascii_lowercase();
        match query.action.as_deref().map(|action| (action, action.strip_suffix('*'))) {
            None => {}
            Some((action, None)) => and("action = ?", Some(action.to_owned().into())),
            Some((_, Some(start))) => and("instr(action, ?) = 1", Some(start.to_owned().into())),
        }
        and("actor_key = ?", query.actor.as_ref().map(folded).map(Into::into));
        and("user_key = ?", query.user.as_ref().map(folded).map(Into::into));
        and("org_key = ?", query.org.as_ref().map(folded).map(Into::into));
        and("token_id = ?", query.token_id.map(Into::into));
        and("hashed_token = ?", query.hashed_token.clone().map(Into::into));
        // Names stand in the entry as JSON has them.
        and(
            "instr(lower(entry), ?) > 0",
            query.repository.as_ref().map(|name| format!("\"{}\"", folded(name)).into()),
        );
        and("at >= ?", query.since.map(Into::into));
        and("at < ?", query.until.map(Into::into));
        and("id < ?", query.below.map(Into::into));
        let sql =
            format!("SELECT id, entry, hash FROM audit WHERE {conditions} ORDER BY id DESC LIMIT {limit}");
        let mut statement = self.0.prepare(&sql)?;
        let values = values.iter().map(|value| value as &dyn ToSql);
        let rows = statement.query_map(params_from_iter(values), entry)?;
        Ok(rows.collect::<Result<_>>()?)
    }

    /// Checks the whole chain.
    ///
    /// # Errors
    /// The database's.
    pub fn verify_audit(self) -> Result<Chain, StoreError> {
        let mut statement = self.0.prepare(
            "SELECT id, entry, hash, at, action, actor_key, user_key, org_key, token_id, hashed_token FROM audit ORDER BY id",
        )?;
        let (start, mut head) = self.audit_start()?.unwrap_or_else(|| (0, BEFORE_ALL.to_vec()));
        let (mut last, mut told) = (start, None);
        let read = |row: &Row<'_>| {
            let keys = AuditKeys {
                action: row.get(4)?,
                actor: row.get(5)?,
                user: row.get(6)?,
                org: row.get(7)?,
                token_id: row.get(8)?,
                hashed_token: row.get(9)?,
            };
            Ok((entry(row)?, row.get::<_, i64>(3)?, keys))
        };
        let begins = hexadecimal(&head);
        for found in statement.query_map([], read)? {
            let (found, at, keys) = found?;
            if found.id != last + 1 {
                return Ok(Chain::Broken { at: found.id, why: "the entry before it is missing" });
            }
            if hash_of(&head, &covered(found.id, at, &keys, &found.entry)) != found.hash {
                return Ok(Chain::Broken { at: found.id, why: "it, or an entry before it, was changed" });
            }
            if keys.action == PRUNED {
                told = Some(found.entry);
            }
            last = found.id;
            head = found.hash;
        }
        // The latest entry that tells of it tells where the rest begins.
        let tells = |entry: &String| {
            let entry: serde_json::Value = serde_json::from_str(entry).unwrap_or_default();
            let field = |name: &str| entry.get(name).cloned().unwrap_or_default();
            field("up_to") == start && field("hash") == begins
        };
        if start > 0 && !told.as_ref().is_some_and(tells) {
            let why = "entries before it are missing, and no entry says that they were kept no longer";
            return Ok(Chain::Broken { at: start + 1, why });
        }
        let entries = u64::try_from(last - start).unwrap_or_default();
        Ok(Chain::Whole { entries, first: start + 1, head })
    }

    /// The last entry that is kept no longer: its number and its hash.
    fn audit_start(self) -> Result<Option<(i64, Vec<u8>)>> {
        let sql = "SELECT id, hash FROM audit_start";
        self.0.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()
    }

    /// The last entry: its number and its hash.
    pub(super) fn last_audit(self) -> Result<Option<(i64, Vec<u8>)>> {
        let sql = "SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1";
        self.0.prepare_cached(sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional()
    }

    /// The hash of the entry with this number.
    pub(super) fn audit_hash(self, id: i64) -> Result<Option<Vec<u8>>> {
        let sql = "SELECT hash FROM audit WHERE id = ?1";
        self.0.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()
    }

    /// What has this hash.
    ///
    /// # Errors
    /// The database's.
    pub fn audit_noted(self, hash: &[u8]) -> Result<Noted, StoreError> {
        let has = "SELECT EXISTS (SELECT 1 FROM audit WHERE hash = ?1)";
        if self.0.query_row(has, [hash], |row| row.get(0))? {
            return Ok(Noted::Entry);
        }
        let (_, before) = self.audit_start()?.unwrap_or_else(|| (0, BEFORE_ALL.to_vec()));
        Ok(if before == hash { Noted::Before } else { Noted::Unknown })
    }
}

fn entry(row: &Row<'_>) -> Result<AuditEntry> {
    Ok(AuditEntry { id: row.get(0)?, entry: row.get(1)?, hash: row.get(2)? })
}

/// All of an entry, in one text: what it is found by, too, so that nothing can be hidden from a search.
fn covered(id: i64, at: i64, keys: &AuditKeys, entry: &str) -> String {
    let AuditKeys { action, actor, user, org, token_id, hashed_token } = keys;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let token_id = token_id.map(|id| id.to_string()).unwrap_or_default();
    // None of the parts before the entry holds a line feed.
    [
        &id.to_string(),
        &at.to_string(),
        action,
        &text(actor),
        &text(user),
        &text(org),
        &token_id,
        &text(hashed_token),
        &entry.to_owned(),
    ]
    .map(String::as_str)
    .join("\n")
}

/// Two digits a byte.
pub fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |four: u8| char::from_digit(four.into(), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn hash_of(before: &[u8], covered: &str) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    context.update(before);
    context.update(covered.as_bytes());
    context.finish().as_ref().to_vec()
}

/// The digest as GitHub's audit log has it: base64, with padding.
pub fn hashed_token(digest: &TokenDigest) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(digest.as_bytes())
}
