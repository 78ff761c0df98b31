//! The demo's files: repositories with history, a configuration, a policy with two tokens.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::clock;
use crate::domain::secret::Secret;
use crate::domain::token::{TokenDigest, TokenFormat};

/// What was made.
#[derive(Debug)]
pub(super) struct Demo {
    /// Where the gateway is.
    pub(super) url: String,
    /// Its host and port.
    pub(super) authority: String,
    /// `portcullis.yaml`.
    pub(super) config: PathBuf,
    /// The policy file with the two tokens.
    pub(super) tokens_file: PathBuf,
    /// One line a request.
    pub(super) audit_log: PathBuf,
    /// An empty directory to clone into.
    pub(super) work: PathBuf,
    /// Reads acme/alpha.
    pub(super) reader: Secret,
    /// Writes acme/alpha.
    pub(super) writer: Secret,
}

impl Demo {
    /// Makes everything below `root`, to be served on `port`.
    pub(super) fn make(root: &Path, port: u16) -> anyhow::Result<Self> {
        let repositories = root.join("git");
        let policies = root.join("policies");
        let work = root.join("work");
        for directory in [&repositories, &policies.join("tokens"), &policies.join("organizations"), &work] {
            fs::create_dir_all(directory).with_context(|| format!("making `{}`", directory.display()))?;
        }
        // Resolved, so that pasted paths work wherever the terminal is.
        let root = root.canonicalize().context("resolving the directory")?;
        for (name, commits) in [("alpha", 3), ("beta", 2)] {
            repository(&root, name, commits)?;
        }
        let authority = format!("127.0.0.1:{port}");
        let demo = Self {
            url: format!("http://{authority}"),
            authority,
            config: root.join("portcullis.yaml"),
            tokens_file: root.join("policies/tokens/demo.yaml"),
            audit_log: root.join("audit.log"),
            work: root.join("work"),
            reader: new_token()?,
            writer: new_token()?,
        };
        fs::write(&demo.config, demo.config_text()).context("writing the configuration")?;
        fs::write(&demo.tokens_file, demo.tokens_text()?).context("writing the tokens")?;
        fs::write(root.join("policies/organizations/acme.yaml"), ORGANIZATION)
            .context("writing the organization")?;
        Ok(demo)
    }

    fn config_text(&self) -> String {
        format!(
            "listeners:\n  - bind: {}\ncontrol: {{ bind: 127.0.0.1:0 }}\npolicies: policies/\naudit: {{ file: audit.log }}\nworkers: 1\nupstreams:\n  \
             - name: git\n    hosts: ['*']\n    git_directory: git/\n    catalogs: [git]\n",
            self.authority
        )
    }

    fn tokens_text(&self) -> anyhow::Result<String> {
        let tomorrow = clock::timestamp().checked_add(jiff::SignedDuration::from_hours(24))?;
        let token = |name: &str, user: &str, secret: &Secret, level: &str| {
            format!(
                "  - name: {name}\n    sha256: {}\n    user: {user}\n    resource_owner: acme\n    repositories: [alpha]\n    \
                 permissions: {{ contents: {level} }}\n    expires_at: {tomorrow:.0}\n    state: active\n",
                TokenDigest::of(secret.expose())
            )
        };
        let reader = token("demo reader", "carol", &self.reader, "read");
        let writer = token("demo writer", "bob", &self.writer, "write");
        Ok(format!("tokens:\n{reader}{writer}"))
    }
}

const ORGANIZATION: &str = "organization: acme\nowners: [alice]\nmembers: { bob: write, carol: read }\n\
                            fine_grained_tokens: { access: allow, max_lifetime: 30d }\n";

fn new_token() -> anyhow::Result<Secret> {
    let mut random = [0; TokenFormat::RANDOM_BYTES];
    aws_lc_rs::rand::fill(&mut random)
        .map_err(|_| anyhow::anyhow!("the operating system gave no random bytes"))?;
    TokenFormat::default().assemble(&random).context("too few random bytes; try again")
}

/// `git/acme/<name>.git` with some commits on `main`.
fn repository(root: &Path, name: &str, commits: u32) -> anyhow::Result<()> {
    let bare = root.join("git/acme").join(format!("{name}.git"));
    let seed = root.join(format!("seed-{name}"));
    git(root, &["init", "--quiet", "--bare", "--initial-branch=main", &bare.to_string_lossy()])?;
    git(root, &["init", "--quiet", "--initial-branch=main", &seed.to_string_lossy()])?;
    for number in 1..=commits {
        fs::write(seed.join("README.md"), format!("# {name}\n\nRevision {number}.\n"))?;
        git(&seed, &["add", "README.md"])?;
        git(&seed, &["commit", "--quiet", "--message", &format!("Revision {number}")])?;
    }
    git(&seed, &["push", "--quiet", &bare.to_string_lossy(), "main"])?;
    fs::remove_dir_all(&seed).context("removing the seed")
}

/// Runs git with nothing of the person's own configuration.
fn git(directory: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("git")
        .current_dir(directory)
        .args(["-c", "user.name=Alice", "-c", "user.email=alice@example.com", "-c", "commit.gpgsign=false"])
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .context("running git; install it, the demo needs nothing else")?;
    if !output.status.success() {
        bail!("git {} failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
