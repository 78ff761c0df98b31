//! `portcullis sign-in`.

use std::io::Write;

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};

use crate::command::client::server::{Server, ServerArguments};
use crate::command::client::{Client, Question};
use crate::command::output::Output;
use crate::command::password::read_password;
use crate::command::view::text;
use crate::command::{Status, UsageError};

/// Who signs in, and where.
#[derive(Debug, Args)]
#[command(
    after_help = "The password is read on standard input. The session's text is printed on standard output and everything else on
standard error; it is as good as the password for 12 hours, so keep it where only you can read it.

Examples:
  (umask 077; portcullis sign-in --server http://127.0.0.1:9090 --login alice < password > session)
  portcullis request list acme --server http://127.0.0.1:9090 --credential-file session

Exit codes: 0 signed in, 1 refused or failed, 2 arguments that mean nothing."
)]
pub struct Arguments {
    /// The login
    #[arg(long)]
    login: String,
    /// Print the API's JSON, with the text as `token`
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArguments,
}

/// Signs in.
///
/// # Errors
/// [`UsageError`] without a server or a password; the server refuses.
pub fn run(arguments: &Arguments, output: &mut Output) -> anyhow::Result<Status> {
    let url = arguments.server.url().ok_or_else(|| {
        UsageError::new("sign in where? Name the gateway's control listener with `--server`")
    })?;
    let server = Server::new(url, &arguments.server, None)?;
    let password = read_password(output)?;
    let client = Client::of_server(server)?;
    let body = json!({ "login": arguments.login, "password": password.expose() });
    let session = client.ask(&Question::post("/sessions", body)).context("not signed in")?;
    let secret = session
        .get("token")
        .and_then(Value::as_str)
        .context("the answer holds no session; is the server a gateway?")?;
    if arguments.json {
        output.json(&session)?;
    } else {
        writeln!(output, "{secret}")?;
    }
    output.flush()?;
    output.message(format_args!(
        "`{}` is signed in; the session ends {}",
        arguments.login,
        text(&session, "expires_at")
    ));
    Ok(Status::Fine)
}
