//! From a checked configuration to running threads.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dashmap::DashMap;
use http::HeaderValue;
use rustls::pki_types::ServerName;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_rustls::TlsConnector;

use crate::api::Api;
use crate::api::audit::RequestLog;
use crate::api::limiter::Limiter;
use crate::app::certificates::{self, Served};
use crate::app::inherit::Inherited;
use crate::app::notices::{self, note_uses};
use crate::app::recorder::recorder;
use crate::app::reload::{Reloaded, Reloader};
use crate::app::sockets::{self, Listening};
use crate::app::upkeep::Upkeep;
use crate::app::workers::Crew;
use crate::app::{AppError, Running, sign_in};
use crate::config::credential::read_credential;
use crate::config::{self, AuditOutput, Config, Host};
use crate::control::readiness::Readiness;
use crate::control::{self, ControlState};
use crate::domain::fault::Fault;
use crate::domain::grant::UnixTime;
use crate::domain::secret::Secret;
use crate::gateway::pool::{Destination, Pool};
use crate::gateway::upstream::Backend;
use crate::gateway::{Gateway, Upstream};
use crate::git_host::{GitHost, GitHostSettings};
use crate::headers::identity::Identity;
use crate::hooks::Courier;
use crate::issuer::{Issuer, IssuerLimits};
use crate::live::{Inputs, LivePolicy};
use crate::policy::upstream::{ClassicTokens, UpstreamSpec};
use crate::record::Recorder;
use crate::record::census::{Census, TokenCounts};
use crate::record::metrics::Metrics;
use crate::record::request_id::RequestIds;
use crate::record::worker::WorkerRecorder;
use crate::store::Store;
use crate::{clock, tls};

/// How long a request for the embedded git host waits for a place.
const GIT_QUEUE_TIME: Duration = Duration::from_secs(10);

/// Open files beside sockets: policy files, logs, pipes of git.
const SPARE_FILES: u64 = 256;

/// What policy is compiled with of the configuration in `file`.
pub fn inputs(config: &Config, file: &Path) -> Inputs {
    let spec = |upstream: &config::Upstream| UpstreamSpec {
        name: upstream.name.clone(),
        hosts: upstream.hosts.clone(),
        path_prefix: upstream.path_prefix.clone(),
        catalogs: upstream.catalogs.clone(),
        classic: if upstream.classic { ClassicTokens::Pass } else { ClassicTokens::Refuse },
        file: file.to_owned(),
    };
    Inputs {
        directory: config.policies.clone(),
        upstreams: config.upstreams.iter().map(spec).collect(),
        format: config.tokens.clone(),
    }
}

/// Starts everything that `config`, read from `file`, asks for.
///
/// # Errors
/// [`AppError`].
pub fn start(config: &Config, file: &Path) -> Result<Running, AppError> {
    start_on(config, file, Inherited::default())
}

/// As [`start`], on the sockets of `inherited` as far as they are for what `config` names.
///
/// # Errors
/// [`AppError`].
pub(super) fn start_on(config: &Config, file: &Path, inherited: Inherited) -> Result<Running, AppError> {
    let recorder = Arc::new(recorder(config)?);
    let started = clock::monotonic();
    let store = config.store.as_deref().map(Store::open).transpose().map_err(AppError::Store)?;
    let live = LivePolicy::load_with(inputs(config, file), store.clone());
    recorder.metrics.reload_took(clock::monotonic().saturating_duration_since(started));
    let (gateway, mut served) = gateway(config, live, &recorder)?;
    let gateway = Arc::new(gateway);
    let live = Arc::clone(&gateway.live);
    live.follow();
    let stored = store.clone();
    let api = store.map(|store| api(config, store, &live)).transpose()?.flatten().map(Arc::new);
    let courier = api.as_ref().map(|api| courier(config, api, &recorder)).transpose()?;
    let hooks = courier.as_ref().map(|courier| Arc::clone(&courier.tally));
    let snapshot = live.snapshot();
    recorder.metrics.reload_succeeded(snapshot.generation, snapshot.tokens.len(), clock::now());
    recorder.metrics.count_tokens_with(Box::new(LiveCensus(Arc::clone(&live))));
    tell_expiries(&config.directory, &served, &recorder.metrics);
    let host_of = |upstream| host(upstream, &recorder, api.as_ref());
    let hosts = config.upstreams.iter().map(host_of).collect::<Result<Vec<_>, _>>()?;
    allow_sockets(config.limits.connections);
    let (listeners, control_socket) = listen(config, &mut served, inherited)?;
    let addresses: Vec<_> = served.iter().map(|served| served.address).collect();
    let control = control_socket.as_ref().and_then(|socket| socket.local_addr().ok());
    let crew =
        Crew { gateway: Arc::clone(&gateway), hosts, listeners, size: config.workers, drain: config.drain };
    let supervision = crew.start()?;
    let system = |source| AppError::System { what: "starting the control plane".into(), source };
    let request_ids = RequestIds::from_system().map_err(system)?;
    let state = Arc::new(ControlState { recorder, readiness: Readiness::new(), api, hooks, request_ids });
    let (reload, reloads) = mpsc::channel(1);
    let listening = Arc::new(ArcSwap::from_pointee(addresses.clone()));
    let reloaded = Reloaded {
        gateway,
        served,
        addresses: Arc::clone(&listening),
        supervisor: supervision.events.clone(),
    };
    let reloads = Reloader::new(reloaded, config.clone(), file.to_owned(), reloads);
    // The control plane is asked as soon as it listens.
    state.readiness.snapshot_loaded();
    let (leave_control, leaves) = watch::channel(false);
    let socket = control_socket.as_ref().map(StdListener::try_clone).transpose().map_err(system)?;
    let upkeep = upkeep(config, state.api.as_ref());
    let control_plane = ControlPlane { socket, state: Arc::clone(&state), leaves, upkeep, courier };
    let run = move || background(control_plane, reloads);
    let background = thread::Builder::new().name("control".into()).spawn(run).map_err(system)?;
    begin_to_serve(config, stored, &live, (&addresses, control));
    Ok(Running {
        listeners: addresses,
        control,
        addresses: listening,
        control_socket,
        live,
        state,
        reload,
        leave_control,
        supervision,
        background,
    })
}

