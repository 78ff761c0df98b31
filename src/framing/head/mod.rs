//! The head of a request, checked to the letter (RFC 9112 sections 2 to 6; `http2` has that of HTTP/2).
//!
//! Pure. What passes here has one reading only, so the host and whatever stands before it cut the byte stream at the
//! same place. Where the RFC lets a recipient be lenient, this file is not.

pub(super) mod fields;
pub mod http2;

use std::sync::LazyLock;

use bytes::Bytes;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};
use memchr::{memchr, memchr_iter, memchr2, memmem, memrchr};
use thiserror::Error;

use crate::domain::refusal::{FramingError, Limit, Refusal};
use crate::domain::target::TargetError;
use crate::framing::head::fields::{Fields, folds_to};

/// What stands between a head and the body.
static HEAD_END: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(b"\r\n\r\n"));

/// Room for the method, the version and the white space of a request line, beside the target.
const REQUEST_LINE_ROOM: usize = 64;

/// The longest target and the longest field name that the types of `http` hold.
const LONGEST_TEXT: usize = 65_534;

/// How many fields most requests have, with room.
const USUAL_FIELDS: usize = 12;

/// How large a head may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the whole head, from the method to the empty line. Also bounds the trailers of a chunked body.
    pub header_bytes: usize,
    /// Header fields. Also bounds the trailers of a chunked body.
    pub header_count: usize,
    /// Bytes of the request target; 65534 at most.
    pub target_bytes: usize,
}

