//! `audit`: which lines are kept of requests, where they go, and how they are kept.

use std::path::PathBuf;

use crate::config::check::Checker;
use crate::config::document::{AuditField, AuditFields, LinesWord, WhenFullWord};
use crate::config::{AuditLines, AuditLog, AuditOutput, Rotation, WhenFull};
use crate::yaml::{Spanned, place};

/// The smallest size of a file that is rotated: some hundred lines.
const LEAST_SIZE: usize = 64 * 1024;

/// The largest.
const MOST_SIZE: usize = 1 << 40;

/// Files beside the one that is written.
pub(crate) const MOST_FILES: usize = 1000;

/// Files that are kept where nothing is said.
const USUAL_FILES: usize = 10;

/// The audit log that is asked for.
pub(super) fn audit(field: Option<&Spanned<AuditField>>, checker: &mut Checker<'_>) -> Option<AuditLog> {
    let Some(field) = field else {
        return Some(AuditLog::default());
    };
    let fields = match &field.value {
        AuditField::Word(word) => {
            let output = match word.as_str() {
                "stdout" => AuditOutput::Stdout,
                "danger_off" => AuditOutput::Off,
                other => {
                    let message = format!(
                        "unknown word `{other}`; expected `stdout`, `danger_off`, or a mapping with `file`, `when_full`, `requests`, `chain`, `rotate_at` or `keep`"
                    );
                    return checker.fault(place(field), message);
                }
            };
            return Some(AuditLog { output, ..AuditLog::default() });
        }
        AuditField::Fields(fields) => fields,
    };
    let AuditFields { file, when_full, requests, chain, rotate_at, keep } = &**fields;
    if fields.is_empty() {
        let message = "the mapping says nothing; expected `file`, `when_full`, `requests`, `chain`, `rotate_at` or `keep`";
        return checker.fault(place(field), message);
    }
    let output = match file {
        None => Some(AuditOutput::Stdout),
        Some(file) => checked_file(file, checker).map(AuditOutput::File),
    };
    for (name, at) in [("rotate_at", rotate_at.as_ref().map(place)), ("keep", keep.as_ref().map(place))] {
        if let (Some(at), None) = (at, file) {
            return checker.fault(at, format!("`{name}` is for a file; expected `file` beside it"));
        }
    }
    if let (Some(keep), None) = (keep, rotate_at) {
        return checker.fault(place(keep), "expected `rotate_at` beside `keep`");
    }
    let size = checker.size(rotate_at.as_ref(), LEAST_SIZE..=MOST_SIZE, LEAST_SIZE);
    let keep = checker.number(keep.as_ref(), 1..=MOST_FILES, USUAL_FILES);
    let (size, keep) = (size?, keep?);
    Some(AuditLog {
        // What a collector takes off the standard output it keeps in its own way.
        chain: chain.as_ref().map_or_else(|| file.is_some(), |chain| chain.value),
        output: output?,
        when_full: match when_full {
            None | Some(WhenFullWord::Drop) => WhenFull::Drop,
            Some(WhenFullWord::Refuse) => WhenFull::Refuse,
        },
        lines: match requests {
            None | Some(LinesWord::All) => AuditLines::All,
            Some(LinesWord::Refused) => AuditLines::Refused,
        },
        rotation: rotate_at.as_ref().map(|_| Rotation { size, keep }),
    })
}

fn checked_file(file: &Spanned<String>, checker: &mut Checker<'_>) -> Option<PathBuf> {
    let path = checker.path(file)?;
    if path.is_dir() {
        let message = format!("expected a file; `{}` is a directory", path.display());
        return checker.fault(place(file), message);
    }
    match path.parent() {
        Some(parent) if parent.is_dir() => Some(path),
        _ => {
            let message =
                format!("expected a file in an existing directory; make that of `{}`", path.display());
            checker.fault(place(file), message)
        }
    }
}
