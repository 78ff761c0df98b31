//! `portcullis user`: who there is, who administers, who is suspended.
//!
//! Users are made, and passwords set, in the local store alone: by whoever may write its file.

use clap::{Args, Subcommand};
use http::Method;

use crate::command::client::{Access, Client, Question, encode};
use crate::command::output::Output;
use crate::command::password::read_password;
use crate::command::table::Table;
use crate::command::view::text;
use crate::command::{ConfigFile, Status, UsageError};
use crate::domain::secret::Secret;
use crate::issuer::IssueError;
use crate::issuer::users::{UserEdit, hash_password};

/// What to do about users.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What to do about users.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a user in the local store, or change one
    Add(AddArguments),
    /// List users
    List(ListArguments),
    /// Suspend a user: neither signs in nor has a token that works
    Suspend(OneArguments),
    /// Take a suspension back
    Resume(OneArguments),
    /// Set a user's password in the local store
    Password(PasswordArguments),
}

/// Who the user is.
#[derive(Debug, Args)]
#[command(
    after_help = "Done in the local store alone. A user without a password cannot sign in, and has tokens made at the machine.

Examples:
  portcullis user add alice --administrator --password-stdin < password
  portcullis user add bob
  portcullis user add alice --administrator=false"
)]
pub struct AddArguments {
    /// The login, as the host knows it
    login: String,
    /// Whether they administer the gateway
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    administrator: Option<bool>,
    /// Read a password on standard input: one line
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    config: ConfigFile,
}

/// How to list users.
#[derive(Debug, Args)]
#[command(after_help = "Only administrators may, at a server.

Examples:
  portcullis user list
  portcullis user list --server http://127.0.0.1:9090 --credential-file session --json")]
pub struct ListArguments {
    /// Print the API's JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: Access,
}

/// Which user.
#[derive(Debug, Args)]
#[command(
    after_help = "Only administrators may, at a server. It is in force at once; nothing else of the user changes.

Examples:
  portcullis user suspend bob
  portcullis user resume bob --server http://127.0.0.1:9090 --credential-file session"
)]
pub struct OneArguments {
    /// The login
    login: String,
    #[command(flatten)]
    access: Access,
}

/// Whose password.
#[derive(Debug, Args)]
#[command(
    after_help = "The password is read on standard input: one line, 12 characters or more. Done in the local store alone.

Examples:
  portcullis user password alice < password"
)]
pub struct PasswordArguments {
    /// The login
    login: String,
    #[command(flatten)]
    config: ConfigFile,
}

/// Does what `arguments` say.
///
/// # Errors
/// [`UsageError`] for a login or a password that cannot be; what the API refuses.
pub fn run(arguments: &Arguments, output: &mut Output) -> anyhow::Result<Status> {
    match &arguments.command {
        Command::Add(arguments) => add(arguments, output),
        Command::List(arguments) => list(arguments, output),
        Command::Suspend(arguments) => suspend(arguments, (Method::PUT, "suspended"), output),
        Command::Resume(arguments) => suspend(arguments, (Method::DELETE, "suspended no more"), output),
        Command::Password(arguments) => password(arguments, output),
    }
}

fn add(arguments: &AddArguments, output: &mut Output) -> anyhow::Result<Status> {
    let AddArguments { login, administrator, password_stdin, config } = arguments;
    let password = password_stdin.then(|| read_password(output).and_then(|password| hash(&password)));
    let edit = UserEdit { password: password.transpose()?, administrator: *administrator, suspended: None };
    let client = Client::of_store(config, output)?;
    let is_known = is_known(&client, login)?;
    set(&client, login, edit)?;
    if !is_known {
        output.message(format_args!("`{login}` is made"));
    } else if *password_stdin || administrator.is_some() {
        output.message(format_args!("`{login}` was there already, and is changed"));
    } else {
        output.message(format_args!("`{login}` was there already; nothing is changed"));
    }
    Ok(Status::Fine)
}

fn password(arguments: &PasswordArguments, output: &mut Output) -> anyhow::Result<Status> {
    let login = &arguments.login;
    let hash = hash(&read_password(output)?)?;
    let client = Client::of_store(&arguments.config, output)?;
    if !is_known(&client, login)? {
        anyhow::bail!("there is no user `{login}`; `portcullis user add {login}` makes one");
    }
    set(&client, login, UserEdit { password: Some(hash), ..UserEdit::default() })?;
    output.message(format_args!("the password of `{login}` is set"));
    Ok(Status::Fine)
}

fn hash(password: &Secret) -> Result<String, UsageError> {
    hash_password(password).map_err(|error| UsageError(error.to_string()))
}

fn is_known(client: &Client, login: &str) -> anyhow::Result<bool> {
    let users = client.list(Question::get("/users"), usize::MAX)?;
    Ok(users.iter().any(|user| text(user, "login").eq_ignore_ascii_case(login)))
}

fn set(client: &Client, login: &str, edit: UserEdit) -> anyhow::Result<()> {
    let Some(store) = client.store() else { return Ok(()) };
    let set = client.wait(store.issuer().set_user(store.setting(), login.to_owned(), edit));
    match set {
        Ok(_) => Ok(()),
        Err(error @ IssueError::Invalid(_)) => Err(UsageError(error.to_string()).into()),
        Err(error) => Err(error.into()),
    }
}

fn list(arguments: &ListArguments, output: &mut Output) -> anyhow::Result<Status> {
    let client = arguments.access.open(output)?;
    let users = client.list(Question::get("/users"), usize::MAX)?;
    if arguments.json {
        output.json(&users)?;
        return Ok(Status::Fine);
    }
    if users.is_empty() {
        output.message(format_args!("no users; `portcullis user add` makes one"));
        return Ok(Status::Fine);
    }
    let mut table = Table::new(&["LOGIN", "ADMINISTRATOR", "PASSWORD", "SINCE", "SUSPENDED"]);
    for user in &users {
        let yes = |field: &str| if user[field] == true { "yes" } else { "no" }.to_owned();
        table.row([
            text(user, "login"),
            yes("administrator"),
            yes("signs_in_with_password"),
            text(user, "created_at"),
            text(user, "suspended_at"),
        ]);
    }
    table.write(output)?;
    Ok(Status::Fine)
}

fn suspend(
    arguments: &OneArguments,
    (method, done): (Method, &str),
    output: &mut Output,
) -> anyhow::Result<Status> {
    let OneArguments { login, access } = arguments;
    let client = access.open(output)?;
    client.ask(&Question::new(method, format!("/users/{}/suspended", encode(login)), None))?;
    output.message(format_args!("`{login}` is {done}"));
    Ok(Status::Fine)
}
