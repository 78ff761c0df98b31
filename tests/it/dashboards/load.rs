//! A gateway with something of everything to show: requests that pass and that do not, git, TLS, tokens in every state,
//! a policy that is refused, hosts that fail, more connections than it takes.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use portcullis::domain::token::TokenDigest;

use crate::support::gateway::{TestGateway, authorization, wait_for, write};
use crate::support::git::Git;
use crate::support::policy::token;
use crate::support::secure::Authority;
use crate::support::wire::{Host, Wire, field, ok};

/// Tokens by seed.
pub(super) const READER: u8 = 1;
const WRITER: u8 = 2;
const REVOKED: u8 = 3;
const EXPIRED: u8 = 4;
const ON_TRIAL: u8 = 5;
const PENDING: u8 = 6;
const EXPIRES_SOON: u8 = 7;
/// This one and the next are in nobody's hands.
const UNUSED: u8 = 9;
/// In no policy file.
const UNKNOWN: u8 = 8;

/// How many connections the gateway takes.
const CONNECTIONS: usize = 48;

/// A rule's file, and one with a fault.
const SOUND: &str = "deny: [{ name: closed, route: 'GET /repos/{owner}/{repo}/hooks' }]\n";
const FAULTY: &str = "deny: [nothing]\n";

const COMMITS: &str = "/repos/acme/alpha/commits";

/// What the first two clients ask for, in turns.
const REQUESTS: [(&str, u8, &str, &str); 20] = [
    (API, READER, "GET", COMMITS),
    (API, WRITER, "GET", COMMITS),
    (LEGACY, READER, "GET", COMMITS),
    (API, READER, "GET", "/repos/acme/alpha/contents/readme"),
    (API, WRITER, "POST", "/repos/acme/alpha/git/refs"),
    (API, EXPIRES_SOON, "GET", COMMITS),
    (API, READER, "GET", "/repos/acme/beta/commits"),
    (API, WRITER, "GET", COMMITS),
    (API, ON_TRIAL, "GET", "/repos/umbrella/alpha/commits"),
    (API, READER, "GET", COMMITS),
    (API, WRITER, "GET", COMMITS),
    (LEGACY, WRITER, "GET", COMMITS),
    (API, REVOKED, "GET", COMMITS),
    (API, READER, "GET", COMMITS),
    (API, EXPIRES_SOON, "GET", COMMITS),
    (API, WRITER, "GET", "/repos/acme/alpha/contents/readme"),
    (API, READER, "POST", "/repos/acme/alpha/git/refs"),
    (API, READER, "GET", COMMITS),
    (API, WRITER, "POST", "/repos/acme/alpha/git/refs"),
    (API, WRITER, "GET", COMMITS),
];

/// How many requests a client sends before it connects anew.
const REQUESTS_A_CONNECTION: usize = 50;

/// The names of hosts.
const API: &str = "api.example.com";
const LEGACY: &str = "legacy.example.com";

/// A gateway, its hosts, and clients that do not stop by themselves.
pub(super) struct Load {
    pub(super) gateway: TestGateway,
    /// Whether the host behind `legacy` closes each connection.
    pub(super) broken: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
    _server: Git,
}

impl Load {
    /// Starts all of it; `rhythm` is the pause between two requests of a client, some seconds after the start, and
    /// every so many pauses there is trouble.
    pub(super) fn start(rhythm: fn(f64) -> Duration, trouble_every: u32) -> Self {
        let server = Git::new();
        fs::create_dir_all(server.path("root/acme")).unwrap();
        for name in ["alpha", "beta"] {
            server.seed(&format!("root/acme/{name}.git"), 5);
        }
        server.commit_noise("root/acme/alpha.git", "noise", 200_000);
        let host = Host::start(|wire, _| serve(wire));
        let broken = Arc::new(AtomicBool::new(false));
        let is_broken = Arc::clone(&broken);
        let legacy = Host::start(move |wire, _| {
            if !is_broken.load(Ordering::Relaxed) {
                serve_until(wire, || is_broken.load(Ordering::Relaxed));
            }
        });
        let authority = Authority::new();
        let gateway =
            gateway(&authority, &server.path("root").display().to_string(), host.address, legacy.address);
        let over = Arc::new(AtomicBool::new(false));
        let [plain, secure] = [0, 1].map(|at| gateway.running().listeners[at]);
        let pace = Pace { over: Arc::clone(&over), start: Instant::now(), rhythm };
        let clients = vec![
            spawn(&pace, move |pace| rest(pace, None, || Wire::connect(plain))),
            spawn(&pace, move |pace| {
                rest(pace, Some(API), || Wire::connect_tls(secure, authority.client(&["http/1.1"]), API));
            }),
            spawn(&pace, move |pace| git(pace, plain)),
            spawn(&pace, move |pace| trouble(pace, trouble_every, plain, secure)),
        ];
        Self { gateway, broken, over, clients, _server: server }
    }

