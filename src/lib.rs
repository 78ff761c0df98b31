//! Portcullis: a reverse-proxy gateway that gives any git host and any REST API fine-grained access tokens.
//!
//! `ARCHITECTURE.md` has the picture; the modules stand in the order of its layers.

pub mod domain;
pub mod git_host;
