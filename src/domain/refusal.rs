//! Why a request does not pass: every stage's error in one type, and what the caller is told of it.
//!
//! The status, the reason and the sentence of each refusal stand here and nowhere else.

use http::StatusCode;
use thiserror::Error;

use crate::domain::grant::UnixTime;
use crate::domain::reason::Reason;
use crate::domain::rule::Forbidden;
use crate::domain::target::TargetError;
use crate::domain::token::TokenError;

/// A limit of the gateway that a request went over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Limit {
    /// More bytes of headers than allowed.
    #[error("the request's headers are larger than this gateway takes")]
    HeaderBytes,
    /// More header fields than allowed.
    #[error("the request has more header fields than this gateway takes")]
    HeaderCount,
    /// A longer target than allowed.
    #[error("the request target is longer than this gateway takes")]
    TargetLength,
    /// The headers did not arrive in time.
    #[error("the request's headers did not arrive in time")]
    HeaderTime,
    /// More bytes than are looked into, of a body that must be.
    #[error("the request's body is larger than this gateway looks into, and it must be looked into")]
    BodyBytes,
    /// The body did not arrive in time.
    #[error("the request's body did not arrive in time")]
    BodyTime,
}

/// A message that two parsers could cut differently (RFC 9112).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FramingError {
    /// A line of the head that ends without CR LF, or holds a lone CR or a NUL.
    #[error("a line of the request's head does not end in CR LF")]
    LineEnd,
    /// Not `method target HTTP/1.x`, each parted by one space.
    #[error("the request line is not `method target HTTP/1.1`")]
    RequestLine,
    /// A header field folded over two lines.
    #[error("a header field is folded over two lines")]
    Folding,
    /// No name, or white space around it.
    #[error("a header field's name is malformed")]
    FieldName,
    /// A control character in a value, or a byte beyond ASCII where the gateway reads the value.
    #[error("a header field's value holds a control character, or one beyond ASCII where none may stand")]
    FieldValue,
    /// More than one length, or one that is no number.
    #[error("the request states its length more than once or not as a number")]
    ContentLength,
    /// `Transfer-Encoding` other than exactly `chunked`, or in HTTP/1.0, or beside a length.
    #[error("the request's Transfer-Encoding conflicts with its length or is not `chunked`")]
    TransferEncoding,
    /// No `Host`, or more than one.
    #[error("the request must have exactly one Host")]
    Host,
    /// A pseudo-header field of HTTP/2 that is missing, repeated, unknown or behind other fields.
    #[error("a pseudo-header field is missing, repeated, unknown or not before all other fields")]
    PseudoField,
    /// A field about the connection, in HTTP/2.
    #[error("a header field speaks of the connection, which HTTP/2 has no fields for")]
    ConnectionField,
    /// Trailers of HTTP/2 that are malformed, too large, or hold what may not stand there.
    #[error("the request's trailers are malformed, too large, or hold what may not stand there")]
    Trailers,
    /// A chunk that is not as RFC 9112 section 7.1 says.
    #[error("the request's chunked body is malformed")]
    Chunk,
}

/// Why no single credential could be taken off a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CredentialError {
    /// None at all.
    #[error(
        "this needs a token; send it as `Authorization: Bearer`, or as the password of Basic authentication"
    )]
    Missing,
    /// More than one.
    #[error("the request carries more than one credential; send exactly one, in `Authorization`")]
    Several,
    /// In the query or a header where it would reach the host or its logs.
    #[error("the request carries a credential in `{0}`; send it in `Authorization` and nowhere else")]
    Place(&'static str),
    /// A scheme other than Bearer, token and Basic, or a value that cannot be read.
    #[error("`Authorization` must be `Bearer`, `token` or `Basic` followed by a credential")]
    Scheme,
    /// A body that names the caller to the host.
    #[error("the body holds `sudo`; leave it out, the gateway tells the host who calls")]
    Caller,
    /// A body that could name the caller to the host, unseen.
    #[error(
        "the body could hold `sudo` for all that can be seen; send JSON or a URL-encoded form, whole, in UTF-8, with its Content-Type and without Content-Encoding"
    )]
    Body,
}

/// What went wrong behind the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum UpstreamError {
    /// No connection.
    #[error("the host behind the gateway cannot be reached")]
    Unreachable,
    /// No answer in time.
    #[error("the host behind the gateway did not answer in time")]
    Timeout,
    /// The connection broke, or the answer is not HTTP.
    #[error("the host behind the gateway broke off its answer")]
    Failed,
}

/// What a token lacks, and who can help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Everything that is missing from the alternative that lacks least: `contents=write`.
    pub needs: Vec<String>,
    /// Every alternative that would have been enough.
    pub accepted: String,
    /// Who may grant it: `an owner of acme (alice)`.
    pub grantor: String,
}

