//! `portcullis audit`: who did what to tokens and users, and whether the trail of it is whole.

use std::io::Write;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::clock::now;
use crate::command::client::local::open_store;
use crate::command::client::{Access, PAGE, Question, encode};
use crate::command::output::Output;
use crate::command::table::Table;
use crate::command::view::text;
use crate::command::{ConfigFile, Status, UsageError};
use crate::domain::grant::UnixTime;
use crate::policy::tokens::parse_moment;
use crate::store::Reads;
use crate::store::audit::{Chain, hexadecimal};
use crate::store::error::StoreError;
use crate::units::parse_duration;

/// What to do with the audit trail.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What to do with the audit trail.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Find entries, the newest first
    Query(Box<QueryArguments>),
    /// Check that no entry was changed, added or taken away
    Verify(VerifyArguments),
}

/// What to look for. Each thing that is given must fit.
#[derive(Debug, Args)]
#[command(after_help = "With `--org`, owners of the organization may; without it, administrators.

Examples:
  portcullis audit query --org acme --since 7d
  portcullis audit query --action 'personal_access_token.*' --user bob --limit 10
  portcullis audit query --token-id 7 --json | jq -r .action")]
pub struct QueryArguments {
    /// At this organization
    #[arg(long)]
    org: Option<String>,
    /// Done by this user
    #[arg(long, value_name = "LOGIN")]
    actor: Option<String>,
    /// Done to this user
    #[arg(long, value_name = "LOGIN")]
    user: Option<String>,
    /// What was done; `*` at the end stands for anything
    #[arg(long)]
    action: Option<String>,
    /// Done to the token with this number
    #[arg(long, value_name = "ID")]
    token_id: Option<i64>,
    /// Done to the token with this digest (SHA-256 in base64)
    #[arg(long, value_name = "DIGEST")]
    hashed_token: Option<String>,
    /// About this repository, `owner/name`
    #[arg(long, value_name = "REPOSITORY")]
    repository: Option<String>,
    /// From then on: a time ago (`7d`), a date, or a moment in RFC 3339
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Before then
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// At most so many entries
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: usize,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: Access,
}

/// What to check.
#[derive(Debug, Args)]
#[command(
    after_help = "Each entry holds the hash of all before it. Whoever rewrites the whole file can make a chain that is whole, and
whoever cuts its end off leaves one: note the head elsewhere from time to time, and check it with `--head`.

Examples:
  portcullis audit verify
  portcullis audit verify --head \"$(cat head)\"

Exit codes: 0 whole, 1 broken, 2 faults in files or arguments."
)]
pub struct VerifyArguments {
    /// A head that was noted earlier, which must be in the trail: 64 hexadecimal digits
    #[arg(long, value_name = "HASH")]
    head: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigFile,
}

/// Does what `arguments` say.
///
/// # Errors
/// [`UsageError`] for arguments that mean nothing; what the API or the store refuses.
pub fn run(arguments: &Arguments, output: &mut Output) -> anyhow::Result<Status> {
    match &arguments.command {
        Command::Query(arguments) => query(arguments, output),
        Command::Verify(arguments) => verify(arguments, output),
    }
}

impl QueryArguments {
    /// The path and the query that ask for it.
    fn path(&self, now: UnixTime) -> Result<String, UsageError> {
        let list = match &self.org {
            Some(org) => format!("/orgs/{}/audit-log", encode(org)),
            None => "/audit-log".to_owned(),
        };
        let moment =
            |name, text: &Option<String>| text.as_deref().map(|text| ago(name, text, now)).transpose();
        let token = self.token_id.map(|id| id.to_string());
        let words = [
            ("actor:", self.actor.clone()),
            ("user:", self.user.clone()),
            ("action:", self.action.clone()),
            ("token_id:", token),
            ("hashed_token:", self.hashed_token.clone()),
            ("repo:", self.repository.clone()),
            ("created:>=", moment("since", &self.since)?),
            ("created:<", moment("until", &self.until)?),
        ];
        let mut phrase = Vec::new();
        for (key, value) in words {
            let Some(value) = value else { continue };
            if value.is_empty() || value.contains(char::is_whitespace) {
                let what = key.trim_end_matches(|letter: char| !letter.is_alphanumeric());
                return Err(UsageError(format!(
                    "`{value}` is nothing to look for as `{what}`; expected one word"
                )));
            }
            phrase.push(format!("{key}{value}"));
        }
        let size = self.limit.clamp(1, PAGE);
        let phrase = encode(&phrase.join(" "));
        Ok(format!("{list}?per_page={size}&phrase={phrase}"))
    }
}

