//! `GET /login/{name}` and its callback: people who are signed in by a provider of OpenID Connect.
//!
//! The browser keeps a cookie from the first to the second, so that nobody ends a login in it that began elsewhere.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::json;

use crate::api::answer::{ApiError, empty, json_answer, moment};
use crate::api::front::actor;
use crate::api::{Answered, Api, ApiRequest};
use crate::clock;
use crate::domain::target::CanonicalTarget;
use crate::issuer::provided::Provided;
use crate::issuer::users::Session;
use crate::issuer::{IssueError, Means};
use crate::oidc::{Callback, OidcError, Provider};

/// What the browser keeps.
const COOKIE: &str = "portcullis_login";

/// Seconds that it keeps it: as long as a login may take.
const COOKIE_AGE: u32 = 600;

impl Api {
    fn provider(&self, name: &str) -> Result<&Provider, ApiError> {
        self.providers.iter().find(|provider| provider.name() == name).ok_or(ApiError::NotFound)
    }

    /// `GET /login/{name}`.
    pub(super) async fn begin_login(&self, name: &str) -> Answered {
        let provider = self.provider(name)?;
        let begun = provider.begin().await.map_err(|error| told(provider, &error))?;
        let mut response = empty(StatusCode::FOUND);
        let location = HeaderValue::try_from(begun.location);
        let location =
            location.map_err(|_| ApiError::Unavailable("the provider's URL is none".to_owned()))?;
        response.headers_mut().insert(header::LOCATION, location);
        set_cookie(&mut response, provider, Some(begun.browser.expose()));
        Ok(response)
    }

    /// `GET /login/{name}/callback`.
    pub(super) async fn end_login(&self, name: &str, request: &ApiRequest<'_>) -> Answered {
        let provider = self.provider(name)?;
        let session = match self.signed_in_by(provider, request).await {
            Err(error) => {
                if !matches!(error, ApiError::Unavailable(_)) {
                    self.limiter.failed(request.peer, clock::monotonic()).map_err(ApiError::Limited)?;
                }
                return Err(error);
            }
            Ok(session) => session,
        };
        let mut response = json_answer(StatusCode::OK, &shown(&session));
        set_cookie(&mut response, provider, None);
        Ok(response)
    }

    async fn signed_in_by(&self, provider: &Provider, request: &ApiRequest<'_>) -> Result<Session, ApiError> {
        let query = Query::read(request.target)?;
        let callback = Callback {
            state: query.state.as_deref(),
            code: query.code.as_deref(),
            error: query.error.as_deref(),
            issuer: query.issuer.as_deref(),
            browser: cookie(request.headers),
        };
        let person = provider.finish(&callback).await.map_err(|error| told(provider, &error))?;
        let person = Provided {
            provider: provider.name().to_owned(),
            subject: person.subject,
            login: person.login,
            groups: person.groups,
            memberships: person.memberships,
            administrator: person.administrator,
        };
        let actor = actor(request, &person.login, Means::Session);
        let setting = self.issuer.setting(self.live.in_force(), actor);
        let refused = |error: IssueError| {
            if let IssueError::Forbidden(why) = &error {
                tracing::warn!(provider = provider.name(), why, "a login by a provider was refused");
            }
            ApiError::from(error)
        };
        self.issuer.sign_in_provided(setting, person).await.map_err(refused)
    }
}

/// What a session is answered by.
pub(super) fn shown(session: &Session) -> serde_json::Value {
    json!({
        "token": session.text.expose(),
        "expires_at": moment(session.expires_at),
        "user": { "login": session.user.login, "id": session.user.id },
    })
}

/// Says in the log what went wrong; to the caller, only whose fault it is.
fn told(provider: &Provider, error: &OidcError) -> ApiError {
    let name = provider.name();
    match error {
        OidcError::Unknown | OidcError::Denied(_) => {
            tracing::info!(provider = name, %error, "a login by a provider failed");
            ApiError::BadCredentials
        }
        OidcError::Untrusted(_) => {
            tracing::warn!(provider = name, %error, "a login by a provider was refused");
            ApiError::BadCredentials
        }
        OidcError::Unavailable(_) => {
            tracing::warn!(provider = name, %error, "nobody is signed in by this provider");
            ApiError::Unavailable(format!("the provider `{name}` cannot be used; try again"))
        }
    }
}

/// The fields of a callback; others are let be.
#[derive(Default)]
struct Query {
    state: Option<String>,
    code: Option<String>,
    error: Option<String>,
    issuer: Option<String>,
}

impl Query {
    fn read(target: &CanonicalTarget) -> Result<Self, ApiError> {
        let mut query = Self::default();
        for (name, value) in target.query_fields() {
            let place = match &*name {
                "state" => &mut query.state,
                "code" => &mut query.code,
                "error" => &mut query.error,
                "iss" => &mut query.issuer,
                _ => continue,
            };
            if place.replace(value.into_owned()).is_some() {
                return Err(ApiError::Misread("a field of the callback stands there twice"));
            }
        }
        Ok(query)
    }
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let fields = headers.get_all(header::COOKIE).iter().filter_map(|field| field.to_str().ok());
    let mut pairs = fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

/// Gives the browser `value` to keep, or has it forget what it keeps.
fn set_cookie(response: &mut Response<Bytes>, provider: &Provider, value: Option<&str>) {
    let age = value.map_or(0, |_| COOKIE_AGE);
    let secure = if provider.is_secure() { "; Secure" } else { "" };
    let value = value.unwrap_or_default();
    // The callback comes from another site, which `Strict` would keep the cookie from.
    let text = format!(
        "{COOKIE}={value}; Path=/login/{}; Max-Age={age}; HttpOnly; SameSite=Lax{secure}",
        provider.name()
    );
    if let Ok(mut field) = HeaderValue::try_from(text) {
        field.set_sensitive(true);
        response.headers_mut().insert(header::SET_COOKIE, field);
    }
}
