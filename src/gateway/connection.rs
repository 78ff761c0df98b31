//! One client's connection: TLS, then HTTP/1.1 behind the guard, or HTTP/2.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::framing::head::HeadLimits;
use crate::framing::slot::FaultSlot;
use crate::framing::{Guarded, HeadTimeouts};
use crate::gateway::flow::{Arrived, Origin, answer};
use crate::gateway::linger::lend;
use crate::gateway::patience::{PatientSocket, while_taken};
use crate::gateway::worker::Worker;
use crate::record::labels::Handshake;
use crate::tasks;

/// How many requests a client may have under way on one HTTP/2 connection.
const CONCURRENT_STREAMS: u32 = 128;

/// How many bytes of each of these answers wait for a client that does not read, beside the piece at hand. Hyper's own
/// number, 400 KiB, would be 50 MiB a connection.
const SEND_BUFFER: usize = 64 * 1024;

/// Hyper's own limit; more than this wants a buffer on the heap for each request.
const HEADERS_ON_STACK: usize = 100;

/// How long a connection without a request may go on without one while the gateway drains: its client may have sent
/// one before the listener closed.
const FIRST_REQUEST_TIME: Duration = Duration::from_millis(500);

/// Serves one connection until it ends, or until its requests are answered after `drain` says so.
///
/// # Cancel safety
/// Dropping it closes the connection; requests under way are recorded as aborted.
pub async fn serve(
    worker: Arc<Worker>,
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    drain: watch::Receiver<bool>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a client left before it was served");
        return;
    }
    let patience = worker.gateway.limits.body_idle_time;
    let Some(config) = tls else {
        let origin = Origin { peer, peer_text: peer.ip().into(), scheme: "http", server_name: None };
        return serve_http1(worker, PatientSocket::new(stream, patience), origin, drain).await;
    };
    let metrics = &worker.gateway.recorder.metrics;
    let (stream, owner) = lend(stream);
    let accepted = timeout(
        worker.gateway.limits.header_time,
        TlsAcceptor::from(config).accept(PatientSocket::new(stream, patience)),
    )
    .await;
    let stream = match accepted {
        Ok(Ok(stream)) => {
            metrics.handshake(Handshake::Completed);
            stream
        }
        Ok(Err(error)) => {
            metrics.handshake(Handshake::Failed);
            tracing::debug!(%error, %peer, "a TLS handshake failed");
            return;
        }
        Err(_) => {
            metrics.handshake(Handshake::TimedOut);
            return;
        }
    };
    let (_, session) = stream.get_ref();
    let server_name = session.server_name().map(Arc::from);
    let speaks_http2 = session.alpn_protocol() == Some(b"h2");
    let origin = Origin { peer, peer_text: peer.ip().into(), scheme: "https", server_name };
    if speaks_http2 {
        serve_http2(worker, stream, origin, drain).await;
        owner.linger().await;
    } else {
        serve_http1(worker, stream, origin, drain).await;
    }
}

async fn serve_http1<S>(worker: Arc<Worker>, stream: S, origin: Origin, drain: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = worker.gateway.limits;
    let head = HeadLimits {
        header_bytes: limits.header_bytes,
        header_count: limits.header_count,
        target_bytes: limits.target_bytes,
    };
    let timeouts =
        HeadTimeouts { head: limits.header_time, idle: limits.idle_time, body: limits.body_idle_time };
    let (guarded, slot) = Guarded::new(stream, head, timeouts);
    let ordinals = AtomicU64::new(0);
    let came = Notify::new();
    let service = service_fn(|request: Request<Incoming>| {
        let ordinal = ordinals.fetch_add(1, Ordering::Relaxed);
        came.notify_one();
        let arrived = Arrived { request, fault: slot.fault_at(ordinal), answering: Some(slot.answering()) };
        let (worker, origin) = (&worker, &origin);
        async move { Ok::<_, Infallible>(answer(worker, origin, arrived).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(None);
    if limits.header_count > HEADERS_ON_STACK {
        builder.max_headers(limits.header_count);
    }
    let connection = builder.serve_connection(TokioIo::new(guarded), service);
    // The guard watches for idleness itself.
    let ends = Ends { drain, came: &came, farewell: limits.header_time };
    drive(connection, origin.peer, ends, std::future::pending()).await;
}

async fn serve_http2<S>(worker: Arc<Worker>, stream: S, origin: Origin, drain: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = worker.gateway.limits;
    let peer = origin.peer;
    let origin = Arc::new(origin);
    let slot = FaultSlot::default();
    let came = Arc::new(Notify::new());
    let (shared, first) = (slot.clone(), Arc::clone(&came));
    let service = service_fn(move |request: Request<Incoming>| {
        let (worker, origin) = (Arc::clone(&worker), Arc::clone(&origin));
        first.notify_one();
        let arrived = Arrived { request, fault: None, answering: Some(shared.answering()) };
        async move { Ok::<_, Infallible>(answer(&worker, &origin, arrived).await) }
    });
    let tasks = Tasks { patience: limits.body_idle_time };
    let mut builder = http2::Builder::new(tasks);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(CONCURRENT_STREAMS)
        .max_header_list_size(longest_header_list(limits.header_bytes))
        .adaptive_window(true)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(limits.idle_time)
        .keep_alive_timeout(limits.header_time);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let ends = Ends { drain, came: &came, farewell: limits.header_time };
    drive(connection, peer, ends, idle(&slot, limits.idle_time)).await;
}

/// What ends a connection beside itself.
struct Ends<'a> {
    drain: watch::Receiver<bool>,
    /// Notified when a request comes.
    came: &'a Notify,
    /// How long the farewell to an idle client may take.
    farewell: Duration,
}

/// Runs a connection to its end. Told to drain, or idle, it takes no more requests and ends when those under way are
/// answered.
async fn drive<C>(connection: C, peer: SocketAddr, mut ends: Ends<'_>, idle: impl Future<Output = ()>)
where
    C: GracefulConnection<Error = hyper::Error>,
{
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = told_to_drain(&mut ends) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = idle => {
            connection.as_mut().graceful_shutdown();
            // The farewell wants an answer, which a client that has gone silent does not give.
            timeout(ends.farewell, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "a connection broke off");
    }
}

/// Resolves when no request was under way for at least `time`.
async fn idle(slot: &FaultSlot, time: Duration) {
    let mut seen = None;
    loop {
        let requests = Some(slot.requests()).filter(|_| !slot.is_answering());
        if requests.is_some() && requests == seen {
            return;
        }
        seen = requests;
        tokio::time::sleep(time).await;
    }
}

/// Resolves when the process drains; also when whoever could say so is gone. A connection to which no request came yet
/// waits a moment longer for its first one, since hyper would close it at once.
async fn told_to_drain(ends: &mut Ends<'_>) {
    if ends.drain.wait_for(|draining| *draining).await.is_err() {
        tracing::debug!("the worker ended");
    }
    if timeout(FIRST_REQUEST_TIME, ends.came.notified()).await.is_err() {
        tracing::debug!("a connection without a request ends");
    }
}

/// The most that hyper takes of a header list before it answers by itself, without a record: more than we take, so
/// that what is a little too large is refused with its reason.
fn longest_header_list(header_bytes: usize) -> u32 {
    u32::try_from(header_bytes.saturating_mul(2)).unwrap_or(u32::MAX)
}

/// Starts the tasks of HTTP/2 streams on the worker's own runtime.
#[derive(Debug, Clone, Copy)]
struct Tasks {
    /// How long a client may take nothing of its answer.
    patience: Duration,
}

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        drop(tasks::spawn("stream", while_taken(future, self.patience)));
    }
}
