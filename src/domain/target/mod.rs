//! The canonical request target: the one form in which a path is judged and forwarded.
//!
//! First stage of the flow. A target that two servers could read differently is refused, never
//! repaired, so the bytes that were judged are the bytes that are forwarded (RFC 3986 section 6,
//! RFC 9112 section 3.2.1).

use std::borrow::Cow;

use http::uri::PathAndQuery;
use thiserror::Error;

/// Why a request target was refused: it has, or may have, more than one reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TargetError {
    /// Not `/path?query`: absolute form, authority form, `*` or nothing.
    #[error("the request target must start with `/`; send it in origin form")]
    NotOriginForm,
    /// A byte that may not stand in a target unescaped: white space, control, non-ASCII, `\`, `"`, `<`, `>`.
    #[error("the request target holds a character that must be percent-encoded")]
    InvalidCharacter,
    /// A `#` in the target: some servers cut there, others do not.
    #[error("the request target holds a `#`")]
    Fragment,
    /// `%` without two hexadecimal digits behind it.
    #[error("the request target holds a `%` without two hexadecimal digits")]
    BadEscape,
    /// An encoded backslash, NUL or other control character.
    #[error("the request target encodes a backslash or a control character")]
    EncodedControl,
    /// `.` or `..` as a segment, plain or in any encoding.
    #[error("the request target holds a `.` or `..` segment")]
    DotSegment,
    /// `//`: some servers merge, others do not.
    #[error("the request target holds an empty segment")]
    EmptySegment,
    /// `;`, plain or encoded, in the path: some servers cut a segment there.
    #[error("the request path holds a `;`")]
    PathParameter,
    /// Escapes that are not UTF-8; an overlong form of `.` or `/` is none.
    #[error("the request path encodes bytes that are not UTF-8")]
    NotUtf8,
    /// An escape that decodes to an escape.
    #[error("the request path is encoded twice")]
    DoubleEncoding,
    /// An escape, or a character that names never hold, where an owner or a repository stands.
    #[error("owner and repository names hold only letters, digits, `.`, `_` and `-`, unescaped")]
    ResourceName,
    /// An encoded `/`, `?`, `#` or `%` in a segment whose route does not expect one.
    #[error("the request path encodes a delimiter where this route does not allow it")]
    EncodedDelimiter,
    /// A query field that decides the requirement stands more than once, or in a second spelling.
    #[error(
        "a query field that decides what is needed stands more than once, or in a spelling that hosts may fold"
    )]
    RepeatedField,
    /// A field of the query or the form that frameworks take for the method.
    #[error("the query or the form holds `_method`; the method stands in the request line and nowhere else")]
    MethodOverride,
    /// A form that could hold such a field, unseen.
    #[error(
        "the body could hold `_method` for all that can be seen; send one Content-Type, and a form in UTF-8, with whole escapes and without Content-Encoding"
    )]
    Form,
}

/// A request target with exactly one reading.
///
/// Made only by [`CanonicalTarget::parse`] and [`CanonicalTarget::from_path_and_query`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanonicalTarget(PathAndQuery);

impl CanonicalTarget {
    /// Reads a target in origin form from text.
    ///
    /// # Errors
    /// [`TargetError`], when the text has more than one reading.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        check(text)?;
        PathAndQuery::try_from(text).map(Self).map_err(|_| TargetError::InvalidCharacter)
    }

    /// Reads a target that an HTTP parser has already taken apart, without copying it.
    ///
    /// # Errors
    /// [`TargetError`], when it has more than one reading.
    pub fn from_path_and_query(target: &PathAndQuery) -> Result<Self, TargetError> {
        check(target.as_str())?;
        Ok(Self(target.clone()))
    }

    /// The target as it came and as it is forwarded.
    pub fn as_path_and_query(&self) -> &PathAndQuery {
        &self.0
    }

    /// The target as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The path, starting with `/`.
    pub fn path(&self) -> &str {
        self.0.path()
    }

    /// The segments of the path, without the leading slash. The root has none; a trailing slash gives a last,
    /// empty segment.
    pub fn segments(&self) -> Segments<'_> {
        Segments::of(self.path())
    }

    /// The raw query, without `?`.
    pub fn query(&self) -> Option<&str> {
        self.0.query()
    }

    /// The query's fields, decoded once, in order. Empty pieces are skipped.
    pub fn query_fields(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        self.query().unwrap_or_default().split('&').filter(|piece| !piece.is_empty()).map(|piece| {
            let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
            (decode_form(name), decode_form(value))
        })
    }
}

