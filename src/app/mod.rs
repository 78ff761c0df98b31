//! Composition: configuration to a running gateway.

use thiserror::Error;

use crate::config::Config;
use crate::domain::fault::{Fault, describe};

/// Why the gateway does not run.
#[derive(Debug, Error)]
pub enum AppError {
    /// The files that it starts from have faults.
    #[error("{}", describe(.0))]
    Faults(Vec<Fault>),
    /// This build has no data plane.
    #[error("this build cannot serve")]
    Incomplete,
}

/// Serves until the process is told to stop.
///
/// # Errors
/// [`AppError`], before the first request.
pub fn run(config: Config) -> Result<(), AppError> {
    drop(config);
    Err(AppError::Incomplete)
}
