//! The live policy: the one snapshot that requests are judged by, and what replaces it.
//!
//! A request takes one snapshot and keeps it to its end. A set of files that does not compile never becomes a
//! snapshot: the last good one stays. Beside what files say stand the tokens of the store: each of its changes is put into
//! the index of the snapshot in force before the call that made it returns (`stored`).

pub mod files;
pub mod load;
mod stored;
pub mod watch;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::oneshot;

use crate::domain::fault::Fault;
use crate::domain::token::TokenFormat;
use crate::live::files::Stamp;
use crate::live::load::{Effort, Loader, TextDigest};
use crate::policy::snapshot::{InForce, Snapshot};
use crate::policy::upstream::UpstreamSpec;
use crate::store::Store;

/// How much more reloads let other threads go first: they get a quarter of a processor that is busy with requests, so
/// that a token that is taken back on a busy machine stops working soon all the same.
const NICENESS: i32 = 5;

/// Where policy comes from, and for whom it is compiled.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// The policy directory.
    pub directory: PathBuf,
    /// The upstreams of the configuration.
    pub upstreams: Vec<UpstreamSpec>,
    /// What tokens look like.
    pub format: TokenFormat,
}

impl Inputs {
    /// Reads and compiles the directory as it is now.
    ///
    /// # Errors
    /// All faults of all files.
    pub fn compile(&self, generation: u64) -> Result<Snapshot, Vec<Fault>> {
        Loader::default().load(self, Effort::Whole)?.into_snapshot(self, generation, Effort::Whole)
    }
}

/// What became of an attempt to replace the snapshot.
#[derive(Debug)]
pub enum Reload {
    /// The files say what they said at the last look.
    Unchanged,
    /// The files say again what is in force, after a set that was refused.
    Restored,
    /// A new snapshot is in force.
    Replaced(Arc<Snapshot>),
    /// The files have faults; the last good snapshot stays.
    Refused(Vec<Fault>),
}

/// How closely is looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// At names, sizes and times of change: enough where nothing is known to have happened.
    AtStamps,
    /// At every byte: where an event says that something changed.
    AtTexts,
}

/// The snapshot in force. Shared by every worker; reading it takes no lock.
#[derive(Debug)]
pub struct LivePolicy {
    inputs: Inputs,
    snapshot: ArcSwap<Snapshot>,
    seen: Mutex<Seen>,
    store: Option<Store>,
    /// Held while the index changes, or is replaced: what is read of the store while a new index is built may be older
    /// than what was put into the old one meanwhile. Has the snapshots that were in force, while requests may be judged by
    /// them.
    publishing: Mutex<Vec<Arc<Snapshot>>>,
    /// Counts what has happened to the policy: snapshots, and changes of tokens.
    version: AtomicU64,
}

/// What the files said. Digests, since the texts may be large.
#[derive(Debug)]
struct Seen {
    stamps: Vec<Stamp>,
    /// `None` where they could not be read.
    last: Option<TextDigest>,
    /// Why they could not be read.
    unreadable: Vec<Fault>,
    in_force: TextDigest,
    loader: Loader,
}

impl LivePolicy {
    /// Compiles the first snapshot.
    ///
    /// # Errors
    /// All faults of all files.
    pub fn load(inputs: Inputs) -> Result<Self, Vec<Fault>> {
        Self::load_with(inputs, None)
    }

    /// As [`Self::load`], with the tokens of `store`, which is followed from then on once [`Self::follow`] is called.
    ///
    /// # Errors
    /// All faults of all files, or that the store cannot be read.
    pub fn load_with(inputs: Inputs, store: Option<Store>) -> Result<Self, Vec<Fault>> {
        let mut loader = Loader::default();
        let Some((stamps, read)) = loader.load_at_rest(&inputs, Effort::Whole) else {
            let message = "changes all the time; wait until its files are written, and start again";
            return Err(vec![Fault::of_file(&inputs.directory, message)]);
        };
        let read = read?;
        let texts = read.texts;
        let mut snapshot = read.into_snapshot(&inputs, 1, Effort::Whole)?;
        if let Some(store) = &store {
            let (tokens, rules) =
                stored::contents(store, &snapshot.vocabulary).map_err(|fault| vec![fault])?;
            snapshot.stored = tokens;
            snapshot.keep_rules(rules);
        }
        let seen =
            Mutex::new(Seen { stamps, last: Some(texts), unreadable: Vec::new(), in_force: texts, loader });
        let (publishing, version) = (Mutex::default(), AtomicU64::new(1));
        Ok(Self { inputs, snapshot: ArcSwap::from_pointee(snapshot), seen, store, publishing, version })
    }

    /// Changes with everything that may change a decision. To be read before the snapshot that is judged by.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The snapshot in force, to be kept for one request.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Where the snapshot in force is found by whoever must not keep one.
    pub fn in_force(self: &Arc<Self>) -> InForce {
        let live = Arc::clone(self);
        InForce::new(move || live.snapshot())
    }

