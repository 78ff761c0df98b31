//! The data plane: takes requests, has them judged, forwards or refuses.
//!
//! Thread per core: each worker has its own runtime, its own listeners and its own connections to the hosts behind, so
//! a request never changes core. `flow` is the way of one request; nothing but `upstream` opens a connection to a host.

pub mod body;
pub mod client;
pub mod connection;
pub mod exchange;
pub mod flow;
pub mod http1;
pub mod http2;
pub mod inflow;
pub mod inspect;
pub mod link;
pub mod listener;
pub mod outflow;
pub mod patience;
pub mod pool;
pub mod said;
#[cfg(test)]
mod script;
pub mod sending;
pub mod socket;
#[cfg(test)]
pub(crate) mod trap;
pub mod upstream;
pub mod validity;
pub mod worker;

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;

use crate::config::Limits;
use crate::headers::identity::Identity;
use crate::live::LivePolicy;
use crate::record::Recorder;
use crate::record::metrics::UpstreamId;

/// What all workers share. Everything in it is read without waiting.
#[derive(Debug)]
pub struct Gateway {
    /// The policy in force.
    pub live: Arc<LivePolicy>,
    /// Where records go.
    pub recorder: Arc<Recorder>,
    /// Bounds of a request.
    pub limits: Limits,
    /// How many client connections there may still be.
    pub places: Arc<Semaphore>,
    /// How many requests may still be under way to hosts: HTTP/2 has many on one connection, and each takes a socket.
    pub under_way: Arc<Semaphore>,
    /// What belongs to each upstream, in the order of the configuration.
    pub upstreams: Vec<Upstream>,
}

/// What all workers share of one upstream.
#[derive(Debug)]
pub struct Upstream {
    /// Its index in the metrics.
    pub id: Option<UpstreamId>,
    /// How it learns who calls; replaced when a credential file changes.
    pub identity: ArcSwap<Identity>,
}
