//! What the process is told by signals: to look at its files, to be succeeded, to end.

use std::future::pending;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::successor::{self, Program, SuccessorError};
use crate::app::workers::End;
use crate::app::{AppError, Running, notify};

/// How often is looked whether a thread has ended that should not.
const WATCH_THREADS: Duration = Duration::from_secs(1);

/// Signals that are listened to. To be made before anything serves: one that comes while nobody listens ends the
/// process at once, with requests under way.
#[derive(Debug)]
pub struct Signals {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    upgrade: Signal,
}

/// An upgrade that has begun.
type Upgrade<'a> = Pin<Box<dyn Future<Output = Result<(), SuccessorError>> + 'a>>;

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
            let upgrade = signal(SignalKind::user_defined2())?;
            drop(entered);
            Ok(Self { runtime, terminate, interrupt, hang_up, upgrade })
        };
        listen().map_err(|source| AppError::System { what: "listening for signals".into(), source })
    }

    /// Lets `running` run until SIGTERM or SIGINT, then drains it; SIGHUP has the files looked at.
    ///
    /// # Errors
    /// [`AppError`].
    pub fn until_told(self, running: Running) -> Result<(), AppError> {
        self.until_told_or_succeeded(running, None)
    }

    /// As [`Signals::until_told`]; ends also when a process that SIGUSR2 has started out of `program` serves in its place.
    ///
    /// # Errors
    /// [`AppError`].
    pub(super) fn until_told_or_succeeded(
        self,
        running: Running,
        program: Option<&Program>,
    ) -> Result<(), AppError> {
        let Self { runtime, mut terminate, mut interrupt, mut hang_up, mut upgrade } = self;
        let told = runtime.block_on(async {
            let mut look = tokio::time::interval(WATCH_THREADS);
            let mut upgrading: Option<Upgrade<'_>> = None;
            loop {
                tokio::select! {
                    _ = terminate.recv() => return Ok(End::Stop),
                    _ = interrupt.recv() => return Ok(End::Stop),
                    _ = hang_up.recv() => running.reload(),
                    _ = upgrade.recv() => match &upgrading {
                        Some(_) => tracing::warn!("an upgrade is under way already"),
                        None => upgrading = Some(Box::pin(upgrade_of(&running, program))),
                    },
                    upgraded = outcome(&mut upgrading) => match upgraded {
                        Ok(()) => return Ok(End::Succeeded),
                        Err(error) => {
                            upgrading = None;
                            tracing::error!(%error, "no upgrade; this process goes on serving");
                            notify::status(&format!("{}; an upgrade failed: {error}", running.status()));
                        }
                    },
                    _ = look.tick() => if running.has_failed() {
                        return Err(io::Error::other("a thread ended by itself; see the log"));
                    },
                }
            }
        });
        let end = *told.as_ref().unwrap_or(&End::Stop);
        if end == End::Stop {
            notify::stopping();
        }
        tracing::info!(because = ?end, "draining");
        let stopped = match end {
            End::Stop => running.stop(),
            End::Succeeded => running.leave(),
        };
        let told = told.map_err(|source| AppError::System { what: "serving".into(), source });
        let told = told.map(|_| ());
        stopped.and(told)
    }
}

async fn upgrade_of(running: &Running, program: Option<&Program>) -> Result<(), SuccessorError> {
    let program = program.ok_or(SuccessorError::Useless("what this process serves ends with it"))?;
    successor::start(program, running.hand_over()?).await
}

async fn outcome(upgrading: &mut Option<Upgrade<'_>>) -> Result<(), SuccessorError> {
    match upgrading {
        Some(upgrading) => upgrading.await,
        None => pending().await,
    }
}
