//! What the fields of a head say of the message and its connection. The same for every version of HTTP.

use http::Version;
use memchr::memchr;

use crate::domain::refusal::FramingError;
use crate::framing::head::BodyFraming;

/// What the fields of one head say about its framing and its connection.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each says that one field stood there")]
pub(super) struct Fields {
    host: bool,
    pub(super) length: Option<u64>,
    chunked: bool,
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) expects_continue: bool,
    pub(super) takes_trailers: bool,
}

impl Fields {
    pub(super) fn take(&mut self, name: &[u8], value: &[u8]) -> Result<(), FramingError> {
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.take_host(value),
            14 if folds_to(name, b"content-length") => self.take_length(name, value),
            17 if folds_to(name, b"transfer-encoding") => self.take_encoding(name, value),
            2 if name.eq_ignore_ascii_case(b"te") => {
                self.takes_trailers |= has_word(value, b"trailers");
                Ok(())
            }
            6 if name.eq_ignore_ascii_case(b"expect") => {
                self.expects_continue |= has_word(value, b"100-continue");
                ascii(value)
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                self.close |= has_word(value, b"close");
                self.keep_alive |= has_word(value, b"keep-alive");
                ascii(value)
            }
            13 if name.eq_ignore_ascii_case(b"authorization") => ascii(value),
            _ => Ok(()),
        }
    }

    /// One name, without what could be read as a second one, as user information or as a path.
    fn take_host(&mut self, value: &[u8]) -> Result<(), FramingError> {
        let value = value.trim_ascii();
        let outside = |byte: &u8| !matches!(*byte, 0x21..=0x7e) || b",/@?#\\".contains(byte);
        if self.host || value.iter().any(outside) {
            return Err(FramingError::Host);
        }
        self.host = true;
        Ok(())
    }

    fn take_length(&mut self, name: &[u8], value: &[u8]) -> Result<(), FramingError> {
        let fault = FramingError::ContentLength;
        let digits = exact_value(name, value).ok_or(fault)?;
        if self.length.is_some() || !matches!(digits.len(), 1..=18) {
            return Err(fault);
        }
        let add =
            |number: u64, digit: &u8| digit.is_ascii_digit().then(|| number * 10 + u64::from(*digit - b'0'));
        self.length = Some(digits.iter().try_fold(0, add).ok_or(fault)?);
        Ok(())
    }

    fn take_encoding(&mut self, name: &[u8], value: &[u8]) -> Result<(), FramingError> {
        let fault = FramingError::TransferEncoding;
        let coding = exact_value(name, value).ok_or(fault)?;
        if self.chunked || !coding.eq_ignore_ascii_case(b"chunked") {
            return Err(fault);
        }
        self.chunked = true;
        Ok(())
    }

    pub(super) fn framing(&self, version: Version) -> Result<BodyFraming, FramingError> {
        if !self.host {
            return Err(FramingError::Host);
        }
        match (self.chunked, self.length) {
            (true, None) if version == Version::HTTP_11 => Ok(BodyFraming::Chunked),
            (true, _) => Err(FramingError::TransferEncoding),
            (false, None | Some(0)) => Ok(BodyFraming::Empty),
            (false, Some(length)) => Ok(BodyFraming::Length(length)),
        }
    }
}

/// The value of a field that frames the message: behind the colon at most one space, and nothing around the value.
///
/// RFC 9110 section 5.5 allows any white space there, but no client sends it, and servers that disagree about a tab
/// before `chunked` are how one request becomes two. `None` also for a name spelled with `_`: a server that folds
/// names, as CGI does, would read it as the real one.
fn exact_value<'a>(name: &[u8], value: &'a [u8]) -> Option<&'a [u8]> {
    if memchr(b'_', name).is_some() {
        return None;
    }
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

/// Whether a list of words holds `word`.
pub(in crate::framing) fn has_word(list: &[u8], word: &[u8]) -> bool {
    list.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(word))
}

fn ascii(value: &[u8]) -> Result<(), FramingError> {
    if value.is_ascii() { Ok(()) } else { Err(FramingError::FieldValue) }
}

/// Whether `name` is `lower`, without regard to case and to `_` for `-`.
pub(super) fn folds_to(name: &[u8], lower: &[u8]) -> bool {
    let same =
        |(name, lower): (&u8, &u8)| name.eq_ignore_ascii_case(lower) || (*name == b'_' && *lower == b'-');
    name.len() == lower.len() && name.iter().zip(lower).all(same)
}
