//! From a checked configuration to running threads.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use rustls::pki_types::ServerName;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_rustls::TlsConnector;

use crate::app::reload::Reloader;
use crate::app::{AppError, Running};
use crate::config::credential::read_credential;
use crate::config::{self, AuditOutput, Config, Host};
use crate::control::process::WORKER_THREAD;
use crate::control::readiness::Readiness;
use crate::control::{self, ControlState};
use crate::domain::fault::Fault;
use crate::domain::grant::UnixTime;
use crate::domain::secret::Secret;
use crate::gateway::pool::{Destination, Pool};
use crate::gateway::upstream::Backend;
use crate::gateway::worker::{self, Worker};
use crate::gateway::{Gateway, Upstream};
use crate::git_host::{GitHost, GitHostSettings};
use crate::headers::identity::Identity;
use crate::live::{Inputs, LivePolicy};
use crate::policy::upstream::UpstreamSpec;
use crate::record::Recorder;
use crate::record::audit::{Audit, Output, WhenFull};
use crate::record::census::{Census, TokenCounts};
use crate::record::metrics::Metrics;
use crate::record::traces::{Collector, TraceSettings, Traces};
use crate::record::worker::WorkerRecorder;
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
    let recorder = Arc::new(recorder(config)?);
    let started = clock::monotonic();
    let live = LivePolicy::load(inputs(config, file));
    recorder.metrics.reload_took(clock::monotonic().saturating_duration_since(started));
    let gateway = Arc::new(gateway(config, live, &recorder)?);
    let live = Arc::clone(&gateway.live);
    let snapshot = live.snapshot();
    recorder.metrics.reload_succeeded(snapshot.generation, snapshot.tokens.len(), clock::now());
    recorder.metrics.count_tokens_with(Box::new(LiveCensus(Arc::clone(&live))));
    for listener in &config.listeners {
        tell_certificates(config, listener, &recorder.metrics);
    }
    let hosts =
        config.upstreams.iter().map(|upstream| host(upstream, &recorder)).collect::<Result<Vec<_>, _>>()?;
    allow_sockets(config.limits.connections);
    let (listeners, sockets) = listen(config)?;
    let control = config.control.map(listen_control).transpose()?;
    let control_address = control.as_ref().and_then(|listener| listener.local_addr().ok());
    let state = Arc::new(ControlState { recorder: Arc::clone(&recorder), readiness: Readiness::new() });
    let (drain, draining) = watch::channel(false);
    let mut workers = Vec::new();
    for (number, sockets) in sockets.into_iter().enumerate() {
        let recorder = WorkerRecorder::new(&recorder, number)
            .map_err(|source| AppError::System { what: "seeding request ids".into(), source })?;
        let backends = hosts.iter().map(|host| host.backend(&recorder)).collect();
        let worker = Worker { gateway: Arc::clone(&gateway), recorder, backends };
        let (draining, drain_time) = (draining.clone(), config.drain);
        workers.push(spawn(format!("{WORKER_THREAD}{number}"), move || {
            worker::run(worker, sockets, draining, drain_time)
        })?);
    }
    let (reload, reloads) = mpsc::channel(1);
    let reloader = Reloader::new(gateway, config.clone(), reloads);
    let background_state = Arc::clone(&state);
    let background = spawn("control".into(), move || background(control, background_state, reloader))?;
    state.readiness.snapshot_loaded();
    let (upstreams, tokens) = (config.upstreams.len(), snapshot.tokens.len());
    tracing::info!(?listeners, control = ?control_address, upstreams, tokens, "serving");
    Ok(Running { listeners, control: control_address, live, state, drain, reload, workers, background })
}

/// What runs beside the data plane, on a thread of its own: the control listener, and the reloads, with whose end it
/// ends.
fn background(control: Option<StdListener>, state: Arc<ControlState>, reloader: Reloader) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        match control {
            Some(listener) => control::serve(TcpListener::from_std(listener)?, state, reloader.run()).await,
            None => reloader.run().await,
        }
        Ok(())
    })
}

