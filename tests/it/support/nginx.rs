//! nginx and fcgiwrap around `git http-backend`, as the example in `deploy` has them: a host that trusts a header.
//!
//! fcgiwrap takes its listening socket as standard input. nginx listens on a port that stays reserved.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::support::gateway::wait_for;

/// How many requests the host serves at a time.
const PLACES: usize = 4;

/// The host's configuration as it is shipped.
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/examples/nginx-git/nginx.conf");

/// The field that the host takes the user's name from.
pub(crate) const USER_FIELD: &str = "X-Remote-User";

/// A host that runs until it is dropped.
pub(crate) struct Nginx {
    pub(crate) address: SocketAddr,
    directory: TempDir,
    children: Vec<Child>,
    _reserved: Socket,
}

impl Nginx {
    /// Serves the repositories below `root`, or says what is not installed.
    pub(crate) fn start(root: &Path) -> Result<Self, String> {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("fcgi.sock");
        let gates = UnixListener::bind(&socket).unwrap();
        let (reserved, address) = reserve();
        let file = directory.path().join("nginx.conf");
        fs::write(&file, configuration(directory.path(), &server(&socket, root, address))).unwrap();

        let mut host = Self { address, directory, children: Vec::new(), _reserved: reserved };
        for _ in 0..PLACES {
            let mut fcgiwrap = Command::new("fcgiwrap");
            let input = Stdio::from(OwnedFd::from(gates.try_clone().unwrap()));
            host.run("fcgiwrap", fcgiwrap.stdin(input))?;
        }
        let mut nginx = Command::new("nginx");
        nginx
            .arg("-c")
            .arg(&file)
            .arg("-p")
            .arg(host.directory.path())
            .args(["-e", "stderr"])
            .stdin(Stdio::null());
        host.run("nginx", &mut nginx)?;
        wait_for("nginx", || TcpStream::connect(address).is_ok());
        Ok(host)
    }

    /// Starts a program in a process group of its own, so that it ends with all that it started.
    fn run(&mut self, name: &str, command: &mut Command) -> Result<(), String> {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.directory.path().join(format!("{name}.log")))
            .unwrap();
        let started = command
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .spawn();
        match started {
            Ok(child) => {
                self.children.push(child);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(name.to_owned()),
            Err(error) => panic!("{name}: {error}"),
        }
    }

    /// The requests that the host has answered.
    pub(crate) fn answered(&self) -> Vec<String> {
        let log = fs::read_to_string(self.directory.path().join("access.log"));
        log.unwrap_or_default().lines().map(str::to_owned).collect()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        for child in &mut self.children {
            if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                let killed = kill_process_group(group, Signal::KILL);
                let ended = child.wait();
                assert!(killed.is_ok() && ended.is_ok() || std::thread::panicking(), "{killed:?} {ended:?}");
            }
        }
    }
}

/// A port that nobody else gets: taken, but not listened on, and only who shares it may take it too.
fn reserve() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

/// The example's `nginx.conf`, with places of this machine.
fn server(socket: &Path, root: &Path, address: SocketAddr) -> String {
    let output = Command::new("git").arg("--exec-path").output().unwrap();
    let backend = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim()).join("git-http-backend");
    let places = [
        ("listen 127.0.0.1:3000;", format!("listen {address} reuseport;")),
        ("unix:/run/fcgiwrap.socket;", format!("unix:{};", socket.display())),
        (
            "SCRIPT_FILENAME /usr/lib/git-core/git-http-backend;",
            format!("SCRIPT_FILENAME {};", backend.display()),
        ),
        ("GIT_PROJECT_ROOT /srv/git;", format!("GIT_PROJECT_ROOT {};", root.display())),
    ];
    let mut text = fs::read_to_string(EXAMPLE).unwrap();
    for (from, to) in places {
        assert_eq!(text.matches(from).count(), 1, "{EXAMPLE}: `{from}`");
        text = text.replace(from, &to);
    }
    text
}

/// One process without a master, everything below `directory`, and `server` in it.
fn configuration(directory: &Path, server: &str) -> String {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("  {name}_temp_path {}/{name};\n", directory.display()))
        .concat();
    format!(
        "daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 64; }}
http {{
{temporary}
  access_log {directory}/access.log;
  keepalive_timeout 60;
{server}
}}
",
        directory = directory.display(),
    )
}
