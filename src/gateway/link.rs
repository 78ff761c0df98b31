//! One connection to a host.

use std::pin::Pin;
use std::task::{Context, Waker};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use crate::clock::timer::Timer;
use crate::gateway::inflow::Inflow;
use crate::record::worker::OpenUpstreamConnection;
use crate::tls::stream::MaybeTls;

/// A connection to a host.
#[derive(Debug)]
pub struct Link {
    /// Its socket, and what was read of it.
    pub inflow: Inflow<MaybeTls<TcpStream>>,
    /// Counts how long the host does nothing.
    pub timer: Timer,
    /// Says that the connection is open.
    _open: Option<OpenUpstreamConnection>,
}

impl Link {
    /// A connection over which nothing went yet.
    pub fn new(stream: MaybeTls<TcpStream>, open: Option<OpenUpstreamConnection>) -> Self {
        Self { inflow: Inflow::new(stream), timer: Timer::default(), _open: open }
    }

    /// Makes it ready to be kept: an unused connection keeps no large buffer.
    pub fn rest(&mut self) {
        self.timer.clear();
        self.inflow.rest();
    }

    /// Whether the host has neither closed it nor sent anything that nobody asked for.
    pub fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let mut context = Context::from_waker(Waker::noop());
        let read = Pin::new(&mut self.inflow.socket).poll_read(&mut context, &mut ReadBuf::new(&mut byte));
        self.inflow.buffer.is_empty() && read.is_pending()
    }
}
