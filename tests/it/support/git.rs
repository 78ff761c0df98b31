//! Real git: a client that knows nothing of this machine's configuration, and bare repositories on disk.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A home of its own, and the settings that hold for each git that is run there.
pub(crate) struct Git {
    pub(crate) home: TempDir,
    settings: Vec<(String, String)>,
    variables: Vec<(String, String)>,
}

/// What a git said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) succeeded: bool,
    pub(crate) output: String,
    pub(crate) errors: String,
}

impl Git {
    pub(crate) fn new() -> Self {
        let mut git =
            Self { home: tempfile::tempdir().unwrap(), settings: Vec::new(), variables: Vec::new() };
        // Whatever goes wrong, no transfer hangs for longer than this.
        git.set("http.lowSpeedLimit", "1");
        git.set("http.lowSpeedTime", "20");
        git.set("gc.auto", "0");
        git.set("core.compression", "0");
        git.set("advice.detachedHead", "false");
        git.set("init.defaultBranch", "main");
        git
    }

    /// A setting for all that follows.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.settings.push((key.into(), value.into()));
    }

    /// A client in the same way, with further settings and variables.
    pub(crate) fn with(&self, settings: &[(&str, &str)], variables: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut git = Self::new();
        git.settings.extend(self.settings.iter().cloned());
        git.settings.extend(settings.iter().map(owned));
        git.variables.extend(self.variables.iter().cloned());
        git.variables.extend(variables.iter().map(owned));
        git
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// `git <line>` in this home; `line` is parted at white space.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new("git");
        command
            .args(line.split_whitespace())
            .current_dir(self.home.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .envs(["GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"].map(|name| (name, "Client")))
            .envs(["GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"].map(|name| (name, "client@example.com")))
            .env("GIT_CONFIG_COUNT", self.settings.len().to_string())
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        for (at, (key, value)) in self.settings.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{at}"), key);
            command.env(format!("GIT_CONFIG_VALUE_{at}"), value);
        }
        command
    }

    /// Starts git without waiting for it.
    pub(crate) fn start(&self, line: &str) -> Child {
        self.command(line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    pub(crate) fn run(&self, line: &str) -> Said {
        Said::by(self.start(line))
    }

    /// Runs git, which must succeed; its output without white space around it.
    #[track_caller]
    pub(crate) fn ok(&self, line: &str) -> String {
        let said = self.run(line);
        assert!(said.succeeded, "git {line}: {}", said.errors);
        said.output.trim().to_owned()
    }

    /// Runs git, which must succeed; what it says beside its output.
    #[track_caller]
    pub(crate) fn trace(&self, line: &str) -> String {
        let said = self.run(line);
        assert!(said.succeeded, "git {line}: {}", said.errors);
        said.errors
    }

    /// Runs git, which must fail; what it says.
    #[track_caller]
    pub(crate) fn refused(&self, line: &str) -> String {
        let said = self.run(line);
        assert!(!said.succeeded, "git {line}");
        said.errors
    }

    /// A new bare repository with `commits` commits on `main`.
    pub(crate) fn seed(&self, repository: &str, commits: usize) {
        self.ok(&format!("init --quiet --bare {repository}"));
        let config = self.path(repository).join("config");
        let mut text = fs::read_to_string(&config).unwrap();
        text +=
            "[core]\nlogAllRefUpdates = true\n[uploadpack]\nallowFilter = true\n[receive]\nunpackLimit = 1\n";
        fs::write(config, text).unwrap();
        self.commit(repository, "main", commits);
    }

    /// `commits` more commits on `branch`, each with a file of its own, in a bare repository.
    pub(crate) fn commit(&self, repository: &str, branch: &str, commits: usize) {
        let reference = format!("refs/heads/{branch}");
        // Nothing here packs refs.
        let has_branch = self.path(repository).join(&reference).exists();
        self.import(repository, |input| {
            for at in 0..commits {
                write!(input, "commit {reference}\ncommitter C <c@example.com> {at} +0000\ndata 1\nx\n")?;
                if at == 0 && has_branch {
                    writeln!(input, "from {reference}^0")?;
                }
                let text = format!("{branch} {at} {has_branch}\n");
                let length = text.len();
                write!(input, "M 100644 inline {branch}-{at}\ndata {length}\n{text}\n")?;
            }
            Ok(())
        });
    }

    /// One commit on `branch` with a file of `size` bytes that do not compress.
    pub(crate) fn commit_noise(&self, repository: &str, branch: &str, size: u64) {
        self.import(repository, |input| {
            write!(
                input,
                "commit refs/heads/{branch}\ncommitter C <c@example.com> 0 +0000\ndata 1\nx\nM 100644 inline noise\ndata {size}\n"
            )?;
            io::copy(&mut File::open("/dev/urandom")?.take(size), input)?;
            input.write_all(b"\n")
        });
    }

    fn import(&self, repository: &str, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
        let mut child = self
            .command(&format!("-C {repository} fast-import --quiet"))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = BufWriter::new(child.stdin.take().unwrap());
        write(&mut input).unwrap();
        drop(input);
        assert!(child.wait().unwrap().success());
    }
}

impl Said {
    /// Waits for a git that was started.
    pub(crate) fn by(child: Child) -> Self {
        let output = child.wait_with_output().unwrap();
        Self {
            succeeded: output.status.success(),
            output: String::from_utf8_lossy(&output.stdout).into_owned(),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Every file below `directory` with its size and time of change: equal as long as nothing was written.
pub(crate) fn fingerprint(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let about = entry.metadata().unwrap();
            found.push(format!("{} {} {:?}", entry.path().display(), about.len(), about.modified().unwrap()));
            if about.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    found.sort();
    found
}
