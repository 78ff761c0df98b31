//! Hands a permitted request to its host. The one place that sends anything to a host.

use std::net::SocketAddr;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::api::{Api, ApiRequest, BODY_LIMIT, Caller as ApiCaller};
use crate::domain::refusal::{Limit, Refusal, UpstreamError};
use crate::gateway::body::{AnswerBody, Upload, client_fault};
use crate::gateway::outflow::push_field;
use crate::gateway::pool::{HostRequest, Pool};

use crate::gateway::validity::{Holder, Validity};
use crate::git_host::{Caller, GitHost, ServeError};
use crate::headers::forward::{Hop, PeerText, to_upstream};
use crate::headers::identity::Identity;
use crate::policy::decide::Permit;

/// Room for the head of most requests.
const USUAL_HEAD: usize = 1024;

/// A worker's way to one host.
#[derive(Debug, Clone)]
pub enum Backend {
    /// An HTTP server.
    Http {
        /// Connections to it.
        pool: Arc<Pool>,
        /// What `Host` says to it; `None` is what the client said.
        host: Option<HeaderValue>,
    },
    /// The embedded git host.
    Git(GitHost),
    /// The gateway itself.
    Api(Arc<Api>),
}

/// A permitted request on its way out.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// The head as it came.
    pub parts: &'a Parts,
    /// The header fields to pass on, instead of those of the head.
    pub headers: &'a HeaderMap,
    /// The body that is passed on.
    pub upload: Upload,
    /// Whether the permit goes on standing.
    pub validity: Arc<Validity>,
    /// On whose behalf.
    pub user: &'a str,
    /// Whether it may change anything.
    pub writes: bool,
    /// The client's address.
    pub peer: SocketAddr,
    /// The same as text.
    pub peer_text: &'a PeerText,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The host name that the client asked for.
    pub client_host: &'a HeaderValue,
    /// Its id.
    pub request_id: &'a HeaderValue,
    /// How the host learns who calls.
    pub identity: &'a Identity,
}

impl Backend {
    /// Forwards one request. Takes the permit: one decision, one request.
    ///
    /// # Errors
    /// [`Refusal::Upstream`], [`Refusal::Overloaded`].
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection, or stops git.
    pub async fn forward(
        &self,
        permit: Permit,
        outgoing: Outgoing<'_>,
    ) -> Result<Response<AnswerBody>, Refusal> {
        drop(permit);
        match self {
            Self::Http { pool, host } => to_http(pool, host.as_ref(), outgoing).await,
            Self::Git(git) => to_git(git, outgoing).await,
            Self::Api(api) => Box::pin(to_api(api, outgoing)).await,
        }
    }
}

async fn to_http(
    pool: &Arc<Pool>,
    host: Option<&HeaderValue>,
    outgoing: Outgoing<'_>,
) -> Result<Response<AnswerBody>, Refusal> {
    let Outgoing { parts, upload, validity, .. } = outgoing;
    let hop = Hop {
        peer: outgoing.peer_text,
        scheme: outgoing.scheme,
        client_host: outgoing.client_host,
        upstream_host: host.unwrap_or(outgoing.client_host),
        request_id: outgoing.request_id,
        user: outgoing.user,
        identity: outgoing.identity,
    };
    // What was judged.
    let mut head = Vec::with_capacity(USUAL_HEAD);
    for part in [parts.method.as_str(), " ", validity.target().as_path_and_query().as_str(), " HTTP/1.1\r\n"]
    {
        head.extend_from_slice(part.as_bytes());
    }
    to_upstream(outgoing.headers, &hop, |name, value| push_field(&mut head, name, value)).map_err(
        |error| {
            tracing::error!(%error, user = outgoing.user, "not forwarded");
            UpstreamError::Failed
        },
    )?;
    let has_length = parts.headers.contains_key(header::CONTENT_LENGTH);
    let response = pool.send(HostRequest { method: parts.method.clone(), head, has_length, upload }).await?;
    Ok(response.map(|body| AnswerBody::upstream(body, validity)))
}

async fn to_api(api: &Api, outgoing: Outgoing<'_>) -> Result<Response<AnswerBody>, Refusal> {
    let Outgoing { parts, upload, validity, .. } = outgoing;
    let body = match Limited::new(upload, BODY_LIMIT).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(Limit::BodyBytes.into()),
        Err(error) => return Err(client_fault(&*error).unwrap_or_else(|| UpstreamError::Failed.into())),
    };
    // No credential but a token comes so far: nobody issues others for the gateway itself.
    let Holder::Token(digest) = validity.holder() else { return Err(Refusal::UnknownToken) };
    let caller = ApiCaller::Token(digest, outgoing.user.to_owned());
    let request = ApiRequest {
        method: &parts.method,
        target: validity.target(),
        headers: &parts.headers,
        body: &body,
        peer: outgoing.peer.ip(),
        scheme: outgoing.scheme,
        request_id: outgoing.request_id.to_str().unwrap_or_default(),
    };
    Ok(api.respond(&caller, request).await.map(AnswerBody::text))
}

async fn to_git(git: &GitHost, outgoing: Outgoing<'_>) -> Result<Response<AnswerBody>, Refusal> {
    let caller = Caller { user: outgoing.user, peer: outgoing.peer, push: outgoing.writes };
    let served =
        Box::pin(git.serve(outgoing.parts, outgoing.upload, &caller)).await.map_err(|error| match error {
            ServeError::Overloaded => Refusal::Overloaded,
            ServeError::Upstream(error) => error.into(),
        })?;
    Ok(served.map(|body| AnswerBody::git(body, outgoing.validity)))
}
