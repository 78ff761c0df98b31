//! The tokens of one policy file, packed: one record of 64 bytes each, and what records share, once.
//!
//! A file is compiled once and then shared by every snapshot in which it stands unchanged. To let go of it frees a
//! handful of blocks, however many tokens it declares.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};
use std::path::{Path, PathBuf};

use hashbrown::HashTable;
use ipnet::IpNet;
use thiserror::Error;

use crate::domain::grant::{Approval, GrantState, UnixTime};
use crate::domain::permission::PermissionSet;
use crate::domain::token::TokenDigest;
use crate::policy::grants::states::TokenStates;
use crate::policy::grants::{Grant, Selection};

/// One token. Fills a line of the processor's cache: to find it and to look at its state reads one.
#[repr(align(64))]
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    pub(super) digest: TokenDigest,
    pub(super) expires_at: UnixTime,
    /// [`UNKNOWN`] where it is not known.
    created_at: i64,
    pub(super) name: u32,
    pub(super) user: u32,
    pub(super) terms: u32,
    /// The line of the digest in the file, times four, and the state.
    place: u32,
}

/// No moment that a file can name.
const UNKNOWN: i64 = i64::MIN;

/// The longest text that can be kept, bytes. Longer than any path.
pub const LONGEST_TEXT: usize = 1 << 14;

impl Record {
    pub(super) fn created_at(&self) -> Option<UnixTime> {
        (self.created_at != UNKNOWN).then_some(UnixTime(self.created_at))
    }

    pub(super) fn state(&self) -> GrantState {
        match self.place & 3 {
            0 => GrantState::Active,
            1 => GrantState::Pending,
            2 => GrantState::Suspended,
            _ => GrantState::Revoked,
        }
    }

    pub(super) fn line(&self) -> u64 {
        u64::from(self.place >> 2)
    }
}

/// The tokens of one policy file.
pub struct TokenFile {
    path: PathBuf,
    records: Box<[Record]>,
    words: Box<[u32]>,
    text: Box<str>,
    sets: Box<[PermissionSet]>,
    networks: Box<[IpNet]>,
    census: Census,
}

/// How many tokens are in which state.
#[derive(Debug, Clone, Default)]
struct Census {
    pending: usize,
    revoked: usize,
    suspended: usize,
    /// When the active ones stop working, in order; seconds, moments after 2106 as if they were its.
    expiries: Box<[u32]>,
}

impl TokenFile {
    /// The file, as the operator would name it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many tokens it declares.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether it declares none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The token number `at`.
    pub fn grant(&self, at: usize) -> Option<Grant<'_>> {
        self.records.get(at).map(|record| Grant { file: self, record })
    }

    /// Every token, in the order of the file.
    pub fn grants(&self) -> impl Iterator<Item = Grant<'_>> {
        self.records.iter().map(|record| Grant { file: self, record })
    }

    /// The line of the digest of the token number `at`.
    pub fn line(&self, at: usize) -> Option<u64> {
        self.records.get(at).map(Record::line)
    }

    /// How many tokens are in which state.
    pub fn states(&self, now: UnixTime) -> TokenStates {
        let Census { pending, revoked, suspended, expiries } = &self.census;
        let expired = expiries.partition_point(|at| *at <= seconds(now));
        TokenStates {
            active: expiries.len() - expired,
            expired,
            pending: *pending,
            revoked: *revoked,
            suspended: *suspended,
        }
    }

    /// How many active tokens stop working within `within` seconds.
    pub fn expiring(&self, now: UnixTime, within: i64) -> usize {
        let until = |moment: UnixTime| self.census.expiries.partition_point(|at| *at <= seconds(moment));
        until(UnixTime(now.0.saturating_add(within))).saturating_sub(until(now))
    }

    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }

    pub(super) fn text(&self, reference: u32) -> &str {
        text_at(&self.text, reference).unwrap_or_default()
    }

    pub(super) fn set(&self, reference: Option<u32>) -> &PermissionSet {
        const NOTHING: &PermissionSet = &PermissionSet::NOTHING;
        reference.and_then(|at| self.sets.get(at as usize)).unwrap_or(NOTHING)
    }

    pub(super) fn network(&self, reference: u32) -> Option<IpNet> {
        self.networks.get(reference as usize).copied()
    }

    pub(super) fn terms(&self, reference: u32) -> Option<Terms<'_>> {
        let (limited, words) = terms_at(&self.words, reference)?;
        if !limited {
            return Some(Terms { user_permissions: None, networks: &[], parts: words });
        }
        let [user_permissions, count, rest @ ..] = words else { return None };
        let (networks, parts) = rest.split_at_checked(*count as usize)?;
        Some(Terms { user_permissions: Some(*user_permissions), networks, parts })
    }
}

impl fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenFile")
            .field("path", &self.path)
            .field("tokens", &self.len())
            .finish_non_exhaustive()
    }
}

/// What a token opens, in words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms<'f> {
    /// Which set; `None` is none.
    pub(super) user_permissions: Option<u32>,
    /// Which networks; none means any.
    pub(super) networks: &'f [u32],
    /// For each part its owner, its permissions, whether approval is awaited (in the lowest bit) with 0 for all
    /// repositories, or one more than how many names follow.
    pub(super) parts: &'f [u32],
}

