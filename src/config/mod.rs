//! `portcullis.yaml`: what the process needs before its first request.
//!
//! Reads the file itself and its credential files, and looks whether the others that it names exist. The raw document (`document`) becomes validated
//! types here; past [`load`] nobody sees a raw value. Every fault is gathered, with its place.

pub mod api;
pub(crate) mod audit;
mod check;
pub mod credential;
mod document;
mod sign_in;
mod tracing;
mod upstream;
mod validate;
pub mod webhooks;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;

use crate::config::webhooks::Webhooks;
use crate::domain::fault::Fault;
use crate::domain::permission::Level;
use crate::domain::token::TokenFormat;

/// The whole configuration, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The directory of the file, where relative paths start.
    pub directory: PathBuf,
    /// The addresses of the data plane; at least one.
    pub listeners: Vec<Listener>,
    /// The address of the control plane; `None` where it is off.
    pub control: Option<SocketAddr>,
    /// The directory of policy files; it exists.
    pub policies: PathBuf,
    /// Where tokens are kept that users make; `None` where only files declare tokens.
    pub store: Option<PathBuf>,
    /// The API over the store; there where a store is. The gateway itself is then the last of [`Self::upstreams`].
    pub api: Option<Api>,
    /// Who is told of what becomes of tokens; nobody where there is no store.
    pub webhooks: Webhooks,
    /// The hosts behind the gateway; at least one, names distinct, no two for the same host and path prefix.
    pub upstreams: Vec<Upstream>,
    /// What bounds a request and the process.
    pub limits: Limits,
    /// What is kept of requests.
    pub audit: AuditLog,
    /// How much metrics tell.
    pub metrics: MetricsLimits,
    /// Where traces go; `None` where there are none.
    pub tracing: Option<Tracing>,
    /// Worker threads, 1 to 256.
    pub workers: usize,
    /// The text form of the tokens that this gateway issues.
    pub tokens: TokenFormat,
    /// How long requests may go on after the process was told to stop.
    pub drain: Duration,
}

/// The name of the control plane's socket where a service manager hands sockets over; no listener has it.
pub const CONTROL_NAME: &str = "control";

/// One address of the data plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// What it is called, and what its socket is called where a service manager hands sockets over: 1 to 40 of `a-z`,
    /// `0-9`, `-`, not [`CONTROL_NAME`], distinct.
    pub name: Option<String>,
    /// The address. Port 0 lets the system choose.
    pub bind: SocketAddr,
    /// The certificates, of which the first is the default; none means plain HTTP.
    pub tls: Vec<Certificate>,
}

/// The API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Api {
    /// Its URL for links, without a slash at the end; `None` is what each client calls it.
    pub url: Option<String>,
    /// How many tokens a user may have.
    pub tokens_per_user: usize,
    /// How many repositories a token may list.
    pub repositories_per_token: usize,
    /// How often a user may make, change or renew tokens within an hour.
    pub changes_per_hour: usize,
    /// For how long tokens of the store are gone by when it cannot be read.
    pub max_staleness: Duration,
    /// After which time without use a token is taken back; `None` is never.
    pub revoke_unused_after: Option<Duration>,
    /// For how long entries of the audit trail are kept; `None` is for ever.
    pub keep_audit_trail: Option<Duration>,
    /// Whose word is taken for who calls; `None` is nobody's.
    pub trusted_header: Option<TrustedHeader>,
    /// Who signs people in, names distinct.
    pub oidc: Vec<OidcProvider>,
}

/// A header field in which proxies of these networks say who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedHeader {
    /// The field.
    pub name: HeaderName,
    /// The networks; at least one.
    pub networks: Vec<IpNet>,
}

