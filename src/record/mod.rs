//! What is kept of each request: metrics, and one audit line.
//!
//! The last stage of the flow. A [`Record`] opens when a request arrives and closes when its answer has gone out, or as
//! aborted when it is dropped before, as when its caller leaves. So each request has exactly one line. Nothing here waits.

pub mod audit;
pub mod body;
pub mod census;
mod collector;
mod counter;
mod families;
pub(crate) mod json;
pub mod labels;
pub mod line;
pub mod log_files;
pub mod metrics;
mod open;
mod queue;
pub mod request_id;
mod sample;
mod shard;
pub mod sink;
mod token_requests;
pub mod traces;
pub mod worker;

#[cfg(test)]
pub(crate) mod fixture;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use http::{HeaderMap, Method, StatusCode};

use crate::clock;
use crate::domain::action::GitOperation;
use crate::domain::grant::UnixTime;
use crate::domain::reason::Reason;
use crate::domain::resource::Resource;
use crate::domain::token::PublicId;
use crate::record::audit::Audit;
use crate::record::labels::{Effect, Mode, Verdict, upstream_error};
use crate::record::line::{Field, Line, RequestPath, Text};
use crate::record::metrics::{Metrics, RequestOutcome, UpstreamId};
use crate::record::open::Open;
use crate::record::queue::{Full, Place};
use crate::record::request_id::RequestId;
use crate::record::shard::{decision, reason_of};
use crate::record::traces::{FinishedSpan, Traces};
use crate::record::worker::WorkerRecorder;

/// The last step of the decision; what has a higher one happens after it.
const LAST_STEP: u8 = 11;

/// Where records go.
#[derive(Debug)]
pub struct Recorder {
    /// What is counted.
    pub metrics: Metrics,
    /// What is written.
    pub audit: Audit,
    /// What is told to a collector of traces.
    pub traces: Traces,
}

/// What is known of a request when it arrives.
#[derive(Debug, Clone, Copy)]
pub struct RecordHead<'a> {
    /// Its method; `None` where it could not be read.
    pub method: Option<&'a Method>,
    /// Its path; `None` where it could not be read.
    pub path: Option<RequestPath<'a>>,
    /// Its header fields, which may say what trace it belongs to; `None` where they could not be read.
    pub headers: Option<&'a HeaderMap>,
    /// The caller's address.
    pub peer: IpAddr,
}

/// Whose token it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Caller<'a> {
    /// The token's public id.
    pub token_id: Option<PublicId>,
    /// The token's name.
    pub token_name: Option<&'a str>,
    /// The digest of a credential that the host issued, in base64 as GitHub has it.
    pub hashed_token: Option<&'a str>,
    /// The user whom it belongs to.
    pub user: Option<&'a str>,
}

/// What the decision was about, as far as it came.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The catalog's route.
    pub route: Option<&'a str>,
    /// The resource.
    pub resource: Resource<'a>,
    /// The permissions that would be enough, as text.
    pub permission: Option<&'a str>,
}

/// The decision.
#[derive(Debug, Clone)]
pub struct Judged {
    /// What the rules say.
    pub verdict: Verdict,
    /// Whether that is acted on.
    pub mode: Mode,
    /// The generation of the policy that judged.
    pub policy_generation: u64,
    /// Rules on trial that would have refused.
    pub shadow: Vec<Arc<str>>,
}

/// What the request's body and its record share.
#[derive(Debug, Default)]
struct RequestBody {
    bytes: AtomicU64,
    broken: AtomicBool,
    withdrawn: OnceLock<Reason>,
}

impl RequestBody {
    /// INVARIANT: one worker runs both the record and the body, so nothing is added at the same moment.
    fn add(&self, count: u64) {
        let bytes = self.bytes.load(Ordering::Relaxed).saturating_add(count);
        self.bytes.store(bytes, Ordering::Relaxed);
    }
}

