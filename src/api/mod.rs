//! The API: users make their tokens with it, resource owners approve, see and revoke them, administrators look at what was
//! done.
//!
//! `control` serves it to signed-in people and to tokens (`front` finds out who calls), `gateway` to tokens whose requests it
//! has judged. Either way a request comes here with its caller known and its route permitted by the catalog `portcullis`;
//! here is decided only what no catalog can say: whose token it is, and whether its user owns the organization.

mod answer;
pub mod audit;
mod body;
mod explain;
pub mod front;
mod hooks;
pub mod limiter;
mod login;
mod organization;
mod others;
mod own;
mod query;
mod rules;
pub mod trusted;
mod views;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use dashmap::DashMap;
use http::{HeaderMap, Method, Response, header};

use crate::api::answer::{ApiError, error};
use crate::api::audit::RequestLog;
use crate::api::limiter::Limiter;
use crate::api::trusted::TrustedProxies;
use crate::domain::membership::Memberships;
use crate::domain::target::{CanonicalTarget, decode_once};
use crate::domain::token::{PublicId, TokenDigest};
use crate::issuer::{Actor, Capacity, Issuer, Means, Setting};
use crate::live::LivePolicy;
use crate::oidc::Provider;
use crate::policy::snapshot::Snapshot;

/// The longest body, bytes.
pub const BODY_LIMIT: usize = 1 << 20;

/// What the API is about, described for programs.
const OPENAPI: &str = include_str!("openapi.json");

/// The API.
#[derive(Debug)]
pub struct Api {
    /// What changes tokens.
    pub issuer: Issuer,
    /// By which policy.
    pub live: Arc<LivePolicy>,
    /// Where the API stands among the upstreams.
    pub upstream: usize,
    /// Its URL, without a slash at the end; `None` is what the client calls it.
    pub url: Option<String>,
    /// The longest target that the gateway takes, bytes.
    pub target_bytes: usize,
    /// How often a user may make, change or renew tokens within an hour.
    pub changes_per_hour: usize,
    /// What bounds failed attempts.
    pub limiter: Limiter,
    /// When the use of tokens on the control listener was noted last.
    pub noted: DashMap<PublicId, Instant>,
    /// Whose word is taken for who calls the control listener; `None` is nobody's.
    pub trusted: Option<TrustedProxies>,
    /// Who else signs people in.
    pub providers: Vec<Provider>,
    /// Where requests are recorded; `None` where that is in no file.
    pub request_log: Option<RequestLog>,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A fine-grained token, with its digest, of this user.
    Token(TokenDigest, String),
    /// Someone who signed in.
    Person {
        /// Their login.
        login: String,
        /// Whether the store says that they administer the gateway.
        administrator: bool,
        /// The digest of their session, to end it; `None` where a proxy says who they are.
        session: Option<TokenDigest>,
    },
    /// Whoever sits at the machine and may write the store, on behalf of this user.
    Machine(String),
}

/// A request.
#[derive(Debug, Clone, Copy)]
pub struct ApiRequest<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its target.
    pub target: &'a CanonicalTarget,
    /// Its header fields.
    pub headers: &'a HeaderMap,
    /// Its body, whole.
    pub body: &'a Bytes,
    /// The client's address.
    pub peer: IpAddr,
    /// `http` or `https`, as far as this process knows.
    pub scheme: &'a str,
    /// Its id.
    pub request_id: &'a str,
}

/// One call, with all that it is answered by.
struct Call<'a> {
    api: &'a Api,
    policy: Arc<Snapshot>,
    caller: &'a Caller,
    request: ApiRequest<'a>,
}

impl Api {
    /// Answers a request that `caller` may make by the catalog.
    ///
    /// # Cancel safety
    /// What was begun is done to its end though nobody waits for the answer.
    pub async fn respond(&self, caller: &Caller, request: ApiRequest<'_>) -> Response<Bytes> {
        let call = Call { api: self, policy: self.live.snapshot(), caller, request };
        let answered = call.route().await;
        answered.unwrap_or_else(|refused| error(&refused, request.request_id))
    }

