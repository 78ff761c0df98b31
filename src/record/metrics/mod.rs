//! What the gateway counts, as typed events. `docs/metrics.md` describes each metric.
//!
//! A request costs a few relaxed atomic additions: its counters are found by position.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use prometheus::{IntCounter, IntGauge, Registry, TextEncoder};

use crate::domain::grant::UnixTime;
use crate::domain::reason::Reason;
use crate::domain::refusal::UpstreamError;
use crate::record::families::Families;
use crate::record::labels::{Effect, Handshake, MethodClass, StatusClass, Verdict};
use crate::record::upstream_metrics::{RequestKey, UpstreamMetrics};

/// The label of requests that have no upstream; an upstream should not have this name.
pub const NO_UPSTREAM: &str = "none";

/// One upstream as metrics know it: its position in the list that [`Metrics::new`] was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamId(usize);

/// What one finished request adds to the metrics.
#[derive(Debug, Clone, Copy)]
pub struct RequestOutcome {
    /// The upstream that it was for; `None` where none was found.
    pub upstream: Option<UpstreamId>,
    /// The verdict; `None` where it ended before there was one.
    pub verdict: Option<Verdict>,
    /// What failed after the verdict.
    pub failure: Option<Reason>,
    /// The method's class.
    pub method: MethodClass,
    /// The status that the caller got; `None` where there was no response.
    pub status: Option<StatusCode>,
    /// What happened.
    pub effect: Effect,
    /// From its arrival to the end of the answer.
    pub duration: Duration,
    /// How long judging took; `None` where it was not judged.
    pub decision: Option<Duration>,
    /// Bytes of the request's body that were read.
    pub request_bytes: u64,
    /// Bytes of the response's body that were sent.
    pub response_bytes: u64,
}

/// Every metric of the gateway.
pub struct Metrics {
    registry: Registry,
    families: Families,
    handshakes: [IntCounter; 3],
    reloads_accepted: IntCounter,
    reloads_refused: IntCounter,
    upstreams: Box<[UpstreamMetrics]>,
    /// For requests that have no upstream.
    elsewhere: UpstreamMetrics,
}

impl Metrics {
    /// All metrics at zero, for the upstreams with these names.
    pub fn new(upstreams: &[String]) -> Self {
        let registry = Registry::new();
        let families = Families::new(&registry);
        let reload = |result: &str| families.snapshot.reloads.with_label_values(&[result]);
        Self {
            handshakes: Handshake::ALL
                .map(|end| families.connections.handshakes.with_label_values(&[end.as_str()])),
            reloads_accepted: reload("ok"),
            reloads_refused: reload("refused"),
            upstreams: upstreams.iter().map(|name| UpstreamMetrics::new(name, &families)).collect(),
            elsewhere: UpstreamMetrics::new(NO_UPSTREAM, &families),
            registry,
            families,
        }
    }

    /// The upstream called `name`. Look it up once, at the start.
    pub fn upstream(&self, name: &str) -> Option<UpstreamId> {
        self.upstreams.iter().position(|upstream| &*upstream.name == name).map(UpstreamId)
    }

    /// The name of `upstream`; `None` where it is of another list.
    pub fn upstream_name(&self, upstream: UpstreamId) -> Option<&Arc<str>> {
        self.upstreams.get(upstream.0).map(|upstream| &upstream.name)
    }

    /// A request ended.
    pub fn request(&self, outcome: &RequestOutcome) {
        let upstream = self.of(outcome.upstream);
        upstream.count_request(RequestKey {
            verdict: outcome.verdict,
            failure: outcome.failure,
            method: outcome.method,
            status: StatusClass::of(outcome.status),
        });
        upstream.request_seconds.observe(outcome.duration.as_secs_f64());
        upstream.request_bytes.inc_by(outcome.request_bytes);
        upstream.response_bytes.inc_by(outcome.response_bytes);
        if outcome.effect == Effect::Aborted {
            upstream.aborted.inc();
        }
        if let Some(decision) = outcome.decision {
            self.families.requests.decision_seconds.observe(decision.as_secs_f64());
        }
    }

