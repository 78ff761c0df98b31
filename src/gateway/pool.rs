//! Connections to one host, kept for the next request. One pool a worker, so nothing is shared between cores.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::clock;
use crate::config::Timeouts;
use crate::domain::refusal::UpstreamError;
use crate::gateway::body::{Progress, Upload};
use crate::record::metrics::UpstreamId;
use crate::record::worker::WorkerRecorder;
use crate::tasks;

/// How many unused connections a worker keeps to one host.
const MAX_IDLE: usize = 256;

/// How long a connection that just answered may take to be ready again; longer, and another one is made.
const READY_TIME: Duration = Duration::from_millis(50);

/// Connections to one host.
#[derive(Debug)]
pub struct Pool {
    destination: Destination,
    recorder: Arc<WorkerRecorder>,
    idle: Mutex<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<Upload>,
    since: Instant,
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
    pub async fn send(
        self: &Arc<Self>,
        mut request: Request<Upload>,
    ) -> Result<Response<PooledBody>, UpstreamError> {
        let progress = request.body().progress();
        loop {
            let (mut sender, kept) = match self.take_idle().await {
                Some(sender) => (sender, true),
                None => (self.connect().await?, false),
            };
            let head = request.method() == Method::HEAD;
            let spare = if kept { repeatable(&request) } else { None };
            let sent = self.await_answer(sender.try_send_request(request), &progress).await?;
            match sent {
                Ok(response) => {
                    let lease = Lease { pool: Arc::clone(self), sender, progress };
                    return Ok(response.map(|body| PooledBody::new(body, lease, head)));
                }
                Err(mut error) => {
                    let unseen = error.take_message().filter(|_| kept);
                    let spare = spare.filter(|_| !error.error().is_parse());
                    let Some(again) = unseen.or(spare) else {
                        tracing::debug!(error = %error.error(), upstream = self.destination.authority.as_str(), "no answer");
                        return Err(UpstreamError::Failed);
                    };
                    request = again;
                }
            }
        }
    }

    /// Waits for the head of the answer: as long as the upload moves, and then for the response timeout.
    async fn await_answer<T>(
        &self,
        answer: impl Future<Output = T>,
        progress: &Progress,
    ) -> Result<T, UpstreamError> {
        let mut answer = std::pin::pin!(answer);
        let mut seen = progress.bytes();
        let mut ended = progress.has_ended();
        loop {
            if let Ok(answer) = timeout(self.destination.timeouts.response, &mut answer).await {
                return Ok(answer);
            }
            let now = (progress.bytes(), progress.has_ended());
            if now == (seen, ended) {
                return Err(UpstreamError::Timeout);
            }
            (seen, ended) = now;
        }
    }

    /// A kept connection that is fit for use, the one used last first.
    async fn take_idle(&self) -> Option<SendRequest<Upload>> {
        loop {
            let Idle { mut sender, since } = self.idle().pop()?;
            if clock::monotonic().saturating_duration_since(since) > self.destination.timeouts.idle {
                // Those below are older still.
                self.idle().clear();
                return None;
            }
            if matches!(timeout(READY_TIME, sender.ready()).await, Ok(Ok(()))) {
                return Some(sender);
            }
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self) -> Result<SendRequest<Upload>, UpstreamError> {
        let connected = timeout(self.destination.timeouts.connect, self.connect_now()).await;
        let sender = connected.map_err(|_| UpstreamError::Timeout).flatten()?;
        if let Some(id) = self.destination.id {
            self.recorder.upstream_connected(id);
        }
        Ok(sender)
    }

    async fn connect_now(&self) -> Result<SendRequest<Upload>, UpstreamError> {
        let unreachable = |error: std::io::Error| {
            tracing::warn!(%error, upstream = self.destination.authority.as_str(), "cannot be reached");
            UpstreamError::Unreachable
        };
        let stream = TcpStream::connect(&self.destination.authority).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        match &self.destination.tls {
            None => handshake(stream).await,
            Some((connector, name)) => {
                handshake(connector.connect(name.clone(), stream).await.map_err(unreachable)?).await
            }
        }
    }
}

/// A copy of a request that does no harm when it is sent twice: a safe method (RFC 9110 section 9.2.1), and no body.
fn repeatable(request: &Request<Upload>) -> Option<Request<Upload>> {
    let upload = request.body().repeat().filter(|_| request.method().is_safe())?;
    let mut copy = Request::new(upload);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

async fn handshake<S>(stream: S) -> Result<SendRequest<Upload>, UpstreamError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) =
        http1::Builder::new().handshake(TokioIo::new(stream)).await.map_err(|_| UpstreamError::Failed)?;
    drop(tasks::spawn("upstream connection", async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an upstream connection ended");
        }
    }));
    Ok(sender)
}

/// A connection that is in use, and where it goes back to.
struct Lease {
    pool: Arc<Pool>,
    sender: SendRequest<Upload>,
    progress: Arc<Progress>,
}

impl Lease {
    fn give_back(self) {
        // A host that answered before it took the whole request may still be reading the rest.
        if !self.progress.has_ended() || self.sender.is_closed() {
            return;
        }
        let mut idle = self.pool.idle();
        if idle.len() < MAX_IDLE {
            idle.push(Idle { sender: self.sender, since: clock::monotonic() });
        }
    }
}

/// The body of a host's answer. Gives its connection back when it has ended; dropped before, it closes it.
pub struct PooledBody {
    inner: Incoming,
    lease: Option<Lease>,
}

impl std::fmt::Debug for PooledBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PooledBody").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl PooledBody {
    fn new(inner: Incoming, lease: Lease, head: bool) -> Self {
        let mut body = Self { inner, lease: Some(lease) };
        if head || body.inner.is_end_stream() {
            body.give_back();
        }
        body
    }

    fn give_back(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }
}

impl Body for PooledBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        match &frame {
            Some(Ok(_)) if !self.inner.is_end_stream() => {}
            Some(Ok(_)) | None => self.give_back(),
            Some(Err(_)) => self.lease = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