    /// Writes a policy with a fault, or a sound one, and waits until the gateway has seen it.
    pub(super) fn policy(&self, sound: bool) {
        let generation = self.gateway.metric("portcullis_snapshot_generation");
        let text = SOUND.replace("closed", &format!("closed since {generation}"));
        write(&self.gateway.policy_file("deny.yaml"), if sound { &text } else { FAULTY });
        let stale = if sound { 0.0 } else { 1.0 };
        wait_for("the policy", || (self.gateway.metric("portcullis_snapshot_stale") - stale).abs() < 0.5);
    }

    /// Opens more connections than the gateway takes, until it has refused some.
    pub(super) fn crowd(&self) {
        let refused = || self.gateway.metric("portcullis_connections_refused_total");
        let before = refused();
        let address = self.gateway.address();
        let _open: Vec<_> = (0..CONNECTIONS * 2).map(|_| Wire::connect(address)).collect();
        wait_for("connections to be refused", || refused() > before);
    }
}

impl Drop for Load {
    /// Ends the clients, and fails where one failed.
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        for client in self.clients.drain(..) {
            let ended = client.join();
            assert!(ended.is_ok() || thread::panicking(), "a client failed");
        }
    }
}

/// When a client does its next thing, and when no more.
#[derive(Clone)]
struct Pace {
    over: Arc<AtomicBool>,
    start: Instant,
    rhythm: fn(f64) -> Duration,
}

impl Pace {
    /// Waits `times` pauses; whether to go on.
    fn next(&self, times: u32) -> bool {
        thread::park_timeout((self.rhythm)(self.start.elapsed().as_secs_f64()) * times);
        !self.over.load(Ordering::Relaxed)
    }
}

fn spawn(pace: &Pace, client: impl FnOnce(&Pace) + Send + 'static) -> JoinHandle<()> {
    let pace = pace.clone();
    thread::spawn(move || client(&pace))
}

fn gateway(authority: &Authority, root: &str, host: SocketAddr, legacy: SocketAddr) -> TestGateway {
    let directory = tempfile::tempdir().unwrap();
    let in_days = Timestamp::now() + SignedDuration::from_hours(24 * 10);
    let date = in_days.to_zoned(TimeZone::UTC).date();
    authority.issue_until(&["git.example.com", API], date).write(directory.path(), "cert");
    let top = format!(
        "listeners: [{{ bind: 127.0.0.1:0 }}, {{ bind: 127.0.0.1:0, tls: {{ certificate: cert.pem, key: cert.key }} }}]\nlimits: {{ connections: {CONNECTIONS} }}"
    );
    let header = "identity: { trusted_header: X-WEBAUTH-USER }, catalogs: [github]";
    let upstreams = format!(
        "  - {{ name: api, hosts: [{API}], url: 'http://{host}', timeouts: {{ response: 300ms }}, {header} }}
  - {{ name: legacy, hosts: [{LEGACY}], url: 'http://{legacy}', {header} }}
  - {{ name: git, hosts: ['*'], git_directory: '{root}', catalogs: [git] }}"
    );
    let shadow = "organization: umbrella\nceiling: { contents: none }\nmode: shadow\n";
    let policies = [
        ("tokens/test.yaml", tokens()),
        ("organizations/umbrella.yaml", shadow.to_owned()),
        ("deny.yaml", SOUND.to_owned()),
    ];
    TestGateway::in_directory(directory, &top, &upstreams, &policies)
}

fn tokens() -> String {
    let mut text = String::from("tokens:\n");
    let in_hours = |hours: i64| (Timestamp::now() + SignedDuration::from_hours(hours)).to_string();
    let (tonight, this_week, this_month) = (in_hours(12), in_hours(100), in_hours(500));
    for (seed, permission, owner, state, expires_at) in [
        (READER, "read", "acme", "active", "2999-01-01"),
        (WRITER, "write", "acme", "active", "2999-01-01"),
        (REVOKED, "write", "acme", "revoked", "2999-01-01"),
        (EXPIRED, "write", "acme", "active", "2026-01-01"),
        (ON_TRIAL, "read", "umbrella", "active", "2999-01-01"),
        (PENDING, "read", "acme", "pending", "2999-01-01"),
        (EXPIRES_SOON, "read", "acme", "active", tonight.as_str()),
        (UNUSED, "read", "acme", "active", this_week.as_str()),
        (UNUSED + 1, "read", "acme", "active", this_month.as_str()),
    ] {
        let digest = TokenDigest::of(&token(seed));
        writeln!(
            text,
            "  - {{ name: token {seed}, sha256: {digest}, user: user{seed}, resource_owner: {owner}, repositories: [alpha], permissions: {{ contents: {permission} }}, state: {state}, expires_at: '{expires_at}' }}"
        )
        .unwrap();
    }
    text
}

