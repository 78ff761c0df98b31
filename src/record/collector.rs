//! What workers have counted, added up when somebody asks.
//!
//! A request pays for none of this: names, labels and sums are made for each scrape.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricType::{COUNTER, GAUGE, HISTOGRAM};
use prometheus::proto::{Metric, MetricFamily, MetricType};

use crate::domain::action::GitOperation;
use crate::domain::refusal::UpstreamError;
use crate::record::counter::{Counter, DECISION_BOUNDS, DurationsTotal, REQUEST_BOUNDS, UPSTREAM_BOUNDS};
use crate::record::labels::cause;
use crate::record::sample::{Words, counter, gauge, histogram, labelled};
use crate::record::shard::{Decision, Shard, Shards, UpstreamShard, groups, places};

const UPSTREAM: &str = "upstream";
const WORKER: &str = "worker";

/// A family that is made of shards: its words, and how.
type Family = (Words, fn(&Sums<'_>) -> Vec<Metric>);

const fn words(
    name: &'static str,
    kind: MetricType,
    labels: &'static [&'static str],
    help: &'static str,
) -> Words {
    Words { name, help, kind, labels }
}

/// What requests count.
const REQUESTS: [Family; 8] = [
    (
        words(
            "requests_total",
            COUNTER,
            &[UPSTREAM, "decision", "reason", "method_class", "status_class"],
            "Requests that ended, by verdict, reason and what the caller got.",
        ),
        |sums| sums.requests(),
    ),
    (
        words(
            "request_duration_seconds",
            HISTOGRAM,
            &[UPSTREAM],
            "Time from a request's arrival to the end of its answer.",
        ),
        |sums| {
            sums.by_upstream(|parts| {
                let seconds = parts.iter().map(|part| &part.request_seconds);
                histogram(&DurationsTotal::of(&REQUEST_BOUNDS, seconds))
            })
        },
    ),
    (
        words("decision_duration_seconds", HISTOGRAM, &[], "Time from a request's arrival to the verdict."),
        |sums| {
            let seconds = sums.shards.iter().map(|shard| &shard.decision_seconds);
            vec![histogram(&DurationsTotal::of(&DECISION_BOUNDS, seconds))]
        },
    ),
    (words("request_bytes_total", COUNTER, &[UPSTREAM], "Body bytes read from callers."), |sums| {
        sums.counters(|part| part.request_bytes.get())
    }),
    (words("response_bytes_total", COUNTER, &[UPSTREAM], "Body bytes sent to callers."), |sums| {
        sums.counters(|part| part.response_bytes.get())
    }),
    (
        words(
            "aborted_total",
            COUNTER,
            &[UPSTREAM],
            "Requests whose caller or upstream left before the answer had gone out whole.",
        ),
        |sums| sums.counters(|part| part.aborted.get()),
    ),
    (words("requests_in_flight", GAUGE, &[], "Requests that have not ended."), |sums| {
        vec![gauge(sums.difference(|shard| (shard.opened.get(), shard.ended.get())))]
    }),
    (
        words(
            "git_operations_total",
            COUNTER,
            &[UPSTREAM, "operation", "decision"],
            "Requests of git clients that ended, by what git does with them.",
        ),
        |sums| sums.git_operations(),
    ),
];

/// What connections count, on both sides.
const CONNECTIONS: [Family; 7] = [
    (
        words(
            "upstream_duration_seconds",
            HISTOGRAM,
            &[UPSTREAM],
            "Time from forwarding a request to the head of the upstream's answer.",
        ),
        |sums| {
            sums.by_upstream(|parts| {
                let seconds = parts.iter().map(|part| &part.upstream_seconds);
                histogram(&DurationsTotal::of(&UPSTREAM_BOUNDS, seconds))
            })
        },
    ),
    (words("upstream_connections_total", COUNTER, &[UPSTREAM], "Connections opened to upstreams."), |sums| {
        sums.counters(|part| part.connections.get())
    }),
    (words("upstream_connections_open", GAUGE, &[UPSTREAM], "Open connections to upstreams."), |sums| {
        sums.by_upstream(|parts| {
            let ended: u64 = parts.iter().map(|part| part.connections_closed.get()).sum();
            let begun: u64 = parts.iter().map(|part| part.connections.get()).sum();
            gauge(begun.saturating_sub(ended))
        })
    }),
    (
        words(
            "upstream_connections_idle",
            GAUGE,
            &[UPSTREAM],
            "Open connections to upstreams that wait for a request.",
        ),
        |sums| sums.by_upstream(|parts| gauge(parts.iter().map(|part| part.idle.get()).sum())),
    ),
    (
        words(
            "upstream_errors_total",
            COUNTER,
            &[UPSTREAM, "cause"],
            "Requests that an upstream failed, by cause.",
        ),
        |sums| sums.errors(),
    ),
    (words("connections_open", GAUGE, &[], "Open connections from callers."), |sums| {
        vec![gauge(sums.difference(|shard| (shard.accepted.get(), shard.closed.get())))]
    }),
    (words("connections_total", COUNTER, &[], "Connections accepted from callers."), |sums| {
        vec![counter(sums.shards.iter().map(|shard| shard.accepted.get()).sum())]
    }),
];

/// What tells workers apart.
const WORKERS: [Family; 3] = [
    (words("worker_requests_total", COUNTER, &[WORKER], "Requests that ended, by worker."), |sums| {
        sums.by_worker(|shard| counter(shard.ended.get()))
    }),
    (
        words("worker_connections_open", GAUGE, &[WORKER], "Open connections from callers, by worker."),
        |sums| sums.by_worker(|shard| gauge(shard.accepted.get().saturating_sub(shard.closed.get()))),
    ),
    (words("worker_panics_total", COUNTER, &[WORKER], "Defects that ended a task or a worker."), |sums| {
        sums.by_worker(|shard| counter(shard.panics.load(Ordering::Relaxed)))
    }),
];

fn families() -> impl Iterator<Item = Family> {
    REQUESTS.into_iter().chain(CONNECTIONS).chain(WORKERS)
}

/// Makes families out of shards.
pub(crate) struct ShardCollector {
    shards: Arc<Shards>,
    descriptions: Vec<Desc>,
}

impl ShardCollector {
    pub(crate) fn new(shards: Arc<Shards>) -> Self {
        Self { shards, descriptions: families().map(|(words, _)| words.description()).collect() }
    }
}

impl Collector for ShardCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let shards = self.shards.all();
        let sums = Sums { names: self.shards.names(), shards: &shards };
        families().map(|(words, metrics)| words.family(metrics(&sums))).collect()
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

    fn by_worker(&self, metric: impl Fn(&Shard) -> Metric) -> Vec<Metric> {
        let numbered = self.shards.iter().enumerate();
        numbered.map(|(number, shard)| labelled(metric(shard), &[(WORKER, &number.to_string())])).collect()
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
                let count = counters.map(Counter::get).sum();
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
                let counted: Vec<_> = parts.iter().filter_map(|part| part.group(group)).collect();
                if counted.is_empty() {
                    continue;
                }
                for (place, method, status) in places() {
                    let count: u64 =
                        counted.iter().filter_map(|group| group.get(place)).map(Counter::get).sum();
                    let labels = [
                        (UPSTREAM, &**name),
                        ("decision", decision.as_str()),
                        ("reason", decision.reason_word(reason)),
                        ("method_class", method.as_str()),
                        ("status_class", status.as_str()),
                    ];
                    found.extend((count > 0).then(|| labelled(counter(count), &labels)));
                }
            }
        }
        found
    }

    /// Only what has happened: many upstreams have nothing to do with git.
    fn git_operations(&self) -> Vec<Metric> {
        let mut found = Vec::new();
        for (index, name) in self.names.iter().enumerate() {
            let parts = self.parts(index);
            for operation in GitOperation::ALL {
                for decision in Decision::ALL {
                    let of = |part: &&UpstreamShard| {
                        Some(part.git.get(operation as usize)?.get(decision as usize)?.get())
                    };
                    let count: u64 = parts.iter().filter_map(of).sum();
                    let labels = [
                        (UPSTREAM, &**name),
                        ("operation", operation.as_str()),
                        ("decision", decision.as_str()),
                    ];
                    found.extend((count > 0).then(|| labelled(counter(count), &labels)));
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
