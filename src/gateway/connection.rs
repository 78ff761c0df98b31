//! One client's connection: TLS, then HTTP/1.1 or HTTP/2.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::gateway::flow::Origin;
use crate::gateway::listener::Listener;
use crate::gateway::patience::PatientSocket;
use crate::gateway::worker::Worker;
use crate::gateway::{http1, http2};
use crate::record::labels::Handshake;

/// Serves one connection of `listener` until it ends, or until its requests are answered after the listener drains.
///
/// # Cancel safety
/// Dropping it closes the connection; requests under way are recorded as aborted.
pub async fn serve(worker: Arc<Worker>, stream: TcpStream, peer: SocketAddr, listener: Arc<Listener>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a client left before it was served");
        return;
    }
    let stream = PatientSocket::new(stream, worker.gateway.limits.body_idle_time);
    let Some(config) = listener.tls.load_full() else {
        let origin = Origin { peer, peer_text: peer.ip().into(), scheme: "http", server_name: None };
        return http1::serve(worker, Box::new(stream), origin, &listener).await;
    };
    let metrics = &worker.gateway.recorder.metrics;
    let accepted = timeout(worker.gateway.limits.header_time, TlsAcceptor::from(config).accept(stream)).await;
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
        http2::serve(worker, Box::new(stream), origin, &listener).await;
    } else {
        http1::serve(worker, Box::new(stream), origin, &listener).await;
    }
}
