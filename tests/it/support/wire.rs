//! One end of a connection, in bytes: a client that says what it likes, and a host that does as a test tells it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned};

use crate::support::gateway::DEADLINE;

trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

/// One end of a connection. Everything fails that takes longer than [`DEADLINE`].
pub(crate) struct Wire {
    stream: Box<dyn Stream>,
    socket: TcpStream,
    unread: Vec<u8>,
}

impl Wire {
    fn new(socket: TcpStream) -> Self {
        Self::over(Box::new(socket.try_clone().unwrap()), socket)
    }

    fn over(stream: Box<dyn Stream>, socket: TcpStream) -> Self {
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.set_write_timeout(Some(DEADLINE)).unwrap();
        socket.set_nodelay(true).unwrap();
        Self { stream, socket, unread: Vec::new() }
    }

    /// A client's end.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).unwrap())
    }

    /// A client's end with TLS, as far as [`ClientConfig`] says so; the handshake is made with the first byte.
    pub(crate) fn connect_tls(address: SocketAddr, config: ClientConfig, name: &str) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let session = ClientConnection::new(Arc::new(config), name).unwrap();
        let stream = StreamOwned::new(session, socket.try_clone().unwrap());
        Self::over(Box::new(stream), socket)
    }

    /// The socket itself.
    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Sends all of `bytes`.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap();
    }

    /// Sends all of `bytes`, if the other end takes them.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())?;
        self.stream.flush()
    }

    /// Writes what fits, once.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut buffer = vec![0; 64 * 1024];
        let count = self.stream.read(&mut buffer)?;
        self.unread.extend_from_slice(&buffer[..count]);
        Ok(count)
    }

    /// The next bytes up to and with `end`; `None` if the other end closes before.
    pub(crate) fn until(&mut self, end: &str) -> Option<String> {
        let mut from = 0;
        loop {
            let found = self.unread[from..].windows(end.len()).position(|window| window == end.as_bytes());
            if let Some(at) = found {
                let taken: Vec<u8> = self.unread.drain(..from + at + end.len()).collect();
                return Some(String::from_utf8(taken).unwrap());
            }
            from = self.unread.len().saturating_sub(end.len() - 1);
            if !matches!(self.fill(), Ok(1..)) {
                return None;
            }
        }
    }

    /// The next head, with its empty line.
    pub(crate) fn head(&mut self) -> Option<String> {
        self.until("\r\n\r\n")
    }

    /// The next `length` bytes.
    #[track_caller]
    pub(crate) fn exactly(&mut self, length: usize) -> String {
        while self.unread.len() < length {
            let count = self.fill().unwrap();
            assert!(count > 0, "closed after {:?}", String::from_utf8_lossy(&self.unread));
        }
        String::from_utf8(self.unread.drain(..length).collect()).unwrap()
    }

    /// One answer with a length: its head and its body.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> (String, String) {
        let head = self.head().unwrap_or_else(|| {
            panic!("closed without an answer: {:?}", String::from_utf8_lossy(&self.unread));
        });
        let length = field(&head, "content-length").map_or(0, |length| length.parse().unwrap());
        let body = self.exactly(length);
        (head, body)
    }

    /// Everything until the other end closes; an error that ends it is no end.
    pub(crate) fn rest(&mut self) -> io::Result<String> {
        while self.fill()? > 0 {}
        Ok(String::from_utf8(std::mem::take(&mut self.unread)).unwrap())
    }

    /// Waits until the other end has closed, in whatever way, and throws away what it still says.
    #[track_caller]
    pub(crate) fn closed(&mut self) {
        loop {
            match self.fill() {
                Ok(0) => return,
                Ok(_) => self.unread.clear(),
                Err(error) => {
                    assert!(
                        !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
                        "not closed in time"
                    );
                    return;
                }
            }
        }
    }

    /// Reads `length` bytes and throws them away.
    #[track_caller]
    pub(crate) fn skip(&mut self, length: u64) {
        self.try_skip(length).unwrap();
    }

    /// As [`Self::skip`], unless the other end closes before.
    pub(crate) fn try_skip(&mut self, length: u64) -> io::Result<()> {
        let mut left = length - self.unread.len() as u64;
        self.unread.clear();
        let mut buffer = vec![0; 256 * 1024];
        while left > 0 {
            let count = self.stream.read(&mut buffer)? as u64;
            if count == 0 {
                return Err(io::Error::other(format!("closed {left} bytes too early")));
            }
            left -= count;
        }
        Ok(())
    }

    /// Closes with a reset, as a process that is killed.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(&self.socket).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// The value of a field in a head, by its lower-case name.
pub(crate) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// A host on a port of its own, a thread for each connection.
pub(crate) struct Host {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Host {
    /// `serve` gets each connection, with its number from 1.
    pub(crate) fn start(serve: impl Fn(Wire, usize) + Send + Sync + 'static) -> Self {
        Self::over(serve, |socket| Some(Wire::new(socket)))
    }

    /// As [`Self::start`], with TLS.
    pub(crate) fn start_tls(
        config: ServerConfig,
        serve: impl Fn(Wire, usize) + Send + Sync + 'static,
    ) -> Self {
        let config = Arc::new(config);
        Self::over(serve, move |socket| {
            let mut session = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = socket.try_clone().unwrap();
            session.complete_io(&mut stream).ok()?;
            Some(Wire::over(Box::new(StreamOwned::new(session, stream)), socket))
        })
    }

    fn over(
        serve: impl Fn(Wire, usize) + Send + Sync + 'static,
        wire: impl Fn(TcpStream) -> Option<Wire> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (counted, shared) = (Arc::clone(&connections), Arc::new((serve, wire)));
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let (serve, wire) = &*shared;
                    if let Some(wire) = wire(socket) {
                        serve(wire, number);
                    }
                });
            }
        });
        Self { address, connections }
    }

    /// Answers each head with what `answer` makes of it.
    pub(crate) fn answering(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self::start(move |mut wire, _| {
            while let Some(head) = wire.head() {
                if wire.try_send(answer(&head)).is_err() {
                    return;
                }
            }
        })
    }

    /// How many connections there have been.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// An answer with a length.
pub(crate) fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}
