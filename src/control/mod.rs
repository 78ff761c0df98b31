//! The control listener: metrics and health, apart from the data plane so that it answers when the data plane is full.
//!
//! It gives out nothing of a request; who may reach it is up to its address. Where there is a store, the API is served here
//! too. Everything about it is bounded: connections, header time, bodies, and the life of a connection.

mod hooks;
pub mod process;
pub mod readiness;
mod store;

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use crate::api::{Api, ApiRequest, BODY_LIMIT};
use crate::control::readiness::Readiness;
use crate::domain::target::CanonicalTarget;
use crate::hooks::tally::Tally;
use crate::record::Recorder;
use crate::record::request_id::RequestIds;
use crate::store::Health;
use crate::tasks;

/// Some scrapers, some probes and a person; more than these wait in the kernel's queue.
const MAX_CONNECTIONS: u32 = 64;

/// Scrapers and probes send their few headers at once.
const HEADER_TIME: Duration = Duration::from_secs(5);

/// From accepting a connection to its last byte: one request, answered out of memory. As long as Prometheus' default
/// scrape timeout.
const CONNECTION_TIME: Duration = Duration::from_secs(10);

/// How long answers under way may take at shutdown.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// The pause after a failed accept, which mostly means that no file descriptor is left: trying again at once would
/// only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const ROUTES: &str = "/metrics\n/livez\n/readyz\n";
const PLAIN_TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const METRICS_TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// What the control listener tells of.
#[derive(Debug)]
pub struct ControlState {
    /// Where the metrics are.
    pub recorder: Arc<Recorder>,
    /// Whether requests may come.
    pub readiness: Readiness,
    /// The API, where there is a store.
    pub api: Option<Arc<Api>>,
    /// What is counted of webhooks, where there is a store.
    pub hooks: Option<Arc<Tally>>,
    /// Ids of calls.
    pub request_ids: RequestIds,
}

impl ControlState {
    /// How the store is, where there is one.
    fn health(&self) -> Option<Health> {
        self.api.as_ref().map(|api| api.issuer.store.health())
    }
}

/// Serves `listener` until `shutdown`, then lets the answers under way go out.
///
/// # Cancel safety
/// When dropped it accepts no more; connections under way end by themselves, at the latest when their time is up.
pub async fn serve(listener: TcpListener, state: Arc<ControlState>, shutdown: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS as usize));
    tokio::select! {
        () = accept_all(&listener, &state, &places) => {}
        () = shutdown => {}
    }
    drop(listener);
    if timeout(DRAIN_TIME, places.acquire_many(MAX_CONNECTIONS)).await.is_err() {
        tracing::warn!("the control listener ended with connections still open");
    }
}

async fn accept_all(listener: &TcpListener, state: &Arc<ControlState>, places: &Arc<Semaphore>) {
    // The semaphore is never closed, so the loop has no other end than being dropped.
    while let Ok(place) = Arc::clone(places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let serving = serve_connection(stream, peer, Arc::clone(state), place);
                drop(tasks::spawn("control connection", serving));
            }
            Err(error) => pause_after(&error).await,
        }
    }
}

async fn pause_after(error: &io::Error) {
    tracing::warn!(%error, "the control listener could not accept a connection");
    sleep(ACCEPT_PAUSE).await;
}

async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    state: Arc<ControlState>,
    _place: OwnedSemaphorePermit,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(respond(request, peer, &state).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        // One request a connection, so that an idle client holds no place.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_TIME, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a control connection failed"),
        Err(_) => tracing::debug!("a control connection took too long"),
    }
}

/// What the listener has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    Index,
    Metrics,
    Live,
    Ready,
}

impl Page {
    fn of(target: &CanonicalTarget) -> Option<Self> {
        match target.path() {
            "/" => Some(Self::Index),
            "/metrics" => Some(Self::Metrics),
            "/livez" => Some(Self::Live),
            "/readyz" => Some(Self::Ready),
            _ => None,
        }
    }
}

async fn respond<B>(request: Request<B>, peer: SocketAddr, state: &ControlState) -> Response<Full<Bytes>>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let target = CanonicalTarget::parse(&request.uri().to_string());
    match (target.as_ref().ok().and_then(Page::of), target, &state.api) {
        (Some(page), _, _) => show(page, request.method(), state),
        (None, Ok(target), Some(api)) => call(api, request, &target, (peer, state)).await,
        (None, Err(fault), Some(api)) => {
            api.misread(fault, state.request_ids.next().as_str()).map(Full::from)
        }
        (None, _, None) => text(StatusCode::NOT_FOUND, format!("not found; there are\n{ROUTES}")),
    }
}

/// Hands a request to the API, with its body whole.
async fn call<B>(
    api: &Api,
    request: Request<B>,
    target: &CanonicalTarget,
    (peer, state): (SocketAddr, &ControlState),
) -> Response<Full<Bytes>>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (parts, body) = request.into_parts();
    let body = match Limited::new(body, BODY_LIMIT + 1).collect().await {
        Ok(body) => body.to_bytes(),
        // One byte more than is read, which the API says.
        Err(error) if error.is::<LengthLimitError>() => Bytes::from(vec![b' '; BODY_LIMIT + 1]),
        Err(error) => {
            tracing::debug!(%error, "the body of a call broke off");
            return text(StatusCode::BAD_REQUEST, "the body broke off\n".to_owned());
        }
    };
    let id = state.request_ids.next();
    let request = ApiRequest {
        method: &parts.method,
        target,
        headers: &parts.headers,
        body: &body,
        peer: peer.ip(),
        scheme: "http",
        request_id: id.as_str(),
    };
    api.serve(request).await.map(Full::from)
}

fn show(page: Page, method: &Method, state: &ControlState) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let message = "method not allowed; use GET or HEAD\n".to_owned();
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, message);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match page {
        Page::Index => text(StatusCode::OK, ROUTES.to_owned()),
        Page::Live => text(StatusCode::OK, "ok\n".to_owned()),
        Page::Ready => match state.readiness.failed_checks().as_slice() {
            [] => {
                let complaints = state.health().map(store::complaints).unwrap_or_default();
                text(StatusCode::OK, format!("ok\n{complaints}"))
            }
            failed => text(StatusCode::SERVICE_UNAVAILABLE, failed.concat()),
        },
        Page::Metrics => {
            let mut response = text(StatusCode::OK, {
                let store = state.health().map(store::render).unwrap_or_default();
                let hooks = state.hooks.as_deref().map(hooks::render).unwrap_or_default();
                state.recorder.metrics.render() + &process::render() + &store + &hooks
            });
            response.headers_mut().insert(CONTENT_TYPE, METRICS_TEXT);
            response
        }
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, PLAIN_TEXT);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
