//! `portcullis token`: declarations for policy files, the pattern of a token's text and the digest of one at hand here; tokens
//! of the store in `create` and `kept`.

pub mod create;
pub mod kept;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;
use zeroize::Zeroizing;

use crate::clock::now;
use crate::command::declaration::{Declaration, Repositories, permissions};
use crate::command::load::{DEFAULT_FILE, load, token_format};
use crate::command::output::Output;
use crate::command::{Status, UsageError};
use crate::domain::grant::UnixTime;
use crate::domain::secret::Secret;
use crate::domain::token::{TokenDigest, TokenFormat};
use crate::policy::tokens::parse_moment;
use crate::units::parse_duration;

/// What a declaration holds where the arguments say nothing: no policy file takes it, so that it is filled in.
const BLANK: &str = "<fill in>";

/// More than any token, bytes.
const INPUT_LIMIT: usize = 4096;

/// What to do about tokens.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What to do about tokens.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a token in the store: prints its text, once; what needs approval waits for it
    Create(Box<create::Arguments>),
    /// List tokens of the store
    List(kept::ListArguments),
    /// Show a token of the store: what it opens, what it waits for, when it was used
    Show(kept::ShowArguments),
    /// Take a token of the store back, at once
    Revoke(kept::RevokeArguments),
    /// Give a token of the store a new text; what was approved stays approved
    Regenerate(kept::RegenerateArguments),
    /// Make a token for a policy file: prints its text, once, and the YAML that declares it
    New(Box<NewArguments>),
    /// Print the regular expression that finds tokens, for secret scanners
    Pattern(FormatArguments),
    /// Read a token on standard input, print the digest that it is declared by
    Digest(DigestArguments),
}

/// How tokens start.
#[derive(Debug, Args)]
pub struct FormatArguments {
    /// The first part of the prefix: `acme` makes `acme_pat_…`
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    prefix: Option<String>,
    /// Take the prefix from this configuration; `portcullis.yaml` where it exists
    #[arg(long, value_name = "FILE", env = "PORTCULLIS_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
}

/// What the new token is for.
#[derive(Debug, Args)]
#[command(
    after_help = "The text is printed once and kept nowhere. Paste the YAML into a file in `policies/tokens/`: it holds
the SHA-256 digest only. What no argument says stands there as `<fill in>`, which no policy takes. Nothing
is stored: a token that is to be asked for, approved and taken back without files is made by `token create`.

Examples:
  portcullis token new --name 'nightly build' --user ci-bot --owner acme \\
      --repositories alpha,beta --permissions contents=read,statuses=write --expires 90d
  portcullis token new --json | jq -r .token"
)]
pub struct NewArguments {
    /// The token's name, for people
    #[arg(long)]
    name: Option<String>,
    /// Whom it belongs to
    #[arg(long)]
    user: Option<String>,
    /// The resource owner that it reaches
    #[arg(long)]
    owner: Option<String>,
    /// Which of the owner's repositories: names parted by `,`, or `all`
    #[arg(long, value_name = "NAMES")]
    repositories: Option<String>,
    /// What it may do there, such as `contents=read,issues=write`
    #[arg(long)]
    permissions: Option<String>,
    /// When it stops working: from now (`30d`), a date, or a moment in RFC 3339
    #[arg(long, value_name = "WHEN", default_value = "30d")]
    expires: String,
    #[command(flatten)]
    format: FormatArguments,
    /// Print one JSON object: `token`, `public_id`, `sha256`, `yaml`
    #[arg(long)]
    json: bool,
}

/// How to print the digest.
#[derive(Debug, Args)]
#[command(
    after_help = "The token's text is never an argument: arguments can be seen by everybody on the machine.

Example:
  portcullis token digest < token.txt
  grep -r \"$(portcullis token digest < token.txt | head -n 1 | cut -d ' ' -f 2)\" policies/tokens"
)]
pub struct DigestArguments {
    /// Print one JSON object: `sha256`, `public_id`
    #[arg(long)]
    json: bool,
}

/// Does what `arguments` say.
///
/// # Errors
/// [`UsageError`] for arguments or a standard input that mean nothing; a configuration without a readable prefix.
pub fn run(arguments: Arguments, output: &mut Output) -> anyhow::Result<Status> {
    match arguments.command {
        Command::Create(arguments) => create::run(&arguments, output),
        Command::List(arguments) => kept::list(&arguments, output),
        Command::Show(arguments) => kept::show(&arguments, output),
        Command::Revoke(arguments) => kept::revoke(&arguments, output),
        Command::Regenerate(arguments) => kept::regenerate(&arguments, output),
        Command::New(arguments) => new(&arguments, output),
        Command::Pattern(arguments) => {
            writeln!(output, "{}", arguments.format()?.pattern())?;
            Ok(Status::Fine)
        }
        Command::Digest(arguments) => digest(&arguments, output),
    }
}

impl FormatArguments {
    /// The configuration to go by, where there is one.
    fn file(&self) -> Option<&Path> {
        let default = Path::new(DEFAULT_FILE);
        match (&self.prefix, &self.config) {
            (Some(_), _) => None,
            (None, Some(file)) => Some(file),
            (None, None) => default.exists().then_some(default),
        }
    }

    fn format(&self) -> anyhow::Result<TokenFormat> {
        match (&self.prefix, self.file()) {
            (Some(prefix), _) => {
                TokenFormat::new(prefix).map_err(|error| UsageError::new(error.to_string()).into())
            }
            (None, Some(file)) => token_format(file).map_err(|error| UsageError(format!("{error:#}")).into()),
            (None, None) => Ok(TokenFormat::default()),
        }
    }
}

