//! One `git http-backend` and all that it starts: fed, watched, stopped and reaped by a task of its own.
//!
//! The task and the answer are tied by one channel. Whoever drops the answer stops git; when git ends by itself, the
//! answer is told so, and without that word it is an error, never a short body that passes for a whole one.

use std::convert::Infallible;
use std::fmt::Display;
use std::future::pending;
use std::io;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt, sink};
use tokio::process::{Child, ChildStderr, ChildStdin, Command};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::timeout;

use crate::git_host::answer::Answer;

/// How long git has to remove its lock files when it is told to stop, before it is killed: a lock that stays behind
/// blocks every later push.
const GRACE: Duration = Duration::from_secs(2);

/// How much of git's standard error is kept for the log.
const STDERR_LIMIT: u64 = 8 * 1024;

/// The body of a request.
#[derive(Debug)]
pub(super) struct Input<B> {
    /// What git is fed with.
    pub(super) body: B,
    /// Its length in bytes, where known: a body that ends before it is broken.
    pub(super) length: Option<u64>,
}

/// Starts git. The permit is given back when it has ended.
///
/// # Errors
/// What the system says, when the program cannot be started.
pub(super) fn start<B>(
    mut command: Command,
    input: Input<B>,
    permit: OwnedSemaphorePermit,
) -> io::Result<Answer>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Display + Send,
{
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let group = Group { child, permit };
    let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(io::Error::other("a pipe is missing"));
    };
    let (end, ended) = oneshot::channel();
    spawn(watch(group, input, (stdin, stderr), end));
    Ok(Answer::new(stdout, ended))
}

/// A child that leads a process group.
struct Group {
    child: Child,
    #[expect(dead_code, reason = "held until the child was reaped")]
    permit: OwnedSemaphorePermit,
}

impl Group {
    /// The group, as long as its leader was not reaped.
    fn id(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.child.id()?).ok()?)
    }

    /// Stops the whole group, gently first, and reaps its leader.
    async fn stop(&mut self) {
        let group = self.id();
        signal(group, Signal::TERM);
        if timeout(GRACE, self.child.wait()).await.is_err() {
            signal(group, Signal::KILL);
            drop(self.child.wait().await);
        }
        // What the leader left behind: a hook that ignores the first signal. Its presence keeps the group's id from
        // being used anew, and ids come in turn, so that this reaches nothing else.
        signal(group, Signal::KILL);
    }
}

impl Drop for Group {
    /// The runtime ends while git is running.
    fn drop(&mut self) {
        signal(self.id(), Signal::TERM);
    }
}

fn signal(group: Option<Pid>, signal: Signal) {
    if let Some(Err(error)) = group.map(|group| kill_process_group(group, signal)) {
        tracing::trace!(%error, "the process group has ended already");
    }
}

/// Watches over git until it has ended.
async fn watch<B>(
    mut group: Group,
    input: Input<B>,
    (stdin, stderr): (ChildStdin, ChildStderr),
    mut end: oneshot::Sender<()>,
) where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Display + Send,
{
    let mut notes = Vec::new();
    let feeding = feed(input, stdin);
    let listening = listen(stderr, &mut notes);
    let Some(status) = run(&mut group, feeding, listening, &mut end).await else {
        return;
    };
    let stderr = String::from_utf8_lossy(&notes);
    match status {
        Ok(status) if status.success() => tracing::debug!(?stderr, "git http-backend ended"),
        Ok(status) => tracing::warn!(%status, ?stderr, "git http-backend failed"),
        Err(ref error) => tracing::warn!(%error, ?stderr, "git http-backend cannot be waited for"),
    }
    // Git tells the client of its own failures, inside of the answer; killed, it cannot.
    if status.is_ok_and(|status| status.code().is_some()) && end.send(()).is_err() {
        tracing::debug!("the client left as git ended");
    }
}

/// How git ended by itself; nothing when it was stopped, because the client left or the request broke off.
///
/// Git's standard input, which `feeding` holds, stays open until git was stopped: closed, it would look like the end of
/// the request.
async fn run(
    group: &mut Group,
    feeding: impl Future<Output = Fed>,
    listening: impl Future<Output = Infallible>,
    end: &mut oneshot::Sender<()>,
) -> Option<io::Result<ExitStatus>> {
    let (mut feeding, mut listening) = (pin!(feeding), pin!(listening));
    let mut hungry = true;
    loop {
        tokio::select! {
            // In this order: a connection that is dropped as a whole may look like a request that ended properly, and
            // then the answer is gone too.
            biased;
            () = end.closed() => {
                group.stop().await;
                return None;
            }
            never = &mut listening => match never {},
            status = group.child.wait() => return Some(status),
            fed = &mut feeding, if hungry => match fed {
                Fed::Broken(stdin) => {
                    group.stop().await;
                    drop(stdin);
                    return None;
                }
                Fed::Whole(stdin) => {
                    drop(stdin);
                    hungry = false;
                }
            },
        }
    }
}

/// How the request body ended.
enum Fed {
    /// Git has all of it, or wants no more.
    Whole(ChildStdin),
    /// Before its end.
    Broken(ChildStdin),
}

/// Feeds the request body to git, no faster than git reads.
async fn feed<B>(input: Input<B>, mut stdin: ChildStdin) -> Fed
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let Input { mut body, length } = input;
    let mut fed: u64 = 0;
    while let Some(frame) = body.frame().await {
        let data = match frame.map(http_body::Frame::into_data) {
            Ok(Ok(data)) => data,
            Ok(Err(_trailers)) => continue,
            Err(error) => {
                tracing::debug!(%error, "the request broke off");
                return Fed::Broken(stdin);
            }
        };
        fed = fed.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
        match stdin.write_all(&data).await {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Fed::Whole(stdin),
            Err(error) => {
                tracing::debug!(%error, "git cannot be fed");
                return Fed::Broken(stdin);
            }
        }
    }
    if length.is_some_and(|length| fed < length) {
        tracing::debug!(fed, length, "the request ended before its stated length");
        return Fed::Broken(stdin);
    }
    Fed::Whole(stdin)
}

/// Reads git's standard error to keep the pipe empty; the first of it goes to `notes`.
async fn listen(mut stderr: ChildStderr, notes: &mut Vec<u8>) -> Infallible {
    // Whoever cannot read the log's text has nothing to do about it.
    drop((&mut stderr).take(STDERR_LIMIT).read_to_end(notes).await);
    drop(tokio::io::copy(&mut stderr, &mut sink()).await);
    pending().await
}

#[expect(clippy::disallowed_methods, reason = "the task ends with the child that it watches over")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(task));
}