    /// A request is under way until the guard is dropped.
    pub fn request_started(&self) -> GaugeGuard {
        GaugeGuard::new(&self.families.requests.in_flight)
    }

    /// The head of the upstream's answer came, `after` the request was forwarded.
    pub fn upstream_answered(&self, upstream: Option<UpstreamId>, after: Duration) {
        self.of(upstream).upstream_seconds.observe(after.as_secs_f64());
    }

    /// The upstream failed a request. A [`Record`](crate::record::Record) calls this itself, once for each request.
    pub fn upstream_error(&self, upstream: Option<UpstreamId>, error: UpstreamError) {
        self.of(upstream).count_error(error);
    }

    /// A connection to the upstream was opened.
    pub fn upstream_connected(&self, upstream: UpstreamId) {
        self.of(Some(upstream)).connections.inc();
    }

    /// A connection was accepted; it is open until the guard is dropped.
    pub fn connection_opened(&self) -> GaugeGuard {
        self.families.connections.total.inc();
        GaugeGuard::new(&self.families.connections.open)
    }

    /// A connection was closed at once because there were too many.
    pub fn connection_refused(&self) {
        self.families.connections.refused.inc();
    }

    /// There is a worker with this number; its panics are told as 0 until there is one.
    pub fn worker_started(&self, number: usize) {
        self.families.connections.panics.with_label_values(&[number.to_string()]);
    }

    /// A connection of this worker panicked, or the worker itself.
    pub fn worker_panicked(&self, number: usize) {
        self.families.connections.panics.with_label_values(&[number.to_string()]).inc();
    }

    /// A TLS handshake with a caller ended.
    pub fn handshake(&self, end: Handshake) {
        let [completed, failed, timed_out] = &self.handshakes;
        match end {
            Handshake::Completed => completed,
            Handshake::Failed => failed,
            Handshake::TimedOut => timed_out,
        }
        .inc();
    }

    /// A git process started; it runs until the guard is dropped.
    pub fn git_child_started(&self) -> GaugeGuard {
        GaugeGuard::new(&self.families.upstreams.git_children)
    }

    /// The policy with this generation and number of tokens came into force `at`.
    pub fn reload_succeeded(&self, generation: u64, tokens: usize, at: UnixTime) {
        self.families.snapshot.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
        self.families.snapshot.tokens.set(i64::try_from(tokens).unwrap_or(i64::MAX));
        self.families.snapshot.loaded.set(at.0);
        self.families.snapshot.stale.set(0);
        self.reloads_accepted.inc();
    }

    /// The policy files did not compile; what was in force stays.
    pub fn reload_refused(&self) {
        self.families.snapshot.stale.set(1);
        self.reloads_refused.inc();
    }

    /// The metrics in Prometheus' text format, version 0.0.4.
    pub fn render(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_else(|error| {
            tracing::error!(%error, "metrics could not be written as text; report this as a defect");
            String::new()
        })
    }

    /// Counts audit lines that were written.
    pub(crate) fn audit_lines(&self) -> IntCounter {
        self.families.audit.lines.clone()
    }

    /// Counts audit lines that were lost.
    pub(crate) fn audit_dropped(&self) -> IntCounter {
        self.families.audit.dropped.clone()
    }

    fn of(&self, upstream: Option<UpstreamId>) -> &UpstreamMetrics {
        upstream.and_then(|UpstreamId(position)| self.upstreams.get(position)).unwrap_or(&self.elsewhere)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.upstreams.iter().map(|upstream| &upstream.name);
        f.debug_struct("Metrics").field("upstreams", &names.collect::<Vec<_>>()).finish_non_exhaustive()
    }
}

/// Something that is under way: a connection, a request, a process. The gauge goes down when it is dropped.
#[derive(Debug)]
#[must_use = "the gauge goes down when this is dropped"]
pub struct GaugeGuard(IntGauge);

impl GaugeGuard {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests;