    /// The snapshot in force, to be looked at and let go at once.
    pub fn peek(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// Where the policy comes from.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// As [`Self::reload`], on a thread of its own that lets others go first.
    ///
    /// # Cancel safety
    /// Once begun, the reload goes on to its end though nobody waits for it.
    pub async fn reload_aside(self: &Arc<Self>, look: Look) -> Reload {
        self.let_go();
        if self.seen().nothing_new(&self.inputs, look) && !self.is_worn() {
            return Reload::Unchanged;
        }
        let (done, reloaded) = oneshot::channel();
        let live = Arc::clone(self);
        let run = move || {
            let nicer = |own: i32| rustix::process::setpriority_process(None, own.saturating_add(NICENESS));
            if let Err(error) = rustix::process::getpriority_process(None).and_then(nicer) {
                tracing::debug!(%error, "reloads have the priority of requests");
            }
            // Where nobody waits any more, the process ends.
            done.send(live.reload(look)).ok();
        };
        match thread::Builder::new().name("reload".into()).spawn(run) {
            // The thread has panicked, which its message tells; what is in force stays.
            Ok(_) => reloaded.await.unwrap_or(Reload::Unchanged),
            Err(error) => {
                tracing::warn!(%error, "no thread for a reload; requests wait for it");
                self.reload(look)
            }
        }
    }

    /// Looks at the files again and, where they say something new and compile, puts them in force at once. Faults are
    /// told once for each set of texts.
    pub fn reload(&self, look: Look) -> Reload {
        self.let_go();
        // One reload at a time; the data plane never takes this lock.
        let mut seen = self.seen();
        if self.is_worn() {
            self.build_index_anew();
        }
        if seen.nothing_new(&self.inputs, look) {
            return Reload::Unchanged;
        }
        // Where the files go on changing, the next look finds other stamps than the last ones.
        let Some((stamps, loaded)) = seen.loader.load_at_rest(&self.inputs, Effort::Aside) else {
            return Reload::Unchanged;
        };
        seen.stamps = stamps;
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(faults) => return seen.could_not_read(faults),
        };
        seen.unreadable.clear();
        let texts = loaded.texts;
        if seen.last == Some(texts) {
            return Reload::Unchanged;
        }
        seen.last = Some(texts);
        if texts == seen.in_force {
            return Reload::Restored;
        }
        let generation = self.snapshot.load().generation + 1;
        match loaded.into_snapshot(&self.inputs, generation, Effort::Aside) {
            Ok(snapshot) => match self.put_in_force(snapshot) {
                Ok(snapshot) => {
                    seen.in_force = texts;
                    Reload::Replaced(snapshot)
                }
                Err(fault) => {
                    // The store may be read the next time, though no file changes.
                    seen.last = None;
                    seen.could_not_read(vec![fault])
                }
            },
            Err(faults) => Reload::Refused(faults),
        }
    }

    /// What the files say stays, and the tokens of the store are packed together again.
    fn build_index_anew(&self) {
        let snapshot = Snapshot::clone(&self.peek());
        if let Err(fault) = self.put_in_force(snapshot) {
            tracing::warn!("the tokens of the store stay as they are in memory: {fault}");
        }
    }

