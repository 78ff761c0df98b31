//! What an answer that refuses means to a person, and what to do next.

use anyhow::{Error, anyhow};
use http::{StatusCode, header};
use serde_json::Value;

use crate::command::client::Reply;
use crate::command::table::plain;

/// The field that says what would have been enough.
const ACCEPTED: &str = "x-accepted-github-permissions";

/// The most that is shown of an answer which is no JSON, characters.
const SHOWN: usize = 200;

/// The error that `reply`, given by `from`, stands for.
pub(super) fn failure(reply: &Reply, from: &str) -> Error {
    let body = reply.json().ok();
    let message = body.as_ref().and_then(|body| body["message"].as_str());
    let Some(message) = message else {
        return foreign(reply, from);
    };
    let message = plain(message);
    match reply.status {
        StatusCode::UNAUTHORIZED => anyhow!(
            "{from} does not take the credential: {message}; get a session with `portcullis sign-in`, or use a token that works"
        ),
        StatusCode::FORBIDDEN => forbidden(reply, &message),
        StatusCode::NOT_FOUND => anyhow!(
            "not found: there is no such thing at {from}, or it is nothing of the caller's; look at the list first"
        ),
        StatusCode::UNPROCESSABLE_ENTITY => invalid(&message, body.as_ref()),
        StatusCode::SERVICE_UNAVAILABLE => anyhow!("{from} cannot do it now: {message}"),
        status => anyhow!("{from} answered {}: {message}{}", status.as_u16(), detail(body.as_ref())),
    }
}

fn forbidden(reply: &Reply, message: &str) -> Error {
    let field = |name: &str| reply.headers.get(name).and_then(|value| value.to_str().ok()).map(plain);
    let after = field(header::RETRY_AFTER.as_str());
    match (after, field(ACCEPTED)) {
        (Some(seconds), _) => anyhow!("refused: {message} Try again in {seconds} seconds"),
        (None, Some(accepted)) if !accepted.is_empty() => {
            anyhow!(
                "refused: {message}; enough would be a token with `{accepted}`, or the session of someone who may"
            )
        }
        (None, _) => anyhow!("refused: {message}"),
    }
}

/// With every field that cannot be had.
fn invalid(message: &str, body: Option<&Value>) -> Error {
    let errors = body.and_then(|body| body["errors"].as_array()).map(Vec::as_slice).unwrap_or_default();
    let lines = errors.iter().map(|error| {
        let text = |field: &str| plain(error[field].as_str().unwrap_or_default());
        format!("\n  {}: {}", text("field"), text("message"))
    });
    let lines: String = lines.collect();
    if lines.is_empty() { anyhow!("{message}") } else { anyhow!("this cannot be had:{lines}") }
}

fn detail(body: Option<&Value>) -> String {
    let detail = body.and_then(|body| body["detail"].as_str());
    detail.map(|detail| format!(" ({})", plain(detail))).unwrap_or_default()
}

/// An answer of something else than the API.
fn foreign(reply: &Reply, from: &str) -> Error {
    let status = reply.status;
    if status.is_redirection() {
        let place = reply.headers.get(header::LOCATION).and_then(|place| place.to_str().ok());
        let place = plain(place.unwrap_or("another place"));
        return anyhow!(
            "{from} leads to `{place}`, which is not followed; name the right URL with `--server`"
        );
    }
    if status == StatusCode::NOT_FOUND {
        return anyhow!(
            "there is no API at {from}; name the gateway's control listener, or a host of its `api.hosts`, and see that its configuration has a `store`"
        );
    }
    let text = String::from_utf8_lossy(&reply.body);
    let line: String = text.lines().next().unwrap_or_default().chars().take(SHOWN).collect();
    anyhow!("{from} answered {}: {}; is it a gateway?", status.as_u16(), plain(&line))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    #[track_caller]
    fn check(status: u16, field: (&'static str, &'static str), body: &'static str, want: &[&str]) {
        let headers =
            HeaderMap::from_iter([(HeaderName::from_static(field.0), HeaderValue::from_static(field.1))]);
        let reply = Reply {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: Bytes::from_static(body.as_bytes()),
        };
        let told = failure(&reply, "`http://h`").to_string();
        for want in want {
            assert!(told.contains(want), "{told}");
        }
        assert!(!told.contains('\u{1b}'), "{told:?}");
    }

    #[test]
    fn every_refusal_says_what_to_do() {
        const NONE: (&str, &str) = ("x-none", "");
        check(401, NONE, r#"{"message":"Bad credentials"}"#, &["Bad credentials", "portcullis sign-in"]);
        check(403, NONE, r#"{"message":"only owners of `acme`"}"#, &["refused: only owners of `acme`"]);
        check(403, ("retry-after", "300"), r#"{"message":"Later."}"#, &["Later.", "300 seconds"]);
        check(403, (ACCEPTED, "a=read"), r#"{"message":"No"}"#, &["No; enough would be", "`a=read`"]);
        check(404, NONE, r#"{"message":"Not Found"}"#, &["not found", "`http://h`", "the list"]);
        let errors = r#"{"message":"Validation Failed","errors":[{"field":"name","message":"is long"},{"field":"base","message":"\u001bno"}]}"#;
        check(422, NONE, errors, &["\n  name: is long", "\n  base: "]);
        check(422, NONE, r#"{"message":"Validation Failed"}"#, &["Validation Failed"]);
        check(503, NONE, r#"{"message":"the disk is full"}"#, &["cannot do it now: the disk is full"]);
        check(400, NONE, r#"{"message":"Problems","detail":"line 1"}"#, &["400: Problems (line 1)"]);
    }

    #[test]
    fn what_is_no_api_is_told_apart() {
        check(404, ("x-none", ""), "not found; there are\n/metrics", &["no API at `http://h`", "`store`"]);
        check(302, ("location", "https://other/"), "", &["leads to `https://other/`", "--server"]);
        check(500, ("x-none", ""), "<html>\u{1b}\nmore", &["500: <html>", "is it a gateway?"]);
    }
}
