//! How many tokens are in which state.

/// Tokens by state, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenStates {
    /// They work.
    pub active: usize,
    /// They worked once.
    pub expired: usize,
    /// They wait for approval.
    pub pending: usize,
    /// They were taken back.
    pub revoked: usize,
    /// Their users are suspended.
    pub suspended: usize,
}

impl TokenStates {
    /// These and `other`.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            active: self.active + other.active,
            expired: self.expired + other.expired,
            pending: self.pending + other.pending,
            revoked: self.revoked + other.revoked,
            suspended: self.suspended + other.suspended,
        }
    }

    /// These without `other`.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            active: self.active.saturating_sub(other.active),
            expired: self.expired.saturating_sub(other.expired),
            pending: self.pending.saturating_sub(other.pending),
            revoked: self.revoked.saturating_sub(other.revoked),
            suspended: self.suspended.saturating_sub(other.suspended),
        }
    }
}
