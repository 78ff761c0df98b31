//! The name, meaning, labels and buckets of every metric: the one file that builds them. `docs/metrics.md` describes
//! them for operators, and a test holds the two together.

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// Seconds. From an answer out of the upstream's memory to a clone or an upload of some gigabytes; 15 minutes is past
/// what load balancers and CI jobs commonly wait for.
const REQUEST_SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0];

/// Seconds until the head of the upstream's answer: as for requests, without the tail that belongs to the body.
const UPSTREAM_SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Seconds. A decision is some look-ups in memory, a microsecond or so; at a millisecond something is wrong with the
/// machine or the policy.
const DECISION_SECONDS: &[f64] =
    &[250e-9, 500e-9, 1e-6, 2.5e-6, 5e-6, 10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 1e-3];

const UPSTREAM: &str = "upstream";

/// Every metric family, registered.
#[derive(Debug)]
pub(crate) struct Families {
    pub(crate) requests: RequestFamilies,
    pub(crate) upstreams: UpstreamFamilies,
    pub(crate) connections: ConnectionFamilies,
    pub(crate) snapshot: SnapshotFamilies,
    pub(crate) audit: AuditFamilies,
}

impl Families {
    /// Builds all of them on `registry`.
    pub(crate) fn new(registry: &Registry) -> Self {
        let new = Builder(registry);
        new.build_info();
        Self {
            requests: RequestFamilies::new(&new),
            upstreams: UpstreamFamilies::new(&new),
            connections: ConnectionFamilies::new(&new),
            snapshot: SnapshotFamilies::new(&new),
            audit: AuditFamilies::new(&new),
        }
    }
}

/// What requests count.
#[derive(Debug)]
pub(crate) struct RequestFamilies {
    pub(crate) total: IntCounterVec,
    pub(crate) seconds: HistogramVec,
    pub(crate) decision_seconds: Histogram,
    pub(crate) request_bytes: IntCounterVec,
    pub(crate) response_bytes: IntCounterVec,
    pub(crate) aborted: IntCounterVec,
    pub(crate) in_flight: IntGauge,
}

impl RequestFamilies {
    fn new(new: &Builder<'_>) -> Self {
        Self {
            total: new.counters(
                "requests_total",
                "Requests that ended, by verdict, reason and what the caller got.",
                &[UPSTREAM, "decision", "reason", "method_class", "status_class"],
            ),
            seconds: new.histograms(
                "request_duration_seconds",
                "Time from a request's arrival to the end of its answer.",
                REQUEST_SECONDS,
            ),
            decision_seconds: new.histogram(
                "decision_duration_seconds",
                "Time that judging a request took.",
                DECISION_SECONDS,
            ),
            request_bytes: new.counters("request_bytes_total", "Body bytes read from callers.", &[UPSTREAM]),
            response_bytes: new.counters("response_bytes_total", "Body bytes sent to callers.", &[UPSTREAM]),
            aborted: new.counters(
                "aborted_total",
                "Requests whose caller or upstream left before the answer had gone out whole.",
                &[UPSTREAM],
            ),
            in_flight: new.gauge("requests_in_flight", "Requests that have not ended."),
        }
    }
}

/// What is counted of upstreams.
#[derive(Debug)]
pub(crate) struct UpstreamFamilies {
    pub(crate) seconds: HistogramVec,
    pub(crate) connections: IntCounterVec,
    pub(crate) errors: IntCounterVec,
    pub(crate) git_children: IntGauge,
}

impl UpstreamFamilies {
    fn new(new: &Builder<'_>) -> Self {
        Self {
            seconds: new.histograms(
                "upstream_duration_seconds",
                "Time from forwarding a request to the head of the upstream's answer.",
                UPSTREAM_SECONDS,
            ),
            connections: new.counters(
                "upstream_connections_total",
                "Connections opened to upstreams.",
                &[UPSTREAM],
            ),
            errors: new.counters(
                "upstream_errors_total",
                "Requests that an upstream failed, by cause.",
                &[UPSTREAM, "cause"],
            ),
            git_children: new.gauge("git_children", "Running git processes of the embedded git host."),
        }
    }
}

/// What is counted of connections from callers.
#[derive(Debug)]
pub(crate) struct ConnectionFamilies {
    pub(crate) open: IntGauge,
    pub(crate) total: IntCounter,
    pub(crate) refused: IntCounter,
    pub(crate) handshakes: IntCounterVec,
    pub(crate) panics: IntCounterVec,
}

impl ConnectionFamilies {
    fn new(new: &Builder<'_>) -> Self {
        Self {
            open: new.gauge("connections_open", "Open connections from callers."),
            total: new.counter("connections_total", "Connections accepted from callers."),
            refused: new.counter(
                "connections_refused_total",
                "Connections closed at once because the limit was reached.",
            ),
            handshakes: new.counters("tls_handshakes_total", "TLS handshakes with callers.", &["result"]),
            panics: new.counters(
                "worker_panics_total",
                "Panics: of one connection, or of a whole worker, which was replaced.",
                &["worker"],
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
}

impl AuditFamilies {
    fn new(new: &Builder<'_>) -> Self {
        Self {
            lines: new.counter("audit_lines_total", "Audit lines written."),
            dropped: new
                .counter("audit_dropped_total", "Audit lines lost to a full queue or a failed write."),
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

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let options = HistogramOpts::new(full(name), help).buckets(buckets.to_vec());
        self.registered(Histogram::with_opts(options))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.registered(IntCounterVec::new(Opts::new(full(name), help), labels))
    }

    fn histograms(&self, name: &str, help: &str, buckets: &[f64]) -> HistogramVec {
        let options = HistogramOpts::new(full(name), help).buckets(buckets.to_vec());
        self.registered(HistogramVec::new(options, &[UPSTREAM]))
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

fn full(name: &str) -> String {
    format!("portcullis_{name}")
}
