//! Panics on demand. In tests of this crate alone: nothing of it is in the program.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};

/// Where a panic happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trap {
    /// In the worker, when it accepts the connection.
    Worker,
    /// In the connection, when it is looked at next.
    Connection,
}

static TRAPS: Mutex<Vec<(SocketAddr, Trap)>> = Mutex::new(Vec::new());

/// Sets a trap for the connection of `client`.
pub(crate) fn set(client: SocketAddr, trap: Trap) {
    TRAPS.lock().unwrap_or_else(PoisonError::into_inner).push((client, trap));
}

/// Panics where `trap` is set for `client`, once.
pub(crate) fn step_on(client: SocketAddr, trap: Trap) {
    let mut traps = TRAPS.lock().unwrap_or_else(PoisonError::into_inner);
    let set = traps.iter().position(|set| *set == (client, trap));
    if let Some(at) = set {
        traps.swap_remove(at);
        drop(traps);
        panic!("a trap for {client}");
    }
}

/// `connection`, which steps on its trap.
pub(crate) async fn trapped(client: SocketAddr, connection: impl Future<Output = ()>) {
    let mut connection = pin!(connection);
    poll_fn(|context| {
        step_on(client, Trap::Connection);
        connection.as_mut().poll(context)
    })
    .await;
}