    /// Lets go of snapshots by which no request is judged any more: here, so that no request has to.
    fn let_go(&self) {
        // Where something is being published, the next look does it.
        let mut retired = match self.publishing.try_lock() {
            Ok(retired) => retired,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let (held, free): (Vec<_>, Vec<_>) =
            retired.drain(..).partition(|snapshot| Arc::strong_count(snapshot) > 1);
        *retired = held;
        drop(retired);
        drop(free);
    }

    fn publishing(&self) -> MutexGuard<'_, Vec<Arc<Snapshot>>> {
        self.publishing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// Whether the files need not be read, by their stamps.
    fn nothing_new(&self, inputs: &Inputs, look: Look) -> bool {
        look == Look::AtStamps && files::stamps(&inputs.directory) == self.stamps
    }

    /// What keeps files from being read may pass without a change of any file (no file descriptor was left), so the next
    /// look does not trust their stamps. The same faults are told once.
    fn could_not_read(&mut self, faults: Vec<Fault>) -> Reload {
        self.stamps.clear();
        self.last = None;
        if faults == self.unreadable {
            return Reload::Unchanged;
        }
        self.unreadable.clone_from(&faults);
        Reload::Refused(faults)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::policy::upstream::ClassicTokens;

    #[test]
    fn files_that_could_not_be_read_are_read_again_though_no_stamp_has_changed() {
        let directory = tempfile::tempdir().unwrap();
        let inputs = Inputs {
            directory: directory.path().join("policies"),
            upstreams: Vec::new(),
            format: TokenFormat::default(),
        };
        std::fs::create_dir(&inputs.directory).unwrap();
        let file = inputs.directory.join("deny.yaml");
        std::fs::write(&file, "deny: []\n").unwrap();
        let live = LivePolicy::load(inputs.clone()).unwrap();
        std::fs::write(&file, "deny: []   # changed\n").unwrap();
        let stamps = files::stamps(&inputs.directory);
        let fault = || vec![Fault::of_file(&file, "cannot be read: no file descriptor is left")];
        {
            // As `reload` leaves it when the stamps could be taken, and the texts could not.
            let mut seen = live.seen.lock().unwrap();
            seen.stamps = stamps;
            assert!(matches!(seen.could_not_read(fault()), Reload::Refused(_)));
            assert!(matches!(seen.could_not_read(fault()), Reload::Unchanged), "told once");
        }
        assert!(matches!(live.reload(Look::AtStamps), Reload::Replaced(_)));
        live.seen.lock().unwrap().could_not_read(fault());
        assert!(matches!(live.reload(Look::AtStamps), Reload::Restored));
    }

    /// A live policy of `directory`, and its file of deny rules.
    fn live(directory: &Path) -> (Arc<LivePolicy>, PathBuf) {
        let inputs =
            Inputs { directory: directory.into(), upstreams: Vec::new(), format: TokenFormat::default() };
        let file = directory.join("deny.yaml");
        std::fs::write(&file, "deny: []\n").unwrap();
        (Arc::new(LivePolicy::load(inputs).unwrap()), file)
    }

    #[test]
    fn a_retired_snapshot_is_let_go_by_a_look_and_not_by_the_last_request() {
        let directory = tempfile::tempdir().unwrap();
        let (live, file) = live(directory.path());
        let held = live.snapshot();
        std::fs::write(&file, "deny: []   # changed\n").unwrap();
        assert!(matches!(live.reload(Look::AtTexts), Reload::Replaced(_)));
        assert!(matches!(live.reload(Look::AtStamps), Reload::Unchanged));
        let watched = Arc::downgrade(&held);
        assert_eq!(watched.strong_count(), 2, "the request and the live policy");
        drop(held);
        assert_eq!(watched.strong_count(), 1, "the live policy alone");
        assert!(matches!(live.reload(Look::AtStamps), Reload::Unchanged));
        assert_eq!(watched.strong_count(), 0);
        assert_eq!(live.peek().generation, 2);
    }

    #[tokio::test]
    async fn a_reload_aside_leaves_the_priority_of_others() {
        let directory = tempfile::tempdir().unwrap();
        let (live, file) = live(directory.path());
        let priority = || rustix::process::getpriority_process(None).unwrap();
        let before = priority();
        assert!(matches!(live.reload_aside(Look::AtStamps).await, Reload::Unchanged));
        std::fs::write(&file, "deny: []   # changed\n").unwrap();
        assert!(matches!(live.reload_aside(Look::AtTexts).await, Reload::Replaced(_)));
        assert!(matches!(live.reload_aside(Look::AtTexts).await, Reload::Unchanged));
        std::fs::write(&file, "deny: x\n").unwrap();
        assert!(matches!(live.reload_aside(Look::AtTexts).await, Reload::Refused(_)));
        assert_eq!((priority(), live.peek().generation), (before, 2));
    }

    #[test]
    fn a_bad_set_of_files_never_replaces_a_good_one() {
        let directory = tempfile::tempdir().unwrap();
        let upstream = UpstreamSpec {
            name: "forge".into(),
            hosts: vec!["*".into()],
            path_prefix: None,
            catalogs: vec!["git".into()],
            classic: ClassicTokens::default(),
            file: "portcullis.yaml".into(),
        };
        let inputs = Inputs {
            directory: directory.path().into(),
            upstreams: vec![upstream],
            format: TokenFormat::default(),
        };
        let file = directory.path().join("deny.yaml");
        let good = "deny: []\n";
        std::fs::write(&file, good).unwrap();
        let live = LivePolicy::load(inputs).unwrap();
        assert!(matches!(live.reload(Look::AtStamps), Reload::Unchanged));
        std::fs::write(&file, "deny: [x]\n").unwrap();
        assert!(matches!(live.reload(Look::AtTexts), Reload::Refused(_)));
        assert!(matches!(live.reload(Look::AtTexts), Reload::Unchanged), "told once");
        assert_eq!(live.snapshot().generation, 1);
        std::fs::write(&file, good).unwrap();
        assert!(matches!(live.reload(Look::AtTexts), Reload::Restored));
        std::fs::write(&file, "deny: [{ name: x, route: \"* /x\" }]\n").unwrap();
        assert!(matches!(live.reload(Look::AtTexts), Reload::Replaced(_)));
        assert_eq!(live.peek().generation, 2);
        let moved = directory.path().with_extension("moved");
        std::fs::rename(directory.path(), &moved).unwrap();
        assert!(matches!(live.reload(Look::AtStamps), Reload::Refused(_)));
        assert!(matches!(live.reload(Look::AtStamps), Reload::Unchanged), "told once");
        std::fs::rename(&moved, directory.path()).unwrap();
        assert!(matches!(live.reload(Look::AtStamps), Reload::Restored));
        assert_eq!(live.peek().generation, 2);
    }
}
