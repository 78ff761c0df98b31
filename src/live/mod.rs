//! The live policy: the one snapshot that requests are judged by, and what replaces it.
//!
//! A request takes one snapshot and keeps it to its end. A set of files that does not compile never becomes a
//! snapshot: the last good one stays.

pub mod files;
pub mod watch;

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use crate::domain::fault::Fault;
use crate::domain::token::TokenFormat;
use crate::policy::compile::{Source, compile};
use crate::policy::snapshot::Snapshot;
use crate::policy::upstream::UpstreamSpec;

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
    pub fn compile(&self, generation: u64) -> Result<(Snapshot, Vec<Source>), Vec<Fault>> {
        let sources = files::read(&self.directory)?;
        let snapshot = compile(&sources, &self.upstreams, &self.format, generation)?;
        Ok((snapshot, sources))
    }
}

/// What became of an attempt to replace the snapshot.
#[derive(Debug)]
pub enum Reload {
    /// The files say what they said before.
    Unchanged,
    /// A new snapshot is in force.
    Replaced(Arc<Snapshot>),
    /// The files have faults; the last good snapshot stays.
    Refused(Vec<Fault>),
}

/// The snapshot in force. Shared by every worker; reading it takes no lock.
#[derive(Debug)]
pub struct LivePolicy {
    inputs: Inputs,
    snapshot: ArcSwap<Snapshot>,
    sources: std::sync::Mutex<Vec<Source>>,
}

impl LivePolicy {
    /// Compiles the first snapshot.
    ///
    /// # Errors
    /// All faults of all files.
    pub fn load(inputs: Inputs) -> Result<Self, Vec<Fault>> {
        let (snapshot, sources) = inputs.compile(1)?;
        Ok(Self {
            inputs,
            snapshot: ArcSwap::from_pointee(snapshot),
            sources: std::sync::Mutex::new(sources),
        })
    }

    /// The snapshot in force, to be kept for one request.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// The snapshot in force, to be looked at and let go at once.
    pub fn peek(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// The directory that is watched.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// Reads the files again and, where they compile, puts them in force at once.
    pub fn reload(&self) -> Reload {
        let generation = self.snapshot.load().generation + 1;
        let (snapshot, sources) = match self.inputs.compile(generation) {
            Ok(compiled) => compiled,
            Err(faults) => return Reload::Refused(faults),
        };
        // One reload at a time; the lock is never held by the data plane.
        let mut known = self
            .sources
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if *known == sources {
            return Reload::Unchanged;
        }
        *known = sources;
        let snapshot = Arc::new(snapshot);
        self.snapshot.store(Arc::clone(&snapshot));
        Reload::Replaced(snapshot)
    }
}
