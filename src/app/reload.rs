//! Puts changed files in force: policy, certificates, credentials; and, where somebody asks for it, the configuration.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use crate::app::certificates::{Renewal, Served};
use crate::app::configuration::{plan, read_at_start};
use crate::app::start::{identity, tell_expiries};
use crate::app::workers::Event;
use crate::app::{AppError, notify, tell};
use crate::config::{self, Config, Identity};
use crate::domain::fault::Fault;
use crate::gateway::Gateway;
use crate::live::files::{Stamp, stamps};
use crate::live::watch::Changes;
use crate::live::{LivePolicy, Look, Reload};
use crate::{clock, tls};

/// How many looks after a load, each at least a second behind the other, what it took and does not need any more is given
/// back to the system.
const LOOKS_BEFORE_REST: u8 = 3;

/// More than any allocator keeps at hand.
const LARGE: usize = 64 << 20;

/// What a reloader changes.
#[derive(Debug)]
pub(super) struct Reloaded {
    /// What workers share.
    pub(super) gateway: Arc<Gateway>,
    /// The listeners, in the order of the configuration.
    pub(super) served: Vec<Served>,
    /// Where they listen.
    pub(super) addresses: Arc<ArcSwap<Vec<SocketAddr>>>,
    /// Who has the sockets.
    pub(super) supervisor: SyncSender<Event>,
}

/// Whether the policy files were read for more than their stamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loaded {
    Anew,
    Nothing,
}

/// Watches the files of a running gateway.
#[derive(Debug)]
pub(super) struct Reloader {
    reloaded: Reloaded,
    /// What is in force of the file.
    config: Config,
    file: PathBuf,
    asked: mpsc::Receiver<()>,
    changes: Changes,
    credentials: Credentials,
    /// How many looks there are before memory is given back; 0 where it was.
    before_rest: u8,
}

/// The credential files of upstreams.
#[derive(Debug)]
struct Credentials {
    files: Vec<PathBuf>,
    seen: Vec<Stamp>,
    /// Why some are not in force, as it was told.
    faults: Vec<Fault>,
}

impl Reloader {
    /// For a gateway that was started from `config`, read from `file`; looks also whenever `asked` says so, and ends with
    /// it.
    pub(super) fn new(reloaded: Reloaded, config: Config, file: PathBuf, asked: mpsc::Receiver<()>) -> Self {
        let credentials = config.upstreams.iter().filter_map(|upstream| match &upstream.identity {
            Identity::Basic { file, .. } | Identity::Bearer { file, .. } => Some(file.clone()),
            Identity::Sudo { token_file } => Some(token_file.clone()),
            Identity::TrustedHeader(_) | Identity::RemoteUser => None,
        });
        let files: Vec<_> = credentials.collect();
        let seen = files.iter().flat_map(|file| stamps(file)).collect();
        let credentials = Credentials { files, seen, faults: Vec::new() };
        let changes = changes(&config, &credentials);
        let before_rest = LOOKS_BEFORE_REST;
        Self { reloaded, config, file, asked, changes, credentials, before_rest }
    }

    /// Reloads whenever files change, until nobody can ask any more.
    ///
    /// # Cancel safety
    /// A reload is not cut: what has begun goes on on its own thread.
    pub(super) async fn run(mut self) {
        loop {
            tokio::select! {
                look = self.changes.next() => self.look(look).await,
                asked = self.asked.recv() => match asked {
                    Some(()) => {
                        notify::reloading();
                        self.configuration();
                        self.look(Look::AtTexts).await;
                        notify::ready(&self.status());
                    }
                    None => return,
                },
            }
        }
    }

    async fn look(&mut self, look: Look) {
        if self.policy(look).await == Loaded::Anew {
            self.before_rest = LOOKS_BEFORE_REST;
        } else if look == Look::AtStamps && self.before_rest > 0 {
            self.before_rest -= 1;
            if self.before_rest == 0 {
                rest();
            }
        }
        let mut renewed = false;
        for served in &mut self.reloaded.served {
            renewed |= served.look(look) == Renewal::Renewed;
        }
        if renewed {
            self.expiries();
        }
        self.credentials.look(look, &self.config, &self.reloaded.gateway);
    }

    fn expiries(&self) {
        let Reloaded { gateway, served, .. } = &self.reloaded;
        tell_expiries(&self.config.directory, served, &gateway.recorder.metrics);
    }

    fn status(&self) -> String {
        status(&self.reloaded.addresses.load(), &self.reloaded.gateway.live)
    }

