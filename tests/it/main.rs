//! Tests of the whole: real sockets, real git, real policy files. One binary, so that it links once.
#![cfg(test)]
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests wait for deadlines, spawn as they like, and show what they measured"
)]

mod bodies;
mod drain;
mod github_catalog;
mod limits;
mod reload;
mod requests;
mod seeing;
mod support;
mod tls;
mod upstreams;
