//! Upgrades that come to nothing: the process goes on as if nobody had asked.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::support::gateway::wait_for;
use crate::support::process::{PROGRAM, Process, SERVE, lives, serve_by};
use crate::upgrade::{Site, answers};

/// A link to the program, as an installation may have it, and what it leads to next.
fn link(folder: &Path, program: &Path) -> PathBuf {
    let link = folder.join("portcullis");
    symlink(program, folder.join("next")).unwrap();
    fs::rename(folder.join("next"), &link).unwrap();
    link
}

fn script(folder: &Path, text: &str) -> PathBuf {
    let script = folder.join("script");
    fs::write(&script, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    script
}

#[test]
fn a_new_process_that_does_not_come_to_serve_changes_nothing() {
    let mut site = Site::new(0);
    let directory = site.directory.take().unwrap();
    let folder = directory.path().to_owned();
    let mut command = serve_by(link(&folder, PROGRAM.as_ref()), &folder);
    command.args(SERVE);
    let mut process = Process::run(command, directory);
    let address = process.address();
    let good = fs::read_to_string(folder.join("portcullis.yaml")).unwrap();
    let fails = |process: &mut Process, why: &str| {
        process.signal(Signal::USR2);
        let failed = process.logs("no upgrade; this process goes on serving");
        let error = failed["fields"]["error"].as_str().unwrap();
        assert!(error.contains(why), "{error}");
        answers(address);
    };
    // Files with a fault.
    process.configure(&good.replace("workers: 2", "workers: none"));
    fails(&mut process, "the new process ended (exit status: 2)");
    // An address that somebody else has.
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let taken = std::net::TcpListener::bind(other).unwrap();
    process.configure(
        &good.replace("{ bind: 127.0.0.1:0 }]", &format!("{{ bind: 127.0.0.1:0 }}, {{ bind: '{other}' }}]")),
    );
    fails(&mut process, "the new process ended (exit status: 1)");
    drop(taken);
    process.configure(&good);
    // Another program under the name.
    link(&folder, &script(&folder, "exit 7"));
    fails(&mut process, "the new process ended (exit status: 7)");
    // None at all.
    fs::remove_file(folder.join("portcullis")).unwrap();
    fails(&mut process, "starting the new process: No such file");
    // The right one: the link is followed anew.
    link(&folder, PROGRAM.as_ref());
    process.upgrade();
    assert!(process.first_ended().success());
    answers(address);
    process.stop();
}

#[test]
fn a_process_that_is_stopped_takes_the_one_that_it_has_started_with_it() {
    let mut site = Site::new(0);
    let directory = site.directory.take().unwrap();
    let folder = directory.path().to_owned();
    let mut command = serve_by(link(&folder, PROGRAM.as_ref()), &folder);
    command.args(SERVE);
    let mut process = Process::run(command, directory);
    link(&folder, &script(&folder, "exec sleep 1000"));
    process.signal(Signal::USR2);
    let started = process.logs("a new process starts");
    let candidate = u32::try_from(started["fields"]["id"].as_u64().unwrap()).unwrap();
    process.signal(Signal::USR2);
    process.logs("an upgrade is under way already");
    assert!(lives(candidate));
    process.stop();
    wait_for("the new process to end", || !lives(candidate));
}
