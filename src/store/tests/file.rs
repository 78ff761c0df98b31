//! Which files are opened, and which are refused and left alone.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::domain::lifecycle::rules::TokenRules;

/// What `path` is refused for.
#[track_caller]
fn check(path: &Path, fits: impl Fn(&StoreError) -> bool) -> String {
    let error = Store::open(path).unwrap_err();
    assert!(fits(&error), "{error:?}");
    error.to_string()
}

/// As [`check`], for a file that must stay as it is, with nothing beside it.
#[track_caller]
fn check_untouched(path: &Path, fits: impl Fn(&StoreError) -> bool) {
    let before = fs::read(path).unwrap();
    check(path, fits);
    assert!(fs::read(path).unwrap() == before, "the file was changed");
    let beside: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap()).collect();
    assert_eq!(beside.len(), 1, "{beside:?}");
}

/// A database of another application, made by `sql`.
fn other_application(folder: &TempDir, sql: &str) -> PathBuf {
    let path = folder.path().join("other.db");
    Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    path
}

#[test]
fn a_store_is_what_it_was_when_it_is_opened_again() {
    let fixture = Fixture::new();
    fixture.add_token("bob", "one");
    let again = Store::open(fixture.store.path()).unwrap();
    let Fixture { store, folder } = fixture;
    drop(store);
    let fixture = Fixture { store: again, folder };
    assert_eq!(fixture.tokens().into_values().map(|token| token.name).collect::<Vec<_>>(), ["one"]);
    fixture.add_token("bob", "two");
    assert_eq!(fixture.tokens().len(), 2);
    assert_eq!(fixture.store.path(), fixture.folder.path().join("store.db"));
    let health = fixture.store.health();
    assert!(health.readable && health.writable);
}

#[test]
fn an_empty_file_becomes_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    fs::write(&path, "").unwrap();
    Store::open(&path).unwrap();
    let version: i64 =
        Connection::open(&path).unwrap().query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, schema::newest());
}

#[test]
fn what_an_older_version_wrote_becomes_what_it_is_now() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(schema::MIGRATIONS[0]).unwrap();
    connection.pragma_update(None, "application_id", schema::APPLICATION).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    connection
        .execute_batch("INSERT INTO users (login, login_key, created_at) VALUES ('Bob', 'bob', 1)")
        .unwrap();
    drop(connection);
    let store = Store::open(&path).unwrap();
    let users = |reads: Reads<'_>| reads.users();
    assert_eq!(store.read_now(users).unwrap()[0].login, "Bob");
    let fixture = Fixture { store, folder };
    fixture.add_token("bob", "one");
    let rules = TokenRules { max_lifetime: Some(90), ..TokenRules::default() };
    let (kept, by) = (rules.clone(), (UnixTime(5), "bob"));
    fixture.change(move |changes| changes.set_rules(Some("Acme"), Some(&kept), by));
    let find = |reads: Reads<'_>| reads.kept_rules();
    let kept = fixture.store.read_now(find).unwrap();
    assert_eq!(kept.organizations, HashMap::from([("acme".to_owned(), rules)]));
}

#[test]
fn what_a_newer_version_wrote_is_refused() {
    let fixture = Fixture::new();
    let newer = schema::newest() + 1;
    Connection::open(fixture.store.path()).unwrap().pragma_update(None, "user_version", newer).unwrap();
    let is_newer = |error: &StoreError| matches!(error, StoreError::Newer { found, known } if (*found, *known) == (newer, newer - 1));
    let message = check(fixture.store.path(), is_newer);
    assert!(message.contains("run the newer program again"), "{message}");
}

#[test]
fn what_is_no_store_is_left_as_it_is() {
    let is_foreign = |error: &StoreError| matches!(error, StoreError::Foreign(_));
    for sql in [
        "CREATE TABLE theirs (id INTEGER); INSERT INTO theirs VALUES (1);",
        "PRAGMA application_id = 7;",
        "PRAGMA user_version = 1;",
        "PRAGMA application_id = 7; PRAGMA user_version = 1; CREATE TABLE theirs (id INTEGER);",
        "PRAGMA journal_mode = WAL; CREATE TABLE theirs (id INTEGER);",
    ] {
        let folder = tempfile::tempdir().unwrap();
        check_untouched(&other_application(&folder, sql), is_foreign);
    }
    for text in ["tokens: []\n".to_owned(), "SQLite format 2".repeat(1_000)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        fs::write(&path, text).unwrap();
        check_untouched(&path, is_foreign);
    }
}

