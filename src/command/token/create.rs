//! `portcullis token create`.

use std::io::Write;

use anyhow::Context;
use clap::Args;
use serde_json::{Map, Value};

use crate::clock::now;
use crate::command::client::{Access, Client, Question};
use crate::command::declaration::permissions;
use crate::command::output::Output;
use crate::command::table::plain;
use crate::command::token::expiry;
use crate::command::view::{items, login, text};
use crate::command::{Status, UsageError};
use crate::domain::grant::UnixTime;

/// Where the user's own tokens are.
pub(super) const OWN: &str = "/user/personal-access-tokens";

/// What the new token is for.
#[derive(Debug, Args)]
#[command(
    after_help = "The token's text is printed on standard output, this once; everything else goes to standard error. What
needs approval waits for it, and the rest works at once. At a server the token is made for whoever calls.

Examples:
  portcullis token create --user bob --name nightly --owner acme --repositories alpha,beta \\
      --permissions contents=read --reason 'the nightly build' > token.txt
  portcullis token create --server http://127.0.0.1:9090 --credential-file session \\
      --name release --grant acme:alpha:contents=write --grant umbrella:all:contents=read

Exit codes: 0 made, 1 refused or failed, 2 arguments that mean nothing."
)]
pub struct Arguments {
    /// The token's name, distinct among its user's
    #[arg(long)]
    name: String,
    /// The resource owner that it reaches
    #[arg(long, required_unless_present = "grant")]
    owner: Option<String>,
    /// Which of the owner's repositories: names parted by `,`, or `all`, or `none`
    #[arg(long, value_name = "NAMES", default_value = "none", conflicts_with = "grant")]
    repositories: String,
    /// What it may do there, such as `contents=read,issues=write`
    #[arg(long, required_unless_present_any = ["grant", "bundle"])]
    permissions: Option<String>,
    /// In place of permissions, the name of a bundle of them
    #[arg(long, value_name = "NAME", conflicts_with_all = ["permissions", "grant"])]
    bundle: Option<String>,
    /// In place of the three, `owner:repositories:permissions`; may be given more than once
    #[arg(long, value_name = "GRANT", conflicts_with_all = ["owner", "permissions"])]
    grant: Vec<String>,
    /// When it stops working: from now (`30d`), a date, or a moment in RFC 3339; 30 days where policy allows it
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,
    /// What those who approve are told
    #[arg(long)]
    reason: Option<String>,
    /// What it is for
    #[arg(long)]
    description: Option<String>,
    /// Whose token, in the local store
    #[arg(long, value_name = "LOGIN")]
    user: Option<String>,
    /// Print the API's JSON, with the text as `token`
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: Access,
}

/// Makes the token.
///
/// # Errors
/// [`UsageError`] for arguments that mean nothing; what the API refuses.
pub(super) fn run(arguments: &Arguments, output: &mut Output) -> anyhow::Result<Status> {
    let body = arguments.body(now())?;
    let client = arguments.access.open(output)?;
    let user = whose(&client, arguments.user.as_deref())?;
    let made = client.ask(&Question::post(OWN, body).of(user))?;
    tell(&client, &made, arguments.json, output)?;
    Ok(Status::Fine)
}

/// For whom a token of the local store is made; at a server it is whoever calls.
fn whose<'u>(client: &Client, user: Option<&'u str>) -> Result<Option<&'u str>, UsageError> {
    match (client.store(), user) {
        (Some(_), None) => {
            Err(UsageError::new("whose token? In the local store that is said with `--user LOGIN`"))
        }
        (None, Some(_)) => Err(only_local("--user")),
        (Some(_), Some(_)) | (None, None) => Ok(user),
    }
}

/// What is not for servers.
pub(super) fn only_local(argument: &str) -> UsageError {
    UsageError(format!(
        "`{argument}` is for the local store; a server does it for whoever calls, so take it away (or `--server`)"
    ))
}

impl Arguments {
    fn body(&self, now: UnixTime) -> Result<Value, UsageError> {
        let mut body = if let Some(owner) = &self.owner {
            let levels = self.permissions.as_deref().map(levels).transpose()?;
            let mut part = part(owner, &self.repositories, levels);
            part.extend(self.bundle.clone().map(|bundle| ("bundle".to_owned(), bundle.into())));
            part
        } else {
            let parts = self.grant.iter().map(|grant| grant_part(grant).map(Value::from));
            Map::from_iter([("resource_owners".to_owned(), parts.collect::<Result<Value, _>>()?)])
        };
        body.insert("name".to_owned(), self.name.clone().into());
        for (field, text) in [("reason", &self.reason), ("description", &self.description)] {
            body.extend(text.clone().map(|text| (field.to_owned(), text.into())));
        }
        if let Some(when) = &self.expires {
            body.insert("expires_at".to_owned(), expiry(when, now)?.to_string().into());
        }
        Ok(body.into())
    }
}

