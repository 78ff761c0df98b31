//! Finds a token by its digest, among all policy files.
//!
//! An open table of 12 bytes a slot, two thirds full at most. One half of a digest's hash says where to look, the other one
//! whether it is worth to look at the token: a look-up reads one or two lines of the processor's cache here and one at the
//! token, however many tokens there are. Whoever presents tokens cannot put any in, and makes up no text with a digest of
//! his choice.

use std::sync::Arc;

use crate::domain::grant::UnixTime;
use crate::domain::token::TokenDigest;
use crate::policy::grants::Grant;
use crate::policy::grants::packed::TokenFile;
use crate::policy::grants::states::TokenStates;

/// Every declared token. Cheap to clone the files of, and cheap to let go.
#[derive(Debug, Clone, Default)]
pub struct TokenTable {
    files: Vec<Arc<TokenFile>>,
    slots: Box<[Slot]>,
    length: usize,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    /// The lower half of the digest's hash; the upper half says where to look.
    tag: u32,
    file: u32,
    /// [`EMPTY`] where there is none.
    entry: u32,
}

const EMPTY: u32 = u32::MAX;

/// How many tokens are put into a table between two pauses.
const BETWEEN_PAUSES: usize = 1024;

/// Where a token stands: its file by number, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenPlace {
    /// The file's number.
    pub file: usize,
    /// The token's number in the file.
    pub entry: usize,
}

/// A digest that stands twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Duplicate {
    /// Where it stands first, in the order of the files.
    pub first: TokenPlace,
    /// Where it stands again.
    pub again: TokenPlace,
}

/// Files that make no table.
#[derive(Debug)]
pub struct Twice {
    /// The files.
    pub files: Vec<Arc<TokenFile>>,
    /// Every digest that stands twice.
    pub duplicates: Vec<Duplicate>,
}

impl TokenTable {
    /// The tokens of `files`.
    ///
    /// Calls `pause` every fraction of a millisecond, for who wants to let others go first.
    ///
    /// # Errors
    /// Every digest that stands twice.
    pub fn build(files: Vec<Arc<TokenFile>>, mut pause: impl FnMut()) -> Result<Self, Twice> {
        let length: usize = files.iter().map(|file| file.len()).sum();
        let empty = Slot { tag: 0, file: 0, entry: EMPTY };
        // One slot is free in any case: there every search ends.
        let mut table =
            Self { files: Vec::new(), slots: vec![empty; length + length / 2 + 1].into(), length };
        let mut duplicates = Vec::new();
        for (number, file) in files.iter().enumerate() {
            for (entry, record) in file.records().iter().enumerate() {
                if entry.is_multiple_of(BETWEEN_PAUSES) {
                    pause();
                }
                let again = TokenPlace { file: number, entry };
                duplicates.extend(table.put(&files, &record.digest, again));
            }
        }
        table.files = files;
        if duplicates.is_empty() { Ok(table) } else { Err(Twice { files: table.files, duplicates }) }
    }

    fn put(&mut self, files: &[Arc<TokenFile>], digest: &TokenDigest, at: TokenPlace) -> Option<Duplicate> {
        let (start, tag) = self.hash(digest);
        let (before, after) = self.slots.split_at_mut(start);
        for slot in after.iter_mut().chain(before) {
            if slot.entry == EMPTY {
                // A file has fewer bytes than 32 bits count, and there are fewer files.
                let (Ok(file), Ok(entry)) = (u32::try_from(at.file), u32::try_from(at.entry)) else {
                    continue;
                };
                *slot = Slot { tag, file, entry };
                return None;
            }
            if slot.tag == tag && slot.grant(files).map(Grant::digest) == Some(digest) {
                return Some(Duplicate { first: slot.place(), again: at });
            }
        }
        None
    }

    /// The declared token with this digest.
    pub fn get(&self, digest: &TokenDigest) -> Option<Grant<'_>> {
        let (start, tag) = self.hash(digest);
        let (before, after) = self.slots.split_at_checked(start)?;
        for slot in after.iter().chain(before) {
            if slot.entry == EMPTY {
                return None;
            }
            if slot.tag == tag
                && let Some(grant) = slot.grant(&self.files)
                && grant.digest() == digest
            {
                return Some(grant);
            }
        }
        None
    }

    /// Every token, file by file.
    pub fn grants(&self) -> impl Iterator<Item = Grant<'_>> {
        self.files.iter().flat_map(|file| file.grants())
    }

    /// The files.
    pub fn files(&self) -> &[Arc<TokenFile>] {
        &self.files
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// How many tokens are in which state. Costs a search in each file, whatever the number of tokens.
    pub fn states(&self, now: UnixTime) -> TokenStates {
        self.files.iter().fold(TokenStates::default(), |sum, file| sum.plus(file.states(now)))
    }

    /// How many active tokens stop working within `within` seconds. Costs as little as [`Self::states`].
    pub fn expiring(&self, now: UnixTime, within: i64) -> usize {
        self.files.iter().map(|file| file.expiring(now, within)).sum()
    }

    /// Where the search for `digest` begins, and its tag.
    fn hash(&self, digest: &TokenDigest) -> (usize, u32) {
        // All of it counts, so that digests that were made up by hand are spread too.
        let (words, _) = digest.as_bytes().as_chunks::<8>();
        let word = words.iter().fold(0, |hash: u64, word| {
            (hash.rotate_left(26) ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        });
        let tag = u32::try_from(word & u64::from(u32::MAX)).unwrap_or_default();
        // The upper half of the product is spread over the slots as evenly as the word is over its range.
        let slot = (u128::from(word) * self.slots.len() as u128) >> 64;
        (usize::try_from(slot).unwrap_or_default(), tag)
    }
}

impl Slot {
    fn grant<'f>(&self, files: &'f [Arc<TokenFile>]) -> Option<Grant<'f>> {
        files.get(self.file as usize)?.grant(self.entry as usize)
    }

    fn place(&self) -> TokenPlace {
        TokenPlace { file: self.file as usize, entry: self.entry as usize }
    }
}
