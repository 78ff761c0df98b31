//! The outbox: what webhooks are to be told, written with the change that it tells of, and what became of it.

use rusqlite::types::{Type, Value};
use rusqlite::{OptionalExtension, Result, Row, params, params_from_iter};

use crate::domain::grant::UnixTime;
use crate::store::error::StoreError;
use crate::store::lists::Page;
use crate::store::{Changes, Reads};

/// What is to be told to one webhook.
#[derive(Debug, Clone, Copy)]
pub struct NewDelivery<'d> {
    /// Its id for the receiver: random, in the form of a UUID.
    pub guid: &'d str,
    /// The webhook's name.
    pub hook: &'d str,
    /// The kind of event.
    pub event: &'d str,
    /// What happened.
    pub action: &'d str,
    /// The body.
    pub payload: &'d str,
    /// When.
    pub at: UnixTime,
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// It is to be attempted, again or for the first time.
    Pending,
    /// The receiver took it.
    Delivered,
    /// It is attempted no more.
    Failed,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Delivered, Self::Failed];

    /// The word in the store and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }

    /// The state that `word` names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// A delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRow {
    /// Its number.
    pub id: i64,
    /// Its id for the receiver.
    pub guid: String,
    /// The webhook's name.
    pub hook: String,
    /// The kind of event.
    pub event: String,
    /// What happened.
    pub action: String,
    /// The body.
    pub payload: String,
    /// What became of it.
    pub state: DeliveryState,
    /// When it was written.
    pub created_at: UnixTime,
    /// Attempts in all.
    pub attempts: i64,
    /// Attempts since it was last asked for.
    pub tries: i64,
    /// When it is attempted next where it is pending, milliseconds since 1970.
    pub due_at: i64,
    /// When it was attempted last.
    pub attempted_at: Option<UnixTime>,
    /// The status that the receiver answered last.
    pub status: Option<u16>,
    /// What was wrong with the last attempt.
    pub error: Option<String>,
}

/// An attempt that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempted {
    /// When it began.
    pub at: UnixTime,
    /// What the delivery is now.
    pub state: DeliveryState,
    /// When the next one is due, milliseconds since 1970.
    pub due_at: i64,
    /// What the receiver answered.
    pub status: Option<u16>,
    /// What was wrong.
    pub error: Option<String>,
}

/// Which deliveries, and which page of them, the latest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveryQuery {
    /// To this webhook.
    pub hook: Option<String>,
    /// In this state.
    pub state: Option<DeliveryState>,
    /// How many to leave out.
    pub skip: usize,
    /// How many to give at most.
    pub limit: usize,
}

/// How many deliveries there are in two of the states.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeliveryCounts {
    /// Those that are pending.
    pub pending: i64,
    /// Those that failed.
    pub failed: i64,
}

const COLUMNS: &str = "id, guid, hook, event, action, payload, state, created_at, attempts, tries, due_at, attempted_at, status, error";

fn delivery(row: &Row<'_>) -> Result<DeliveryRow> {
    let state: String = row.get(6)?;
    let unreadable = || rusqlite::Error::InvalidColumnType(6, "not one of its words".into(), Type::Text);
    Ok(DeliveryRow {
        id: row.get(0)?,
        guid: row.get(1)?,
        hook: row.get(2)?,
        event: row.get(3)?,
        action: row.get(4)?,
        payload: row.get(5)?,
        state: DeliveryState::parse(&state).ok_or_else(unreadable)?,
        created_at: row.get(7)?,
        attempts: row.get(8)?,
        tries: row.get(9)?,
        due_at: row.get(10)?,
        attempted_at: row.get(11)?,
        status: row.get(12)?,
        error: row.get(13)?,
    })
}

