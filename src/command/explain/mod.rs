//! `portcullis explain`: the decision about a request, offline and step by step.
//!
//! `holder` says who asks, and `text` prints what `explain` finds.

pub mod holder;
mod text;

use std::net::{IpAddr, Ipv4Addr};

use clap::{ArgGroup, Args};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::clock::now;
use crate::command::explain::holder::Who;
use crate::command::load::load;
use crate::command::output::Output;
use crate::command::warnings;
use crate::command::{ConfigFile, Status, UsageError};
use crate::explain::report::{Inquiry, Report, Reports};
use crate::explain::request;
use crate::policy::tokens::parse_moment;

/// A request, and who makes it.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("holder").required(true),
    after_help = "The decision is the gateway's own, made on the policy files as they are now. A token's text is read from
standard input only: arguments can be seen by everybody on the machine.

Examples:
  portcullis explain --token-stdin GET https://git.example.com/repos/acme/alpha/issues < token.txt
  portcullis explain --token-name 'nightly build' clone https://git.example.com/acme/alpha
  portcullis explain --permissions contents=read --repositories 'acme/*' --user bob \\
      push https://git.example.com/acme/alpha --peer 10.1.2.3 --at 2027-01-31

Exit codes: 0 allowed, 1 refused, 2 faults in files or arguments."
)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    who: Who,
    /// The HTTP method, or what git does: `clone`, `fetch` or `push`
    method: String,
    /// The URL as the client has it, or a path at the first upstream
    url: String,
    /// A header field of the request, `Name: value`; may be given more than once
    #[arg(long = "header", value_name = "FIELD")]
    headers: Vec<String>,
    /// The client's address; 127.0.0.1 where it is not given
    #[arg(long, value_name = "ADDRESS")]
    peer: Option<IpAddr>,
    /// The time of the request, a date or a moment in RFC 3339; now where it is not given
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Judges, and tells how.
///
/// # Errors
/// [`UsageError`] for arguments that mean nothing.
pub fn run(arguments: &Arguments, output: &mut Output) -> anyhow::Result<Status> {
    let loaded = match load(&arguments.config.file) {
        Ok(loaded) => loaded,
        Err(faulty) => {
            output.message(format_args!("{}", faulty.text()));
            return Ok(Status::Faulty);
        }
    };
    let now = match &arguments.at {
        None => now(),
        Some(text) => parse_moment(text).ok_or_else(|| {
            UsageError(format!(
                "`--at {text}` is no moment; expected such as `2027-01-31` or `2027-01-31T18:00:00Z`"
            ))
        })?,
    };
    let requests = request::read(&arguments.method, &arguments.url, &loaded.snapshot)
        .map_err(|error| UsageError(error.to_string()))?;
    let mut headers = headers(&arguments.headers)?;
    let holder = holder::present(&arguments.who, &loaded.snapshot, now)?;
    headers.insert(header::AUTHORIZATION, holder.authorization.clone());
    let reports = requests.iter().map(|request| {
        Report::of(&Inquiry {
            snapshot: &loaded.snapshot,
            target_bytes: loaded.config.limits.target_bytes,
            request,
            headers: &headers,
            claim: holder.claim(),
            peer: arguments.peer.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            peer_given: arguments.peer.is_some(),
            now,
            stands_in: holder.stands_in,
            // Whoever reads the files knows it.
            owners_shown: true,
        })
    });
    let reports = Reports::of(reports.collect());
    for name in warnings::kept_elsewhere(&loaded.snapshot) {
        output.message(format_args!(
            "`{name}` says `managed: store`: rules changed by API are not looked at here; ask the gateway (`POST /explain`)"
        ));
    }
    if arguments.json {
        output.json(&reports)?;
    } else {
        text::write(&reports, output)?;
    }
    Ok(if reports.allowed { Status::Fine } else { Status::Refused })
}

/// Reads header fields, `Name: value` each.
///
/// # Errors
/// [`UsageError`] for what is no field, for `Authorization` and for `Host`.
fn headers(fields: &[String]) -> Result<HeaderMap, UsageError> {
    let mut headers = HeaderMap::new();
    for field in fields {
        let (name, value) = field.split_once(':').unwrap_or_default();
        let name = HeaderName::from_bytes(name.trim().as_bytes());
        let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value.trim())) else {
            return Err(UsageError::new("expected `--header 'Name: value'`"));
        };
        if name == header::AUTHORIZATION {
            return Err(UsageError::new(
                "a credential is no argument, where everybody on this machine can see it; use `--token-stdin`",
            ));
        }
        if name == header::HOST {
            return Err(UsageError::new("the host stands in the URL; leave out `--header 'Host: …'`"));
        }
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_error_repeats_a_password() {
        let error = headers(&["Authorization: Bearer hunter2".into()]).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
