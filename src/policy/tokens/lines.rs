//! Tokens in JSON, one a line: many times as fast to read as YAML.
//!
//! A line holds what an element of `tokens` holds in YAML, and JSON is YAML. So a line with a fault is read once more
//! as YAML, which knows the places and has the words for what is wrong. What JSON refuses is never taken for that.

use serde_json::Value;
use serde_json::error::Category;

use crate::domain::fault::{Fault, Place};
use crate::policy::document::TokenDocument;
use crate::policy::tokens::declared::Page;
use crate::policy::tokens::{MOST_FAULTS, TokenCompiler};
use crate::yaml::{self, Spanned};

impl TokenCompiler<'_> {
    /// Takes some lines, each one token or blank.
    pub(super) fn lines(&mut self, text: &str) {
        for line in text.lines() {
            let before = self.lines;
            self.lines += 1;
            if !line.trim_ascii().is_empty() {
                self.line(line, before);
            }
        }
    }

    fn line(&mut self, line: &str, before: u64) {
        if self.faults.len() >= MOST_FAULTS {
            return;
        }
        let path = self.path.clone();
        let page = Page { file: &path, text: line, before };
        let known = self.faults.len();
        let unread = match read(line) {
            Ok(document) => {
                self.token(&yaml::without_place(document), page);
                if self.faults.len() == known {
                    return;
                }
                None
            }
            Err(unread) => Some(unread),
        };
        // Without places nothing can be told; the same again, with them.
        let told = self.faults.split_off(known);
        match (unread, yaml::parse::<Spanned<TokenDocument>>(&path, line)) {
            (Some(Unread { syntax: true, column, message }), _) => {
                self.faults.push(page.fault_at(Place { line: 1, column }, message));
            }
            (_, Err(fault)) => self.faults.push(page.moved(fault)),
            (None, Ok(token)) => {
                let packed = self.packer.len();
                self.token(&token, page);
                // The two readings differ; the fault stands, if without its place.
                if self.faults.len() == known && self.packer.len() > packed {
                    self.faults.extend(told);
                }
            }
            (Some(Unread { column, message, .. }), Ok(token)) => {
                self.token(&token, page);
                if self.faults.len() == known {
                    self.faults.push(page.fault_at(Place { line: 1, column }, message));
                }
            }
        }
    }
}

/// Why a line could not be read as JSON.
struct Unread {
    /// It is no JSON at all.
    syntax: bool,
    column: u64,
    message: String,
}

/// The first key of the mapping by which the YAML library hands over a place; in a file it could only be meant to
/// deceive.
const MARKER: &str = "__serde_saphyr_private_spanned";

fn read(line: &str) -> Result<TokenDocument, Unread> {
    let document: TokenDocument = serde_json::from_str(line).map_err(|error| of(&error))?;
    let twice = document.mappings().any(has_twice);
    // The marker may be written in escapes.
    let marked = (line.contains("__serde") || line.contains("\\u00")) && {
        serde_json::from_str(line).is_ok_and(|value| holds_marker(&value))
    };
    if twice || marked {
        let message = "a key stands twice, or does not belong here; remove it".to_owned();
        return Err(Unread { syntax: false, column: 1, message });
    }
    Ok(document)
}

fn of(error: &serde_json::Error) -> Unread {
    let text = error.to_string();
    // Behind the message stands the place, which is told apart.
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    Unread {
        syntax: error.classify() != Category::Data,
        column: u64::try_from(error.column()).unwrap_or_default().max(1),
        message: format!("not one token in JSON: {message}"),
    }
}

fn has_twice(entries: &yaml::Entries<String>) -> bool {
    let mut rest = entries.0.as_slice();
    while let Some(((key, _), others)) = rest.split_first() {
        if others.iter().any(|(other, _)| other.value == key.value) {
            return true;
        }
        rest = others;
    }
    false
}

fn holds_marker(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.iter().any(|(key, value)| key == MARKER || holds_marker(value)),
        Value::Array(values) => values.iter().any(holds_marker),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

impl Page<'_> {
    /// A fault at `place` of the page.
    pub(super) fn fault_at(&self, place: Place, message: impl Into<String>) -> Fault {
        self.moved(Fault::new(self.file, place, message, self.text))
    }

    /// `fault` of the page as one of the file.
    fn moved(&self, mut fault: Fault) -> Fault {
        if fault.place.line > 0 {
            fault.place.line += self.before;
        }
        fault
    }
}
