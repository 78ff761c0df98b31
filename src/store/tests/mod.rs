//! The store in real files: what is made, read back, followed, and refused.

mod audit;
mod file;
mod follow;
mod lists;
mod people;
mod tokens;

use std::collections::BTreeMap;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::domain::grant::UnixTime;
use crate::domain::token::TokenDigest;
use crate::store::tokens::NewToken;

/// How long anything may take that is waited for.
const DEADLINE: Duration = Duration::from_secs(30);

/// A store in a folder of its own.
struct Fixture {
    store: Store,
    folder: TempDir,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store.db")).unwrap();
        Self { store, folder }
    }

    /// Does `work`, which must not fail.
    #[track_caller]
    fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Changes<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> T {
        self.store.write_now(work).unwrap()
    }

    /// Reads, which must not fail.
    #[track_caller]
    fn look<T>(&self, work: impl FnOnce(Reads<'_>) -> Result<T, StoreError>) -> T {
        self.store.read_now(work).unwrap()
    }

    /// Adds a token of `user`, whose secret is its name, made at 1000 and good until 2000.
    #[track_caller]
    fn add_token(&self, user: &'static str, name: &'static str) -> i64 {
        self.change(move |changes| add_token(changes, user, name))
    }

    /// The tokens as whoever reads all of them has them.
    fn tokens(&self) -> Index {
        let mut tokens = Index::new();
        self.store.each_token(|token, _| take(&mut tokens, token)).unwrap();
        tokens
    }

    /// Another connection, as whoever tampers with the file has one.
    fn tamper(&self, sql: &str) -> usize {
        Connection::open(self.folder.path().join("store.db")).unwrap().execute(sql, []).unwrap()
    }
}

fn add_token(changes: &Changes<'_>, user: &str, name: &str) -> Result<i64, StoreError> {
    let user = changes.user(user, UnixTime(1_000))?;
    changes.add_token(&NewToken {
        user_id: user.id,
        name: name.to_owned(),
        description: None,
        public_id: format!("id of {name}"),
        digest: TokenDigest::of(name),
        at: UnixTime(1_000),
        expires_at: Some(UnixTime(2_000)),
    })
}

/// What stands for each digest: a token, with that secret alone.
type Index = BTreeMap<TokenDigest, StoredToken>;

/// Has `token` stand for each of its digests.
fn take(index: &mut Index, token: &StoredToken) {
    for secret in &token.secrets {
        index.insert(secret.0, StoredToken { secrets: vec![*secret], ..token.clone() });
    }
}

/// Does to `index` what whoever follows does.
fn follow(index: &mut Index, changes: &[Change]) {
    for change in changes {
        match change {
            Change::Token(token) => take(index, token),
            Change::Gone(digest) => drop(index.remove(digest)),
            Change::User(_) | Change::Rules(_) | Change::Everything => {}
        }
    }
}
