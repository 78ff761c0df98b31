//! `portcullis classic`: who still uses credentials that hosts issued.

use clap::{Args, Subcommand};

use crate::command::Status;
use crate::command::client::{Access, Question, encode};
use crate::command::output::Output;
use crate::command::table::Table;
use crate::command::view::text;

/// Each column's heading, and the field that it shows.
const COLUMNS: [(&str, &str); 8] = [
    ("DIGEST", "hashed_token"),
    ("UPSTREAM", "upstream"),
    ("AT", "organization"),
    ("USES", "uses"),
    ("FIRST USED", "first_used_at"),
    ("LAST USED", "last_used_at"),
    ("FROM", "last_used_from"),
    ("BY", "last_used_by"),
];

/// What to do about classic tokens.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What to do about classic tokens.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the credentials of hosts that passed, the latest 1000, by their digests
    Report(ReportArguments),
}

/// Where they were used.
#[derive(Debug, Args)]
#[command(after_help = "The digest is SHA-256 in base64; this makes it of a credential, to find whose it is:
  printf %s \"$CREDENTIAL\" | openssl dgst -sha256 -binary | base64

Examples:
  portcullis classic report
  portcullis classic report acme --json")]
pub struct ReportArguments {
    /// The organization; of all of them where it is left out, for administrators
    org: Option<String>,
    /// Print the API's JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: Access,
}

/// Does what `arguments` say.
///
/// # Errors
/// What the API refuses.
pub fn run(arguments: &Arguments, output: &mut Output) -> anyhow::Result<Status> {
    match &arguments.command {
        Command::Report(arguments) => report(arguments, output),
    }
}

fn report(arguments: &ReportArguments, output: &mut Output) -> anyhow::Result<Status> {
    let client = arguments.access.open(output)?;
    let path = arguments
        .org
        .as_ref()
        .map_or_else(|| "/classic-tokens".to_owned(), |org| format!("/orgs/{}/classic-tokens", encode(org)));
    let uses = client.list(Question::get(path), usize::MAX)?;
    if arguments.json {
        output.json(&uses)?;
        return Ok(Status::Fine);
    }
    if uses.is_empty() {
        output.message(format_args!("no classic token was used"));
        return Ok(Status::Fine);
    }
    let mut table = Table::new(&COLUMNS.map(|(heading, _)| heading));
    for used in &uses {
        table.row(COLUMNS.map(|(_, field)| text(used, field)));
    }
    table.write(output)?;
    Ok(Status::Fine)
}
