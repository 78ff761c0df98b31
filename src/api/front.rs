//! The API on the control listener: finds out who calls, and lets through what they may do.
//!
//! A token is judged as on the data plane, by the same steps and the same catalog. A signed-in person may do what the catalog
//! lists; what it lists as `never` is for administrators.

use std::sync::Arc;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use crate::api::answer::{ApiError, REQUEST_ID, error, json_answer};
use crate::api::body::read;
use crate::api::login::shown;
use crate::api::{Answered, Api, ApiRequest, Caller};
use crate::clock;
use crate::domain::permission::Requirement;
use crate::domain::refusal::{CredentialError, Refusal};
use crate::domain::secret::Secret;
use crate::domain::target::TargetError;
use crate::domain::token::SESSION_PREFIX;
use crate::domain::token::{PublicId, TokenDigest};
use crate::issuer::draft::FieldError;
use crate::issuer::notices::TokenUse;
use crate::issuer::{Actor, IssueError, Means};
use crate::policy::grants::index::Kept;
use crate::policy::judge::{Question, judge_at};
use crate::policy::snapshot::Snapshot;
use crate::refuse::refuse;

/// How often the use of one token is noted.
const NOTE_EVERY: Duration = Duration::from_secs(60);

/// Tokens whose use is remembered to have been noted.
const MOST_NOTED: usize = 10_000;

