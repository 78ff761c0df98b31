//! Looks into the body of a permitted request, where a host could take more out of it than was judged.
//!
//! Few bodies need that, and what does not need it streams. What was looked into is what is sent.

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http_body::Body;
use http_body_util::BodyExt;

use crate::domain::refusal::{Limit, Refusal, UpstreamError};
use crate::gateway::body::{Received, client_fault};
use crate::gateway::validity::Validity;
use crate::headers::identity::Identity;
use crate::protocol::{Inspection, LONGEST};
use crate::record::body::CountedBody;

/// What has to be looked for in a body, for a host that is told by `identity` who calls.
///
/// # Errors
/// The body cannot be looked into.
pub fn needed(
    parts: &Parts,
    body: &CountedBody<Received>,
    identity: &Identity,
) -> Result<Option<Inspection>, Refusal> {
    if body.is_end_stream() {
        return Ok(None);
    }
    Inspection::needed(&parts.method, &parts.headers, identity)
}

/// The whole of a body, looked into.
///
/// # Errors
/// The body holds what it must not, is too large or too slow, or breaks off; or the request may
/// no longer pass when all of it is there.
///
/// # Cancel safety
/// Dropping the future drops what was read.
pub async fn inspect(
    body: CountedBody<Received>,
    inspection: Inspection,
    validity: &Validity,
) -> Result<Bytes, Refusal> {
    let bytes = collect(body).await?;
    inspection.check(&bytes)?;
    // That may have taken a while.
    match validity.withdrawn() {
        Some(refusal) => Err(refusal.clone()),
        None => Ok(bytes),
    }
}

/// All of a body but its trailers, which no message with a length has.
async fn collect(mut body: CountedBody<Received>) -> Result<Bytes, Refusal> {
    if body.size_hint().lower() > LONGEST as u64 {
        return Err(Limit::BodyBytes.into());
    }
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        // Where the client left, nobody hears what it is told, and the record says so.
        let frame = frame
            .map_err(|error| client_fault(error.as_ref()).unwrap_or_else(|| UpstreamError::Failed.into()))?;
        if let Ok(data) = frame.into_data() {
            if data.len() > LONGEST - bytes.len() {
                return Err(Limit::BodyBytes.into());
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes.freeze())
}
