//! When a fine-grained token works.

use std::fmt;

/// A moment: seconds since 1970-01-01 00:00 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(pub i64);

/// In RFC 3339, UTC.
impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.0) {
            Ok(moment) => moment.fmt(f),
            Err(_) => self.0.fmt(f),
        }
    }
}

/// Whether a part of a token has been approved by its resource owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approval {
    /// It has, and opens what it names.
    Granted,
    /// It has not yet, and opens nothing.
    Awaited,
}

/// The state of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantState {
    /// Works.
    Active,
    /// Waits for its resource owner's approval.
    Pending,
    /// Was taken back.
    Revoked,
    /// Its user is suspended; works again once the user is not.
    Suspended,
}
