//! A gateway as a process of its own, what it logs, and the processes that succeed it.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::mem;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::gateway::{DEADLINE, wait_for, write};

/// The program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_portcullis");

/// Its arguments.
pub(crate) const SERVE: [&str; 3] = ["serve", "--log-format", "json"];

/// `program` in `folder`, in an environment that says nothing, without its arguments.
pub(crate) fn serve_by(program: impl AsRef<OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    for name in ["PORTCULLIS_CONFIG", "PORTCULLIS_LOG", "NOTIFY_SOCKET"] {
        command.env_remove(name);
    }
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// A process and its successors, which write to one log.
pub(crate) struct Process {
    pub(crate) directory: TempDir,
    child: Child,
    log: Arc<Log>,
    /// How many lines were read by [`Process::logs`].
    read: usize,
    /// Successors.
    pids: Vec<u32>,
}

#[derive(Default)]
struct Log {
    lines: Mutex<(Vec<Value>, bool)>,
    changed: Condvar,
}

impl Process {
    /// `serve` in `directory`, which holds `portcullis.yaml`. Returns when it serves.
    pub(crate) fn start(directory: TempDir) -> Self {
        let mut command = serve_by(PROGRAM, directory.path());
        command.args(SERVE);
        Self::run(command, directory)
    }

    /// Starts `command`, made by [`serve_by`]. Returns when it serves.
    pub(crate) fn run(mut command: Command, directory: TempDir) -> Self {
        let mut child = command.spawn().unwrap();
        let log = Arc::<Log>::default();
        let errors = child.stderr.take().unwrap();
        let shared = Arc::clone(&log);
        thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                shared.lines.lock().unwrap().0.push(line);
                shared.changed.notify_all();
            }
            shared.lines.lock().unwrap().1 = true;
            shared.changed.notify_all();
        });
        let mut process = Self { directory, child, log, read: 0, pids: Vec::new() };
        process.logs("serving");
        process
    }

    /// Waits for the next line of the log that holds `text`.
    #[track_caller]
    pub(crate) fn logs(&mut self, text: &str) -> Value {
        let start = Instant::now();
        let mut lines = self.log.lines.lock().unwrap();
        loop {
            while let Some(line) = lines.0.get(self.read) {
                self.read += 1;
                if line.to_string().contains(text) {
                    return line.clone();
                }
            }
            assert!(!lines.1 && start.elapsed() < DEADLINE, "`{text}` was not logged: {:#?}", lines.0);
            (lines, _) = self.log.changed.wait_timeout(lines, DEADLINE).unwrap();
        }
    }

    /// Every line so far.
    pub(crate) fn log(&self) -> Vec<Value> {
        self.log.lines.lock().unwrap().0.clone()
    }

    /// Where it listens, as the last process that serves has said.
    pub(crate) fn address(&self) -> SocketAddr {
        let lines = self.log();
        let serving = lines.iter().rev().find(|line| line["fields"]["message"] == "serving").unwrap();
        let listeners = serving["fields"]["listeners"].as_str().unwrap();
        listeners.trim_matches(['[', ']']).split(", ").next().unwrap().parse().unwrap()
    }

    /// The address of its control plane.
    pub(crate) fn control(&self) -> SocketAddr {
        let lines = self.log();
        let serving = lines.iter().rev().find(|line| line["fields"]["message"] == "serving").unwrap();
        let control = serving["fields"]["control"].as_str().unwrap();
        control.trim_start_matches("Some(").trim_end_matches(')').parse().unwrap()
    }

    /// The process that serves.
    pub(crate) fn pid(&self) -> u32 {
        self.pids.last().copied().unwrap_or_else(|| self.child.id())
    }

    /// Sends a signal to the process that serves.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(pid(self.pid()), signal).unwrap();
    }

    /// Waits for the end of a process that was killed, and gives its files back.
    pub(crate) fn killed(mut self) -> TempDir {
        self.child.wait().unwrap();
        mem::replace(&mut self.directory, tempfile::tempdir().unwrap())
    }

    /// Has it succeeded by another process, and waits until that one serves. The old one drains then.
    #[track_caller]
    pub(crate) fn upgrade(&mut self) {
        self.signal(Signal::USR2);
        let started = self.logs("a new process starts");
        self.succeeded(&started);
        self.logs("\"serving\"");
        self.logs("draining");
    }

    /// Takes the process that this line of the log tells of for the one that serves.
    pub(crate) fn succeeded(&mut self, started: &Value) {
        self.pids.push(started["fields"]["id"].as_u64().unwrap().try_into().unwrap());
    }

    /// Waits until the first process has ended.
    pub(crate) fn first_ended(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Ends the process that serves, and waits until all have ended.
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::TERM);
        if self.pids.is_empty() {
            assert!(self.child.wait().unwrap().success());
        }
        wait_for("every process to end", || self.log.lines.lock().unwrap().1);
    }

    /// Rewrites `portcullis.yaml`.
    pub(crate) fn configure(&self, text: &str) {
        write(&self.directory.path().join("portcullis.yaml"), text);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        for process in &self.pids {
            // Nobody else can have the number while the log is open.
            if !self.log.lines.lock().unwrap().1 {
                kill_process(pid(*process), Signal::KILL).ok();
            }
        }
    }
}

fn pid(number: u32) -> Pid {
    Pid::from_raw(number.try_into().unwrap()).unwrap()
}

/// Whether there is a process with this number.
pub(crate) fn lives(number: u32) -> bool {
    // One that has ended and was not reaped by whoever adopted it does not count.
    let stat = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
    test_kill_process(pid(number)).is_ok() && !stat.contains(") Z ")
}
