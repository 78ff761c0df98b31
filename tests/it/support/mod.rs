//! What the tests share.

pub(crate) mod gateway;
pub(crate) mod policy;
pub(crate) mod secure;
pub(crate) mod spy;
pub(crate) mod wire;
