//! `portcullis audit verify`: whether the audit trail, or an audit log, is whole.

use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::json;

use crate::command::client::local::open_store;
use crate::command::output::Output;
use crate::command::table::Table;
use crate::command::{ConfigFile, Status, UsageError};
use crate::record::audit::chain::{self, Hash};
use crate::record::audit::verify::{LinePlace, Verifier};
use crate::record::log_files::open_files;
use crate::store::audit::{Chain, Noted, hexadecimal};
use crate::store::error::StoreError;

/// What to check.
#[derive(Debug, Args)]
#[command(
    after_help = "Without `--log` it is the audit trail: what was done to tokens and users. Each entry holds the hash of all before it. Whoever rewrites the whole file can make a chain that is whole, and
whoever cuts its end off leaves one: note the head elsewhere from time to time, and check it with `--head`.

With `--log` it is an audit log: the requests, a line each. Files that were rotated (`FILE.1`, …) are read before it. A branch is a line that
follows one which another line follows already, an end is a line that none follows, before the last one. An upgrade makes one of each, where the old process writes on for
a while; so does whoever adds lines. `--strict` fails for them.

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
    /// With `--log`: fail also where lines branch off, end before the last one, or are cut short
    #[arg(long, requires = "log")]
    strict: bool,
    /// The first entry of the trail, where it is known that those before it were taken off
    #[arg(long, value_name = "ENTRY", conflicts_with = "log", default_value_t = 1)]
    first: i64,
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
    match &arguments.log {
        Some(file) => log(file, arguments, noted, output),
        None => trail(arguments, noted, output),
    }
}

/// Checks the audit trail.
fn trail(arguments: &VerifyArguments, noted: Option<Hash>, output: &mut Output) -> anyhow::Result<Status> {
    let (config, store) = open_store(&arguments.config.file, output)?;
    let keeps_all = config.api.as_ref().is_none_or(|api| api.keep_audit_trail.is_none());
    let (chain, met) = store.read_now(|reads| {
        let met = noted.map(|noted| reads.audit_noted(&noted)).transpose()?;
        Ok::<_, StoreError>((reads.verify_audit()?, met))
    })?;
    let (broken_at, fault) = match &chain {
        Chain::Broken { at, why } => (Some(*at), Some((*why).to_owned())),
        Chain::Whole { first, .. } => (None, objection(met, *first, keeps_all.then_some(arguments.first))),
    };
    let whole = match chain {
        Chain::Whole { entries, first, head } => Some((entries, first, hexadecimal(&head))),
        Chain::Broken { .. } => None,
    };
    if arguments.json {
        output.json(&json!({
            "ok": fault.is_none(), "entries": whole.as_ref().map(|(entries, ..)| entries),
            "first": whole.as_ref().map(|(_, first, _)| first), "head": whole.as_ref().map(|(.., head)| head),
            "head_met": met.map(Noted::as_str), "broken_at": broken_at, "why": fault,
        }))?;
    } else if let Some((entries, first, head)) = whole {
        let mut table = Table::bare();
        table.row(["entries".to_owned(), entries.to_string()]);
        if first > 1 {
            table.row(["kept no longer".to_owned(), format!("1 to {}", first - 1)]);
        }
        table.row(["head".to_owned(), head]);
        if let Some(met) = met {
            table.row(["noted head".to_owned(), met.as_str().to_owned()]);
        }
        table.write(output)?;
    }
    match (fault, broken_at) {
        (None, _) => return Ok(Status::Fine),
        (Some(why), Some(at)) => output.message(format_args!(
            "the audit trail is broken at entry {at}: {why}; compare it with a copy of the store"
        )),
        (Some(why), None) => output.message(format_args!(
            "the audit trail is not whole: {why}; compare it with a copy of the store"
        )),
    }
    Ok(Status::Refused)
}

