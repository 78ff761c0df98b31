//! One client's connection: TLS, then HTTP/1.1 or HTTP/2.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::gateway::body::Received;
use crate::gateway::busy::Requests;
use crate::gateway::flow::{Arrived, Origin, answer};
use crate::gateway::http1;
use crate::gateway::linger::{Lent, lend};
use crate::gateway::listener::Listener;
use crate::gateway::patience::{PatientBody, PatientSocket, while_taken};
use crate::gateway::worker::{Contained, Worker};
use crate::record::labels::Handshake;
use crate::tasks;

/// How many requests a client may have under way on one HTTP/2 connection.
const CONCURRENT_STREAMS: u32 = 128;

/// How many bytes of each of these answers wait for a client that does not read, beside the piece at hand. Hyper's own
/// number, 400 KiB, would be 50 MiB a connection.
const SEND_BUFFER: usize = 64 * 1024;

/// How long an HTTP/2 connection without a request may go on without one while its listener drains: its client may have
/// sent one before.
const FIRST_REQUEST_TIME: Duration = Duration::from_millis(500);

/// Serves one connection of `listener` until it ends, or until its requests are answered after the listener drains.
///
/// # Cancel safety
/// Dropping it closes the connection; requests under way are recorded as aborted.
pub async fn serve(worker: Arc<Worker>, stream: TcpStream, peer: SocketAddr, listener: Arc<Listener>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a client left before it was served");
        return;
    }
    let patience = worker.gateway.limits.body_idle_time;
    let Some(config) = listener.tls.load_full() else {
        let origin = Origin { peer, peer_text: peer.ip().into(), scheme: "http", server_name: None };
        let socket = Box::new(PatientSocket::new(Lent::given(stream), patience));
        return http1::serve(worker, socket, origin, &listener).await;
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
        serve_http2(worker, stream, origin, &listener).await;
        owner.linger().await;
    } else {
        http1::serve(worker, Box::new(stream), origin, &listener).await;
    }
}

async fn serve_http2<S>(worker: Arc<Worker>, stream: S, origin: Origin, listener: &Listener)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = worker.gateway.limits;
    let peer = origin.peer;
    let origin = Arc::new(origin);
    let requests = Requests::default();
    let came = Arc::new(Notify::new());
    let (shared, first) = (requests.clone(), Arc::clone(&came));
    let tasks = Tasks { patience: limits.body_idle_time, worker: Arc::clone(&worker) };
    let service = service_fn(move |request: Request<Incoming>| {
        let (worker, origin) = (Arc::clone(&worker), Arc::clone(&origin));
        first.notify_one();
        let answering = Some(shared.answering());
        async move {
            let (parts, body) = request.into_parts();
            let body = Received::Http2(PatientBody::new(body, limits.body_idle_time));
            let arrived = Arrived { body, fault: None, answering };
            Ok::<_, Infallible>(answer(&worker, &origin, &parts, arrived).await)
        }
    });
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
    // A connection to which no request came yet waits a moment for its first one, since hyper would close it at once.
    let drained = async {
        listener.drained().await;
        if timeout(FIRST_REQUEST_TIME, came.notified()).await.is_err() {
            tracing::debug!("a connection without a request ends");
        }
    };
    let ends = Ends { drained, idle: requests.idle(limits.idle_time), farewell: limits.header_time };
    drive(connection, peer, ends).await;
}

/// What ends a connection beside itself.
struct Ends<D, I> {
    /// Resolves when it is to end because its listener drains.
    drained: D,
    /// Resolves when it was idle for too long.
    idle: I,
    /// How long the farewell to an idle client may take.
    farewell: Duration,
}

/// Runs a connection to its end. Told to drain, or idle, it takes no more requests and ends when those under way are
/// answered.
async fn drive<C, D, I>(connection: C, peer: SocketAddr, ends: Ends<D, I>)
where
    C: GracefulConnection<Error = hyper::Error>,
    D: Future<Output = ()>,
    I: Future<Output = ()>,
{
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = ends.drained => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = ends.idle => {
            connection.as_mut().graceful_shutdown();
            // The farewell wants an answer, which a client that has gone silent does not give.
            timeout(ends.farewell, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "a connection broke off");
    }
}

/// The most that hyper takes of a header list before it answers by itself, without a record: more than we take, so
/// that what is a little too large is refused with its reason.
fn longest_header_list(header_bytes: usize) -> u32 {
    u32::try_from(header_bytes.saturating_mul(2)).unwrap_or(u32::MAX)
}

/// Starts the tasks of HTTP/2 streams on the worker's own runtime.
#[derive(Debug, Clone)]
struct Tasks {
    /// How long a client may take nothing of its answer.
    patience: Duration,
    /// Whose panics are counted.
    worker: Arc<Worker>,
}

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        let contained = Contained(Arc::clone(&self.worker));
        let patience = self.patience;
        drop(tasks::spawn("stream", async move {
            while_taken(future, patience).await;
            drop(contained);
        }));
    }
}
