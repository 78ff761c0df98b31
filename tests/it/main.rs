//! Tests of the whole: real sockets, real git, real policy files. One binary, so that it links once.
#![cfg(test)]
#![expect(
    clippy::print_stdout,
    reason = "a test that is skipped says so, and measurements are shown"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "tests wait for deadlines and spawn as they like"
)]

mod bodies;
mod command;
mod corpus;
mod demo;
mod documentation;
mod git;
mod github_catalog;
mod http2;
mod policy_faults;
mod reference;
mod requests;
mod stalls;
mod support;
mod upstreams;
