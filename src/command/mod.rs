//! The command line: one file a subcommand.
//!
//! A command reads its arguments, calls what the other modules offer, and writes the outcome. No rule stands here: what
//! may pass is for `policy` to say.

pub mod audit;
pub mod check;
pub mod classic;
pub mod client;
pub mod completions;
pub mod declaration;
pub mod demo;
pub mod explain;
pub mod grant;
pub mod load;
pub mod output;
pub mod password;
pub mod request;
pub mod serve;
pub mod sign_in;
pub mod table;
pub mod token;
pub mod user;
pub mod view;
pub mod warnings;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::Styles;
use clap::builder::styling::{AnsiColor, Effects};
use clap::{Args, Parser, Subcommand};
use thiserror::Error;

use crate::command::output::Output;
use crate::domain::token::PUBLIC_ID_LENGTH;
use crate::domain::token::SESSION_PREFIX;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Yellow.on_default().effects(Effects::BOLD))
    .usage(AnsiColor::Yellow.on_default().effects(Effects::BOLD))
    .literal(AnsiColor::Green.on_default().effects(Effects::BOLD))
    .placeholder(AnsiColor::Cyan.on_default())
    .valid(AnsiColor::Green.on_default())
    .invalid(AnsiColor::Red.on_default().effects(Effects::BOLD))
    .error(AnsiColor::Red.on_default().effects(Effects::BOLD));

/// Hexadecimal digits after which a text counts as that of a session: a half of one is a secret too.
const SESSION_DIGITS: usize = 32;

/// Fine-grained access tokens in front of any git host and any REST API
///
/// Portcullis takes the token off a request, decides in memory what it may do, puts the identity that the host
/// understands on it, and streams both ways. What was not granted never reaches the host.
#[derive(Debug, Parser)]
#[command(
    name = "portcullis",
    version,
    styles = STYLES,
    arg_required_else_help = true,
    after_help = "Examples:
  portcullis check                          are the files in this folder fine?
  portcullis serve                          run the gateway
  portcullis demo                           see it at work in a minute
  portcullis token create --user ci-bot --name nightly --owner acme \\
      --repositories alpha --permissions contents=read
  portcullis explain --token-name 'nightly build' clone https://git.example.com/acme/alpha

Exit codes: 0 fine, 1 refused or failed, 2 faults in files or arguments."
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway
    Serve(serve::Arguments),
    /// Check the configuration and the policy files, and tell every fault
    Check(check::Arguments),
    /// Tell, step by step, whether a request would pass and what would have been enough
    Explain(Box<explain::Arguments>),
    /// Make tokens, see them, renew them and take them back
    Token(token::Arguments),
    /// See what tokens ask an organization for; approve and deny it
    Request(request::Arguments),
    /// See which tokens reach an organization; take that back
    Grant(grant::Arguments),
    /// See who still uses credentials that hosts issued
    Classic(classic::Arguments),
    /// Users: who there is, who administers, who is suspended
    User(user::Arguments),
    /// Who did what to tokens and users; check that nothing of it was changed
    Audit(audit::Arguments),
    /// Get a session at a running gateway
    SignIn(sign_in::Arguments),
    /// Show it: two repositories, two tokens, and commands to paste
    Demo(demo::Arguments),
    /// Print the completions of a shell
    Completions(completions::Arguments),
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub struct ConfigFile {
    /// The configuration; the policy files are where it says
    #[arg(
        id = "config",
        long = "config",
        value_name = "FILE",
        default_value = load::DEFAULT_FILE,
        env = "PORTCULLIS_CONFIG",
        hide_env_values = true
    )]
    pub file: PathBuf,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// All is well.
    Fine,
    /// A request was refused, or the command failed.
    Refused,
    /// The files or the arguments have faults.
    Faulty,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        match status {
            Status::Fine => Self::SUCCESS,
            Status::Refused => Self::from(1),
            Status::Faulty => Self::from(2),
        }
    }
}

/// Arguments, or standard input, that mean nothing.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct UsageError(pub String);

impl UsageError {
    /// With what is wrong and what was expected.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// Reads `arguments`, the first of which is the program. Ends the process for `--help`, `--version` and arguments that
/// are none of ours.
///
/// # Errors
/// [`UsageError`] where one holds a token, which must not go unnoticed and is not repeated.
pub fn parse(arguments: Vec<OsString>) -> Result<Arguments, UsageError> {
    if arguments.iter().any(|argument| holds_token(&argument.to_string_lossy())) {
        return Err(UsageError::new(
            "an argument holds a token or a session, where everybody on this machine can see it and the shell's history keeps it; revoke it, and give tokens on standard input",
        ));
    }
    Ok(Arguments::parse_from(arguments))
}

/// Whether there is a token in `argument`, whatever its product, or a session.
fn holds_token(argument: &str) -> bool {
    let session = argument.split_once(SESSION_PREFIX).map(|(_, rest)| rest);
    let digits = session.map(|rest| rest.bytes().take_while(u8::is_ascii_hexdigit).count());
    digits.is_some_and(|digits| digits >= SESSION_DIGITS)
        || argument.match_indices("_pat_").any(|(at, found)| {
            let rest = argument.get(at + found.len()..).unwrap_or_default();
            let (id, secret) = rest.split_once('_').unwrap_or_default();
            id.len() == PUBLIC_ID_LENGTH && !secret.is_empty()
        })
}

/// Does what `arguments` say.
///
/// # Errors
/// What keeps the command from ending: [`UsageError`], or the system's.
pub fn run(arguments: Arguments, output: &mut Output) -> anyhow::Result<Status> {
    match arguments.command {
        Command::Serve(arguments) => serve::run(&arguments, output),
        Command::Check(arguments) => check::run(&arguments, output),
        Command::Explain(arguments) => explain::run(&arguments, output),
        Command::Token(arguments) => token::run(arguments, output),
        Command::Request(arguments) => request::run(&arguments, output),
        Command::Grant(arguments) => grant::run(&arguments, output),
        Command::Classic(arguments) => classic::run(&arguments, output),
        Command::User(arguments) => user::run(&arguments, output),
        Command::Audit(arguments) => audit::run(&arguments, output),
        Command::SignIn(arguments) => sign_in::run(&arguments, output),
        Command::Demo(arguments) => demo::run(&arguments, output),
        Command::Completions(arguments) => completions::run(&arguments, output),
    }
}

/// Tells `error` and gives the status that the command ends with.
pub fn report(error: &anyhow::Error, output: &Output) -> Status {
    output.message(format_args!("error: {error:#}"));
    if error.is::<UsageError>() { Status::Faulty } else { Status::Refused }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn tokens_of_any_product_are_noticed() {
        let token = format!("acme_pat_{}_{}", "a".repeat(22), "b".repeat(59));
        for argument in [
            token.clone(),
            format!("https://h/?t={token}"),
            format!("X: {token}"),
            format!("{SESSION_PREFIX}{}", "0a".repeat(32)),
        ] {
            assert!(holds_token(&argument), "{argument}");
        }
        for argument in ["portcullis_pat_", "a_pat_b_c", "--prefix=acme_pat", "portcullis_session_bob"] {
            assert!(!holds_token(argument), "{argument}");
        }
    }
}