/// What is to be said against a chain that begins with the entry `first`, where all entries since `known` are to be there.
fn objection(met: Option<Noted>, first: i64, known: Option<i64>) -> Option<String> {
    if met == Some(Noted::Unknown) {
        let why = "the head that was noted is in it no more; the trail was cut off or written anew, or is kept less long";
        return Some(why.to_owned());
    }
    known.filter(|known| first > *known).map(|_| {
        format!(
            "entries up to {} were taken off, and `api.keep_audit_trail` keeps all; where it did not always, say `--first {first}` from now on",
            first - 1
        )
    })
}

/// Checks the files of an audit log.
fn log(
    file: &Path,
    arguments: &VerifyArguments,
    noted: Option<Hash>,
    output: &mut Output,
) -> anyhow::Result<Status> {
    let mut verifier = Verifier::new(noted);
    let mut fault = None;
    let files = open_files(file).map_err(|error| UsageError(error.to_string()))?;
    for (path, file) in &files {
        let checked = verifier.file(BufReader::new(file)).with_context(|| path.display().to_string())?;
        if let Err((line, why)) = checked {
            fault = Some((path, line, why.to_string()));
            break;
        }
    }
    let paths: Vec<_> = files.iter().map(|(path, _)| path.as_path()).collect();
    let forked = !(verifier.branches.is_empty() && verifier.ends().is_empty());
    let forked = arguments.strict && (forked || verifier.is_cut_short());
    let missed = verifier.head_met() == Some(false);
    let whole = fault.is_none() && !missed && !forked && verifier.lines > 0;
    let broken = fault.as_ref().map(|(path, line, why)| Broken { path, line: *line, why });
    show_log(&verifier, &paths, (whole, broken), (arguments.json, output))?;
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
        None if forked => output.message(format_args!(
            "lines branch off, end before the last one, or are cut short; where no upgrade and no crash explains it, somebody has changed the log"
        )),
        None => return Ok(Status::Fine),
    }
    Ok(Status::Refused)
}

/// What is wrong with an audit log.
struct Broken<'b> {
    path: &'b Path,
    line: u64,
    why: &'b str,
}

/// Shows what was found in the files at `paths`, and whether all is well.
fn show_log(
    verifier: &Verifier,
    paths: &[&Path],
    (whole, broken): (bool, Option<Broken<'_>>),
    (json, output): (bool, &mut Output),
) -> anyhow::Result<()> {
    let places = |places: &[LinePlace]| -> Vec<String> {
        let place = |(file, line): &LinePlace| Some(format!("{}:{line}", paths.get(*file)?.display()));
        places.iter().filter_map(place).collect()
    };
    let (branches, ends) = (places(&verifier.branches), places(&verifier.ends()));
    let begins_after =
        verifier.begins_after.filter(|after| *after != [0; 32]).map(|after| hexadecimal(&after));
    let head = verifier.head().map(|head| hexadecimal(&head));
    if json {
        output.json(&json!({
            "ok": whole, "lines": verifier.lines, "unchained": verifier.unchained, "cut": verifier.cut,
            "cut_short": verifier.is_cut_short(), "branches": branches, "ends": ends, "begins_after": begins_after, "head": head, "head_met": verifier.head_met(),
            "file": broken.as_ref().map(|broken| broken.path.display().to_string()),
            "line": broken.as_ref().map(|broken| broken.line), "why": broken.as_ref().map(|broken| broken.why),
        }))?;
        return Ok(());
    }
    if broken.is_some() {
        return Ok(());
    }
    let mut table = Table::bare();
    table.row(["lines".to_owned(), verifier.lines.to_string()]);
    for (name, count) in [("before the chain", verifier.unchained), ("cut", verifier.cut)] {
        if count > 0 {
            table.row([name.to_owned(), count.to_string()]);
        }
    }
    if verifier.is_cut_short() {
        table.row(["cut short".to_owned(), "the last line".to_owned()]);
    }
    for (name, values) in [("begins after", begins_after.as_slice()), ("branch", &branches), ("end", &ends)] {
        for value in values {
            table.row([name.to_owned(), value.clone()]);
        }
    }
    table.row(["head".to_owned(), head.unwrap_or_default()]);
    table.write(output)?;
    Ok(())
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
