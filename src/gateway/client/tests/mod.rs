//! A client's connection over scripted streams, against the clock, and with bodies that outlive their exchange.

mod bodies;
mod clock;
mod stream;

use std::time::Duration;

use crate::framing::head::HeadLimits;
use crate::gateway::client::{Client, ClientBody, Next, Socket, Timeouts};

const LIMITS: HeadLimits = HeadLimits { header_bytes: 1024, header_count: 16, target_bytes: 256 };

const TIMEOUTS: Timeouts =
    Timeouts { head: Duration::from_secs(10), idle: Duration::from_mins(1), body: Duration::from_secs(30) };

fn client(socket: impl Socket + 'static) -> Client {
    Client::new(Box::new(socket), LIMITS, TIMEOUTS)
}

/// The next request's path and body.
async fn request(client: &Client) -> (String, ClientBody) {
    let next = client.next().await;
    let Next::Request(head, body) = next else { panic!("{next:?}") };
    (head.parts.uri.to_string(), body)
}
