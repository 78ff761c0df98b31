//! What workers have counted, added up when somebody asks.
//!
//! A request pays for none of this: names, labels and sums are made for each scrape.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use crate::domain::refusal::UpstreamError;
use crate::record::families::full;
use crate::record::labels::cause;
use crate::record::shard::{
    Counter as Count, DECISION_BOUNDS, DurationsTotal, REQUEST_BOUNDS, Shard, Shards, UPSTREAM_BOUNDS,
    UpstreamShard, groups, places,
};

/// A family that is made of shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Requests,
    RequestSeconds,
    DecisionSeconds,
    RequestBytes,
    ResponseBytes,
    Aborted,
    InFlight,
    UpstreamSeconds,
    UpstreamConnections,
    UpstreamErrors,
    ConnectionsOpen,
    Connections,
}

const UPSTREAM: &str = "upstream";

impl Family {
    const ALL: [Self; 12] = [
        Self::Requests,
        Self::RequestSeconds,
        Self::DecisionSeconds,
        Self::RequestBytes,
        Self::ResponseBytes,
        Self::Aborted,
        Self::InFlight,
        Self::UpstreamSeconds,
        Self::UpstreamConnections,
        Self::UpstreamErrors,
        Self::ConnectionsOpen,
        Self::Connections,
    ];

    /// Name and meaning.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Requests => {
                ("requests_total", "Requests that ended, by verdict, reason and what the caller got.")
            }
            Self::RequestSeconds => {
                ("request_duration_seconds", "Time from a request's arrival to the end of its answer.")
            }
            Self::DecisionSeconds => ("decision_duration_seconds", "Time that judging a request took."),
            Self::RequestBytes => ("request_bytes_total", "Body bytes read from callers."),
            Self::ResponseBytes => ("response_bytes_total", "Body bytes sent to callers."),
            Self::Aborted => (
                "aborted_total",
                "Requests whose caller or upstream left before the answer had gone out whole.",
            ),
            Self::InFlight => ("requests_in_flight", "Requests that have not ended."),
            Self::UpstreamSeconds => (
                "upstream_duration_seconds",
                "Time from forwarding a request to the head of the upstream's answer.",
            ),
            Self::UpstreamConnections => ("upstream_connections_total", "Connections opened to upstreams."),
            Self::UpstreamErrors => ("upstream_errors_total", "Requests that an upstream failed, by cause."),
            Self::ConnectionsOpen => ("connections_open", "Open connections from callers."),
            Self::Connections => ("connections_total", "Connections accepted from callers."),
        }
    }

    fn kind(self) -> MetricType {
        match self {
            Self::RequestSeconds | Self::DecisionSeconds | Self::UpstreamSeconds => MetricType::HISTOGRAM,
            Self::InFlight | Self::ConnectionsOpen => MetricType::GAUGE,
            Self::Requests
            | Self::RequestBytes
            | Self::ResponseBytes
            | Self::Aborted
            | Self::UpstreamConnections
            | Self::UpstreamErrors
            | Self::Connections => MetricType::COUNTER,
        }
    }

    fn labels(self) -> &'static [&'static str] {
        match self {
            Self::Requests => &[UPSTREAM, "decision", "reason", "method_class", "status_class"],
            Self::UpstreamErrors => &[UPSTREAM, "cause"],
            Self::RequestSeconds
            | Self::RequestBytes
            | Self::ResponseBytes
            | Self::Aborted
            | Self::UpstreamSeconds
            | Self::UpstreamConnections => &[UPSTREAM],
            Self::DecisionSeconds | Self::InFlight | Self::ConnectionsOpen | Self::Connections => &[],
        }
    }

    fn metrics(self, sums: &Sums<'_>) -> Vec<Metric> {
        match self {
            Self::Requests => sums.requests(),
            Self::UpstreamErrors => sums.errors(),
            Self::RequestSeconds => sums.by_upstream(|parts| {
                let seconds = parts.iter().map(|part| &part.request_seconds);
                histogram(&DurationsTotal::of(&REQUEST_BOUNDS, seconds))
            }),
            Self::UpstreamSeconds => sums.by_upstream(|parts| {
                let seconds = parts.iter().map(|part| &part.upstream_seconds);
                histogram(&DurationsTotal::of(&UPSTREAM_BOUNDS, seconds))
            }),
            Self::DecisionSeconds => {
                let seconds = sums.shards.iter().map(|shard| &shard.decision_seconds);
                vec![histogram(&DurationsTotal::of(&DECISION_BOUNDS, seconds))]
            }
            Self::RequestBytes => sums.counters(|part| part.request_bytes.get()),
            Self::ResponseBytes => sums.counters(|part| part.response_bytes.get()),
            Self::Aborted => sums.counters(|part| part.aborted.get()),
            Self::UpstreamConnections => sums.counters(|part| part.connections.get()),
            Self::InFlight => vec![gauge(sums.difference(|shard| (shard.opened.get(), shard.ended.get())))],
            Self::ConnectionsOpen => {
                vec![gauge(sums.difference(|shard| (shard.accepted.get(), shard.closed.get())))]
            }
            Self::Connections => vec![counter(sums.shards.iter().map(|shard| shard.accepted.get()).sum())],
        }
    }
}