fn seconds(moment: UnixTime) -> u32 {
    u32::try_from(moment.0.max(0)).unwrap_or(u32::MAX)
}

/// More than can be packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PackError {
    /// A file with more of something than 32 bits count.
    #[error("the file is too large; split it")]
    File,
    /// A name that no path could hold.
    #[error("this name is too long; expected at most {LONGEST_TEXT} bytes")]
    Text,
}

/// What a token opens at one resource owner, to be packed.
#[derive(Debug, Clone, Copy)]
pub struct PartTerms<'t> {
    /// The resource owner.
    pub owner: &'t str,
    /// Its repositories, in the order of `compare_names`; `None` means all.
    pub names: Option<&'t [&'t str]>,
    /// What may be done there.
    pub permissions: PermissionSet,
    /// Whether it may be done yet.
    pub approval: Approval,
}

/// A token, to be packed.
#[derive(Debug, Clone, Copy)]
pub struct TokenTerms<'t> {
    /// Its digest.
    pub digest: TokenDigest,
    /// The line of the digest in the file.
    pub line: u64,
    /// Its name.
    pub name: &'t str,
    /// Its user.
    pub user: &'t str,
    /// When it stops working.
    pub expires_at: UnixTime,
    /// When it was made.
    pub created_at: Option<UnixTime>,
    /// Its state.
    pub state: GrantState,
    /// Permissions of scope `user`.
    pub user_permissions: PermissionSet,
    /// From where it may be used.
    pub networks: &'t [IpNet],
    /// What it reaches.
    pub parts: &'t [PartTerms<'t>],
}

/// Packs tokens, one after the other.
#[derive(Debug, Default)]
pub struct Packer {
    records: Vec<Record>,
    words: Vec<u32>,
    text: String,
    sets: Vec<PermissionSet>,
    networks: Vec<IpNet>,
    pending: usize,
    revoked: usize,
    suspended: usize,
    known_terms: HashTable<u32>,
    known_texts: HashTable<u32>,
    known_sets: HashMap<PermissionSet, u32>,
    known_networks: HashMap<IpNet, u32>,
    /// What one token's terms are written into.
    scratch: Vec<u32>,
}

impl Packer {
    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Adds a token.
    ///
    /// # Errors
    /// [`PackError`]; nothing has been added then.
    pub fn push(&mut self, token: &TokenTerms<'_>) -> Result<(), PackError> {
        let terms = self.terms(token)?;
        let line = u32::try_from(token.line).ok().filter(|line| *line < 1 << 30).ok_or(PackError::File)?;
        let state = match token.state {
            GrantState::Active => 0,
            GrantState::Pending => 1,
            GrantState::Suspended => 2,
            GrantState::Revoked => 3,
        };
        let record = Record {
            digest: token.digest,
            expires_at: token.expires_at,
            created_at: token.created_at.map_or(UNKNOWN, |moment| moment.0),
            name: self.text(token.name)?,
            user: self.text(token.user)?,
            terms,
            place: line << 2 | state,
        };
        match token.state {
            GrantState::Active => {}
            GrantState::Pending => self.pending += 1,
            GrantState::Revoked => self.revoked += 1,
            GrantState::Suspended => self.suspended += 1,
        }
        self.records.push(record);
        Ok(())
    }

    /// Adds what `grant` is, under another digest.
    ///
    /// # Errors
    /// [`PackError`].
    pub fn copy(&mut self, grant: Grant<'_>, digest: TokenDigest) -> Result<(), PackError> {
        let names: Vec<Option<Vec<&str>>> = grant
            .parts()
            .map(|part| match part.selection {
                Selection::All => None,
                Selection::Selected(names) => Some(names.iter().collect()),
            })
            .collect();
        let parts: Vec<PartTerms<'_>> = grant
            .parts()
            .zip(&names)
            .map(|(part, names)| PartTerms {
                owner: part.owner,
                names: names.as_deref(),
                permissions: *part.permissions,
                approval: part.approval,
            })
            .collect();
        self.push(&TokenTerms {
            digest,
            line: grant.record.line(),
            name: grant.name(),
            user: grant.user(),
            expires_at: grant.expires_at(),
            created_at: grant.created_at(),
            state: grant.state(),
            user_permissions: *grant.user_permissions(),
            networks: &grant.networks().collect::<Vec<_>>(),
            parts: &parts,
        })
    }