/// Why a head does not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HeadFault {
    /// Too large or too slow.
    #[error("{0}")]
    Limit(#[from] Limit),
    /// Two parsers could cut the message differently.
    #[error("{0}")]
    Framing(#[from] FramingError),
    /// The target has more than one reading.
    #[error("{0}")]
    Target(#[from] TargetError),
}

impl From<HeadFault> for Refusal {
    fn from(fault: HeadFault) -> Self {
        match fault {
            HeadFault::Limit(limit) => Self::Limit(limit),
            HeadFault::Framing(error) => Self::Framing(error),
            HeadFault::Target(error) => Self::Target(error),
        }
    }
}

/// How the body behind a head is delimited (RFC 9112 section 6.3, RFC 9113 section 8.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFraming {
    /// No body, or one of no bytes.
    Empty,
    /// This many bytes, more than none in HTTP/1.
    Length(u64),
    /// In chunks, or in frames of HTTP/2, without a length.
    Chunked,
}

/// Where the head that `bytes` begin with ends: the index behind its empty line, `None` as long as that has not come.
///
/// `searched` is how many of the bytes an earlier call has seen.
///
/// # Errors
/// What can be told before the end has come: over a limit, a bare LF, a first byte that begins no method.
pub fn head_end(bytes: &[u8], searched: usize, limits: &HeadLimits) -> Result<Option<usize>, HeadFault> {
    let window = bytes.get(..limits.header_bytes).unwrap_or(bytes);
    let from = searched.saturating_sub(3);
    let unsearched = window.get(from..).unwrap_or_default();
    if let Some(at) = HEAD_END.find(unsearched) {
        return Ok(Some(from + at + 4));
    }
    if !bytes.first().is_none_or(|first| is_token_byte(*first)) {
        return Err(FramingError::RequestLine.into());
    }
    let too_large = bytes.len() >= limits.header_bytes;
    let line_room = longest_target(limits) + REQUEST_LINE_ROOM;
    if (too_large || bytes.len() > line_room)
        && memchr(b'\n', bytes.get(..line_room).unwrap_or(bytes)).is_none()
    {
        return Err(Limit::TargetLength.into());
    }
    if too_large {
        return Err(Limit::HeaderBytes.into());
    }
    let bare = |at: usize| {
        at.checked_sub(1).and_then(|before| unsearched.get(before)).is_some_and(|before| *before != b'\r')
    };
    if memchr_iter(b'\n', unsearched).any(bare) {
        return Err(FramingError::LineEnd.into());
    }
    Ok(None)
}

/// A head that passes.
#[derive(Debug)]
pub struct RequestHead {
    /// Method, target, version and fields, as they came.
    pub parts: Parts,
    /// How the body is delimited.
    pub body: BodyFraming,
    /// Whether the client may send another request behind this one.
    pub persistent: bool,
    /// Whether the client waits to be told that it shall send the body.
    pub expects_continue: bool,
    /// Whether the client can do something with trailers.
    pub takes_trailers: bool,
}

impl Default for RequestHead {
    /// Stands for a head that was not read.
    fn default() -> Self {
        let (parts, ()) = Request::new(()).into_parts();
        Self {
            parts,
            body: BodyFraming::Empty,
            persistent: false,
            expects_continue: false,
            takes_trailers: false,
        }
    }
}

/// Reads a complete head, from the method to the empty line.
///
/// # Errors
/// The first fault in the order of the bytes; what concerns the head as a whole (no `Host`, a length beside
/// `Transfer-Encoding`) comes last.
pub fn read_head(head: &Bytes, limits: &HeadLimits) -> Result<Box<RequestHead>, HeadFault> {
    let (line, mut rest) = split_line(head).ok_or(FramingError::LineEnd)?;
    let line = read_request_line(line, limits)?;
    if head.len() > limits.header_bytes {
        return Err(Limit::HeaderBytes.into());
    }
    let mut fields = Fields::default();
    let mut headers = HeaderMap::with_capacity(USUAL_FIELDS);
    loop {
        let (field, after) = split_line(rest).ok_or(FramingError::LineEnd)?;
        if field.is_empty() {
            break;
        }
        rest = after;
        if headers.len() >= limits.header_count {
            return Err(Limit::HeaderCount.into());
        }
        let (name, value) = split_field(field)?;
        fields.take(name, value)?;
        let name = HeaderName::from_bytes(name).map_err(|_| FramingError::FieldName)?;
        let value = HeaderValue::from_maybe_shared(head.slice_ref(value.trim_ascii()))
            .map_err(|_| FramingError::FieldValue)?;
        headers.append(name, value);
    }
    let body = fields.framing(line.version)?;
    let mut read = Box::<RequestHead>::default();
    let parts = &mut read.parts;
    parts.method = Method::from_bytes(line.method).map_err(|_| FramingError::RequestLine)?;
    parts.uri = PathAndQuery::from_maybe_shared(head.slice_ref(line.target))
        .map(Uri::from)
        .map_err(|_| TargetError::InvalidCharacter)?;
    parts.version = line.version;
    parts.headers = headers;
    read.body = body;
    read.persistent = !fields.close && (line.version == Version::HTTP_11 || fields.keep_alive);
    read.expects_continue = fields.expects_continue && line.version == Version::HTTP_11;
    read.takes_trailers = fields.takes_trailers;
    Ok(read)
}

/// Checks one line of a trailer section, without its end.
///
/// # Errors
/// A malformed field, or a name that is forbidden here.
pub fn check_trailer(line: &[u8]) -> Result<(), FramingError> {
    let (name, _) = split_field(line)?;
    if may_trail(name) { Ok(()) } else { Err(FramingError::Chunk) }
}

/// Whether a field may come behind a body: not what frames, routes or authenticates a message (RFC 9110 section 6.5.1).
fn may_trail(name: &[u8]) -> bool {
    const FORBIDDEN: [&[u8]; 8] = [
        b"content-length",
        b"transfer-encoding",
        b"host",
        b"authorization",
        b"connection",
        b"trailer",
        b"expect",
        b"upgrade",
    ];
    !FORBIDDEN.iter().any(|forbidden| folds_to(name, forbidden))
}

/// A request line.
#[derive(Debug, Clone, Copy)]
struct RequestLine<'a> {
    method: &'a [u8],
    target: &'a [u8],
    version: Version,
}

