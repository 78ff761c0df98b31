//! The embedded git host: `git http-backend` as CGI (RFC 3875) over the bare repositories of one directory.
//!
//! The last stage for an upstream that is a directory instead of a server. It is called with a request that has been
//! authenticated and authorized, tells git who calls (`REMOTE_USER`), and streams both ways with back-pressure and
//! constant memory. It takes no decision about permission: whether the request may write is told by the caller.
//! Every child runs in a process group of its own, is stopped when the client leaves, and is always reaped.

pub mod answer;
mod child;
mod environment;
mod repository;

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use http_body::Body;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::domain::refusal::UpstreamError;
use crate::domain::target::CanonicalTarget;
use crate::git_host::answer::{Answer, CgiBody};
use crate::git_host::child::Input;
use crate::git_host::environment::Installation;
use crate::git_host::repository::Place;

/// How a [`GitHost`] is set up.
#[derive(Debug, Clone)]
pub struct GitHostSettings {
    /// Where the repositories are: `<directory>/<owner>/<name>.git`.
    pub directory: PathBuf,
    /// The `git` program: a name that is looked up in `PATH`, or a path.
    pub git: PathBuf,
    /// How many `git http-backend` may run at a time; at least 1.
    pub max_children: usize,
    /// How long a request waits for one of them to end before it is turned away.
    pub queue_timeout: Duration,
    /// How long git may take to begin its answer.
    pub first_byte_timeout: Duration,
}

/// Why a [`GitHost`] cannot be set up.
#[derive(Debug, Error)]
pub enum GitHostError {
    /// The directory of the repositories cannot be opened.
    #[error("the git directory `{}` cannot be opened: {source}; create it, or name another", .path.display())]
    Directory {
        /// As it was given.
        path: PathBuf,
        /// What the file system says.
        source: io::Error,
    },
    /// It is something else than a directory.
    #[error("the git directory `{}` is not a directory; name the one that holds `<owner>/<name>.git`", .path.display())]
    NotDirectory {
        /// As it was given.
        path: PathBuf,
    },
    /// The git program does not run.
    #[error("`{} --exec-path` does not run: {reason}; install git, or name the program's path", .git.display())]
    GitMissing {
        /// As it was given.
        git: PathBuf,
        /// What the system, or git, says.
        reason: String,
    },
    /// Some distributions ship it apart from git.
    #[error(
        "`git-http-backend` is not in `{}`; install it (Alpine: `git-daemon`; Debian: `git`; Fedora: `git-core`)",
        .directory.display()
    )]
    BackendMissing {
        /// What `git --exec-path` says.
        directory: PathBuf,
    },
    /// None may run, so none could ever answer.
    #[error("the git host may run no child at all; allow at least 1")]
    NoChildren,
}

/// Why a request got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ServeError {
    /// As many children as may run are running, and none ended in time.
    #[error("the git host is at its limit")]
    Overloaded,
    /// git did not start, did not answer in time, or did not answer properly.
    #[error("{0}")]
    Upstream(#[from] UpstreamError),
}

/// Who calls, and what was decided about it.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// The user's name for `REMOTE_USER`, from which git also makes the committer of a reflog. Empty for an anonymous
    /// caller: then git is told none.
    pub user: &'a str,
    /// The client's address.
    pub peer: SocketAddr,
    /// Whether the request may write. Without it git refuses every push, whatever the repository's own configuration
    /// says.
    pub push: bool,
}

/// Runs `git http-backend` over the bare repositories below one directory. Cheap to clone; the clones share the
/// limit of children, also across runtimes.
#[derive(Clone, Debug)]
pub struct GitHost(Arc<Host>);

#[derive(Debug)]
struct Host {
    /// Canonical: no symbolic link is left in it.
    directory: PathBuf,
    installation: Installation,
    children: Arc<Semaphore>,
    queue_timeout: Duration,
    first_byte_timeout: Duration,
}