#[test]
fn a_damaged_store_is_told_from_one_of_somebody_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    drop(Store::open(&path).unwrap());
    // The journal belongs into the file before that is damaged.
    Connection::open(&path).unwrap().pragma_update(None, "wal_checkpoint", "TRUNCATE").unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes.iter_mut().skip(100).for_each(|byte| *byte = 0xff);
    fs::write(&path, bytes).unwrap();
    check(&path, |error| matches!(error, StoreError::Damaged(_)));
}

#[test]
fn what_cannot_be_opened_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().join("absent/store.db"), folder.path().to_owned()] {
        let message =
            check(&path, |error| matches!(error, StoreError::Open { .. } | StoreError::File { .. }));
        assert!(message.contains(path.to_str().unwrap()), "{message}");
    }
    assert!(!folder.path().join("absent").exists());
}

#[test]
fn a_file_that_may_not_be_written_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    if OpenOptions::new().write(true).open(&path).is_ok() {
        // Whoever is root may write everything.
        return;
    }
    check(&path, |error| matches!(error, StoreError::Disk(_) | StoreError::Open { .. }));
}

#[test]
fn work_that_fails_leaves_nothing_and_is_not_told() {
    let fixture = Fixture::new();
    let (told, tells) = std::sync::mpsc::channel();
    fixture.store.follow(Box::new(move |changes| told.send(changes).unwrap()));
    let failed = fixture.store.write_now(|changes| {
        let id = add_token(changes, "bob", "one")?;
        assert!(changes.reads().token(id)?.is_some(), "seen within");
        Err::<(), _>(StoreError::Unreadable("on purpose".into()))
    });
    assert!(matches!(failed, Err(StoreError::Unreadable(_))), "{failed:?}");
    assert_eq!(fixture.look(|reads| reads.user("bob")), None);
    assert!(fixture.tokens().is_empty());
    // A name that is taken is the database's own failure.
    fixture.add_token("bob", "one");
    let twice = fixture.store.write_now(|changes| {
        changes.user("carol", UnixTime(1))?;
        add_token(changes, "bob", "one")
    });
    assert!(matches!(twice, Err(StoreError::Other(_))), "{twice:?}");
    assert_eq!(fixture.look(|reads| reads.user("carol")), None);
    let changes: Vec<_> = tells.try_iter().flatten().collect();
    assert_eq!(changes.len(), 1, "{changes:?}");
}

#[test]
fn a_full_disk_is_told_and_nothing_is_changed() {
    let fixture = Fixture::new();
    let limit = |pages: i64| {
        let limit = move |writer: &mut Writer| {
            writer.connection.pragma_update(None, "max_page_count", pages).unwrap();
        };
        fixture.store.writer.send(Box::new(limit)).unwrap();
    };
    // As many as there are.
    limit(1);
    let long = || "x".repeat(100_000);
    let full = fixture.store.write_now(move |changes| {
        let id = add_token(changes, "bob", "one")?;
        changes.rename_token(id, "one", Some(&long()))
    });
    assert!(matches!(full, Err(StoreError::Full)), "{full:?}");
    assert!(fixture.tokens().is_empty());
    limit(1_000_000);
    let id = fixture.add_token("bob", "one");
    fixture.change(move |changes| changes.rename_token(id, "one", Some(&long())));
    assert_eq!(fixture.tokens().len(), 1);
}

#[tokio::test]
async fn calls_of_tasks_are_those_of_threads() {
    let fixture = Fixture::new();
    let id = fixture.store.write(|changes| add_token(changes, "bob", "one")).await.unwrap();
    let read = fixture.store.read(move |reads| reads.token(id)).await.unwrap();
    assert_eq!(read, fixture.look(|reads| reads.token(id)));
    assert_eq!(read.unwrap().name, "one");
}

/// What is written into a file that has lost its name is gone with the process.
#[test]
fn a_file_that_was_replaced_takes_no_changes() {
    let fixture = Fixture::new();
    let path = fixture.store.path().to_owned();
    std::fs::rename(&path, path.with_extension("away")).unwrap();
    drop(Store::open(&path).unwrap());
    let refused = fixture.store.write_now(|changes| changes.user("bob", UnixTime(1)));
    assert!(matches!(&refused, Err(StoreError::Replaced)), "{refused:?}");
    assert!(refused.unwrap_err().to_string().contains("restart to go by that one"));
    assert!(!fixture.store.health().readable);
}