/// The segments of a path, left to right. Cheap to clone; it borrows the path.
#[derive(Debug, Clone)]
pub struct Segments<'a> {
    rest: Option<&'a str>,
}

impl<'a> Segments<'a> {
    /// The segments of `path`, which starts with `/`.
    pub fn of(path: &'a str) -> Self {
        let rest = path.strip_prefix('/').filter(|rest| !rest.is_empty());
        Self { rest }
    }

    /// What has not been taken yet, without a leading slash; `None` at the end of the path.
    pub fn rest(&self) -> Option<&'a str> {
        self.rest
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest?;
        let (segment, tail) = cut(rest, b'/');
        self.rest = tail;
        Some(segment)
    }
}

/// What stands before the first `delimiter`, which is ASCII, and what behind it. The pieces of a target are short: to
/// look byte by byte costs less than to set up a search.
pub fn cut(text: &str, delimiter: u8) -> (&str, Option<&str>) {
    let parts = text.bytes().position(|byte| byte == delimiter).and_then(|at| text.split_at_checked(at));
    parts.map_or((text, None), |(before, after)| (before, after.get(1..)))
}

/// Whether `segment` encodes a delimiter (`/`, `?`, `#`, `%`), which only opted-in parameters may hold.
pub fn encodes_delimiter(segment: &str) -> bool {
    let mut bytes = segment.as_bytes();
    while let Some(at) = memchr::memchr(b'%', bytes) {
        bytes = bytes.get(at..).unwrap_or_default();
        if matches!(escape(bytes), Some(b'/' | b'?' | b'#' | b'%')) {
            return true;
        }
        bytes = bytes.get(3..).unwrap_or_default();
    }
    false
}

/// `text` percent-decoded once. Borrows where there is nothing to decode; bytes that are not UTF-8 become U+FFFD.
pub fn decode_once(text: &str) -> Cow<'_, str> {
    if memchr::memchr(b'%', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(String::from_utf8_lossy(&decode_bytes(text.as_bytes())).into_owned())
}

fn decode_bytes(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text;
    while let Some(&byte) = bytes.first() {
        let (value, width) = match (byte, escape(bytes)) {
            (b'%', Some(value)) => (value, 3),
            _ => (byte, 1),
        };
        decoded.push(value);
        bytes = bytes.get(width..).unwrap_or_default();
    }
    decoded
}

/// A query name or value: `+` is a space, escapes are decoded once.
fn decode_form(text: &str) -> Cow<'_, str> {
    if memchr::memchr(b'+', text.as_bytes()).is_none() {
        return decode_once(text);
    }
    Cow::Owned(decode_once(&text.replace('+', " ")).into_owned())
}

