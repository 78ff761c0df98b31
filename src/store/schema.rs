//! The tables, and how older files become what they are now.
//!
//! The statements are as plain as they can be: a table of sequences instead of the database's own, times as whole seconds
//! since 1970 (audit: microseconds; `due_at`: milliseconds), names beside their lower-case keys. `change` counts what happened to a token, over all
//! of them: whoever has seen everything up to one number asks for what is above it.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use crate::store::error::StoreError;
use crate::store::failed_to_open;

/// `PRAGMA application_id`: `Port` in ASCII.
pub(super) const APPLICATION: i64 = 0x506f_7274;

/// What makes each version out of the one before.
pub(super) const MIGRATIONS: [&str; 3] = [VERSION_1, VERSION_2, VERSION_3];

const VERSION_1: &str = "
CREATE TABLE sequences (name TEXT PRIMARY KEY, value BIGINT NOT NULL) WITHOUT ROWID;
INSERT INTO sequences VALUES ('change', 0);

CREATE TABLE users (
    id INTEGER PRIMARY KEY,
    login TEXT NOT NULL,
    login_key TEXT NOT NULL UNIQUE,
    password TEXT,
    administrator BIGINT NOT NULL DEFAULT 0,
    suspended_at BIGINT,
    created_at BIGINT NOT NULL,
    change BIGINT NOT NULL DEFAULT 0,
    provider TEXT,
    subject TEXT,
    UNIQUE (provider, subject)
);
CREATE INDEX users_change ON users (change);
CREATE INDEX users_suspended ON users (login_key) WHERE suspended_at IS NOT NULL;

CREATE TABLE memberships (
    org_key TEXT NOT NULL,
    user_id BIGINT NOT NULL REFERENCES users (id),
    role TEXT NOT NULL,
    PRIMARY KEY (user_id, org_key)
) WITHOUT ROWID;

CREATE TABLE names (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL,
    UNIQUE (kind, name_key)
);

CREATE TABLE tokens (
    id INTEGER PRIMARY KEY,
    user_id BIGINT NOT NULL REFERENCES users (id),
    name TEXT NOT NULL,
    description TEXT,
    public_id TEXT NOT NULL,
    digest BLOB NOT NULL UNIQUE,
    previous_digest BLOB,
    previous_until BIGINT,
    created_at BIGINT NOT NULL,
    issued_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT,
    revoked_by TEXT,
    revoked_why TEXT,
    last_used_at BIGINT,
    last_used_from TEXT,
    last_used_by TEXT,
    change BIGINT NOT NULL
);
CREATE UNIQUE INDEX tokens_name ON tokens (user_id, name) WHERE revoked_at IS NULL;
CREATE UNIQUE INDEX tokens_public_id ON tokens (public_id);
CREATE INDEX tokens_previous ON tokens (previous_digest) WHERE previous_digest IS NOT NULL;
CREATE INDEX tokens_change ON tokens (change);
CREATE INDEX tokens_expiry ON tokens (expires_at) WHERE revoked_at IS NULL;

