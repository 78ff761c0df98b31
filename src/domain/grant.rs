//! When a fine-grained token works.

/// A moment: seconds since 1970-01-01 00:00 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(pub i64);

/// The declared state of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantState {
    /// Works.
    Active,
    /// Waits for its resource owner's approval.
    Pending,
    /// Was taken back.
    Revoked,
}
