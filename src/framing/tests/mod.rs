//! The guard over scripted streams, against the clock, and before a real hyper server.

mod clock;
mod server;
mod stream;

use std::time::Duration;

use crate::framing::HeadTimeouts;
use crate::framing::head::HeadLimits;

const LIMITS: HeadLimits = HeadLimits { header_bytes: 1024, header_count: 16, target_bytes: 256 };

const TIMEOUTS: HeadTimeouts = HeadTimeouts {
    head: Duration::from_secs(10),
    idle: Duration::from_mins(1),
    body: Duration::from_secs(30),
};
