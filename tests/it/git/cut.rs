//! What becomes of clones and pushes under way when a token is taken away, and when the gateway drains.

use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Instant;

use crate::git::{READER, Stage, WRITER, Way, policy};
use crate::support::gateway::wait_for;
use crate::support::git::{Said, fingerprint};
use crate::support::policy::token;
use crate::support::relay::{Direction, Relay};

/// Larger than all that buffers on the way can hold.
const SIZE: u64 = 40 << 20;

/// After so much, the network stops.
const STOP: u64 = 2 << 20;

/// As much as may be on its way in the buffers of sockets and processes.
const BUFFERS: u64 = 20 << 20;

/// A network that stops, and a URL over it.
fn stopping(stage: &Stage, seed: u8, direction: Direction) -> (Relay, String) {
    let relay = Relay::start(address(stage), direction, STOP);
    let scheme = if stage.way == Way::Plain { "http" } else { "https" };
    let url = format!("{scheme}://any:{}@{}/acme/alpha.git", token(seed), relay.address);
    (relay, url)
}

fn address(stage: &Stage) -> SocketAddr {
    let listeners = &stage.gateway().running().listeners;
    listeners[usize::from(stage.way != Way::Plain)]
}

/// A clone whose token is dropped from the policy file ends with an error soon, and a new one is refused.
pub(super) fn a_clone_ends_with_its_token(stage: &mut Stage) {
    stage.server.commit_noise("root/acme/alpha.git", "noise", SIZE);
    let (relay, url) = stopping(stage, READER, Direction::Down);
    let clone = stage.client.start(&format!("clone --quiet {url} work"));
    relay.wait_until_stopped();
    stage.gateway().edit("tokens/test.yaml", &policy(&[WRITER]));
    relay.open();
    let said = Said::by(clone);
    assert!(!said.succeeded && said.errors.contains("fatal: "), "{}", said.errors);
    assert!(relay.passed() < STOP + BUFFERS, "{} bytes passed", relay.passed());
    let url = stage.url(READER, "/acme/alpha.git");
    let said = stage.host_sees_nothing(|| stage.client.refused(&format!("clone --quiet {url} again")));
    assert!(said.contains("remote: Portcullis: this token is not known"), "{said}");
    // Another's goes on.
    let url = stage.url(WRITER, "/acme/alpha.git");
    stage.client.ok(&format!("ls-remote {url}"));
}

/// An edit that leaves the token its grant leaves the clone alone.
pub(super) fn a_clone_outlives_other_edits(stage: &mut Stage) {
    stage.server.commit_noise("root/acme/alpha.git", "noise", SIZE);
    let (relay, url) = stopping(stage, READER, Direction::Down);
    let clone = stage.client.start(&format!("clone --quiet {url} work"));
    relay.wait_until_stopped();
    stage.gateway().edit("tokens/test.yaml", &policy(&[READER]));
    relay.open();
    let said = Said::by(clone);
    assert!(said.succeeded, "{}", said.errors);
    assert_eq!(stage.client.ok("-C work rev-parse origin/noise"), stage.server_has("alpha", "noise"));
}

/// A push whose token is dropped changes nothing in the repository.
pub(super) fn a_push_ends_with_its_token(stage: &mut Stage) {
    let client = stage.client.with(&[("http.postBuffer", "65536")], &[]);
    client.seed("work", 1);
    client.commit_noise("work", "noise", SIZE);
    let files = || {
        let files = fingerprint(&stage.root().join("acme"));
        // A git that is stopped leaves its quarantine to `git prune`; nothing in it was ever part of the repository.
        let names = files.iter().filter_map(|file| file.split(' ').next());
        let kept = names.filter(|name| !name.contains("/tmp_objdir-incoming-"));
        kept.map(str::to_owned).collect::<Vec<_>>()
    };
    let before = files();
    let (relay, url) = stopping(stage, WRITER, Direction::Up);
    let push = client.start(&format!("-C work push --quiet {url} noise"));
    relay.wait_until_stopped();
    stage.gateway().edit("tokens/test.yaml", &policy(&[READER]));
    relay.open();
    let said = Said::by(push);
    assert!(!said.succeeded, "{}", said.errors);
    wait_for("git to remove what had come of the pack", || files() == before);
}

/// A gateway that drains takes no new connections, and lets a clone end.
pub(super) fn a_clone_outlives_the_gateway(stage: &mut Stage) {
    stage.server.commit_noise("root/acme/alpha.git", "noise", SIZE);
    let (relay, url) = stopping(stage, READER, Direction::Down);
    let clone = stage.client.start(&format!("clone --quiet {url} work"));
    relay.wait_until_stopped();
    let address = address(stage);
    let running = stage.gateway.as_mut().unwrap().running.take().unwrap();
    let stopping = thread::spawn(move || (running.stop(), Instant::now()));
    wait_for("the listener to close", || TcpStream::connect(address).is_err());
    assert!(!stopping.is_finished(), "the gateway did not wait");
    let opened = Instant::now();
    relay.open();
    let said = Said::by(clone);
    assert!(said.succeeded, "{}", said.errors);
    assert_eq!(stage.client.ok("-C work rev-parse origin/noise"), stage.server_has("alpha", "noise"));
    let (stopped, ended) = stopping.join().unwrap();
    assert!(stopped.is_ok(), "{stopped:?}");
    assert!(ended > opened);
}
