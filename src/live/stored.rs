//! The tokens of the store in the snapshot in force.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock;
use crate::domain::fault::Fault;
use crate::domain::lifecycle::rules::KeptRules;
use crate::domain::permission::Vocabulary;
use crate::live::LivePolicy;
use crate::policy::grants::index::TokenIndex;
use crate::policy::grants::packed::Packer;
use crate::policy::grants::table::TokenTable;
use crate::policy::snapshot::Snapshot;
use crate::policy::stored;
use crate::store::{Change, Person, Reads, Store};

/// How many tokens are told of at a time while an index is built.
const TOLD: usize = 250_000;

/// How many tokens may have changed before the index is built anew, beside a share of all.
const CHANGES: usize = 10_000;

/// The tokens of `store`, packed.
fn index(store: &Store, vocabulary: &Vocabulary) -> Result<TokenIndex, Fault> {
    let (mut packer, mut unpacked, mut done) = (Packer::default(), 0_usize, 0_usize);
    let read = store.each_token(|token, count| {
        if let Err(error) = stored::pack(token, vocabulary, &mut packer) {
            // It is unknown then, which refuses.
            tracing::error!(token = token.name, user = token.user, %error, "a token of the store is left out");
            unpacked += 1;
        }
        done += 1;
        if done.is_multiple_of(TOLD) {
            tracing::info!(done, count, "reading the tokens of the store");
        }
    });
    let fault = |message: String| Fault::of_file(store.path(), message);
    read.map_err(|error| fault(error.to_string()))?;
    let table = TokenTable::build(vec![Arc::new(stored::finish(&mut packer))], || {});
    let table = table.map_err(|twice| fault(format!("holds {} secrets twice", twice.duplicates.len())))?;
    let index = TokenIndex::new(table);
    let find = |reads: Reads<'_>| reads.people();
    for person in store.read_now(find).map_err(|error| fault(error.to_string()))? {
        know(&index, person);
    }
    Ok(index)
}

/// What `store` has: its tokens, and its rules.
pub(super) fn contents(
    store: &Store,
    vocabulary: &Vocabulary,
) -> Result<(Arc<TokenIndex>, Arc<KeptRules>), Fault> {
    let stored = index(store, vocabulary)?;
    let kept = store.read_now(|reads: Reads<'_>| reads.kept_rules());
    let kept = kept.map_err(|error| Fault::of_file(store.path(), error.to_string()))?;
    Ok((Arc::new(stored), Arc::new(kept)))
}

/// Has `index` know of `person` what their tokens are judged by.
fn know(index: &TokenIndex, person: Person) {
    index.set_suspended(person.login.clone(), person.suspended);
    index.set_memberships(person.login, person.memberships);
}

impl LivePolicy {
    /// Has every change of the store put in force from now on, before the call that makes it returns.
    pub fn follow(self: &Arc<Self>) {
        if let Some(store) = &self.store {
            // The store must not keep the policy, which keeps the store.
            let live = Arc::downgrade(self);
            store.follow(Box::new(move |changes| {
                if let Some(live) = live.upgrade() {
                    live.publish(changes);
                }
            }));
        }
    }

    /// Looks whether the store has been followed within `most`; tokens of a store that was not are refused. Gives whether
    /// they are, where that is news.
    pub fn look_at_store(&self, most: Duration) -> Option<bool> {
        let followed = self.store.as_ref()?.health().followed_at;
        let most = i64::try_from(most.as_secs()).unwrap_or(i64::MAX);
        let stale = clock::now().0.saturating_sub(followed.0) > most;
        let news = self.peek().stored.set_stale(stale);
        if news {
            self.version.fetch_add(1, Ordering::AcqRel);
        }
        news.then_some(stale)
    }

    /// The store, where there is one.
    pub fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    /// Puts `changes` in force.
    fn publish(&self, changes: Vec<Change>) {
        let mut retired = self.publishing();
        let (Some(store), mut snapshot) = (&self.store, self.snapshot.load_full()) else { return };
        for change in changes {
            match change {
                Change::Gone(digest) => snapshot.stored.put(digest, None),
                Change::User(person) => know(&snapshot.stored, person),
                Change::Rules(kept) => {
                    let next = self.replace(&snapshot, |next| next.keep_rules(Arc::new(kept)));
                    retired.push(std::mem::replace(&mut snapshot, next));
                }
                Change::Everything => {
                    tracing::warn!("the store is an older copy of itself; its tokens are read anew");
                    match contents(store, &snapshot.vocabulary) {
                        Ok((stored, kept)) => {
                            let next = self.replace(&snapshot, |next| {
                                next.stored = stored;
                                next.keep_rules(kept);
                            });
                            retired.push(std::mem::replace(&mut snapshot, next));
                        }
                        Err(fault) => tracing::error!("the tokens of the store stay as they were: {fault}"),
                    }
                }
                Change::Token(token) => match stored::alone(&token, &snapshot.vocabulary) {
                    Ok(packed) => {
                        for (digest, file) in packed {
                            snapshot.stored.put(digest, Some(file));
                        }
                    }
                    Err(error) => {
                        tracing::error!(token = token.name, user = token.user, %error, "a token of the store is left out");
                        token.secrets.iter().for_each(|(digest, _)| snapshot.stored.put(*digest, None));
                    }
                },
            }
        }
        self.version.fetch_add(1, Ordering::AcqRel);
        drop(retired);
    }

    /// Puts `snapshot` in force with what `change` makes of it.
    fn replace(&self, snapshot: &Snapshot, change: impl FnOnce(&mut Snapshot)) -> Arc<Snapshot> {
        let mut next = Snapshot::clone(snapshot);
        change(&mut next);
        let next = Arc::new(next);
        self.snapshot.store(Arc::clone(&next));
        next
    }

    /// Puts `snapshot` in force, with the tokens of the store. They are compiled anew
    /// where they mean something else now, or too many have changed since they were.
    ///
    /// # Errors
    /// The store cannot be read; then the snapshot before stays.
    pub(super) fn put_in_force(&self, mut snapshot: Snapshot) -> Result<Arc<Snapshot>, Fault> {
        let mut retired = self.publishing();
        let before = self.snapshot.load_full();
        snapshot.stored = match &self.store {
            Some(store) if before.vocabulary != snapshot.vocabulary || is_worn(&before.stored) => {
                Arc::new(index(store, &snapshot.vocabulary)?)
            }
            Some(_) | None => Arc::clone(&before.stored),
        };
        snapshot.keep_rules(Arc::clone(&before.kept));
        drop(before);
        let snapshot = Arc::new(snapshot);
        retired.push(self.snapshot.swap(Arc::clone(&snapshot)));
        self.version.fetch_add(1, Ordering::AcqRel);
        drop(retired);
        Ok(snapshot)
    }

    /// Whether so many tokens have changed that the index is to be built anew.
    pub(super) fn is_worn(&self) -> bool {
        is_worn(&self.snapshot.load().stored)
    }
}

/// Whether so much of `index` stands outside of its packed part that it is to be built anew.
fn is_worn(index: &TokenIndex) -> bool {
    index.changes() > CHANGES + index.packed() / 8
}
