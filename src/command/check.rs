//! `portcullis check`.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use clap::Args;
use serde::Serialize;

use crate::app::start::inputs;
use crate::clock::now;
use crate::command::load::{Faulty, Loaded, and_policy};
use crate::command::output::Output;
use crate::command::{ConfigFile, Status, warnings};
use crate::config::credential::read_credential;
use crate::config::{self, Config, Host, Listener};
use crate::domain::fault::{Fault, describe};
use crate::domain::grant::UnixTime;
use crate::oidc;
use crate::policy::snapshot::Snapshot;
use crate::policy::upstream::UpstreamPolicy;
use crate::tls;

/// Tokens that expire sooner than this are counted apart: 30 days, in seconds.
const SOON: i64 = 30 * 24 * 60 * 60;

/// What to check.
#[derive(Debug, Args)]
#[command(after_help = "Every fault of every file is told at once, with file, line and column.

Examples:
  portcullis check
  portcullis check --config /etc/portcullis/portcullis.yaml --json

Exit codes: 0 no faults, 2 faults.")]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Outcome<'a> {
    ok: bool,
    faults: Vec<FaultEntry<'a>>,
    warnings: &'a [String],
    summary: Option<&'a Summary>,
}

#[derive(Serialize)]
struct FaultEntry<'a> {
    file: String,
    line: u64,
    column: u64,
    message: &'a str,
    text: &'a str,
}

impl<'a> From<&'a Fault> for FaultEntry<'a> {
    fn from(fault: &'a Fault) -> Self {
        Self {
            file: fault.file.display().to_string(),
            line: fault.place.line,
            column: fault.place.column,
            message: &fault.message,
            text: &fault.text,
        }
    }
}

#[derive(Serialize)]
struct Summary {
    listeners: Vec<String>,
    control: Option<String>,
    upstreams: Vec<UpstreamSummary>,
    organizations: usize,
    tokens: TokenSummary,
    deny_rules: usize,
}

#[derive(Serialize)]
struct UpstreamSummary {
    name: String,
    hosts: Vec<String>,
    catalogs: Vec<String>,
    routes: usize,
}

#[derive(Serialize, Default)]
struct TokenSummary {
    active: usize,
    expiring_within_30_days: usize,
    expired: usize,
    pending: usize,
    revoked: usize,
}

/// Checks, and tells what was found.
///
/// # Errors
/// The output cannot be written.
pub fn run(arguments: &Arguments, output: &mut Output) -> anyhow::Result<Status> {
    match check(&arguments.config.file) {
        Ok(loaded) => fine(arguments, &loaded, output),
        Err(faulty) => faults(arguments, faulty, output),
    }
}

fn check(file: &Path) -> Result<Loaded, Faulty> {
    let config = config::load(file).map_err(|faults| and_policy(file, faults))?;
    let mut faults = of_files(&config);
    match inputs(&config, file).compile(1) {
        Ok(snapshot) if faults.is_empty() => return Ok(Loaded { config, snapshot }),
        Ok(_) => {}
        Err(found) => faults.extend(found),
    }
    Err(Faulty { faults, unchecked: None })
}

/// The faults of the files that the configuration names, beside the policy files.
fn of_files(config: &Config) -> Vec<Fault> {
    let credentials = warnings::credential_files(config).filter_map(|file| read_credential(file).err());
    let served = config.listeners.iter().filter(|listener| !listener.tls.is_empty());
    let certificates = served.filter_map(|listener| tls::server_config(listener).err()).flatten();
    let trusted = config.upstreams.iter().filter_map(|upstream| match &upstream.host {
        Host::Http { tls: Some(settings), .. } => tls::client_config(settings).err(),
        Host::Http { tls: None, .. } | Host::GitDirectory { .. } | Host::Api => None,
    });
    let providers = config.api.iter().flat_map(|api| &api.oidc);
    let of_providers = providers.filter_map(|provider| oidc::client_config(provider).err());
    credentials.chain(certificates).chain(trusted).chain(of_providers).collect()
}

