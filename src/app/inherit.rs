//! Listening sockets that this process was given: by a service manager, or by the process that it succeeds.
//!
//! The service manager's stand at descriptor 3 and after (`sd_listen_fds(3)`). The predecessor's come over the socket that is
//! this process's standard input, so they are never open in a third process. Whose they are, is told by name or address.

use std::io::{self, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::app::AppError;

/// The variable that names the sockets which a predecessor hands over, in their order: as `LISTEN_FDNAMES` does.
pub const TAKE_OVER: &str = "PORTCULLIS_TAKE_OVER";

/// How many descriptors are sent in one message. Linux takes 253.
pub(super) const CHUNK: usize = 64;

/// The predecessor has sent everything before it started this process.
const RECEIVE_TIME: Duration = Duration::from_secs(10);

/// What the successor says when it serves, and the predecessor when it has told the service manager.
pub(super) const WORD: u8 = b'!';

/// A listening socket, and what it is called.
#[derive(Debug)]
pub(super) struct Handed {
    /// The name of its listener; empty where it has none.
    pub(super) name: String,
    /// The socket. It does not block.
    pub(super) socket: TcpListener,
}

/// The sockets that nobody has claimed yet.
#[derive(Debug, Default)]
pub struct Inherited(Vec<Handed>);

/// What a listener says of the sockets that it wants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) bind: SocketAddr,
}

/// The process that this one succeeds.
#[derive(Debug)]
pub struct Predecessor(UnixStream);

impl Inherited {
    /// Takes what a service manager hands over; nothing where there is none. To be called once, before there is any
    /// other thread, for the environment changes by it.
    ///
    /// # Errors
    /// [`AppError::System`], where a descriptor is not a listening TCP socket.
    pub fn from_service_manager() -> Result<Self, AppError> {
        take_activated().map(Self).map_err(|source| AppError::System {
            what: "taking sockets from the service manager (`LISTEN_FDS`)".into(),
            source,
        })
    }

    /// Takes the sockets that the predecessor calls `names`.
    ///
    /// # Errors
    /// [`AppError::System`], where they do not come.
    pub fn from_predecessor(names: &str) -> Result<(Self, Predecessor), AppError> {
        let system = |source| AppError::System { what: "taking sockets from the predecessor".into(), source };
        let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned().map_err(system)?);
        let sockets = receive(&stream, names).map_err(system)?;
        Ok((Self(sockets), Predecessor(stream)))
    }

    /// Gives each listener what is its own: by name, else by address, else, where the port is 0, by what is left at its
    /// IP address. Sockets of one address belong together.
    pub(super) fn claim(&mut self, wanted: &[Wanted<'_>]) -> Vec<Vec<TcpListener>> {
        let mut claimed: Vec<Vec<TcpListener>> = wanted.iter().map(|_| Vec::new()).collect();
        for (wanted, claimed) in wanted.iter().zip(&mut claimed) {
            claimed.extend(self.take(|handed, _| wanted.name == Some(&handed.name)));
        }
        for (wanted, claimed) in wanted.iter().zip(&mut claimed) {
            if claimed.is_empty() {
                claimed.extend(self.take(|_, address| same(address, wanted.bind)));
            }
        }
        for (wanted, claimed) in wanted.iter().zip(&mut claimed) {
            let fits = |address: &SocketAddr| address.ip() == wanted.bind.ip();
            let left = || self.0.iter().filter_map(|handed| handed.socket.local_addr().ok()).find(fits);
            if claimed.is_empty()
                && wanted.bind.port() == 0
                && let Some(chosen) = left()
            {
                claimed.extend(self.take(|_, address| same(address, chosen)));
            }
        }
        claimed
    }

    fn take(&mut self, is_meant: impl Fn(&Handed, SocketAddr) -> bool) -> Vec<TcpListener> {
        let is_meant =
            |handed: &Handed| handed.socket.local_addr().is_ok_and(|address| is_meant(handed, address));
        let (taken, left) = std::mem::take(&mut self.0).into_iter().partition(is_meant);
        self.0 = left;
        let taken: Vec<Handed> = taken;
        taken.into_iter().map(|handed| handed.socket).collect()
    }

    /// Closes what nobody has claimed, and says so: clients that come there wait for an answer in vain as long as
    /// somebody else holds the socket.
    pub(super) fn close_the_rest(self) {
        for Handed { name, socket } in self.0 {
            let address = socket.local_addr().ok();
            tracing::warn!(
                ?address,
                name,
                "no listener of the configuration is for this inherited socket; closed"
            );
        }
    }
}