    /// What the API is about.
    pub fn description(&self) -> Response<Bytes> {
        answer::text("application/json", OPENAPI)
    }
}

type Answered = Result<Response<Bytes>, ApiError>;

impl Call<'_> {
    async fn route(&self) -> Answered {
        let segments: Vec<_> = self.request.target.segments().map(decode_once).collect();
        let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
        let method = self.request.method;
        let is = |wanted: &Method| method == wanted || (*wanted == Method::GET && *method == Method::HEAD);
        match *segments.as_slice() {
            ["user"] if is(&Method::GET) => self.who_am_i().await,
            ["token"] if is(&Method::GET) => self.this_token().await,
            ["bundles"] if is(&Method::GET) => Ok(self.bundles()),
            ["introspect"] if is(&Method::POST) => self.introspect(),
            ["explain"] if is(&Method::POST) => self.explain().await,
            ["sessions", "current"] if is(&Method::DELETE) => self.sign_out().await,
            ["users"] if is(&Method::GET) => self.users().await,
            ["users", login, "suspended"] if is(&Method::PUT) => self.suspend(login, true).await,
            ["users", login, "suspended"] if is(&Method::DELETE) => self.suspend(login, false).await,
            ["classic-tokens"] if is(&Method::GET) => {
                self.administers()?;
                self.classic_uses(None).await
            }
            ["audit-log"] if is(&Method::GET) => {
                self.administers()?;
                self.audit(None).await
            }
            ["request-log"] if is(&Method::GET) => {
                self.administers()?;
                self.request_log(None).await
            }
            ["enterprise", "token-policy"] => {
                self.administers()?;
                self.rules(None).await
            }
            ["webhooks", "deliveries", ref rest @ ..] => self.deliveries(rest).await,
            ["user", "personal-access-tokens", ref rest @ ..] => self.own(rest).await,
            ["orgs", org, ref rest @ ..] => self.organization(org, rest).await,
            _ => Err(ApiError::NotFound),
        }
    }

    /// Who acts, for the issuer, in no other capacity than as themselves.
    fn setting(&self) -> Setting {
        self.setting_as(Capacity::Themselves)
    }

    /// Who acts, and as what they must be when their turn has come.
    fn setting_as(&self, capacity: Capacity) -> Setting {
        let (login, by) = match self.caller {
            Caller::Token(digest, login) => (login.clone(), Means::Token(*digest)),
            Caller::Person { login, session: Some(_), .. } => (login.clone(), Means::Session),
            Caller::Person { login, session: None, .. } => (login.clone(), Means::TrustedHeader),
            Caller::Machine(login) => (login.clone(), Means::Machine),
        };
        let setting = self.api.issuer.setting(self.api.live.in_force(), self.actor(login, by));
        Setting { capacity, ..setting }
    }

    fn actor(&self, login: String, by: Means) -> Actor {
        let agent = self.request.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
        Actor {
            login,
            by,
            from: Some(self.request.peer),
            user_agent: agent.map(|agent| agent.chars().take(256).collect()),
            request_id: Some(self.request.request_id.to_owned()),
        }
    }

    fn login(&self) -> &str {
        match self.caller {
            Caller::Token(_, login) | Caller::Person { login, .. } | Caller::Machine(login) => login,
        }
    }

    /// Whether the caller administers the gateway, as a person. Tokens never do.
    fn is_administrator(&self) -> bool {
        match self.caller {
            Caller::Token(..) => false,
            Caller::Machine(_) => true,
            Caller::Person { login, administrator, .. } => {
                self.policy.is_administrator(login, *administrator)
            }
        }
    }

    /// What the caller is at organizations beside what policy says.
    async fn memberships(&self) -> Result<Memberships, ApiError> {
        let login = self.login().to_owned();
        Ok(self
            .api
            .issuer
            .store
            .read(move |reads: crate::store::Reads<'_>| reads.memberships(&login))
            .await?)
    }

    /// The URL of `path`.
    fn url(&self, path: &str) -> String {
        if let Some(url) = &self.api.url {
            return format!("{url}{path}");
        }
        let host = self.request.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        format!("{}://{}{path}", self.request.scheme, host.unwrap_or("localhost"))
    }
}
