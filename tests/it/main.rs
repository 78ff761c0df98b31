//! Tests of the whole: real sockets, real git, real policy files. One binary, so that it links once.
#![cfg(test)]

mod documentation;
mod github_catalog;
mod support;
