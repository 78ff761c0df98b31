//! What must outlive the process: users, tokens, what was granted and asked for, sessions, and the audit trail.
//!
//! `SQLite` in one file. One thread writes, one reads; both are asked through queues with a bound, so nobody else ever waits
//! for a disk. Each call is one transaction, which is on the disk (`synchronous=FULL`) before the call returns, and in
//! force: whoever follows the store is told of the change in between. Another process may write the same file; what it
//! changed is seen within [`LOOK_EVERY`].
//!
//! All SQL is in this module. `rusqlite` rather than `sqlx`: a transaction here is a piece of plain code on one thread,
//! which nothing can cancel in its middle, and half of the dependencies.

pub mod audit;
pub mod classic;
pub mod deliveries;
pub mod error;
mod follow;
pub mod lists;
pub mod memberships;
pub mod notices;
pub mod people;
pub mod rows;
pub mod rules;
mod schema;
pub mod tokens;
mod uses;

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use crate::clock;
use crate::domain::lifecycle::StoredToken;
use crate::store::error::StoreError;
use crate::store::follow::Following;
pub use crate::store::follow::{Change, Health, Person};

/// How often the store looks whether another process has changed the file.
pub const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long another process may hold the file.
const BUSY_TIME: Duration = Duration::from_secs(5);

/// How often a change is begun anew because another process changed something meanwhile.
const TRIES: u32 = 20;

/// Calls that may wait. More than these are refused at once.
const QUEUE: usize = 1024;

/// Pages of the file kept in memory, KiB.
const CACHE: i64 = 16 * 1024;

type Job<C> = Box<dyn FnOnce(&mut C) + Send>;

/// The store. Cheap to clone; it is closed when the last clone goes.
#[derive(Clone)]
pub struct Store {
    path: PathBuf,
    writer: SyncSender<Job<Writer>>,
    reader: SyncSender<Job<Connection>>,
    following: Arc<Following>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}

/// What one call reads.
#[derive(Debug, Clone, Copy)]
pub struct Reads<'c>(&'c Connection);

/// What one call changes. It takes effect whole, or not at all.
#[derive(Debug)]
pub struct Changes<'c>(Transaction<'c>);

impl Changes<'_> {
    /// What is there, with what this call has changed so far.
    pub fn reads(&self) -> Reads<'_> {
        Reads(&self.0)
    }
}

/// The thread that writes.
struct Writer {
    connection: Connection,
    following: Arc<Following>,
    path: PathBuf,
    /// Which file was opened: another one at its path is another store.
    file: FileId,
}

/// Device and inode.
type FileId = (u64, u64);

fn file_id(path: &Path) -> io::Result<FileId> {
    fs::metadata(path).map(|found| (found.dev(), found.ino()))
}

/// Makes the file where it does not exist, for its owner alone: it holds hashes of passwords.
fn make(path: &Path) -> io::Result<()> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

impl Store {
    /// Opens the file at `path`, which is made where it does not exist.
    ///
    /// # Errors
    /// [`StoreError`]: a file of something else, a newer or a damaged one, one that cannot be written.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let unmade = |source| StoreError::File { path: path.to_owned(), source };
        make(path).map_err(unmade)?;
        let mut connection =
            connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        schema::recognize(&connection, path)?;
        // Only now: it is the first thing that changes the file.
        connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
            .map_err(|source| failed_to_open(path, source))?;
        schema::migrate(&mut connection)?;
        let following = Arc::new(Following::new(&connection)?);
        let reads = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let (writer, jobs) = sync_channel(QUEUE);
        let file = file_id(path).map_err(unmade)?;
        let own = Writer { connection, following: Arc::clone(&following), path: path.to_owned(), file };
        start("store", move || own.run(&jobs))?;
        let (reader, jobs) = sync_channel::<Job<Connection>>(QUEUE);
        start("store-reads", move || {
            let mut connection = reads;
            for job in jobs {
                job(&mut connection);
            }
        })?;
        Ok(Self { path: path.to_owned(), writer, reader, following })
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How it is.
    pub fn health(&self) -> Health {
        self.following.health()
    }