/// `acme:alpha,beta:contents=read`.
fn grant_part(grant: &str) -> Result<Map<String, Value>, UsageError> {
    let mut pieces = grant.splitn(3, ':');
    match (pieces.next(), pieces.next(), pieces.next()) {
        (Some(owner), Some(repositories), Some(permissions)) => {
            Ok(part(owner, repositories, Some(levels(permissions)?)))
        }
        _ => Err(UsageError(format!(
            "`--grant {grant}` is no grant; expected `owner:repositories:permissions`, such as `acme:alpha,beta:contents=read`"
        ))),
    }
}

/// What is asked for at one resource owner.
fn part(owner: &str, repositories: &str, levels: Option<Value>) -> Map<String, Value> {
    let repositories = match repositories.trim() {
        word @ ("all" | "none") => word.into(),
        names => names.split(',').map(str::trim).map(Value::from).collect(),
    };
    let mut part = Map::from_iter([
        ("resource_owner".to_owned(), owner.into()),
        ("repositories".to_owned(), repositories),
    ]);
    part.extend(levels.map(|levels| ("permissions".to_owned(), levels)));
    part
}

/// `contents=read,issues=write`.
fn levels(text: &str) -> Result<Value, UsageError> {
    let mut held = Map::new();
    for (name, level) in permissions(text)? {
        if held.insert(name.clone(), level.into()).is_some() {
            return Err(UsageError(format!("`{name}` stands twice; expected one level of it")));
        }
    }
    Ok(held.into())
}

/// Prints the text of a token that was made or renewed, and tells what it waits for.
///
/// # Errors
/// The answer has no text, or the output cannot be written.
pub(super) fn tell(client: &Client, made: &Value, json: bool, output: &mut Output) -> anyhow::Result<()> {
    let secret = made["token"].as_str().context("the answer holds no token; is the server a gateway?")?;
    if json {
        output.json(made)?;
    } else {
        writeln!(output, "{secret}")?;
    }
    output.flush()?;
    let until = match text(made, "expires_at").as_str() {
        "" => "it never expires".to_owned(),
        moment => format!("it expires {moment}"),
    };
    let (name, id) = (plain(&text(made, "name")), text(made, "id"));
    output.message(format_args!(
        "token {id} `{name}` of `{}`; {until}; its text is shown this once",
        plain(&login(made, "user"))
    ));
    for part in items(made, "resource_owners") {
        let owner = plain(&text(part, "resource_owner"));
        if text(part, "state") == "pending" {
            output.message(format_args!("{}", waits(client, &owner, &text(part, "request_id"))));
        } else {
            output.message(format_args!("at `{owner}` it works now"));
        }
    }
    Ok(())
}

/// For what a token waits at `owner`, and for whom.
fn waits(client: &Client, owner: &str, request: &str) -> String {
    let owners = client.store().map(|store| store.owners(owner)).unwrap_or_default();
    let who = match owners.as_slice() {
        [] => format!("an owner of `{owner}`"),
        owners => format!("an owner of `{owner}` ({})", owners.join(", ")),
    };
    format!(
        "at `{owner}` it waits for approval by {who}: request {request}, `portcullis request approve {owner} {request}`"
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn body(line: &[&str]) -> Result<Value, UsageError> {
        let line = ["x", "--name", "n"].iter().chain(line);
        Line::parse_from(line).arguments.body(UnixTime(0))
    }

    #[test]
    fn arguments_say_what_the_api_is_asked_for() {
        let one = [
            "--owner",
            "acme",
            "--repositories",
            "a, b",
            "--permissions",
            "contents=read",
            "--expires",
            "1d",
        ];
        let want = json!({
            "name": "n", "resource_owner": "acme", "repositories": ["a", "b"],
            "permissions": { "contents": "read" }, "expires_at": "1970-01-02T00:00:00Z",
        });
        assert_eq!(body(&one).unwrap(), want);
        let two = [
            "--grant",
            "acme:all:contents=read,issues=write",
            "--grant",
            "umbrella:none:members=read",
            "--reason",
            "r",
        ];
        let want = json!({
            "name": "n", "reason": "r", "resource_owners": [
                { "resource_owner": "acme", "repositories": "all", "permissions": { "contents": "read", "issues": "write" } },
                { "resource_owner": "umbrella", "repositories": "none", "permissions": { "members": "read" } },
            ],
        });
        assert_eq!(body(&two).unwrap(), want);
    }

    #[test]
    fn a_bundle_stands_for_permissions() {
        let want = json!({ "name": "n", "resource_owner": "acme", "repositories": "all", "bundle": "ci" });
        assert_eq!(body(&["--owner", "acme", "--repositories", "all", "--bundle", "ci"]).unwrap(), want);
    }

    #[test]
    fn what_means_nothing_is_told() {
        for (line, want) in [
            (&["--grant", "acme:all"][..], "no grant"),
            (&["--grant", "acme:all:contents"], "no permission with a level"),
            (&["--owner", "a", "--permissions", "contents=read,contents=write"], "twice"),
            (&["--owner", "a", "--permissions", "contents=read", "--expires", "soon"], "no moment"),
        ] {
            let error = body(line).unwrap_err();
            assert!(error.0.contains(want), "{error}");
        }
    }
}
