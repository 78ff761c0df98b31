//! `portcullis audit verify`: whether the audit trail, or an audit log, is whole.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::json;

use crate::command::audit::open;
use crate::command::client::local::open_store;
use crate::command::output::Output;
use crate::command::table::Table;
use crate::command::{ConfigFile, Status, UsageError};
use crate::record::audit::chain::{self, Hash};
use crate::record::audit::verify::Verifier;
use crate::record::sink::files_of;
use crate::store::Reads;
use crate::store::audit::{Chain, hexadecimal};
use crate::store::error::StoreError;

/// What to check.
#[derive(Debug, Args)]
#[command(
    after_help = "Without `--log` it is the audit trail: what was done to tokens and users. Each entry holds the hash of all before it. Whoever rewrites the whole file can make a chain that is whole, and
whoever cuts its end off leaves one: note the head elsewhere from time to time, and check it with `--head`.

With `--log` it is an audit log: the requests, a line each. Files that were rotated (`FILE.1`, …) are read before it.

Examples:
  portcullis audit verify
  portcullis audit verify --log /var/log/portcullis/audit.jsonl
  portcullis audit verify --head \"$(cat head)\"

Exit codes: 0 whole, 1 broken, 2 faults in files or arguments."
)]
pub(super) struct VerifyArguments {
    /// A head that was noted earlier, which must be in it: 64 hexadecimal digits
    #[arg(long, value_name = "HASH")]
    head: Option<String>,
    /// The file of an audit log to check, in place of the trail
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigFile,
}

/// Checks what `arguments` name.
///
/// # Errors
/// [`UsageError`] for a head that is none; what cannot be read.
pub(super) fn run(arguments: &VerifyArguments, output: &mut Output) -> anyhow::Result<Status> {
    let noted = arguments.head.as_deref().map(noted).transpose()?;
    if let Some(file) = &arguments.log {
        return log(file, noted, arguments.json, output);
    }
    let (_, store) = open_store(&arguments.config.file, output)?;
    let (status, entries, head) = match store
        .read_now(|reads| look(reads, noted.as_ref().map(|noted| &noted[..])))?
    {
        (Chain::Whole { entries, first, head }, Some(true) | None) => {
            (Ok(()), Some((entries, first)), Some(head))
        }
        (Chain::Whole { entries, first, head }, Some(false)) => {
            let why = "the head that was noted is in it no more; the trail was cut off or written anew, or is kept less long";
            (Err((None, why)), Some((entries, first)), Some(head))
        }
        (Chain::Broken { at, why }, _) => (Err((Some(at), why)), None, None),
    };
    let head = head.map(|head| hexadecimal(&head));
    if arguments.json {
        let (broken_at, why) = status.err().unzip();
        output.json(&json!({
            "ok": status.is_ok(), "entries": entries.map(|(entries, _)| entries),
            "first": entries.map(|(_, first)| first), "head": head, "broken_at": broken_at.flatten(), "why": why,
        }))?;
    } else if let (Some((entries, first)), Some(head)) = (entries, &head) {
        let mut table = Table::bare();
        table.row(["entries".to_owned(), entries.to_string()]);
        if first > 1 {
            table.row(["first".to_owned(), first.to_string()]);
        }
        table.row(["head".to_owned(), head.clone()]);
        table.write(output)?;
    }
    match status {
        Ok(()) => return Ok(Status::Fine),
        Err((Some(at), why)) => output.message(format_args!(
            "the audit trail is broken at entry {at}: {why}; compare it with a copy of the store"
        )),
        Err((None, why)) => output.message(format_args!(
            "the audit trail is not whole: {why}; compare it with a copy of the store"
        )),
    }
    Ok(Status::Refused)
}

/// The chain, and whether the head that was noted is in it.
fn look(reads: Reads<'_>, noted: Option<&[u8]>) -> Result<(Chain, Option<bool>), StoreError> {
    // The head of a trail without entries is before all of them.
    let before_all = |head: &[u8]| head.iter().all(|byte| *byte == 0);
    let has = noted.map(|head| if before_all(head) { Ok(true) } else { reads.audit_has(head) });
    Ok((reads.verify_audit()?, has.transpose()?))
}

/// Checks the files of an audit log.
fn log(file: &Path, noted: Option<Hash>, json: bool, output: &mut Output) -> anyhow::Result<Status> {
    let mut verifier = Verifier::new(noted);
    let mut fault = None;
    for file in files_of(file) {
        if let Err((line, why)) =
            verifier.file(open(&file)?).with_context(|| format!("{}", file.display()))?
        {
            fault = Some((file, line, why.to_string()));
            break;
        }
    }
    let head = verifier.head().map(|head| hexadecimal(&head));
    let missed = noted.is_some() && !verifier.met && fault.is_none();
    let whole = fault.is_none() && !missed;
    if json {
        let (at, line, why) = match &fault {
            Some((file, line, why)) => (Some(file.display().to_string()), Some(line), Some(why)),
            None => (None, None, None),
        };
        output.json(&json!({
            "ok": whole, "lines": verifier.lines, "unchained": verifier.unchained, "cut": verifier.cut,
            "head": head, "head_met": noted.map(|_| verifier.met), "file": at, "line": line, "why": why,
        }))?;
    } else if fault.is_none() {
        let mut table = Table::bare();
        table.row(["lines".to_owned(), verifier.lines.to_string()]);
        for (name, count) in [("before the chain", verifier.unchained), ("cut", verifier.cut)] {
            if count > 0 {
                table.row([name.to_owned(), count.to_string()]);
            }
        }
        table.row(["head".to_owned(), head.unwrap_or_default()]);
        table.write(output)?;
    }
    match fault {
        Some((file, line, why)) => output.message(format_args!(
            "the audit log is broken at line {line} of `{}`: {why}; compare it with a copy",
            file.display()
        )),
        None if missed => output.message(format_args!(
            "the audit log is not whole: the head that was noted is in it no more; it was cut off, written anew, or rotated away"
        )),
        None if verifier.lines == 0 => output.message(format_args!(
            "no line holds a hash; `audit: {{ chain: true }}` makes a chain, for files it is the default"
        )),
        None => return Ok(Status::Fine),
    }
    Ok(Status::Refused)
}

/// 64 hexadecimal digits.
fn noted(text: &str) -> Result<Hash, UsageError> {
    let found = chain::hash(text.trim().to_ascii_lowercase().as_bytes());
    found.ok_or_else(|| {
        UsageError(format!("`--head {text}` is no hash; expected the 64 digits that `audit verify` printed"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_64_digits() {
        let text = "0f".repeat(32);
        let bytes = noted(&format!("{text}\n")).unwrap();
        assert_eq!((bytes, hexadecimal(&bytes)), ([15; 32], text));
        for text in ["", "0f", &"0g".repeat(32), &"0".repeat(65)] {
            assert!(noted(text).is_err(), "{text}");
        }
    }
}
