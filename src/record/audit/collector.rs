//! How full the queues of audit lines are.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::proto::MetricType::GAUGE;

use crate::record::audit::Shared;
use crate::record::queue::Queue;
use crate::record::sample::{Words, gauge};

const LINES: Words = Words {
    name: "audit_queue_lines",
    help: "Audit lines that wait to be written.",
    kind: GAUGE,
    labels: &[],
};

const CAPACITY: Words = Words {
    name: "audit_queue_capacity_lines",
    help: "Audit lines that may wait; those that come then are lost, or their requests refused.",
    kind: GAUGE,
    labels: &[],
};

/// Asks the queues at each scrape.
pub(super) struct QueueCollector {
    /// `None` where no lines are kept.
    shared: Option<Arc<Shared>>,
    descriptions: [Desc; 2],
}

impl QueueCollector {
    pub(super) fn new(shared: Option<Arc<Shared>>) -> Self {
        Self { shared, descriptions: [LINES, CAPACITY].map(Words::description) }
    }
}

impl Collector for QueueCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let queues = self.shared.as_ref().map(|shared| shared.queues()).unwrap_or_default();
        let sum = |count: fn(&Queue) -> usize| {
            let sum: usize = queues.iter().map(|queue| count(queue)).sum();
            vec![gauge(u64::try_from(sum).unwrap_or(u64::MAX))]
        };
        vec![LINES.family(sum(Queue::waiting)), CAPACITY.family(sum(Queue::capacity))]
    }
}
