//! A worker: one thread, one runtime, its own listeners, its own connections to the hosts.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::gateway::Gateway;
use crate::gateway::connection;
use crate::gateway::upstream::Backend;
use crate::record::worker::WorkerRecorder;
use crate::tasks;

/// How many connections may wait for a worker to accept them.
const BACKLOG: i32 = 4096;

/// The pause after a failed accept, which mostly means that no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What one worker has.
#[derive(Debug)]
pub struct Worker {
    /// What all workers share.
    pub gateway: Arc<Gateway>,
    /// Where its records go.
    pub recorder: Arc<WorkerRecorder>,
    /// Its way to each host, in the order of the configuration.
    pub backends: Vec<Backend>,
}

/// Binds `address` so that several workers may listen on it; the kernel spreads connections over them.
///
/// # Errors
/// The operating system's.
pub fn bind(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Runs a worker on the current thread until it is told to drain, then lets its requests end for `drain_time`.
///
/// # Errors
/// Where the runtime cannot be made or a listener cannot be used.
pub fn run(
    worker: Worker,
    listeners: Vec<StdListener>,
    drain: watch::Receiver<bool>,
    drain_time: Duration,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(Arc::new(worker), listeners, drain, drain_time))
}

async fn serve(
    worker: Arc<Worker>,
    listeners: Vec<StdListener>,
    drain: watch::Receiver<bool>,
    drain_time: Duration,
) -> io::Result<()> {
    // Every connection holds a clone; when all are gone, the channel ends.
    let (alive, mut ended) = mpsc::channel::<()>(1);
    let mut accepting = Vec::new();
    for (index, listener) in listeners.into_iter().enumerate() {
        let listener = TcpListener::from_std(listener)?;
        let accept =
            Accept { worker: Arc::clone(&worker), index, drain: drain.clone(), alive: alive.clone() };
        accepting.push(tasks::spawn("listener", accept.run(listener)));
    }
    drop(alive);
    for task in accepting {
        if let Err(error) = task.await {
            tracing::error!(%error, "a listener ended");
        }
    }
    if timeout(drain_time, ended.recv()).await.is_err() {
        tracing::warn!("requests were still under way when the time to drain was over");
    }
    Ok(())
}

/// Accepts the connections of one listener.
struct Accept {
    worker: Arc<Worker>,
    index: usize,
    drain: watch::Receiver<bool>,
    alive: mpsc::Sender<()>,
}

impl Accept {
    async fn run(mut self, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = self.drain.wait_for(|draining| *draining) => break,
            };
            match accepted {
                Ok((stream, peer)) => self.start(stream, peer),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        if let Err(error) = self.accept_the_rest(listener) {
            tracing::warn!(%error, "connections that waited to be accepted are lost");
        }
    }

    /// Connections that the kernel has taken already would be reset when the listener closes. Asks the kernel itself:
    /// the runtime may not have heard of them yet.
    fn accept_the_rest(&self, listener: TcpListener) -> io::Result<()> {
        let listener = listener.into_std()?;
        loop {
            match listener.accept() {
                Ok((stream, peer)) => {
                    stream.set_nonblocking(true)?;
                    self.start(TcpStream::from_std(stream)?, peer);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn start(&self, stream: TcpStream, peer: SocketAddr) {
        let gateway = &self.worker.gateway;
        let Ok(place) = Arc::clone(&gateway.places).try_acquire_owned() else {
            gateway.recorder.metrics.connection_refused();
            return;
        };
        let tls = gateway
            .listeners
            .get(self.index)
            .and_then(|tls| tls.as_ref().map(arc_swap::ArcSwapAny::load_full));
        let worker = Arc::clone(&self.worker);
        let (drain, alive) = (self.drain.clone(), self.alive.clone());
        let open = self.worker.recorder.connection_opened();
        drop(tasks::spawn("connection", async move {
            connection::serve(worker, stream, peer, tls, drain).await;
            drop((place, alive, open));
        }));
    }
}
