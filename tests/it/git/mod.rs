//! Real git through a whole gateway, before the embedded git host and before nginx: the same cases for both.

mod cases;
mod credentials;
mod cut;
mod embedded;
mod large;
mod nginx;
mod refusals;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use portcullis::domain::token::TokenDigest;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::support::gateway::TestGateway;
use crate::support::git::{Git, fingerprint};
use crate::support::nginx::{Nginx, USER_FIELD};
use crate::support::policy::token;

/// Tokens of the policy that each stage begins with.
pub(crate) const READER: u8 = 1;
const WRITER: u8 = 2;
const EXPIRED: u8 = 3;
const REVOKED: u8 = 4;
const WIKI_READER: u8 = 5;
/// In no policy file.
const UNKNOWN: u8 = 6;

/// The field in which each upstream's answers are counted.
const FORWARDED: &str = "portcullis_upstream_duration_seconds_count{upstream=\"forge\"}";

/// What stands behind the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Host {
    Embedded,
    Nginx,
}

/// What git speaks to the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    Tls,
    TlsHttp2,
}

/// Repositories, a host, a gateway before it, and a client.
struct Stage {
    host: Host,
    way: Way,
    gateway: Option<TestGateway>,
    nginx: Option<Nginx>,
    server: Git,
    client: Git,
}

/// Plays `case` on a stage of its own for each way to speak to the gateway.
fn on_each_way(host: Host, case: fn(&mut Stage)) {
    for way in [Way::Plain, Way::Tls, Way::TlsHttp2] {
        on(host, way, case);
    }
}

/// Plays `case`, unless something is not installed.
#[expect(clippy::print_stderr, reason = "says why the test is skipped")]
fn on(host: Host, way: Way, case: impl FnOnce(&mut Stage)) {
    match Stage::new(host, way) {
        Ok(mut stage) => case(&mut stage),
        Err(missing) => eprintln!("skipped: {missing} is not installed; run make test"),
    }
}

impl Stage {
    /// `alpha` with 5 commits on `main`, one on `topic` and a tag; its wiki; `beta`.
    fn new(host: Host, way: Way) -> Result<Self, String> {
        let server = Git::new();
        let root = server.path("root");
        fs::create_dir_all(root.join("acme")).unwrap();
        let nginx = match host {
            Host::Embedded => None,
            Host::Nginx => Some(Nginx::start(&root)?),
        };
        server.seed("root/acme/alpha.git", 5);
        server.commit("root/acme/alpha.git", "topic", 1);
        server.ok("-C root/acme/alpha.git tag -a -m one v1 main~2");
        server.seed("root/acme/alpha.wiki.git", 1);
        server.seed("root/acme/beta.git", 1);
        let files = tempfile::tempdir().unwrap();
        issue(files.path());
        let upstream = match &nginx {
            None => format!("git_directory: '{}'", root.display()),
            Some(nginx) => {
                format!("url: 'http://{}', identity: {{ trusted_header: {USER_FIELD} }}", nginx.address)
            }
        };
        let mut client = Git::new();
        let ca = files.path().join("ca.pem");
        client.set("http.sslCAInfo", ca.to_str().unwrap());
        client.set(
            "http.version",
            match way {
                Way::Plain | Way::Tls => "HTTP/1.1",
                Way::TlsHttp2 => "HTTP/2",
            },
        );
        let gateway = TestGateway::in_directory(
            files,
            "listeners: [{ bind: 127.0.0.1:0 }, { bind: 127.0.0.1:0, tls: { certificate: cert.pem, key: key.pem } }]",
            &format!("  - {{ name: forge, hosts: ['*'], catalogs: [git], {upstream} }}"),
            &[("tokens/test.yaml", policy(&[READER, WRITER]))],
        );
        Ok(Self { host, way, gateway: Some(gateway), nginx, server, client })
    }

    fn gateway(&self) -> &TestGateway {
        self.gateway.as_ref().unwrap()
    }

    /// Scheme and authority, with `user` before the latter: empty, or `name:password@`.
    fn base(&self, user: &str) -> String {
        let listeners = &self.gateway().running().listeners;
        match self.way {
            Way::Plain => format!("http://{user}{}", listeners[0]),
            Way::Tls | Way::TlsHttp2 => format!("https://{user}{}", listeners[1]),
        }
    }

    /// The URL of `path`, with the token of `seed` in it.
    fn url(&self, seed: u8, path: &str) -> String {
        self.base(&format!("x-access-token:{}@", token(seed))) + path
    }

    /// The repository `acme/<name>.git` on disk, for the server's git.
    fn repository(&self, name: &str) -> String {
        self.root().join(format!("acme/{name}.git")).display().to_string()
    }

    fn root(&self) -> PathBuf {
        self.server.path("root")
    }

    /// What `reference` of `acme/<name>.git` is on the server.
    #[track_caller]
    fn server_has(&self, name: &str, reference: &str) -> String {
        self.server.ok(&format!("-C {} rev-parse --verify {reference}", self.repository(name)))
    }

    /// Runs `act`, in which nothing may reach the host, and no file of it may change.
    #[track_caller]
    fn host_sees_nothing<T>(&self, act: impl FnOnce() -> T) -> T {
        let seen = || {
            let answered = self.nginx.as_ref().map(Nginx::answered);
            let forwarded = self.gateway().metric(FORWARDED).to_string();
            (answered, forwarded, fingerprint(&self.root()))
        };
        let before = seen();
        let result = act();
        assert_eq!(seen(), before, "the host saw something");
        result
    }
}

/// A policy file with the fixed tokens, and those of `active` in force.
fn policy(active: &[u8]) -> String {
    let grant = |permissions: &str| {
        format!("repositories: [alpha], resource_owner: acme, permissions: {{ {permissions} }}")
    };
    let rows = [
        (READER, grant("contents: read"), "2999-01-01"),
        (WRITER, grant("contents: write, wikis: write"), "2999-01-01"),
        (EXPIRED, grant("contents: write"), "2026-01-01"),
        (REVOKED, format!("state: revoked, {}", grant("contents: write")), "2999-01-01"),
        (WIKI_READER, grant("wikis: read"), "2999-01-01"),
    ];
    let mut text = String::from("tokens:\n");
    for (seed, body, expires_at) in rows {
        if matches!(seed, READER | WRITER) && !active.contains(&seed) {
            continue;
        }
        let digest = TokenDigest::of(&token(seed));
        writeln!(
            text,
            "  - {{ name: token {seed}, sha256: {digest}, user: user{seed}, expires_at: {expires_at}, {body} }}"
        )
        .unwrap();
    }
    text
}

/// Writes an authority's certificate, `ca.pem`, and one by it for this machine: `cert.pem` and `key.pem`.
fn issue(directory: &Path) {
    let named = |name: &str, hosts: Vec<String>| {
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params
    };
    let mut params = named("authority", Vec::new());
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let certificate = named("gateway", vec!["127.0.0.1".into()]).signed_by(&key, &issuer).unwrap();
    fs::write(directory.join("ca.pem"), authority.pem()).unwrap();
    fs::write(directory.join("cert.pem"), certificate.pem()).unwrap();
    fs::write(directory.join("key.pem"), key.serialize_pem()).unwrap();
}
