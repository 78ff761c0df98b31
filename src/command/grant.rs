//! `portcullis grant`: which tokens reach a resource owner.

use clap::{Args, Subcommand};
use serde_json::json;

use crate::command::Status;
use crate::command::client::{Access, PAGE, Question, encode};
use crate::command::output::Output;
use crate::command::table::Table;
use crate::command::view::{login, permissions, reached, text};

/// What to do about grants.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What to do about grants.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the tokens that reach an organization
    List(ListArguments),
    /// Take the access of tokens to an organization back, of all of them or of none
    Revoke(RevokeArguments),
}

/// Whose grants to list.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  portcullis grant list acme
  portcullis grant list acme --server http://127.0.0.1:9090 --credential-file session --json")]
pub struct ListArguments {
    /// The organization
    org: String,
    /// Print the API's JSON, which is GitHub's
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: Access,
}

/// Which grants to take back.
#[derive(Debug, Args)]
#[command(
    after_help = "The tokens reach nothing of the organization from then on; what they reach elsewhere stays.

Examples:
  portcullis grant revoke acme 11 12"
)]
pub struct RevokeArguments {
    /// The organization
    org: String,
    /// The grants' numbers, as `grant list` shows them; at most 100
    #[arg(required = true, value_name = "ID")]
    ids: Vec<i64>,
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
        Command::Revoke(arguments) => revoke(arguments, output),
    }
}

fn path(org: &str) -> String {
    format!("/orgs/{}/personal-access-tokens", encode(org))
}

fn list(arguments: &ListArguments, output: &mut Output) -> anyhow::Result<Status> {
    let client = arguments.access.open(output)?;
    let list = path(&arguments.org);
    let grants = client.list(Question::get(format!("{list}?per_page={PAGE}")), usize::MAX)?;
    if arguments.json {
        output.json(&grants)?;
        return Ok(Status::Fine);
    }
    if grants.is_empty() {
        output.message(format_args!("no token of the store reaches `{}`", arguments.org));
        return Ok(Status::Fine);
    }
    let mut table =
        Table::new(&["ID", "TOKEN", "USER", "REPOSITORIES", "PERMISSIONS", "EXPIRES", "LAST USED"]);
    for grant in &grants {
        table.row([
            text(grant, "id"),
            text(grant, "token_name"),
            login(grant, "owner"),
            reached(&client, &list, grant)?,
            permissions(&grant["permissions"]),
            text(grant, "token_expires_at"),
            text(grant, "token_last_used_at"),
        ]);
    }
    table.write(output)?;
    Ok(Status::Fine)
}

fn revoke(arguments: &RevokeArguments, output: &mut Output) -> anyhow::Result<Status> {
    let RevokeArguments { org, ids, access } = arguments;
    let client = access.open(output)?;
    client.ask(&Question::post(path(org), json!({ "pat_ids": ids, "action": "revoke" })))?;
    let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
    output.message(format_args!("taken back at `{org}`: {}", ids.join(", ")));
    Ok(Status::Fine)
}
