//! The bodies that the gateway sends: to the host what the client uploads, to the client what the host, git, or the
//! gateway itself answers.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use tokio::sync::OwnedSemaphorePermit;

use crate::domain::refusal::{FramingError, Limit, Refusal};
use crate::gateway::client::ClientBody;
use crate::gateway::exchange::HostBody;
use crate::gateway::http2::upload::StreamBody;
use crate::gateway::validity::Validity;
use crate::git_host::answer::CgiBody;
use crate::headers::forward::{trailers_to_client, trailers_to_upstream};
use crate::headers::identity::Identity;
use crate::record::body::CountedBody;

/// Why a body broke off.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// What a client uploads. Breaks off when its permit no longer stands.
#[derive(Debug)]
pub struct Upload {
    inner: Inbound,
    progress: Arc<Progress>,
    validity: Arc<Validity>,
    identity: Arc<Identity>,
}

/// The body of a request as it comes off its connection.
#[derive(Debug)]
pub enum Received {
    /// Over HTTP/1.
    Http1(ClientBody),
    /// Over HTTP/2.
    Http2(StreamBody),
}

impl Body for Received {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Http1(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Self::Http2(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}

/// Where an upload comes from.
#[derive(Debug)]
pub enum Inbound {
    /// The client, as it sends.
    Streamed(CountedBody<Received>),
    /// What was collected and looked into.
    Collected(Full<Bytes>),
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Streamed(body) => Pin::new(body).poll_frame(context),
            Self::Collected(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Streamed(body) => body.is_end_stream(),
            Self::Collected(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Streamed(body) => body.size_hint(),
            Self::Collected(body) => body.size_hint(),
        }
    }
}

/// Why a body of a client that is still there broke off: `framing` reads a body no further that is malformed, or does
/// not come. `None` where the client left.
pub fn client_fault(error: &(dyn std::error::Error + 'static)) -> Option<Refusal> {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.find_map(|cause| {
        let cause = cause.downcast_ref::<io::Error>()?;
        if cause.kind() == io::ErrorKind::TimedOut {
            return Some(Limit::BodyTime.into());
        }
        let malformed = cause.get_ref()?.downcast_ref::<FramingError>()?;
        Some((*malformed).into())
    })
}

/// How far an upload has come.
#[derive(Debug, Default)]
pub struct Progress {
    bytes: AtomicU64,
    ended: AtomicBool,
    fault: OnceLock<Refusal>,
}

impl Progress {
    /// Bytes so far; changes as long as something moves.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether all of it has been passed on.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Why the client's side broke it off, where that is known.
    pub fn fault(&self) -> Option<&Refusal> {
        self.fault.get()
    }
}

impl Upload {
    /// Passes `inner` on for as long as `validity` stands, to a host that is told by `identity` who calls.
    pub fn new(inner: Inbound, validity: Arc<Validity>, identity: Arc<Identity>) -> Self {
        let progress = Arc::new(Progress::default());
        if inner.is_end_stream() {
            progress.ended.store(true, Ordering::Relaxed);
        }
        Self { inner, progress, validity, identity }
    }

    /// How far it has come.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        if !self.validity.stands() {
            return Poll::Ready(Some(Err(withdrawn())));
        }
        match &mut frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    trailers_to_upstream(trailers, &self.identity);
                }
                let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                self.progress.bytes.fetch_add(bytes.max(1), Ordering::Relaxed);
                if self.is_end_stream() {
                    self.progress.ended.store(true, Ordering::Relaxed);
                }
            }
            Some(Err(error)) => {
                if let Some(fault) = client_fault(&**error) {
                    self.progress.fault.get_or_init(|| fault);
                }
            }
            None => self.progress.ended.store(true, Ordering::Relaxed),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// What a client is answered.
#[derive(Debug)]
pub struct AnswerBody {
    source: Source,
    /// Where the answer is somebody's data: the permit must go on standing.
    validity: Option<Arc<Validity>>,
    place: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
enum Source {
    Text(Full<Bytes>),
    Upstream(HostBody),
    Git(CgiBody),
}

impl AnswerBody {
    /// The gateway's own words.
    pub fn text(text: impl Into<Bytes>) -> Self {
        Self { source: Source::Text(Full::new(text.into())), validity: None, place: None }
    }

    /// What a host answers.
    pub fn upstream(body: HostBody, validity: Arc<Validity>) -> Self {
        Self { source: Source::Upstream(body), validity: Some(validity), place: None }
    }

    /// What git answers.
    pub fn git(body: CgiBody, validity: Arc<Validity>) -> Self {
        Self { source: Source::Git(body), validity: Some(validity), place: None }
    }

    /// Keeps `place` until the answer has ended.
    #[must_use]
    pub fn in_place(mut self, place: OwnedSemaphorePermit) -> Self {
        self.place = Some(place);
        self
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut frame = ready!(match &mut self.source {
            Source::Text(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            Source::Upstream(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Source::Git(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
        });
        if frame.is_some() && self.validity.as_ref().is_some_and(|validity| !validity.stands()) {
            return Poll::Ready(Some(Err(withdrawn())));
        }
        if let Some(Ok(frame)) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            trailers_to_client(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Text(body) => body.is_end_stream(),
            Source::Upstream(body) => body.is_end_stream(),
            Source::Git(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Text(body) => body.size_hint(),
            Source::Upstream(body) => body.size_hint(),
            Source::Git(body) => body.size_hint(),
        }
    }
}

fn withdrawn() -> BodyError {
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        "the token's permit was withdrawn while the request was under way",
    )
    .into()
}
