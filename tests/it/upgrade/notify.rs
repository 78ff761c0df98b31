//! What a service manager is told.

use std::os::unix::net::UnixDatagram;

use rustix::process::Signal;

use crate::support::gateway::DEADLINE;
use crate::support::process::{PROGRAM, Process, SERVE, serve_by};
use crate::upgrade::Site;

/// The next message, by lines.
#[track_caller]
fn told(socket: &UnixDatagram) -> Vec<String> {
    let mut buffer = [0; 4096];
    let count = socket.recv(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..count]).lines().map(str::to_owned).collect()
}

#[test]
fn a_service_manager_is_told_of_each_state() {
    let mut site = Site::new(0);
    let directory = site.directory.take().unwrap();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut command = serve_by(PROGRAM, directory.path());
    command.args(SERVE).env("NOTIFY_SOCKET", &path);
    let mut process = Process::run(command, directory);
    let serving = format!("STATUS=serving on {}; 1 tokens, policy generation 1", process.address());
    assert_eq!(told(&socket), ["READY=1", &serving]);
    process.signal(Signal::HUP);
    let reloading = told(&socket);
    assert_eq!(reloading[0], "RELOADING=1");
    assert!(reloading[1].starts_with("MONOTONIC_USEC="), "{reloading:?}");
    assert_eq!(told(&socket), ["READY=1", &serving]);
    process.upgrade();
    // The old one tells who is the service now, and only then the new one speaks.
    assert_eq!(told(&socket), [format!("MAINPID={}", process.pid())]);
    assert_eq!(told(&socket), ["READY=1", &serving]);
    assert!(process.first_ended().success());
    process.stop();
    assert_eq!(told(&socket), ["STOPPING=1", "STATUS=draining"]);
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv(&mut [0]).is_err(), "the old one said nothing more");
}
