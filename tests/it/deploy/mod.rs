//! What stands in `deploy`: each configuration is sound and does what its page says, each unit, manifest and image file
//! holds what it promises. What needs a program that is not there says so and is skipped.

mod catalogs;
mod docker;
mod examples;
mod kubernetes;
mod live;
mod packages;
mod systemd;

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::secure::Authority;

/// The folder of examples.
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/examples");

/// A configuration directory out of `deploy`, copied, with the files in it that are its operator's to put there.
struct Site(TempDir);

impl Site {
    fn of(folder: &Path) -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        fs::create_dir(site.0.path().join("git")).unwrap();
        let repositories = site.0.path().join("git");
        copy(folder, site.0.path(), &|text| text.replace("/srv/git", repositories.to_str().unwrap()));
        let authority = Authority::new();
        let pair = authority.issue(&["git.example.com"]);
        site.secret("tls/cert.pem", &pair.certificate);
        site.secret("tls/key.pem", &pair.key);
        site.secret("tls/internal-ca.pem", &authority.certificate);
        for name in ["billing", "gitlab-api", "forge"] {
            site.secret(&format!("secrets/{name}"), "a-credential\n");
        }
        site.secret("secrets/gitlab-git", "portcullis:a-credential\n");
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn secret(&self, name: &str, text: &str) {
        let file = self.path(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Changes a file, in which `from` must stand.
    #[track_caller]
    fn replace(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(from), "{name}: no `{from}`");
        fs::write(self.path(name), text.replace(from, to)).unwrap();
    }

    /// Runs `portcullis` in the directory.
    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(arguments)
            .current_dir(self.0.path())
            .env_remove("PORTCULLIS_CONFIG")
            .output()
            .unwrap()
    }

    /// `portcullis check` finds neither faults nor anything to warn of.
    #[track_caller]
    fn check(&self, what: &str) {
        let told = self.run(&["check"]);
        let (output, errors) = (String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
        assert!(told.status.success() && errors.is_empty(), "{what}: {output}{errors}");
    }

    /// What `portcullis explain` says of the last of the requests.
    fn explain(&self, arguments: &[&str]) -> Value {
        let told = self.run(&[&["explain", "--json", "--at", "2027-01-15"], arguments].concat());
        let reports: Value = serde_json::from_slice(&told.stdout).unwrap_or_else(|error| {
            panic!("{arguments:?}: {error}: {}", String::from_utf8_lossy(&told.stderr))
        });
        reports["requests"].as_array().unwrap().last().unwrap().clone()
    }
}

/// Copies the files below `from`, changed.
fn copy(from: &Path, to: &Path, change: &dyn Fn(String) -> String) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let from = entry.unwrap().path();
        let to = to.join(from.file_name().unwrap());
        if from.is_dir() {
            copy(&from, &to, change);
        } else {
            fs::write(to, change(fs::read_to_string(from).unwrap())).unwrap();
        }
    }
}

/// The folders below `folder`, sorted.
fn folders(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    found.sort();
    found
}

/// What a program gives, or `None`, with a line that says so, where it is not installed.
fn run_if_there(command: &mut Command) -> Option<Output> {
    match command.output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!("skipped: {} is not installed; run make test", command.get_program().display());
            None
        }
        Err(error) => panic!("{command:?}: {error}"),
    }
}
