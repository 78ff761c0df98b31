//! What the tables hold, as values.

use std::collections::BTreeMap;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, Type, ValueRef};
use rusqlite::{Result, Row};
use serde::{Deserialize, Serialize};

use crate::domain::grant::UnixTime;
use crate::domain::lifecycle::terms::{Names, Permissions, Reach, Terms};
use crate::domain::lifecycle::{Part, RequestState};
use crate::domain::permission::{Level, Scope};
use crate::domain::token::TokenDigest;

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// Its number; stays the same for as long as it exists.
    pub id: i64,
    /// The number of its user.
    pub user_id: i64,
    /// The login of its user.
    pub user: String,
    /// When its user was suspended.
    pub user_suspended_at: Option<UnixTime>,
    /// Its name.
    pub name: String,
    /// What its user says it is for.
    pub description: Option<String>,
    /// The part of its text that may be shown.
    pub public_id: String,
    /// The digest of its text.
    pub digest: TokenDigest,
    /// The digest of the text before that, and until when it is good.
    pub previous: Option<(TokenDigest, UnixTime)>,
    /// When it was made.
    pub created_at: UnixTime,
    /// When its present text was made.
    pub issued_at: UnixTime,
    /// When it stops working; `None` is never.
    pub expires_at: Option<UnixTime>,
    /// When, by whom and why it was taken back.
    pub revoked: Option<Revoked>,
    /// When, from where and how it was used last.
    pub last_used: Option<LastUse>,
}

/// That a token was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// When.
    pub at: UnixTime,
    /// By whom.
    pub by: String,
    /// Why, in one word or more.
    pub why: String,
}

/// The last use of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastUse {
    /// When.
    pub at: UnixTime,
    /// The client's address.
    pub from: String,
    /// `git` or `rest`.
    pub by: String,
}

/// What a resource owner granted to a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantRow {
    /// Its number: `pat_id` in the API.
    pub id: i64,
    /// The token's number.
    pub token_id: i64,
    /// At whom, and what.
    pub part: Part,
    /// When it was granted, or changed last.
    pub granted_at: UnixTime,
    /// By whom.
    pub granted_by: String,
    /// When it was taken back.
    pub revoked_at: Option<UnixTime>,
}

/// What a token's user asks of a resource owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRow {
    /// Its number: `pat_request_id` in the API.
    pub id: i64,
    /// The token's number.
    pub token_id: i64,
    /// Of whom, and for what.
    pub part: Part,
    /// Why.
    pub reason: Option<String>,
    /// What has become of it.
    pub state: RequestState,
    /// When it was made.
    pub created_at: UnixTime,
}

/// A person, or a machine with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRow {
    /// Its number.
    pub id: i64,
    /// Its name at the hosts and here.
    pub login: String,
    /// The hash of its password, in the form of the PHC; `None` where it signs in otherwise, or not at all.
    pub password: Option<String>,
    /// Whether it administers the gateway.
    pub administrator: bool,
    /// When it was suspended.
    pub suspended_at: Option<UnixTime>,
    /// When it was made.
    pub created_at: UnixTime,
}

/// The columns that [`TokenRow::read`] takes, of `tokens t` and `users u`.
pub(super) const TOKEN_COLUMNS: &str = "t.id, t.user_id, u.login, u.suspended_at, t.name, t.description, t.public_id, t.digest, \
     t.previous_digest, t.previous_until, t.created_at, t.issued_at, t.expires_at, t.revoked_at, t.revoked_by, \
     t.revoked_why, t.last_used_at, t.last_used_from, t.last_used_by";

/// How many columns that are.
pub(super) const TOKEN_WIDTH: usize = 19;

impl TokenRow {
    pub(super) fn read(row: &Row<'_>) -> Result<Self> {
        let previous: (Option<TokenDigest>, Option<UnixTime>) = (row.get(8)?, row.get(9)?);
        let revoked: Option<UnixTime> = row.get(13)?;
        let used: Option<UnixTime> = row.get(16)?;
        Ok(Self {
            id: row.get(0)?,
            user_id: row.get(1)?,
            user: row.get(2)?,
            user_suspended_at: row.get(3)?,
            name: row.get(4)?,
            description: row.get(5)?,
            public_id: row.get(6)?,
            digest: row.get(7)?,
            previous: previous.0.zip(previous.1),
            created_at: row.get(10)?,
            issued_at: row.get(11)?,
            expires_at: row.get(12)?,
            revoked: match revoked {
                Some(at) => Some(Revoked { at, by: row.get(14)?, why: row.get(15)? }),
                None => None,
            },
            last_used: match used {
                Some(at) => Some(LastUse { at, from: row.get(17)?, by: row.get(18)? }),
                None => None,
            },
        })
    }
}