/// The byte that an escape at the start of `bytes` stands for.
fn escape(bytes: &[u8]) -> Option<u8> {
    match bytes {
        [b'%', high, low, ..] => Some(hex(*high)? << 4 | hex(*low)?),
        _ => None,
    }
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Refuses every target with a second reading.
fn check(target: &str) -> Result<(), TargetError> {
    if !target.starts_with('/') {
        return Err(TargetError::NotOriginForm);
    }
    if memchr::memchr(b'#', target.as_bytes()).is_some() {
        return Err(TargetError::Fragment);
    }
    let (path, query) = cut(target, b'?');
    check_path(path.as_bytes())?;
    check_query(query.unwrap_or_default().as_bytes())
}

/// What has been seen of the segment that is being read.
#[derive(Default)]
struct Piece {
    dots: usize,
    others: bool,
}

impl Piece {
    fn take(&mut self, byte: u8) {
        if byte == b'.' {
            self.dots += 1;
        } else {
            self.others = true;
        }
    }

    /// Ends the segment at a slash, plain or encoded, or at the end of the path.
    fn end(&mut self, last: bool) -> Result<(), TargetError> {
        let Self { dots, others } = std::mem::take(self);
        match (dots, others) {
            (0, false) if !last => Err(TargetError::EmptySegment),
            (1 | 2, false) => Err(TargetError::DotSegment),
            _ => Ok(()),
        }
    }
}

fn check_path(path: &[u8]) -> Result<(), TargetError> {
    let mut piece = Piece::default();
    let mut rest = path.get(1..).unwrap_or_default();
    while let Some(&byte) = rest.first() {
        let mut width = 1;
        match byte {
            b'/' => piece.end(false)?,
            b';' => return Err(TargetError::PathParameter),
            b'%' => {
                width = 3;
                let value = escape(rest).ok_or(TargetError::BadEscape)?;
                let after = rest.get(3..).unwrap_or_default();
                check_path_escape(value, after)?;
                if value == b'/' {
                    piece.end(false)?;
                    if after.first().is_none_or(|next| *next == b'/') {
                        return Err(TargetError::EmptySegment);
                    }
                } else {
                    piece.take(value);
                }
            }
            byte if is_path_byte(byte) => piece.take(byte),
            _ => return Err(TargetError::InvalidCharacter),
        }
        rest = rest.get(width..).unwrap_or_default();
    }
    piece.end(true)?;
    check_utf8(path)
}

/// Some servers read an overlong form, which is no UTF-8, as the character that it would be.
fn check_utf8(path: &[u8]) -> Result<(), TargetError> {
    let beyond_ascii = memchr::memchr_iter(b'%', path)
        .any(|at| path.get(at + 1).is_some_and(|high| matches!(hex(*high), Some(8..))));
    if beyond_ascii && str::from_utf8(&decode_bytes(path)).is_err() {
        return Err(TargetError::NotUtf8);
    }
    Ok(())
}

/// `value` is what an escape in the path stands for, `after` what follows the escape.
fn check_path_escape(value: u8, after: &[u8]) -> Result<(), TargetError> {
    match value {
        b'\\' | 0..=0x1f | 0x7f => Err(TargetError::EncodedControl),
        b';' => Err(TargetError::PathParameter),
        b'%' => match encoded_twice(after) {
            Some(0..=0x1f | 0x7f | b'/' | b'\\' | b'.' | b';' | b'?' | b'#' | b'%') => {
                Err(TargetError::DoubleEncoding)
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// What an encoded `%` in front of `after` stands for once the path is decoded again; its digits may be encoded too.
fn encoded_twice(after: &[u8]) -> Option<u8> {
    let (high, after) = decoded_byte(after)?;
    let (low, _) = decoded_byte(after)?;
    Some(hex(high)? << 4 | hex(low)?)
}

/// The first byte of `bytes`, decoded once, and what follows it.
fn decoded_byte(bytes: &[u8]) -> Option<(u8, &[u8])> {
    match (escape(bytes), bytes) {
        (Some(value), [_, _, _, rest @ ..]) => Some((value, rest)),
        (_, [byte, rest @ ..]) => Some((*byte, rest)),
        (_, []) => None,
    }
}

/// `pchar` of RFC 3986 without `;` and `%`, and brackets, braces and `|`, which clients send as they are.
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@[]{}|".contains(&byte)
}

fn check_query(query: &[u8]) -> Result<(), TargetError> {
    let mut rest = query;
    while let Some(&byte) = rest.first() {
        let mut width = 1;
        match byte {
            b'%' => {
                width = 3;
                if escape(rest).ok_or(TargetError::BadEscape)? == 0 {
                    return Err(TargetError::EncodedControl);
                }
            }
            b'\\' | b'"' | b'<' | b'>' => return Err(TargetError::InvalidCharacter),
            0x21..=0x7e => {}
            _ => return Err(TargetError::InvalidCharacter),
        }
        rest = rest.get(width..).unwrap_or_default();
    }
    Ok(())
}

#[cfg(test)]
mod tests;