impl GitHost {
    /// Looks for the directory, for git and for `git-http-backend`. Blocks while it asks git.
    ///
    /// # Errors
    /// [`GitHostError`], when one of them is missing.
    pub fn new(settings: GitHostSettings) -> Result<Self, GitHostError> {
        let directory = open_directory(settings.directory)?;
        let installation = Installation::find(&settings.git)?;
        if settings.max_children == 0 {
            return Err(GitHostError::NoChildren);
        }
        let children = Semaphore::new(settings.max_children.min(Semaphore::MAX_PERMITS));
        Ok(Self(Arc::new(Host {
            directory,
            installation,
            children: Arc::new(children),
            queue_timeout: settings.queue_timeout,
            first_byte_timeout: settings.first_byte_timeout,
        })))
    }

    /// Answers one authorized request. A repository that does not exist gives a 404 answer.
    ///
    /// # Errors
    /// [`ServeError::Overloaded`], when no child could be started within the queue timeout; [`ServeError::Upstream`]
    /// with `Unreachable`, when git does not start, `Timeout`, when it does not begin its answer in time, `Failed`,
    /// when it ends without an answer or the answer is not CGI.
    ///
    /// # Cancel safety
    /// Dropping the future, or the body of the answer, stops git and all that it started.
    pub async fn serve<B>(
        &self,
        parts: &Parts,
        body: B,
        caller: &Caller<'_>,
    ) -> Result<Response<CgiBody>, ServeError>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Display + Send,
    {
        let permit = self.permit().await?;
        let Some(place) = self.find(parts).await else {
            return Ok(not_found());
        };
        let input = Input { length: length(parts, &body), body };
        let command = self.command(parts, &place, caller, input.length);
        let mut answer = child::start(command, input, permit).map_err(|error| {
            tracing::warn!(%error, "git http-backend does not start");
            UpstreamError::Unreachable
        })?;
        self.respond(&mut answer).await.map(|head| head.map(|()| CgiBody::streaming(answer)))
    }

    /// Waits for leave to start a child.
    async fn permit(&self) -> Result<OwnedSemaphorePermit, ServeError> {
        let permit = Arc::clone(&self.0.children).acquire_owned();
        match timeout(self.0.queue_timeout, permit).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(ServeError::Overloaded),
        }
    }

    /// The repository, and the file or service in it. Looks at the disk on a thread where that may block.
    async fn find(&self, parts: &Parts) -> Option<Place> {
        let target = parts.uri.clone().into_parts().path_and_query?;
        let target = CanonicalTarget::from_path_and_query(&target).ok()?;
        let host = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || repository::find(&host.directory, &target)).await.ok()?
    }

    fn command(
        &self,
        parts: &Parts,
        place: &Place,
        caller: &Caller<'_>,
        length: Option<u64>,
    ) -> tokio::process::Command {
        let mut command = self.0.installation.command(&self.0.directory);
        environment::request(&mut command, parts, place, length);
        environment::caller(&mut command, caller);
        command
    }

    /// The head of git's answer.
    async fn respond(&self, answer: &mut Answer) -> Result<Response<()>, ServeError> {
        match timeout(self.0.first_byte_timeout, answer.head()).await {
            Ok(Ok(head)) => Ok(head),
            Ok(Err(error)) => {
                tracing::warn!(%error, "git http-backend gave no answer");
                Err(UpstreamError::Failed.into())
            }
            Err(_) => Err(UpstreamError::Timeout.into()),
        }
    }
}

fn open_directory(path: PathBuf) -> Result<PathBuf, GitHostError> {
    let opened =
        Path::new(&path).canonicalize().and_then(|canonical| Ok((canonical.metadata()?.is_dir(), canonical)));
    match opened {
        Ok((true, canonical)) => Ok(canonical),
        Ok((false, _)) => Err(GitHostError::NotDirectory { path }),
        Err(source) => Err(GitHostError::Directory { path, source }),
    }
}

/// The length of the body: as it will be passed, or else as the client stated it.
fn length<B: Body>(parts: &Parts, body: &B) -> Option<u64> {
    let stated = || parts.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
    body.size_hint().exact().or_else(stated)
}

fn not_found() -> Response<CgiBody> {
    let mut response = Response::new(CgiBody::text("repository not found\n"));
    *response.status_mut() = StatusCode::NOT_FOUND;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
