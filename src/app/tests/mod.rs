//! Panics: what is lost by one, and what is not.

mod cost;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use super::*;
use crate::app::start::start;
use crate::clock;
use crate::config;
use crate::domain::token::{TokenDigest, TokenFormat};
use crate::gateway::trap::{self, Trap};

const DEADLINE: Duration = Duration::from_secs(20);

struct Site {
    directory: TempDir,
    running: Option<Running>,
    token: String,
    /// Told of each request that has come to the host, which answers none.
    came: mpsc::Receiver<TcpStream>,
}

/// Writes a configuration for a host at `address`; gives its file, and a token that may read.
fn write_site(root: &Path, address: SocketAddr) -> (PathBuf, String) {
    let token = TokenFormat::default().assemble(&[7; TokenFormat::RANDOM_BYTES]).unwrap();
    let token = token.expose().to_owned();
    fs::create_dir_all(root.join("policies/tokens")).unwrap();
    let digest = TokenDigest::of(&token);
    let tokens = format!(
        "tokens: [{{ name: a, sha256: {digest}, user: a, expires_at: 2999-01-31, resource_owner: acme, \
         repositories: [alpha], permissions: {{ contents: read }} }}]\n"
    );
    fs::write(root.join("policies/tokens/a.yaml"), tokens).unwrap();
    let text = format!(
        "listeners: [{{ bind: 127.0.0.1:0 }}]\npolicies: policies\nworkers: 1\ndrain: 5s\n\
         limits: {{ connections: 2 }}\naudit: {{ file: audit }}\nupstreams:\n\
         - {{ name: forge, hosts: [a.test], url: 'http://{address}', catalogs: [github], \
         identity: {{ trusted_header: X-User }} }}\n"
    );
    let file = root.join("portcullis.yaml");
    fs::write(&file, text).unwrap();
    (file, token)
}

impl Site {
    /// One worker, and room for two connections.
    fn start() -> Self {
        let host = StdListener::bind("127.0.0.1:0").unwrap();
        let address = host.local_addr().unwrap();
        let (tell, came) = mpsc::channel();
        thread::spawn(move || {
            for mut stream in host.incoming().flatten() {
                let _head = stream.read(&mut [0; 4096]).unwrap();
                if tell.send(stream).is_err() {
                    return;
                }
            }
        });
        let directory = tempfile::tempdir().unwrap();
        let (file, token) = write_site(directory.path(), address);
        let running = start(&config::load(&file).unwrap(), &file).unwrap();
        Self { directory, running: Some(running), token, came }
    }

    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    fn metric(&self, name: &str) -> f64 {
        let metrics = self.running().metrics();
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
        line.parse().unwrap()
    }

    /// A connection for which `trap` is set before it comes.
    fn connect(&self, trap: Option<Trap>) -> TcpStream {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        if let Some(trap) = trap {
            trap::set(socket.local_addr().unwrap().as_socket().unwrap(), trap);
        }
        socket.connect(&self.running().listeners[0].into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// Sends a request that is refused, and takes its answer.
    fn is_served(stream: &mut TcpStream) {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: b.test\r\n\r\n").unwrap();
        let mut answer = [0; 4096];
        let count = stream.read(&mut answer).unwrap();
        assert!(answer[..count].starts_with(b"HTTP/1.1 404 "), "{}", String::from_utf8_lossy(&answer));
    }
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = clock::monotonic();
    while !done() {
        assert!(start.elapsed() < DEADLINE, "waited in vain for {what}");
        thread::yield_now();
    }
}

const PANICS: &str = "portcullis_worker_panics_total{worker=\"0\"}";

#[test]
fn a_connection_that_panics_is_all_that_ends() {
    let mut site = Site::start();
    let mut other = site.connect(None);
    Site::is_served(&mut other);
    let mut client = site.connect(None);
    let request = format!(
        "GET /repos/acme/alpha/commits HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {}\r\n\r\n",
        site.token
    );
    client.write_all(request.as_bytes()).unwrap();
    let mut host = site.came.recv_timeout(DEADLINE).unwrap();
    assert!((site.metric("portcullis_requests_in_flight") - 1.0).abs() < 0.1);
    assert!(site.metric(PANICS) < 0.1);
    trap::set(client.local_addr().unwrap(), Trap::Connection);
    // What comes wakes it.
    client.write_all(b"GET").unwrap();
    assert!(!matches!(client.read(&mut [0; 10]), Ok(1..)), "it was answered");
    wait_for("the panic to be counted", || site.metric(PANICS) > 0.9);
    wait_for("the request to end", || site.metric("portcullis_requests_in_flight") < 0.1);
    host.set_read_timeout(Some(DEADLINE)).unwrap();
    assert!(!matches!(host.read(&mut [0; 10]), Ok(1..)), "the host was told more");
    // Its place is free again, and the other connection is the same.
    Site::is_served(&mut other);
    Site::is_served(&mut site.connect(None));
    assert!(!site.running().has_failed());
    drop(other);
    site.running.take().unwrap().stop().unwrap();
    let audit = fs::read_to_string(site.directory.path().join("audit")).unwrap();
    let lines: Vec<_> = audit.lines().filter(|line| line.contains("\"path\":\"/repos/")).collect();
    assert_eq!(lines.len(), 1, "{audit}");
    assert!(lines[0].contains("\"effect\":\"aborted\""), "{audit}");
}

#[test]
fn a_worker_that_panics_is_replaced_until_it_happens_too_often() {
    let mut site = Site::start();
    for panics in 1_u32..5 {
        let mut lost = site.connect(Some(Trap::Worker));
        // Comes while there is no worker, or the next one; either way it is served, over the same socket.
        let mut next = site.connect(None);
        Site::is_served(&mut next);
        assert!(!matches!(lost.read(&mut [0; 10]), Ok(1..)));
        assert!((site.metric(PANICS) - f64::from(panics)).abs() < 0.1);
        assert!(!site.running().has_failed());
        drop(next);
        wait_for("the place to be free", || site.metric("portcullis_connections_open") < 0.1);
    }
    let _last = site.connect(Some(Trap::Worker));
    wait_for("the end", || site.running().has_failed());
    let error = site.running.take().unwrap().stop().unwrap_err().to_string();
    assert!(
        error.starts_with(
            "workers failed 5 times within a minute, the last one: it panicked: a trap for 127."
        ),
        "{error}"
    );
}
