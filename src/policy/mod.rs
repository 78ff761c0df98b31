//! Policy: files to a snapshot, and a snapshot's decision about one request.
//!
//! Pure: no clock, no I/O; time and peer come in as arguments. `document` is what people write, `compile` makes a
//! [`snapshot::Snapshot`] of it, `decide` answers steps 8 to 11, `judge` runs all steps in order. Only `decide` makes a
//! [`decide::Permit`].

pub mod approval;
pub mod bundles;
pub mod compile;
pub mod decide;
pub mod document;
pub mod grants;
pub mod judge;
mod organizations;
pub mod public;
pub mod rules;
pub mod snapshot;
pub mod stored;
pub mod tokens;
pub mod upstream;