fn fine(arguments: &Arguments, loaded: &Loaded, output: &mut Output) -> anyhow::Result<Status> {
    let mut warnings = warnings::of_config(&loaded.config);
    warnings.extend(warnings::of_policy(&loaded.snapshot));
    warnings.extend(warnings::of_keepers(&loaded.config, &loaded.snapshot));
    warnings.extend(warnings::of_groups(&loaded.config, &loaded.snapshot));
    let summary = Summary::of(loaded, now());
    if arguments.json {
        output.json(&Outcome {
            ok: true,
            faults: Vec::new(),
            warnings: &warnings,
            summary: Some(&summary),
        })?;
        return Ok(Status::Fine);
    }
    writeln!(output, "{}: no faults", arguments.config.file.display())?;
    summary.write(output)?;
    for warning in warnings {
        output.message(format_args!("warning: {warning}"));
    }
    Ok(Status::Fine)
}

fn faults(arguments: &Arguments, mut faulty: Faulty, output: &mut Output) -> anyhow::Result<Status> {
    faulty.faults.sort();
    faulty.faults.dedup();
    let warnings: Vec<_> = faulty.unchecked.into_iter().collect();
    if arguments.json {
        output.json(&Outcome {
            ok: false,
            faults: faulty.faults.iter().map(FaultEntry::from).collect(),
            warnings: &warnings,
            summary: None,
        })?;
        return Ok(Status::Faulty);
    }
    writeln!(output, "{}", describe(&faulty.faults))?;
    for warning in warnings {
        output.message(format_args!("warning: {warning}"));
    }
    let count = faulty.faults.len();
    output.message(format_args!("{count} {}", if count == 1 { "fault" } else { "faults" }));
    Ok(Status::Faulty)
}

impl Summary {
    fn of(loaded: &Loaded, now: UnixTime) -> Self {
        let Loaded { config, snapshot } = loaded;
        let upstreams = config.upstreams.iter().zip(snapshot.upstreams.iter());
        let rules: BTreeSet<_> =
            snapshot.upstreams.iter().flat_map(UpstreamPolicy::deny_rules).map(|rule| &rule.name).collect();
        Self {
            listeners: config.listeners.iter().map(listener).collect(),
            control: config.control.map(|address| address.to_string()),
            upstreams: upstreams
                .map(|(upstream, policy)| UpstreamSummary {
                    name: upstream.name.clone(),
                    hosts: upstream.hosts.clone(),
                    catalogs: upstream.catalogs.clone(),
                    routes: policy.routes().len(),
                })
                .collect(),
            organizations: snapshot.organizations.len(),
            tokens: TokenSummary::of(snapshot, now),
            deny_rules: rules.len(),
        }
    }

    fn write(&self, output: &mut Output) -> std::io::Result<()> {
        writeln!(output, "  listeners      {}", self.listeners.join(", "))?;
        if let Some(control) = &self.control {
            writeln!(output, "  control        {control}")?;
        }
        for (at, upstream) in self.upstreams.iter().enumerate() {
            let hosts = upstream.hosts.join(", ");
            writeln!(
                output,
                "  {:<15}{}: {}; {}, {} routes",
                if at == 0 { "upstreams" } else { "" },
                upstream.name,
                if hosts.is_empty() { "on the control listener" } else { &hosts },
                upstream.catalogs.join(" and "),
                upstream.routes
            )?;
        }
        let tokens = &self.tokens;
        writeln!(output, "  organizations  {}", self.organizations)?;
        writeln!(
            output,
            "  tokens         {} active ({} within 30 days of expiry), {} expired, {} pending, {} revoked",
            tokens.active, tokens.expiring_within_30_days, tokens.expired, tokens.pending, tokens.revoked
        )?;
        writeln!(output, "  deny rules     {}", self.deny_rules)
    }
}

fn listener(listener: &Listener) -> String {
    match listener.tls.len() {
        0 => format!("{} (plain HTTP)", listener.bind),
        1 => format!("{} (TLS)", listener.bind),
        many => format!("{} (TLS, {many} certificates)", listener.bind),
    }
}

impl TokenSummary {
    fn of(snapshot: &Snapshot, now: UnixTime) -> Self {
        let states = snapshot.tokens.states(now);
        Self {
            active: states.active,
            expired: states.expired,
            pending: states.pending,
            revoked: states.revoked,
            expiring_within_30_days: snapshot.tokens.expiring(now, SOON),
        }
    }
}
