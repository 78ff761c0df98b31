//! A request whose answer has not gone out yet, as far as it is known.

use std::time::Instant;

use http::Method;

use crate::domain::action::GitOperation;
use crate::domain::reason::Reason;
use crate::domain::token::PublicId;
use crate::record::RecordHead;
use crate::record::labels::{MethodClass, Mode, Verdict};
use crate::record::line::{Field, Line, Text};
use crate::record::metrics::UpstreamId;
use crate::record::queue::Place;
use crate::record::traces::context::Span;

/// What is known of a request so far. On the heap, since a record is handed on a few times.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) line: Line,
    pub(super) text: Text,
    pub(super) started: Instant,
    /// When the way to the upstream was clear, and then when it was taken.
    pub(super) ready: Option<Instant>,
    pub(super) is_forwarded: bool,
    pub(super) upstream: Option<UpstreamId>,
    pub(super) failure: Option<Reason>,
    pub(super) method: MethodClass,
    /// The token, where the policy knows it.
    pub(super) token: Option<PublicId>,
    pub(super) git: Option<GitOperation>,
    pub(super) place: Place,
    /// Where the request was sampled.
    pub(super) span: Option<Box<Span>>,
    /// Whether the request asks for a head alone.
    pub(super) wants_head: bool,
}

impl Open {
    /// Of a request that arrived at `time`, microseconds since 1970.
    pub(super) fn new(head: &RecordHead<'_>, time: i64, started: Instant) -> Self {
        Self {
            line: Line::new(head.peer, time, started),
            text: Text::default(),
            started,
            ready: None,
            is_forwarded: false,
            upstream: None,
            failure: None,
            method: MethodClass::of(head.method),
            token: None,
            git: None,
            place: Place::Any,
            span: None,
            wants_head: head.method == Some(&Method::HEAD),
        }
    }

    /// Whether a decision that is acted on refuses it.
    pub(super) fn is_judged_away(&self) -> bool {
        self.line.mode == Mode::Enforce && matches!(self.line.verdict, Some(Verdict::Refuse(_)))
    }

    /// Sets a text, where there is one.
    pub(super) fn set(&mut self, field: Field, value: Option<&str>) {
        if let Some(value) = value {
            self.line.set(&mut self.text, field, value);
        }
    }
}
