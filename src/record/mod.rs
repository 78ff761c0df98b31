//! What is kept of each request: metrics, and one audit line.
//!
//! The last stage of the flow. A [`Record`] opens when a request arrives and closes when its answer has gone out; it
//! closes itself as aborted when it is dropped before, which is what happens to a handler whose caller leaves. So
//! each request has exactly one line and is counted exactly once. Nothing here ever makes a request wait.

pub mod audit;
pub mod body;
mod families;
pub mod labels;
pub mod line;
pub mod metrics;
pub mod request_id;
mod sink;
mod upstream_metrics;

#[cfg(test)]
pub(crate) mod fixture;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};

use crate::clock;
use crate::domain::grant::UnixTime;
use crate::domain::reason::Reason;
use crate::domain::token::PublicId;
use crate::record::audit::Audit;
use crate::record::labels::{Effect, MethodClass, Mode, Verdict, upstream_error};
use crate::record::line::{AuditLine, RequestPath};
use crate::record::metrics::{GaugeGuard, Metrics, RequestOutcome, UpstreamId};
use crate::record::request_id::RequestId;
use crate::record::upstream_metrics::{reason_of, reason_word};

/// The last step of the decision; what has a higher one happens after it.
const LAST_STEP: u8 = 11;

/// Where records go.
#[derive(Debug)]
pub struct Recorder {
    /// What is counted.
    pub metrics: Metrics,
    /// What is written.
    pub audit: Audit,
}

/// What is known of a request when it arrives.
#[derive(Debug, Clone)]
pub struct RecordHead {
    /// Its id.
    pub request_id: RequestId,
    /// Its method; `None` where it could not be read.
    pub method: Option<Method>,
    /// Its path; `None` where it could not be read.
    pub path: Option<RequestPath>,
    /// The caller's address.
    pub peer: IpAddr,
}

/// Whose token it is.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The token's public id.
    pub token_id: Option<PublicId>,
    /// The token's name.
    pub token_name: Option<Arc<str>>,
    /// The user whom it belongs to.
    pub user: Option<Arc<str>>,
}

/// What the decision was about, as far as it came.
#[derive(Debug, Clone, Default)]
pub struct Subject {
    /// The catalog's route.
    pub route: Option<Arc<str>>,
    /// The resource.
    pub resource: Option<Arc<str>>,
    /// The permissions that would be enough, as text.
    pub permission: Option<Arc<str>>,
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
    /// How long judging took.
    pub took: Duration,
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
    recorder: Arc<Recorder>,
    request_id: RequestId,
    time: UnixTime,
    upstream: Option<UpstreamId>,
    failure: Option<Reason>,
    started: Instant,
    forwarded: Option<Instant>,
    request_body: Arc<RequestBody>,
    /// `None` once closed.
    line: Option<Box<AuditLine>>,
    _in_flight: GaugeGuard,
}

impl Record {
    /// Opens the record of a request that has just arrived.
    pub fn open(recorder: &Arc<Recorder>, head: RecordHead) -> Self {
        let time = clock::timestamp();
        let line = AuditLine {
            time,
            request_id: head.request_id,
            upstream: None,
            method: head.method,
            path: head.path,
            route: None,
            token_id: None,
            token_name: None,
            user: None,
            resource: None,
            permission: None,
            verdict: None,
            mode: Mode::Enforce,
            effect: Effect::Aborted,
            reason: "undecided",
            status: None,
            request_bytes: 0,
            response_bytes: 0,
            duration: Duration::ZERO,
            decision: None,
            peer: head.peer,
            policy_generation: None,
            shadow: Vec::new(),
        };
        Self {
            recorder: Arc::clone(recorder),
            request_id: head.request_id,
            time: UnixTime(time.as_second()),
            upstream: None,
            failure: None,
            started: clock::monotonic(),
            forwarded: None,
            request_body: Arc::default(),
            line: Some(Box::new(line)),
            _in_flight: recorder.metrics.request_started(),
        }
    }

    /// When the request arrived, as its line will say: the time to judge it by.
    pub fn time(&self) -> UnixTime {
        self.time
    }

    /// The request's id.
    pub fn request_id(&self) -> RequestId {
        self.request_id
    }

    /// Whether audit lines are kept. Where they are not, text that only they need need not be made.
    pub fn is_audited(&self) -> bool {
        self.recorder.audit.is_on()
    }