/// Makes families out of shards.
pub(crate) struct ShardCollector {
    shards: Arc<Shards>,
    descriptions: Vec<Desc>,
}

impl ShardCollector {
    // INVARIANT: this file holds every name and label as a constant, and a test makes them all.
    #[expect(clippy::expect_used, reason = "fails only for a bad constant of this file, in the first test")]
    pub(crate) fn new(shards: Arc<Shards>) -> Self {
        let description = |family: Family| {
            let (name, help) = family.words();
            let labels = family.labels().iter().map(|label| (*label).to_owned()).collect();
            Desc::new(full(name), help.to_owned(), labels, std::collections::HashMap::new())
                .expect("names and labels are well formed")
        };
        Self { shards, descriptions: Family::ALL.map(description).into() }
    }
}

impl Collector for ShardCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let shards = self.shards.all();
        let sums = Sums { names: self.shards.names(), shards: &shards };
        Family::ALL
            .into_iter()
            .map(|family| {
                let (name, help) = family.words();
                let mut made = MetricFamily::default();
                made.set_name(full(name));
                made.set_help(help.to_owned());
                made.set_field_type(family.kind());
                made.set_metric(family.metrics(&sums));
                made
            })
            .collect()
    }
}

/// The shards of one scrape.
struct Sums<'a> {
    names: &'a [Arc<str>],
    shards: &'a [Arc<Shard>],
}

impl Sums<'_> {
    /// What all workers count for the upstream at `index`.
    fn parts(&self, index: usize) -> Vec<&UpstreamShard> {
        self.shards.iter().filter_map(|shard| shard.upstreams().get(index)).collect()
    }

    fn by_upstream(&self, metric: impl Fn(&[&UpstreamShard]) -> Metric) -> Vec<Metric> {
        self.names
            .iter()
            .enumerate()
            .map(|(index, name)| labelled(metric(&self.parts(index)), &[(UPSTREAM, name)]))
            .collect()
    }

    fn counters(&self, value: impl Fn(&UpstreamShard) -> u64) -> Vec<Metric> {
        self.by_upstream(|parts| counter(parts.iter().map(|part| value(part)).sum()))
    }

    fn errors(&self) -> Vec<Metric> {
        let causes = [UpstreamError::Unreachable, UpstreamError::Timeout, UpstreamError::Failed];
        let mut found = Vec::new();
        for (index, name) in self.names.iter().enumerate() {
            let parts = self.parts(index);
            for (at, error) in causes.into_iter().enumerate() {
                let counters = parts.iter().filter_map(|part| part.errors.get(at));
                let count = counters.map(Count::get).sum();
                found.push(labelled(counter(count), &[(UPSTREAM, name), ("cause", cause(error))]));
            }
        }
        found
    }

    /// Only what has happened: all combinations would be some thousand lines.
    fn requests(&self) -> Vec<Metric> {
        let mut found = Vec::new();
        for (index, name) in self.names.iter().enumerate() {
            let parts = self.parts(index);
            for (group, decision, reason) in groups() {
                for (place, method, status) in places() {
                    let count: u64 = parts.iter().map(|part| part.requests(group, place)).sum();
                    if count == 0 {
                        continue;
                    }
                    let labels = [
                        (UPSTREAM, &**name),
                        ("decision", decision.as_str()),
                        ("reason", decision.reason_word(reason)),
                        ("method_class", method.as_str()),
                        ("status_class", status.as_str()),
                    ];
                    found.push(labelled(counter(count), &labels));
                }
            }
        }
        found
    }

    /// What was begun and has not ended. Read while workers count, so it is never taken below 0.
    fn difference(&self, pair: impl Fn(&Shard) -> (u64, u64)) -> u64 {
        let sum = |(begun, ended): (u64, u64), shard: &Arc<Shard>| {
            let (more, less) = pair(shard);
            (begun + more, ended + less)
        };
        let (begun, ended) = self.shards.iter().fold((0, 0), sum);
        begun.saturating_sub(ended)
    }
}

/// Prometheus' numbers are floating point; above 2^53 they are rounded.
#[expect(clippy::cast_precision_loss, reason = "the format has no other numbers")]
fn number(value: u64) -> f64 {
    value as f64
}

fn counter(value: u64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(number(value));
    let mut metric = Metric::default();
    metric.set_counter(counter);
    metric
}

fn gauge(value: u64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(number(value));
    Metric::from_gauge(gauge)
}

fn histogram(total: &DurationsTotal) -> Metric {
    let bucket = |(bound, count): (u64, u64)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(number(bound) / 1e9);
        bucket.set_cumulative_count(count);
        bucket
    };
    let mut histogram = Histogram::default();
    histogram.set_bucket(total.cumulative().map(bucket).collect());
    histogram.set_sample_count(total.count());
    histogram.set_sample_sum(number(total.nanoseconds()) / 1e9);
    let mut metric = Metric::default();
    metric.set_histogram(histogram);
    metric
}

/// Labels stand in the order of their names, as everywhere in this format.
fn labelled(mut metric: Metric, labels: &[(&str, &str)]) -> Metric {
    let mut labels = labels.to_vec();
    labels.sort_unstable();
    let pair = |(name, value): (&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    };
    metric.set_label(labels.into_iter().map(pair).collect());
    metric
}
