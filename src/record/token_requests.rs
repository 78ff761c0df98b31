//! Requests by token, for a bounded number of tokens.
//!
//! A token has a series only if the policy knows it, and only so many have one at a time: when there is no room, the one
//! that was not used for longest gives way, if that is an hour; else the request counts as `other`. Workers agree on who
//! has a series in the roster; each keeps its own counters, and a list of those that it has seen, so that a request of a
//! known token looks into nothing that is shared.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use dashmap::DashMap;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::proto::MetricType::COUNTER;

use crate::clock;
use crate::domain::reason::Reason;
use crate::domain::token::PublicId;
use crate::record::counter::Counter;
use crate::record::sample::{Words, counter, labelled};
use crate::record::shard::{Decision, REASONS};

/// How long a token keeps its series without a request, in seconds.
const KEPT: u64 = 60 * 60;

const WORDS: Words = Words {
    name: "token_requests_total",
    help: "Requests that ended, by the public id of a known token and by reason.",
    kind: COUNTER,
    labels: &["token", "reason"],
};

/// The label of tokens without a series of their own. No public id has this length.
const OTHER: &str = "other";

/// Public ids are evenly spread; their first eight bytes are the hash.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        // Letters and digits leave the upper bits of each byte alike.
        self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 ^= u64::from_le_bytes(*first);
        }
    }

    /// The length that slices hash before their bytes says nothing here.
    fn write_usize(&mut self, _length: usize) {}
}

type Build = BuildHasherDefault<IdHasher>;

/// One worker's counters of one token, by reason; the last two are for `granted` and `undecided`.
type Counts = [Counter; REASONS + 1];

/// A token that has a series.
#[derive(Debug, Default)]
struct Entry {
    /// The second in which it was last used.
    used: AtomicU64,
    gave_way: AtomicBool,
    /// By worker.
    counts: Mutex<Vec<Arc<Counts>>>,
}

impl Entry {
    fn touch(&self, second: u64) {
        // Written once a second at most, since other workers read it.
        if self.used.load(Ordering::Relaxed) != second {
            self.used.store(second, Ordering::Relaxed);
        }
    }

    fn of(&self, worker: usize) -> Arc<Counts> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(counts) = counts.get(worker) {
                return Arc::clone(counts);
            }
            counts.push(Arc::new(std::array::from_fn(|_| Counter::default())));
        }
    }

    fn total(&self, place: usize) -> u64 {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().filter_map(|counts| counts.get(place)).map(Counter::get).sum()
    }
}

/// Which tokens have a series.
#[derive(Debug)]
pub(crate) struct TokenRequests {
    limit: usize,
    start: Instant,
    roster: DashMap<PublicId, Arc<Entry>, Build>,
    other: Entry,
    /// One admission at a time, so that there are never more than `limit`.
    admission: Mutex<()>,
    /// The second before which nobody can give way.
    full_until: AtomicU64,
}

impl TokenRequests {
    /// For `limit` tokens at a time.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            start: clock::monotonic(),
            roster: DashMap::default(),
            other: Entry::default(),
            admission: Mutex::default(),
            full_until: AtomicU64::new(0),
        }
    }

    fn second(&self, moment: Instant) -> u64 {
        moment.saturating_duration_since(self.start).as_secs()
    }

    fn find(&self, id: &PublicId) -> Option<Arc<Entry>> {
        self.roster.get(id).map(|entry| Arc::clone(&entry))
    }

    /// The entry of `id`, made where there is room.
    fn admit(&self, id: &PublicId, second: u64) -> Option<Arc<Entry>> {
        if let Some(entry) = self.find(id) {
            return Some(entry);
        }
        if second < self.full_until.load(Ordering::Relaxed) {
            return None;
        }
        let _one = self.admission.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = self.find(id) {
            return Some(entry);
        }
        if self.roster.len() >= self.limit && !self.make_room(second) {
            return None;
        }
        let entry = Arc::new(Entry::default());
        entry.touch(second);
        self.roster.insert(*id, Arc::clone(&entry));
        Some(entry)
    }

    fn make_room(&self, second: u64) -> bool {
        let used = |entry: &Entry| entry.used.load(Ordering::Relaxed);
        let oldest = self.roster.iter().map(|entry| (used(entry.value()), *entry.key()));
        let Some((used, id)) = oldest.min_by_key(|(used, _)| *used) else {
            return false;
        };
        let until = used.saturating_add(KEPT);
        if second < until {
            self.full_until.store(until, Ordering::Relaxed);
            return false;
        }
        if let Some((_, entry)) = self.roster.remove(&id) {
            entry.gave_way.store(true, Ordering::Relaxed);
        }
        true
    }
}

