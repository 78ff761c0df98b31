//! The stable, machine-readable words for why a request was refused.

use std::fmt;

/// Why a request was refused. The same word stands in the response, the audit line and the metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Headers, target or time over the limit.
    LimitExceeded,
    /// The message has more than one reading.
    MalformedRequest,
    /// The target has more than one reading.
    AmbiguousTarget,
    /// No host behind the gateway answers to this name and path.
    NoUpstream,
    /// More than one credential, or one in a place where none may stand.
    AmbiguousCredentials,
    /// No credential.
    NoCredentials,
    /// The credential is not a token of this gateway, or is mistyped.
    MalformedToken,
    /// Well formed, and unknown.
    BadCredentials,
    /// Past its expiry.
    TokenExpired,
    /// Taken back.
    TokenRevoked,
    /// Waits for approval.
    TokenPending,
    /// Its user is suspended.
    UserSuspended,
    /// The store was not followed for too long.
    StoreStale,
    /// Not in the catalog.
    NoRoute,
    /// Asks to leave HTTP.
    UpgradeRefused,
    /// Outside of the token's resource owners and repositories.
    ResourceNotGranted,
    /// The token lacks a permission.
    PermissionMissing,
    /// No fine-grained token can do this.
    NeverGrantable,
    /// The organisation's policy, a deny rule, or the user's own role.
    PolicyForbids,
    /// The token's own constraints.
    ConstraintFailed,
    /// The gateway is at its limit.
    Overloaded,
    /// The host could not be reached.
    UpstreamUnreachable,
    /// The host did not answer in time.
    UpstreamTimeout,
    /// The host broke off, or answered what is not HTTP.
    UpstreamFailed,
}

/// Which side has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The caller: another request, another token.
    Downstream,
    /// The gateway's operators.
    Gateway,
    /// The host behind the gateway.
    Upstream,
}

impl Reason {
    /// All of them, in the order of the decision.
    pub const ALL: [Self; 24] = [
        Self::LimitExceeded,
        Self::MalformedRequest,
        Self::AmbiguousTarget,
        Self::NoUpstream,
        Self::AmbiguousCredentials,
        Self::NoCredentials,
        Self::MalformedToken,
        Self::BadCredentials,
        Self::TokenExpired,
        Self::TokenRevoked,
        Self::TokenPending,
        Self::UserSuspended,
        Self::StoreStale,
        Self::NoRoute,
        Self::UpgradeRefused,
        Self::ResourceNotGranted,
        Self::PermissionMissing,
        Self::NeverGrantable,
        Self::PolicyForbids,
        Self::ConstraintFailed,
        Self::Overloaded,
        Self::UpstreamUnreachable,
        Self::UpstreamTimeout,
        Self::UpstreamFailed,
    ];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LimitExceeded => "limit_exceeded",
            Self::MalformedRequest => "malformed_request",
            Self::AmbiguousTarget => "ambiguous_target",
            Self::NoUpstream => "no_upstream",
            Self::AmbiguousCredentials => "ambiguous_credentials",
            Self::NoCredentials => "no_credentials",
            Self::MalformedToken => "malformed_token",
            Self::BadCredentials => "bad_credentials",
            Self::TokenExpired => "token_expired",
            Self::TokenRevoked => "token_revoked",
            Self::TokenPending => "token_pending",
            Self::UserSuspended => "user_suspended",
            Self::StoreStale => "store_stale",
            Self::NoRoute => "no_route",
            Self::UpgradeRefused => "upgrade_refused",
            Self::ResourceNotGranted => "resource_not_granted",
            Self::PermissionMissing => "permission_missing",
            Self::NeverGrantable => "never_grantable",
            Self::PolicyForbids => "policy_forbids",
            Self::ConstraintFailed => "constraint_failed",
            Self::Overloaded => "overloaded",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::UpstreamFailed => "upstream_failed",
        }
    }

    /// The reason that `word` names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }

    /// The step of the decision that refused: 1 to 11, and 12 for what comes after it.
    pub fn step(self) -> u8 {
        match self {
            Self::LimitExceeded | Self::MalformedRequest => 1,
            Self::AmbiguousTarget => 2,
            Self::NoUpstream => 3,
            Self::AmbiguousCredentials | Self::NoCredentials => 4,
            Self::MalformedToken => 5,
            Self::BadCredentials
            | Self::TokenExpired
            | Self::TokenRevoked
            | Self::TokenPending
            | Self::UserSuspended
            | Self::StoreStale => 6,
            Self::NoRoute | Self::UpgradeRefused => 7,
            Self::ResourceNotGranted => 8,
            Self::PermissionMissing | Self::NeverGrantable => 9,
            Self::PolicyForbids => 10,
            Self::ConstraintFailed => 11,
            Self::Overloaded | Self::UpstreamUnreachable | Self::UpstreamTimeout | Self::UpstreamFailed => 12,
        }
    }

    /// Which side has to act.
    pub fn side(self) -> Side {
        match self {
            Self::Overloaded | Self::StoreStale => Side::Gateway,
            Self::UpstreamUnreachable | Self::UpstreamTimeout | Self::UpstreamFailed => Side::Upstream,
            Self::LimitExceeded
            | Self::MalformedRequest
            | Self::AmbiguousTarget
            | Self::NoUpstream
            | Self::AmbiguousCredentials
            | Self::NoCredentials
            | Self::MalformedToken
            | Self::BadCredentials
            | Self::TokenExpired
            | Self::TokenRevoked
            | Self::TokenPending
            | Self::UserSuspended
            | Self::NoRoute
            | Self::UpgradeRefused
            | Self::ResourceNotGranted
            | Self::PermissionMissing
            | Self::NeverGrantable
            | Self::PolicyForbids
            | Self::ConstraintFailed => Side::Downstream,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unique_and_in_the_order_of_the_decision() {
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(Reason::parse(reason.as_str()), Some(reason));
            assert!(at == 0 || Reason::ALL[at - 1].step() <= reason.step());
        }
    }
}
