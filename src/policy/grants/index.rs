//! The tokens of the store, for the hot path: found by digest, changed one by one.
//!
//! Nearly all of them are packed, as they were when the index was built. What has changed since stands beside them, in a
//! map that is looked at first: a change acts with the next look-up. No I/O; a look-up holds a lock of one part of the map
//! for as long as it takes to count one holder more.

use std::cell::OnceCell;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use dashmap::DashMap;

use crate::domain::grant::UnixTime;
use crate::domain::membership::{Memberships, Role};
use crate::domain::resource::lower_case;
use crate::domain::token::TokenDigest;
use crate::policy::grants::Grant;
use crate::policy::grants::packed::TokenFile;
use crate::policy::grants::states::TokenStates;
use crate::policy::grants::table::TokenTable;

/// Every token of the store.
#[derive(Debug, Default)]
pub struct TokenIndex {
    base: TokenTable,
    /// `None` where there is no such token any more.
    changed: DashMap<TokenDigest, Option<Arc<TokenFile>>, BuildHasherDefault<DigestHasher>>,
    /// How many have changed, so that an index at rest is not even looked at.
    changes: AtomicUsize,
    /// Whether the store has not been followed for too long.
    stale: AtomicBool,
    /// Users who are suspended, in lower case.
    suspended: DashMap<String, ()>,
    /// How many they are: mostly none, and then nobody is looked for.
    suspensions: AtomicUsize,
    /// What users, in lower case, are at organizations by the word of whoever signed them in.
    memberships: DashMap<String, Memberships>,
    /// How many have some: where nobody is signed in by a provider, nobody is looked for.
    members: AtomicUsize,
}

/// What the index says of a digest.
#[derive(Debug, Clone, Copy)]
pub enum Found<'a> {
    /// A token.
    Grant(Grant<'a>),
    /// A token that is gone.
    Gone,
    /// Nothing.
    Unknown,
}

/// Keeps a token that was found in a map that changes, for as long as it is looked at. For one look-up.
#[derive(Debug, Default)]
pub struct Kept(OnceCell<Arc<TokenFile>>);

impl TokenIndex {
    /// An index of what is in `base`.
    pub fn new(base: TokenTable) -> Self {
        Self { base, ..Self::default() }
    }

    /// What stands for `digest`. The answer borrows from `kept`, which must be new.
    pub fn find<'a>(&'a self, digest: &TokenDigest, kept: &'a Kept) -> Found<'a> {
        if self.changes.load(Ordering::Acquire) > 0 {
            // Taken out at once, so that nothing is locked while it is judged by.
            let changed = self.changed.get(digest).map(|entry| entry.value().clone());
            match changed {
                Some(Some(file)) => return kept.keep(file).map_or(Found::Gone, Found::Grant),
                Some(None) => return Found::Gone,
                None => {}
            }
        }
        self.base.get(digest).map_or(Found::Unknown, Found::Grant)
    }

    /// From now on `token`, which is alone in its file, stands for `digest`; `None` takes it away.
    pub fn put(&self, digest: TokenDigest, token: Option<Arc<TokenFile>>) {
        self.changed.insert(digest, token);
        self.changes.store(self.changed.len(), Ordering::Release);
    }

    /// Says whether a user, in lower case, is suspended.
    pub fn set_suspended(&self, login: String, suspended: bool) {
        if suspended {
            self.suspended.insert(login, ());
        } else {
            self.suspended.remove(&login);
        }
        self.suspensions.store(self.suspended.len(), Ordering::Release);
    }

    /// Whether a user is suspended, whoever says what their tokens open.
    pub fn is_suspended(&self, login: &str) -> bool {
        self.suspensions.load(Ordering::Acquire) > 0 && self.suspended.contains_key(&*lower_case(login))
    }

    /// Says what a user, in lower case, is at organizations by the word of whoever signed them in.
    pub fn set_memberships(&self, login: String, memberships: Memberships) {
        if memberships.is_empty() {
            self.memberships.remove(&login);
        } else {
            self.memberships.insert(login, memberships);
        }
        self.members.store(self.memberships.len(), Ordering::Release);
    }

    /// What a user is at `organization` by the word of whoever signed them in.
    pub fn role(&self, login: &str, organization: &str) -> Option<Role> {
        if self.members.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.memberships.get(&*lower_case(login))?.at(organization)
    }

