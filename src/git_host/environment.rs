//! What git is told: the environment of a `git http-backend`, as RFC 3875 section 4.1 and git-http-backend(1) name it.
//!
//! It starts empty and holds what stands here, so that neither a client's header (`Proxy` as `HTTP_PROXY`) nor the
//! gateway's own environment reaches git or a hook.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command as BlockingCommand, Stdio};

use http::HeaderName;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;
use tokio::process::Command;

use crate::git_host::repository::Place;
use crate::git_host::{Caller, GitHostError};

/// Where git finds what it starts itself, and hooks what they start.
const PROGRAMS: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How much of a negotiation git keeps in memory, for each child: its own default, set so that it cannot change.
const REQUEST_BUFFER: &str = "10485760";

/// A git that can serve.
#[derive(Debug)]
pub(super) struct Installation {
    backend: PathBuf,
    path: OsString,
}

impl Installation {
    /// Asks `git` where its programs are.
    ///
    /// # Errors
    /// [`GitHostError::GitMissing`] and [`GitHostError::BackendMissing`].
    pub(super) fn find(git: &Path) -> Result<Self, GitHostError> {
        let missing = |reason: String| GitHostError::GitMissing { git: git.to_owned(), reason };
        let output = BlockingCommand::new(git)
            .arg("--exec-path")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| missing(error.to_string()))?;
        if !output.status.success() {
            return Err(missing(output.status.to_string()));
        }
        let directory = String::from_utf8(output.stdout).map_err(|error| missing(error.to_string()))?;
        let directory = PathBuf::from(directory.trim_end());
        let backend = directory.join("git-http-backend");
        if !backend.is_file() {
            return Err(GitHostError::BackendMissing { directory });
        }
        let mut path = directory.into_os_string();
        if let Some(parent) = git.parent().filter(|parent| parent.is_absolute()) {
            path.push(":");
            path.push(parent);
        }
        path.push(":");
        path.push(PROGRAMS);
        Ok(Self { backend, path })
    }

    /// Git over the repositories below `directory`, with all that does not depend on the request.
    pub(super) fn command(&self, directory: &Path) -> Command {
        let mut command = Command::new(&self.backend);
        command
            .current_dir(directory)
            .env_clear()
            .env("PATH", &self.path)
            .env("HOME", "/nonexistent")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_PROJECT_ROOT", directory)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("GIT_HTTP_MAX_REQUEST_BUFFER", REQUEST_BUFFER)
            .env("GATEWAY_INTERFACE", "CGI/1.1")
            // Whatever the client spoke: git answers in the status codes of HTTP/1.1 only when it reads this.
            .env("SERVER_PROTOCOL", "HTTP/1.1");
        command
    }
}

/// Adds what the request says.
pub(super) fn request(command: &mut Command, parts: &Parts, place: &Place, length: Option<u64>) {
    let mut path = OsString::from("/");
    path.push(&place.repository);
    path.push("/");
    path.push(&place.service);
    command
        .env("PATH_INFO", path)
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default());
    if let Some(length) = length {
        command.env("CONTENT_LENGTH", length.to_string());
    }
    let mut pass = |header: HeaderName, variable: &str| {
        if let Some(value) = parts.headers.get(header).and_then(|value| value.to_str().ok()) {
            command.env(variable, value);
        }
    };
    pass(CONTENT_TYPE, "CONTENT_TYPE");
    pass(CONTENT_ENCODING, "HTTP_CONTENT_ENCODING");
    pass(HeaderName::from_static("git-protocol"), "HTTP_GIT_PROTOCOL");
}

/// Adds who calls, and what git may do for them. Git makes the committer of a reflog from `REMOTE_USER` and
/// `REMOTE_ADDR`.
pub(super) fn caller(command: &mut Command, caller: &Caller<'_>) {
    if !caller.user.is_empty() {
        command.env("REMOTE_USER", caller.user);
    }
    command.env("REMOTE_ADDR", caller.peer.ip().to_canonical().to_string());
    let receive = if caller.push { "true" } else { "false" };
    let settings = [
        ("http.receivepack", receive),
        ("http.uploadpack", "true"),
        ("uploadpack.allowFilter", "true"),
        // The repositories may belong to another user of this machine.
        ("safe.directory", "*"),
    ];
    command.env("GIT_CONFIG_COUNT", settings.len().to_string());
    for (at, (key, value)) in settings.into_iter().enumerate() {
        command.env(format!("GIT_CONFIG_KEY_{at}"), OsStr::new(key));
        command.env(format!("GIT_CONFIG_VALUE_{at}"), OsStr::new(value));
    }
}
