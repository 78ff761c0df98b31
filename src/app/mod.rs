//! Puts the parts together: starts them, reloads them, drains them.

pub mod reload;
pub mod start;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use thiserror::Error;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::config::Config;
use crate::control::ControlState;
use crate::domain::fault::{Fault, describe};
use crate::git_host::GitHostError;
use crate::live::LivePolicy;

/// How long audit lines may take to reach their file at the end, and then spans their collector.
const FLUSH_TIME: Duration = Duration::from_secs(5);

/// How often is looked whether a worker has died.
const WATCH_WORKERS: Duration = Duration::from_secs(1);

/// Why the gateway does not start, or ended badly.
#[derive(Debug, Error)]
pub enum AppError {
    /// Files have faults.
    #[error("{}", describe(.0))]
    Faults(Vec<Fault>),
    /// The operating system refuses something.
    #[error("{what}: {source}")]
    System {
        /// What was asked of it.
        what: String,
        /// What it says.
        source: io::Error,
    },
    /// The embedded git host cannot run.
    #[error("upstream `{upstream}`: {source}")]
    GitHost {
        /// Which upstream.
        upstream: String,
        /// Why.
        source: GitHostError,
    },
}

/// A gateway that runs. Dropped without [`Running::stop`], its workers run on.
#[derive(Debug)]
pub struct Running {
    /// The addresses of the data plane, in the order of the configuration.
    pub listeners: Vec<SocketAddr>,
    /// The address of the control plane.
    pub control: Option<SocketAddr>,
    live: Arc<LivePolicy>,
    state: Arc<ControlState>,
    drain: watch::Sender<bool>,
    reload: mpsc::Sender<()>,
    workers: Vec<JoinHandle<io::Result<()>>>,
    background: JoinHandle<io::Result<()>>,
}

impl Running {
    /// Has the files looked at now.
    pub fn reload(&self) {
        if self.reload.try_send(()).is_err() {
            tracing::debug!("a reload is due already");
        }
    }

    /// The metrics as they are scraped.
    pub fn metrics(&self) -> String {
        self.state.recorder.metrics.render()
    }

    /// The generation of the policy in force.
    pub fn policy_generation(&self) -> u64 {
        self.live.peek().generation
    }

    /// Whether a worker has ended, which none should.
    pub fn has_lost_a_worker(&self) -> bool {
        self.workers.iter().any(JoinHandle::is_finished)
    }

    /// Drains: no new connections, requests under way end, then background tasks, then audit lines are flushed.
    ///
    /// # Errors
    /// The first thread that did not end well.
    pub fn stop(self) -> Result<(), AppError> {
        self.state.readiness.draining();
        self.drain.send_replace(true);
        let mut result = Ok(());
        for worker in self.workers {
            let worker = ended("a worker", worker);
            result = result.and(worker);
        }
        // The control plane serves on while the workers drain, so that probes and scrapes see it; it ends with this.
        drop(self.reload);
        let background = ended("the control plane", self.background);
        result = result.and(background);
        let flushed = self.state.recorder.audit.flush(FLUSH_TIME);
        self.state.recorder.traces.flush(FLUSH_TIME);
        tracing::info!(audit = ?flushed, "stopped");
        result
    }
}

fn ended(what: &str, thread: JoinHandle<io::Result<()>>) -> Result<(), AppError> {
    let system = |source| AppError::System { what: format!("{what} ended"), source };
    match thread.join() {
        Ok(result) => result.map_err(system),
        Err(_) => Err(system(io::Error::other("it panicked; see the log"))),
    }
}

/// Runs the gateway of `file` until SIGTERM or SIGINT; SIGHUP has the files looked at.
///
/// # Errors
/// [`AppError`].
pub fn run(config: &Config, file: &Path) -> Result<(), AppError> {
    let signals = Signals::listen()?;
    signals.until_told(start::start(config, file)?)
}

/// What the process is told by signals. To be made before anything serves: one that comes while nobody listens ends the
/// process at once, with requests under way.
#[derive(Debug)]
pub struct Signals {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// [`AppError::System`].
    pub fn listen() -> Result<Self, AppError> {
        let listen = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let entered = runtime.enter();
            let terminate = signal(SignalKind::terminate())?;
            let interrupt = signal(SignalKind::interrupt())?;
            let hang_up = signal(SignalKind::hangup())?;
            drop(entered);
            Ok(Self { runtime, terminate, interrupt, hang_up })
        };
        listen().map_err(|source| AppError::System { what: "listening for signals".into(), source })
    }

    /// Lets `running` run until SIGTERM or SIGINT, then drains it; SIGHUP has the files looked at.
    ///
    /// # Errors
    /// [`AppError`].
    pub fn until_told(self, running: Running) -> Result<(), AppError> {
        let Self { runtime, mut terminate, mut interrupt, mut hang_up } = self;
        let waited = runtime.block_on(async {
            let mut look = tokio::time::interval(WATCH_WORKERS);
            loop {
                tokio::select! {
                    _ = terminate.recv() => return Ok(()),
                    _ = interrupt.recv() => return Ok(()),
                    _ = hang_up.recv() => running.reload(),
                    _ = look.tick() => if running.has_lost_a_worker() {
                        return Err(io::Error::other("a worker ended by itself; see the log"));
                    },
                }
            }
        });
        let waited = waited.map_err(|source| AppError::System { what: "serving".into(), source });
        tracing::info!("draining");
        running.stop().and(waited)
    }
}
