//! Portcullis: a reverse-proxy gateway that gives any git host and any REST API fine-grained access tokens.
//!
//! `ARCHITECTURE.md` has the picture; the modules stand in the order of its layers.

pub mod api;
pub mod app;
pub mod catalog;
pub mod clock;
pub mod command;
pub mod config;
pub mod control;
pub mod domain;
pub mod explain;
pub mod framing;
pub mod gateway;
pub mod git_host;
pub mod headers;
pub mod hooks;
pub mod issuer;
pub mod live;
pub mod oidc;
pub mod policy;
pub mod protocol;
pub mod record;
pub mod refuse;
pub mod store;
pub mod tasks;
pub mod tls;
pub mod units;
pub mod yaml;
