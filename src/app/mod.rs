//! Puts the parts together: starts them, reloads them, hands them over, drains them.

mod certificates;
mod configuration;
pub mod inherit;
pub mod notices;
mod notify;
mod recorder;
mod reload;
mod sign_in;
pub mod signals;
mod sockets;
pub mod start;
mod successor;
mod upkeep;
mod workers;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::sync::{mpsc, watch};

use crate::app::inherit::{Handed, Inherited};
use crate::app::signals::Signals;
use crate::app::successor::{Program, SuccessorError};
use crate::app::workers::{End, Event, Supervision};
use crate::config::{CONTROL_NAME, Config};
use crate::control::ControlState;
use crate::domain::fault::{Fault, describe};
use crate::gateway::worker::WorkerError;
use crate::git_host::GitHostError;
use crate::live::LivePolicy;
use crate::store::error::StoreError;

/// How long audit lines may take to reach their file at the end, and then spans their collector.
const FLUSH_TIME: Duration = Duration::from_secs(5);

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
    /// The store cannot be used.
    #[error("{0}")]
    Store(StoreError),
    /// The embedded git host cannot run.
    #[error("upstream `{upstream}`: {source}")]
    GitHost {
        /// Which upstream.
        upstream: String,
        /// Why.
        source: GitHostError,
    },
    /// Workers failed, one after the other.
    #[error("workers failed {failures} times within a minute, the last one: {source}")]
    Workers {
        /// How often.
        failures: usize,
        /// Why the last one did.
        source: WorkerError,
    },
}

/// A gateway that runs. Dropped without [`Running::stop`], its workers run on.
#[derive(Debug)]
pub struct Running {
    /// The addresses of the data plane at the start, in the order of the configuration.
    pub listeners: Vec<SocketAddr>,
    /// The address of the control plane.
    pub control: Option<SocketAddr>,
    addresses: Arc<ArcSwap<Vec<SocketAddr>>>,
    control_socket: Option<TcpListener>,
    live: Arc<LivePolicy>,
    state: Arc<ControlState>,
    reload: mpsc::Sender<()>,
    leave_control: watch::Sender<bool>,
    supervision: Supervision,
    background: JoinHandle<io::Result<()>>,
}

impl Running {
    /// Has the configuration and the files that it names looked at now.
    pub fn reload(&self) {
        if self.reload.try_send(()).is_err() {
            tracing::debug!("a reload is due already");
        }
    }

    /// The addresses of the data plane as they are now, in the order of the configuration.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        Vec::clone(&self.addresses.load())
    }

    /// The metrics as they are scraped.
    pub fn metrics(&self) -> String {
        self.state.recorder.metrics.render()
    }

    /// The policy in force.
    pub fn live(&self) -> &LivePolicy {
        &self.live
    }

    /// The generation of the policy in force.
    pub fn policy_generation(&self) -> u64 {
        self.live.peek().generation
    }

    /// Whether a thread has ended, which none should.
    pub fn has_failed(&self) -> bool {
        self.supervision.thread.is_finished() || self.background.is_finished()
    }

    /// Drains: no new connections, requests under way end, then background tasks, then audit lines are flushed.
    ///
    /// # Errors
    /// The first thread that did not end well.
    pub fn stop(self) -> Result<(), AppError> {
        self.state.readiness.draining();
        self.end(End::Stop)
    }

    /// As [`Running::stop`], where another process has the sockets: what has not been accepted is left to it, and the
    /// control plane too.
    fn leave(self) -> Result<(), AppError> {
        self.leave_control.send_replace(true);
        self.end(End::Succeeded)
    }

    fn end(mut self, end: End) -> Result<(), AppError> {
        self.control_socket = None;
        if self.supervision.events.send(Event::End(end)).is_err() {
            tracing::debug!("the workers have ended already");
        }
        let mut result = self.supervision.ended();
        // The control plane serves on while the workers drain, so that probes and scrapes see it; it ends with this.
        drop(self.reload);
        let system = |source| AppError::System { what: "the control plane ended".into(), source };
        let panicked = |_| Err(io::Error::other("it panicked; see the log"));
        let background = self.background.join().unwrap_or_else(panicked).map_err(system);
        result = result.and(background);
        let flushed = self.state.recorder.audit.flush(FLUSH_TIME);
        self.state.recorder.traces.flush(FLUSH_TIME);
        if let Some(api) = &self.state.api {
            api.issuer.store.flush(FLUSH_TIME);
        }
        tracing::info!(audit = ?flushed, "stopped");
        result
    }

    /// Every socket that is listened on, once more.
    fn hand_over(&self) -> Result<Vec<Handed>, SuccessorError> {
        let system = |source| SuccessorError::System { what: "taking the sockets together", source };
        let (reply, sockets) = sync_channel(1);
        let gone = || system(io::Error::other("the workers have ended"));
        self.supervision.events.send(Event::HandOver(reply)).map_err(|_| gone())?;
        let mut sockets = sockets.recv().map_err(|_| gone())?.map_err(system)?;
        if let Some(control) = &self.control_socket {
            let socket = control.try_clone().map_err(system)?;
            sockets.push(Handed { name: CONTROL_NAME.into(), socket });
        }
        Ok(sockets)
    }

    fn status(&self) -> String {
        reload::status(&self.addresses.load(), &self.live)
    }
}

/// Runs the gateway of `file` until SIGTERM or SIGINT, or until a process that SIGUSR2 started has taken its place; SIGHUP
/// has the files looked at. `take_over` names the sockets that a predecessor hands over, where this is such a process. To
/// be called before there is any other thread.
///
/// # Errors
/// [`AppError`].
pub fn run(config: &Config, file: &Path, take_over: Option<&str>) -> Result<(), AppError> {
    let program = Program::own();
    let (inherited, predecessor) = match take_over {
        None => (Inherited::from_service_manager()?, None),
        Some(names) => {
            let (inherited, predecessor) = Inherited::from_predecessor(names)?;
            (inherited, Some(predecessor))
        }
    };
    let signals = Signals::listen()?;
    let running = start::start_on(config, file, inherited)?;
    if let Some(predecessor) = predecessor
        && let Err(error) = predecessor.relieve()
    {
        tracing::warn!(%error, "the predecessor has gone before it was relieved");
    }
    notify::ready(&running.status());
    signals.until_told_or_succeeded(running, Some(&program))
}

fn tell(faults: &[Fault]) {
    for fault in faults {
        tracing::error!("{fault}");
    }
}

#[cfg(test)]
mod tests;