/// Texts of tokens in one call that gives them up (GitHub's).
const MOST_CREDENTIALS: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignIn {
    login: String,
    password: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Report {
    credentials: Vec<String>,
}

impl Api {
    /// Answers a request whose caller is not known yet.
    ///
    /// # Cancel safety
    /// As [`Api::respond`].
    pub async fn serve(&self, request: ApiRequest<'_>) -> Response<Bytes> {
        let segments: Vec<_> = request.target.segments().collect();
        let answered = match (request.method, segments.as_slice()) {
            (&(Method::GET | Method::HEAD), ["openapi.json"]) => Ok(self.description()),
            (&Method::POST, ["sessions"]) => self.sign_in(&request).await,
            (&Method::GET, ["login", name]) => self.begin_login(name).await,
            (&Method::GET, ["login", name, "callback"]) => self.end_login(name, &request).await,
            (&Method::POST, ["credentials", "revoke"]) => self.give_up(&request).await,
            _ => match self.caller(&request).await {
                Ok(Ok(caller)) => Ok(self.respond(&caller, request).await),
                Ok(Err(refusal)) => Ok(*refusal),
                Err(error) => Err(error),
            },
        };
        let mut response = answered.unwrap_or_else(|refused| error(&refused, request.request_id));
        // As on the data plane, where every answer has it.
        response.headers_mut().insert(REQUEST_ID, id_of(request.request_id));
        response
    }

    /// Answers a request whose target has more than one reading, as on the data plane.
    pub fn misread(&self, fault: TargetError, request_id: &str) -> Response<Bytes> {
        let policy = self.live.snapshot();
        let style = policy.upstreams.get(self.upstream).map(|upstream| Arc::clone(upstream.style()));
        refuse(&fault.into(), &style.unwrap_or_default(), None, &id_of(request_id))
    }

    /// Who calls, where they may; the refusal of a token is whole already.
    async fn caller(
        &self,
        request: &ApiRequest<'_>,
    ) -> Result<Result<Caller, Box<Response<Bytes>>>, ApiError> {
        let now = clock::monotonic();
        let policy = self.live.snapshot();
        if let Some(caller) = self.signed_in_by_proxy(request).await? {
            if let Caller::Person { login, administrator, .. } = &caller {
                self.admit_person(&policy, request, policy.is_administrator(login, *administrator))?;
            }
            return Ok(Ok(caller));
        }
        if let Some(text) = session_text(request)? {
            let Some(user) = self.issuer.session(text, clock::now()).await? else {
                self.limiter.failed(request.peer, now).map_err(ApiError::Limited)?;
                return Err(ApiError::BadCredentials);
            };
            let (login, administrator) = (user.login, user.administrator);
            self.admit_person(&policy, request, policy.is_administrator(&login, administrator))?;
            return Ok(Ok(Caller::Person { login, administrator, session: Some(TokenDigest::of(text)) }));
        }
        match self.judge_token(&policy, request) {
            Ok(caller) => Ok(Ok(caller)),
            Err(refused) => {
                let (refusal, response) = *refused;
                if matches!(refusal, Refusal::UnknownToken | Refusal::Token(_)) {
                    self.limiter.failed(request.peer, now).map_err(ApiError::Limited)?;
                }
                Ok(Err(Box::new(response)))
            }
        }
    }

    fn admit_person(
        &self,
        policy: &Snapshot,
        request: &ApiRequest<'_>,
        administrator: bool,
    ) -> Result<(), ApiError> {
        let segments: Vec<_> = request.target.segments().collect();
        if *segments.as_slice() == ["sessions", "current"] {
            return Ok(());
        }
        let upstream = policy.upstreams.get(self.upstream).ok_or(ApiError::NotFound)?;
        let matched = upstream.action(request.method, request.target).map_err(|_| ApiError::NotFound)?;
        match matched.action.requirement {
            Requirement::Never if !administrator => {
                Err(ApiError::Forbidden("only administrators of the gateway may do this".to_owned()))
            }
            Requirement::Never | Requirement::Nothing | Requirement::AnyOf(_) => Ok(()),
        }
    }

    fn judge_token(
        &self,
        policy: &Snapshot,
        request: &ApiRequest<'_>,
    ) -> Result<Caller, Box<(Refusal, Response<Bytes>)>> {
        let question = Question {
            method: request.method,
            target: request.target,
            host: "",
            server_name: None,
            headers: request.headers,
            peer: request.peer,
            now: clock::now(),
            kept: &Kept::default(),
        };
        let judgment = judge_at(policy, self.upstream, &question);
        let accepted = judgment.matched.map(|matched| &matched.needed.header);
        let style = judgment.style(request.method, request.target);
        let refusal = match (judgment.outcome, judgment.token, judgment.grant) {
            (Ok(_permit), Some(token), Some(grant)) => {
                self.note_use(token.public_id, request.peer);
                return Ok(Caller::Token(token.digest, grant.user().to_owned()));
            }
            (Ok(_permit), _, _) => Refusal::Credential(CredentialError::Missing),
            (Err(refusal), _, _) => refusal,
        };
        let response = refuse(&refusal, &style, accepted, &id_of(request.request_id));
        Err(Box::new((refusal, response)))
    }

    /// Notes that a token was used here: what is done on this listener stands in no line of the audit log.
    fn note_use(&self, token: PublicId, peer: IpAddr) {
        let now = clock::monotonic();
        let lately = |noted: &Instant| now.saturating_duration_since(*noted) < NOTE_EVERY;
        if self.noted.get(&token).is_some_and(|noted| lately(&noted)) {
            return;
        }
        if self.noted.len() >= MOST_NOTED {
            self.noted.clear();
        }
        self.noted.insert(token, now);
        let public_id = token.as_str().to_owned();
        let used = TokenUse { public_id, at: clock::now(), from: peer, by: "rest" };
        self.issuer.note_uses(self.live.in_force(), vec![used]);
    }

    /// `POST /sessions`.
    async fn sign_in(&self, request: &ApiRequest<'_>) -> Answered {
        let SignIn { login, password } = read(request.body)?;
        let password = Secret::new(password);
        self.limiter.try_password(request.peer, &login, clock::monotonic()).map_err(ApiError::Limited)?;
        let actor = actor(request, &login, Means::Session);
        let setting = self.issuer.setting(self.live.in_force(), actor);
        let session = match self.issuer.sign_in(setting, password).await {
            Err(IssueError::Forbidden(_)) => {
                tracing::warn!(peer = %request.peer, ?login, "a sign-in failed");
                return Err(ApiError::BadCredentials);
            }
            outcome => outcome?,
        };
        self.limiter.signed_in(request.peer, &login);
        Ok(json_answer(StatusCode::CREATED, &shown(&session)))
    }

    /// `POST /credentials/revoke`.
    async fn give_up(&self, request: &ApiRequest<'_>) -> Answered {
        if request.headers.contains_key(header::AUTHORIZATION) {
            return Err(ApiError::Forbidden("send this without a credential".to_owned()));
        }
        self.limiter.report(request.peer, clock::monotonic()).map_err(ApiError::Limited)?;
        let Report { credentials } = read(request.body)?;
        if !(1..=MOST_CREDENTIALS).contains(&credentials.len()) {
            let message = format!("expected 1 to {MOST_CREDENTIALS}");
            return Err(ApiError::Invalid(vec![FieldError::invalid("credentials", message)]));
        }
        let texts = credentials.into_iter().map(Secret::new);
        let digests = texts.filter_map(|text| self.issuer.format.parse(text.expose()).ok());
        let digests: Vec<_> = digests.map(|token| token.digest).collect();
        let setting = self.issuer.setting(self.live.in_force(), actor(request, "anonymous", Means::Holder));
        let count = self.issuer.give_up(setting, digests).await?;
        tracing::info!(count, peer = %request.peer, "tokens were reported as leaked, and revoked");
        // Whether there were any is nobody's business.
        Ok(json_answer(StatusCode::ACCEPTED, &json!({})))
    }
}

fn id_of(request_id: &str) -> HeaderValue {
    HeaderValue::from_str(request_id).unwrap_or(HeaderValue::from_static(""))
}

pub(super) fn actor(request: &ApiRequest<'_>, login: &str, by: Means) -> Actor {
    let agent = request.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    Actor {
        login: login.chars().take(100).collect(),
        by,
        from: Some(request.peer),
        user_agent: agent.map(|agent| agent.chars().take(256).collect()),
        request_id: Some(request.request_id.to_owned()),
    }
}

/// The text of a session, where the one credential is one.
fn session_text<'r>(request: &ApiRequest<'r>) -> Result<Option<&'r str>, ApiError> {
    let mut fields = request.headers.get_all(header::AUTHORIZATION).iter();
    let Some(field) = fields.next() else { return Err(ApiError::Unauthenticated) };
    if fields.next().is_some() {
        return Err(ApiError::BadCredentials);
    }
    let Some((scheme, text)) = field.to_str().ok().and_then(|field| field.split_once(' ')) else {
        return Err(ApiError::BadCredentials);
    };
    let text = text.trim_matches(' ');
    let named = scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token");
    Ok(Some(text).filter(|text| named && text.starts_with(SESSION_PREFIX)))
}