/// Does what is left to be done once nothing can fail any more, and says that requests are served now.
fn begin_to_serve(
    config: &Config,
    store: Option<Store>,
    live: &Arc<LivePolicy>,
    (listeners, control): (&[SocketAddr], Option<SocketAddr>),
) {
    // Had the start failed, whoever was there before would go on.
    if let Some(store) = store {
        sign_in::apply_groups(config, store, live);
    }
    let snapshot = live.peek();
    let (upstreams, tokens) = (config.upstreams.len(), snapshot.tokens.len() + snapshot.stored.len());
    tracing::info!(?listeners, ?control, upstreams, tokens, "serving");
}

/// The listeners of `served` with their sockets, whose addresses are noted, and the control plane's socket.
fn listen(
    config: &Config,
    served: &mut [Served],
    inherited: Inherited,
) -> Result<(Vec<Listening>, Option<StdListener>), AppError> {
    let (sockets, control_socket) = sockets::open(config, inherited)?;
    let mut listeners = Vec::new();
    for (served, sockets) in served.iter_mut().zip(sockets) {
        let system =
            |source| AppError::System { what: format!("listening on {}", served.config.bind), source };
        let listener = Arc::clone(&served.listener);
        let listening = Listening::on(sockets, served.config.name.as_ref(), listener).map_err(system)?;
        served.address = listening.address;
        listeners.push(listening);
    }
    Ok((listeners, control_socket))
}

/// What delivers what `api` has to tell; has it told when tokens were used.
fn courier(config: &Config, api: &Api, recorder: &Recorder) -> Result<Courier, AppError> {
    note_uses(recorder, api.issuer.clone(), Arc::clone(&api.live));
    Ok(notices::courier(config, &api.issuer, notices::receivers(config)?))
}

/// What is to be kept up of `api`. Where no audit lines are kept, nobody knows which tokens are used.
fn upkeep(config: &Config, api: Option<&Arc<Api>>) -> Option<Upkeep> {
    let (settings, api) = (config.api.as_ref()?, api?);
    let noted_from = (config.audit.output != AuditOutput::Off).then(clock::now);
    api.issuer.store.write_aside(move |changes| changes.note_uses_from(noted_from));
    Some(Upkeep {
        api: Arc::clone(api),
        max_staleness: settings.max_staleness,
        notices_after: config.webhooks.pace.notices,
        trail_kept: settings.keep_audit_trail,
        mapping: sign_in::mapping(config),
        unused_after: settings.revoke_unused_after.filter(|_| config.audit.output != AuditOutput::Off),
    })
}

