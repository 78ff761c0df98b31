//! Reading one YAML document strictly: what a reviewer reads is what is enforced.
//!
//! Shared by `config` and the policy compiler. Refuses unknown fields (the types say `deny_unknown_fields`), duplicate
//! keys, anchors, aliases, merge keys, tags of one's own and a second document, and takes only `true` and `false` as
//! booleans. Pure: the text comes in, the file is only named in faults.

mod wording;

use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_yaml::options::{DuplicateKeyPolicy, MergeKeyPolicy};

use crate::domain::fault::{Fault, Place};

/// A value and its place in the file.
///
/// Works as a field, inside `Option`, `Vec`, map values, map keys, [`Entries`], [`OneOrMany`] and externally tagged
/// enums. Inside `#[serde(untagged)]`, `#[serde(tag = …)]` and `#[serde(flatten)]` the place is lost (line 0), because
/// serde buffers the value there: put `Spanned` around the whole enum instead.
pub type Spanned<T> = serde_yaml::Spanned<T>;

/// How deep lists and mappings may nest.
const MAX_DEPTH: usize = 32;

/// How many values a document may hold: those of a million declared tokens.
const MAX_NODES: usize = 32 << 20;

/// How much text they may be, bytes.
const MAX_SCALAR_BYTES: usize = 1 << 30;

/// Reads one document out of `text`, the whole text of `file`.
///
/// # Errors
/// The first thing that is no YAML or does not fit `T`, with its place and what was expected. An empty document fits
/// no type with fields, not even one whose fields are all optional.
pub fn parse<T: DeserializeOwned>(file: &Path, text: &str) -> Result<T, Fault> {
    parse_seed(file, text, PhantomData::<T>)
}

/// Reads one document as [`parse`] does, by `seed`, which may take values as they come.
///
/// # Errors
/// As [`parse`] has them. What comes after it has not been seen, so what `seed` took before means nothing then.
pub fn parse_seed<'t, S: DeserializeSeed<'t>>(
    file: &Path,
    text: &'t str,
    seed: S,
) -> Result<S::Value, Fault> {
    let options = serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_aliases: 0,
            max_anchors: 0,
            max_depth: MAX_DEPTH,
            max_documents: 1,
            max_nodes: MAX_NODES,
            max_events: MAX_NODES * 2,
            max_total_scalar_bytes: MAX_SCALAR_BYTES,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        // `!!binary` would let a file say one name and mean another.
        ignore_binary_tag_for_string: true,
        reject_unsupported_tags: true,
        reject_tagged_field_names: true,
        with_snippet: false,
    };
    serde_yaml::with_deserializer_from_str_with_options(text, options, |document| seed.deserialize(document))
        .map_err(|error| {
            let at = error.location();
            let place = at.map_or_else(Place::default, |at| Place { line: at.line(), column: at.column() });
            Fault::new(file, place, wording::of(&error, text), text)
        })
}

/// Where `spanned` stands.
pub fn place<T>(spanned: &Spanned<T>) -> Place {
    Place { line: spanned.referenced.line(), column: spanned.referenced.column() }
}

/// `value` as if it stood in a file, in no place that is known.
pub fn without_place<T>(value: T) -> Spanned<T> {
    Spanned::new(value, serde_yaml::Location::UNKNOWN, serde_yaml::Location::UNKNOWN)
}

/// A mapping in the order of the file, with the places of its keys and values. Duplicate keys are refused.
#[derive(Debug, Clone)]
pub struct Entries<T>(pub Vec<(Spanned<String>, Spanned<T>)>);

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

struct EntriesVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for EntriesVisitor<T> {
    type Value = Entries<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}

/// One mapping, or a list of such mappings. `T` is a struct or a mapping and may hold [`Spanned`] values; it cannot be
/// one itself.
#[derive(Debug, Clone)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrManyVisitor(PhantomData))
    }
}

struct OneOrManyVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrManyVisitor<T> {
    type Value = OneOrMany<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping or a list of mappings")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(|one| OneOrMany(vec![one]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut many = Vec::new();
        while let Some(one) = list.next_element()? {
            many.push(one);
        }
        Ok(OneOrMany(many))
    }
}

#[cfg(test)]
mod tests;
