//! Tells whoever enforces what the store says of every change, in order, and keeps count of how that goes.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use rusqlite::Connection;

use crate::clock;
use crate::domain::grant::UnixTime;
use crate::domain::lifecycle::StoredToken;
use crate::domain::lifecycle::rules::KeptRules;
use crate::domain::membership::Memberships;
use crate::domain::token::TokenDigest;
use crate::store::Reads;
use crate::store::error::StoreError;

/// What has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A token, as it is now.
    Token(Box<StoredToken>),
    /// A secret that is good for nothing any more.
    Gone(TokenDigest),
    /// A user was suspended, or is not any more, or is something else at organizations.
    User(Person),
    /// Rules about tokens: all of them, as they are now.
    Rules(KeptRules),
    /// The store is another one than before: an older copy was put in its place. All of it is to be read anew.
    Everything,
}

/// What is known of a user wherever their tokens are judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Their login, in lower case.
    pub login: String,
    /// Whether they are suspended.
    pub suspended: bool,
    /// What they are at organizations, by the word of whoever signed them in.
    pub memberships: Memberships,
}

/// How the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// Whether the last look at it succeeded.
    pub readable: bool,
    /// Whether the last attempt to change it did.
    pub writable: bool,
    /// When it was last seen that nothing is left to be followed.
    pub followed_at: UnixTime,
}

/// How far the store has been followed.
pub(super) struct Following {
    follower: OnceLock<Box<dyn Fn(Vec<Change>) + Send + Sync>>,
    /// The last change that was told.
    seen: AtomicI64,
    /// The last entry of the audit trail then, which stays where it is as long as the store is the same.
    trail: Mutex<Option<(i64, Vec<u8>)>>,
    readable: AtomicBool,
    writable: AtomicBool,
    followed_at: AtomicI64,
}

impl fmt::Debug for Following {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Following").field("health", &self.health()).finish_non_exhaustive()
    }
}

impl Following {
    /// From what is there now.
    pub(super) fn new(connection: &Connection) -> Result<Self, StoreError> {
        Ok(Self {
            follower: OnceLock::new(),
            seen: AtomicI64::new(Reads(connection).last_change()?),
            trail: Mutex::new(Reads(connection).last_audit()?),
            readable: AtomicBool::new(true),
            writable: AtomicBool::new(true),
            followed_at: AtomicI64::new(clock::now().0),
        })
    }

    pub(super) fn tell(&self, follower: Box<dyn Fn(Vec<Change>) + Send + Sync>) {
        self.follower.get_or_init(|| follower);
    }

    pub(super) fn health(&self) -> Health {
        Health {
            readable: self.readable.load(Ordering::Relaxed),
            writable: self.writable.load(Ordering::Relaxed),
            followed_at: UnixTime(self.followed_at.load(Ordering::Relaxed)),
        }
    }

    /// Notes that a change could not be made.
    pub(super) fn failed(&self, error: rusqlite::Error) -> StoreError {
        self.writable.store(false, Ordering::Relaxed);
        error.into()
    }

    /// Notes that the store cannot be read.
    pub(super) fn lost(&self) -> bool {
        self.readable.swap(false, Ordering::Relaxed)
    }

    /// Notes that a change was made.
    pub(super) fn changed(&self) {
        self.writable.store(true, Ordering::Relaxed);
    }

    /// Tells everything that has changed and was not told yet.
    pub(super) fn catch_up(&self, connection: &Connection) -> Result<(), rusqlite::Error> {
        let outcome = self.tell_changes(connection);
        self.readable.store(outcome.is_ok(), Ordering::Relaxed);
        if outcome.is_ok() {
            self.followed_at.store(clock::now().0, Ordering::Relaxed);
        }
        outcome
    }

    /// Whether all that has changed was told, as far as anybody follows.
    pub(super) fn is_current(&self, connection: &Connection) -> Result<bool, rusqlite::Error> {
        let seen = self.seen.load(Ordering::Relaxed);
        Ok(self.follower.get().is_none() || Reads(connection).last_change()? == seen)
    }

    fn tell_changes(&self, connection: &Connection) -> Result<(), rusqlite::Error> {
        let (reads, seen) = (Reads(connection), self.seen.load(Ordering::Relaxed));
        let mut trail = self.trail.lock().unwrap_or_else(PoisonError::into_inner);
        let same = match &*trail {
            None => true,
            Some((id, hash)) => reads.audit_hash(*id)?.as_ref() == Some(hash),
        };
        let last = reads.last_change()?;
        if same && last == seen {
            return Ok(());
        }
        // Whoever will follow is told of it then: they may have read the tokens before.
        let Some(follower) = self.follower.get() else { return Ok(()) };
        let (change, changes) =
            if same && last > seen { reads.changes_since(seen)? } else { (last, vec![Change::Everything]) };
        follower(changes);
        *trail = reads.last_audit()?;
        // Only this thread follows.
        self.seen.store(change, Ordering::Relaxed);
        Ok(())
    }
}
