//! Tests of the whole: real sockets, real git, real policy files. One binary, so that it links once.
#![cfg(test)]
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test that is skipped says so, measurements are shown; tests wait for deadlines and spawn as they like"
)]

mod api;
mod attacks;
mod bench;
mod bodies;
mod clients;
mod command;
mod connections;
mod corpus;
mod cost;
mod dashboards;
mod demo;
mod deploy;
mod documentation;
mod drain;
mod git;
mod github_catalog;
mod hooks;
mod http2;
mod inspect;
mod layers;
mod lifecycle;
mod limits;
mod listeners;
mod policy_faults;
mod reference;
mod regression;
mod reload;
mod requests;
mod seeing;
mod sign_in;
mod stalls;
mod support;
mod tidy;
mod tls;
mod tracing;
mod upgrade;
mod upstreams;
