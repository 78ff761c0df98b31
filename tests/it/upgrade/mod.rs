//! A gateway as a process: succeeded by another one under load, held by a service manager, started in vain.

mod activation;
mod failure;
mod load;
mod notify;

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;

use tempfile::TempDir;

use crate::support::gateway::{authorization, head, policy_tokens, read_answer, status, write};
use crate::support::git::Git;
use crate::support::policy::token;
use crate::support::process::Process;
use crate::support::wire::{Host, ok};

const READER: &str = "resource_owner: acme\nrepositories: [alpha]\npermissions: { contents: read }";

/// A host for REST and a directory for git, and the files of a gateway before both.
struct Site {
    host: Host,
    server: Git,
    client: Git,
    directory: Option<TempDir>,
}

impl Site {
    /// `acme/alpha` with a branch `noise` of so many bytes.
    fn new(noise: u64) -> Self {
        let server = Git::new();
        fs::create_dir_all(server.path("root/acme")).unwrap();
        server.seed("root/acme/alpha.git", 3);
        if noise > 0 {
            server.commit_noise("root/acme/alpha.git", "noise", noise);
        }
        let site = Self {
            host: Host::answering(|_| ok("hello")),
            server,
            client: Git::new(),
            directory: Some(tempfile::tempdir().unwrap()),
        };
        let root = site.directory.as_ref().unwrap().path();
        fs::create_dir(root.join("policies")).unwrap();
        let (name, text) = policy_tokens(&[(1, READER)]);
        write(&root.join("policies").join(name), &text);
        fs::write(root.join("portcullis.yaml"), site.configuration("{ bind: 127.0.0.1:0 }")).unwrap();
        site
    }

    /// `portcullis.yaml` with these listeners.
    fn configuration(&self, listeners: &str) -> String {
        format!(
            "listeners: [{listeners}]\n\
             control: {{ bind: 127.0.0.1:0 }}\n\
             policies: policies/\n\
             workers: 2\n\
             drain: 30s\n\
             audit: {{ file: audit.log }}\n\
             upstreams:\n  \
             - {{ name: forge, hosts: [git.example.com], url: 'http://{}', catalogs: [github], identity: {{ trusted_header: X-WEBAUTH-USER }} }}\n  \
             - {{ name: git, hosts: [127.0.0.1], catalogs: [git], git_directory: '{}' }}\n",
            self.host.address,
            self.server.path("root").display()
        )
    }

    /// A gateway that serves it.
    fn serve(&mut self) -> Process {
        Process::start(self.directory.take().unwrap())
    }
}

/// Where to clone from.
fn url_at(address: SocketAddr) -> String {
    format!("http://x-access-token:{}@{address}/acme/alpha.git", token(1))
}

fn request() -> String {
    head("GET", "/repos/acme/alpha/commits", &authorization(1))
}

/// Sends one request over a connection of its own.
#[track_caller]
fn answers(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).unwrap();
    std::io::Write::write_all(&mut stream, request().as_bytes()).unwrap();
    let answer = read_answer(&mut stream);
    assert_eq!(status(&answer), 200, "{answer}");
}

/// The processes below `parent`, at any depth.
fn descendants(parent: u32) -> Vec<u32> {
    let mut found = vec![parent];
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let number = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
            let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
            Some((number, parent))
        })
        .collect();
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(number, _)| *number));
        at += 1;
    }
    found.split_off(1)
}

/// How often a process has a socket open that listens at `port`.
fn holds(process: u32, port: u16) -> usize {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let listening: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let is_meant = fields.get(1)?.ends_with(&format!(":{port:04X}")) && fields.get(3)? == &"0A";
            is_meant.then(|| format!("socket:[{}]", fields[9]).into())
        })
        .collect();
    let Ok(open) = fs::read_dir(format!("/proc/{process}/fd")) else { return 0 };
    let open = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    open.filter(|target| listening.contains(target)).count()
}