/// Tells a record that its permit was withdrawn while the request was under way.
#[derive(Debug, Clone)]
pub struct Withdrawal(Arc<RequestBody>);

impl Withdrawal {
    /// The permit no longer stands, for `reason`; the first reason stays.
    pub fn because(&self, reason: Reason) {
        self.0.withdrawn.get_or_init(|| reason);
    }
}

/// One request, until its answer has gone out. Dropped before [`Record::close`], it closes itself as aborted.
#[derive(Debug)]
#[must_use = "dropping a record ends it as aborted"]
pub struct Record {
    worker: Arc<WorkerRecorder>,
    request_id: RequestId,
    request_body: Arc<RequestBody>,
    /// `None` once closed.
    open: Option<Box<Open>>,
}

/// The audit log has no place for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unrecorded;

impl Record {
    /// Opens the record of a request that has just arrived at the worker of `worker`.
    pub fn open(worker: &Arc<WorkerRecorder>, head: &RecordHead<'_>) -> Self {
        let started = clock::monotonic();
        let mut open = Box::new(Open::new(head, worker.wall.at(started), started));
        let request_id = worker.request_ids.next();
        open.span = head.headers.and_then(|headers| worker.traces().sample(headers, &request_id));
        if worker.queue.is_some() || open.span.is_some() {
            open.text = Text::new();
            open.set(Field::RequestId, Some(request_id.as_str()));
            open.set(Field::Method, head.method.map(Method::as_str));
            if let Some(path) = head.path {
                let Open { line, text, .. } = &mut *open;
                line.set_path(text, path);
            }
        }
        worker.shard.opened.add(1);
        Self { worker: Arc::clone(worker), request_id, request_body: Arc::default(), open: Some(open) }
    }

    /// When the request arrived, as its line will say: the time to judge it by.
    pub fn time(&self) -> UnixTime {
        UnixTime(self.open.as_ref().map_or(i64::MAX, |open| open.line.time.div_euclid(1_000_000)))
    }

    /// The request's id.
    pub fn request_id(&self) -> &RequestId {
        &self.request_id
    }

    /// Whether an audit line or a span is kept. Where none is, text that only they need need not be made.
    pub fn is_described(&self) -> bool {
        self.worker.queue.is_some() || self.open.as_ref().is_some_and(|open| open.span.is_some())
    }

    /// The header fields that go on in place of `headers`, where the request was sampled: they tell of the trace that
    /// it belongs to. `None` where what the caller said goes on as it came.
    pub fn tell_trace(&self, headers: &HeaderMap) -> Option<HeaderMap> {
        let span = self.open.as_ref()?.span.as_ref()?;
        let mut told = headers.clone();
        span.tell(&mut told);
        Some(told)
    }

    /// The request is for `upstream`.
    pub fn routed(&mut self, upstream: UpstreamId) {
        let is_described = self.is_described();
        let name = self.worker.metrics().upstream_name(upstream);
        if let Some(open) = &mut self.open {
            open.upstream = Some(upstream);
            if is_described {
                open.set(Field::Upstream, name);
            }
        }
    }

    /// The token is one of the policy's: its requests are counted.
    pub fn recognized(&mut self, token: PublicId) {
        if let Some(open) = &mut self.open {
            open.token = Some(token);
        }
    }

    /// The token is known, whatever may be wrong with it.
    pub fn identified(&mut self, caller: &Caller<'_>) {
        self.describe(|open| {
            open.set(Field::TokenId, caller.token_id.as_ref().map(PublicId::as_str));
            open.set(Field::TokenName, caller.token_name);
            open.set(Field::HashedToken, caller.hashed_token);
            open.set(Field::User, caller.user);
        });
    }

    /// What git does with the request.
    pub fn is_git(&mut self, operation: GitOperation) {
        if let Some(open) = &mut self.open {
            open.git = Some(operation);
        }
    }

