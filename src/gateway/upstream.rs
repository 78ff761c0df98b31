//! Hands a permitted request to its host. The one place that sends anything to a host.

use std::net::SocketAddr;
use std::sync::Arc;

use http::uri::Authority;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};

use crate::domain::refusal::{Refusal, UpstreamError};
use crate::gateway::body::{AnswerBody, Upload};
use crate::gateway::pool::Pool;
use crate::gateway::validity::Validity;
use crate::git_host::{Caller, GitHost, ServeError};
use crate::headers::forward::{Hop, to_upstream};
use crate::headers::identity::Identity;
use crate::policy::decide::Permit;

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
}

/// A permitted request on its way out.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// The request as it came, with the upload that is passed on.
    pub request: Request<Upload>,
    /// Whether the permit goes on standing.
    pub validity: Arc<Validity>,
    /// On whose behalf.
    pub user: &'a str,
    /// Whether it may change anything.
    pub writes: bool,
    /// The client's address.
    pub peer: SocketAddr,
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
        }
    }
}

async fn to_http(
    pool: &Arc<Pool>,
    host: Option<&HeaderValue>,
    outgoing: Outgoing<'_>,
) -> Result<Response<AnswerBody>, Refusal> {
    let Outgoing { request, validity, .. } = outgoing;
    let (mut parts, upload) = request.into_parts();
    let hop = Hop {
        peer: outgoing.peer.ip(),
        scheme: outgoing.scheme,
        client_host: outgoing.client_host,
        upstream_host: host.unwrap_or(outgoing.client_host),
        request_id: outgoing.request_id,
        user: outgoing.user,
        identity: outgoing.identity,
    };
    parts.headers = to_upstream(&parts.headers, &hop).map_err(|error| {
        tracing::error!(%error, user = outgoing.user, "not forwarded");
        UpstreamError::Failed
    })?;
    // HTTP/2 has the client's authority in the URI; the host is asked in origin form, for what was judged.
    parts.uri = Uri::from(validity.target().as_path_and_query().clone());
    parts.version = http::Version::HTTP_11;
    parts.extensions.clear();
    let mut response = pool.send(Request::from_parts(parts, upload)).await?;
    // An intermediary speaks its own version (RFC 9110 section 6.2). hyper would repeat that of an HTTP/1.0 host, and
    // end the body by closing, so that the client could not tell a cut one from a whole one.
    *response.version_mut() = http::Version::HTTP_11;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(UpstreamError::Failed.into());
    }
    Ok(response.map(|body| AnswerBody::upstream(body, validity)))
}

async fn to_git(git: &GitHost, outgoing: Outgoing<'_>) -> Result<Response<AnswerBody>, Refusal> {
    let caller = Caller { user: outgoing.user, peer: outgoing.peer, push: outgoing.writes };
    let served = git.serve(outgoing.request, &caller).await.map_err(|error| match error {
        ServeError::Overloaded => Refusal::Overloaded,
        ServeError::Upstream(error) => error.into(),
    })?;
    Ok(served.map(|body| AnswerBody::git(body, outgoing.validity)))
}

/// The host name that a client asks for: `Host`, or `:authority` in HTTP/2. `None` where there is none, or where the
/// two differ.
pub fn client_host(uri: &Uri, headers: &http::HeaderMap) -> Option<HeaderValue> {
    let mut fields = headers.get_all(header::HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return None;
    }
    match (uri.authority().map(Authority::as_str), field) {
        (None, field) => field.cloned(),
        (Some(authority), None) => HeaderValue::try_from(authority).ok(),
        (Some(authority), Some(field)) => {
            field.as_bytes().eq_ignore_ascii_case(authority.as_bytes()).then(|| field.clone())
        }
    }
}