/// The first line and what stands behind its CR LF. `None` where a line ends in a bare LF or not at all.
fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr(b'\n', bytes)?;
    let (line, rest) = bytes.split_at_checked(end)?;
    Some((line.strip_suffix(b"\r")?, rest.get(1..)?))
}

fn read_request_line<'a>(line: &'a [u8], limits: &HeadLimits) -> Result<RequestLine<'a>, HeadFault> {
    if memchr2(b'\r', 0, line).is_some() {
        return Err(FramingError::LineEnd.into());
    }
    let malformed = FramingError::RequestLine;
    let (method, rest) = split_at_byte(line, memchr(b' ', line)).ok_or(malformed)?;
    let (target, version) = split_at_byte(rest, memrchr(b' ', rest)).ok_or(malformed)?;
    let version = match version {
        b"HTTP/1.1" => Version::HTTP_11,
        b"HTTP/1.0" => Version::HTTP_10,
        _ => return Err(malformed.into()),
    };
    if !is_token(method) || target.is_empty() || memchr(b' ', target).is_some() {
        return Err(malformed.into());
    }
    if target.len() > longest_target(limits) {
        return Err(Limit::TargetLength.into());
    }
    check_target(method, target)?;
    Ok(RequestLine { method, target, version })
}

/// Keeps out what the types of `http` would cut or do not hold. What the target means is judged by
/// [`CanonicalTarget`](crate::domain::target::CanonicalTarget).
fn check_target(method: &[u8], target: &[u8]) -> Result<(), TargetError> {
    // CONNECT has no origin form (RFC 9112 section 3.2.3), and its answer leaves HTTP.
    if !target.starts_with(b"/") || method == b"CONNECT" {
        return Err(TargetError::NotOriginForm);
    }
    if memchr(b'#', target).is_some() {
        return Err(TargetError::Fragment);
    }
    let outside = |byte: &u8| !matches!(*byte, 0x21..=0x7e) || matches!(*byte, b'"' | b'<' | b'>' | b'\\');
    let (path, _) = target.split_at(memchr(b'?', target).unwrap_or(target.len()));
    if target.iter().any(outside) || memchr(b'`', path).is_some() {
        return Err(TargetError::InvalidCharacter);
    }
    Ok(())
}

fn longest_target(limits: &HeadLimits) -> usize {
    limits.target_bytes.min(LONGEST_TEXT)
}

/// What stands before and behind the byte at `at`.
fn split_at_byte(bytes: &[u8], at: Option<usize>) -> Option<(&[u8], &[u8])> {
    let (before, rest) = bytes.split_at_checked(at?)?;
    Some((before, rest.get(1..)?))
}

/// A field line's name and its value with the white space around it (RFC 9112 section 5).
pub(super) fn split_field(line: &[u8]) -> Result<(&[u8], &[u8]), FramingError> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(FramingError::Folding);
    }
    let (name, value) = split_at_byte(line, memchr(b':', line)).ok_or(FramingError::FieldName)?;
    if !is_token(name) || name.len() > LONGEST_TEXT {
        return Err(FramingError::FieldName);
    }
    // No early exit, so that the compiler can look at many bytes at once.
    let control = |found, byte: &u8| found | matches!(*byte, 0..=0x08 | 0x0a..=0x1f | 0x7f);
    if value.iter().fold(false, control) {
        let broken_line = memchr2(b'\r', 0, value).is_some();
        return Err(if broken_line { FramingError::LineEnd } else { FramingError::FieldValue });
    }
    Ok((name, value))
}

fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| is_token_byte(*byte))
}

/// `tchar` of RFC 9110 section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    matches!(
        byte,
        b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'0'..=b'9' | b'A'..=b'Z' | b'^'..=b'z' | b'|' | b'~'
    )
}

#[cfg(test)]
mod tests;
