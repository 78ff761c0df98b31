//! The head of a host's answer (RFC 9112 sections 4 to 6).
//!
//! Pure. Hosts are many, and not ours: what is malformed without being ambiguous passes, as it does through any proxy.
//! What makes the end of the body uncertain does not.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use memchr::memchr_iter;

use crate::framing::head::fields::has_word;

/// The longest head of an answer.
const LONGEST: usize = 256 * 1024;

/// The most fields.
const MOST_FIELDS: usize = 128;

/// A head that cannot be understood, or whose body has no certain end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the host's answer is not HTTP/1.1")]
pub struct Malformed;

/// The head of an answer.
#[derive(Debug)]
pub struct AnswerHead {
    /// Its status.
    pub status: StatusCode,
    /// Its own words for the status, where they are not the usual ones.
    pub phrase: Option<Bytes>,
    /// Its fields.
    pub headers: HeaderMap,
    /// How its body ends.
    pub body: AnswerFraming,
    /// Whether the connection may serve another request.
    pub reusable: bool,
}

/// How the body of an answer is delimited (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerFraming {
    /// This many bytes; none where the request or the status allows no body.
    Length(u64),
    /// In chunks.
    Chunked,
    /// By the end of the connection.
    Close,
}

/// Takes the head that `buffer` begins with out of it; `None` as long as it is not whole. `searched` is where an
/// earlier call stopped, and 0 at first. Interim answers (1xx) are heads like others.
///
/// # Errors
/// [`Malformed`]; nothing may be read behind it.
pub fn take_head(
    buffer: &mut BytesMut,
    searched: &mut usize,
    to_head_request: bool,
) -> Result<Option<AnswerHead>, Malformed> {
    let Some(end) = head_end(buffer, *searched) else {
        *searched = buffer.len();
        return if buffer.len() > LONGEST { Err(Malformed) } else { Ok(None) };
    };
    *searched = 0;
    let head = buffer.split_to(end).freeze();
    parse(&head, to_head_request).map(Some)
}

/// The index behind the empty line. Some hosts end lines with a bare LF.
fn head_end(bytes: &[u8], searched: usize) -> Option<usize> {
    let from = searched.saturating_sub(2);
    let unsearched = bytes.get(from..)?;
    memchr_iter(b'\n', unsearched).find_map(|at| match unsearched.get(at + 1..)? {
        [b'\n', ..] => Some(from + at + 2),
        [b'\r', b'\n', ..] => Some(from + at + 3),
        _ => None,
    })
}

fn parse(head: &Bytes, to_head_request: bool) -> Result<AnswerHead, Malformed> {
    let mut fields = [const { std::mem::MaybeUninit::uninit() }; MOST_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let status = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut parsed, head, &mut fields)
        .map_err(|_| Malformed)?;
    // Two ends of one head would be two answers.
    if status != httparse::Status::Complete(head.len()) {
        return Err(Malformed);
    }
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Malformed)?;
    let phrase = parsed.reason.filter(|phrase| Some(*phrase) != status.canonical_reason());
    let mut headers = HeaderMap::with_capacity(parsed.headers.len() + 4);
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformed)?;
        let value = HeaderValue::from_maybe_shared(head.slice_ref(field.value)).map_err(|_| Malformed)?;
        headers.append(name, value);
    }
    let (body, certain) = framing(status, &headers, to_head_request)?;
    let persistent = match parsed.version {
        Some(1) => !names(&headers, b"close"),
        // Nobody knew of codings then (RFC 9112 section 6.1).
        _ => names(&headers, b"keep-alive") && !headers.contains_key(header::TRANSFER_ENCODING),
    };
    Ok(AnswerHead {
        status,
        phrase: phrase.filter(|phrase| !phrase.is_empty()).map(|phrase| head.slice_ref(phrase.as_bytes())),
        headers,
        body,
        reusable: persistent && certain,
    })
}

/// How the body ends, and whether nobody could think otherwise.
fn framing(
    status: StatusCode,
    headers: &HeaderMap,
    to_head_request: bool,
) -> Result<(AnswerFraming, bool), Malformed> {
    let length = length(headers)?;
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let coding = codings.next();
    if to_head_request || matches!(status, StatusCode::NOT_MODIFIED) {
        return Ok((AnswerFraming::Length(0), true));
    }
    // Here a body may not even be announced (RFC 9110 section 8.6), and what is announced may come.
    if status.is_informational() || status == StatusCode::NO_CONTENT {
        return Ok((AnswerFraming::Length(0), coding.is_none() && length.unwrap_or(0) == 0));
    }
    match (coding, length) {
        // Any other coding would have to be taken off, for the field that names it ends here.
        (Some(coding), _) if codings.next().is_none() && is_chunked(coding) => {
            Ok((AnswerFraming::Chunked, length.is_none()))
        }
        (Some(_), _) => Err(Malformed),
        (None, Some(length)) => Ok((AnswerFraming::Length(length), true)),
        (None, None) => Ok((AnswerFraming::Close, false)),
    }
}