/// A provider of OpenID Connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OidcProvider {
    /// Its name in paths, logs and the store: 1 to 40 of `a-z`, `0-9`, `-`.
    pub name: String,
    /// Its URL as it writes it itself: `https`, or `http` on loopback; no query.
    pub issuer: String,
    /// What the gateway is called there.
    pub client_id: String,
    /// Holds the secret of the gateway there; read it with [`credential::read_credential`].
    pub client_secret_file: PathBuf,
    /// PEM file of the only authorities to trust; `None` trusts those of the system.
    pub ca: Option<PathBuf>,
    /// The claim that is the login.
    pub login_claim: String,
    /// The claim that lists groups.
    pub groups_claim: String,
    /// Groups whose members own an organization, by its name.
    pub owners: BTreeMap<String, Vec<String>>,
    /// Levels of the members of groups, by organization and group.
    pub members: BTreeMap<String, BTreeMap<String, Level>>,
    /// Groups whose members administer the gateway; `None` leaves to others who does.
    pub administrators: Option<Vec<String>>,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            url: None,
            tokens_per_user: 500,
            repositories_per_token: 1000,
            changes_per_hour: 1000,
            max_staleness: Duration::from_secs(60 * 60),
            revoke_unused_after: Some(Duration::from_secs(365 * 24 * 60 * 60)),
            keep_audit_trail: None,
            trusted_header: None,
            oidc: Vec::new(),
        }
    }
}

/// A certificate chain with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The names that it is offered for, lower case: `git.example.com`, or `*.example.com` for one label. May be empty
    /// for the first one of a listener, which is offered for every name that no other one has.
    pub hosts: Vec<String>,
    /// PEM file: the server's certificate, then the intermediate ones.
    pub certificate: PathBuf,
    /// PEM file: the private key.
    pub key: PathBuf,
}

/// One host behind the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Its name in logs and metrics: 1 to 40 of `a-z`, `0-9`, `-`.
    pub name: String,
    /// The hosts that clients ask for: lower case, without port; `*` stands for any that no other upstream has.
    pub hosts: Vec<String>,
    /// Restricts it to paths under this one: canonical, without escapes, no trailing slash.
    pub path_prefix: Option<String>,
    /// What answers.
    pub host: Host,
    /// The names of its catalogs; at least one.
    pub catalogs: Vec<String>,
    /// How it learns who is calling.
    pub identity: Identity,
    /// Whether credentials that it issued itself pass: `classic_tokens: pass`.
    pub classic: bool,
    /// How long it is waited for.
    pub timeouts: Timeouts,
}

/// What answers for an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// An HTTP server.
    Http {
        /// `host:port`, always with the port; an IPv6 address in brackets.
        authority: String,
        /// `None` speaks plain HTTP.
        tls: Option<UpstreamTls>,
        /// Forward the client's `Host` rather than `authority`.
        preserve_host: bool,
    },
    /// The embedded git host over a directory of bare repositories.
    GitDirectory {
        /// The directory that holds `owner/name.git`; it exists.
        directory: PathBuf,
        /// The most git processes at a time.
        max_children: usize,
    },
    /// The gateway itself.
    Api,
}

/// How an upstream's certificate is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTls {
    /// The DNS name or IP address that the certificate must be for, without brackets.
    pub server_name: String,
    /// PEM file of the only authorities to trust; `None` trusts those of the system.
    pub ca: Option<PathBuf>,
}

/// How an upstream learns who is calling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// The user's name in a header that the upstream trusts.
    TrustedHeader(HeaderName),
    /// One service account with Basic credentials.
    Basic {
        /// Holds `user:password`; read it with [`credential::read_credential`].
        file: PathBuf,
        /// Where the user's name goes.
        user_header: Option<HeaderName>,
    },
    /// One service account with a bearer token.
    Bearer {
        /// Holds the token; read it with [`credential::read_credential`].
        file: PathBuf,
        /// Where the user's name goes.
        user_header: Option<HeaderName>,
    },
    /// An administrator's token, and `Sudo: <user>`.
    Sudo {
        /// Holds the token; read it with [`credential::read_credential`].
        token_file: PathBuf,
    },
    /// `REMOTE_USER` of a CGI program, or whatever else needs no telling: [`Host::GitDirectory`], [`Host::Api`].
    RemoteUser,
}

