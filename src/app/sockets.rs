//! The sockets of listeners: bound once or inherited, kept apart from the workers that they are shared among.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};

use crate::app::AppError;
use crate::app::inherit::{Handed, Inherited, Wanted};
use crate::config::{CONTROL_NAME, Config};
use crate::gateway::listener::Listener;
use crate::gateway::worker::Share;

/// How many connections may wait for a worker to accept them.
const BACKLOG: i32 = 4096;

/// A listener with its sockets.
#[derive(Debug)]
pub(super) struct Listening {
    /// What workers know of it.
    pub(super) listener: Arc<Listener>,
    /// Its address; never with port 0.
    pub(super) address: SocketAddr,
    name: String,
    /// One for each worker, where this process or its predecessor bound them: the kernel spreads connections over them.
    /// A service manager has bound one only, and then the workers share it. Another one beside it would be lost with
    /// this process, and the connections in it.
    sockets: Vec<TcpListener>,
}

impl Listening {
    /// On `sockets`, of which there is at least one.
    pub(super) fn on(
        sockets: Vec<TcpListener>,
        name: Option<&String>,
        listener: Arc<Listener>,
    ) -> io::Result<Self> {
        let address = sockets.first().ok_or(io::ErrorKind::InvalidInput)?.local_addr()?;
        Ok(Self { listener, address, name: name.cloned().unwrap_or_default(), sockets })
    }

    /// What worker `number` of `workers` accepts from: each socket has a worker, and each worker a socket.
    pub(super) fn shares(&self, number: usize, workers: usize) -> io::Result<Vec<Share>> {
        let count = self.sockets.len().max(1);
        let is_for = |at: usize| at % workers == number || (count < workers && number % count == at);
        let own = self.sockets.iter().enumerate().filter(|(at, _)| is_for(*at));
        own.map(|(_, socket)| Ok(Share { listener: Arc::clone(&self.listener), socket: socket.try_clone()? }))
            .collect()
    }

    /// The sockets once more, for a successor.
    pub(super) fn hand_over(&self) -> io::Result<Vec<Handed>> {
        let handed =
            |socket: &TcpListener| Ok(Handed { name: self.name.clone(), socket: socket.try_clone()? });
        self.sockets.iter().map(handed).collect()
    }
}

/// Takes the sockets of all listeners in `config`, in its order, and of its control plane out of `inherited`, and binds
/// those that are not there.
///
/// # Errors
/// [`AppError::System`], where an address cannot be had.
pub(super) fn open(
    config: &Config,
    mut inherited: Inherited,
) -> Result<(Vec<Vec<TcpListener>>, Option<TcpListener>), AppError> {
    let data = config.listeners.iter();
    let mut wanted: Vec<_> = data.map(|own| Wanted { name: own.name.as_deref(), bind: own.bind }).collect();
    wanted.extend(config.control.map(|bind| Wanted { name: Some(CONTROL_NAME), bind }));
    let mut claimed = inherited.claim(&wanted);
    inherited.close_the_rest();
    let control = match config.control {
        None => None,
        Some(bind) => match claimed.pop().unwrap_or_default().into_iter().next() {
            Some(socket) => Some(socket),
            None => Some(bind_control(bind)?),
        },
    };
    for (listener, sockets) in config.listeners.iter().zip(&mut claimed) {
        if sockets.is_empty() {
            *sockets = bind_data(listener.bind, config.workers, Neighbours::Foreign)?;
        }
    }
    Ok((claimed, control))
}

/// Who else may listen at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Neighbours {
    /// Other processes, with whom connections are not shared.
    Foreign,
    /// A listener of this process that is about to go.
    Own,
}

/// Binds a socket for each worker; port 0 becomes one port for all of them.
///
/// # Errors
/// [`AppError::System`], where the address cannot be had.
pub(super) fn bind_data(
    bind: SocketAddr,
    workers: usize,
    neighbours: Neighbours,
) -> Result<Vec<TcpListener>, AppError> {
    let system = |source| AppError::System { what: format!("listening on {bind}"), source };
    let mut address = bind;
    if neighbours == Neighbours::Foreign {
        // With a shared port a second gateway would bind without a word, and take half of the requests.
        drop(TcpListener::bind(address).map_err(system)?);
    }
    let mut sockets = Vec::new();
    for _ in 0..workers {
        let socket = bind_shared(address).map_err(system)?;
        address = socket.local_addr().map_err(system)?;
        sockets.push(socket);
    }
    Ok(sockets)
}

fn bind_shared(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind_control(address: SocketAddr) -> Result<TcpListener, AppError> {
    let system = |source| AppError::System { what: format!("listening on {address} for control"), source };
    let listener = TcpListener::bind(address).map_err(system)?;
    listener.set_nonblocking(true).map_err(system)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which sockets each of `workers` has, of `count`.
    fn spread(count: usize, workers: usize) -> Vec<usize> {
        let sockets = bind_data("127.0.0.1:0".parse().unwrap(), count, Neighbours::Foreign).unwrap();
        let listening = Listening::on(sockets, None, Arc::new(Listener::new(None))).unwrap();
        (0..workers).map(|number| listening.shares(number, workers).unwrap().len()).collect()
    }

    #[test]
    fn every_worker_has_a_socket_and_every_socket_a_worker() {
        assert_eq!(spread(3, 3), [1, 1, 1]);
        assert_eq!(spread(1, 3), [1, 1, 1]);
        assert_eq!(spread(2, 3), [1, 1, 1]);
        assert_eq!(spread(5, 2), [3, 2]);
    }

    #[test]
    fn an_address_that_somebody_has_is_not_shared() {
        let foreign = bind_data("127.0.0.1:0".parse().unwrap(), 1, Neighbours::Foreign).unwrap();
        let address = foreign[0].local_addr().unwrap();
        let error = bind_data(address, 1, Neighbours::Foreign).unwrap_err();
        assert!(error.to_string().starts_with(&format!("listening on {address}: ")), "{error}");
        bind_data(address, 2, Neighbours::Own).unwrap();
    }
}
