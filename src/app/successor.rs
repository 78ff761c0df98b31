//! An upgrade in place: this program is started once more, is handed the listening sockets, and when it serves, this
//! process drains.
//!
//! Both have the sockets for a while, so no connection is refused or reset. Until the successor says that it serves, it
//! may fail as it likes: this process goes on.

use std::ffi::OsString;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::app::inherit::{CHUNK, Handed, TAKE_OVER, WORD};
use crate::app::notify;

/// How long a successor may take until it serves. It compiles the policies first, which takes seconds where there are
/// millions of tokens.
const START_TIME: Duration = Duration::from_secs(60);

/// What is meant for this process alone.
const OWN_VARIABLES: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];

/// Why a successor does not serve.
#[derive(Debug, Error)]
pub(super) enum SuccessorError {
    /// It would be of no use.
    #[error("{0}")]
    Useless(&'static str),
    /// The operating system refuses something.
    #[error("{what}: {source}")]
    System {
        /// What was asked of it.
        what: &'static str,
        /// What it says.
        source: io::Error,
    },
    /// It ended before it served.
    #[error("the new process ended ({0}); it has said why")]
    Ended(ExitStatus),
    /// It runs, and does not serve.
    #[error("the new process did not serve within {} seconds, and was stopped", START_TIME.as_secs())]
    TimedOut,
}

/// How this process was started.
#[derive(Debug)]
pub(super) struct Program {
    path: io::Result<PathBuf>,
    arguments: Vec<OsString>,
}

impl Program {
    /// To be asked at the start, when the file that runs is still the one that the path leads to.
    pub(super) fn own() -> Self {
        let mut arguments = std::env::args_os();
        let name = arguments.next().unwrap_or_default();
        Self { path: path_of(Path::new(&name)), arguments: arguments.collect() }
    }
}

/// The path that the program was called by, so that a link to another version is followed anew; where it was found by the
/// search path, or is not what runs, the file itself.
fn path_of(name: &Path) -> io::Result<PathBuf> {
    let running = std::env::current_exe()?;
    let named = name.components().nth(1).is_some().then(|| std::path::absolute(name)).transpose()?;
    let file = |path: &Path| path.metadata().map(|found| (found.dev(), found.ino())).ok();
    Ok(named.filter(|named| file(named).is_some() && file(named) == file(&running)).unwrap_or(running))
}

/// A process that has not said yet that it serves. Dropped, it is stopped.
struct Candidate(Option<Child>);

impl Drop for Candidate {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0
            && let Err(error) = child.start_kill()
        {
            tracing::debug!(%error, "the new process has ended already");
        }
    }
}

/// Starts `program` once more with `sockets`, and returns when it serves.
///
/// # Errors
/// [`SuccessorError`]. The new process does not run then.
///
/// # Cancel safety
/// Dropping it stops the new process.
pub(super) async fn start(program: &Program, sockets: Vec<Handed>) -> Result<(), SuccessorError> {
    obstacle().map_or(Ok(()), |why| Err(SuccessorError::Useless(why)))?;
    let system = |what| move |source| SuccessorError::System { what, source };
    let path = program.path.as_ref();
    let path = path.map_err(|error| system("finding this program")(io::Error::other(error.to_string())))?;
    let (ours, theirs) = StdStream::pair().map_err(system("making a socket pair"))?;
    send(&ours, &sockets).map_err(system("handing over the sockets"))?;
    let names: Vec<_> = sockets.iter().map(|handed| handed.name.as_str()).collect();
    let mut command = Command::new(path);
    command
        .args(&program.arguments)
        .env(TAKE_OVER, names.join(":"))
        .stdin(Stdio::from(OwnedFd::from(theirs)));
    for name in OWN_VARIABLES {
        command.env_remove(name);
    }
    let child = command.spawn().map_err(system("starting the new process"))?;
    // It holds the other end of the pair, whose closing tells that the new process has ended.
    drop((command, sockets));
    let id = child.id().unwrap_or_default();
    tracing::info!(program = %path.display(), id, "a new process starts");
    let mut candidate = Candidate(Some(child));
    let stream = ours.set_nonblocking(true).and_then(|()| UnixStream::from_std(ours));
    let mut stream = stream.map_err(system("waiting for the new process"))?;
    serves(&mut candidate, &mut stream).await?;
    candidate.0 = None;
    notify::succeeded_by(id);
    if let Err(error) = stream.write_all(&[WORD]).await {
        tracing::warn!(%error, "the new process serves, and does not listen to this one");
    }
    Ok(())
}

/// Waits for the word of the new process.
async fn serves(candidate: &mut Candidate, stream: &mut UnixStream) -> Result<(), SuccessorError> {
    let mut word = [0];
    match timeout(START_TIME, stream.read(&mut word)).await {
        Err(_) => Err(SuccessorError::TimedOut),
        Ok(Ok(1)) if word == [WORD] => Ok(()),
        // It has closed its end, so it has ended, or is about to.
        Ok(_) => match &mut candidate.0 {
            None => Err(SuccessorError::TimedOut),
            Some(child) => match timeout(START_TIME, child.wait()).await {
                Ok(Ok(status)) => Err(SuccessorError::Ended(status)),
                Ok(Err(source)) => {
                    Err(SuccessorError::System { what: "waiting for the new process", source })
                }
                Err(_) => Err(SuccessorError::TimedOut),
            },
        },
    }
}

/// Why a successor would be stopped as soon as this process ends.
fn obstacle() -> Option<&'static str> {
    let own = std::process::id();
    let is_main = std::env::var_os("SYSTEMD_EXEC_PID").is_some_and(|pid| pid == own.to_string().as_str());
    if own == 1 {
        return Some("this is process 1 of its container, which ends with it; replace the container");
    }
    if is_main && std::env::var_os("NOTIFY_SOCKET").is_none() {
        return Some(
            "systemd would take the end of this process for the end of the service; set `Type=notify`",
        );
    }
    None
}

fn send(stream: &StdStream, sockets: &[Handed]) -> io::Result<()> {
    for chunk in sockets.chunks(CHUNK) {
        let descriptors: Vec<_> = chunk.iter().map(|handed| handed.socket.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(CHUNK))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        sendmsg(stream, &[IoSlice::new(&[WORD])], &mut control, SendFlags::NOSIGNAL)?;
    }
    Ok(())
}