fn spawn(
    name: String,
    run: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> Result<JoinHandle<io::Result<()>>, AppError> {
    let what = format!("starting thread `{name}`");
    thread::Builder::new().name(name).spawn(run).map_err(|source| AppError::System { what, source })
}

/// Counts the tokens of the policy in force.
struct LiveCensus(Arc<LivePolicy>);

impl Census for LiveCensus {
    fn states(&self, now: UnixTime) -> TokenCounts {
        let states = self.0.peek().tokens.states(now);
        TokenCounts {
            active: states.active,
            expired: states.expired,
            pending: states.pending,
            revoked: states.revoked,
        }
    }

    fn expiring(&self, now: UnixTime, seconds: i64) -> usize {
        self.0.peek().tokens.expiring(now, seconds)
    }
}

/// Tells `metrics` when the certificates of `listener` expire. Call it when they have just come into use.
pub fn tell_certificates(config: &Config, listener: &config::Listener, metrics: &Metrics) {
    for (file, expiry) in tls::expiries(listener) {
        let name = file.strip_prefix(&config.directory).unwrap_or(&file);
        metrics.certificate_in_use(&listener.bind.to_string(), &name.display().to_string(), expiry);
    }
}

fn recorder(config: &Config) -> Result<Recorder, AppError> {
    let names: Vec<_> = config.upstreams.iter().map(|upstream| upstream.name.clone()).collect();
    let metrics = Metrics::with_tokens(&names, config.metrics.tokens);
    let output = match &config.audit {
        AuditOutput::Stdout => Output::Stdout,
        AuditOutput::File(file) => Output::File(file.clone()),
        AuditOutput::Off => Output::Off,
    };
    let when_full = match config.when_full {
        config::WhenFull::Drop => WhenFull::Drop,
        config::WhenFull::Refuse => WhenFull::Refuse,
    };
    let audit = Audit::open(output, when_full, &metrics)
        .map_err(|source| AppError::System { what: "opening the audit log".into(), source })?;
    let traces = match &config.tracing {
        None => Traces::off(),
        Some(tracing) => traces(tracing, &metrics)?,
    };
    Ok(Recorder { metrics, audit, traces })
}

fn traces(tracing: &config::Tracing, metrics: &Metrics) -> Result<Traces, AppError> {
    let tls = tracing.tls.as_ref().map(connector).transpose()?;
    let (authority, path) = (tracing.authority.clone(), tracing.path.clone());
    let settings = TraceSettings {
        collector: Collector { authority, path, tls },
        sample: tracing.sample,
        service: tracing.service.clone(),
    };
    Traces::start(settings, metrics)
        .map_err(|source| AppError::System { what: "starting the exporter of traces".into(), source })
}

fn connector(settings: &config::UpstreamTls) -> Result<(TlsConnector, ServerName<'static>), AppError> {
    let faults = |fault| AppError::Faults(vec![fault]);
    let connector = TlsConnector::from(tls::client_config(settings).map_err(faults)?);
    Ok((connector, tls::server_name(settings).map_err(faults)?))
}

/// What workers share; tells the faults of policy, credentials and certificates together.
fn gateway(
    config: &Config,
    live: Result<LivePolicy, Vec<Fault>>,
    recorder: &Arc<Recorder>,
) -> Result<Gateway, AppError> {
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
    let mut listeners = Vec::new();
    for listener in &config.listeners {
        if listener.tls.is_empty() {
            listeners.push(None);
            continue;
        }
        match tls::server_config(listener) {
            Ok(tls) => listeners.push(Some(ArcSwap::new(tls))),
            Err(found) => faults.extend(found),
        }
    }
    let Some(live) = live.filter(|_| faults.is_empty()) else {
        return Err(AppError::Faults(faults));
    };
    Ok(Gateway {
        live: Arc::new(live),
        recorder: Arc::clone(recorder),
        limits: config.limits,
        places: Arc::new(Semaphore::new(config.limits.connections)),
        under_way: Arc::new(Semaphore::new(config.limits.connections)),
        upstreams,
        listeners,
    })
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
enum HostPlan {
    Http { destination: Destination, host: Option<HeaderValue> },
    Git(GitHost),
}

impl HostPlan {
    fn backend(&self, recorder: &Arc<WorkerRecorder>) -> Backend {
        match self {
            Self::Http { destination, host } => Backend::Http {
                pool: Arc::new(Pool::new(destination.clone(), Arc::clone(recorder))),
                host: host.clone(),
            },
            Self::Git(git) => Backend::Git(git.clone()),
        }
    }
}

fn host(upstream: &config::Upstream, recorder: &Recorder) -> Result<HostPlan, AppError> {
    match &upstream.host {
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

/// The addresses, and for each worker one socket a listener; port 0 becomes one port for all workers.
fn listen(config: &Config) -> Result<(Vec<SocketAddr>, Vec<Vec<StdListener>>), AppError> {
    let mut addresses = Vec::new();
    let mut sockets: Vec<Vec<StdListener>> = (0..config.workers).map(|_| Vec::new()).collect();
    for listener in &config.listeners {
        let system = |source| AppError::System { what: format!("listening on {}", listener.bind), source };
        // With a shared port a second gateway would bind without a word, and take half of the requests.
        drop(StdListener::bind(listener.bind).map_err(system)?);
        let mut address = listener.bind;
        for sockets in &mut sockets {
            let socket = worker::bind(address).map_err(system)?;
            address = socket.local_addr().map_err(system)?;
            sockets.push(socket);
        }
        addresses.push(address);
    }
    Ok((addresses, sockets))
}

fn listen_control(address: SocketAddr) -> Result<StdListener, AppError> {
    let system = |source| AppError::System { what: format!("listening on {address} for control"), source };
    let listener = StdListener::bind(address).map_err(system)?;
    listener.set_nonblocking(true).map_err(system)?;
    Ok(listener)
}
