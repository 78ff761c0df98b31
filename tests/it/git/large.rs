//! A large push: what it costs to go through the gateway, in memory and in time.

use std::fs;
use std::time::{Duration, Instant};

use crate::git::{Stage, WRITER};
use crate::support::git::Git;
use crate::support::nginx::USER_FIELD;

/// What is pushed.
const SIZE: u64 = 200 << 20;

/// What the gateway, and all that runs beside it in this process, may take for it.
const MEMORY: u64 = 64 << 20;

/// A push of [`SIZE`] in chunks streams: memory does not follow its size.
#[expect(clippy::print_stderr, reason = "measures")]
pub(super) fn a_push_streams(stage: &mut Stage) {
    let client = stage.client.with(&[], &[("GIT_CURL_VERBOSE", "1")]);
    client.ok("init --quiet --bare work");
    client.commit_noise("work", "main", SIZE);
    let direct = stage.nginx.as_ref().map(|nginx| {
        let field = format!("{USER_FIELD}: user2");
        let direct = client.with(&[("http.extraHeader", &field)], &[]);
        fs::rename(client.path("work"), direct.path("work")).unwrap();
        let took = push(&direct, &format!("http://{}/acme/beta.git", nginx.address), stage);
        fs::rename(direct.path("work"), client.path("work")).unwrap();
        took
    });
    let before = reset_peak();
    let took = push(&client, &stage.url(WRITER, "/acme/alpha.git"), stage);
    let grown = memory("VmHWM").saturating_sub(before);
    assert_eq!(stage.server_has("alpha", "noise"), client.ok("-C work rev-parse main"));
    let ratio = direct.map(|direct| {
        let ratio = took.as_secs_f64() / direct.as_secs_f64();
        format!(", directly {direct:.2?}, ratio {ratio:.2}")
    });
    eprintln!(
        "{} MiB to {:?} over {:?}: {took:.2?}{}; memory grew by {} KiB",
        SIZE >> 20,
        stage.host,
        stage.way,
        ratio.unwrap_or_default(),
        grown >> 10,
    );
    assert!(grown < MEMORY, "memory grew by {grown} bytes");
}

fn push(client: &Git, url: &str, stage: &Stage) -> Duration {
    let start = Instant::now();
    let said = client.trace(&format!("-C work push {url} main:refs/heads/noise"));
    let took = start.elapsed();
    let sent = said.to_ascii_lowercase();
    assert!(
        sent.contains("transfer-encoding: chunked") || sent.contains("http/2 200"),
        "{:?}: {said}",
        stage.way
    );
    took
}

/// Begins to measure the peak anew; how much memory the process takes now, in bytes.
fn reset_peak() -> u64 {
    fs::write("/proc/self/clear_refs", "5").unwrap();
    memory("VmRSS")
}

fn memory(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kibibytes << 10
}
