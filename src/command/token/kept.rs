//! `portcullis token list`, `show`, `revoke` and `regenerate`: tokens that the store keeps.
//!
//! At a server these are the caller's own; in the local store they are anybody's.

use clap::Args;
use http::Method;
use serde_json::{Map, Value, json};

use crate::clock::now;
use crate::command::client::{Access, Client, PAGE, Question};
use crate::command::output::Output;
use crate::command::table::{Table, plain};
use crate::command::token::create::{OWN, only_local, tell};
use crate::command::token::expiry;
use crate::command::view::{items, login, permissions, repositories, text};
use crate::command::{Status, UsageError};
use crate::units::parse_duration;

/// Which tokens to list.
#[derive(Debug, Args)]
#[command(
    after_help = "At a server these are the caller's own. In the local store they are everybody's, or those of `--user`.

Examples:
  portcullis token list --user bob
  portcullis token list --server http://127.0.0.1:9090 --credential-file session --json | jq '.[].id'"
)]
pub struct ListArguments {
    /// Only those of this user, in the local store
    #[arg(long, value_name = "LOGIN")]
    user: Option<String>,
    /// Print the API's JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: Access,
}

/// Which token to show.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  portcullis token show 7
  portcullis token show 7 --server http://127.0.0.1:9090 --credential-file session --json")]
pub struct ShowArguments {
    /// The token's number, as `token list` shows it
    id: i64,
    /// Print the API's JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: Access,
}

/// Which token to take back.
#[derive(Debug, Args)]
#[command(
    after_help = "A token that was taken back is refused from then on and stays so. A running gateway sees what is done in its
local store within 250 milliseconds.

Examples:
  portcullis token revoke 7 --why 'the laptop was stolen'
  portcullis token revoke 7 --server http://127.0.0.1:9090 --credential-file session"
)]
pub struct RevokeArguments {
    /// The token's number, as `token list` shows it
    id: i64,
    /// What the audit trail says of it, in the local store
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
    #[command(flatten)]
    access: Access,
}

/// How to renew a token.
#[derive(Debug, Args)]
#[command(after_help = "The new text is printed on standard output, this once. Number, name and grants stay.

Examples:
  portcullis token regenerate 7 --expires 90d --overlap 1h > token.txt")]
pub struct RegenerateArguments {
    /// The token's number, as `token list` shows it
    id: i64,
    /// When the new text stops working: from now (`30d`), a date, or a moment in RFC 3339; 30 days where policy allows it
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,
    /// For how long the old text goes on working, at most `7d`
    #[arg(long, value_name = "TIME", default_value = "0s")]
    overlap: String,
    /// Print the API's JSON, with the text as `token`
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: Access,
}

/// Lists tokens.
///
/// # Errors
/// What the API refuses.
pub(super) fn list(arguments: &ListArguments, output: &mut Output) -> anyhow::Result<Status> {
    let client = arguments.access.open(output)?;
    let tokens = tokens(&client, arguments.user.as_deref())?;
    if arguments.json {
        output.json(&tokens)?;
        return Ok(Status::Fine);
    }
    if tokens.is_empty() {
        output.message(format_args!("no tokens; `portcullis token create` makes one"));
        return Ok(Status::Fine);
    }
    let mut table = Table::new(&["ID", "NAME", "USER", "STATE", "AT", "EXPIRES", "LAST USED"]);
    for token in &tokens {
        let mut owners: Vec<_> =
            items(token, "resource_owners").iter().map(|part| text(part, "resource_owner")).collect();
        owners.dedup();
        table.row([
            text(token, "id"),
            text(token, "name"),
            login(token, "user"),
            text(token, "state"),
            owners.join(","),
            text(token, "expires_at"),
            text(token, "last_used_at"),
        ]);
    }
    table.write(output)?;
    Ok(Status::Fine)
}

/// The tokens of one user, or of all.
fn tokens(client: &Client, user: Option<&str>) -> anyhow::Result<Vec<Value>> {
    let own = format!("{OWN}?per_page={PAGE}");
    let users = match (client.store(), user) {
        (None, None) => return client.list(Question::get(own), usize::MAX),
        (None, Some(_)) => return Err(only_local("--user").into()),
        (Some(_), Some(user)) => vec![user.to_owned()],
        (Some(_), None) => {
            let users = client.list(Question::get("/users"), usize::MAX)?;
            users.iter().map(|user| text(user, "login")).collect()
        }
    };
    let mut tokens = Vec::new();
    for user in users {
        tokens.extend(client.list(Question::get(own.as_str()).of(Some(user)), usize::MAX)?);
    }
    tokens.sort_by_key(|token| token["id"].as_i64());
    Ok(tokens)
}

