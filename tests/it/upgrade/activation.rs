//! Sockets that a service manager holds: a restart refuses nobody, and no child has them.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::Stdio;

use tempfile::TempDir;

use crate::support::gateway::wait_for;
use crate::support::git::Said;
use crate::support::process::{PROGRAM, Process, SERVE, serve_by};
use crate::support::relay::{Direction, Relay};
use crate::support::wire::Wire;
use crate::upgrade::{Site, answers, descendants, holds, request, url_at};

/// Starts a gateway as a service manager does: with two sockets at descriptors 3 and 4, called so.
fn activate(directory: TempDir, sockets: [&TcpListener; 2], names: &str) -> Process {
    let script = "exec 3<&0 4>&1 </dev/null >/dev/null; LISTEN_PID=$$ LISTEN_FDS=2 exec \"$@\"";
    let [first, second] = sockets.map(|socket| Stdio::from(OwnedFd::from(socket.try_clone().unwrap())));
    let mut command = serve_by("/bin/sh", directory.path());
    command.args(["-c", script, "sh", PROGRAM]).args(SERVE);
    command.env("LISTEN_FDNAMES", names).stdin(first).stdout(second);
    Process::run(command, directory)
}

fn bind() -> (TcpListener, SocketAddr) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

#[test]
fn connections_wait_in_the_socket_while_the_gateway_is_restarted() {
    // More than all buffers on the way take, so that git still runs when the relay has stopped.
    let mut site = Site::new(32 << 20);
    let ((data, address), (control, control_address)) = (bind(), bind());
    let directory = site.directory.take().unwrap();
    let configuration = site
        .configuration("{ name: web, bind: 127.0.0.1:0 }")
        .replace("control: { bind: 127.0.0.1:0 }", &format!("control: {{ bind: '{control_address}' }}"));
    std::fs::write(directory.path().join("portcullis.yaml"), &configuration).unwrap();
    // One goes by its name, the other one by its address.
    let mut process = activate(directory, [&data, &control], "web:portcullis.socket");
    assert_eq!((process.address(), process.control()), (address, control_address));
    (0..20).for_each(|_| answers(address));

    let relay = Relay::start(address, Direction::Down, 1 << 20);
    let clone = site.client.start(&format!("clone --quiet {} work", url_at(relay.address)));
    relay.wait_until_stopped();
    let children = descendants(process.pid());
    assert!(!children.is_empty(), "git runs");
    for port in [address.port(), control_address.port()] {
        assert!(holds(process.pid(), port) > 0);
        assert!(children.iter().all(|child| holds(*child, port) == 0));
    }
    relay.open();
    assert!(Said::by(clone).succeeded);

    // One that came from a service manager can be succeeded too.
    process.upgrade();
    assert!(process.first_ended().success());
    (0..20).for_each(|_| answers(address));

    process.stop();
    let mut waiting: Vec<_> = (0..20)
        .map(|_| {
            let mut wire = Wire::connect(address);
            wire.send(request());
            wire
        })
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let old = std::mem::replace(&mut process.directory, directory);
    drop(process);
    let mut process = activate(old, [&data, &control], "web:portcullis.socket");
    for wire in &mut waiting {
        assert_eq!(wire.answer().1, "hello");
    }
    process.stop();
}

#[test]
fn sockets_for_nobody_are_told_of_and_those_for_another_process_are_left_alone() {
    let mut site = Site::new(0);
    let ((one, address), (two, unwanted)) = (bind(), bind());
    let mut process = activate(site.directory.take().unwrap(), [&one, &two], "unheard-of:control");
    // The listener has port 0, so it takes what is left at its address.
    assert_eq!(process.address(), address);
    process.stop();

    let mut site = Site::new(0);
    let directory = site.directory.take().unwrap();
    let mut command = serve_by(PROGRAM, directory.path());
    command.args(SERVE).envs([("LISTEN_PID", "1"), ("LISTEN_FDS", "2")]);
    let mut process = Process::run(command, directory);
    answers(process.address());
    process.stop();

    let mut site = Site::new(0);
    let directory = site.directory.take().unwrap();
    let (_, free) = bind();
    let configuration = site.configuration(&format!("{{ bind: '{free}' }}"));
    std::fs::write(directory.path().join("portcullis.yaml"), configuration).unwrap();
    let mut process = activate(directory, [&one, &two], "a:b");
    assert_eq!(process.address(), free);
    let told: Vec<_> = process
        .log()
        .into_iter()
        .filter(|line| line.to_string().contains("no listener of the configuration is for this"))
        .collect();
    assert_eq!(told.len(), 1, "the other one is the control plane's, whose port is 0: {told:?}");
    wait_for("it to be closed", || holds(process.pid(), unwanted.port()) == 0);
    process.stop();
}
