//! A worker: one thread, one runtime, its own share of every listener, its own connections to the hosts.
//!
//! It is given sockets and gives none back: whoever started it keeps them, so that another worker can take over what
//! waits in them. A panic ends the one task that it happens in; where that is the worker itself, [`run`] says so.

use std::any::Any;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use crate::gateway::Gateway;
use crate::gateway::connection;
use crate::gateway::listener::{Listener, Waiting};
#[cfg(test)]
use crate::gateway::trap;
use crate::gateway::upstream::Backend;
use crate::record::worker::WorkerRecorder;
use crate::tasks;

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

/// One worker's share of a listener.
#[derive(Debug)]
pub struct Share {
    /// The listener.
    pub listener: Arc<Listener>,
    /// A socket of it that does not block. Other workers may have the same one: the kernel wakes them all, and the first
    /// one takes the connection.
    pub socket: StdListener,
}

/// What a worker is told while it runs.
#[derive(Debug)]
pub enum Order {
    /// There is another listener.
    Listen(Share),
    /// Every listener drains: end when all connections have, and not later than after this time.
    End(Duration),
}

/// Why a worker ended that should not have.
#[derive(Debug, Error)]
pub enum WorkerError {
    /// The operating system refused a runtime, or the use of a socket.
    #[error("{0}")]
    System(#[from] io::Error),
    /// It panicked, with this message.
    #[error("it panicked: {0}")]
    Panicked(String),
}

/// Runs a worker on the current thread until it is told to end, or nobody can tell it any more. Calls `ready` when it
/// listens.
///
/// # Errors
/// [`WorkerError`]. Its connections are closed then, and their requests recorded as aborted.
pub fn run(
    worker: Worker,
    shares: Vec<Share>,
    orders: mpsc::Receiver<Order>,
    ready: impl FnOnce(),
) -> Result<(), WorkerError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let serving = serve(Arc::new(worker), shares, orders, ready);
    // Caught here, and not by the thread: the runtime drops its tasks behind this, when nothing panics any more, and no
    // connection counts itself as one that did.
    let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(serving)));
    drop(runtime);
    match ended {
        Ok(ended) => Ok(ended?),
        Err(payload) => Err(WorkerError::Panicked(message(payload.as_ref()))),
    }
}

/// What a panic said.
pub fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref().cloned()).unwrap_or_else(|| "without a message".into())
}

async fn serve(
    worker: Arc<Worker>,
    shares: Vec<Share>,
    mut orders: mpsc::Receiver<Order>,
    ready: impl FnOnce(),
) -> io::Result<()> {
    // Every connection holds a clone; when all are gone, the channel ends.
    let (alive, mut ended) = mpsc::channel::<()>(1);
    let mut accepting = JoinSet::new();
    let accept = |accepting: &mut JoinSet<()>, Share { listener, socket }| {
        let accept = Accept { worker: Arc::clone(&worker), listener, alive: alive.clone() };
        tasks::spawn_into(accepting, "listener", accept.run(TcpListener::from_std(socket)?));
        io::Result::Ok(())
    };
    for share in shares {
        accept(&mut accepting, share)?;
    }
    ready();
    let time = loop {
        tokio::select! {
            Some(ended) = accepting.join_next() => expect_drained(ended),
            order = orders.recv() => match order {
                Some(Order::Listen(share)) => accept(&mut accepting, share)?,
                Some(Order::End(time)) => break time,
                None => return Ok(()),
            },
        }
    };
    while let Some(ended) = accepting.join_next().await {
        expect_drained(ended);
    }
    drop(alive);
    if timeout(time, ended.recv()).await.is_err() {
        tracing::warn!("requests were still under way when the time to drain was over");
    }
    Ok(())
}

/// A listener that nobody accepts from is worse than a worker that is replaced, so its panic is the worker's.
fn expect_drained(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        resume_unwind(error.into_panic());
    }
}

/// Accepts the connections of one socket.
struct Accept {
    worker: Arc<Worker>,
    listener: Arc<Listener>,
    alive: mpsc::Sender<()>,
}

impl Accept {
    async fn run(self, socket: TcpListener) {
        let listener = Arc::clone(&self.listener);
        let mut drained = std::pin::pin!(listener.drained());
        let drain = loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                drain = &mut drained => break drain,
            };
            match accepted {
                Ok((stream, peer)) => {
                    #[cfg(test)]
                    trap::step_on(peer, trap::Trap::Worker);
                    self.start(stream, peer);
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        };
        if drain.waiting == Waiting::Accept
            && let Err(error) = self.accept_the_rest(socket)
        {
            tracing::warn!(%error, "connections that waited to be accepted are lost");
        }
    }

    /// Connections that the kernel has taken already would be reset when the listener closes. Asks the kernel itself:
    /// the runtime may not have heard of them yet.
    fn accept_the_rest(&self, socket: TcpListener) -> io::Result<()> {
        let socket = socket.into_std()?;
        loop {
            match socket.accept() {
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
        let (worker, listener) = (Arc::clone(&self.worker), Arc::clone(&self.listener));
        let alive = self.alive.clone();
        let open = self.worker.recorder.connection_opened();
        let contained = Contained(Arc::clone(&self.worker));
        drop(tasks::spawn("connection", async move {
            let connection = connection::serve(worker, stream, peer, listener);
            #[cfg(test)]
            let connection = Box::pin(trap::trapped(peer, connection));
            connection.await;
            drop((contained, place, alive, open));
        }));
    }
}

/// Counts the panic that it is dropped by. The task that holds it is all that ends.
#[derive(Debug)]
pub(crate) struct Contained(pub(crate) Arc<Worker>);

impl Drop for Contained {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.recorder.panicked();
        }
    }
}
