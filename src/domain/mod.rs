//! The vocabulary: what every other module speaks of.
//!
//! Pure: no I/O, no clock, no randomness, no async. Names nothing of the other modules.

pub mod action;
pub mod fault;
pub mod grant;
pub mod hook;
pub mod jwt;
pub mod lifecycle;
pub mod membership;
pub mod network;
pub mod permission;
pub mod reason;
pub mod refusal;
pub mod resource;
pub mod rule;
pub mod secret;
pub mod target;
pub mod token;