/// A host that answers most requests well.
fn serve(wire: Wire) {
    serve_until(wire, || false);
}

/// As [`serve`], until it breaks.
fn serve_until(mut wire: Wire, broken: impl Fn() -> bool) {
    while let Some(head) = wire.head().filter(|_| !broken()) {
        let length = field(&head, "content-length").map_or(0, |length| length.parse().unwrap());
        wire.skip(length);
        let answer = if head.contains("sha=broken") {
            "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n".into()
        } else if head.contains("sha=cut") {
            "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello".into()
        } else if head.contains("sha=slow") {
            String::new()
        } else {
            ok(&"a commit\n".repeat(500))
        };
        if wire.try_send(answer).is_err() || head.contains("sha=cut") {
            return;
        }
    }
}

fn request(host: &str, seed: u8, method: &str, target: &str) -> String {
    let length = if method == "POST" { "Content-Length: 2\r\n\r\n{}" } else { "\r\n" };
    format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{}{length}", authorization(seed))
}

/// Sends `request` and reads the answer, if there is one.
fn exchange(wire: &mut Wire, request: &str) -> Option<()> {
    wire.try_send(request).ok()?;
    let head = wire.head()?;
    let length = field(&head, "content-length")?.parse().ok()?;
    wire.try_skip(length).ok()
}

/// One connection, and a new one when the gateway closes it; `only` for one host, as TLS wants it.
fn rest(pace: &Pace, only: Option<&str>, connect: impl Fn() -> Wire) {
    let mut wire = None;
    let asked = REQUESTS.iter().filter(|(host, ..)| only.is_none_or(|only| only == *host));
    for (number, (host, seed, method, target)) in asked.cycle().enumerate() {
        if !pace.next(1) {
            return;
        }
        if number % REQUESTS_A_CONNECTION == 0 {
            wire = None;
        }
        let open = wire.get_or_insert_with(&connect);
        if exchange(open, &request(host, *seed, method, target)).is_none() {
            wire = None;
        }
    }
}

/// Clones, fetches and pushes; and what is refused of these.
fn git(pace: &Pace, address: SocketAddr) {
    let client = Git::new();
    let url = |seed: u8, name: &str| format!("http://x:{}@{address}/acme/{name}.git", token(seed));
    let mut number = 0;
    while pace.next(40) {
        number += 1;
        // Where the gateway is crowded out, or the policy just then refused, one of these may fail.
        client.run(&format!("clone --quiet {} {number}", url(WRITER, "alpha")));
        client.run(&format!("-C {number} commit --quiet --allow-empty -m {number}"));
        client.run(&format!("-C {number} push --quiet origin HEAD:refs/heads/branch-{number}"));
        client.run(&format!("-C {number} push --quiet {} HEAD:refs/heads/no", url(READER, "alpha")));
        client.run(&format!("-C {number} fetch --quiet"));
        client.run(&format!("ls-remote {}", url(READER, "beta")));
        drop(fs::remove_dir_all(client.path(&number.to_string())));
    }
}

/// Everything that an alert is about.
fn trouble(pace: &Pace, every: u32, plain: SocketAddr, secure: SocketAddr) {
    while pace.next(every) {
        let once = |request: String| exchange(&mut Wire::connect(plain), &request);
        for target in ["sha=broken", "sha=cut", "sha=slow"] {
            once(request(API, READER, "GET", &format!("{COMMITS}?{target}")));
        }
        for seed in [EXPIRED, PENDING, UNKNOWN] {
            once(request(API, seed, "GET", COMMITS));
        }
        once(format!("GET /repos/acme/alpha/../beta HTTP/1.1\r\nHost: {API}\r\n\r\n"));
        for _ in 0..4 {
            once(request(API, REVOKED, "GET", COMMITS));
            once(format!("GET {COMMITS} HTTP/1.1\r\nHost : {API}\r\n\r\n"));
            // No handshake comes of this.
            drop(Wire::connect(secure).try_send("GET / HTTP/1.0\r\n\r\n"));
        }
    }
}
