//! `portcullis serve` as a process: what signals do to it, and how it ends.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStderr, Command, Stdio};

use crate::command::Folder;

/// A gateway that serves, and what it logs.
struct Serving {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
}

impl Serving {
    fn start(site: &Folder, format: &str) -> Self {
        let mut command = site.command(&["serve", "--log-format", format]);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, log }
    }

    /// Reads the log up to the line that holds `text`; its end comes at the latest when the process ends.
    #[track_caller]
    fn logs(&mut self, text: &str) {
        let found = self.log.by_ref().map_while(Result::ok).any(|line| line.contains(text));
        assert!(found, "`{text}` was not logged");
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn hang_up_reads_the_files_again_and_terminate_drains() {
    let site = Folder::new();
    let mut serving = Serving::start(&site, "json");
    serving.logs("serving");
    site.write("policies/deny.yaml", "deny: [x]\n");
    serving.signal("HUP");
    serving.logs("policy files refused; the last good policy stays in force");
    serving.logs("deny.yaml:1:8");
    site.write("policies/deny.yaml", "deny: [{ name: x, route: '* /x' }]\n");
    serving.signal("HUP");
    serving.logs("new policy in force");
    serving.signal("TERM");
    serving.logs("draining");
    serving.logs("stopped");
    assert!(serving.child.wait().unwrap().success());
}

#[test]
fn a_bad_file_at_the_start_ends_it_with_2() {
    let site = Folder::new();
    site.write("policies/deny.yaml", "deny: [x]\n");
    let finished = site.run(&["serve"]).expect(2);
    assert!(finished.stderr.contains("deny.yaml:1:8"), "{}", finished.stderr);
}

#[test]
fn a_log_that_is_no_terminal_has_no_colours() {
    let site = Folder::new();
    let mut serving = Serving::start(&site, "text");
    let mut lines = serving.log.by_ref().map_while(Result::ok);
    let line = lines.find(|line| line.contains("serving")).unwrap();
    assert!(!line.contains('\u{1b}'), "{line:?}");
}