    async fn policy(&self, look: Look) -> Loaded {
        let gateway = &self.reloaded.gateway;
        let metrics = &gateway.recorder.metrics;
        let in_force = |what: &str| {
            let snapshot = gateway.live.snapshot();
            let (generation, tokens) = (snapshot.generation, snapshot.tokens.len());
            metrics.reload_succeeded(generation, tokens, clock::now());
            tracing::info!(generation, tokens, "{what}");
            notify::status(&self.status());
        };
        let started = clock::monotonic();
        let reload = gateway.live.reload_aside(look).await;
        let loaded = if matches!(reload, Reload::Unchanged) { Loaded::Nothing } else { Loaded::Anew };
        if loaded == Loaded::Anew {
            metrics.reload_took(clock::monotonic().saturating_duration_since(started));
        }
        match reload {
            Reload::Unchanged => metrics.reload_unneeded(clock::now()),
            Reload::Replaced(_) => in_force("new policy in force"),
            Reload::Restored => in_force("the policy files say again what is in force"),
            Reload::Refused(faults) => {
                metrics.reload_refused();
                let generation = gateway.live.peek().generation;
                tracing::error!(
                    generation,
                    faults = faults.len(),
                    "policy files refused; the last good policy stays in force"
                );
                tell(&faults);
                notify::status(&format!("{}; policy files have faults, see the log", self.status()));
            }
        }
        loaded
    }

    /// Reads the configuration again. Its listeners and its `drain` are put in force; where something else differs, the log
    /// says what.
    fn configuration(&mut self) {
        let new = match config::load(&self.file) {
            Ok(new) => new,
            Err(faults) => {
                tracing::error!(
                    faults = faults.len(),
                    "the configuration is refused; what is in force stays"
                );
                return tell(&faults);
            }
        };
        if (&new.listeners, new.drain) != (&self.config.listeners, self.config.drain) {
            match self.listeners(&new) {
                Ok(()) => {}
                Err(AppError::Faults(faults)) => {
                    tracing::error!("the configuration is refused; the listeners stay as they are");
                    return tell(&faults);
                }
                Err(error) => {
                    tracing::error!(%error, "the configuration is refused; the listeners stay as they are");
                    return;
                }
            }
        }
        let waiting = read_at_start(&self.config, &new);
        if !waiting.is_empty() {
            let keys = waiting.join(", ");
            tracing::warn!(
                keys,
                "these keys of the configuration have changed and are read at start only; upgrade in place (SIGUSR2) or restart"
            );
        }
    }

    fn listeners(&mut self, new: &Config) -> Result<(), AppError> {
        // Addresses are bound for the workers that there are, whatever the file says of their number.
        let new = Config { listeners: new.listeners.clone(), drain: new.drain, ..self.config.clone() };
        let plan = plan(&self.reloaded.served, &new)?;
        let change = plan.apply(&mut self.reloaded.served, new.drain);
        let addresses: Vec<_> = self.reloaded.served.iter().map(|served| served.address).collect();
        tracing::info!(listeners = in_words(&addresses), drain = ?new.drain, "the listeners have changed");
        self.reloaded.addresses.store(Arc::new(addresses));
        self.expiries();
        self.config = new;
        self.changes = changes(&self.config, &self.credentials);
        let sent = self.reloaded.supervisor.send(Event::Change(change));
        sent.map_err(|_| AppError::System {
            what: "changing the listeners".into(),
            source: std::io::Error::other("the supervisor has ended"),
        })
    }
}

impl Credentials {
    /// As [`Served::look`] looks at certificates.
    fn look(&mut self, look: Look, config: &Config, gateway: &Gateway) {
        let now: Vec<_> = self.files.iter().flat_map(|file| stamps(file)).collect();
        if now == self.seen && look == Look::AtStamps && self.faults.is_empty() || self.files.is_empty() {
            return;
        }
        self.seen = now;
        let mut faults = Vec::new();
        for (upstream, current) in config.upstreams.iter().zip(&gateway.upstreams) {
            match identity(&upstream.identity) {
                Ok(new) => current.identity.store(Arc::new(new)),
                Err(fault) => faults.push(fault),
            }
        }
        if !faults.is_empty() && faults != self.faults {
            tracing::error!("credential files refused; the last good ones stay in use");
            tell(&faults);
        }
        self.faults = faults;
    }
}

/// What is watched: the policies, certificates, keys and credentials.
fn changes(config: &Config, credentials: &Credentials) -> Changes {
    let roots = std::iter::once(config.policies.clone());
    let certificates = config.listeners.iter().flat_map(tls::files);
    Changes::of(roots.chain(certificates).chain(credentials.files.iter().cloned()).collect())
}

/// One line for people: what is served.
pub(super) fn status(addresses: &[SocketAddr], live: &LivePolicy) -> String {
    let snapshot = live.peek();
    let (tokens, generation) = (snapshot.tokens.len(), snapshot.generation);
    format!("serving on {}; {tokens} tokens, policy generation {generation}", in_words(addresses))
}

fn in_words(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Has the allocator give back what nobody needs any more. It waits a second with that, in case it is needed again, and then
/// until somebody asks for much or gives much back.
fn rest() {
    let mut much = Vec::<u8>::new();
    // Where there is not so much, there is nothing to be given back either.
    if much.try_reserve_exact(LARGE).is_ok() {
        drop(std::hint::black_box(much));
    }
}
