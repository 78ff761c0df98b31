//! What git answers: the head that a CGI program writes (RFC 3875 section 6), and the body behind it, streamed.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::process::ChildStdout;
use tokio::sync::oneshot;

/// The longest head that is taken. Git's are under 1 KiB.
const HEAD_LIMIT: usize = 16 * 1024;

/// How much room a read finds: what a pipe holds on Linux.
const READ_SIZE: usize = 64 * 1024;

/// Below this much room, a new buffer is made: small packets do not cost 64 KiB each.
const READ_LEAST: usize = 16 * 1024;

/// Why the head of an answer cannot be used.
#[derive(Debug, Error)]
pub(super) enum HeadError {
    #[error("git ended before the end of its answer's head")]
    Cut,
    #[error("the head of git's answer is longer than {HEAD_LIMIT} bytes")]
    TooLong,
    #[error("the head of git's answer is malformed")]
    Malformed,
    #[error("git's answer cannot be read: {0}")]
    Read(#[from] io::Error),
}

/// Git's standard output, and the tie to the task that watches over git: when it is dropped, git is stopped.
#[derive(Debug)]
pub(super) struct Answer {
    stdout: Option<ChildStdout>,
    buffer: BytesMut,
    /// Told when git has ended by itself; closed without a word when it was stopped.
    ended: oneshot::Receiver<()>,
}

impl Answer {
    pub(super) fn new(stdout: ChildStdout, ended: oneshot::Receiver<()>) -> Self {
        Self { stdout: Some(stdout), buffer: BytesMut::new(), ended }
    }

    /// Reads the head; what came behind it stays in the buffer.
    ///
    /// # Errors
    /// [`HeadError`], when there is no proper one.
    pub(super) async fn head(&mut self) -> Result<Response<()>, HeadError> {
        loop {
            let end = head_end(&self.buffer);
            if end.unwrap_or(self.buffer.len()) > HEAD_LIMIT {
                return Err(HeadError::TooLong);
            }
            if let Some(end) = end {
                return parse(&self.buffer.split_to(end)).ok_or(HeadError::Malformed);
            }
            let stdout = self.stdout.as_mut().ok_or(HeadError::Cut)?;
            self.buffer.reserve(READ_SIZE);
            if stdout.read_buf(&mut self.buffer).await? == 0 {
                return Err(HeadError::Cut);
            }
        }
    }

    /// The next piece of the body, or nothing at its end.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        if self.buffer.is_empty()
            && let Some(stdout) = &mut self.stdout
        {
            if self.buffer.capacity() < READ_LEAST {
                self.buffer.reserve(READ_SIZE);
            }
            if ready!(pin!(stdout.read_buf(&mut self.buffer)).poll(context))? == 0 {
                self.stdout = None;
            }
        }
        if !self.buffer.is_empty() {
            return Poll::Ready(Ok(Some(self.buffer.split().freeze())));
        }
        ready!(Pin::new(&mut self.ended).poll(context)).map_err(|_| {
            io::Error::new(io::ErrorKind::UnexpectedEof, "git was stopped before its answer ended")
        })?;
        Poll::Ready(Ok(None))
    }
}

/// The body of an answer of the embedded git host. Dropping it before its end stops git.
#[derive(Debug)]
pub struct CgiBody(State);

#[derive(Debug)]
enum State {
    Text(&'static str),
    Streaming(Answer),
    Ended,
}

impl CgiBody {
    pub(super) fn text(text: &'static str) -> Self {
        Self(State::Text(text))
    }

    pub(super) fn streaming(answer: Answer) -> Self {
        Self(State::Streaming(answer))
    }
}

impl Body for CgiBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let state = &mut self.get_mut().0;
        let next = match state {
            State::Ended => Ok(None),
            State::Text(text) => {
                let text = Bytes::from_static(text.as_bytes());
                *state = State::Ended;
                Ok(Some(text))
            }
            State::Streaming(answer) => {
                let next = ready!(answer.poll_next(context));
                if !matches!(next, Ok(Some(_))) {
                    *state = State::Ended;
                }
                next
            }
        };
        Poll::Ready(next.map(|data| data.map(Frame::data)).transpose())
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, State::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            State::Text(text) => SizeHint::with_exact(u64::try_from(text.len()).unwrap_or(u64::MAX)),
            State::Streaming(_) => SizeHint::default(),
            State::Ended => SizeHint::with_exact(0),
        }
    }
}

/// Where the head ends, its empty line included.
fn head_end(bytes: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'\n', bytes).find_map(|at| match bytes.get(at + 1..)? {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

/// The head as HTTP has it: the status out of `Status`, 200 without one, and the fields but for those that are about
/// the connection.
fn parse(head: &[u8]) -> Option<Response<()>> {
    let mut status = StatusCode::OK;
    let mut headers = HeaderMap::new();
    for line in head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end) {
        if line.is_empty() {
            continue;
        }
        let (name, value) = line.split_at_checked(memchr::memchr(b':', line)?)?;
        let value = value.get(1..)?.trim_ascii();
        if name.eq_ignore_ascii_case(b"Status") {
            status = StatusCode::from_bytes(value.get(..3)?).ok()?;
        } else {
            headers.append(HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?);
        }
    }
    if headers.is_empty() || status.as_u16() < 200 {
        return None;
    }
    for name in [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(head: &str, want: Option<(u16, &[(&str, &str)])>) {
        let parsed = head_end(head.as_bytes()).and_then(|end| parse(&head.as_bytes()[..end]));
        let found = parsed.as_ref().map(|response| {
            let fields = response.headers().iter();
            let fields: Vec<_> =
                fields.map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
            (response.status().as_u16(), fields)
        });
        assert_eq!(found, want.map(|(status, fields)| (status, fields.to_vec())), "{head:?}");
    }

    #[test]
    fn a_head_is_read_as_cgi_has_it() {
        let html = ("content-type", "text/html");
        check("Content-Type: text/html\r\n\r\nbody", Some((200, &[html])));
        check("Status: 404 Not Found\nContent-Type:text/html\n\n", Some((404, &[html])));
        check(
            "status: 403\r\nExpires: x\r\nPragma: no-cache\r\n\r\n",
            Some((403, &[("expires", "x"), ("pragma", "no-cache")])),
        );
        check("Transfer-Encoding: chunked\r\nContent-Type: text/html\r\n\r\n", Some((200, &[html])));
        check("Content-Type: text/html\r\n", None);
        check("Status: 200\r\n\r\n", None);
        check("Status: 100 Continue\r\nContent-Type: text/html\r\n\r\n", None);
        check("Status: 2\r\nContent-Type: text/html\r\n\r\n", None);
        check("no colon\r\n\r\n", None);
        check("bad name: x\r\n\r\n", None);
        check("X: a\0b\r\n\r\n", None);
    }
}
