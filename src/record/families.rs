//! The name, meaning and labels of what is counted rarely; what requests count stands in `collector`,
//! and beside what it tells of: `census`, `token_requests`, `audit`.
//! `docs/metrics.md` describes all of them for operators, and a test holds them together.

use prometheus::core::Collector;
use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// Every metric family, registered.
#[derive(Debug)]
pub(crate) struct Families {
    pub(crate) upstreams: UpstreamFamilies,
    pub(crate) connections: ConnectionFamilies,
    pub(crate) snapshot: SnapshotFamilies,
    pub(crate) audit: AuditFamilies,
    pub(crate) traces: TraceFamilies,
}

impl Families {
    /// Builds all of them on `registry`.
    pub(crate) fn new(registry: &Registry) -> Self {
        let new = Builder(registry);
        new.build_info();
        Self {
            upstreams: UpstreamFamilies::new(&new),
            connections: ConnectionFamilies::new(&new),
            snapshot: SnapshotFamilies::new(&new),
            audit: AuditFamilies::new(&new),
            traces: TraceFamilies::new(&new),
        }
    }
}

/// What is counted of upstreams.
#[derive(Debug)]
pub(crate) struct UpstreamFamilies {
    pub(crate) git_children: IntGauge,
}

impl UpstreamFamilies {
    fn new(new: &Builder<'_>) -> Self {
        Self { git_children: new.gauge("git_children", "Running git processes of the embedded git host.") }
    }
}

/// What is counted of connections from callers.
#[derive(Debug)]
pub(crate) struct ConnectionFamilies {
    pub(crate) limit: IntGauge,
    pub(crate) refused: IntCounter,
    pub(crate) handshakes: IntCounterVec,
    pub(crate) http2_faults: IntCounterVec,
    pub(crate) certificates: IntGaugeVec,
}

impl ConnectionFamilies {
    fn new(new: &Builder<'_>) -> Self {
        Self {
            limit: new.gauge("connections_limit", "Connections from callers that may be open."),
            refused: new.counter(
                "connections_refused_total",
                "Connections closed at once because the limit was reached.",
            ),
            handshakes: new.counters("tls_handshakes_total", "TLS handshakes with callers.", &["result"]),
            http2_faults: new.counters(
                "http2_connections_broken_total",
                "HTTP/2 connections given up for what the caller did.",
                &["cause"],
            ),
            certificates: new.gauges(
                "tls_certificate_expiry_timestamp_seconds",
                "When the certificate in use expires, as Unix time.",
                &["listener", "certificate"],
            ),
        }
    }
}

/// What is told of the policy in force.
#[derive(Debug)]
pub(crate) struct SnapshotFamilies {
    pub(crate) generation: IntGauge,
    pub(crate) loaded: IntGauge,
    pub(crate) tokens: IntGauge,
    pub(crate) checked: IntGauge,
    pub(crate) load_seconds: Gauge,
    pub(crate) stale: IntGauge,
    pub(crate) reloads: IntCounterVec,
}

impl SnapshotFamilies {
    fn new(new: &Builder<'_>) -> Self {
        Self {
            generation: new.gauge("snapshot_generation", "Generation of the policy in force."),
            loaded: new.gauge(
                "snapshot_loaded_timestamp_seconds",
                "When the policy in force was loaded, as Unix time.",
            ),
            tokens: new.gauge("snapshot_tokens", "Tokens in the policy in force."),
            checked: new.gauge(
                "snapshot_checked_timestamp_seconds",
                "When the policy files were last found to be those in force, as Unix time.",
            ),
            load_seconds: new.exact_gauge(
                "snapshot_load_duration_seconds",
                "Time that the last look at changed policy files took.",
            ),
            stale: new.gauge(
                "snapshot_stale",
                "1 while the policy files do not compile and an older policy is in force.",
            ),
            reloads: new.counters("snapshot_reload_total", "Loads of the policy files.", &["result"]),
        }
    }
}

/// What the audit log counts.
#[derive(Debug)]
pub(crate) struct AuditFamilies {
    pub(crate) lines: IntCounter,
    pub(crate) dropped: IntCounter,
    pub(crate) refused: IntCounter,
}

impl AuditFamilies {
    fn new(new: &Builder<'_>) -> Self {
        Self {
            lines: new.counter("audit_lines_total", "Audit lines written."),
            dropped: new
                .counter("audit_dropped_total", "Audit lines lost to a full queue or a failed write."),
            refused: new.counter(
                "audit_refused_total",
                "Requests refused because the audit log could not take them.",
            ),
        }
    }
}

/// What the exporter of traces counts.
#[derive(Debug)]
pub(crate) struct TraceFamilies {
    pub(crate) exported: IntCounter,
    pub(crate) dropped: IntCounter,
}

impl TraceFamilies {
    fn new(new: &Builder<'_>) -> Self {
        Self {
            exported: new.counter("trace_spans_exported_total", "Spans that the collector took."),
            dropped: new.counter(
                "trace_spans_dropped_total",
                "Spans lost to a full queue, or to a collector that did not take them.",
            ),
        }
    }
}

/// Puts the prefix on names and the metrics on the registry.
struct Builder<'a>(&'a Registry);

impl Builder<'_> {
    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.registered(IntCounter::new(full(name), help))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.registered(IntGauge::new(full(name), help))
    }

    fn exact_gauge(&self, name: &str, help: &str) -> Gauge {
        self.registered(Gauge::new(full(name), help))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.registered(IntGaugeVec::new(Opts::new(full(name), help), labels))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.registered(IntCounterVec::new(Opts::new(full(name), help), labels))
    }

    fn build_info(&self) {
        let options = Opts::new(full("build_info"), "Always 1; the label tells the version.");
        self.registered(IntGaugeVec::new(options, &["version"]))
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
    }

    // INVARIANT: this file holds every name, label and bucket as a constant, and a test builds them all.
    #[expect(
        clippy::expect_used,
        reason = "fails only for a bad or repeated constant of this file, in the first test"
    )]
    fn registered<C: Collector + Clone + 'static>(&self, metric: prometheus::Result<C>) -> C {
        let metric = metric.expect("names, labels and buckets are well formed");
        self.0.register(Box::new(metric.clone())).expect("names are unique");
        metric
    }
}

/// `name` as it is scraped.
pub(crate) fn full(name: &str) -> String {
    format!("portcullis_{name}")
}