    /// What the request wants is known.
    pub fn understood(&mut self, subject: &Subject<'_>) {
        self.describe(|open| {
            open.set(Field::Route, subject.route);
            open.set(Field::Permission, subject.permission);
            open.line.set_resource(&mut open.text, &subject.resource);
        });
    }

    /// The decision fell. Under [`Mode::Shadow`] a refusal is recorded and the request goes on.
    pub fn judged(&mut self, judged: Judged) {
        let Some(open) = &mut self.open else { return };
        let now = clock::monotonic();
        open.ready = Some(now);
        open.line.verdict = Some(judged.verdict);
        open.line.mode = judged.mode;
        open.line.policy_generation = Some(judged.policy_generation);
        open.line.decision = Some(now.saturating_duration_since(open.started));
        open.line.shadow = judged.shadow;
    }

    /// Something was waited for between the decision and forwarding, such as a body that was looked into.
    pub fn waited(&mut self) {
        if let Some(open) = &mut self.open {
            open.ready = Some(clock::monotonic());
        }
    }

    /// The request does not pass. Before or instead of a decision `reason` is the verdict; one that comes after it
    /// (the gateway is at its limit, the upstream fails) leaves the verdict as it stands. Where the caller's own body
    /// broke off, that was the cause, and nobody is blamed.
    pub fn refused(&mut self, reason: Reason) {
        if reason.step() > LAST_STEP {
            let failure = Some(reason).filter(|_| !self.has_caller_left());
            if let Some(open) = &mut self.open {
                open.failure = failure;
            }
        } else {
            self.edit(|line| {
                line.verdict = Some(Verdict::Refuse(reason));
                line.mode = Mode::Enforce;
            });
        }
    }

    /// Makes sure of a place in the audit log, where the configuration wants that before a request goes on.
    ///
    /// # Errors
    /// There is none: the request must not go on.
    pub fn reserve(&mut self) -> Result<(), Unrecorded> {
        let (Some(open), Some(queue)) = (&mut self.open, &self.worker.queue) else { return Ok(()) };
        if !self.worker.audit().is_required() || open.place == Place::Reserved {
            return Ok(());
        }
        if let Err(Full) = queue.reserve() {
            self.worker.audit().refuse();
            return Err(Unrecorded);
        }
        open.place = Place::Reserved;
        Ok(())
    }

    /// The request goes to the upstream now. Does not read the clock: that was done for the decision, or after a wait.
    pub fn forwarding(&mut self) {
        if let Some(open) = &mut self.open {
            open.is_forwarded = true;
        }
    }

    /// The head of the upstream's answer came, and it goes to the caller.
    pub fn responded(&mut self, status: StatusCode) {
        let Some(open) = &mut self.open else { return };
        if let (Some(forwarded), Some(shard)) =
            (open.ready.filter(|_| open.is_forwarded), self.worker.shard.of(open.upstream))
        {
            shard.upstream_seconds.observe(clock::monotonic().saturating_duration_since(forwarded));
        }
        open.line.status = Some(status);
        open.line.effect = Effect::Forwarded;
    }

    /// The gateway answers the request itself: with its refusal, or where there is none with what was asked for. Where the
    /// upstream had got the request before its permit was withdrawn, what it did with it is not undone.
    pub fn answered(&mut self, status: StatusCode) {
        let effect = if self.is_overtaken() {
            Effect::Aborted
        } else if self.is_refused() {
            Effect::Refused
        } else {
            Effect::Answered
        };
        self.edit(|line| {
            line.status = Some(status);
            line.effect = effect;
        });
    }

    /// What tells this record that its permit was withdrawn.
    pub fn withdrawal(&self) -> Withdrawal {
        Withdrawal(Arc::clone(&self.request_body))
    }

    /// Bytes of the request's body were read. [`body::CountedBody`] does this by itself.
    pub fn add_request_bytes(&self, count: u64) {
        self.request_body.add(count);
    }

