//! Connections to one host, kept for the next request. One pool a worker, so nothing is shared between cores.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use http::{Method, Response};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::clock::{self, Tick};
use crate::config::Timeouts;
use crate::domain::refusal::UpstreamError;
use crate::framing::answer::AnswerHead;
use crate::gateway::body::Upload;
use crate::gateway::exchange::{Exchange, HostBody, Lost};
use crate::gateway::link::Link;
use crate::gateway::sending::Sending;
use crate::record::metrics::UpstreamId;
use crate::record::worker::WorkerRecorder;
use crate::tasks;
use crate::tls::stream::MaybeTls;

/// How many unused connections a worker keeps to one host.
const MAX_IDLE: usize = 256;

/// How often unused connections are looked at: those that the host has closed hold a descriptor each.
const SWEEP_TIME: Duration = Duration::from_secs(5);

/// Connections to one host.
#[derive(Debug)]
pub struct Pool {
    destination: Destination,
    recorder: Arc<WorkerRecorder>,
    idle: Mutex<IdleLinks>,
}

/// The one used last stands last.
#[derive(Debug, Default)]
struct IdleLinks {
    links: Vec<Idle>,
    is_swept: bool,
}

impl IdleLinks {
    /// The one used last that is fit for use, and was used within `time`.
    fn take(&mut self, time: Duration) -> Option<Box<Link>> {
        while let Some(Idle { mut link, since }) = self.links.pop() {
            if clock::tick().since(since) > time {
                // Those below are older still.
                self.links.clear();
            } else if link.is_quiet() {
                return Some(link);
            }
        }
        None
    }
}

#[derive(Debug)]
struct Idle {
    link: Box<Link>,
    since: Tick,
}

/// Where a pool's connections go.
#[derive(Clone)]
pub struct Destination {
    /// `host:port`.
    pub authority: String,
    /// `None` speaks plain HTTP.
    pub tls: Option<(TlsConnector, ServerName<'static>)>,
    /// How long the host is waited for.
    pub timeouts: Timeouts,
    /// Its index in the metrics.
    pub id: Option<UpstreamId>,
}

impl std::fmt::Debug for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let server_name = self.tls.as_ref().map(|(_, name)| name);
        f.debug_struct("Destination")
            .field("authority", &self.authority)
            .field("tls", &server_name)
            .finish_non_exhaustive()
    }
}

/// A request for a host.
#[derive(Debug)]
pub struct HostRequest {
    /// Its method.
    pub method: Method,
    /// The head, but for the field that frames the body and the empty line.
    pub head: Vec<u8>,
    /// Whether the client said how long its body is.
    pub has_length: bool,
    /// The body.
    pub upload: Upload,
}

impl Pool {
    /// An empty pool.
    pub fn new(destination: Destination, recorder: Arc<WorkerRecorder>) -> Self {
        Self { destination, recorder, idle: Mutex::default() }
    }

    /// Sends `request` over a kept connection, or a new one. A request that a kept connection turned out to be too old
    /// for is sent over another one, as long as the host cannot have seen it, or it changes nothing: the host may close
    /// in the very moment in which the request goes out (RFC 9112 section 9.3.1).
    ///
    /// # Errors
    /// [`UpstreamError`].
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection that the request was sent over.
    pub async fn send(self: &Arc<Self>, request: HostRequest) -> Result<Response<HostBody>, UpstreamError> {
        let HostRequest { method, head, has_length, upload } = request;
        let progress = upload.progress();
        let mut sending = Sending::new(head, method, upload, has_length);
        loop {
            let kept = self.take_idle();
            let may_repeat = kept.is_some();
            let link = match kept {
                Some(link) => link,
                // Rare, and large: on the heap, so that each request is smaller.
                None => Box::pin(self.connect()).await?,
            };
            let answered = Exchange::new(link, sending).answer(self.destination.timeouts.response, &progress);
            match answered.await {
                Ok((head, exchange)) => return Ok(self.response(head, exchange)),
                Err(Lost::Timeout) => return Err(UpstreamError::Timeout),
                Err(Lost::Closed(Some(again))) if may_repeat => sending = *again,
                Err(lost @ (Lost::Closed(_) | Lost::Failed)) => {
                    // Not what was lost: that is the request.
                    let lost = if matches!(lost, Lost::Failed) { "broken off" } else { "closed" };
                    tracing::debug!(lost, upstream = self.destination.authority.as_str(), "no answer");
                    return Err(UpstreamError::Failed);
                }
            }
        }
    }

    fn response(self: &Arc<Self>, head: AnswerHead, exchange: Exchange) -> Response<HostBody> {
        let body = HostBody::new(Arc::clone(self), exchange, &head);
        let mut response = Response::new(body);
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        if let Some(phrase) = head.phrase.and_then(|phrase| hyper::ext::ReasonPhrase::try_from(phrase).ok()) {
            response.extensions_mut().insert(phrase);
        }
        response
    }

    /// A kept connection that is fit for use, the one used last first.
    fn take_idle(&self) -> Option<Box<Link>> {
        let mut idle = self.idle();
        let taken = idle.take(self.destination.timeouts.idle);
        self.tell_kept(&idle);
        taken
    }

    fn tell_kept(&self, idle: &IdleLinks) {
        if let Some(id) = self.destination.id {
            self.recorder.upstream_connections_kept(id, idle.links.len());
        }
    }

    /// Keeps a connection over which everything ended.
    pub fn keep(self: &Arc<Self>, mut link: Box<Link>) {
        link.rest();
        let mut idle = self.idle();
        if idle.links.len() < MAX_IDLE {
            idle.links.push(Idle { link, since: clock::tick() });
        }
        self.tell_kept(&idle);
        if !std::mem::replace(&mut idle.is_swept, true) {
            let every = self.destination.timeouts.idle.min(SWEEP_TIME);
            drop(tasks::spawn("unused upstream connections", sweep(Arc::downgrade(self), every)));
        }
    }

    /// Closes connections that are of no use any more. `false` where none is left.
    fn sweep(&self) -> bool {
        let now = clock::tick();
        let mut idle = self.idle();
        idle.links.retain_mut(|unused| {
            now.since(unused.since) <= self.destination.timeouts.idle && unused.link.is_quiet()
        });
        self.tell_kept(&idle);
        idle.is_swept = !idle.links.is_empty();
        idle.is_swept
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, IdleLinks> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self) -> Result<Box<Link>, UpstreamError> {
        let connected = timeout(self.destination.timeouts.connect, self.connect_now()).await;
        let stream = connected.map_err(|_| UpstreamError::Timeout).flatten()?;
        let open = self.destination.id.map(|id| self.recorder.upstream_connected(id));
        Ok(Box::new(Link::new(stream, open)))
    }

    async fn connect_now(&self) -> Result<MaybeTls<TcpStream>, UpstreamError> {
        let unreachable = |error: std::io::Error| {
            tracing::warn!(%error, upstream = self.destination.authority.as_str(), "cannot be reached");
            UpstreamError::Unreachable
        };
        let stream = TcpStream::connect(&self.destination.authority).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        Ok(match &self.destination.tls {
            None => MaybeTls::Plain(stream),
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await.map_err(unreachable)?;
                MaybeTls::Tls(Box::new(stream.into()))
            }
        })
    }
}

async fn sweep(pool: Weak<Pool>, every: Duration) {
    loop {
        sleep(every).await;
        if !pool.upgrade().is_some_and(|pool| pool.sweep()) {
            return;
        }
    }
}