/// On whose behalf the token `id` is asked for: in the local store that of its user.
fn user_of(client: &Client, id: i64) -> anyhow::Result<Option<String>> {
    let Some(store) = client.store() else { return Ok(None) };
    let found = client.wait(store.issuer().token(id));
    let view = found.map_err(|error| anyhow::anyhow!("token {id}: {error}; see `portcullis token list`"))?;
    if let Some(revoked) = view.token.revoked {
        let (at, by) = (revoked.at.to_string(), plain(&revoked.by));
        anyhow::bail!("token {id} was taken back by `{by}` at {at}: {}", plain(&revoked.why));
    }
    Ok(Some(view.token.user))
}

/// Shows a token.
///
/// # Errors
/// What the API refuses.
pub(super) fn show(arguments: &ShowArguments, output: &mut Output) -> anyhow::Result<Status> {
    let client = arguments.access.open(output)?;
    let id = arguments.id;
    let token = client.ask(&Question::get(format!("{OWN}/{id}")).of(user_of(&client, id)?))?;
    if arguments.json {
        output.json(&token)?;
        return Ok(Status::Fine);
    }
    let mut table = Table::bare();
    let mut line = |name: &str, value: String| table.row([name.to_owned(), value]);
    for field in ["id", "name", "description", "state"] {
        line(field, text(&token, field));
    }
    line("user", login(&token, "user"));
    line("begins with", text(&token, "token_prefix"));
    for (name, field) in [("created", "created_at"), ("text issued", "issued_at"), ("expires", "expires_at")]
    {
        line(name, text(&token, field));
    }
    let used = ["last_used_at", "last_used_from", "last_used_by"].map(|field| text(&token, field));
    line("last used", used.join(" ").trim().to_owned());
    for part in items(&token, "resource_owners") {
        line(&format!("at {}", text(part, "resource_owner")), part_line(part));
    }
    table.write(output)?;
    Ok(Status::Fine)
}

/// What a token opens at one resource owner, or asks for.
fn part_line(part: &Value) -> String {
    let names: Vec<_> =
        items(part, "repositories").iter().filter_map(|name| name.as_str().map(str::to_owned)).collect();
    let reach = repositories(&text(part, "repository_selection"), &names);
    let held = permissions(&part["permissions"]);
    let state = match text(part, "state").as_str() {
        "pending" => format!("waits for approval, request {}", text(part, "request_id")),
        state => format!("{state}, grant {} by {}", text(part, "grant_id"), text(part, "granted_by")),
    };
    format!("{state}: repositories {reach}: {held}")
}

/// Takes a token back.
///
/// # Errors
/// What the API refuses.
pub(super) fn revoke(arguments: &RevokeArguments, output: &mut Output) -> anyhow::Result<Status> {
    let client = arguments.access.open(output)?;
    let id = arguments.id;
    match client.store() {
        None if arguments.why.is_some() => return Err(only_local("--why").into()),
        None => drop(client.ask(&Question::new(Method::DELETE, format!("{OWN}/{id}"), None))?),
        Some(store) => {
            user_of(&client, id)?;
            let why = arguments.why.clone().unwrap_or_else(|| "taken back at the machine".to_owned());
            client.wait(store.issuer().revoke(store.setting(), id, why))?;
        }
    }
    output.message(format_args!("token {id} is taken back"));
    Ok(Status::Fine)
}

/// Gives a token a new text.
///
/// # Errors
/// [`UsageError`] for times that are none; what the API refuses.
pub(super) fn regenerate(arguments: &RegenerateArguments, output: &mut Output) -> anyhow::Result<Status> {
    let overlap = &arguments.overlap;
    let seconds =
        parse_duration(overlap).map_err(|error| UsageError(format!("`--overlap {overlap}`: {error}")))?;
    let mut body = Map::from_iter([("overlap".to_owned(), json!(seconds.as_secs()))]);
    if let Some(when) = &arguments.expires {
        body.insert("expires_at".to_owned(), expiry(when, now())?.to_string().into());
    }
    let client = arguments.access.open(output)?;
    let id = arguments.id;
    let question = Question::post(format!("{OWN}/{id}/regenerate"), body.into());
    let made = client.ask(&question.of(user_of(&client, id)?))?;
    tell(&client, &made, arguments.json, output)?;
    Ok(Status::Fine)
}
