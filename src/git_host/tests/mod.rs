//! The git host as it is used: real repositories, real git, and a small HTTP server around it.
//!
//! Linux alone: that processes have ended is seen in `/proc`.

mod clients;
mod limits;
mod programs;

use std::convert::Infallible;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::answer::CgiBody;
use super::{Caller, GitHost, GitHostError, GitHostSettings, ServeError};

impl GitHost {
    /// Answers a request that comes as a whole.
    async fn serve_request<B>(
        &self,
        request: Request<B>,
        caller: &Caller<'_>,
    ) -> Result<Response<CgiBody>, ServeError>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: std::fmt::Display + Send,
    {
        let (parts, body) = request.into_parts();
        self.serve(&parts, body, caller).await
    }
}

/// How long a test waits for what must happen.
const DEADLINE: Duration = Duration::from_secs(30);

/// Repositories on disk, and the work trees of a client.
struct Disk {
    home: TempDir,
}

impl Disk {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("root")).unwrap();
        Self { home }
    }

    fn root(&self) -> PathBuf {
        self.home.path().join("root").canonicalize().unwrap()
    }

    fn settings(&self) -> GitHostSettings {
        GitHostSettings {
            directory: self.root(),
            git: "git".into(),
            max_children: 8,
            queue_timeout: DEADLINE,
            first_byte_timeout: DEADLINE,
        }
    }

    /// The host, or nothing where this machine has no git to serve with.
    #[expect(clippy::print_stderr, reason = "says why the test is skipped")]
    fn host(settings: GitHostSettings) -> Option<GitHost> {
        match GitHost::new(settings) {
            Ok(host) => Some(host),
            Err(error @ (GitHostError::GitMissing { .. } | GitHostError::BackendMissing { .. })) => {
                eprintln!("skipped: {error}");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// A bare repository with `commits` commits on `main`, each with a file of `size` bytes that do not compress.
    fn seed(&self, name: &str, commits: usize, size: usize) {
        self.ok(&format!("init --quiet --bare --initial-branch=main root/{name}"));
        self.commit(&format!("root/{name}"), commits, size);
    }

    /// More commits on `main`, without a checkout.
    fn commit(&self, repository: &str, commits: usize, size: usize) {
        let has_main = self.git(&format!("-C {repository} rev-parse --verify main"), b"").status.success();
        let mut stream = Vec::new();
        let mut noise: u64 = 0x9e37_79b9_7f4a_7c15;
        for at in 0..commits {
            let from = if at == 0 && has_main { "from refs/heads/main^0\n" } else { "" };
            write!(stream, "commit refs/heads/main\ncommitter T <t@example.com> {at} +0000\n").unwrap();
            write!(stream, "data 1\nx\n{from}M 100644 inline file-{at}-{size}\ndata {size}\n").unwrap();
            let bytes = std::iter::repeat_with(|| {
                noise ^= noise << 13;
                noise ^= noise >> 7;
                noise ^= noise << 17;
                noise.to_le_bytes()
            });
            stream.extend(bytes.flatten().take(size));
            stream.push(b'\n');
        }
        let output = self.git(&format!("-C {repository} fast-import --quiet"), &stream);
        assert!(output.status.success(), "{output:?}");
    }

    /// Runs git with nothing of this machine's configuration.
    fn git(&self, line: &str, input: &[u8]) -> Output {
        self.git_with(line, input, ("GIT_SMART_HTTP", "1"))
    }

    fn git_with(&self, line: &str, input: &[u8], variable: (&str, &str)) -> Output {
        let mut child = Command::new("git")
            .args(line.split_whitespace())
            .current_dir(self.home.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .envs(["GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"].map(|name| (name, "Client")))
            .envs(["GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"].map(|name| (name, "client@example.com")))
            .env(variable.0, variable.1)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }

    #[track_caller]
    fn ok(&self, line: &str) -> String {
        let output = self.git(line, b"");
        assert!(output.status.success(), "git {line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// git must fail; what it says.
    #[track_caller]
    fn refused(&self, line: &str) -> String {
        let output = self.git(line, b"");
        assert!(!output.status.success(), "git {line}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// A program, written by another process: a file that this one holds open for writing cannot be run.
    fn program(&self, path: impl AsRef<Path>, text: &str) -> PathBuf {
        let path = self.home.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut child = Command::new("sh")
            .args([OsStr::new("-c"), OsStr::new("cat > \"$0\" && chmod 755 \"$0\""), path.as_os_str()])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        path
    }
}

/// What the server saw of a request.
#[derive(Debug, Clone)]
struct Seen {
    target: String,
    protocol: String,
    encoding: String,
    chunked: bool,
}

/// A server around a git host, on two threads with a runtime each.
struct Server {
    disk: Disk,
    host: GitHost,
    address: SocketAddr,
    push: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    fn start() -> Option<Self> {
        let disk = Disk::new();
        let host = Disk::host(disk.settings())?;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let (stop, stopped) = watch::channel(false);
        let (push, seen) = (Arc::new(AtomicBool::new(true)), Arc::default());
        let site = Site { host: host.clone(), push: Arc::clone(&push), seen: Arc::clone(&seen) };
        let address = listener.local_addr().unwrap();
        let start = |_| {
            let (listener, site, stopped) = (listener.try_clone().unwrap(), site.clone(), stopped.clone());
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            thread::spawn(move || runtime.block_on(site.run(listener, stopped)))
        };
        let threads = (0..2).map(start).collect();
        Some(Self { disk, host, address, push, seen, stop, threads })
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

#[derive(Clone)]
struct Site {
    host: GitHost,
    push: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Site {
    async fn run(self, listener: TcpListener, mut stopped: watch::Receiver<bool>) {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let mut connections = JoinSet::new();
        loop {
            let (stream, peer) = tokio::select! {
                accepted = listener.accept() => accepted.unwrap(),
                _ = stopped.wait_for(|stopped| *stopped) => return,
            };
            let site = self.clone();
            connections.spawn(async move {
                let answer = |request| async { Ok::<_, Infallible>(site.answer(request, peer).await) };
                drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await);
            });
        }
    }

    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<CgiBody> {
        let header = |name: &str| {
            let value = request.headers().get(name).map(|value| value.to_str().unwrap());
            value.unwrap_or_default().to_owned()
        };
        self.seen.lock().unwrap().push(Seen {
            target: request.uri().to_string(),
            protocol: header("git-protocol"),
            encoding: header("content-encoding"),
            chunked: header("transfer-encoding") == "chunked",
        });
        let push = self.push.load(Ordering::SeqCst);
        let caller = Caller { user: "alice", peer, push };
        self.host.serve_request(request, &caller).await.unwrap_or_else(|error| {
            let mut response = Response::new(CgiBody::text("failed\n"));
            *response.status_mut() = match error {
                ServeError::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
                ServeError::Upstream(_) => StatusCode::BAD_GATEWAY,
            };
            response
        })
    }
}

/// A request body that a test writes as it goes; it ends when the sender is dropped.
struct Script(mpsc::Receiver<io::Result<Bytes>>);

impl Script {
    fn new() -> (mpsc::Sender<io::Result<Bytes>>, Self) {
        let (sender, receiver) = mpsc::channel(1);
        (sender, Self(receiver))
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

/// Every process that serves the repositories of `disk`: git's own children inherit its environment.
fn processes(disk: &Disk) -> Vec<u32> {
    let mark = format!("GIT_PROJECT_ROOT={}\0", disk.root().display()).into_bytes();
    let serves = |id: &u32| {
        let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        environment.windows(mark.len()).any(|window| window == mark)
    };
    let entries = fs::read_dir("/proc").unwrap();
    let ids = entries.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    ids.filter(serves).collect()
}

/// Waits until as many processes serve the repositories of `disk`: what was started or killed needs its time.
async fn processes_are(disk: &Disk, want: usize) {
    within(async {
        while processes(disk).len() != want {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// A caller who may push.
fn alice() -> Caller<'static> {
    Caller { user: "alice", peer: SocketAddr::from(([192, 0, 2, 7], 4711)), push: true }
}

/// Gives up when what must happen does not.
async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("it must happen before the deadline")
}
