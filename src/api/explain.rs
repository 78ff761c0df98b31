//! `POST /explain`: what the gateway would decide about a request, step by step.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;

use crate::api::answer::{ApiError, json_answer};
use crate::api::body::read;
use crate::api::query::moment;
use crate::api::{Answered, Call, Caller};
use crate::clock;
use crate::domain::token::{TokenDigest, TokenFormat};
use crate::explain::report::{Inquiry, Report, Reports, StandsIn};
use crate::explain::request;
use crate::issuer::IssueError;
use crate::issuer::draft::FieldError;
use crate::policy::grants::index::Kept;
use crate::policy::judge::Claim;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExplainBody {
    method: Option<String>,
    url: Option<String>,
    token_id: Option<i64>,
    peer: Option<String>,
    at: Option<String>,
}

impl Call<'_> {
    /// `POST /explain`.
    pub(super) async fn explain(&self) -> Answered {
        let body: ExplainBody = read(self.request.body)?;
        let digest = self.explained(body.token_id).await?;
        let mut errors = Vec::new();
        for (field, value) in [("method", &body.method), ("url", &body.url)] {
            if value.is_none() {
                let message = format!("`{field}` is missing");
                errors.push(FieldError { field, code: "missing_field", message });
            }
        }
        let now = body.at.as_deref().map_or_else(|| Some(clock::now()), |at| moment(at, "at", &mut errors));
        let peer: Option<IpAddr> = body.peer.as_deref().and_then(|peer| {
            let found = peer.parse().ok();
            if found.is_none() {
                errors.push(FieldError::invalid("peer", "expected an address, such as `192.0.2.7`"));
            }
            found
        });
        let (method, url) = (body.method.unwrap_or_default(), body.url.unwrap_or_default());
        let requests = request::read(&method, &url, &self.policy).map_err(|error| {
            if errors.is_empty() {
                errors.push(FieldError::invalid(error.field, error.to_string()));
            }
        });
        let (Ok(requests), Some(now)) = (requests, now.filter(|_| errors.is_empty())) else {
            return Err(ApiError::Invalid(errors));
        };
        let kept = Kept::default();
        // Of a token that is known by its number there is one, unless the store is not followed any more.
        let grant = self.policy.holder(&digest, &kept);
        let grant = grant.map_err(|refusal| ApiError::Unavailable(refusal.public_message()))?;
        let headers = self.stand_in()?;
        let report = |request| {
            Report::of(&Inquiry {
                snapshot: &self.policy,
                target_bytes: self.api.target_bytes,
                request,
                headers: &headers,
                claim: Claim::PresentedAs(grant),
                peer: peer.unwrap_or(self.request.peer),
                peer_given: peer.is_some(),
                now,
                stands_in: StandsIn::ForToken,
                owners_shown: self.is_administrator(),
            })
        };
        Ok(json_answer(StatusCode::OK, &Reports::of(requests.iter().map(report).collect())))
    }

    /// The token that is asked about: the one that calls, or one of the caller's; administrators ask about any.
    async fn explained(&self, token_id: Option<i64>) -> Result<TokenDigest, ApiError> {
        let id = match (self.caller, token_id) {
            (Caller::Token(digest, _), None) => return Ok(*digest),
            (Caller::Token(..), Some(_)) => {
                let message = "a token is told of itself alone: leave out `token_id`, or sign in";
                return Err(ApiError::Forbidden(message.to_owned()));
            }
            (Caller::Person { .. } | Caller::Machine(_), Some(id)) => id,
            (Caller::Person { .. } | Caller::Machine(_), None) => {
                let message = "`token_id` is missing".to_owned();
                let error = FieldError { field: "token_id", code: "missing_field", message };
                return Err(ApiError::Invalid(vec![error]));
            }
        };
        let view = match self.api.issuer.token(id).await {
            Err(IssueError::NotFound) => return Err(ApiError::NotFound),
            found => found?,
        };
        if view.token.user.eq_ignore_ascii_case(self.login()) || self.is_administrator() {
            return Ok(view.token.digest);
        }
        Err(ApiError::NotFound)
    }

    /// Fields with a credential that is well formed and nobody's.
    fn stand_in(&self) -> Result<HeaderMap, ApiError> {
        let text = self.api.issuer.format.assemble(&[0; TokenFormat::RANDOM_BYTES]);
        let value = text.and_then(|text| HeaderValue::try_from(format!("Bearer {}", text.expose())).ok());
        let value = value.ok_or_else(|| ApiError::Unavailable("no token can be made up".to_owned()))?;
        Ok([(header::AUTHORIZATION, value)].into_iter().collect())
    }
}
