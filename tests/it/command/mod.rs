//! The command line: the real binary on files of its own. What the tests of its subcommands share.

mod check;
mod explain;
mod local;
mod requests;
mod serve;
mod server;
mod token;
mod trail;
mod usage;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::policy::token;
use portcullis::domain::token::TokenDigest;

const CONFIG: &str = "\
listeners:
  - bind: 127.0.0.1:0
policies: policies/
limits: { target_bytes: '256' }
upstreams:
  - name: forge
    hosts: [git.example.com]
    url: http://127.0.0.1:3000
    catalogs: [git, github]
    identity: { trusted_header: X-WEBAUTH-USER }
";

const ORGANIZATIONS: &str = "\
organization: acme
owners: [alice]
ceiling: { administration: none }
";

const SHADOW: &str = "\
organization: umbrella
owners: [carol]
fine_grained_tokens: { access: deny }
mode: shadow
";

const DENY: &str = "\
deny:
  - name: no merging
    route: PUT /repos/{owner}/{repo}/pulls/{number}/merge
";

/// What a gateway's operator has in a folder.
struct Folder(TempDir);

pub(crate) struct Finished {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("portcullis.yaml", CONFIG);
        folder.write("policies/organizations/acme.yaml", ORGANIZATIONS);
        folder.write("policies/organizations/umbrella.yaml", SHADOW);
        folder.write("policies/deny.yaml", DENY);
        let declare = |seed: u8, name: &str, rest: &str| {
            let digest = TokenDigest::of(&token(seed));
            format!(
                "  - name: {name}\n    sha256: {digest}\n    user: bob\n    resource_owner: acme\n    repositories: [alpha]\n    permissions: {{ contents: read, pull_requests: write }}\n{rest}"
            )
        };
        let tokens = [
            declare(1, "reader", "    expires_at: 2099-01-31\n"),
            declare(2, "revoked", "    expires_at: 2099-01-31\n    state: revoked\n"),
            declare(3, "pending", "    expires_at: 2099-01-31\n    state: pending\n"),
            declare(4, "expired", "    expires_at: 2001-01-31\n"),
            declare(5, "at home", "    expires_at: 2099-01-31\n    networks: [10.0.0.0/8]\n"),
        ];
        folder.write("policies/tokens/test.yaml", &format!("tokens:\n{}", tokens.concat()));
        folder
    }

    fn write(&self, name: &str, text: &str) {
        let file = self.0.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        command(self.0.path(), arguments)
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        self.run_with(arguments, "")
    }

    fn run_with(&self, arguments: &[&str], input: &str) -> Finished {
        finish(self.command(arguments), input)
    }
}

/// The program in `folder`, in an environment that says nothing.
pub(crate) fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(arguments).current_dir(folder);
    for name in ["CONFIG", "LOG", "LOG_FORMAT", "SERVER", "CREDENTIAL"] {
        command.env_remove(format!("PORTCULLIS_{name}"));
    }
    command
}

/// Runs `command` on `input`.
pub(crate) fn finish(mut command: Command, input: &str) -> Finished {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that reads no input may have ended before it comes.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    Finished {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Finished {
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }

    /// The command told all of `texts` on standard error.
    #[track_caller]
    pub(crate) fn tells(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stderr.contains(text), "no `{text}` in {}", self.stderr);
        }
        self
    }

    /// The rows of a table, its headings left out, each as its cells.
    #[track_caller]
    pub(crate) fn rows(&self) -> Vec<Vec<String>> {
        let rows = self.stdout.lines().skip(1);
        rows.map(|row| {
            row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
        })
        .collect()
    }
}
