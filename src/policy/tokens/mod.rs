//! Declared tokens: the files, entry by entry, into packed form.
//!
//! A file is YAML, or has one token a line in JSON. Either way a token is compiled as soon as it has been read, so that
//! a file takes little more room than what becomes of it.

mod declared;
mod lines;
pub mod permission;

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use crate::domain::fault::Fault;
use crate::domain::grant::UnixTime;
use crate::domain::permission::Vocabulary;
use crate::policy::document::TokenDocument;
use crate::policy::grants::packed::{Packer, TokenFile};
use crate::policy::tokens::declared::{Declared, Page};
use crate::yaml::{self, Spanned};

/// How many faults of one file are told. A word that changed its meaning may be wrong in each of a million tokens.
const MOST_FAULTS: usize = 100;

/// How a file declares tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenForm {
    /// In one document of YAML, which is taken whole.
    Document,
    /// One a line, in JSON; taken in pieces of whole lines, in order.
    Lines,
}

/// Turns the tokens of one file into packed grants.
#[derive(Debug)]
pub struct TokenCompiler<'v> {
    path: PathBuf,
    vocabulary: &'v Vocabulary,
    packer: &'v mut Packer,
    faults: Vec<Fault>,
    /// How many lines of JSON have been read.
    lines: u64,
}

impl<'v> TokenCompiler<'v> {
    /// For the tokens of the file at `path`, to be packed by `packer`, which forgets what it holds.
    pub fn new(path: PathBuf, vocabulary: &'v Vocabulary, packer: &'v mut Packer) -> Self {
        packer.clear();
        Self { path, vocabulary, packer, faults: Vec::new(), lines: 0 }
    }

    /// Takes what `form` says of the file's text.
    pub fn take(&mut self, form: TokenForm, text: &str) {
        match form {
            TokenForm::Document => self.document(text),
            TokenForm::Lines => self.lines(text),
        }
    }

    /// What cannot be read as YAML has that one fault.
    fn document(&mut self, text: &str) {
        let path = self.path.clone();
        let page = Page { file: &path, text, before: 0 };
        if let Err(fault) = yaml::parse_seed(&path, text, Tokens { compiler: self, page }) {
            self.faults = vec![fault];
        }
    }

    /// What became of all that was taken: the tokens, and every fault. A token with a fault is left out.
    pub fn finish(mut self) -> (TokenFile, Vec<Fault>) {
        if self.faults.len() >= MOST_FAULTS {
            let message =
                format!("has {MOST_FAULTS} faults or more; these are the first, the rest is not told");
            self.faults.truncate(MOST_FAULTS);
            self.faults.push(Fault::of_file(&self.path, message));
        }
        (self.packer.finish(self.path), self.faults)
    }

    fn token(&mut self, token: &Spanned<TokenDocument>, page: Page<'_>) {
        if self.faults.len() < MOST_FAULTS {
            let (vocabulary, packer, faults) = (self.vocabulary, &mut *self.packer, &mut self.faults);
            Declared { vocabulary, packer, page, faults }.token(token);
        }
    }
}

/// The document of a file: `tokens`, a list, whose elements are compiled one by one.
struct Tokens<'c, 'v, 'p> {
    compiler: &'c mut TokenCompiler<'v>,
    page: Page<'p>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Field {
    Tokens,
}

impl<'de> DeserializeSeed<'de> for Tokens<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_struct("Tokens", &["tokens"], self)
    }
}

impl<'de> Visitor<'de> for Tokens<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { compiler, page } = self;
        let mut found = false;
        while let Some(Field::Tokens) = map.next_key()? {
            map.next_value_seed(List { compiler, page })?;
            found = true;
        }
        if found { Ok(()) } else { Err(A::Error::missing_field("tokens")) }
    }
}

struct List<'c, 'v, 'p> {
    compiler: &'c mut TokenCompiler<'v>,
    page: Page<'p>,
}

impl<'de> DeserializeSeed<'de> for List<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for List<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(token) = list.next_element()? {
            self.compiler.token(&token, self.page);
        }
        Ok(())
    }
}

/// Reads a date (its first moment, UTC) or a moment in RFC 3339.
pub fn parse_moment(text: &str) -> Option<UnixTime> {
    let moment = if text.contains(['T', 't', ' ']) {
        text.parse::<jiff::Timestamp>().ok()?
    } else {
        let date = text.parse::<jiff::civil::Date>().ok()?;
        date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp()
    };
    Some(UnixTime(moment.as_second()))
}

#[cfg(test)]
mod tests;
