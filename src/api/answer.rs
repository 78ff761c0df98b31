//! What callers are answered: JSON, and GitHub's errors.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use serde_json::json;

use crate::domain::grant::UnixTime;
use crate::issuer::IssueError;
use crate::issuer::draft::FieldError;
use crate::issuer::shape;
use crate::store::error::StoreError;

/// What errors are said to be documented at; clients of GitHub's API compare it with nothing, and print it.
const DOCUMENTATION: &str = "https://docs.github.com/rest";

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Why a call is not answered as it was meant.
#[derive(Debug)]
pub(super) enum ApiError {
    /// The body is not the JSON that is expected.
    Json(String),
    /// The request has more than one reading.
    Misread(&'static str),
    /// The body is too large.
    TooLarge,
    /// No credential.
    Unauthenticated,
    /// A credential that is good for nothing.
    BadCredentials,
    /// It is not for this caller.
    Forbidden(String),
    /// There is no such thing, or it is nothing of the caller's.
    NotFound,
    /// A value cannot be had.
    Invalid(Vec<FieldError>),
    /// Too many attempts; after so many seconds again.
    Limited(u64),
    /// The user has changed too much; the seconds after which there may be more.
    Throttled(u64),
    /// The store does not work.
    Unavailable(String),
}

impl From<IssueError> for ApiError {
    fn from(error: IssueError) -> Self {
        match error {
            IssueError::NotFound => Self::NotFound,
            IssueError::Forbidden(message) => Self::Forbidden(message),
            IssueError::Invalid(errors) => Self::Invalid(errors),
            IssueError::Random => Self::Unavailable(error.to_string()),
            IssueError::Store(error) => {
                tracing::warn!(%error, "the store did not do what the API was asked for");
                Self::Unavailable(error.to_string())
            }
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        IssueError::Store(error).into()
    }
}

impl ApiError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Json(_) | Self::Misread(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unauthenticated | Self::BadCredentials => StatusCode::UNAUTHORIZED,
            // GitHub's status for it.
            Self::Forbidden(_) | Self::Limited(_) | Self::Throttled(_) => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,

            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn message(&self) -> &str {
        match self {
            Self::Json(_) => "Problems parsing JSON",
            Self::Misread(message) => message,
            Self::TooLarge => "Payload too large",
            Self::Unauthenticated => "Requires authentication",
            Self::BadCredentials => "Bad credentials",
            Self::Forbidden(message) | Self::Unavailable(message) => message,
            Self::NotFound => "Not Found",
            Self::Invalid(_) => "Validation Failed",
            Self::Throttled(_) => {
                "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
            }
            Self::Limited(_) => "Maximum number of login attempts exceeded. Please try again later.",
        }
    }
}

/// The answer to a call that was refused or failed.
pub(super) fn error(refused: &ApiError, request_id: &str) -> Response<Bytes> {
    let status = refused.status();
    let mut body = json!({
        "message": refused.message(),
        "documentation_url": DOCUMENTATION,
        "status": status.as_str(),
        "request_id": request_id,
    });
    let more = match refused {
        ApiError::Json(detail) => Some(("detail", detail.clone().into())),
        ApiError::Invalid(errors) => {
            let errors = errors.iter().map(|FieldError { field, code, message }| {
                json!({ "resource": "PersonalAccessToken", "field": field, "code": code, "message": message })
            });
            Some(("errors", errors.collect::<Vec<_>>().into()))
        }
        ApiError::Misread(_)
        | ApiError::TooLarge
        | ApiError::Unauthenticated
        | ApiError::BadCredentials
        | ApiError::Forbidden(_)
        | ApiError::NotFound
        | ApiError::Limited(_)
        | ApiError::Throttled(_)
        | ApiError::Unavailable(_) => None,
    };
    if let (Some(body), Some((field, value))) = (body.as_object_mut(), more) {
        body.insert(field.to_owned(), value);
    }
    let mut response = text("application/json; charset=utf-8", body.to_string());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let challenge = (status == StatusCode::UNAUTHORIZED).then_some("Bearer realm=\"Portcullis\"");
    if let Some(challenge) = challenge {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    let after = match refused {
        ApiError::Limited(seconds) | ApiError::Throttled(seconds) => Some(*seconds),
        ApiError::Unavailable(_) => Some(1),
        ApiError::Json(_)
        | ApiError::Misread(_)
        | ApiError::TooLarge
        | ApiError::Unauthenticated
        | ApiError::BadCredentials
        | ApiError::Forbidden(_)
        | ApiError::NotFound
        | ApiError::Invalid(_) => None,
    };
    if let Some(seconds) = after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// `value` as JSON, with `status`.
pub(super) fn json_answer(status: StatusCode, value: &impl Serialize) -> Response<Bytes> {
    let mut response = text("application/json; charset=utf-8", serde_json::to_vec(value).unwrap_or_default());
    *response.status_mut() = status;
    response
}

/// Nothing, with `status`.
pub(super) fn empty(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A text of this media type.
pub(super) fn text(media_type: &'static str, text: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(text.into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// `moment` in RFC 3339.
pub(super) fn moment(moment: UnixTime) -> String {
    shape::moment(moment)
}
