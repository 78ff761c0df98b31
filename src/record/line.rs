//! The audit line: what is kept of one request, and its JSON.
//!
//! Nothing here holds a secret: no query, no header, no body, and of a token only what may be shown.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{Method, StatusCode};
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::clock;
use crate::domain::token::{CHECKSUM_LENGTH, PUBLIC_ID_LENGTH, PublicId, RANDOM_LENGTH};
use crate::record::labels::{Effect, Mode, Verdict};
use crate::record::request_id::RequestId;

/// What stands between a token's product name and its public id.
const TOKEN_MARK: &str = "_pat_";

/// The path of a request as records keep it: without its query, and with tokens of this gateway's form taken out.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestPath(Box<str>);

impl RequestPath {
    /// The path of `target`.
    ///
    /// A copy: it leaves the query behind and does not keep the connection's read buffer alive.
    pub fn of(target: &PathAndQuery) -> Self {
        let path = target.path();
        if memchr::memmem::find(path.as_bytes(), TOKEN_MARK.as_bytes()).is_some() {
            Self(redact(path).into())
        } else {
            Self(path.into())
        }
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RequestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Replaces each run of letters, digits and `_` that holds a whole token. Someone who puts a token into a path has
/// made a mistake; the audit file shall not carry it on.
fn redact(path: &str) -> String {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    path.split_inclusive(|letter| !is_part(letter))
        .map(|piece| {
            let run = piece.trim_end_matches(|letter| !is_part(letter));
            let rest = piece.strip_prefix(run).unwrap_or_default();
            if holds_token(run) { format!("[redacted]{rest}") } else { piece.to_owned() }
        })
        .collect()
}

fn holds_token(run: &str) -> bool {
    run.match_indices(TOKEN_MARK).any(|(at, mark)| {
        let secret = run.get(at + mark.len()..).unwrap_or_default();
        secret.len() >= PUBLIC_ID_LENGTH + 1 + RANDOM_LENGTH + CHECKSUM_LENGTH
            && secret.as_bytes().get(PUBLIC_ID_LENGTH) == Some(&b'_')
    })
}

/// What is kept of one request. The fields are the JSON keys, in this order.
#[derive(Debug, Clone)]
pub struct AuditLine {
    /// When the request arrived.
    pub time: Timestamp,
    /// Its id.
    pub request_id: RequestId,
    /// The upstream that it was for.
    pub upstream: Option<Arc<str>>,
    /// The method; `None` where the request could not be read.
    pub method: Option<Method>,
    /// The path; `None` where the request could not be read.
    pub path: Option<RequestPath>,
    /// The catalog's route.
    pub route: Option<Arc<str>>,
    /// The public id of the token.
    pub token_id: Option<PublicId>,
    /// The token's name.
    pub token_name: Option<Arc<str>>,
    /// The user whom the token belongs to.
    pub user: Option<Arc<str>>,
    /// What the request was about.
    pub resource: Option<Arc<str>>,
    /// The permissions that would be enough, as text.
    pub permission: Option<Arc<str>>,
    /// What the rules say; `None` where the request ended before they were asked.
    pub verdict: Option<Verdict>,
    /// Whether the verdict was acted on.
    pub mode: Mode,
    /// What happened.
    pub effect: Effect,
    /// `granted`, `undecided`, or the word of the refusal.
    pub reason: &'static str,
    /// The status that the caller got.
    pub status: Option<StatusCode>,
    /// Body bytes read from the caller.
    pub request_bytes: u64,
    /// Body bytes sent to the caller.
    pub response_bytes: u64,
    /// From the request's arrival to the end of the answer.
    pub duration: Duration,
    /// How long judging took.
    pub decision: Option<Duration>,
    /// The caller's address.
    pub peer: IpAddr,
    /// The generation of the policy that judged.
    pub policy_generation: Option<u64>,
    /// Rules on trial that would have refused.
    pub shadow: Vec<Arc<str>>,
}

/// The line as JSON spells it; the order of the fields is part of the format.
#[derive(Serialize)]
struct Json<'a> {
    time: String,
    request_id: &'a str,
    upstream: Option<&'a str>,
    method: Option<&'a str>,
    path: Option<&'a str>,
    route: Option<&'a str>,
    token_id: Option<&'a str>,
    token_name: Option<&'a str>,
    user: Option<&'a str>,
    resource: Option<&'a str>,
    permission: Option<&'a str>,
    verdict: Option<&'a str>,
    mode: Mode,
    effect: Effect,
    reason: &'a str,
    status: Option<u16>,
    request_bytes: u64,
    response_bytes: u64,
    seconds: f64,
    decision_microseconds: Option<f64>,
    peer: IpAddr,
    policy_generation: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shadow: Vec<&'a str>,
}

impl Serialize for AuditLine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Json {
            time: clock::rfc3339_micros(self.time),
            request_id: self.request_id.as_str(),
            upstream: self.upstream.as_deref(),
            method: self.method.as_ref().map(Method::as_str),
            path: self.path.as_ref().map(RequestPath::as_str),
            route: self.route.as_deref(),
            token_id: self.token_id.as_ref().map(PublicId::as_str),
            token_name: self.token_name.as_deref(),
            user: self.user.as_deref(),
            resource: self.resource.as_deref(),
            permission: self.permission.as_deref(),
            verdict: self.verdict.map(Verdict::as_str),
            mode: self.mode,
            effect: self.effect,
            reason: self.reason,
            status: self.status.map(|status| status.as_u16()),
            request_bytes: self.request_bytes,
            response_bytes: self.response_bytes,
            seconds: rounded(self.duration.as_secs_f64()),
            decision_microseconds: self.decision.map(|decision| rounded(decision.as_secs_f64() * 1e6)),
            peer: self.peer.to_canonical(),
            policy_generation: self.policy_generation,
            shadow: self.shadow.iter().map(|rule| &**rule).collect(),
        }
        .serialize(serializer)
    }
}

/// Six digits behind the point: finer is noise.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> String {
        format!("acme_pat_{}_{}", "A".repeat(PUBLIC_ID_LENGTH), "s".repeat(RANDOM_LENGTH + CHECKSUM_LENGTH))
    }

    #[track_caller]
    fn check(target: &str, want: &str) {
        let path = RequestPath::of(&PathAndQuery::try_from(target).unwrap());
        assert_eq!(path.as_str(), want);
        assert_eq!(format!("{path:?}"), format!("{want:?}"));
    }

    #[test]
    fn a_path_has_no_query_and_no_token() {
        check("/acme/alpha?access_token=hunter2", "/acme/alpha");
        check("/", "/");
        check("/my_pat_terns/a_pat_", "/my_pat_terns/a_pat_");
        check(&format!("/{}/info", token()), "/[redacted]/info");
        check(&format!("/x:{}@host/{}", token(), token()), "/x:[redacted]@host/[redacted]");
        check(&format!("/%2F{}%2F", token()), "/%[redacted]%2F");
    }
}