    /// Does `work` as one transaction and, where it gives `Ok`, makes it last and puts it in force.
    ///
    /// # Errors
    /// Those of `work`, after which nothing is changed, and [`StoreError`].
    ///
    /// # Cancel safety
    /// What has been asked for is done to its end though nobody waits for it.
    pub async fn write<T, E>(
        &self,
        work: impl FnOnce(&Changes<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (reply, done) = oneshot::channel();
        ask(&self.writer, move |writer: &mut Writer| drop(reply.send(writer.transact(work))))?;
        done.await.unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }

    /// As [`Self::write`], for callers that have no runtime: waits on their thread.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_now<T, E>(
        &self,
        work: impl FnOnce(&Changes<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (reply, done) = sync_channel(1);
        ask(&self.writer, move |writer: &mut Writer| drop(reply.send(writer.transact(work))))?;
        done.recv().unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }

    /// As [`Self::write`], where nobody waits for it. A failure is logged.
    pub fn write_aside(&self, work: impl FnOnce(&Changes<'_>) -> Result<(), StoreError> + Send + 'static) {
        let asked = ask(&self.writer, move |writer: &mut Writer| {
            if let Err(error) = writer.transact(work) {
                tracing::warn!(%error, "not stored");
            }
        });
        if let Err(error) = asked {
            tracing::warn!(%error, "not stored");
        }
    }

    /// Waits until all that was asked for so far has been done, for as long as `time`.
    pub fn flush(&self, time: Duration) {
        let (done, told) = sync_channel(1);
        let asked = ask(&self.writer, move |_: &mut Writer| done.send(()).unwrap_or_default());
        if asked.is_err() || told.recv_timeout(time).is_err() {
            tracing::warn!("the store could not be written to its end in time");
        }
    }

    /// Does `work` by what is there at one moment.
    ///
    /// # Errors
    /// Those of `work`, and [`StoreError`].
    ///
    /// # Cancel safety
    /// Reading goes on to its end though nobody waits for it.
    pub async fn read<T, E>(
        &self,
        work: impl FnOnce(Reads<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (reply, done) = oneshot::channel();
        ask(&self.reader, move |connection: &mut Connection| drop(reply.send(look(connection, work))))?;
        done.await.unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }

    /// As [`Self::read`], on the caller's thread.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_now<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(Reads<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        look(&mut connect(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?, work)
    }

    /// Gives every token to `take`, as they are at one moment, on the caller's thread; `take` gets how many there are in
    /// all besides. Changes up to that moment need not be followed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn each_token(&self, mut take: impl FnMut(&StoredToken, usize)) -> Result<(), StoreError> {
        self.read_now(|reads| reads.each_token(&mut take))
    }

    /// Has `follower` told of every change since the store was opened: of those to come, before the call that makes them
    /// returns; of those before, within [`LOOK_EVERY`]. The first one stays.
    pub fn follow(&self, follower: Box<dyn Fn(Vec<Change>) + Send + Sync>) {
        self.following.tell(follower);
    }
}

fn start(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
    let started = thread::Builder::new().name(name.to_owned()).spawn(run);
    started.map(drop).map_err(|error| StoreError::Unreadable(format!("no thread for it: {error}")))
}

fn ask<C>(queue: &SyncSender<Job<C>>, job: impl FnOnce(&mut C) + Send + 'static) -> Result<(), StoreError> {
    queue.try_send(Box::new(job)).map_err(|error| match error {
        TrySendError::Full(_) => StoreError::Busy,
        TrySendError::Disconnected(_) => StoreError::Closed,
    })
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let open = || {
        let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(BUSY_TIME)?;
        connection.execute_batch(&format!(
            "PRAGMA cache_size = -{CACHE}; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;"
        ))?;
        Ok(connection)
    };
    open().map_err(|source| failed_to_open(path, source))
}

fn failed_to_open(path: &Path, source: rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => StoreError::Foreign(path),
        Some(ErrorCode::DatabaseCorrupt) => StoreError::Damaged(source),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy,
        Some(_) | None => StoreError::Open { path, source },
    }
}

fn look<T, E: From<StoreError>>(
    connection: &mut Connection,
    work: impl FnOnce(Reads<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let transaction = connection.transaction().map_err(StoreError::from)?;
    work(Reads(&transaction))
}

impl Writer {
    /// Until the store is closed.
    fn run(mut self, jobs: &Receiver<Job<Self>>) {
        let mut looked = clock::monotonic();
        loop {
            match jobs.recv_timeout(LOOK_EVERY) {
                Ok(job) => job(&mut self),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // Also where calls that fail come one after the other.
            let now = clock::monotonic();
            if now.saturating_duration_since(looked) >= LOOK_EVERY {
                looked = now;
                self.look();
            }
        }
    }

    /// Follows what other processes have changed, or what could not be followed before.
    fn look(&mut self) {
        if self.is_replaced() {
            return;
        }
        if let Err(error) = self.following.catch_up(&self.connection) {
            tracing::error!(%error, "the store cannot be read; what is in memory goes on being enforced");
        }
    }

    /// Whether another file has taken the place of the one that was opened, which is told once.
    fn is_replaced(&self) -> bool {
        let replaced = file_id(&self.path).ok() != Some(self.file);
        if replaced && self.following.lost() {
            let path = self.path.display();
            tracing::error!("the store `{path}` was replaced by another file; restart to go by that one");
        }
        replaced
    }

    fn transact<T, E: From<StoreError>>(
        &mut self,
        work: impl FnOnce(&Changes<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        if self.is_replaced() {
            return Err(StoreError::Replaced.into());
        }
        let mut tries = TRIES;
        let done = loop {
            // What another process has changed is in force before this call is judged by it. Not while the file is locked: it
            // may take a while.
            self.following.catch_up(&self.connection).map_err(StoreError::from)?;
            let failed = |error| self.following.failed(error);
            let begun = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
            let changes = Changes(begun.map_err(failed)?);
            if !self.following.is_current(&changes.0).map_err(StoreError::from)? {
                tries -= 1;
                if tries > 0 {
                    continue;
                }
                return Err(StoreError::Busy.into());
            }
            let done = work(&changes)?;
            changes.0.commit().map_err(failed)?;
            break done;
        };
        self.following.changed();
        self.following.catch_up(&self.connection).map_err(StoreError::Behind)?;
        Ok(done)
    }
}

#[cfg(test)]
mod tests;
