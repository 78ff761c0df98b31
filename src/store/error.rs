//! What can go wrong with the store, and what to do about it.

use std::io;
use std::path::PathBuf;

use rusqlite::ErrorCode;
use thiserror::Error;

/// The store did not do what it was asked for. Nothing was changed, but for [`StoreError::Behind`].
#[derive(Debug, Error)]
pub enum StoreError {
    /// The file cannot be opened.
    #[error("the store `{}` cannot be opened: {source}; check that its folder exists and may be written", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the database says.
        source: rusqlite::Error,
    },
    /// The file cannot be made or looked at.
    #[error("the store `{}` cannot be opened: {source}; check that its folder exists and may be written", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is a database of something else, or none.
    #[error("`{}` is no store of Portcullis; name another file in `store`", .0.display())]
    Foreign(PathBuf),
    /// The file was written by a newer version.
    #[error(
        "the store has version {found}, and this program knows versions up to {known}; run the newer program again, or restore a copy from before it"
    )]
    Newer {
        /// The version of the file.
        found: i64,
        /// The newest version that is known.
        known: i64,
    },
    /// The file is damaged.
    #[error("the store is damaged: {0}; restore the last good copy of it")]
    Damaged(rusqlite::Error),
    /// The disk is full.
    #[error("the disk of the store is full; free some of it, nothing was changed")]
    Full,
    /// The disk or the file is read-only, or fails.
    #[error("the store cannot be written: {0}; nothing was changed")]
    Disk(rusqlite::Error),
    /// Another process holds the file, or more is asked for than can be done.
    #[error("the store is busy; nothing was changed, try again")]
    Busy,
    /// The change is in the store, and could not be put in force yet.
    #[error("the change is stored, and in force as soon as the store can be read again: {0}")]
    Behind(rusqlite::Error),
    /// Its file is another one than was opened.
    #[error("the store's file was replaced by another one; nothing was changed, restart to go by that one")]
    Replaced,
    /// Something else.
    #[error("the store failed: {0}; nothing was changed")]
    Other(rusqlite::Error),
    /// What is stored cannot be understood.
    #[error("the store holds something that cannot be read: {0}")]
    Unreadable(String),
    /// The process ends.
    #[error("the store is closed; nothing was changed")]
    Closed,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(
                ErrorCode::ReadOnly
                | ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied,
            ) => Self::Disk(error),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(error),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            Some(_) | None => Self::Other(error),
        }
    }
}