fn is_chunked(coding: &HeaderValue) -> bool {
    coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked")
}

/// The one length that all fields agree about.
fn length(headers: &HeaderMap) -> Result<Option<u64>, Malformed> {
    let mut agreed = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        for number in value.as_bytes().split(|byte| *byte == b',') {
            let number = decimal(number.trim_ascii()).ok_or(Malformed)?;
            if agreed.is_some_and(|agreed| agreed != number) {
                return Err(Malformed);
            }
            agreed = Some(number);
        }
    }
    Ok(agreed)
}

/// A number of digits alone, at most 18.
fn decimal(digits: &[u8]) -> Option<u64> {
    let add =
        |number: u64, digit: &u8| digit.is_ascii_digit().then(|| number * 10 + u64::from(*digit - b'0'));
    matches!(digits.len(), 1..=18).then(|| digits.iter().try_fold(0, add)).flatten()
}

/// Whether `Connection` names `option`.
fn names(headers: &HeaderMap, option: &[u8]) -> bool {
    headers.get_all(header::CONNECTION).iter().any(|value| has_word(value.as_bytes(), option))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, to_head_request: bool) -> Result<Option<AnswerHead>, Malformed> {
        take_head(&mut BytesMut::from(text.as_bytes()), &mut 0, to_head_request)
    }

    fn body(text: &str) -> Result<(AnswerFraming, bool), Malformed> {
        read(text, false).map(|head| head.map(|head| (head.body, head.reusable)).unwrap())
    }

    #[test]
    fn how_a_body_ends() {
        use AnswerFraming::{Chunked, Close, Length};
        let ok = |fields: &str| body(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"));
        assert_eq!(ok("content-length: 5\r\n"), Ok((Length(5), true)));
        assert_eq!(ok("content-length: 5\r\nconnection: Close\r\n"), Ok((Length(5), false)));
        assert_eq!(ok("content-length: 5, 5\r\nContent-Length: 5\r\n"), Ok((Length(5), true)));
        assert_eq!(ok("Transfer-Encoding: Chunked\r\n"), Ok((Chunked, true)));
        assert_eq!(ok("transfer-encoding: chunked\r\ncontent-length: 5\r\n"), Ok((Chunked, false)));
        assert_eq!(ok(""), Ok((Close, false)));
        assert_eq!(body("HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\n"), Ok((Length(5), false)));
        assert_eq!(
            body("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\n"),
            Ok((Length(5), true))
        );
        assert_eq!(body("HTTP/1.1 204 No Content\r\n\r\n"), Ok((Length(0), true)));
        assert_eq!(body("HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n"), Ok((Length(0), true)));
        assert_eq!(body("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n"), Ok((Length(0), false)));
        let chunked = "transfer-encoding: chunked\r\n\r\n";
        assert_eq!(body(&format!("HTTP/1.1 204 No Content\r\n{chunked}")), Ok((Length(0), false)));
        let old = format!("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\n{chunked}");
        assert_eq!(body(&old), Ok((Chunked, false)));
        assert_eq!(body("HTTP/1.1 304 Not Modified\r\n\r\n"), Ok((Length(0), true)));
        let head = read("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", true).unwrap().unwrap();
        assert_eq!(head.body, Length(0));
    }

    #[test]
    fn an_uncertain_end_is_no_answer() {
        for fields in [
            "content-length: 5\r\ncontent-length: 6\r\n",
            "content-length: 5, 6\r\n",
            "content-length: +5\r\n",
            "content-length: \r\n",
            "content-length: 99999999999999999999\r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: identity\r\n",
            "a\r\n",
        ] {
            assert_eq!(body(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n")), Err(Malformed), "{fields:?}");
        }
        for head in ["HTTP/2 200 OK\r\n\r\n", "ICY 200 OK\r\n\r\n", "HTTP/1.1 99 OK\r\n\r\n", "\r\n\r\n"] {
            assert_eq!(read(head, false).err(), Some(Malformed), "{head:?}");
        }
    }

    #[test]
    fn a_head_comes_in_any_cut() {
        for text in ["HTTP/1.1 203 Fine\r\na: 1\r\n\r\nbody", "HTTP/1.1 203 Fine\na: 1\n\nbody"] {
            for cut in 0..text.len() - 4 {
                let mut buffer = BytesMut::from(text.get(..cut).unwrap());
                let mut searched = 0;
                assert!(take_head(&mut buffer, &mut searched, false).unwrap().is_none(), "{cut}");
                buffer.extend_from_slice(text.get(cut..).unwrap().as_bytes());
                let head = take_head(&mut buffer, &mut searched, false).unwrap().unwrap();
                assert_eq!((head.status.as_u16(), head.phrase.as_deref()), (203, Some(&b"Fine"[..])));
                assert_eq!(head.headers.get("a").unwrap(), "1");
                assert_eq!(&buffer[..], b"body");
            }
        }
        let endless = "a".repeat(LONGEST + 1);
        assert_eq!(read(&endless, false).err(), Some(Malformed));
    }
}
