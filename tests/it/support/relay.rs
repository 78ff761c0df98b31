//! A stretch of network between git and the gateway that can be stopped after some bytes.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use crate::support::gateway::DEADLINE;

/// Which bytes are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Down,
    Up,
}

/// Passes everything on until as many bytes as it was told have gone in one direction, then nothing more in that
/// direction until it is opened.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    gate: Arc<Gate>,
}

struct Gate {
    direction: Direction,
    stops_after: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    passed: u64,
    open: bool,
}

impl Relay {
    /// To `gateway`, stopping after `stops_after` bytes.
    pub(crate) fn start(gateway: SocketAddr, direction: Direction, stops_after: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let gate =
            Arc::new(Gate { direction, stops_after, state: Mutex::default(), changed: Condvar::new() });
        let shared = Arc::clone(&gate);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // Refused once the gateway drains; git sees a closed connection then.
                let Ok(host) = TcpStream::connect(gateway) else {
                    continue;
                };
                let back = (host.try_clone().unwrap(), client.try_clone().unwrap());
                let (up, down) = (Arc::clone(&shared), Arc::clone(&shared));
                thread::spawn(move || up.pass(client, host, Direction::Up));
                thread::spawn(move || down.pass(back.0, back.1, Direction::Down));
            }
        });
        Self { address, gate }
    }

    /// Waits until it has stopped.
    #[track_caller]
    pub(crate) fn wait_until_stopped(&self) {
        let state = self.gate.state.lock().unwrap();
        let passing = |state: &mut State| state.passed < self.gate.stops_after;
        let (state, waited) = self.gate.changed.wait_timeout_while(state, DEADLINE, passing).unwrap();
        assert!(!waited.timed_out(), "only {} bytes passed", state.passed);
    }

    /// Lets everything pass.
    pub(crate) fn open(&self) {
        self.gate.state.lock().unwrap().open = true;
        self.gate.changed.notify_all();
    }

    /// How many bytes have passed in the direction that is counted.
    pub(crate) fn passed(&self) -> u64 {
        self.gate.state.lock().unwrap().passed
    }
}

impl Gate {
    fn pass(&self, mut from: TcpStream, mut to: TcpStream, direction: Direction) {
        let mut buffer = vec![0; 65536];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if direction == self.direction {
                self.count(count as u64);
            }
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        // One side has closed: what the other has sent is passed on to its end by the other thread.
        if to.shutdown(Shutdown::Write).is_err() {
            drop(to);
        }
    }

    fn count(&self, count: u64) {
        let mut state = self.state.lock().unwrap();
        state.passed += count;
        self.changed.notify_all();
        let stopped = |state: &mut State| state.passed >= self.stops_after && !state.open;
        drop(self.changed.wait_while(state, stopped).unwrap());
    }
}
