//! What one worker counts.
//!
//! Counting is part of every request, so it costs a load and a store to memory that no other core writes: no locked
//! instruction, no look-up by label text, no allocation. A scrape adds the workers up (`collector`).

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::domain::action::GitOperation;
use crate::domain::reason::Reason;
use crate::domain::refusal::UpstreamError;
use crate::record::counter::{Counter, DECISION_BOUNDS, Durations, Level, REQUEST_BOUNDS, UPSTREAM_BOUNDS};
use crate::record::labels::{Effect, MethodClass, StatusClass, Verdict};
use crate::record::metrics::{NO_UPSTREAM, RequestOutcome, UpstreamId};

/// Allow, refuse, none.
const DECISIONS: usize = 3;
/// Every reason, and one place for none.
pub(crate) const REASONS: usize = Reason::ALL.len() + 1;
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
    /// Where its counter stands: the group, and the place in the group.
    pub(crate) fn position(self) -> (usize, usize) {
        let reason = reason_of(self.verdict, self.failure);
        let reason = reason.map_or(REASONS - 1, |reason| reason as usize);
        let group = decision(self.verdict, self.failure) as usize * REASONS + reason;
        (group, self.method as usize * STATUSES + self.status as usize)
    }
}

/// The `decision` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    Allow,
    Refuse,
    /// The request ended before it was judged.
    None,
}

impl Decision {
    pub(crate) const ALL: [Self; DECISIONS] = [Self::Allow, Self::Refuse, Self::None];

    /// The word for the metric label.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Refuse => "refuse",
            Self::None => "none",
        }
    }

    /// The word for the `reason` label: `granted` where the request was allowed, `undecided` where it never came to a
    /// verdict.
    pub(crate) fn reason_word(self, reason: Option<Reason>) -> &'static str {
        match (reason, self) {
            (Some(reason), _) => reason.as_str(),
            (None, Self::Allow | Self::Refuse) => "granted",
            (None, Self::None) => "undecided",
        }
    }
}

/// The decision as metrics have it: what is turned away for lack of room before it is judged counts as refused.
pub(crate) fn decision(verdict: Option<Verdict>, failure: Option<Reason>) -> Decision {
    match (verdict, failure) {
        (Some(Verdict::Allow), _) => Decision::Allow,
        (Some(Verdict::Refuse(_)), _) | (None, Some(_)) => Decision::Refuse,
        (None, None) => Decision::None,
    }
}

/// The one reason of a request: what failed after the verdict goes before the verdict's own.
pub(crate) fn reason_of(verdict: Option<Verdict>, failure: Option<Reason>) -> Option<Reason> {
    failure.or(match verdict {
        Some(Verdict::Refuse(reason)) => Some(reason),
        Some(Verdict::Allow) | None => None,
    })
}

/// The counters of one decision and reason, by method class and status class.
pub(crate) type Group = [Counter; METHODS * STATUSES];

/// What one worker counts for one upstream.
#[derive(Debug)]
pub(crate) struct UpstreamShard {
    /// Made when first counted: of all combinations few ever happen.
    groups: [OnceLock<Box<Group>>; DECISIONS * REASONS],
    pub(crate) request_seconds: Durations<17>,
    pub(crate) upstream_seconds: Durations<15>,
    pub(crate) request_bytes: Counter,
    pub(crate) response_bytes: Counter,
    pub(crate) aborted: Counter,
    pub(crate) connections: Counter,
    pub(crate) connections_closed: Counter,
    /// Kept connections that are not in use.
    pub(crate) idle: Level,
    pub(crate) errors: [Counter; 3],
    /// By operation and decision.
    pub(crate) git: [[Counter; DECISIONS]; GitOperation::ALL.len()],
}

impl UpstreamShard {
    fn new() -> Self {
        Self {
            groups: std::array::from_fn(|_| OnceLock::new()),
            request_seconds: Durations::new(&REQUEST_BOUNDS),
            upstream_seconds: Durations::new(&UPSTREAM_BOUNDS),
            request_bytes: Counter::default(),
            response_bytes: Counter::default(),
            aborted: Counter::default(),
            connections: Counter::default(),
            connections_closed: Counter::default(),
            idle: Level::default(),
            errors: Default::default(),
            git: Default::default(),
        }
    }

    fn count_request(&self, key: RequestKey) {
        let (group, place) = key.position();
        if let Some(group) = self.groups.get(group) {
            let group = group.get_or_init(|| Box::new(std::array::from_fn(|_| Counter::default())));
            if let Some(counter) = group.get(place) {
                counter.add(1);
            }
        }
    }

    /// The counters of a group, at the positions of [`RequestKey::position`]; `None` where none was ever counted.
    pub(crate) fn group(&self, group: usize) -> Option<&Group> {
        self.groups.get(group)?.get().map(|group| &**group)
    }

    pub(crate) fn count_error(&self, error: UpstreamError) {
        let [unreachable, timeout, failed] = &self.errors;
        match error {
            UpstreamError::Unreachable => unreachable,
            UpstreamError::Timeout => timeout,
            UpstreamError::Failed => failed,
        }
        .add(1);
    }
}