fn new(arguments: &NewArguments, output: &mut Output) -> anyhow::Result<Status> {
    let format = arguments.format.format()?;
    let text = random_token(&format)?;
    let token = format.parse(text.expose()).context("the new token cannot be read back")?;
    let declaration = arguments.declaration(token.digest, now())?;
    arguments.check(&declaration, output)?;
    let yaml = declaration.yaml();
    if arguments.json {
        output.json(&json!({
            "token": text.expose(),
            "public_id": token.public_id.as_str(),
            "sha256": token.digest.to_string(),
            "yaml": yaml,
        }))?;
        return Ok(Status::Fine);
    }
    output.message(format_args!("The token; it is shown this once:"));
    writeln!(output, "{}\n", text.expose())?;
    output.flush()?;
    output.message(format_args!("Its declaration, for a file in `policies/tokens/`:"));
    write!(output, "{yaml}")?;
    Ok(Status::Fine)
}

/// A new token's text, from the operating system's generator.
///
/// # Errors
/// The generator fails.
pub fn random_token(format: &TokenFormat) -> anyhow::Result<Secret> {
    let mut random = Zeroizing::new([0; TokenFormat::RANDOM_BYTES]);
    aws_lc_rs::rand::fill(&mut *random).context("the system's random generator fails; try again")?;
    format.assemble(&*random).context("the system's random generator gave too little; try again")
}

impl NewArguments {
    fn declaration(&self, digest: TokenDigest, now: UnixTime) -> Result<Declaration, UsageError> {
        let text = |given: &Option<String>| given.clone().unwrap_or_else(|| BLANK.to_owned());
        let repositories = match self.repositories.as_deref() {
            Some("all") => Repositories::All,
            Some(names) => Repositories::Names(names.split(',').map(|name| name.trim().to_owned()).collect()),
            None => Repositories::Names(vec![BLANK.to_owned()]),
        };
        let permissions = match &self.permissions {
            Some(text) => permissions(text)?,
            None => vec![(BLANK.to_owned(), "read".to_owned())],
        };
        let expires_at = expiry(&self.expires, now)?;
        Ok(Declaration {
            name: self.name.clone().unwrap_or_else(|| "new token".to_owned()),
            digest,
            user: text(&self.user),
            reach: BTreeMap::from([(text(&self.owner), repositories)]),
            permissions,
            created_at: now,
            expires_at,
        })
    }

    /// Checks a declaration without blanks against the policy that it is for, where there is one.
    fn check(&self, declaration: &Declaration, output: &Output) -> Result<(), UsageError> {
        let given = [&self.user, &self.owner, &self.repositories, &self.permissions];
        if given.iter().any(|given| given.is_none()) {
            output.message(format_args!("Fill in what stands as `{BLANK}`."));
            return Ok(());
        }
        let Some(file) = self.format.file() else {
            return Ok(());
        };
        if let Ok(loaded) = load(file) {
            declaration.compile(&loaded.snapshot.vocabulary).map(drop)
        } else {
            let file = file.display();
            output.message(format_args!(
                "The declaration was not checked: `{file}` or its policy files have faults; see `portcullis check`."
            ));
            Ok(())
        }
    }
}

/// Reads `30d`, a date or a moment.
fn expiry(text: &str, now: UnixTime) -> Result<UnixTime, UsageError> {
    let lifetime = parse_duration(text).ok();
    let moment = match lifetime.and_then(|lifetime| i64::try_from(lifetime.as_secs()).ok()) {
        Some(seconds) => now.0.checked_add(seconds).map(UnixTime),
        None => parse_moment(text),
    };
    let readable = moment.filter(|moment| jiff::Timestamp::from_second(moment.0).is_ok());
    match readable {
        Some(moment) if moment > now => Ok(moment),
        Some(_) => Err(UsageError(format!("`--expires {text}` is past; expected a moment to come"))),
        None => Err(UsageError(format!(
            "`--expires {text}` is no moment; expected such as `30d`, `2027-01-31` or `2027-01-31T18:00:00Z`"
        ))),
    }
}

fn digest(arguments: &DigestArguments, output: &mut Output) -> anyhow::Result<Status> {
    let text = read_token()?;
    // The prefix tells the format: no configuration is needed to find a token that leaked.
    let product = text.expose().rsplit_once("_pat_").map(|(product, _)| product);
    let format = product.and_then(|product| TokenFormat::new(product).ok()).unwrap_or_default();
    let token =
        format.parse(text.expose()).map_err(|error| UsageError::new(format!("standard input: {error}")))?;
    if arguments.json {
        output.json(&json!({
            "sha256": token.digest.to_string(),
            "public_id": token.public_id.as_str(),
        }))?;
    } else {
        writeln!(output, "sha256: {}\npublic_id: {}", token.digest, token.public_id)?;
    }
    Ok(Status::Fine)
}

/// The token on standard input: one line.
///
/// # Errors
/// [`UsageError`] where there is none, or more than a token. Tells nothing of what was read.
pub fn read_token() -> anyhow::Result<Secret> {
    let mut text = Zeroizing::new(String::with_capacity(INPUT_LIMIT));
    std::io::stdin()
        .take(INPUT_LIMIT as u64)
        .read_to_string(&mut text)
        .map_err(|error| UsageError(format!("standard input cannot be read: {error}; expected a token")))?;
    let token = text.trim();
    if token.is_empty() || token.contains(char::is_control) {
        return Err(UsageError::new("standard input: expected one line with a token").into());
    }
    Ok(Secret::new(token.to_owned()))
}