/// `7d` as the moment that long ago; a date or a moment as it is.
fn ago(name: &str, text: &str, now: UnixTime) -> Result<String, UsageError> {
    let seconds = parse_duration(text).ok().and_then(|past| i64::try_from(past.as_secs()).ok());
    let moment = match seconds {
        Some(seconds) => now.0.checked_sub(seconds).map(UnixTime),
        None => parse_moment(text),
    };
    moment.map(|moment| moment.to_string()).ok_or_else(|| {
        UsageError(format!(
            "`--{name} {text}` is no moment; expected such as `7d`, `2027-01-31` or `2027-01-31T18:00:00Z`"
        ))
    })
}

fn query(arguments: &QueryArguments, output: &mut Output) -> anyhow::Result<Status> {
    let path = arguments.path(now())?;
    let client = arguments.access.open(output)?;
    let entries = client.list(Question::get(path), arguments.limit)?;
    if arguments.json {
        for entry in &entries {
            writeln!(output, "{entry}")?;
        }
        return Ok(Status::Fine);
    }
    if entries.is_empty() {
        output.message(format_args!("nothing of that kind was done"));
        return Ok(Status::Fine);
    }
    let mut table = Table::new(&["ID", "WHEN", "ACTION", "BY", "USER", "AT", "TOKEN"]);
    for entry in &entries {
        let token = [text(entry, "token_id"), text(entry, "user_programmatic_access_name")];
        table.row([
            text(entry, "_document_id"),
            when(entry),
            text(entry, "action"),
            text(entry, "actor"),
            text(entry, "user"),
            text(entry, "org"),
            token.join(" ").trim().to_owned(),
        ]);
    }
    table.write(output)?;
    Ok(Status::Fine)
}

fn when(entry: &Value) -> String {
    let milliseconds = entry["@timestamp"].as_i64().unwrap_or_default();
    UnixTime(milliseconds.div_euclid(1000)).to_string()
}

fn verify(arguments: &VerifyArguments, output: &mut Output) -> anyhow::Result<Status> {
    let noted = arguments.head.as_deref().map(hash).transpose()?;
    let (_, store) = open_store(&arguments.config.file, output)?;
    let (status, entries, head) = match store.read_now(|reads| look(reads, noted.as_deref()))? {
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

/// 64 hexadecimal digits.
fn hash(text: &str) -> Result<Vec<u8>, UsageError> {
    let digits: Option<Vec<u8>> = text
        .trim()
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let digits = digits.filter(|digits| digits.len() == 64).ok_or_else(|| {
        UsageError(format!("`--head {text}` is no hash; expected the 64 digits that `audit verify` printed"))
    })?;
    let (pairs, _) = digits.as_chunks::<2>();
    Ok(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: QueryArguments,
    }

    fn path(line: &[&str]) -> Result<String, UsageError> {
        Line::parse_from(["x"].iter().chain(line)).arguments.path(UnixTime(86_400 * 3))
    }

    #[test]
    fn arguments_become_a_phrase() {
        assert_eq!(path(&[]).unwrap(), "/audit-log?per_page=100&phrase=");
        let line = ["--org", "acme", "--limit", "7", "--actor", "a+b", "--token-id", "3", "--since", "1d"];
        let want = "/orgs/acme/audit-log?per_page=7&phrase=actor%3Aa%2Bb%20token_id%3A3%20created%3A%3E%3D1970-01-03T00%3A00%3A00Z";
        assert_eq!(path(&line).unwrap(), want);
        for line in [&["--user", "a b"][..], &["--action", ""], &["--until", "soon"]] {
            assert!(path(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn a_hash_is_64_digits() {
        let text = "0f".repeat(32);
        let bytes = hash(&format!("{text}\n")).unwrap();
        assert_eq!((bytes.as_slice(), hexadecimal(&bytes)), (&[15; 32][..], text));
        for text in ["", "0f", &"0g".repeat(32), &"0".repeat(65)] {
            assert!(hash(text).is_err(), "{text}");
        }
    }
}
