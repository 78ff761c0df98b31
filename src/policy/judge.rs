//! The whole decision about one request, step by step in order.
//!
//! The same function serves the gateway, `explain`, the tests and the fuzzer.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, Method};

use crate::catalog::errors::ErrorStyle;
use crate::domain::grant::UnixTime;
use crate::domain::refusal::Refusal;
use crate::domain::target::{CanonicalTarget, TargetError};
use crate::domain::token::{TokenDigest, TokenError, TokenText};
use crate::headers::credential::Credential;
use crate::headers::forward::asks_for_upgrade;
use crate::headers::{METHOD_OVERRIDE, credential};
use crate::policy::decide::{Circumstances, Permit, check_state, decide, decide_classic};
use crate::policy::grants::Grant;
use crate::policy::grants::index::Kept;
use crate::policy::snapshot::Snapshot;
use crate::policy::upstream::{ClassicTokens, Matched, UpstreamPolicy};

/// A request, as far as it is judged.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its target.
    pub target: &'a CanonicalTarget,
    /// The host name, as `Host` or `:authority` has it.
    pub host: &'a str,
    /// The name in TLS, where there is one.
    pub server_name: Option<&'a str>,
    /// Its header fields.
    pub headers: &'a HeaderMap,
    /// The client's address.
    pub peer: IpAddr,
    /// The time.
    pub now: UnixTime,
    /// Where the token that is found stays while it is judged by; new for each question.
    pub kept: &'a Kept,
}

/// What was found out about a request, and whether it may pass.
#[derive(Debug)]
pub struct Judgment<'a> {
    /// The upstream that it is for, with its index in the configuration.
    pub upstream: Option<(usize, &'a UpstreamPolicy)>,
    /// The token that it carries.
    pub token: Option<TokenText>,
    /// The digest of a credential that the host issued, where it carries one.
    pub classic: Option<TokenDigest>,
    /// What that token opens.
    pub grant: Option<Grant<'a>>,
    /// What it wants.
    pub matched: Option<Matched<'a>>,
    /// Whether it may pass.
    pub outcome: Result<Permit, Refusal>,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub enum Claim<'a> {
    /// Whoever the header fields say.
    Presented,
    /// The holder of this digest.
    Digest(TokenDigest),
    /// Whoever the header fields say, as if their token were this one: for who knows a token and not its text.
    PresentedAs(Grant<'a>),
    /// Whoever holds the credential with this digest, which the host issued.
    Classic(TokenDigest),
}

/// Judges a request by the token that it carries.
pub fn judge<'a>(snapshot: &'a Snapshot, question: &Question<'a>) -> Judgment<'a> {
    judge_claim(snapshot, question, Claim::Presented)
}

/// Judges a request by the token that it carries, at the upstream with this index, whatever its host name.
pub fn judge_at<'a>(snapshot: &'a Snapshot, upstream: usize, question: &Question<'a>) -> Judgment<'a> {
    let found = snapshot.upstreams.get(upstream).map(|policy| (upstream, policy)).ok_or(Refusal::NoUpstream);
    judge_found(snapshot, question, Claim::Presented, found)
}

/// Judges a request on behalf of `claim`.
pub fn judge_claim<'a>(snapshot: &'a Snapshot, question: &Question<'a>, claim: Claim<'a>) -> Judgment<'a> {
    judge_found(snapshot, question, claim, find_upstream(snapshot, question))
}

fn judge_found<'a>(
    snapshot: &'a Snapshot,
    question: &Question<'a>,
    claim: Claim<'a>,
    upstream: Result<(usize, &'a UpstreamPolicy), Refusal>,
) -> Judgment<'a> {
    let mut judgment = Judgment {
        upstream: None,
        token: None,
        classic: None,
        grant: None,
        matched: None,
        outcome: Err(Refusal::NoUpstream),
    };
    judgment.outcome = upstream.and_then(|found| steps(snapshot, question, (claim, found), &mut judgment));
    judgment
}

