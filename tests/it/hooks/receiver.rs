//! A receiver of webhooks on a socket, which answers what it is told to and keeps what it got.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Instant;

use aws_lc_rs::hmac;
use serde_json::Value;

use crate::support::gateway::DEADLINE;

/// The secret of every webhook here.
pub(super) const SECRET: &str = "a secret of two";

/// What is done with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// These bytes.
    Bytes(String),
    /// These bytes, and nothing more for as long as the connection is open.
    Stuck(String),
    /// The connection is closed without a word.
    Close,
    /// Nothing, for as long as the connection is open.
    Hang,
}

impl Reply {
    pub(super) fn status(status: u16) -> Self {
        Self::Bytes(format!("HTTP/1.1 {status} So\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
    }
}

/// A request that came.
#[derive(Debug, Clone)]
pub(super) struct Got {
    pub(super) head: String,
    pub(super) text: String,
    pub(super) body: Value,
    pub(super) at: Instant,
}

impl Got {
    pub(super) fn header(&self, name: &str) -> &str {
        let field = self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        });
        field.unwrap_or_else(|| panic!("no `{name}` in {}", self.head))
    }

    pub(super) fn event(&self) -> &str {
        self.header("X-GitHub-Event")
    }

    pub(super) fn action(&self) -> &str {
        self.body["action"].as_str().unwrap()
    }

    pub(super) fn guid(&self) -> &str {
        self.header("X-GitHub-Delivery")
    }

    /// As a receiver written for GitHub checks it.
    #[track_caller]
    pub(super) fn is_genuine(&self) {
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let hex = self.header("X-Hub-Signature-256").strip_prefix("sha256=").unwrap();
        let digits: Vec<_> = hex.chars().map(|digit| digit.to_digit(16).unwrap()).collect();
        let bytes: Vec<_> =
            digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect();
        hmac::verify(&key, self.text.as_bytes(), &bytes).unwrap();
        assert_eq!(self.header("Content-Type"), "application/json");
        let agent = concat!("Portcullis-Hookshot/", env!("CARGO_PKG_VERSION"));
        assert_eq!(self.header("User-Agent"), agent);
        let lengths: Vec<_> = self.guid().split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
    }
}

#[derive(Default)]
struct State {
    got: Vec<Got>,
    /// What is done with the next requests; then 204.
    replies: VecDeque<Reply>,
    /// What is done with all of them, whatever `replies` says.
    always: Option<Reply>,
}

/// A receiver.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Receiver {
    pub(super) fn start(replies: &[Reply]) -> Self {
        Self::on("127.0.0.1:0".parse().unwrap(), replies)
    }

    /// One that does the same with every request.
    pub(super) fn always(reply: Reply) -> Self {
        let receiver = Self::start(&[]);
        receiver.state.0.lock().unwrap().always = Some(reply);
        receiver
    }

    pub(super) fn on(address: SocketAddr, replies: &[Reply]) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { replies: replies.iter().cloned().collect(), ..State::default() };
        let state = Arc::new((Mutex::new(state), Condvar::new()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { address, state }
    }

    /// What is done with every request from now on; `None` takes them.
    pub(super) fn answer_all(&self, always: Option<Reply>) {
        self.state.0.lock().unwrap().always = always;
    }

    /// Everything so far.
    pub(super) fn got(&self) -> Vec<Got> {
        self.state.0.lock().unwrap().got.clone()
    }

    /// Waits until `count` requests have come, and gives all that have.
    #[track_caller]
    pub(super) fn wait(&self, count: usize) -> Vec<Got> {
        let (state, changed) = &*self.state;
        let state = state.lock().unwrap();
        let (state, timed_out) =
            changed.wait_timeout_while(state, DEADLINE, |state| state.got.len() < count).unwrap();
        let told: Vec<_> = state.got.iter().map(|got| format!("{} {}", got.event(), got.action())).collect();
        assert!(!timed_out.timed_out(), "{} of {count} came: {told:#?}", told.len());
        state.got.clone()
    }

    /// Waits for an `event` with this `action` for which `fits`.
    #[track_caller]
    pub(super) fn find(&self, event: &str, action: &str, fits: impl Fn(&Value) -> bool) -> Got {
        let is_it = |got: &&Got| got.event() == event && got.action() == action && fits(&got.body);
        let (state, changed) = &*self.state;
        let state = state.lock().unwrap();
        let (state, _) = changed
            .wait_timeout_while(state, DEADLINE, |state| !state.got.iter().any(|got| is_it(&got)))
            .unwrap();
        let told: Vec<_> = state.got.iter().map(|got| format!("{} {}", got.event(), got.action())).collect();
        let found = state.got.iter().find(is_it);
        found.unwrap_or_else(|| panic!("no {event} {action}: {told:#?}")).clone()
    }
}

fn serve(mut stream: TcpStream, shared: &(Mutex<State>, Condvar)) {
    let Some((head, text)) = read_request(&mut stream) else { return };
    let body = serde_json::from_str(&text).unwrap();
    let (state, changed) = shared;
    let reply = {
        let mut state = state.lock().unwrap();
        state.got.push(Got { head, text, body, at: Instant::now() });
        let next = state.replies.pop_front();
        state.always.clone().or(next).unwrap_or_else(|| Reply::status(204))
    };
    changed.notify_all();
    match reply {
        Reply::Bytes(bytes) => drop(stream.write_all(bytes.as_bytes())),
        Reply::Close => {}
        Reply::Stuck(bytes) => {
            drop(stream.write_all(bytes.as_bytes()));
            while matches!(stream.read(&mut [0; 64]), Ok(1..)) {}
        }
        Reply::Hang => while matches!(stream.read(&mut [0; 64]), Ok(1..)) {},
    }
}

fn read_request(stream: &mut TcpStream) -> Option<(String, String)> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 8192]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length: ")
                    .map(|length| length.parse().unwrap())
            });
            if body.len() >= length.unwrap_or(0) {
                return Some((head.to_owned(), body.to_owned()));
            }
        }
        match stream.read(&mut buffer) {
            Ok(count @ 1..) => bytes.extend_from_slice(&buffer[..count]),
            Ok(_) | Err(_) => return None,
        }
    }
}
