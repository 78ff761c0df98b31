//! A host that writes down every byte that reaches it, and answers what it is told to.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What the spy answers to every request whose head it has read, unless told otherwise.
pub(crate) const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// A host on a port of its own.
pub(crate) struct Spy {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Spy {
    /// Answers [`HELLO`] to each head.
    pub(crate) fn start() -> Self {
        Self::answering(HELLO)
    }

    /// Answers `answer` to each head.
    pub(crate) fn answering(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || serve(stream, &shared, answer));
            }
        });
        Self { address, seen }
    }

    /// Everything that has arrived so far, as text.
    pub(crate) fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    /// What has arrived behind the first `before` bytes.
    pub(crate) fn seen_since(&self, before: usize) -> String {
        self.seen().split_off(before)
    }

    /// Not one byte has arrived.
    #[track_caller]
    pub(crate) fn saw_nothing(&self) {
        assert_eq!(self.seen(), "", "the host saw something");
    }
}

fn serve(mut stream: TcpStream, seen: &Mutex<Vec<u8>>, answer: &str) {
    let mut head = Vec::new();
    let mut buffer = vec![0; 65536];
    while let Ok(count) = stream.read(&mut buffer) {
        if count == 0 {
            return;
        }
        seen.lock().unwrap().extend_from_slice(&buffer[..count]);
        head.extend_from_slice(&buffer[..count]);
        while let Some(at) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            head.drain(..at + 4);
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }
}