    /// All of them, of the file at `path`. What they were packed in stays, empty, for those of another file: blocks that
    /// grow and shrink leave holes in memory.
    pub fn finish(&mut self, path: PathBuf) -> TokenFile {
        let active = self.records.iter().filter(|record| record.state() == GrantState::Active);
        let mut expiries: Box<[u32]> = active.map(|record| seconds(record.expires_at)).collect();
        expiries.sort_unstable();
        let file = TokenFile {
            path,
            records: self.records.as_slice().into(),
            words: self.words.as_slice().into(),
            text: self.text.as_str().into(),
            sets: self.sets.as_slice().into(),
            networks: self.networks.as_slice().into(),
            census: Census {
                pending: self.pending,
                revoked: self.revoked,
                suspended: self.suspended,
                expiries,
            },
        };
        self.clear();
        file
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.records.clear();
        self.words.clear();
        self.text.clear();
        self.sets.clear();
        self.networks.clear();
        self.known_terms.clear();
        self.known_texts.clear();
        self.known_sets.clear();
        self.known_networks.clear();
        (self.pending, self.revoked, self.suspended) = (0, 0, 0);
    }

    /// The terms of `token`, kept once for all tokens that have the same.
    fn terms(&mut self, token: &TokenTerms<'_>) -> Result<u32, PackError> {
        let mut words = std::mem::take(&mut self.scratch);
        words.clear();
        // Most tokens are not limited to networks and hold nothing of their user's own.
        let limited = !token.networks.is_empty() || !token.user_permissions.is_empty();
        let written = self.write_terms(token, limited, &mut words);
        let kept = written.and_then(|()| self.keep_terms(limited, &words));
        self.scratch = words;
        kept
    }

    fn write_terms(
        &mut self,
        token: &TokenTerms<'_>,
        limited: bool,
        words: &mut Vec<u32>,
    ) -> Result<(), PackError> {
        if limited {
            words.push(place_of(&mut self.sets, &mut self.known_sets, token.user_permissions)?);
            words.push(count(token.networks.len())?);
            for network in token.networks {
                words.push(place_of(&mut self.networks, &mut self.known_networks, *network)?);
            }
        }
        for part in token.parts {
            words.push(self.text(part.owner)?);
            words.push(place_of(&mut self.sets, &mut self.known_sets, part.permissions)?);
            let awaited = u32::from(part.approval == Approval::Awaited);
            match part.names {
                None => words.push(awaited),
                Some(names) => {
                    let head = count(names.len())?.checked_add(1).and_then(|more| more.checked_mul(2));
                    words.push(head.ok_or(PackError::File)? | awaited);
                    for name in names {
                        words.push(self.text(name)?);
                    }
                }
            }
        }
        Ok(())
    }

    /// The words, with their number and whether they are limited before them, kept once.
    fn keep_terms(&mut self, limited: bool, terms: &[u32]) -> Result<u32, PackError> {
        let head = count(terms.len())?.checked_mul(2).ok_or(PackError::File)? | u32::from(limited);
        let (words, hash) = (&self.words, hash_of(&(limited, terms)));
        if let Some(known) = self.known_terms.find(hash, |at| terms_at(words, *at) == Some((limited, terms)))
        {
            return Ok(*known);
        }
        let start = count(self.words.len())?;
        self.words.push(head);
        self.words.extend_from_slice(terms);
        let words = &self.words;
        self.known_terms.insert_unique(hash, start, |at| hash_of(&terms_at(words, *at).unwrap_or_default()));
        Ok(start)
    }

    /// `text`, kept once. Two characters of length stand before it, seven bits each.
    fn text(&mut self, text: &str) -> Result<u32, PackError> {
        let high = u8::try_from(text.len() >> 7).ok().filter(u8::is_ascii).ok_or(PackError::Text)?;
        let low = u8::try_from(text.len() & 127).map_err(|_| PackError::Text)?;
        let (all, hash) = (&self.text, hash_of(text));
        if let Some(known) = self.known_texts.find(hash, |at| text_at(all, *at) == Some(text)) {
            return Ok(*known);
        }
        let start = count(self.text.len())?;
        self.text.extend([char::from(high), char::from(low)]);
        self.text.push_str(text);
        let all = &self.text;
        self.known_texts.insert_unique(hash, start, |at| hash_of(text_at(all, *at).unwrap_or_default()));
        Ok(start)
    }
}

/// The text that [`Packer::text`] put at `reference`.
fn text_at(all: &str, reference: u32) -> Option<&str> {
    let at = reference as usize;
    let [high, low, ..] = *all.as_bytes().get(at..)? else { return None };
    let start = at + 2;
    all.get(start..start + (usize::from(high) << 7 | usize::from(low)))
}

/// What [`Packer::keep_terms`] put at `reference`.
fn terms_at(words: &[u32], reference: u32) -> Option<(bool, &[u32])> {
    let (head, rest) = words.get(reference as usize..)?.split_first()?;
    Some((head & 1 == 1, rest.get(..(head >> 1) as usize)?))
}

/// The place of `value` in `all`, where it is put if it is new.
fn place_of<T: Copy + Eq + Hash>(
    all: &mut Vec<T>,
    known: &mut HashMap<T, u32>,
    value: T,
) -> Result<u32, PackError> {
    if let Some(at) = known.get(&value) {
        return Ok(*at);
    }
    let at = count(all.len())?;
    all.push(value);
    known.insert(value, at);
    Ok(at)
}

fn count(count: usize) -> Result<u32, PackError> {
    u32::try_from(count).map_err(|_| PackError::File)
}

fn hash_of<T: Hash + ?Sized>(value: &T) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(value)
}
