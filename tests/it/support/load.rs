//! Clients that send requests one after the other and count those that fail. Nothing is tried twice.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use crate::support::gateway::DEADLINE;

/// How a client uses connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connections {
    /// It keeps one until it is told to close.
    Kept,
    /// It keeps one until it is told to close, and ends with it.
    One,
    /// A new one for each request.
    New,
}

/// Load that runs until it is told to end.
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    answered: AtomicUsize,
    ended: AtomicUsize,
    ends: AtomicBool,
    failures: Mutex<Vec<String>>,
}

impl Load {
    /// Clients that send `request`, each with its own connection.
    pub(crate) fn start(address: SocketAddr, request: &str, clients: &[(Connections, usize)]) -> Self {
        let shared = Arc::<Shared>::default();
        let mut threads = Vec::new();
        for (kind, count) in clients {
            for _ in 0..*count {
                let (shared, kind, request) = (Arc::clone(&shared), *kind, request.to_owned());
                threads.push(thread::spawn(move || {
                    if let Err(failure) = run(&shared, address, &request, kind) {
                        shared.failures.lock().unwrap().push(format!("{kind:?}: {failure}"));
                    }
                }));
            }
        }
        Self { shared, clients: threads }
    }

    /// How many requests were answered.
    pub(crate) fn answered(&self) -> usize {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Ends it: how many requests were answered, how many connections the gateway has ended, and why clients
    /// have failed.
    pub(crate) fn end(self) -> (usize, usize, Vec<String>) {
        self.shared.ends.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().unwrap();
        }
        let failures = self.shared.failures.lock().unwrap().clone();
        let ended = self.shared.ended.load(Ordering::Relaxed);
        (self.shared.answered.load(Ordering::Relaxed), ended, failures)
    }
}

fn run(shared: &Shared, address: SocketAddr, request: &str, kind: Connections) -> Result<(), String> {
    let mut connection = None;
    let mut buffer = vec![0; 16 * 1024];
    while !shared.ends.load(Ordering::Relaxed) {
        let mut stream = match connection.take() {
            Some(stream) => stream,
            None => connect(address).map_err(|error| format!("connecting: {error}"))?,
        };
        stream.write_all(request.as_bytes()).map_err(|error| format!("sending: {error}"))?;
        let closes = answer(&mut stream, &mut buffer)?;
        shared.answered.fetch_add(1, Ordering::Relaxed);
        if closes {
            shared.ended.fetch_add(1, Ordering::Relaxed);
            if kind == Connections::One {
                return Ok(());
            }
        } else if kind != Connections::New {
            connection = Some(stream);
        }
    }
    Ok(())
}

fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    Ok(stream)
}

/// Reads one answer: whether it ends the connection.
fn answer(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<bool, String> {
    let mut filled = 0;
    loop {
        let count = stream.read(&mut buffer[filled..]);
        let said = || String::from_utf8_lossy(&buffer[..filled]).into_owned();
        match count {
            Ok(0) => return Err(format!("closed after {:?}", said())),
            Err(error) => return Err(format!("{error} after {:?}", said())),
            Ok(count) => filled += count,
        }
        let text = std::str::from_utf8(&buffer[..filled]).map_err(|error| error.to_string())?;
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        if !head.starts_with("HTTP/1.1 200 ") {
            return Err(text.to_owned());
        }
        let field = |name: &str| {
            head.lines().find_map(|line| {
                let (found, value) = line.split_once(": ")?;
                found.eq_ignore_ascii_case(name).then_some(value)
            })
        };
        let length: usize =
            field("content-length").unwrap_or_default().parse().map_err(|_| text.to_owned())?;
        if body.len() == length {
            return Ok(field("connection") == Some("close"));
        }
    }
}