impl Changes<'_> {
    /// Adds a delivery, due at once; gives its number.
    ///
    /// # Errors
    /// The database's.
    pub fn add_delivery(&self, new: &NewDelivery<'_>) -> Result<i64, StoreError> {
        self.0
            .prepare_cached(
                "INSERT INTO deliveries (guid, hook, event, action, payload, state, created_at, due_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, 'pending', ?6, ?7)",
            )?
            .execute(params![
                new.guid,
                new.hook,
                new.event,
                new.action,
                new.payload,
                new.at,
                new.at.0.saturating_mul(1000)
            ])?;
        Ok(self.0.last_insert_rowid())
    }

    /// Notes what an attempt came to.
    ///
    /// # Errors
    /// The database's.
    pub fn note_attempt(&self, id: i64, attempted: &Attempted) -> Result<(), StoreError> {
        self.0
            .prepare_cached(
                "UPDATE deliveries SET state = ?2, due_at = ?3, attempted_at = ?4, status = ?5, error = ?6,
                 attempts = attempts + 1, tries = tries + 1 WHERE id = ?1",
            )?
            .execute(params![
                id,
                attempted.state.as_str(),
                attempted.due_at,
                attempted.at,
                attempted.status,
                attempted.error
            ])?;
        Ok(())
    }

    /// Has a delivery attempted again, whatever became of it, with as many tries as a new one.
    ///
    /// # Errors
    /// The database's.
    pub fn deliver_again(&self, id: i64, at: UnixTime) -> Result<(), StoreError> {
        self.0
            .prepare_cached("UPDATE deliveries SET state = 'pending', tries = 0, due_at = ?2 WHERE id = ?1")?
            .execute(params![id, at.0.saturating_mul(1000)])?;
        Ok(())
    }

    /// Gives up what is pending for webhooks other than `hooks`; gives how many.
    ///
    /// # Errors
    /// The database's.
    pub fn give_up_deliveries(&self, hooks: &[String], why: &str) -> Result<usize, StoreError> {
        let places = vec!["?"; hooks.len()].join(", ");
        let sql = format!(
            "UPDATE deliveries SET state = 'failed', error = ? WHERE state = 'pending' AND hook NOT IN ({places})"
        );
        let values = std::iter::once(why).chain(hooks.iter().map(String::as_str));
        Ok(self.0.prepare(&sql)?.execute(params_from_iter(values))?)
    }

    /// Removes what was delivered, or given up, before `before`; gives how many.
    ///
    /// # Errors
    /// The database's.
    pub fn forget_deliveries(&self, before: UnixTime) -> Result<usize, StoreError> {
        let sql =
            "DELETE FROM deliveries WHERE state <> 'pending' AND COALESCE(attempted_at, created_at) < ?1";
        Ok(self.0.prepare_cached(sql)?.execute([before])?)
    }
}

impl Reads<'_> {
    /// Deliveries, the latest first.
    ///
    /// # Errors
    /// The database's.
    pub fn deliveries(self, query: &DeliveryQuery) -> Result<Page<DeliveryRow>, StoreError> {
        let (mut conditions, mut values) = (String::from("1"), Vec::<Value>::new());
        if let Some(hook) = &query.hook {
            conditions.push_str(" AND hook = ?");
            values.push(hook.clone().into());
        }
        if let Some(state) = query.state {
            conditions.push_str(" AND state = ?");
            values.push(state.as_str().to_owned().into());
        }
        let count = format!("SELECT count(*) FROM deliveries WHERE {conditions}");
        let total: i64 =
            self.0.prepare_cached(&count)?.query_row(params_from_iter(&values), |row| row.get(0))?;
        let sql = format!(
            "SELECT {COLUMNS} FROM deliveries WHERE {conditions} ORDER BY id DESC LIMIT {} OFFSET {}",
            query.limit, query.skip
        );
        let mut statement = self.0.prepare(&sql)?;
        let rows = statement.query_map(params_from_iter(&values), delivery)?;
        Ok(Page { entries: rows.collect::<Result<_>>()?, total: usize::try_from(total).unwrap_or_default() })
    }

    /// The delivery with this number.
    ///
    /// # Errors
    /// The database's.
    pub fn delivery(self, id: i64) -> Result<Option<DeliveryRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM deliveries WHERE id = ?1");
        Ok(self.0.prepare_cached(&sql)?.query_row([id], delivery).optional()?)
    }

    /// What is due for `hook` at `now`, milliseconds since 1970; what has been due for longest first.
    ///
    /// # Errors
    /// The database's.
    pub fn due_deliveries(self, hook: &str, now: i64, limit: usize) -> Result<Vec<DeliveryRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM deliveries WHERE state = 'pending' AND hook = ?1 AND due_at <= ?2
             ORDER BY due_at, id LIMIT {limit}"
        );
        let mut statement = self.0.prepare_cached(&sql)?;
        let rows = statement.query_map(params![hook, now], delivery)?;
        Ok(rows.collect::<Result<_>>()?)
    }

    /// When something is due for `hook` next after `now`, milliseconds since 1970.
    ///
    /// # Errors
    /// The database's.
    pub fn next_due(self, hook: &str, now: i64) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT min(due_at) FROM deliveries WHERE state = 'pending' AND hook = ?1 AND due_at > ?2";
        Ok(self.0.prepare_cached(sql)?.query_row(params![hook, now], |row| row.get(0))?)
    }

    /// How many there are.
    ///
    /// # Errors
    /// The database's.
    pub fn count_deliveries(self) -> Result<DeliveryCounts, StoreError> {
        let count = |state: DeliveryState| -> Result<i64> {
            let sql = "SELECT count(*) FROM deliveries WHERE state = ?1";
            self.0.prepare_cached(sql)?.query_row([state.as_str()], |row| row.get(0))
        };
        Ok(DeliveryCounts { pending: count(DeliveryState::Pending)?, failed: count(DeliveryState::Failed)? })
    }
}
