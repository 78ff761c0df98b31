//! The commands that the demo shows, and what each must print.

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use anyhow::bail;

use crate::app::Running;
use crate::clock;
use crate::command::Status;
use crate::command::demo::files::Demo;
use crate::command::output::Output;

/// One thing to see.
#[derive(Debug)]
pub(super) struct Step {
    /// What it shows.
    pub(super) shows: &'static str,
    /// What to type.
    pub(super) command: String,
    works: Works,
    prints: &'static str,
}

/// Whether a command is meant to work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Works {
    Yes,
    No,
}

/// The steps, in order; each builds on those before.
pub(super) fn steps(demo: &Demo) -> Vec<Step> {
    let url =
        |token: &str, repository: &str| format!("http://x:${token}@{}/acme/{repository}", demo.authority);
    let commit = "echo hello >> alpha/README.md && git -C alpha -c user.name=Bob -c user.email=bob@example.com commit --quiet --all --message hello";
    let step = |shows, works, prints, command: String| Step { shows, command, works, prints };
    vec![
        step(
            "A token that reads acme/alpha clones it.",
            Works::Yes,
            "Cloning into 'alpha'",
            format!("git clone {} && git -C alpha log --oneline", url("READ", "alpha")),
        ),
        step(
            "For the same token, acme/beta does not exist.",
            Works::No,
            "remote: Portcullis: not found",
            format!("git clone {}", url("READ", "beta")),
        ),
        step(
            "It cannot push.",
            Works::No,
            "remote: Portcullis: this token lacks contents=write; ask an owner of `acme` (alice) to grant it",
            format!("{commit} && git -C alpha push"),
        ),
        step(
            "A token that writes acme/alpha can.",
            Works::Yes,
            "HEAD -> main",
            format!("git -C alpha push {} HEAD:main", url("WRITE", "alpha")),
        ),
        step(
            "Revoking is editing a file.",
            Works::Yes,
            "",
            format!("sed -i 's/state: active/state: revoked/' {}", demo.tokens_file.display()),
        ),
        step(
            "It acts at once.",
            Works::No,
            "remote: Portcullis: this token was revoked; make a new one",
            "git -C alpha fetch".to_owned(),
        ),
    ]
}

/// How long a change may take to be in force.
const IN_FORCE: Duration = Duration::from_secs(5);

/// Runs the steps and shows what they print.
pub(super) fn walk(demo: &Demo, running: &Running, output: &mut Output) -> anyhow::Result<Status> {
    let mut status = Status::Fine;
    for step in steps(demo) {
        let generation = running.policy_generation();
        writeln!(output, "\n# {}\n$ {}", step.shows, step.command)?;
        let ran = Command::new("sh")
            .args(["-c", &step.command])
            .current_dir(&demo.work)
            .env("READ", demo.reader.expose())
            .env("WRITE", demo.writer.expose())
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()?;
        let printed =
            format!("{}{}", String::from_utf8_lossy(&ran.stderr), String::from_utf8_lossy(&ran.stdout));
        // git shows the URL in some messages, with the token in it.
        let shown = printed.replace(demo.reader.expose(), "$READ").replace(demo.writer.expose(), "$WRITE");
        write!(output, "{shown}")?;
        let worked = if ran.status.success() { Works::Yes } else { Works::No };
        if worked != step.works || !shown.contains(step.prints) {
            status = Status::Refused;
            output.message(format_args!("the demo is broken here: expected `{}`", step.prints));
        }
        if step.command.starts_with("sed") {
            wait_for_policy_after(generation, running)?;
        }
    }
    Ok(status)
}

fn wait_for_policy_after(generation: u64, running: &Running) -> anyhow::Result<()> {
    let start = clock::monotonic();
    while running.policy_generation() == generation {
        if start.elapsed() > IN_FORCE {
            bail!("the edited policy is not in force after {IN_FORCE:?}");
        }
        std::thread::yield_now();
    }
    Ok(())
}
