//! What the gateway counts, as typed events. `docs/metrics.md` describes each metric.
//!
//! What requests count is counted by each worker for itself (`shard`); what is rare is counted here.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use prometheus::core::Collector;
use prometheus::{IntCounter, IntGauge, Registry, TextEncoder};

use crate::domain::action::GitOperation;
use crate::domain::grant::UnixTime;
use crate::domain::reason::Reason;
use crate::record::census::{Census, CensusCollector};
use crate::record::collector::ShardCollector;
use crate::record::families::Families;
use crate::record::labels::{Effect, Handshake, Http2Fault, MethodClass, Verdict};
use crate::record::shard::{Shard, Shards};
use crate::record::token_requests::{TokenCollector, TokenRequests, WorkerTokens};

/// The label of requests that have no upstream; an upstream should not have this name.
pub const NO_UPSTREAM: &str = "none";

/// One upstream as metrics know it: its position in the list that [`Metrics::new`] was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamId(usize);

impl UpstreamId {
    pub(crate) fn position(self) -> usize {
        self.0
    }
}

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
    /// What git does with it, where a route of git was found.
    pub git: Option<GitOperation>,
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
    http2_faults: [IntCounter; 3],
    reloads_accepted: IntCounter,
    reloads_refused: IntCounter,
    shards: Arc<Shards>,
    tokens: Arc<TokenRequests>,
    census: CensusCollector,
}

impl Metrics {
    /// All metrics at zero, for the upstreams with these names, without those of single tokens.
    pub fn new(upstreams: &[String]) -> Self {
        Self::with_tokens(upstreams, 0)
    }

    /// As [`Metrics::new`], with the requests of `limit` tokens at a time.
    pub fn with_tokens(upstreams: &[String], limit: usize) -> Self {
        let registry = Registry::new();
        let shards = Arc::new(Shards::new(upstreams));
        let tokens = Arc::new(TokenRequests::new(limit));
        let census = CensusCollector::new();
        let families = Families::new(&registry);
        let collectors: [Box<dyn Collector>; 3] = [
            Box::new(ShardCollector::new(Arc::clone(&shards))),
            Box::new(TokenCollector::new(Arc::clone(&tokens))),
            Box::new(census.clone()),
        ];
        for collector in collectors {
            register(&registry, collector);
        }
        let reload = |result: &str| families.snapshot.reloads.with_label_values(&[result]);
        Self {
            handshakes: Handshake::ALL
                .map(|end| families.connections.handshakes.with_label_values(&[end.as_str()])),
            http2_faults: Http2Fault::ALL
                .map(|fault| families.connections.http2_faults.with_label_values(&[fault.as_str()])),
            reloads_accepted: reload("ok"),
            reloads_refused: reload("refused"),
            shards,
            tokens,
            census,
            registry,
            families,
        }
    }

    /// The upstream called `name`. Look it up once, at the start.
    pub fn upstream(&self, name: &str) -> Option<UpstreamId> {
        let configured = self.shards.names().split_last().map_or(&[][..], |(_none, configured)| configured);
        configured.iter().position(|upstream| &**upstream == name).map(UpstreamId)
    }

    /// The name of `upstream`; `None` where it is of another list.
    pub fn upstream_name(&self, upstream: UpstreamId) -> Option<&str> {
        self.shards.names().get(upstream.0).map(|name| &**name)
    }

    /// What worker `number` counts.
    pub(crate) fn shard(&self, number: usize) -> Arc<Shard> {
        self.shards.of(number)
    }

    /// So many connections may be open.
    pub fn connections_limited(&self, most: usize) {
        self.families.connections.limit.set(i64::try_from(most).unwrap_or(i64::MAX));
    }

    /// A connection was closed at once because there were too many.
    pub fn connection_refused(&self) {
        self.families.connections.refused.inc();
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

    /// An HTTP/2 connection with a caller was given up.
    pub fn http2_broken(&self, fault: Http2Fault) {
        let [protocol, flood, timed_out] = &self.http2_faults;
        match fault {
            Http2Fault::Protocol => protocol,
            Http2Fault::Flood => flood,
            Http2Fault::TimedOut => timed_out,
        }
        .inc();
    }

    /// A git process started; it runs until the guard is dropped.
    pub fn git_child_started(&self) -> GaugeGuard {
        GaugeGuard::new(&self.families.upstreams.git_children)
    }

    /// Has the tokens of the policy in force counted by `census`; the first one that is told stays.
    pub fn count_tokens_with(&self, census: Box<dyn Census>) {
        self.census.ask(census);
    }

    /// The policy with this generation and number of tokens came into force `at`.
    pub fn reload_succeeded(&self, generation: u64, tokens: usize, at: UnixTime) {
        self.families.snapshot.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
        self.families.snapshot.tokens.set(i64::try_from(tokens).unwrap_or(i64::MAX));
        self.families.snapshot.loaded.set(at.0);
        self.families.snapshot.checked.set(at.0);
        self.families.snapshot.stale.set(0);
        self.reloads_accepted.inc();
    }

    /// The policy files were looked at `at`, and nothing was new: where they are not refused, they are those in force.
    pub fn reload_unneeded(&self, at: UnixTime) {
        if self.families.snapshot.stale.get() == 0 {
            self.families.snapshot.checked.set(at.0);
        }
    }

    /// To read and compile the policy files took so long, whatever came of it.
    pub fn reload_took(&self, time: Duration) {
        self.families.snapshot.load_seconds.set(time.as_secs_f64());
    }

    /// The certificates in use, each with its listener, its file's name and when it expires. They take the place of
    /// those told before.
    pub fn certificates<'a>(&self, certificates: impl IntoIterator<Item = (&'a str, &'a str, UnixTime)>) {
        let gauges = &self.families.connections.certificates;
        gauges.reset();
        for (listener, certificate, expiry) in certificates {
            gauges.with_label_values(&[listener, certificate]).set(expiry.0);
        }
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

    /// What worker `number` counts by token; `None` where nothing is.
    pub(crate) fn worker_tokens(&self, number: usize) -> Option<WorkerTokens> {
        WorkerTokens::new(&self.tokens, number)
    }

    /// Has `collector` asked at each scrape too.
    pub(crate) fn add(&self, collector: Box<dyn Collector>) {
        register(&self.registry, collector);
    }

    /// Counts spans that the collector took.
    pub(crate) fn spans_exported(&self) -> IntCounter {
        self.families.traces.exported.clone()
    }

    /// Counts spans that were lost.
    pub(crate) fn spans_dropped(&self) -> IntCounter {
        self.families.traces.dropped.clone()
    }

    /// Counts requests that the audit log could not take.
    pub(crate) fn audit_refused(&self) -> IntCounter {
        self.families.audit.refused.clone()
    }

    /// Counts audit lines that were written.
    pub(crate) fn audit_lines(&self) -> IntCounter {
        self.families.audit.lines.clone()
    }

    /// Counts audit lines that were lost.
    pub(crate) fn audit_dropped(&self) -> IntCounter {
        self.families.audit.dropped.clone()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("upstreams", &self.shards.names()).finish_non_exhaustive()
    }
}

// INVARIANT: names are constants, and a test makes all families.
#[expect(clippy::expect_used, reason = "fails only for a repeated constant, in the first test")]
fn register(registry: &Registry, collector: Box<dyn Collector>) {
    registry.register(collector).expect("names are unique");
}

/// Something that is under way: a process of git. The gauge goes down when it is dropped.
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