/// What one worker counts. Aligned so that no other worker writes to its cache lines; 128 because processors fetch
/// lines in pairs.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Shard {
    pub(crate) opened: Counter,
    pub(crate) ended: Counter,
    pub(crate) decision_seconds: Durations<11>,
    pub(crate) accepted: Counter,
    pub(crate) closed: Counter,
    /// Whoever learns of a panic counts it, so this is added to as shared memory is.
    pub(crate) panics: AtomicU64,
    /// In the order of the configuration; the last one is for requests without an upstream.
    upstreams: Box<[UpstreamShard]>,
}

impl Shard {
    fn new(upstreams: usize) -> Self {
        Self {
            opened: Counter::default(),
            ended: Counter::default(),
            decision_seconds: Durations::new(&DECISION_BOUNDS),
            accepted: Counter::default(),
            closed: Counter::default(),
            panics: AtomicU64::new(0),
            upstreams: (0..upstreams).map(|_| UpstreamShard::new()).collect(),
        }
    }

    /// A request ended.
    pub(crate) fn request(&self, outcome: &RequestOutcome) {
        self.ended.add(1);
        if let Some(decision) = outcome.decision {
            self.decision_seconds.observe(decision);
        }
        let Some(upstream) = self.of(outcome.upstream) else { return };
        upstream.count_request(RequestKey {
            verdict: outcome.verdict,
            failure: outcome.failure,
            method: outcome.method,
            status: StatusClass::of(outcome.status),
        });
        if let Some(git) = outcome.git {
            let decision = decision(outcome.verdict, outcome.failure) as usize;
            if let Some(counter) = upstream.git.get(git as usize).and_then(|row| row.get(decision)) {
                counter.add(1);
            }
        }
        upstream.request_seconds.observe(outcome.duration);
        upstream.request_bytes.add(outcome.request_bytes);
        upstream.response_bytes.add(outcome.response_bytes);
        if outcome.effect == Effect::Aborted {
            upstream.aborted.add(1);
        }
    }

    /// What it counts for `upstream`.
    pub(crate) fn of(&self, upstream: Option<UpstreamId>) -> Option<&UpstreamShard> {
        let known = upstream.and_then(|upstream| self.upstreams.get(upstream.position()));
        known.or_else(|| self.upstreams.last())
    }

    /// What it counts for each upstream, in the order of [`Shards::names`].
    pub(crate) fn upstreams(&self) -> &[UpstreamShard] {
        &self.upstreams
    }
}

/// The shards of all workers.
#[derive(Debug)]
pub(crate) struct Shards {
    /// The upstreams' names, the last one for requests without an upstream.
    names: Vec<Arc<str>>,
    shards: Mutex<Vec<Arc<Shard>>>,
}

impl Shards {
    pub(crate) fn new(upstreams: &[String]) -> Self {
        let names = upstreams.iter().map(String::as_str).chain([NO_UPSTREAM]).map(Arc::from).collect();
        Self { names, shards: Mutex::default() }
    }

    pub(crate) fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// The shard of worker `number`; made, with those before it, when first asked for.
    pub(crate) fn of(&self, number: usize) -> Arc<Shard> {
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(shard) = shards.get(number) {
                return Arc::clone(shard);
            }
            shards.push(Arc::new(Shard::new(self.names.len())));
        }
    }

    /// Those that there are, by worker.
    pub(crate) fn all(&self) -> Vec<Arc<Shard>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Each decision and reason, with its group of counters.
pub(crate) fn groups() -> impl Iterator<Item = (usize, Decision, Option<Reason>)> {
    let reasons = || Reason::ALL.into_iter().map(Some).chain([None]);
    let pairs =
        Decision::ALL.into_iter().flat_map(move |decision| reasons().map(move |reason| (decision, reason)));
    pairs.enumerate().map(|(group, (decision, reason))| (group, decision, reason))
}

/// Each method class and status class, with its place in a group.
pub(crate) fn places() -> impl Iterator<Item = (usize, MethodClass, StatusClass)> {
    let pairs =
        MethodClass::ALL.into_iter().flat_map(|method| StatusClass::ALL.map(|status| (method, status)));
    pairs.enumerate().map(|(place, (method, status))| (place, method, status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_is_counted_under_its_own_words() {
        let shard = UpstreamShard::new();
        let verdicts = [None, Some(Verdict::Allow)]
            .into_iter()
            .chain(Reason::ALL.map(|reason| Some(Verdict::Refuse(reason))));
        for verdict in verdicts {
            for failure in std::iter::once(None).chain(Reason::ALL.map(Some)) {
                for (_, method, status) in places() {
                    let key = RequestKey { verdict, failure, method, status };
                    let (group, place) = key.position();
                    let count = || shard.group(group).map_or(0, |group| group[place].get());
                    let before = count();
                    shard.count_request(key);
                    assert_eq!(count(), before + 1, "{key:?}");
                    let named = groups().nth(group).unwrap();
                    assert_eq!(named, (group, decision(verdict, failure), reason_of(verdict, failure)));
                    assert_eq!(places().nth(place).unwrap(), (place, method, status));
                }
            }
        }
    }

    #[test]
    fn a_worker_that_takes_anothers_place_counts_on() {
        let shards = Shards::new(&["forge".to_owned()]);
        shards.of(2).opened.add(1);
        shards.of(2).opened.add(1);
        let opened: Vec<_> = shards.all().iter().map(|shard| shard.opened.get()).collect();
        assert_eq!(opened, [0, 0, 2]);
    }
}