/// The tokens that one worker has seen, with its counters of them.
type Known = HashMap<PublicId, (Arc<Entry>, Arc<Counts>), Build>;

/// What one worker counts by token.
#[derive(Debug)]
pub(crate) struct WorkerTokens {
    all: Arc<TokenRequests>,
    number: usize,
    known: Mutex<Known>,
    other: Arc<Counts>,
}

impl WorkerTokens {
    /// For worker `number`; `None` where tokens are not counted.
    pub(crate) fn new(all: &Arc<TokenRequests>, number: usize) -> Option<Self> {
        (all.limit > 0).then(|| Self {
            all: Arc::clone(all),
            number,
            known: Mutex::default(),
            other: all.other.of(number),
        })
    }

    /// A request of token `id`, which the policy knows, ended at `moment`.
    pub(crate) fn count(&self, id: &PublicId, decision: Decision, reason: Option<Reason>, moment: Instant) {
        let second = self.all.second(moment);
        let place = place_of(decision, reason);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((entry, counts)) =
            known.get(id).filter(|(entry, _)| !entry.gave_way.load(Ordering::Relaxed))
        {
            entry.touch(second);
            add(counts, place);
            return;
        }
        known.remove(id);
        let Some(entry) = self.all.admit(id, second) else {
            return add(&self.other, place);
        };
        entry.touch(second);
        let counts = entry.of(self.number);
        add(&counts, place);
        if known.len() >= self.all.limit {
            known.retain(|_, (entry, _)| !entry.gave_way.load(Ordering::Relaxed));
        }
        known.insert(*id, (entry, counts));
    }
}

fn add(counts: &Counts, place: usize) {
    if let Some(counter) = counts.get(place) {
        counter.add(1);
    }
}

fn place_of(decision: Decision, reason: Option<Reason>) -> usize {
    match (reason, decision) {
        (Some(reason), _) => reason as usize,
        (None, Decision::Allow | Decision::Refuse) => REASONS - 1,
        (None, Decision::None) => REASONS,
    }
}

/// The words of the places.
fn places() -> impl Iterator<Item = (usize, &'static str)> {
    let reasons = Reason::ALL.into_iter().map(|reason| (Decision::Refuse, Some(reason)));
    let all = reasons.chain([(Decision::Allow, None), (Decision::None, None)]);
    all.map(|(decision, reason)| (place_of(decision, reason), decision.reason_word(reason)))
}

/// Tells the counters of all workers.
pub(crate) struct TokenCollector {
    all: Arc<TokenRequests>,
    description: Desc,
}

impl TokenCollector {
    pub(crate) fn new(all: Arc<TokenRequests>) -> Self {
        Self { all, description: WORDS.description() }
    }
}

