//! The systemd units: systemd reads them without complaint, finds them well closed, and the gateway with the git that it
//! starts runs on the system calls that are left to it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::deploy::{EXAMPLES, Site, run_if_there};
use crate::support::gateway::DEADLINE;

const UNITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/systemd");
const SERVICE: &str = "portcullis.service";
const SOCKET: &str = "portcullis.socket";
const BINARY: &str = env!("CARGO_BIN_EXE_portcullis");

/// The most that systemd may find exposed, in tenths; 100 is everything.
const MOST_EXPOSED: &str = "20";

/// What only the demo's own `sed` asks for, which is no part of the gateway.
const OF_THE_DEMO: [&str; 1] = ["fchown"];

/// The units with the binary that was built.
fn units() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, from) in [(SERVICE, SERVICE), (SOCKET, "socket/portcullis.socket")] {
        let text = fs::read_to_string(Path::new(UNITS).join(from)).unwrap();
        fs::write(directory.path().join(name), text.replace("/usr/bin/portcullis", BINARY)).unwrap();
    }
    directory
}

fn analyze(arguments: &[&str]) -> Option<Output> {
    run_if_there(Command::new("systemd-analyze").args(arguments).env("LC_ALL", "C.UTF-8"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn systemd_reads_the_units_without_complaint() {
    let units = units();
    let file = |name: &str| units.path().join(name).display().to_string();
    let verify = || analyze(&["verify", "--man=no", &file(SERVICE), &file(SOCKET)]);
    let Some(told) = verify() else { return };
    assert!(told.status.success() && told.stderr.is_empty(), "{}", text(&told.stderr));
    let service = fs::read_to_string(file(SERVICE)).unwrap();
    fs::write(file(SERVICE), service.replace("ProtectHome=", "ProtectHouse=")).unwrap();
    let told = text(&verify().unwrap().stderr);
    assert!(told.contains("ProtectHouse"), "{told}");
}

#[test]
fn the_service_is_well_closed() {
    let units = units();
    let file = units.path().join(SERVICE);
    let expose = ["security", "--offline=true", "--threshold", MOST_EXPOSED, file.to_str().unwrap()];
    let Some(told) = analyze(&expose) else { return };
    assert!(told.status.success(), "{}{}", text(&told.stdout), text(&told.stderr));
    let service = fs::read_to_string(&file).unwrap();
    fs::write(&file, service.replace("SystemCallFilter=", "#").replace("ProtectSystem=", "#")).unwrap();
    assert!(!analyze(&expose).unwrap().status.success(), "no threshold");
}

/// The system calls of a group and of those in it, as systemd names them; or the one of that name.
fn expand(groups: &str, name: &str, calls: &mut BTreeSet<String>) {
    if !name.starts_with('@') {
        calls.insert(name.to_owned());
        return;
    }
    let block = groups.split("\n\n").map(str::trim).find(|block| block.lines().next() == Some(name));
    for line in block.unwrap_or_else(|| panic!("no group {name}")).lines().skip(1).map(str::trim) {
        if !line.starts_with('#') {
            expand(groups, line, calls);
        }
    }
}

/// What the unit's filter lets pass.
fn allowed(groups: &str) -> BTreeSet<String> {
    let service = fs::read_to_string(Path::new(UNITS).join(SERVICE)).unwrap();
    let mut calls = BTreeSet::new();
    expand(groups, "@default", &mut calls);
    for list in service.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
        let mut named = BTreeSet::new();
        for group in list.trim_start_matches('~').split(' ') {
            expand(groups, group, &mut named);
        }
        calls = if list.starts_with('~') { &calls - &named } else { &calls | &named };
    }
    calls
}

/// The demo clones and pushes through a gateway with a git directory; all that any of its processes asks for is seen.
#[test]
fn the_gateway_and_its_git_pass_the_filter() {
    let Some(groups) = analyze(&["syscall-filter", "--no-pager"]) else { return };
    let counts = tempfile::NamedTempFile::new().unwrap();
    let mut demo = Command::new("strace");
    demo.args(["-f", "-qq", "-c", "-U", "name,calls", "-o"])
        .arg(counts.path())
        .args([BINARY, "demo", "--walk", "--port", "0"]);
    let Some(walked) = run_if_there(&mut demo) else { return };
    let counts = fs::read_to_string(counts.path()).unwrap();
    if counts.is_empty() {
        println!("skipped: strace cannot trace here: {}", text(&walked.stderr));
        return;
    }
    assert!(walked.status.success(), "{}", text(&walked.stderr));
    let names = counts.lines().skip(2).map_while(|line| line.split_whitespace().next());
    let used: BTreeSet<_> = names.take_while(|name| !name.starts_with('-')).map(str::to_owned).collect();
    assert!(used.contains("execve") && used.contains("accept4"), "{used:?}");
    let allowed = allowed(&text(&groups.stdout));
    let refused: Vec<_> =
        used.difference(&allowed).filter(|name| !OF_THE_DEMO.contains(&name.as_str())).collect();
    assert!(refused.is_empty(), "{refused:?}");
    assert!(!allowed.contains("mount") && !allowed.contains("chown") && allowed.contains("openat"));
}

/// With `Type=notify` systemd waits for a word, and stops a gateway that never says it.
#[test]
fn the_gateway_says_what_the_unit_waits_for() {
    let service = fs::read_to_string(Path::new(UNITS).join(SERVICE)).unwrap();
    assert!(service.contains("\nType=notify\n"), "nothing waits for the word; remove this test");
    let site = Site::of(&Path::new(EXAMPLES).join("nginx-git"));
    site.replace("portcullis.yaml", "0.0.0.0:8443", "127.0.0.1:0");
    site.replace("portcullis.yaml", "127.0.0.1:8081", "127.0.0.1:0");
    let path = site.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut serve = Command::new(BINARY);
    serve.arg("serve").current_dir(site.path("")).env("NOTIFY_SOCKET", &path);
    let mut child = serve.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut word = [0; 4096];
    let said = socket.recv(&mut word).map(|count| text(&word[..count]));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(said.as_ref().is_ok_and(|said| said.starts_with("READY=1")), "{said:?}");
}