CREATE TABLE retired (
    digest BLOB PRIMARY KEY,
    token_id BIGINT NOT NULL REFERENCES tokens (id),
    change BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX retired_change ON retired (change);

CREATE TABLE grants (
    id INTEGER PRIMARY KEY,
    token_id BIGINT NOT NULL REFERENCES tokens (id),
    owner TEXT NOT NULL,
    owner_key TEXT NOT NULL,
    selection TEXT NOT NULL,
    repositories TEXT NOT NULL,
    permissions TEXT NOT NULL,
    granted_at BIGINT NOT NULL,
    granted_by TEXT NOT NULL,
    revoked_at BIGINT,
    revoked_by TEXT
);
CREATE UNIQUE INDEX grants_token ON grants (token_id, owner_key) WHERE revoked_at IS NULL;
CREATE INDEX grants_owner ON grants (owner_key, granted_at) WHERE revoked_at IS NULL;

CREATE TABLE requests (
    id INTEGER PRIMARY KEY,
    token_id BIGINT NOT NULL REFERENCES tokens (id),
    owner TEXT NOT NULL,
    owner_key TEXT NOT NULL,
    selection TEXT NOT NULL,
    repositories TEXT NOT NULL,
    permissions TEXT NOT NULL,
    reason TEXT,
    state TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    decided_at BIGINT,
    decided_by TEXT,
    decided_why TEXT
);
CREATE UNIQUE INDEX requests_token ON requests (token_id, owner_key) WHERE state = 'pending';
CREATE INDEX requests_owner ON requests (owner_key, created_at) WHERE state = 'pending';

CREATE TABLE classic_uses (
    digest TEXT NOT NULL,
    upstream TEXT NOT NULL,
    owner_key TEXT NOT NULL,
    times BIGINT NOT NULL,
    first_used_at BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL,
    last_used_from TEXT NOT NULL,
    last_used_by TEXT NOT NULL,
    PRIMARY KEY (digest, upstream, owner_key)
) WITHOUT ROWID;
CREATE INDEX classic_uses_owner ON classic_uses (owner_key, last_used_at);

CREATE TABLE sessions (
    digest BLOB PRIMARY KEY,
    user_id BIGINT NOT NULL REFERENCES users (id),
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX sessions_expiry ON sessions (expires_at);

CREATE TABLE audit (
    id INTEGER PRIMARY KEY,
    at BIGINT NOT NULL,
    action TEXT NOT NULL,
    actor_key TEXT,
    user_key TEXT,
    org_key TEXT,
    token_id BIGINT,
    hashed_token TEXT,
    entry TEXT NOT NULL,
    hash BLOB NOT NULL
);
CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_org ON audit (org_key, id);
CREATE INDEX audit_user ON audit (user_key, id);
CREATE INDEX audit_token ON audit (token_id, id);
CREATE INDEX audit_hashed_token ON audit (hashed_token, id);

CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY,
    guid TEXT NOT NULL UNIQUE,
    hook TEXT NOT NULL,
    event TEXT NOT NULL,
    action TEXT NOT NULL,
    payload TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0,
    tries BIGINT NOT NULL DEFAULT 0,
    due_at BIGINT NOT NULL,
    attempted_at BIGINT,
    status BIGINT,
    error TEXT
);
CREATE INDEX deliveries_due ON deliveries (hook, due_at) WHERE state = 'pending';
CREATE INDEX deliveries_state ON deliveries (state, id);
CREATE INDEX deliveries_hook ON deliveries (hook, id);

CREATE TABLE notices (
    token_id INTEGER PRIMARY KEY REFERENCES tokens (id),
    digest BLOB NOT NULL,
    days BIGINT NOT NULL
);

CREATE TABLE networks (
    token_id BIGINT NOT NULL REFERENCES tokens (id),
    network TEXT NOT NULL,
    seen_at BIGINT NOT NULL,
    PRIMARY KEY (token_id, network)
) WITHOUT ROWID;
";

const VERSION_2: &str = "
CREATE TABLE rules (
    owner_key TEXT PRIMARY KEY,
    rules TEXT,
    changed_at BIGINT NOT NULL,
    changed_by TEXT NOT NULL,
    change BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX rules_change ON rules (change);

CREATE TABLE audit_start (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    id BIGINT NOT NULL,
    hash BLOB NOT NULL
) WITHOUT ROWID;
";

/// `group_names` is a JSON array: the groups of which the configuration made something when the user signed in last.
const VERSION_3: &str = "
ALTER TABLE users ADD COLUMN group_names TEXT;
";

/// The version that this program writes.
pub(super) fn newest() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Looks whether the file of `connection` is a store that this program knows, or empty. Changes nothing.
///
/// # Errors
/// A file of something else, a newer one, a damaged one.
pub(super) fn recognize(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let read = || {
        let (application, found) = (number("PRAGMA application_id")?, number("PRAGMA user_version")?);
        Ok((application, found, number("SELECT count(*) FROM sqlite_master")?))
    };
    let (application, found, tables) = read().map_err(|error| failed_to_open(path, error))?;
    if application != APPLICATION && (application, found, tables) != (0, 0, 0) {
        return Err(StoreError::Foreign(path.to_owned()));
    }
    if found > newest() {
        return Err(StoreError::Newer { found, known: newest() });
    }
    Ok(())
}

/// Brings the file of `connection`, which was recognized, to the newest version.
///
/// # Errors
/// The database's; then nothing was changed.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have been first.
    let found: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    for migration in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(usize::MAX)) {
        transaction.execute_batch(migration)?;
    }
    transaction.execute_batch(&format!(
        "PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {};",
        newest()
    ))?;
    Ok(transaction.commit()?)
}