/// The API over `store`; `None` where `config` names no store.
///
/// # Errors
/// What people sign in by cannot be used.
pub fn api(config: &Config, store: Store, live: &Arc<LivePolicy>) -> Result<Option<Api>, AppError> {
    let upstream = config.upstreams.iter().position(|upstream| upstream.host == Host::Api);
    let (Some(settings), Some(upstream)) = (&config.api, upstream) else { return Ok(None) };
    let limits = IssuerLimits {
        tokens_per_user: settings.tokens_per_user,
        repositories_per_token: settings.repositories_per_token,
    };
    Ok(Some(Api {
        issuer: Issuer::new(store, config.tokens.clone(), limits, notices::outbox(config)),
        live: Arc::clone(live),
        upstream,
        url: settings.url.clone(),
        target_bytes: config.limits.target_bytes,
        changes_per_hour: settings.changes_per_hour,
        limiter: Limiter::default(),
        noted: DashMap::new(),
        trusted: sign_in::trusted(settings),
        providers: sign_in::providers(settings)?,
        request_log: match &config.audit.output {
            AuditOutput::File(file) => Some(RequestLog::new(file.clone())),
            AuditOutput::Stdout | AuditOutput::Off => None,
        },
    }))
}

/// The control listener, and when it ends before the reloads do.
struct ControlPlane {
    socket: Option<StdListener>,
    state: Arc<ControlState>,
    leaves: watch::Receiver<bool>,
    upkeep: Option<Upkeep>,
    courier: Option<Courier>,
}

/// What runs beside the data plane, on a thread of its own: the control listener, and the reloads, with whose end it
/// ends.
fn background(control: ControlPlane, reloader: Reloader) -> io::Result<()> {
    let ControlPlane { socket, state, mut leaves, upkeep, courier } = control;
    let delivering_leaves = leaves.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let (ended, end) = oneshot::channel::<()>();
        let reloads = async move {
            reloader.run().await;
            drop(ended);
        };
        let listener = socket.map(TcpListener::from_std).transpose()?;
        let serving = async move {
            let told = async {
                tokio::select! {
                    _ = end => {}
                    _ = leaves.wait_for(|leaves| *leaves) => {}
                }
            };
            if let Some(listener) = listener {
                control::serve(listener, state, told).await;
            }
        };
        let keeping_up = async move {
            match upkeep {
                Some(upkeep) => upkeep.run().await,
                None => std::future::pending().await,
            }
        };
        let delivering = async {
            match courier {
                Some(courier) => courier.run(delivering_leaves).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = async { tokio::join!(serving, reloads) } => {}
            () = keeping_up => {}
            () = delivering => {}
        }
        Ok(())
    })
}

/// Counts the tokens of the policy in force.
struct LiveCensus(Arc<LivePolicy>);

impl Census for LiveCensus {
    fn states(&self, now: UnixTime) -> TokenCounts {
        let snapshot = self.0.peek();
        let states = snapshot.tokens.states(now).plus(snapshot.stored.states(now));
        TokenCounts {
            active: states.active,
            expired: states.expired,
            pending: states.pending,
            revoked: states.revoked,
            suspended: states.suspended,
        }
    }

    fn expiring(&self, now: UnixTime, seconds: i64) -> usize {
        let snapshot = self.0.peek();
        snapshot.tokens.expiring(now, seconds) + snapshot.stored.expiring(now, seconds)
    }
}

/// Tells `metrics` when the certificates in use expire; their files by their names below `directory`.
pub(super) fn tell_expiries(directory: &Path, served: &[Served], metrics: &Metrics) {
    let mut found = Vec::new();
    for served in served {
        for (file, expiry) in &served.expiries {
            let name = file.strip_prefix(directory).unwrap_or(file);
            found.push((served.config.bind.to_string(), name.display().to_string(), *expiry));
        }
    }
    metrics.certificates(found.iter().map(|(listener, name, expiry)| (&**listener, &**name, *expiry)));
}

pub(super) fn connector(
    settings: &config::UpstreamTls,
) -> Result<(TlsConnector, ServerName<'static>), AppError> {
    let faults = |fault| AppError::Faults(vec![fault]);
    let connector = TlsConnector::from(tls::client_config(settings).map_err(faults)?);
    Ok((connector, tls::server_name(settings).map_err(faults)?))
}

/// What workers share; tells the faults of policy, credentials and certificates together.
pub(super) fn gateway(
    config: &Config,
    live: Result<LivePolicy, Vec<Fault>>,
    recorder: &Arc<Recorder>,
) -> Result<(Gateway, Vec<Served>), AppError> {
    let mut faults = Vec::new();
    let live = live.map_err(|found| faults.extend(found)).ok();
    let mut upstreams = Vec::new();
    for upstream in &config.upstreams {
        match identity(&upstream.identity) {
            Ok(identity) => upstreams.push(Upstream {
                id: recorder.metrics.upstream(&upstream.name),
                identity: ArcSwap::from_pointee(identity),
            }),
            Err(fault) => faults.push(fault),
        }
    }
    let mut served = Vec::new();
    for listener in &config.listeners {
        match certificates::load(listener) {
            Ok(loaded) => served.push(Served::new(listener.clone(), loaded)),
            Err(found) => faults.extend(found),
        }
    }
    let Some(live) = live.filter(|_| faults.is_empty()) else {
        return Err(AppError::Faults(faults));
    };
    let gateway = Gateway {
        live: Arc::new(live),
        recorder: Arc::clone(recorder),
        limits: config.limits,
        places: Arc::new(Semaphore::new(config.limits.connections)),
        under_way: Arc::new(Semaphore::new(config.limits.connections)),
        upstreams,
    };
    Ok((gateway, served))
}

