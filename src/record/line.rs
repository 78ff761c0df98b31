//! The audit line: what is kept of one request; `json` writes it.
//!
//! Nothing here holds a secret: no query, no header, no body, and of a token only what may be shown. The texts of a line
//! are copied one behind the other: that is cheaper than sharing them, since cores that share count who holds what.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use http::uri::PathAndQuery;

use crate::domain::reason::Reason;
use crate::domain::resource::Resource;
use crate::domain::token::{CHECKSUM_LENGTH, PUBLIC_ID_LENGTH, RANDOM_LENGTH};
use crate::record::labels::{Effect, Mode, Verdict};

/// What stands between a token's product name and its public id.
const TOKEN_MARK: &str = "_pat_";

/// Room for the texts of most lines.
const USUAL_TEXT: usize = 256;

/// The path of a request, without its query. Records show it with tokens of this gateway's form taken out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestPath<'a>(pub(crate) &'a str);

impl<'a> RequestPath<'a> {
    /// The path of `target`.
    pub fn of(target: &'a PathAndQuery) -> Self {
        Self(target.path())
    }

    pub(crate) fn shown(self) -> Cow<'a, str> {
        if memchr::memmem::find(self.0.as_bytes(), TOKEN_MARK.as_bytes()).is_some() {
            redact(self.0).into()
        } else {
            self.0.into()
        }
    }
}

impl fmt::Debug for RequestPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.shown(), f)
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

/// A text of a line. The order is that of nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    RequestId,
    Upstream,
    Method,
    Path,
    Route,
    TokenId,
    TokenName,
    HashedToken,
    User,
    Resource,
    Permission,
}

impl Field {
    const COUNT: usize = Self::Permission as usize + 1;
}

/// Where a text stands among the texts of its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Of a text that is not known. As a range it is none, so it finds nothing.
    const NONE: Self = Self { start: u32::MAX, end: 0 };
}

/// The texts of a line, as they became known. No `Debug`: a path may hold a token that only `json` takes out.
#[derive(Clone, Default)]
pub(crate) struct Text(String);

impl Text {
    pub(crate) fn new() -> Self {
        Self(String::with_capacity(USUAL_TEXT))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Text").field(&self.0.len()).finish()
    }
}

/// What is kept of one request beside its texts.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// When the request arrived, in microseconds since 1970.
    pub(crate) time: i64,
    /// When its answer had ended; lines are written in this order.
    pub(crate) ended: Instant,
    texts: [Span; Field::COUNT],
    /// Where its texts begin in those of its batch.
    base: usize,
    /// What the rules say; `None` where the request ended before they were asked.
    pub(crate) verdict: Option<Verdict>,
    /// Whether the verdict was acted on.
    pub(crate) mode: Mode,
    /// What happened.
    pub(crate) effect: Effect,
    /// `granted`, `undecided`, or the word of the refusal.
    pub(crate) reason: &'static str,
    /// The status that the caller got.
    pub(crate) status: Option<StatusCode>,
    /// Body bytes read from the caller.
    pub(crate) request_bytes: u64,
    /// Body bytes sent to the caller.
    pub(crate) response_bytes: u64,
    /// From the request's arrival to the end of the answer.
    pub(crate) duration: Duration,
    /// How long judging took.
    pub(crate) decision: Option<Duration>,
    /// The caller's address.
    pub(crate) peer: IpAddr,
    /// The generation of the policy that judged.
    pub(crate) policy_generation: Option<u64>,
    /// Rules on trial that would have refused.
    pub(crate) shadow: Vec<Arc<str>>,
}

impl Line {
    /// Whether it was allowed and went on. What was allowed and had to be refused, because the gateway was at a limit or its
    /// line had no place, did not.
    pub(crate) fn was_let_through(&self) -> bool {
        self.verdict == Some(Verdict::Allow) && self.reason != Reason::Overloaded.as_str()
    }

    /// Of a request that arrived from `peer` at `time`, by the other clock at `started`.
    pub(crate) fn new(peer: IpAddr, time: i64, started: Instant) -> Self {
        Self {
            time,
            ended: started,
            texts: [Span::NONE; Field::COUNT],
            base: 0,
            verdict: None,
            mode: Mode::Enforce,
            effect: Effect::Aborted,
            reason: "undecided",
            status: None,
            request_bytes: 0,
            response_bytes: 0,
            duration: Duration::ZERO,
            decision: None,
            peer,
            policy_generation: None,
            shadow: Vec::new(),
        }
    }

    /// `field` is `value`, which is put behind the texts that stand in `text`.
    pub(crate) fn set(&mut self, text: &mut Text, field: Field, value: &str) {
        let start = text.0.len();
        text.0.push_str(value);
        self.span(field, start, text.0.len());
    }

    /// What the request is about, as its `Display` has it; nothing where it belongs to nobody.
    pub(crate) fn set_resource(&mut self, text: &mut Text, resource: &Resource<'_>) {
        let Some(owner) = resource.owner() else { return };
        let start = text.0.len();
        text.0.push_str(owner);
        if let Some(repository) = resource.repository() {
            text.0.push('/');
            text.0.push_str(repository.name);
        }
        if matches!(resource, Resource::Wiki(_)) {
            text.0.push_str(".wiki");
        }
        self.span(Field::Resource, start, text.0.len());
    }

    /// The path, as it came.
    pub(crate) fn set_path(&mut self, text: &mut Text, path: RequestPath<'_>) {
        self.set(text, Field::Path, path.0);
    }

    fn span(&mut self, field: Field, start: usize, end: usize) {
        if let (Some(span), Ok(start), Ok(end)) =
            (self.texts.get_mut(field as usize), u32::try_from(start), u32::try_from(end))
        {
            *span = Span { start, end };
        }
    }

    /// Its texts stand behind `base` from now on.
    pub(crate) fn text_at(&mut self, base: usize) {
        self.base = base;
    }

    /// A text, out of those of its batch.
    pub(crate) fn text<'a>(&self, texts: &'a str, field: Field) -> Option<&'a str> {
        let span = self.texts.get(field as usize)?;
        let position = |offset: u32| self.base.checked_add(usize::try_from(offset).ok()?);
        texts.get(position(span.start)?..position(span.end)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> String {
        format!("acme_pat_{}_{}", "A".repeat(PUBLIC_ID_LENGTH), "s".repeat(RANDOM_LENGTH + CHECKSUM_LENGTH))
    }

    #[track_caller]
    fn check(target: &str, want: &str) {
        let target = PathAndQuery::try_from(target).unwrap();
        let path = RequestPath::of(&target);
        assert_eq!(path.shown(), want);
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