/// How long an upstream is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect, with the TLS handshake.
    pub connect: Duration,
    /// From the end of the request to the first byte of the answer.
    pub response: Duration,
    /// How long an unused connection is kept.
    pub idle: Duration,
}

/// What bounds a request and the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's head, 8 KiB to 1 MiB.
    pub header_bytes: usize,
    /// Header fields of a request.
    pub header_count: usize,
    /// Bytes of a request target; not more than `header_bytes`.
    pub target_bytes: usize,
    /// Client connections of the whole process.
    pub connections: usize,
    /// How long a client may take to send a head, and the TLS handshake.
    pub header_time: Duration,
    /// How long a client's connection may wait for its next request.
    pub idle_time: Duration,
    /// How long a body may stand still.
    pub body_idle_time: Duration,
    /// The default of [`Timeouts::connect`].
    pub upstream_connect: Duration,
    /// The default of [`Timeouts::response`].
    pub upstream_response: Duration,
    /// The default of [`Timeouts::idle`].
    pub upstream_idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: 32 * 1024,
            header_count: 100,
            target_bytes: 8 * 1024,
            connections: 10_000,
            header_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(75),
            body_idle_time: Duration::from_secs(60),
            upstream_connect: Duration::from_secs(5),
            upstream_response: Duration::from_secs(120),
            upstream_idle: Duration::from_secs(30),
        }
    }
}

/// What is kept of requests.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditLog {
    /// Where audit lines go.
    pub output: AuditOutput,
    /// What happens to a request whose audit line has no place.
    pub when_full: WhenFull,
    /// Which requests have a line.
    pub lines: AuditLines,
    /// Whether each line holds a hash of all before it.
    pub chain: bool,
    /// When a file makes room for the next one; `None` leaves that to others.
    pub rotation: Option<Rotation>,
}

/// Which requests have an audit line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuditLines {
    /// All of them: the default.
    #[default]
    All,
    /// Those that were not allowed, or would not have been.
    Refused,
}

/// When an audit file makes room for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// From this size, bytes.
    pub size: usize,
    /// How many files are kept beside the one that is written.
    pub keep: usize,
}

/// Where audit lines go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AuditOutput {
    /// Standard output: `audit: stdout`, the default.
    #[default]
    Stdout,
    /// A file that lines are appended to; its directory exists.
    File(PathBuf),
    /// Nowhere: `audit: danger_off`.
    Off,
}

/// What happens to a request whose audit line has no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// It goes on, and its line is lost: the default.
    #[default]
    Drop,
    /// It is refused before it reaches the host.
    Refuse,
}

/// Where traces go.
#[derive(Debug, Clone, PartialEq)]
pub struct Tracing {
    /// `host:port` of the collector, always with the port.
    pub authority: String,
    /// The path that takes spans.
    pub path: String,
    /// `None` speaks plain HTTP.
    pub tls: Option<UpstreamTls>,
    /// The share of requests without a trace of their own that get one, 0 to 1.
    pub sample: f64,
    /// What the gateway is called in traces.
    pub service: String,
}

/// How much metrics tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricsLimits {
    /// How many tokens have a series of their own at a time, 0 to 10,000.
    pub tokens: usize,
}

impl Default for MetricsLimits {
    fn default() -> Self {
        Self { tokens: 100 }
    }
}

/// Reads and checks `file`.
///
/// # Errors
/// Every fault of the file, in the order of its lines; where it is no YAML or has an unknown field, that one alone.
pub fn load(file: &Path) -> Result<Config, Vec<Fault>> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        let message = format!("cannot be read: {error}; name the configuration file with its path");
        vec![Fault::of_file(file, message)]
    })?;
    parse(file, &text)
}

/// Checks `text`, the whole text of `file`. Reads no file, but looks whether those that it names exist. Relative paths
/// start at the directory of `file`.
///
/// # Errors
/// As [`load`].
pub fn parse(file: &Path, text: &str) -> Result<Config, Vec<Fault>> {
    let document = crate::yaml::parse(file, text).map_err(|fault| vec![fault])?;
    validate::validate(&document, check::Checker::new(file, text))
}

#[cfg(test)]
mod tests;