/// Reads what an upstream is told by.
///
/// # Errors
/// A credential file that cannot be read or cannot stand in a header field.
pub fn identity(identity: &config::Identity) -> Result<Identity, Fault> {
    let bearer = |secret: &Secret| format!("Bearer {}", secret.expose());
    let basic = |secret: &Secret| format!("Basic {}", STANDARD.encode(secret.expose()));
    Ok(match identity {
        config::Identity::TrustedHeader(name) => Identity::TrustedHeader(name.clone()),
        config::Identity::Basic { file, user_header } => {
            Identity::Account { authorization: authorization(file, basic)?, user_header: user_header.clone() }
        }
        config::Identity::Bearer { file, user_header } => Identity::Account {
            authorization: authorization(file, bearer)?,
            user_header: user_header.clone(),
        },
        config::Identity::Sudo { token_file } => {
            Identity::Sudo { authorization: authorization(token_file, bearer)? }
        }
        config::Identity::RemoteUser => Identity::RemoteUser,
    })
}

fn authorization(file: &Path, value: impl Fn(&Secret) -> String) -> Result<HeaderValue, Fault> {
    let secret = read_credential(file)?;
    let mut header = HeaderValue::try_from(value(&secret))
        .map_err(|_| Fault::of_file(file, "holds a character that cannot stand in a header field"))?;
    header.set_sensitive(true);
    Ok(header)
}

/// Out of which each worker makes its own way to a host.
#[derive(Debug)]
pub(super) enum HostPlan {
    /// An HTTP server.
    Http { destination: Destination, host: Option<HeaderValue> },
    /// The embedded git host.
    Git(GitHost),
    /// The gateway itself.
    Api(Arc<Api>),
}

impl HostPlan {
    pub(super) fn backend(&self, recorder: &Arc<WorkerRecorder>) -> Backend {
        match self {
            Self::Http { destination, host } => Backend::Http {
                pool: Arc::new(Pool::new(destination.clone(), Arc::clone(recorder))),
                host: host.clone(),
            },
            Self::Git(git) => Backend::Git(git.clone()),
            Self::Api(api) => Backend::Api(Arc::clone(api)),
        }
    }
}

pub(super) fn host(
    upstream: &config::Upstream,
    recorder: &Recorder,
    api: Option<&Arc<Api>>,
) -> Result<HostPlan, AppError> {
    match &upstream.host {
        Host::Api => {
            let missing = || io::Error::other("there is no store");
            let system = |source| AppError::System { what: "starting the API".into(), source };
            api.cloned().map(HostPlan::Api).ok_or_else(missing).map_err(system)
        }
        Host::Http { authority, tls: settings, preserve_host } => {
            let tls = settings.as_ref().map(connector).transpose()?;
            let destination = Destination {
                authority: authority.clone(),
                tls,
                timeouts: upstream.timeouts,
                id: recorder.metrics.upstream(&upstream.name),
            };
            let host = HeaderValue::try_from(authority).ok().filter(|_| !preserve_host);
            Ok(HostPlan::Http { destination, host })
        }
        Host::GitDirectory { directory, max_children } => {
            let settings = GitHostSettings {
                directory: directory.clone(),
                git: "git".into(),
                max_children: *max_children,
                queue_timeout: GIT_QUEUE_TIME,
                first_byte_timeout: upstream.timeouts.response,
            };
            let name = upstream.name.clone();
            GitHost::new(settings)
                .map(HostPlan::Git)
                .map_err(|source| AppError::GitHost { upstream: name, source })
        }
    }
}

/// Raises the limit of open files as far as the system lets, and says where it does not do for `connections`: each may
/// take a socket to the client and one to a host.
fn allow_sockets(connections: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
    let needed = u64::try_from(connections).unwrap_or(u64::MAX).saturating_mul(2).saturating_add(SPARE_FILES);
    if let Some(most) = getrlimit(Resource::Nofile).current.filter(|most| *most < needed) {
        tracing::warn!(
            most,
            needed,
            "too few open files for `limits.connections`; raise the hard limit, or lower it"
        );
    }
}
