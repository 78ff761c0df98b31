//! `portcullis audit`: who did what to tokens and users, what was asked of hosts, and whether the records of it are whole.

mod requests;
mod verify;

use std::io::Write;

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::clock::now;
use crate::command::client::{Access, PAGE, Question, encode};
use crate::command::output::Output;
use crate::command::table::Table;
use crate::command::view::text;
use crate::command::{Status, UsageError};
use crate::domain::grant::UnixTime;
use crate::policy::tokens::parse_moment;
use crate::units::parse_duration;

/// What to do with the audit trail.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What to do with the audit trail.
#[derive(Debug, Subcommand)]
enum Command {
    /// Find entries, the newest first
    Query(Box<QueryArguments>),
    /// Check that no entry was changed, added or taken away
    Verify(verify::VerifyArguments),
    /// Find requests in the audit log, the newest first
    Requests(Box<requests::RequestsArguments>),
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

/// Does what `arguments` say.
///
/// # Errors
/// [`UsageError`] for arguments that mean nothing; what the API or the store refuses.
pub fn run(arguments: &Arguments, output: &mut Output) -> anyhow::Result<Status> {
    match &arguments.command {
        Command::Query(arguments) => query(arguments, output),
        Command::Verify(arguments) => verify::run(arguments, output),
        Command::Requests(arguments) => requests::run(arguments, output),
    }
}

impl QueryArguments {
    /// The path and the query that ask for it.
    fn path(&self, now: UnixTime) -> Result<String, UsageError> {
        let moment = |name, text: &Option<String>| {
            let moment = text.as_deref().map(|text| ago(name, text, now)).transpose();
            moment.map(|moment| moment.map(|moment| moment.to_string()))
        };
        let words = [
            ("actor:", self.actor.clone()),
            ("user:", self.user.clone()),
            ("action:", self.action.clone()),
            ("token_id:", self.token_id.map(|id| id.to_string())),
            ("hashed_token:", self.hashed_token.clone()),
            ("repo:", self.repository.clone()),
            ("created:>=", moment("since", &self.since)?),
            ("created:<", moment("until", &self.until)?),
        ];
        list_path("audit-log", self.org.as_deref(), words, self.limit)
    }
}

/// The path, and the query with a phrase of `words`, that ask for `list` of everything or of `org`.
fn list_path(
    list: &str,
    org: Option<&str>,
    words: impl IntoIterator<Item = (&'static str, Option<String>)>,
    limit: usize,
) -> Result<String, UsageError> {
    let list = match org {
        Some(org) => format!("/orgs/{}/{list}", encode(org)),
        None => format!("/{list}"),
    };
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
    Ok(format!("{list}?per_page={}&phrase={}", limit.clamp(1, PAGE), encode(&phrase.join(" "))))
}

/// `7d` as the moment that long ago; a date or a moment as it is.
fn ago(name: &str, text: &str, now: UnixTime) -> Result<UnixTime, UsageError> {
    let seconds = parse_duration(text).ok().and_then(|past| i64::try_from(past.as_secs()).ok());
    let moment = match seconds {
        Some(seconds) => now.0.checked_sub(seconds).map(UnixTime),
        None => parse_moment(text),
    };
    moment.ok_or_else(|| {
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
}
