//! What the tests share.

pub(crate) mod api;
pub(crate) mod gateway;
pub(crate) mod git;
pub(crate) mod http2;
pub(crate) mod load;
pub(crate) mod nginx;
pub(crate) mod policy;
pub(crate) mod process;
pub(crate) mod prometheus;
pub(crate) mod relay;
pub(crate) mod secure;
pub(crate) mod spy;
pub(crate) mod wire;
