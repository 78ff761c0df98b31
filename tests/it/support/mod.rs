//! What the tests share.

pub(crate) mod gateway;
pub(crate) mod http2;
pub(crate) mod policy;
pub(crate) mod spy;
