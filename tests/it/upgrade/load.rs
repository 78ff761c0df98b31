//! Upgrades in place while clients send requests and git clones: nothing fails, nothing is lost.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use rustix::process::Signal;

use crate::support::gateway::{audit_lines, head, status, wait_for};
use crate::support::git::Said;
use crate::support::load::{Connections, Load};
use crate::support::process::lives;
use crate::support::relay::{Direction, Relay};
use crate::support::wire::Wire;
use crate::upgrade::{Site, answers, descendants, holds, request, url_at};

/// Requests in all; `PORTCULLIS_TEST_REQUESTS` asks for another number.
const REQUESTS: usize = 40_000;

const UPGRADES: usize = 3;

/// Larger than all that buffers on the way can hold, and where the network stops in it.
const SIZE: u64 = 40 << 20;
const STOP: u64 = 2 << 20;

#[test]
fn no_request_and_no_clone_fails_over_several_upgrades() {
    let asked = std::env::var("PORTCULLIS_TEST_REQUESTS").ok().and_then(|asked| asked.parse().ok());
    let requests: usize = asked.unwrap_or(REQUESTS);
    let mut site = Site::new(SIZE);
    let mut process = site.serve();
    let address = process.address();
    let url = url_at(address);
    let start = Instant::now();
    let load = Load::start(address, &request(), &[(Connections::Kept, 6), (Connections::New, 2)]);
    let ends = Arc::new(AtomicBool::new(false));
    let small = {
        let (client, url, ends) = (site.client.with(&[], &[]), url, Arc::clone(&ends));
        thread::spawn(move || {
            let mut clones = 0;
            while !ends.load(Ordering::SeqCst) {
                client.ok(&format!("clone --quiet --single-branch --branch main {url} work-{clones}"));
                clones += 1;
            }
            clones
        })
    };
    let mut relays = Vec::new();
    for upgrade in 1..=UPGRADES {
        wait_for("a part of the requests", || load.answered() >= requests * upgrade / (UPGRADES + 1));
        // A clone that has begun before and ends after.
        let relay = Relay::start(address, Direction::Down, STOP);
        let clone = site.client.start(&format!("clone --quiet {} large-{upgrade}", url_at(relay.address)));
        relay.wait_until_stopped();
        let old = process.pid();
        process.upgrade();
        assert!(lives(old), "the old process did not wait for the clone");
        assert_eq!(process.address(), address);
        relay.open();
        relays.push((relay, clone));
    }
    wait_for("the rest of the requests", || load.answered() >= requests);
    for (_relay, clone) in relays {
        let said = Said::by(clone);
        assert!(said.succeeded, "{}", said.errors);
    }
    ends.store(true, Ordering::SeqCst);
    let clones = small.join().unwrap();
    let (answered, ended, failures) = load.end();
    let took = start.elapsed();
    println!("{answered} requests, {ended} connections ended, {clones} clones in {took:?}: {failures:?}");
    assert_eq!(failures, Vec::<String>::new());
    assert!(ended > 0, "no connection was told to close");
    assert!(clones > 0);
    assert!(process.first_ended().success());
    let audit = process.directory.path().join("audit.log");
    process.stop();
    // Each line whole, one for each request, though several processes write.
    let lines = audit_lines(&audit);
    let asked: Vec<_> = lines.iter().filter(|line| line["upstream"] == "forge").collect();
    assert_eq!(asked.len(), answered);
    assert!(asked.iter().all(|line| line["effect"] == "forwarded"));
    let ids: BTreeSet<_> = lines.iter().map(|line| line["request_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), lines.len());
}

#[test]
fn a_stop_under_load_answers_what_was_sent_and_lets_clones_end() {
    const CLIENTS: usize = 8;
    let mut site = Site::new(SIZE);
    let mut process = site.serve();
    let address = process.address();
    let load = Load::start(address, &request(), &[(Connections::One, CLIENTS)]);
    let relay = Relay::start(address, Direction::Down, STOP);
    let clone = site.client.start(&format!("clone --quiet {} work", url_at(relay.address)));
    relay.wait_until_stopped();
    wait_for("some load", || load.answered() > 100 * CLIENTS);
    process.signal(Signal::TERM);
    process.logs("draining");
    wait_for("the listener to close", || TcpStream::connect(address).is_err());
    assert!(lives(process.pid()), "it did not wait for the clone");
    relay.open();
    let said = Said::by(clone);
    assert!(said.succeeded, "{}", said.errors);
    assert!(process.first_ended().success());
    // Every client was told to close with an answer; nobody was cut.
    let (answered, ended, failures) = load.end();
    assert_eq!((failures, ended), (Vec::new(), CLIENTS));
    let lines = audit_lines(&process.directory.path().join("audit.log"));
    assert_eq!(lines.iter().filter(|line| line["upstream"] == "forge").count(), answered);
}

#[test]
fn connections_that_wait_while_nobody_accepts_are_served_by_the_successor() {
    let mut site = Site::new(0);
    let mut process = site.serve();
    let (address, old) = (process.address(), process.pid());
    let pid = rustix::process::Pid::from_raw(old.try_into().unwrap()).unwrap();
    process.signal(Signal::USR2);
    let started = process.logs("a new process starts");
    rustix::process::kill_process(pid, Signal::STOP).unwrap();
    // One thread after the other takes notice of it.
    let is_stopped = |thread: PathBuf| {
        let stat = fs::read_to_string(thread.join("stat")).unwrap();
        stat.contains(") T ")
    };
    wait_for("the old process to stop", || {
        let mut threads = fs::read_dir(format!("/proc/{old}/task")).unwrap();
        threads.all(|thread| is_stopped(thread.unwrap().path()))
    });
    // All sockets of the address are in the hands of both; the old one does not run.
    let mut clients: Vec<_> = (0..100)
        .map(|_| {
            let mut wire = Wire::connect(address);
            wire.send(request());
            wire
        })
        .collect();
    process.succeeded(&started);
    process.logs("\"serving\"");
    for client in &mut clients {
        assert_eq!(client.answer().1, "hello");
    }
    rustix::process::kill_process(pid, Signal::CONT).unwrap();
    process.logs("draining");
    assert!(process.first_ended().success());
    answers(address);
    process.stop();
}

#[test]
fn the_control_plane_answers_all_the_time_and_then_for_the_new_process() {
    let mut site = Site::new(0);
    let mut process = site.serve();
    let control = process.control();
    let ask = move |target: &str| {
        let mut wire = Wire::connect(control);
        wire.send(head("GET", target, ""));
        let (head, body) = wire.answer();
        (status(&head), body)
    };
    let ends = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicUsize::new(0));
    let asking = {
        let (ends, asked) = (Arc::clone(&ends), Arc::clone(&asked));
        thread::spawn(move || {
            while !ends.load(Ordering::SeqCst) {
                assert_eq!(ask("/readyz"), (200, "ok\n".into()));
                asked.fetch_add(1, Ordering::SeqCst);
            }
        })
    };
    // Keeps the old process until its patience is over.
    let mut idle = Wire::connect(process.address());
    idle.send(request());
    idle.answer();
    process.upgrade();
    assert_eq!(process.control(), control);
    let before = asked.load(Ordering::SeqCst);
    wait_for("some more probes", || asked.load(Ordering::SeqCst) > before + 10);
    ends.store(true, Ordering::SeqCst);
    asking.join().unwrap();
    let (_, metrics) = ask("/metrics");
    assert!(metrics.contains("\nportcullis_connections_open 0\n"), "the old process answered: {metrics}");
    // It waits with patience for the next request, and tells the client to close with the answer.
    idle.send(request());
    assert!(idle.answer().0.contains("connection: close"));
    assert!(process.first_ended().success());
    process.stop();
}

#[test]
fn no_other_process_has_the_sockets() {
    let mut site = Site::new(SIZE);
    let mut process = site.serve();
    let (address, control) = (process.address(), process.control());
    for round in 0..2 {
        let relay = Relay::start(address, Direction::Down, STOP);
        let clone = site.client.start(&format!("clone --quiet {} work-{round}", url_at(relay.address)));
        relay.wait_until_stopped();
        let gateway = process.pid();
        for port in [address.port(), control.port()] {
            assert!(holds(gateway, port) > 0);
            let children = descendants(gateway);
            assert!(!children.is_empty(), "git runs");
            for child in children {
                assert_eq!(holds(child, port), 0, "process {child} has a socket of port {port}");
            }
        }
        relay.open();
        assert!(Said::by(clone).succeeded);
        process.upgrade();
        // In the first round that is the one that the tests have started, in the second one its successor.
        wait_for("the old process to end", || !lives(gateway) || has_ended(gateway));
    }
    process.stop();
}

/// Whether it waits for nothing but to be reaped.
fn has_ended(process: u32) -> bool {
    fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}
