//! One connection to a host.

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
        self.inflow.buffer.is_empty() && self.inflow.socket.is_quiet()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio::task::coop::{consume_budget, has_budget_remaining};

    use super::*;

    /// What a host says unasked would be taken for the answer to the next request.
    #[tokio::test]
    async fn a_host_that_speaks_unasked_is_heard_by_a_busy_task_too() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut host, _) = listener.accept().await.unwrap();
        let mut link = Link::new(MaybeTls::Plain(stream), None);
        assert!(link.is_quiet());
        host.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").await.unwrap();
        let MaybeTls::Plain(stream) = &link.inflow.socket else { panic!("no TLS was asked for") };
        stream.readable().await.unwrap();
        let is_quiet = poll_fn(|context| {
            while has_budget_remaining() {
                assert!(pin!(consume_budget()).poll(context).is_ready());
            }
            std::task::Poll::Ready(link.is_quiet())
        });
        assert!(!is_quiet.await);
    }
}