    /// Bytes of the response's body went out. [`body::RecordedBody`] does this by itself.
    pub fn add_response_bytes(&mut self, count: u64) {
        self.edit(|line| line.response_bytes = line.response_bytes.saturating_add(count));
    }

    /// The answer went out whole. A request that got no answer at all is refused where it was refused, and aborted
    /// otherwise.
    pub fn close(mut self) {
        let is_refused = self.is_refused();
        if self.has_caller_left() && !is_refused && !self.is_forwarded() {
            return drop(self);
        }
        self.edit(|line| {
            if line.status.is_none() && is_refused {
                line.effect = Effect::Refused;
            }
        });
        self.finish();
    }

    /// The answer's source broke off. Where the caller's own body broke off, that was the cause.
    fn break_off(mut self) {
        if let Some(reason) = self.request_body.withdrawn.get().copied() {
            self.refused(reason);
        } else if self.failure().is_none() {
            self.refused(Reason::UpstreamFailed);
        }
        drop(self);
    }

    /// Whether the caller's body broke off. One that was malformed, or did not come, is refused for that.
    fn has_caller_left(&self) -> bool {
        self.request_body.broken.load(Ordering::Relaxed)
    }

    /// Whether the caller gets the upstream's answer.
    fn is_forwarded(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.line.effect == Effect::Forwarded)
    }

    /// Whether the caller asked for a head alone.
    fn wants_head(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.wants_head)
    }

    /// What failed after the verdict.
    fn failure(&self) -> Option<Reason> {
        self.open.as_ref().and_then(|open| open.failure)
    }

    /// Whether a refusal or an error is what the caller gets.
    fn is_refused(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.is_judged_away() || open.failure.is_some())
    }

    /// Whether the upstream had got the request when its permit was withdrawn.
    fn is_overtaken(&self) -> bool {
        self.request_body.withdrawn.get().is_some()
            && self.open.as_ref().is_some_and(|open| open.is_forwarded)
    }

    fn edit(&mut self, change: impl FnOnce(&mut Line)) {
        if let Some(open) = &mut self.open {
            change(&mut open.line);
        }
    }

    /// As `edit`, for what only audit lines and spans want to know.
    fn describe(&mut self, change: impl FnOnce(&mut Open)) {
        if self.is_described()
            && let Some(open) = &mut self.open
        {
            change(open);
        }
    }

    // INVARIANT: what is open is taken here and nowhere else, so whatever ends a record ends it once.
    fn finish(&mut self) {
        let Some(open) = self.open.take() else { return };
        let Open { mut line, text, started, upstream, failure, method, token, git, place, span, .. } = *open;
        let (decision, reason) = (decision(line.verdict, failure), reason_of(line.verdict, failure));
        line.reason = decision.reason_word(reason);
        line.request_bytes = self.request_body.bytes.load(Ordering::Relaxed);
        line.ended = clock::monotonic();
        line.duration = line.ended.saturating_duration_since(started);
        let shard = &self.worker.shard;
        shard.request(&RequestOutcome {
            upstream,
            verdict: line.verdict,
            failure,
            method,
            status: line.status,
            effect: line.effect,
            git,
            duration: line.duration,
            decision: line.decision,
            request_bytes: line.request_bytes,
            response_bytes: line.response_bytes,
        });
        if let (Some(error), Some(shard)) = (failure.and_then(upstream_error), shard.of(upstream)) {
            shard.count_error(error);
        }
        if let (Some(token), Some(tokens)) = (token, &self.worker.tokens) {
            tokens.count(&token, decision, reason, line.ended);
        }
        if let Some(span) = span {
            let finished = FinishedSpan { span: *span, line: line.clone(), text: text.clone() };
            self.worker.traces().export(finished);
        }
        self.worker.keep(line, &text, place);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.edit(|line| line.effect = Effect::Aborted);
        self.finish();
    }
}

#[cfg(test)]
mod tests;
