//! Makes metrics by hand, where their values are not kept as the library keeps them.

use std::collections::HashMap;

use prometheus::core::Desc;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use crate::record::counter::DurationsTotal;
use crate::record::families::full;

/// What a family is called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words {
    /// Without the prefix.
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) kind: MetricType,
    pub(crate) labels: &'static [&'static str],
}

impl Words {
    // INVARIANT: words are constants, and a test describes and makes all families.
    #[expect(clippy::expect_used, reason = "fails only for a bad constant, in the first test")]
    pub(crate) fn description(self) -> Desc {
        let labels = self.labels.iter().map(|label| (*label).to_owned()).collect();
        Desc::new(full(self.name), self.help.to_owned(), labels, HashMap::new())
            .expect("names and labels are well formed")
    }

    /// The family with these metrics.
    pub(crate) fn family(self, metrics: Vec<Metric>) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(full(self.name));
        family.set_help(self.help.to_owned());
        family.set_field_type(self.kind);
        family.set_metric(metrics);
        family
    }
}

/// Prometheus' numbers are floating point; above 2^53 they are rounded.
#[expect(clippy::cast_precision_loss, reason = "the format has no other numbers")]
fn number(value: u64) -> f64 {
    value as f64
}

pub(crate) fn counter(value: u64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(number(value));
    let mut metric = Metric::default();
    metric.set_counter(counter);
    metric
}

pub(crate) fn gauge(value: u64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(number(value));
    Metric::from_gauge(gauge)
}

pub(crate) fn histogram(total: &DurationsTotal) -> Metric {
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
pub(crate) fn labelled(mut metric: Metric, labels: &[(&str, &str)]) -> Metric {
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