/// The columns that [`GrantRow::read`] takes, of `grants g`.
pub(super) const GRANT_COLUMNS: &str = "g.id, g.token_id, g.owner, g.selection, g.repositories, g.permissions, g.granted_at, g.granted_by, g.revoked_at";

impl GrantRow {
    /// From the columns behind the first `at`.
    pub(super) fn read(row: &Row<'_>, at: usize) -> Result<Self> {
        Ok(Self {
            id: row.get(at)?,
            token_id: row.get(at + 1)?,
            part: part(row, at + 2)?,
            granted_at: row.get(at + 6)?,
            granted_by: row.get(at + 7)?,
            revoked_at: row.get(at + 8)?,
        })
    }
}

/// The columns that [`RequestRow::read`] takes, of `requests r`.
pub(super) const REQUEST_COLUMNS: &str =
    "r.id, r.token_id, r.owner, r.selection, r.repositories, r.permissions, r.reason, r.state, r.created_at";

impl RequestRow {
    /// From the columns behind the first `at`.
    pub(super) fn read(row: &Row<'_>, at: usize) -> Result<Self> {
        let state: String = row.get(at + 7)?;
        Ok(Self {
            id: row.get(at)?,
            token_id: row.get(at + 1)?,
            part: part(row, at + 2)?,
            reason: row.get(at + 6)?,
            state: RequestState::parse(&state).ok_or_else(|| unreadable(at + 7, Type::Text))?,
            created_at: row.get(at + 8)?,
        })
    }
}

/// Owner, selection, repositories and permissions, from the column `at`.
pub(super) fn part(row: &Row<'_>, at: usize) -> Result<Part> {
    let text = |column: usize| row.get_ref(at + column)?.as_str().map_err(rusqlite::Error::from);
    let reach = match text(1)? {
        "none" => Reach::Public,
        "all" => Reach::All,
        "subset" => Reach::Subset(Names::new(names(text(2)?))),
        _ => return Err(unreadable(at + 1, Type::Text)),
    };
    let permissions = permissions(text(3)?).ok_or_else(|| unreadable(at + 3, Type::Text))?;
    Ok(Part { owner: text(0)?.to_owned(), terms: Terms { reach, permissions } })
}

pub(super) fn unreadable(column: usize, kind: Type) -> rusqlite::Error {
    rusqlite::Error::InvalidColumnType(column, "not one of its words".into(), kind)
}

/// `,alpha,beta,`: so that one of them is found as `,alpha,`, which no name can hold.
pub(super) fn names_text(reach: &Reach) -> String {
    reach.names().iter().fold(String::from(","), |text, name| text + name + ",")
}

fn names(text: &str) -> Vec<String> {
    text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Permissions in GitHub's shape, in which the API shows them too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PermissionWords {
    /// Of scope `organization`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub organization: BTreeMap<String, String>,
    /// Of scope `repository`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub repository: BTreeMap<String, String>,
    /// Of scope `user`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub other: BTreeMap<String, String>,
}

impl From<&Permissions> for PermissionWords {
    fn from(permissions: &Permissions) -> Self {
        let words = |scope| {
            let levels = permissions.of(scope).iter();
            levels.map(|(name, level)| (name.clone(), level.as_str().to_owned())).collect()
        };
        Self {
            organization: words(Scope::Organization),
            repository: words(Scope::Repository),
            other: words(Scope::User),
        }
    }
}

impl PermissionWords {
    /// The permissions; `None` where a level is none.
    pub fn read(&self) -> Option<Permissions> {
        let mut permissions = Permissions::default();
        for (scope, words) in [
            (Scope::Organization, &self.organization),
            (Scope::Repository, &self.repository),
            (Scope::User, &self.other),
        ] {
            for (name, level) in words {
                permissions.of_mut(scope).insert(name.clone(), Level::parse(level)?);
            }
        }
        Some(permissions)
    }
}

pub(super) fn permissions_text(permissions: &Permissions) -> String {
    serde_json::to_string(&PermissionWords::from(permissions)).unwrap_or_default()
}

fn permissions(text: &str) -> Option<Permissions> {
    serde_json::from_str::<PermissionWords>(text).ok()?.read()
}

impl ToSql for UnixTime {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(self.0.into())
    }
}

impl FromSql for UnixTime {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(Self)
    }
}

impl ToSql for TokenDigest {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Blob(self.as_bytes())))
    }
}

impl FromSql for TokenDigest {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let bytes = value.as_blob()?;
        Self::from_bytes(bytes)
            .ok_or(FromSqlError::InvalidBlobSize { expected_size: 32, blob_size: bytes.len() })
    }
}