impl Collector for TokenCollector {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.description]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut metrics = Vec::new();
        let mut tell = |token: &str, entry: &Entry| {
            for (place, reason) in places() {
                let count = entry.total(place);
                let labels = [("token", token), ("reason", reason)];
                metrics.extend((count > 0).then(|| labelled(counter(count), &labels)));
            }
        };
        for entry in &self.all.roster {
            tell(entry.key().as_str(), entry.value());
        }
        tell(OTHER, &self.all.other);
        vec![WORDS.family(metrics)]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::token::TokenFormat;

    fn id(seed: u8) -> PublicId {
        let format = TokenFormat::default();
        let secret = format.assemble(&[seed; TokenFormat::RANDOM_BYTES]).unwrap();
        format.parse(secret.expose()).unwrap().public_id
    }

    struct Fixture {
        all: Arc<TokenRequests>,
        workers: Vec<WorkerTokens>,
    }

    impl Fixture {
        fn new(limit: usize) -> Self {
            let all = Arc::new(TokenRequests::new(limit));
            let workers = (0..2).map(|number| WorkerTokens::new(&all, number).unwrap()).collect();
            Self { all, workers }
        }

        fn count(&self, worker: usize, token: u8, second: u64) {
            let moment = self.all.start + Duration::from_secs(second);
            self.workers[worker].count(&id(token), Decision::Allow, None, moment);
        }

        #[track_caller]
        fn check(&self, want: &[(&str, f64)]) {
            let families = TokenCollector::new(Arc::clone(&self.all)).collect();
            let mut got: Vec<_> = families[0]
                .get_metric()
                .iter()
                .map(|metric| (metric.get_label()[1].value().to_owned(), metric.get_counter().get_value()))
                .collect();
            got.sort_by(|left, right| left.0.cmp(&right.0));
            let mut want: Vec<_> = want.iter().map(|(token, count)| ((*token).to_owned(), *count)).collect();
            want.sort_by(|left, right| left.0.cmp(&right.0));
            assert_eq!(got, want);
        }
    }

    #[test]
    fn the_same_token_is_one_series_whichever_worker_served_it() {
        let fixture = Fixture::new(2);
        fixture.count(0, 1, 0);
        fixture.count(1, 1, 0);
        fixture.count(1, 2, 0);
        fixture.check(&[(id(1).as_str(), 2.0), (id(2).as_str(), 1.0)]);
    }

    #[test]
    fn without_room_a_token_counts_as_other_until_one_has_not_been_used_for_an_hour() {
        let fixture = Fixture::new(2);
        fixture.count(0, 1, 0);
        fixture.count(0, 2, 10);
        fixture.count(1, 3, 20);
        fixture.check(&[(id(1).as_str(), 1.0), (id(2).as_str(), 1.0), (OTHER, 1.0)]);
        // The first is used again, so now the second is the one that was not used for longest.
        fixture.count(0, 1, 30);
        fixture.count(1, 3, KEPT + 9);
        fixture.check(&[(id(1).as_str(), 2.0), (id(2).as_str(), 1.0), (OTHER, 2.0)]);
        fixture.count(1, 3, KEPT + 10);
        fixture.check(&[(id(1).as_str(), 2.0), (id(3).as_str(), 1.0), (OTHER, 2.0)]);
        // A worker that knew the one that gave way does not go on with its old counters.
        fixture.count(0, 2, KEPT + 11);
        fixture.check(&[(id(1).as_str(), 2.0), (id(3).as_str(), 1.0), (OTHER, 3.0)]);
        fixture.count(0, 2, KEPT + 40);
        fixture.check(&[(id(2).as_str(), 1.0), (id(3).as_str(), 1.0), (OTHER, 3.0)]);
    }

    #[test]
    fn a_worker_forgets_those_that_gave_way() {
        let fixture = Fixture::new(1);
        for token in 0..20 {
            fixture.count(0, token, u64::from(token) * (KEPT + 1));
        }
        assert!(fixture.workers[0].known.lock().unwrap().len() <= 2);
        assert_eq!(fixture.all.roster.len(), 1);
    }

    #[test]
    fn none_are_counted_where_none_may() {
        assert!(WorkerTokens::new(&Arc::new(TokenRequests::new(0)), 0).is_none());
    }

    #[test]
    fn every_place_has_a_word_of_its_own() {
        let places: Vec<_> = places().collect();
        let words: std::collections::BTreeSet<_> = places.iter().map(|(_, word)| word).collect();
        assert_eq!((places.len(), words.len()), (REASONS + 1, REASONS + 1));
        assert!(places.iter().enumerate().all(|(at, (place, _))| at == *place), "{places:?}");
    }
}
