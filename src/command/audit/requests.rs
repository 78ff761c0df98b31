//! `portcullis audit requests`: what was asked of hosts, and what became of it.

use std::collections::VecDeque;
use std::io::{BufRead, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use serde_json::Value;

use crate::clock::now;
use crate::command::audit::{ago, open};
use crate::command::output::Output;
use crate::command::table::{Table, plain};
use crate::command::view::text;
use crate::command::{ConfigFile, Status, UsageError};
use crate::config::{self, AuditOutput};
use crate::domain::fault::describe;
use crate::record::sink::files_of;

/// What to look for. Each thing that is given must fit.
#[derive(Debug, Args)]
#[command(
    after_help = "The log is the `audit.file` of the configuration, with the files that were rotated (`FILE.1`, …).

Examples:
  portcullis audit requests --refused --since 1h
  portcullis audit requests --org acme --user bob --limit 10
  portcullis audit requests --id 6f1c2a9b7d3e4f508192a3b4c5d6e7f8 --json"
)]
pub(super) struct RequestsArguments {
    /// Of this user
    #[arg(long, value_name = "LOGIN")]
    user: Option<String>,
    /// By the token with this public id or name
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// About this organization, or user, and what belongs to it
    #[arg(long)]
    org: Option<String>,
    /// About this repository, `owner/name`
    #[arg(long, value_name = "REPOSITORY")]
    repository: Option<String>,
    /// With this reason, such as `permission_missing`
    #[arg(long)]
    reason: Option<String>,
    /// Refused, or would have been by a rule in shadow mode
    #[arg(long)]
    refused: bool,
    /// From this address
    #[arg(long, value_name = "ADDRESS")]
    peer: Option<String>,
    /// With this id, which clients see in `X-Request-Id` and in refusals
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// From then on: a time ago (`7d`), a date, or a moment in RFC 3339
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Before then
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// At most so many requests
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: usize,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// The file of the audit log; that of the configuration where it is not given
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigFile,
}

/// Finds and shows them.
///
/// # Errors
/// [`UsageError`] for arguments that mean nothing; what cannot be read.
pub(super) fn run(arguments: &RequestsArguments, output: &mut Output) -> anyhow::Result<Status> {
    let log = match &arguments.log {
        Some(log) => log.clone(),
        None => match config::load(&arguments.config.file) {
            Err(faults) => {
                output.message(format_args!("{}", describe(&faults)));
                return Ok(Status::Faulty);
            }
            Ok(config) => match config.audit.output {
                AuditOutput::File(file) => file,
                AuditOutput::Stdout | AuditOutput::Off => {
                    let message =
                        "the audit log goes to no file; name one with `--log`, or write `audit: { file: … }`";
                    return Err(UsageError::new(message).into());
                }
            },
        },
    };
    let moment = |name, text: &Option<String>| text.as_deref().map(|text| ago(name, text, now())).transpose();
    let times = (moment("since", &arguments.since)?, moment("until", &arguments.until)?);
    let mut found: VecDeque<Value> = VecDeque::new();
    // The newest file first: most of what is asked for is there.
    let files = files_of(&log).with_context(|| format!("{}", log.display()))?;
    for file in files.into_iter().rev() {
        let mut here = VecDeque::new();
        for line in open(&file)?.split(b'\n') {
            let line = line.with_context(|| format!("{}", file.display()))?;
            let Ok(line) = serde_json::from_slice::<Value>(&line) else { continue };
            if arguments.fits(&line, &times) {
                here.push_back(line);
                if found.len() + here.len() > arguments.limit {
                    here.pop_front();
                }
            }
        }
        found = here.into_iter().chain(found).collect();
        if found.len() >= arguments.limit {
            break;
        }
    }
    show(arguments, &found, output)
}

fn show(
    arguments: &RequestsArguments,
    found: &VecDeque<Value>,
    output: &mut Output,
) -> anyhow::Result<Status> {
    if arguments.json {
        for line in found.iter().rev() {
            writeln!(output, "{line}")?;
        }
        return Ok(Status::Fine);
    }
    if found.is_empty() {
        output.message(format_args!("there was no such request"));
        return Ok(Status::Fine);
    }
    let mut table =
        Table::new(&["WHEN", "USER", "TOKEN", "METHOD", "PATH", "STATUS", "REASON", "FROM", "ID"]);
    for line in found.iter().rev() {
        let fields =
            ["time", "user", "token_name", "method", "path", "status", "reason", "peer", "request_id"];
        table.row(fields.map(|field| plain(&text(line, field))));
    }
    table.write(output)?;
    Ok(Status::Fine)
}

impl RequestsArguments {
    fn fits(&self, line: &Value, (since, until): &(Option<String>, Option<String>)) -> bool {
        let field = |name: &str| line[name].as_str().unwrap_or_default();
        let same = |wanted: &Option<String>, names: &[&str]| {
            let Some(wanted) = wanted else { return true };
            names.iter().any(|name| field(name).eq_ignore_ascii_case(wanted))
        };
        let belongs = |owner: &String| {
            let resource = field("resource");
            let first = resource.split_once('/').map_or(resource, |(first, _)| first);
            first.eq_ignore_ascii_case(owner)
        };
        // Both are RFC 3339 in UTC; a whole second stands before its parts where the zone is cut off.
        let time = field("time").trim_end_matches('Z');
        let from = |moment: &String| time >= moment.trim_end_matches('Z');
        same(&self.user, &["user"])
            && same(&self.token, &["token_id", "token_name"])
            && self.org.as_ref().is_none_or(belongs)
            && same(&self.repository, &["resource"])
            && same(&self.reason, &["reason"])
            && same(&self.peer, &["peer"])
            && same(&self.id, &["request_id"])
            && (!self.refused || line["verdict"] == "refuse")
            && since.as_ref().is_none_or(from)
            && until.as_ref().is_none_or(|until| !from(until))
    }
}