fn steps<'a>(
    snapshot: &'a Snapshot,
    question: &Question<'a>,
    (claim, (index, upstream)): (Claim<'a>, (usize, &'a UpstreamPolicy)),
    found: &mut Judgment<'a>,
) -> Result<Permit, Refusal> {
    found.upstream = Some((index, upstream));
    if credential::query_holds(question.target, METHOD_OVERRIDE) {
        return Err(TargetError::MethodOverride.into());
    }
    let grant = match claim {
        Claim::Presented | Claim::PresentedAs(_) => {
            let places = upstream.forbidden_places();
            let format = &snapshot.format;
            let token = match credential::take(question.headers, question.target, places, format)? {
                Credential::Token(token) => token,
                Credential::Classic(digest) => return classic(snapshot, question, (digest, upstream), found),
            };
            found.token = Some(token);
            match claim {
                Claim::PresentedAs(grant) => grant,
                Claim::Presented | Claim::Digest(_) | Claim::Classic(_) => {
                    snapshot.holder(&token.digest, question.kept)?
                }
            }
        }
        Claim::Digest(digest) => snapshot.holder(&digest, question.kept)?,
        Claim::Classic(digest) => return classic(snapshot, question, (digest, upstream), found),
    };
    found.grant = Some(grant);
    let waits = match check_state(snapshot, grant, question.now) {
        Ok(()) => None,
        // It may read what everybody may.
        Err(refusal @ Refusal::Pending(_)) => Some(refusal),
        Err(refusal) => return Err(refusal),
    };
    let matched = match (upstream.action(question.method, question.target), &waits) {
        (Ok(matched), _) => matched,
        (Err(refusal), None) => return Err(refusal),
        (Err(_), Some(refusal)) => return Err(refusal.clone()),
    };
    found.matched = Some(matched);
    if asks_for_upgrade(question.headers) {
        return Err(waits.unwrap_or(Refusal::Upgrade));
    }
    let denied = upstream.denied(question.method, question.target);
    decide(
        snapshot,
        grant,
        &matched.action,
        (&Circumstances { now: question.now, peer: question.peer, denied }, waits),
    )
}

/// Steps 5 to 10 for a credential that the host issued: the host says what it may do, policy whether it may at all.
fn classic<'a>(
    snapshot: &'a Snapshot,
    question: &Question<'a>,
    (digest, upstream): (TokenDigest, &'a UpstreamPolicy),
    found: &mut Judgment<'a>,
) -> Result<Permit, Refusal> {
    if upstream.classic == ClassicTokens::Refuse {
        return Err(TokenError::Prefix.into());
    }
    found.classic = Some(digest);
    let matched = match upstream.action(question.method, question.target) {
        Ok(matched) => Some(matched),
        // What no catalog knows is the host's to judge, as the credential is.
        Err(Refusal::NoRoute) => None,
        Err(refusal) => return Err(refusal),
    };
    found.matched = matched;
    if asks_for_upgrade(question.headers) {
        return Err(Refusal::Upgrade);
    }
    let denied = upstream.denied(question.method, question.target);
    decide_classic(snapshot, matched.as_ref().map(|matched| &matched.action), denied)
}

/// Step 3: by host, where a name goes before `*`, then by the longest path prefix.
fn find_upstream<'a>(
    snapshot: &'a Snapshot,
    question: &Question<'_>,
) -> Result<(usize, &'a UpstreamPolicy), Refusal> {
    let host = host_name(question.host).ok_or(Refusal::NoUpstream)?;
    if question.server_name.is_some_and(|name| !name.eq_ignore_ascii_case(host)) {
        return Err(Refusal::Misdirected);
    }
    let candidates = snapshot.upstreams.iter().enumerate().filter_map(|(index, upstream)| {
        let rank = (upstream.answers_to(host)?, upstream.prefix_length(question.target)?);
        Some((rank, (index, upstream)))
    });
    candidates.max_by_key(|(rank, _)| *rank).map(|(_, found)| found).ok_or(Refusal::NoUpstream)
}

/// The host name of `Host`, as it came, without port (RFC 9110 section 7.2).
///
/// The whole field goes on to the host, so what stands behind the name must be a port: another reader might take a
/// name out of it (`git.example.com:x@evil.example`).
fn host_name(host: &str) -> Option<&str> {
    let (name, port) = if let Some(rest) = host.strip_prefix('[') {
        rest.split_once(']').filter(|(name, _)| name.contains(':'))?
    } else {
        let end = host.bytes().position(|byte| byte == b':').unwrap_or(host.len());
        host.split_at_checked(end)?
    };
    let is_port = port.is_empty()
        || port.strip_prefix(':').is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':');
    (is_port && !name.is_empty() && name.bytes().all(plain)).then_some(name)
}

impl Judgment<'_> {
    /// How the client is told of a refusal.
    pub fn style(&self, method: &Method, target: &CanonicalTarget) -> Arc<ErrorStyle> {
        match (self.matched, self.upstream) {
            (Some(matched), _) => Arc::clone(matched.style),
            (None, Some((_, upstream))) => Arc::clone(upstream.style_for(method, target)),
            (None, None) => Arc::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(host: &str, want: Option<&str>) {
        assert_eq!(host_name(host), want, "{host}");
    }

    #[test]
    fn behind_the_name_stands_a_port_or_nothing() {
        check("Git.Example.com", Some("Git.Example.com"));
        check("git.example.com:", Some("git.example.com"));
        check("git.example.com:8443", Some("git.example.com"));
        check("[::1]:8443", Some("::1"));
        check("[::1]", Some("::1"));
        for host in [
            "",
            ":80",
            "git.example.com:x@evil.example",
            "git.example.com:evil.example",
            "git.example.com:80:81",
            "git.example.com:80, evil.example",
            "git.example.com:\"",
            "[::1]evil.example",
            "[::1",
            "x@git.example.com",
        ] {
            check(host, None);
        }
    }
}
