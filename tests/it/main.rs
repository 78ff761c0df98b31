//! Tests of the whole: real sockets, real git, real policy files. One binary, so that it links once.
#![cfg(test)]
#![expect(
    clippy::disallowed_methods,
    reason = "tests wait for deadlines and spawn as they like"
)]

mod bodies;
mod github_catalog;
mod limits;
mod requests;
mod support;
mod tls;
mod upstreams;
