//! A question about one request, and its answer as data.

use std::net::IpAddr;

use http::HeaderMap;
use serde::Serialize;

use crate::domain::grant::UnixTime;
use crate::domain::refusal::Limit;
use crate::domain::target::CanonicalTarget;
use crate::explain::facts::Facts;
use crate::explain::request::Request;
use crate::policy::grants::index::Kept;
use crate::policy::judge::{Claim, Question, judge_claim};
use crate::policy::snapshot::Snapshot;

/// A question, with all that the answer depends on.
#[derive(Debug, Clone, Copy)]
pub struct Inquiry<'a> {
    /// The policy.
    pub snapshot: &'a Snapshot,
    /// The longest target that the gateway takes.
    pub target_bytes: usize,
    /// The request.
    pub request: &'a Request,
    /// Its header fields, with the credential.
    pub headers: &'a HeaderMap,
    /// Who it is from.
    pub claim: Claim<'a>,
    /// The client's address.
    pub peer: IpAddr,
    /// Whether somebody named that address.
    pub peer_given: bool,
    /// The time.
    pub now: UnixTime,
    /// Whether a made-up text stands in for the token's.
    pub stands_in: StandsIn,
    /// Whether whoever asks may know who owns an organization that the token has no part of.
    pub owners_shown: bool,
}

/// Whether a made-up text stands in for a token's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StandsIn {
    /// The token was given.
    No,
    /// The token's text is not known.
    ForToken,
    /// There is no token, only permissions.
    ForPermissions,
}

/// The answers to one question.
#[derive(Debug, Serialize)]
pub struct Reports {
    /// Whether all of them pass.
    pub allowed: bool,
    /// One for each request.
    pub requests: Vec<Report>,
}

impl Reports {
    /// Of `requests`.
    pub fn of(requests: Vec<Report>) -> Self {
        Self { allowed: requests.iter().all(|report| report.refusal.is_none()), requests }
    }
}

/// The answer about one request.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `allow` or `refuse`.
    pub verdict: &'static str,
    /// The request's method.
    pub method: String,
    /// The request's host.
    pub host: String,
    /// The request's target.
    pub target: String,
    /// The client's address.
    pub peer: IpAddr,
    /// Whether nobody named that address.
    pub peer_assumed: bool,
    /// The time, RFC 3339.
    pub at: String,
    /// The upstream that it is for.
    pub upstream: Option<String>,
    /// The token that it carries.
    pub token: Option<Token>,
    /// The route that it takes.
    pub route: Option<String>,
    /// What it is about.
    pub resource: Option<String>,
    /// The steps, first to last.
    pub steps: Vec<Step>,
    /// Why it is refused.
    pub refusal: Option<RefusalReport>,
    /// What would have been enough.
    pub enough: Option<String>,
    /// Who may grant that.
    pub grantor: Option<String>,
    /// What else helps.
    pub hints: Vec<String>,
    /// Rules in shadow mode that would have refused.
    pub shadow: Vec<String>,
}

/// A token, as far as it may be shown.
#[derive(Debug, Serialize)]
pub struct Token {
    /// Its name.
    pub name: String,
    /// Whom it belongs to.
    pub user: String,
    /// When it stops working, RFC 3339.
    pub expires_at: String,
}

/// One step.
#[derive(Debug, Serialize)]
pub struct Step {
    /// Its number, 1 to 11.
    pub step: u8,
    /// Its name.
    pub name: &'static str,
    /// What came of it.
    pub outcome: Outcome,
    /// What was found.
    pub found: String,
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It let the request pass.
    Passed,
    /// It refused.
    Refused,
    /// An earlier one refused.
    NotReached,
}

/// Why a request is refused.
#[derive(Debug, Serialize)]
pub struct RefusalReport {
    /// The machine-readable word.
    pub reason: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The sentence for the caller.
    pub message: String,
    /// All that is missing.
    pub missing: Vec<String>,
}

impl Report {
    /// Judges, and tells what was found.
    pub fn of(inquiry: &Inquiry<'_>) -> Self {
        let request = inquiry.request;
        // The limit is the only part of step 1 that a method and a URL tell of.
        if request.target.len() > inquiry.target_bytes {
            return Facts::early(inquiry, &Limit::TargetLength.into()).report();
        }
        let target = match CanonicalTarget::parse(&request.target) {
            Ok(target) => target,
            Err(error) => return Facts::early(inquiry, &error.into()).report(),
        };
        let question = Question {
            method: &request.method,
            target: &target,
            host: &request.host,
            server_name: None,
            headers: inquiry.headers,
            peer: inquiry.peer,
            now: inquiry.now,
            kept: &Kept::default(),
        };
        let judgment = judge_claim(inquiry.snapshot, &question, inquiry.claim);
        Facts::of(inquiry, &target, &judgment).report()
    }
}
