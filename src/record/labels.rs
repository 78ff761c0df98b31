//! The closed words that audit lines and metric labels use, so that no label value ever comes from a request.

use http::{Method, StatusCode};

use crate::domain::reason::Reason;
use crate::domain::refusal::UpstreamError;

/// What the rules say of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may pass.
    Allow,
    /// It may not, and why.
    Refuse(Reason),
}

impl Verdict {
    /// The word for audit line and metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Refuse(_) => "refuse",
        }
    }
}

/// Whether the verdict is acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is.
    Enforce,
    /// It is recorded only.
    Shadow,
}

impl Mode {
    /// The word for the audit line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Shadow => "shadow",
        }
    }
}

/// What happened to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The upstream answered it, and the answer went out whole.
    Forwarded,
    /// The gateway answered it with a refusal or an error.
    Refused,
    /// The gateway answered it itself, with what was asked for.
    Answered,
    /// The caller or the upstream left before the answer had gone out whole, or the permit was withdrawn while the upstream
    /// had the request.
    Aborted,
}

impl Effect {
    /// The word for the audit line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Refused => "refused",
            Self::Answered => "answered",
            Self::Aborted => "aborted",
        }
    }
}

/// Reads, writes and the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MethodClass {
    /// GET, HEAD, OPTIONS.
    Read,
    /// POST, PUT, PATCH, DELETE.
    Write,
    /// Any other method, or none that could be read.
    Other,
}

impl MethodClass {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Other];

    /// The class of `method`.
    pub fn of(method: Option<&Method>) -> Self {
        match method {
            Some(&(Method::GET | Method::HEAD | Method::OPTIONS)) => Self::Read,
            Some(&(Method::POST | Method::PUT | Method::PATCH | Method::DELETE)) => Self::Write,
            Some(_) | None => Self::Other,
        }
    }

    /// The word for the metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Other => "other",
        }
    }
}

/// The first digit of the status that the caller got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusClass {
    /// There was no response.
    None,
    /// 1xx.
    Informational,
    /// 2xx.
    Successful,
    /// 3xx.
    Redirection,
    /// 4xx.
    ClientError,
    /// 5xx, and the invalid ones above it, which a client treats as 5xx (RFC 9110 section 15).
    ServerError,
}

impl StatusClass {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::None,
        Self::Informational,
        Self::Successful,
        Self::Redirection,
        Self::ClientError,
        Self::ServerError,
    ];

    /// The class of `status`.
    pub fn of(status: Option<StatusCode>) -> Self {
        match status.map(|status| status.as_u16()) {
            None => Self::None,
            Some(..=199) => Self::Informational,
            Some(200..=299) => Self::Successful,
            Some(300..=399) => Self::Redirection,
            Some(400..=499) => Self::ClientError,
            Some(500..) => Self::ServerError,
        }
    }

    /// The word for the metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Informational => "1xx",
            Self::Successful => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
        }
    }
}

/// How a TLS handshake with a caller ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// The connection stands.
    Completed,
    /// The two sides found nothing in common, or what came was not TLS.
    Failed,
    /// It took longer than allowed.
    TimedOut,
}

impl Handshake {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Completed, Self::Failed, Self::TimedOut];

    /// The word for the metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "ok",
            Self::Failed => "failed",
            Self::TimedOut => "timeout",
        }
    }
}

/// Why an HTTP/2 connection with a caller was given up, with all that was under way on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Http2Fault {
    /// The caller did not keep to the protocol.
    Protocol,
    /// There was too much of what leads nowhere: streams given up at once, pings, settings.
    Flood,
    /// The caller did not get through with what it had begun, or gave no sign of life.
    TimedOut,
}

impl Http2Fault {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Protocol, Self::Flood, Self::TimedOut];

    /// The word for the metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Protocol => "protocol",
            Self::Flood => "flood",
            Self::TimedOut => "timeout",
        }
    }
}

/// The word for the `cause` label.
pub fn cause(error: UpstreamError) -> &'static str {
    match error {
        UpstreamError::Unreachable => "unreachable",
        UpstreamError::Timeout => "timeout",
        UpstreamError::Failed => "failed",
    }
}

/// The upstream error that `reason` is about, if it is about one.
pub fn upstream_error(reason: Reason) -> Option<UpstreamError> {
    [
        (Reason::UpstreamUnreachable, UpstreamError::Unreachable),
        (Reason::UpstreamTimeout, UpstreamError::Timeout),
        (Reason::UpstreamFailed, UpstreamError::Failed),
    ]
    .into_iter()
    .find_map(|(word, error)| (word == reason).then_some(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::reason::Side;

    #[test]
    fn methods_have_classes() {
        for (methods, want) in [
            (["GET", "HEAD", "OPTIONS"].as_slice(), MethodClass::Read),
            (&["POST", "PUT", "PATCH", "DELETE"], MethodClass::Write),
            (&["TRACE", "CONNECT", "PROPFIND", "get"], MethodClass::Other),
        ] {
            for method in methods {
                let method = Method::from_bytes(method.as_bytes()).unwrap();
                assert_eq!(MethodClass::of(Some(&method)), want, "{method}");
            }
        }
        assert_eq!(MethodClass::of(None), MethodClass::Other);
    }

    #[test]
    fn statuses_have_classes() {
        let check = |status: u16, want: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(StatusClass::of(Some(status)).as_str(), want, "{status}");
        };
        check(100, "1xx");
        check(199, "1xx");
        check(200, "2xx");
        check(304, "3xx");
        check(499, "4xx");
        check(500, "5xx");
        check(999, "5xx");
        assert_eq!(StatusClass::of(None).as_str(), "none");
    }

    #[test]
    fn classes_stand_at_their_numbers() {
        for (at, class) in MethodClass::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, at);
        }
        for (at, class) in StatusClass::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, at);
        }
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at);
        }
    }

    #[test]
    fn every_reason_of_the_upstream_side_is_an_upstream_error() {
        for reason in Reason::ALL {
            assert_eq!(upstream_error(reason).is_some(), reason.side() == Side::Upstream, "{reason}");
        }
    }
}