impl Predecessor {
    /// Says that this process serves now, and waits until the predecessor has told the service manager so: what this
    /// process says to it counts only from then on.
    ///
    /// # Errors
    /// The predecessor is gone, or does not answer.
    pub(super) fn relieve(mut self) -> io::Result<()> {
        self.0.write_all(&[WORD])?;
        self.0.set_read_timeout(Some(RECEIVE_TIME))?;
        io::Read::read_exact(&mut self.0, &mut [0])
    }
}

fn same(one: SocketAddr, other: SocketAddr) -> bool {
    (one.ip(), one.port()) == (other.ip(), other.port())
}

fn take_activated() -> io::Result<Vec<Handed>> {
    // The protocol wants the number of this process there: without it the descriptors may be meant for another one.
    let own = std::process::id().to_string();
    if std::env::var_os("LISTEN_PID").is_none_or(|pid| pid != own.as_str()) {
        return Ok(Vec::new());
    }
    let names = std::env::var_os("LISTEN_FDNAMES").unwrap_or_default();
    let names = names.to_string_lossy();
    let mut names = names.split(':');
    let mut descriptors = ListenFd::from_env();
    let mut handed = Vec::new();
    for index in 0..descriptors.len() {
        let name = names.next().unwrap_or_default().to_owned();
        let socket = descriptors.take_tcp_listener(index)?;
        handed.extend(socket.map(|socket| listening(name, socket)).transpose()?);
    }
    Ok(handed)
}

fn listening(name: String, socket: TcpListener) -> io::Result<Handed> {
    if !socket_acceptconn(&socket)? {
        let message =
            format!("the socket `{name}` does not listen; expected a stream socket with `Accept=no`");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    socket.set_nonblocking(true)?;
    Ok(Handed { name, socket })
}

/// Receives as many sockets as there are `names`.
fn receive(stream: &UnixStream, names: &str) -> io::Result<Vec<Handed>> {
    stream.set_read_timeout(Some(RECEIVE_TIME))?;
    let mut names = names.split(':').map(str::to_owned).peekable();
    let mut handed = Vec::new();
    while names.peek().is_some() {
        let descriptors = receive_chunk(stream)?;
        if descriptors.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "fewer came than were announced"));
        }
        for (name, descriptor) in names.by_ref().take(descriptors.len()).zip(descriptors) {
            handed.push(listening(name, descriptor.into())?);
        }
    }
    Ok(handed)
}

fn receive_chunk(stream: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(CHUNK))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut received = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            received.extend(descriptors);
        }
    }
    Ok(received)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handed(name: &str, address: &str) -> Handed {
        listening(name.into(), TcpListener::bind(address).unwrap()).unwrap()
    }

    fn port(socket: &TcpListener) -> u16 {
        socket.local_addr().unwrap().port()
    }

    #[test]
    fn sockets_go_to_whom_they_are_for() {
        let sockets = [handed("", "127.0.0.1:0"), handed("https", "127.0.0.1:0"), handed("", "127.0.0.2:0")];
        let [by_address, by_name, left] = [0, 1, 2].map(|at: usize| sockets[at].socket.local_addr().unwrap());
        let mut sockets = Vec::from(sockets);
        // A second socket of one address, as one worker each has.
        sockets.push(Handed { name: String::new(), socket: sockets[0].socket.try_clone().unwrap() });
        sockets.push(handed("unheard-of", "127.0.0.3:0"));
        let mut inherited = Inherited(sockets);
        let wanted = |name, bind: &str| Wanted { name, bind: bind.parse().unwrap() };
        let address = by_address.to_string();
        let claimed = inherited.claim(&[
            wanted(None, "127.0.0.2:0"),
            wanted(Some("https"), "0.0.0.0:443"),
            wanted(Some("other"), &address),
            wanted(None, "127.0.0.2:0"),
        ]);
        let ports: Vec<Vec<u16>> = claimed.iter().map(|sockets| sockets.iter().map(port).collect()).collect();
        assert_eq!(ports, [vec![left.port()], vec![by_name.port()], vec![by_address.port(); 2], vec![]]);
        let names: Vec<_> = inherited.0.iter().map(|handed| handed.name.as_str()).collect();
        assert_eq!(names, ["unheard-of"]);
    }

    #[test]
    fn a_socket_that_does_not_listen_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let error = listening("x".into(), TcpListener::from(OwnedFd::from(stream))).unwrap_err();
        assert!(error.to_string().contains("does not listen"), "{error}");
    }
}