/// Why a request does not pass.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Step 1.
    #[error("{0}")]
    Limit(#[from] Limit),
    /// Step 1.
    #[error("{0}")]
    Framing(#[from] FramingError),
    /// Step 2.
    #[error("{0}")]
    Target(#[from] TargetError),
    /// Step 3: nothing answers to this name and path.
    #[error("no upstream answers to this host and path")]
    NoUpstream,
    /// Step 3: the TLS name and the Host name differ.
    #[error("the TLS server name and the Host name differ")]
    Misdirected,
    /// Step 4.
    #[error("{0}")]
    Credential(#[from] CredentialError),
    /// Step 5.
    #[error("{0}")]
    Token(#[from] TokenError),
    /// Step 6: unknown.
    #[error("this token is not known; it was deleted or never existed")]
    UnknownToken,
    /// Step 6: past its expiry.
    #[error("this token expired; regenerate it or make a new one")]
    Expired(UnixTime),
    /// Step 6: taken back.
    #[error("this token was revoked; make a new one")]
    Revoked,
    /// Step 6: waits for approval.
    #[error("this token waits for approval by {0}")]
    Pending(String),
    /// Step 6: its user is suspended.
    #[error("the user of this token is suspended; ask the gateway's administrators")]
    Suspended,
    /// Step 6: what is known of it is too old.
    #[error("the gateway cannot tell whether this token still works; try again later")]
    Stale,
    /// Step 7: not in the catalog.
    #[error("this method and path are not in the gateway's catalog, and what is not in it does not pass")]
    NoRoute,
    /// Step 7: asks to leave HTTP.
    #[error("this gateway passes no protocol upgrade on this route")]
    Upgrade,
    /// Step 8.
    #[error("not found, or not among the repositories that this token was granted")]
    NotGranted,
    /// Step 9.
    #[error("this token lacks {}; ask {} to grant it", .0.needs.join(" and "), .0.grantor)]
    PermissionMissing(Missing),
    /// Step 9: no token can.
    #[error("no fine-grained token can do this; a larger grant will not help")]
    NeverGrantable,
    /// Step 10: a deny rule closes the route.
    #[error("policy forbids this: deny rule {0}")]
    Denied(String),
    /// Step 10: a rule of the organization or the enterprise.
    #[error("policy forbids this: {0}; {advice}", advice = .0.rule.advice())]
    Policy(Forbidden),
    /// Step 11.
    #[error("this token may not be used from this network")]
    Network,
    /// The gateway is at its limit.
    #[error("the gateway is at its limit; try again shortly")]
    Overloaded,
    /// Behind the gateway.
    #[error("{0}")]
    Upstream(#[from] UpstreamError),
}

impl Refusal {
    /// The machine-readable word.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Limit(_) => Reason::LimitExceeded,
            Self::Framing(_) => Reason::MalformedRequest,
            Self::Target(_) => Reason::AmbiguousTarget,
            Self::NoUpstream | Self::Misdirected => Reason::NoUpstream,
            Self::Credential(CredentialError::Missing) => Reason::NoCredentials,
            Self::Credential(
                CredentialError::Several
                | CredentialError::Place(_)
                | CredentialError::Scheme
                | CredentialError::Caller
                | CredentialError::Body,
            ) => Reason::AmbiguousCredentials,
            Self::Token(_) => Reason::MalformedToken,
            Self::UnknownToken => Reason::BadCredentials,
            Self::Expired(_) => Reason::TokenExpired,
            Self::Revoked => Reason::TokenRevoked,
            Self::Pending(_) => Reason::TokenPending,
            Self::Suspended => Reason::UserSuspended,
            Self::Stale => Reason::StoreStale,
            Self::NoRoute => Reason::NoRoute,
            Self::Upgrade => Reason::UpgradeRefused,
            Self::NotGranted => Reason::ResourceNotGranted,
            Self::PermissionMissing(_) => Reason::PermissionMissing,
            Self::NeverGrantable => Reason::NeverGrantable,
            Self::Denied(_) | Self::Policy(_) => Reason::PolicyForbids,
            Self::Network => Reason::ConstraintFailed,
            Self::Overloaded => Reason::Overloaded,
            Self::Upstream(UpstreamError::Unreachable) => Reason::UpstreamUnreachable,
            Self::Upstream(UpstreamError::Timeout) => Reason::UpstreamTimeout,
            Self::Upstream(UpstreamError::Failed) => Reason::UpstreamFailed,
        }
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Limit(Limit::TargetLength) => StatusCode::URI_TOO_LONG,
            Self::Limit(Limit::HeaderTime | Limit::BodyTime) => StatusCode::REQUEST_TIMEOUT,
            Self::Limit(Limit::BodyBytes) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Limit(Limit::HeaderBytes | Limit::HeaderCount) => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::Framing(_)
            | Self::Target(_)
            | Self::Upgrade
            | Self::Credential(
                CredentialError::Several
                | CredentialError::Place(_)
                | CredentialError::Scheme
                | CredentialError::Caller
                | CredentialError::Body,
            ) => StatusCode::BAD_REQUEST,
            Self::NoUpstream | Self::NotGranted => StatusCode::NOT_FOUND,
            Self::Credential(CredentialError::Missing)
            | Self::Token(_)
            | Self::UnknownToken
            | Self::Expired(_)
            | Self::Revoked => StatusCode::UNAUTHORIZED,
            Self::Pending(_)
            | Self::Suspended
            | Self::NoRoute
            | Self::PermissionMissing(_)
            | Self::NeverGrantable
            | Self::Denied(_)
            | Self::Policy(_)
            | Self::Network => StatusCode::FORBIDDEN,
            Self::Overloaded | Self::Stale => StatusCode::SERVICE_UNAVAILABLE,
            Self::Upstream(UpstreamError::Unreachable | UpstreamError::Failed) => StatusCode::BAD_GATEWAY,
            Self::Upstream(UpstreamError::Timeout) => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The sentence for the caller: what is wrong and what to do next, and nothing of the inside.
    pub fn public_message(&self) -> String {
        self.to_string()
    }

    /// What is missing, where that is why.
    pub fn missing(&self) -> Option<&Missing> {
        if let Self::PermissionMissing(missing) = self { Some(missing) } else { None }
    }
}
