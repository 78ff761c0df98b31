//! Turns a refusal into the answer that the client's software understands, on every listener.

use std::io;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use crate::catalog::errors::{ErrorFormat, ErrorStyle};
use crate::domain::refusal::Refusal;
use crate::headers::forward::REQUEST_ID;
use crate::record::json::push_text;

const ACCEPTED: HeaderName = HeaderName::from_static("x-accepted-permissions");
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"Portcullis\"");

/// Stands for the status in a host's own fields.
const STATUS: &str = "{status}";

/// Room for most bodies.
const USUAL_BODY: usize = 512;

/// The answer to a refused request; `accepted` is what would have been enough, where a route was found.
pub fn refuse(
    refusal: &Refusal,
    style: &ErrorStyle,
    accepted: Option<&HeaderValue>,
    request_id: &HeaderValue,
) -> Response<Bytes> {
    let id = request_id.to_str().unwrap_or_default();
    let (media_type, body) = match style.format {
        ErrorFormat::Json => ("application/json; charset=utf-8", json(refusal, style, id)),
        ErrorFormat::Text => ("text/plain; charset=utf-8", text(refusal, style, id)),
    };
    let mut response = Response::new(body);
    let status = style.status(refusal);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REQUEST_ID, request_id.clone());
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, style.challenge.clone().unwrap_or(CHALLENGE));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if let Some(accepted) = accepted {
        headers.insert(style.accepted_header.clone().unwrap_or(ACCEPTED), accepted.clone());
    }
    response
}

/// The host's own sentence where clients compare it, ours beside it.
fn json(refusal: &Refusal, style: &ErrorStyle, id: &str) -> Bytes {
    let mut body = Vec::with_capacity(USUAL_BODY);
    if let Err(error) = write_json(&mut body, refusal, style, id) {
        // Memory takes everything, and text is always JSON.
        tracing::error!(%error, "a refusal has no words");
    }
    body.into()
}

/// By hand, since a storm of refusals is when the gateway has no time: names of members are constant text.
fn write_json(body: &mut Vec<u8>, refusal: &Refusal, style: &ErrorStyle, id: &str) -> io::Result<()> {
    let reason = refusal.reason();
    let detail = refusal.public_message();
    let status = style.status(refusal);
    body.extend_from_slice(b"{\"message\":");
    push_text(style.message(refusal).as_deref().unwrap_or(&detail), body)?;
    for (name, value) in &style.fields {
        body.push(b',');
        push_text(name, body)?;
        body.push(b':');
        if value == STATUS {
            push_text(status.as_str(), body)?;
        } else if value.contains(STATUS) {
            push_text(&value.replace(STATUS, status.as_str()), body)?;
        } else {
            push_text(value, body)?;
        }
    }
    body.extend_from_slice(b",\"reason\":");
    push_text(reason.as_str(), body)?;
    body.extend_from_slice(b",\"detail\":");
    push_text(&detail, body)?;
    if let Some(missing) = refusal.missing() {
        body.extend_from_slice(b",\"missing\":");
        serde_json::to_writer(&mut *body, &missing.needs)?;
        body.extend_from_slice(b",\"accepted\":");
        push_text(&missing.accepted, body)?;
        body.extend_from_slice(b",\"ask\":");
        push_text(&missing.grantor, body)?;
    }
    body.extend_from_slice(b",\"request_id\":");
    push_text(id, body)?;
    body.push(b'}');
    Ok(())
}

/// Lines that git prints behind `remote:`.
fn text(refusal: &Refusal, style: &ErrorStyle, id: &str) -> Bytes {
    let reason = refusal.reason();
    let detail = refusal.public_message();
    let message = style.message(refusal);
    let message = message.as_deref().unwrap_or(&detail).trim_end_matches('.');
    Bytes::from(format!("Portcullis: {message}.\n{reason}, request {id}\n"))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::domain::reason::Reason;
    use crate::domain::refusal::{CredentialError, Missing};

    fn body_of(response: Response<Bytes>) -> String {
        String::from_utf8(response.into_body().to_vec()).unwrap()
    }

    #[test]
    fn json_names_everything_that_is_missing() {
        let refusal = Refusal::PermissionMissing(Missing {
            needs: vec!["contents=write".into(), "workflows=write".into()],
            accepted: "contents=write,workflows=write".into(),
            grantor: "an owner of `acme` (alice)".into(),
        });
        let style =
            ErrorStyle { fields: vec![("status".into(), "{status}".into())], ..ErrorStyle::default() };
        let accepted = HeaderValue::from_static("contents=write,workflows=write");
        let response = refuse(&refusal, &style, Some(&accepted), &HeaderValue::from_static("r1"));
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert_eq!(response.headers().get(ACCEPTED), Some(&accepted));
        let body: Value = serde_json::from_str(&body_of(response)).unwrap();
        assert_eq!(body["reason"], "permission_missing");
        assert_eq!(body["status"], "403");
        assert_eq!(body["missing"], serde_json::json!(["contents=write", "workflows=write"]));
        assert_eq!(
            body["message"],
            "this token lacks contents=write and workflows=write; ask an owner of `acme` (alice) to grant it"
        );
    }

    #[test]
    fn the_catalog_sets_the_status_where_clients_know_no_other() {
        let style = ErrorStyle {
            fields: vec![("status".into(), "{status}".into())],
            statuses: [(Reason::NoRoute, StatusCode::NOT_FOUND)].into(),
            ..ErrorStyle::default()
        };
        let response = refuse(&Refusal::NoRoute, &style, None, &HeaderValue::from_static("r1"));
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        let body: Value = serde_json::from_str(&body_of(response)).unwrap();
        assert_eq!((&body["status"], &body["reason"]), (&"404".into(), &"no_route".into()));
        let other = refuse(&Refusal::NeverGrantable, &style, None, &HeaderValue::from_static("r1"));
        assert_eq!(other.status(), StatusCode::FORBIDDEN);
    }

    #[test]
    fn text_is_one_sentence_and_401_challenges() {
        let style = ErrorStyle {
            format: ErrorFormat::Text,
            challenge: Some(HeaderValue::from_static("Basic realm=\"x\"")),
            ..ErrorStyle::default()
        };
        let response =
            refuse(&CredentialError::Missing.into(), &style, None, &HeaderValue::from_static("r1"));
        assert_eq!(response.headers().get("www-authenticate").unwrap(), "Basic realm=\"x\"");
        assert!(body_of(response).starts_with("Portcullis: this needs a token; "));
    }
}
