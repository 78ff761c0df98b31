//! `portcullis audit requests`: what was asked of hosts, and what became of it.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use crate::clock::now;
use crate::command::audit::{ago, list_path};
use crate::command::client::{Access, Question};
use crate::command::output::Output;
use crate::command::table::{Table, plain};
use crate::command::view::text;
use crate::command::{Status, UsageError};
use crate::config::{self, AuditOutput};
use crate::domain::fault::describe;
use crate::domain::grant::UnixTime;
use crate::record::audit::search::{Bounds, Wanted, search};

/// What to look for. Each thing that is given must fit.
#[derive(Debug, Args)]
#[command(
    after_help = "The log is the `audit.file` of the configuration, with the files that were rotated (`FILE.1`, …). At a server, owners of
an organization may ask with `--org`, and administrators without it.

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
    #[arg(long, value_name = "FILE", conflicts_with = "server")]
    log: Option<PathBuf>,
    #[command(flatten)]
    access: Access,
}

/// Finds and shows them.
///
/// # Errors
/// [`UsageError`] for arguments that mean nothing; what cannot be read; what the API refuses.
pub(super) fn run(arguments: &RequestsArguments, output: &mut Output) -> anyhow::Result<Status> {
    if arguments.access.is_of_server() {
        let client = arguments.access.open(output)?;
        let found = client.list(Question::get(arguments.path()?), arguments.limit)?;
        return show(arguments, &found, output);
    }
    let log = match &arguments.log {
        Some(log) => log.clone(),
        None => match config::load(arguments.access.config_file()) {
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
    let bounds = Bounds { lines: arguments.limit, bytes: u64::MAX };
    let found = search(&log, &arguments.wanted()?, None, bounds);
    let found = found.map_err(|error| UsageError(error.to_string()))?;
    show(arguments, &found.lines, output)
}

fn show(arguments: &RequestsArguments, found: &[Value], output: &mut Output) -> anyhow::Result<Status> {
    if arguments.json {
        for line in found {
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
    for line in found {
        let fields =
            ["time", "user", "token_name", "method", "path", "status", "reason", "peer", "request_id"];
        table.row(fields.map(|field| plain(&text(line, field))));
    }
    table.write(output)?;
    Ok(Status::Fine)
}

impl RequestsArguments {
    /// What is looked for in a file.
    fn wanted(&self) -> Result<Wanted, UsageError> {
        let moment =
            |name, text: &Option<String>| text.as_deref().map(|text| ago(name, text, now())).transpose();
        Ok(Wanted {
            user: self.user.clone(),
            token: self.token.clone(),
            org: self.org.clone(),
            repository: self.repository.clone(),
            reason: self.reason.clone(),
            refused: self.refused,
            peer: self.peer.clone(),
            id: self.id.clone(),
            since: moment("since", &self.since)?,
            until: moment("until", &self.until)?,
        })
    }

    /// The path and the query that ask a server for it.
    fn path(&self) -> Result<String, UsageError> {
        let wanted = self.wanted()?;
        let moment = |moment: Option<UnixTime>| moment.map(|moment| moment.to_string());
        let words = [
            ("user:", wanted.user),
            ("token:", wanted.token),
            ("repo:", wanted.repository),
            ("reason:", wanted.reason),
            ("verdict:", wanted.refused.then(|| "refuse".to_owned())),
            ("peer:", wanted.peer),
            ("id:", wanted.id),
            ("created:>=", moment(wanted.since)),
            ("created:<", moment(wanted.until)),
        ];
        list_path("request-log", self.org.as_deref(), words, self.limit)
    }
}
