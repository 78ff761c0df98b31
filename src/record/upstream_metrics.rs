//! The metrics of one upstream, found by position so that a request never hashes label text.

use std::sync::{Arc, OnceLock};

use prometheus::{Histogram, IntCounter, IntCounterVec};

use crate::domain::reason::Reason;
use crate::domain::refusal::UpstreamError;
use crate::record::families::Families;
use crate::record::labels::{MethodClass, StatusClass, Verdict, cause};

/// Allow, refuse, none.
const DECISIONS: usize = 3;
/// Every reason, and one place for none.
const REASONS: usize = Reason::ALL.len() + 1;
const METHODS: usize = MethodClass::ALL.len();
const STATUSES: usize = StatusClass::ALL.len();

/// Which counter of `requests_total` a request belongs to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestKey {
    pub(crate) verdict: Option<Verdict>,
    pub(crate) failure: Option<Reason>,
    pub(crate) method: MethodClass,
    pub(crate) status: StatusClass,
}

impl RequestKey {
    /// `allow`, `refuse`, or `none` where the request ended before it was judged. What is turned away for lack of
    /// room before it is judged counts as refused.
    fn decision(self) -> (usize, &'static str) {
        match (self.verdict, self.failure) {
            (Some(Verdict::Allow), _) => (0, "allow"),
            (Some(Verdict::Refuse(_)), _) | (None, Some(_)) => (1, "refuse"),
            (None, None) => (2, "none"),
        }
    }

    fn reason(self) -> (usize, &'static str) {
        let reason = reason_of(self.verdict, self.failure);
        let position = reason.map_or(REASONS - 1, |reason| reason as usize);
        (position, reason_word(self.verdict, reason))
    }

    /// Where its counter stands in an array of [`RequestKey::COUNT`].
    fn position(self) -> usize {
        let (decision, _) = self.decision();
        let (reason, _) = self.reason();
        ((decision * REASONS + reason) * METHODS + self.method as usize) * STATUSES + self.status as usize
    }

    const COUNT: usize = DECISIONS * REASONS * METHODS * STATUSES;
}

/// The one reason of a request: what failed after the verdict goes before the verdict's own.
pub(crate) fn reason_of(verdict: Option<Verdict>, failure: Option<Reason>) -> Option<Reason> {
    failure.or(match verdict {
        Some(Verdict::Refuse(reason)) => Some(reason),
        Some(Verdict::Allow) | None => None,
    })
}

/// The word for a reason: `granted` where the request was allowed, `undecided` where it never came to a verdict.
pub(crate) fn reason_word(verdict: Option<Verdict>, reason: Option<Reason>) -> &'static str {
    match (reason, verdict) {
        (Some(reason), _) => reason.as_str(),
        (None, Some(_)) => "granted",
        (None, None) => "undecided",
    }
}

/// The metrics of one upstream.
pub(crate) struct UpstreamMetrics {
    pub(crate) name: Arc<str>,
    family: IntCounterVec,
    /// Made when first counted: of all combinations, few ever happen, and each would be a line in every scrape.
    requests: Box<[OnceLock<IntCounter>]>,
    pub(crate) request_seconds: Histogram,
    pub(crate) upstream_seconds: Histogram,
    pub(crate) request_bytes: IntCounter,
    pub(crate) response_bytes: IntCounter,
    pub(crate) aborted: IntCounter,
    pub(crate) connections: IntCounter,
    errors: [IntCounter; 3],
}

impl UpstreamMetrics {
    pub(crate) fn new(name: &str, families: &Families) -> Self {
        let label = [name];
        let error = |error: UpstreamError| families.upstreams.errors.with_label_values(&[name, cause(error)]);
        Self {
            name: name.into(),
            family: families.requests.total.clone(),
            requests: (0..RequestKey::COUNT).map(|_| OnceLock::new()).collect(),
            request_seconds: families.requests.seconds.with_label_values(&label),
            upstream_seconds: families.upstreams.seconds.with_label_values(&label),
            request_bytes: families.requests.request_bytes.with_label_values(&label),
            response_bytes: families.requests.response_bytes.with_label_values(&label),
            aborted: families.requests.aborted.with_label_values(&label),
            connections: families.upstreams.connections.with_label_values(&label),
            errors: [
                error(UpstreamError::Unreachable),
                error(UpstreamError::Timeout),
                error(UpstreamError::Failed),
            ],
        }
    }

    pub(crate) fn count_request(&self, key: RequestKey) {
        if let Some(place) = self.requests.get(key.position()) {
            place.get_or_init(|| self.counter_of(key)).inc();
        }
    }

    pub(crate) fn count_error(&self, error: UpstreamError) {
        let [unreachable, timeout, failed] = &self.errors;
        match error {
            UpstreamError::Unreachable => unreachable,
            UpstreamError::Timeout => timeout,
            UpstreamError::Failed => failed,
        }
        .inc();
    }

    #[cold]
    fn counter_of(&self, key: RequestKey) -> IntCounter {
        let (_, decision) = key.decision();
        let (_, reason) = key.reason();
        self.family.with_label_values(&[
            &*self.name,
            decision,
            reason,
            key.method.as_str(),
            key.status.as_str(),
        ])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_combination_has_a_place_of_its_own() {
        let verdicts = [None, Some(Verdict::Allow)]
            .into_iter()
            .chain(Reason::ALL.map(|reason| Some(Verdict::Refuse(reason))));
        let mut labels_by_position = std::collections::HashMap::new();
        let mut all_labels = HashSet::new();
        for verdict in verdicts {
            for failure in std::iter::once(None).chain(Reason::ALL.map(Some)) {
                for method in MethodClass::ALL {
                    for status in StatusClass::ALL {
                        let key = RequestKey { verdict, failure, method, status };
                        let labels = (key.decision().1, key.reason().1, method.as_str(), status.as_str());
                        assert!(key.position() < RequestKey::COUNT, "{key:?}");
                        let known = labels_by_position.entry(key.position()).or_insert(labels);
                        assert_eq!(*known, labels, "{key:?}");
                        all_labels.insert(labels);
                    }
                }
            }
        }
        assert_eq!(labels_by_position.len(), all_labels.len());
    }
}