    /// The request is for `upstream`.
    pub fn routed(&mut self, upstream: UpstreamId) {
        self.upstream = Some(upstream);
        let name = self.recorder.metrics.upstream_name(upstream).cloned();
        self.edit(|line| line.upstream = name);
    }

    /// The token is known, whatever may be wrong with it.
    pub fn identified(&mut self, caller: Caller) {
        self.edit(|line| {
            line.token_id = caller.token_id;
            line.token_name = caller.token_name;
            line.user = caller.user;
        });
    }

    /// What the request wants is known.
    pub fn understood(&mut self, subject: Subject) {
        self.edit(|line| {
            line.route = subject.route;
            line.resource = subject.resource;
            line.permission = subject.permission;
        });
    }

    /// The decision fell. Under [`Mode::Shadow`] a refusal is recorded and the request goes on.
    pub fn judged(&mut self, judged: Judged) {
        self.edit(|line| {
            line.verdict = Some(judged.verdict);
            line.mode = judged.mode;
            line.policy_generation = Some(judged.policy_generation);
            line.decision = Some(judged.took);
            line.shadow = judged.shadow;
        });
    }

    /// The request does not pass. Before or instead of a decision `reason` is the verdict; one that comes after it
    /// (the gateway is at its limit, the upstream fails) leaves the verdict as it stands. Where the caller's own body
    /// broke off, that was the cause, and nobody is blamed.
    pub fn refused(&mut self, reason: Reason) {
        if reason.step() > LAST_STEP {
            self.failure = Some(reason).filter(|_| !self.has_caller_left());
        } else {
            self.edit(|line| {
                line.verdict = Some(Verdict::Refuse(reason));
                line.mode = Mode::Enforce;
            });
        }
    }

    /// The request goes to the upstream now.
    pub fn forwarding(&mut self) {
        self.forwarded = Some(clock::monotonic());
    }

    /// The head of the upstream's answer came, and it goes to the caller.
    pub fn responded(&mut self, status: StatusCode) {
        if let Some(forwarded) = self.forwarded {
            let after = clock::monotonic().saturating_duration_since(forwarded);
            self.recorder.metrics.upstream_answered(self.upstream, after);
        }
        self.edit(|line| {
            line.status = Some(status);
            line.effect = Effect::Forwarded;
        });
    }

    /// The gateway answers the request itself: with its refusal, or where there is none with what was asked for.
    pub fn answered(&mut self, status: StatusCode) {
        let effect = if self.is_refused() { Effect::Refused } else { Effect::Answered };
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
        self.request_body.bytes.fetch_add(count, Ordering::Relaxed);
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
        } else if self.failure.is_none() {
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
        let effect = self.line.as_ref().map(|line| line.effect);
        effect == Some(Effect::Forwarded)
    }

    /// Whether a refusal or an error is what the caller gets.
    fn is_refused(&self) -> bool {
        let enforced = self.line.as_ref().is_some_and(|line| {
            line.mode == Mode::Enforce && matches!(line.verdict, Some(Verdict::Refuse(_)))
        });
        enforced || self.failure.is_some()
    }

    fn edit(&mut self, change: impl FnOnce(&mut AuditLine)) {
        if let Some(line) = &mut self.line {
            change(line);
        }
    }

    // INVARIANT: the line is taken here and nowhere else, so whatever ends a record ends it once.
    fn finish(&mut self) {
        let Some(mut line) = self.line.take() else { return };
        let reason = reason_of(line.verdict, self.failure);
        line.reason = reason_word(line.verdict, reason);
        line.request_bytes = self.request_body.bytes.load(Ordering::Relaxed);
        line.duration = clock::monotonic().saturating_duration_since(self.started);
        let metrics = &self.recorder.metrics;
        metrics.request(&RequestOutcome {
            upstream: self.upstream,
            verdict: line.verdict,
            failure: self.failure,
            method: MethodClass::of(line.method.as_ref()),
            status: line.status,
            effect: line.effect,
            duration: line.duration,
            decision: line.decision,
            request_bytes: line.request_bytes,
            response_bytes: line.response_bytes,
        });
        if let Some(error) = self.failure.and_then(upstream_error) {
            metrics.upstream_error(self.upstream, error);
        }
        self.recorder.audit.write(line);
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