    /// Whether what is here is too old to go by.
    pub fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }

    /// Says whether what is here is too old to go by; gives whether that is news.
    pub fn set_stale(&self, stale: bool) -> bool {
        self.stale.swap(stale, Ordering::Relaxed) != stale
    }

    /// How many tokens are not where they were when the index was built.
    pub fn changes(&self) -> usize {
        self.changes.load(Ordering::Relaxed)
    }

    /// How many tokens there were when the index was built.
    pub fn packed(&self) -> usize {
        self.base.len()
    }

    /// How many tokens there are, whatever their state.
    pub fn len(&self) -> usize {
        self.changed.iter().fold(self.base.len(), |sum, entry| {
            let before = usize::from(self.base.get(entry.key()).is_some());
            (sum + usize::from(entry.value().is_some())).saturating_sub(before)
        })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many tokens are in which state. Costs a look at each token that has changed.
    pub fn states(&self, now: UnixTime) -> TokenStates {
        self.changed.iter().fold(self.base.states(now), |sum, entry| {
            let before = self.base.get(entry.key()).map(|grant| grant.counted(now)).unwrap_or_default();
            let after = entry.value().as_ref().map(|file| file.states(now)).unwrap_or_default();
            sum.plus(after).minus(before)
        })
    }

    /// How many active tokens stop working within `within` seconds. Costs as much as [`Self::states`].
    pub fn expiring(&self, now: UnixTime, within: i64) -> usize {
        let until = UnixTime(now.0.saturating_add(within));
        let soon = |grant: Grant<'_>| {
            usize::from(grant.counted(now).active == 1 && grant.counted(until).active == 0)
        };
        self.changed.iter().fold(self.base.expiring(now, within), |sum, entry| {
            let before = self.base.get(entry.key()).map(soon).unwrap_or_default();
            let after = entry.value().as_ref().map_or(0, |file| file.expiring(now, within));
            (sum + after).saturating_sub(before)
        })
    }
}

impl Kept {
    /// `None` where another token is kept already: whoever looks twice has made a mistake, and gets nothing.
    fn keep(&self, file: Arc<TokenFile>) -> Option<Grant<'_>> {
        self.0.set(file).ok()?;
        self.0.get()?.grant(0)
    }
}

/// Takes a digest as it is: nobody chooses it.
#[derive(Debug, Default)]
pub struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, _) = bytes.as_chunks::<8>();
        self.0 = words.first().map_or(self.0, |word| u64::from_le_bytes(*word));
    }

    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::grant::GrantState;
    use crate::domain::permission::PermissionSet;
    use crate::policy::grants::packed::{Packer, TokenTerms};

    const NOW: UnixTime = UnixTime(1_000);

    fn digest(number: u8) -> TokenDigest {
        TokenDigest::of(&number.to_string())
    }

    /// Tokens with these numbers and states, that work until 2,000.
    fn file(tokens: &[(u8, GrantState)]) -> TokenFile {
        let mut packer = Packer::default();
        for (number, state) in tokens {
            let terms = TokenTerms {
                digest: digest(*number),
                line: 0,
                name: "n",
                user: "u",
                expires_at: UnixTime(2_000),
                created_at: None,
                state: *state,
                user_permissions: PermissionSet::default(),
                networks: &[],
                parts: &[],
            };
            packer.push(&terms).unwrap();
        }
        packer.finish("store".into())
    }

    fn one(number: u8, state: GrantState) -> Arc<TokenFile> {
        Arc::new(file(&[(number, state)]))
    }

    /// The state of a token; `Err(true)` where it is gone.
    fn state(index: &TokenIndex, number: u8) -> Result<GrantState, bool> {
        match index.find(&digest(number), &Kept::default()) {
            Found::Grant(grant) => Ok(grant.state()),
            Found::Gone => Err(true),
            Found::Unknown => Err(false),
        }
    }

    #[test]
    fn what_changed_goes_before_what_was_packed() {
        use GrantState::{Active, Revoked, Suspended};
        let base = file(&[(1, Active), (2, Active), (3, Active)]);
        let index = TokenIndex::new(TokenTable::build(vec![Arc::new(base)], || {}).unwrap());
        assert_eq!((state(&index, 1), state(&index, 9)), (Ok(Active), Err(false)));
        index.put(digest(1), Some(one(1, Revoked)));
        index.put(digest(2), None);
        index.put(digest(4), Some(one(4, Suspended)));
        assert_eq!((state(&index, 1), state(&index, 2)), (Ok(Revoked), Err(true)));
        assert_eq!((state(&index, 3), state(&index, 4)), (Ok(Active), Ok(Suspended)));
        assert_eq!((index.len(), index.changes()), (3, 3));
        let states = index.states(NOW);
        assert_eq!((states.active, states.revoked, states.suspended), (1, 1, 1));
        assert_eq!((index.expiring(NOW, 5_000), index.expiring(NOW, 10)), (1, 0));
        index.put(digest(1), Some(one(1, Active)));
        assert_eq!(state(&index, 1), Ok(Active));
        assert_eq!(index.expiring(NOW, 5_000), 2);
    }

    #[test]
    fn a_keeper_is_for_one_look_up() {
        let index = TokenIndex::default();
        index.put(digest(1), Some(one(1, GrantState::Active)));
        let kept = Kept::default();
        assert!(matches!(index.find(&digest(1), &kept), Found::Grant(_)));
        assert!(matches!(index.find(&digest(1), &kept), Found::Gone));
    }
}
