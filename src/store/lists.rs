//! What a resource owner sees: the grants and the open requests that reach it, filtered, a page at a time.

use rusqlite::types::Value;
use rusqlite::{Result, Row, params_from_iter};

use crate::domain::grant::UnixTime;
use crate::store::Reads;
use crate::store::error::StoreError;
use crate::store::rows::{
    GRANT_COLUMNS, GrantRow, REQUEST_COLUMNS, RequestRow, TOKEN_COLUMNS, TOKEN_WIDTH, TokenRow,
};

/// Which entries, and which page of them. Each filter that is given must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListQuery {
    /// The resource owner.
    pub org: String,
    /// Of tokens of one of these users; none is any.
    pub users: Vec<String>,
    /// Of tokens with one of these numbers; none is any.
    pub token_ids: Vec<i64>,
    /// That reach this repository, without its owner.
    pub repository: Option<String>,
    /// That hold this permission, at any level.
    pub permission: Option<String>,
    /// Of tokens last used before this.
    pub used_before: Option<UnixTime>,
    /// Of tokens last used after this.
    pub used_after: Option<UnixTime>,
    /// The oldest first.
    pub ascending: bool,
    /// How many entries to leave out.
    pub skip: usize,
    /// How many entries to give at most.
    pub limit: usize,
}

/// A page of entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// How many there are in all.
    pub total: usize,
}

/// A condition with its values.
struct Filter {
    sql: String,
    values: Vec<Value>,
}

impl Filter {
    /// For the table called `at`.
    fn new(query: &ListQuery, at: char) -> Self {
        let mut filter = Self {
            sql: format!("{at}.owner_key = ? AND t.revoked_at IS NULL"),
            values: vec![query.org.to_ascii_lowercase().into()],
        };
        let users = query.users.iter().map(|login| login.to_ascii_lowercase().into());
        filter.one_of("u.login_key", users.collect());
        filter.one_of("t.id", query.token_ids.iter().map(|id| (*id).into()).collect());
        if let Some(name) = &query.repository {
            let key = format!(",{},", name.to_ascii_lowercase());
            filter.and(
                &format!("({at}.selection = 'all' OR instr(lower({at}.repositories), ?) > 0)"),
                key.into(),
            );
        }
        if let Some(name) = &query.permission {
            // As JSON has the name of a member whose value is a word: the members of scopes are objects.
            filter.and(&format!("instr({at}.permissions, ?) > 0"), format!("\"{name}\":\"").into());
        }
        if let Some(moment) = query.used_before {
            filter.and("t.last_used_at < ?", moment.0.into());
        }
        if let Some(moment) = query.used_after {
            filter.and("t.last_used_at > ?", moment.0.into());
        }
        filter
    }

    fn and(&mut self, condition: &str, value: Value) {
        self.sql.push_str(" AND ");
        self.sql.push_str(condition);
        self.values.push(value);
    }

    fn one_of(&mut self, column: &str, values: Vec<Value>) {
        if !values.is_empty() {
            let places = vec!["?"; values.len()].join(", ");
            self.sql = format!("{} AND {column} IN ({places})", self.sql);
            self.values.extend(values);
        }
    }
}

const JOINED: &str = "JOIN tokens t ON t.id = token_id JOIN users u ON u.id = t.user_id";

impl Reads<'_> {
    /// Grants at a resource owner, with their tokens, by when they were granted.
    ///
    /// # Errors
    /// The database's.
    pub fn grants_at(self, query: &ListQuery) -> Result<Page<(TokenRow, GrantRow)>, StoreError> {
        let filter = Filter::new(query, 'g');
        let from = format!("FROM grants g {JOINED} WHERE g.revoked_at IS NULL AND {}", filter.sql);
        let read = |row: &Row<'_>| Ok((TokenRow::read(row)?, GrantRow::read(row, TOKEN_WIDTH)?));
        self.page(query, &filter, (GRANT_COLUMNS, &from, "g.granted_at, g.id"), read)
    }

    /// Open requests to a resource owner, with their tokens, by when they were made.
    ///
    /// # Errors
    /// The database's.
    pub fn requests_at(self, query: &ListQuery) -> Result<Page<(TokenRow, RequestRow)>, StoreError> {
        let filter = Filter::new(query, 'r');
        let from = format!("FROM requests r {JOINED} WHERE r.state = 'pending' AND {}", filter.sql);
        let read = |row: &Row<'_>| Ok((TokenRow::read(row)?, RequestRow::read(row, TOKEN_WIDTH)?));
        self.page(query, &filter, (REQUEST_COLUMNS, &from, "r.created_at, r.id"), read)
    }

    fn page<T>(
        self,
        query: &ListQuery,
        filter: &Filter,
        (columns, from, order): (&str, &str, &str),
        read: impl Fn(&Row<'_>) -> Result<T>,
    ) -> Result<Page<T>, StoreError> {
        let count = format!("SELECT count(*) {from}");
        let total: i64 =
            self.0.prepare_cached(&count)?.query_row(params_from_iter(&filter.values), |row| row.get(0))?;
        let order = if query.ascending { order.to_owned() } else { order.replace(", ", " DESC, ") + " DESC" };
        let (limit, skip) = (query.limit, query.skip);
        let sql =
            format!("SELECT {TOKEN_COLUMNS}, {columns} {from} ORDER BY {order} LIMIT {limit} OFFSET {skip}");
        let mut statement = self.0.prepare_cached(&sql)?;
        let rows = statement.query_map(params_from_iter(&filter.values), read)?;
        Ok(Page { entries: rows.collect::<Result<_>>()?, total: usize::try_from(total).unwrap_or_default() })
    }
}
