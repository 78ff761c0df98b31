//! `portcullis request`: what tokens ask a resource owner for.

use clap::{Args, Subcommand};
use serde_json::json;

use crate::command::Status;
use crate::command::client::{Access, PAGE, Question, encode};
use crate::command::output::Output;
use crate::command::table::Table;
use crate::command::view::{login, permissions, reached, text};

/// What to do about requests.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What to do about requests.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List what waits for a decision
    List(ListArguments),
    /// Grant what is asked for, all of it or nothing
    Approve(DecideArguments),
    /// Refuse what is asked for, all of it or nothing
    Deny(DecideArguments),
}

/// Whose requests to list.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  portcullis request list acme
  portcullis request list acme --server http://127.0.0.1:9090 --credential-file session --json")]
pub struct ListArguments {
    /// The organization
    org: String,
    /// Print the API's JSON, which is GitHub's
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: Access,
}

/// Which requests to decide about.
#[derive(Debug, Args)]
#[command(after_help = "Where one of the numbers is no open request of the organization, nothing is done.

Examples:
  portcullis request approve acme 5 6
  portcullis request deny acme 7 --reason 'use the deploy key'")]
pub struct DecideArguments {
    /// The organization
    org: String,
    /// The requests' numbers, as `request list` shows them; at most 100
    #[arg(required = true, value_name = "ID")]
    ids: Vec<i64>,
    /// What the tokens' users are told
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    access: Access,
}

/// Does what `arguments` say.
///
/// # Errors
/// What the API refuses.
pub fn run(arguments: &Arguments, output: &mut Output) -> anyhow::Result<Status> {
    match &arguments.command {
        Command::List(arguments) => list(arguments, output),
        Command::Approve(arguments) => decide(arguments, ("approve", "approved"), output),
        Command::Deny(arguments) => decide(arguments, ("deny", "denied"), output),
    }
}

fn path(org: &str) -> String {
    format!("/orgs/{}/personal-access-token-requests", encode(org))
}

fn list(arguments: &ListArguments, output: &mut Output) -> anyhow::Result<Status> {
    let client = arguments.access.open(output)?;
    let list = path(&arguments.org);
    let requests = client.list(Question::get(format!("{list}?per_page={PAGE}")), usize::MAX)?;
    if arguments.json {
        output.json(&requests)?;
        return Ok(Status::Fine);
    }
    if requests.is_empty() {
        output.message(format_args!("nothing waits for a decision of `{}`", arguments.org));
        return Ok(Status::Fine);
    }
    let mut table =
        Table::new(&["ID", "TOKEN", "USER", "REPOSITORIES", "PERMISSIONS", "EXPIRES", "ASKED", "REASON"]);
    for request in &requests {
        table.row([
            text(request, "id"),
            text(request, "token_name"),
            login(request, "owner"),
            reached(&client, &list, request)?,
            permissions(&request["permissions"]),
            text(request, "token_expires_at"),
            text(request, "created_at"),
            text(request, "reason"),
        ]);
    }
    table.write(output)?;
    Ok(Status::Fine)
}

fn decide(
    arguments: &DecideArguments,
    (action, done): (&str, &str),
    output: &mut Output,
) -> anyhow::Result<Status> {
    let DecideArguments { org, ids, reason, access } = arguments;
    let client = access.open(output)?;
    let body = json!({ "pat_request_ids": ids, "action": action, "reason": reason });
    client.ask(&Question::post(path(org), body))?;
    let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
    output.message(format_args!("{done} at `{org}`: {}", ids.join(", ")));
    Ok(Status::Fine)
}
