//! Heads of requests, good and bad.

use super::{LIMITS, POST, block, feed, frame, session};
use crate::domain::refusal::{FramingError, Limit};
use crate::domain::target::TargetError;
use crate::framing::frames::{END_HEADERS, END_STREAM, Kind};
use crate::framing::head::{BodyFraming, HeadFault};

/// The head that these fields are, or its fault.
#[track_caller]
fn check_head(fields: &[(&str, &str)], flags: u8, want: Result<BodyFraming, HeadFault>) {
    let bytes = frame(Kind::Headers, END_HEADERS | flags, 1, block(fields));
    let opened = feed(&mut session(), &bytes).unwrap().pop().unwrap();
    assert_eq!(opened.head.map(|head| head.body), want, "{fields:?}");
}

#[test]
fn heads_are_judged_as_those_of_http1() {
    use FramingError::{
        ConnectionField, ContentLength, FieldName, FieldValue, Host, PseudoField, RequestLine,
    };
    let plus = |fields: &[(&'static str, &'static str)]| [&POST, fields].concat();
    check_head(&POST, 0, Ok(BodyFraming::Chunked));
    check_head(&POST, END_STREAM, Ok(BodyFraming::Empty));
    check_head(&plus(&[("content-length", "5")]), 0, Ok(BodyFraming::Length(5)));
    check_head(&plus(&[("content-length", "0")]), END_STREAM, Ok(BodyFraming::Empty));
    check_head(&plus(&[("te", "trailers"), ("host", "A")]), END_STREAM, Ok(BodyFraming::Empty));
    check_head(&[POST[0], POST[1], POST[3], ("host", "a")], END_STREAM, Ok(BodyFraming::Empty));
    for (fields, want) in [
        (plus(&[("content-length", "5")]), ContentLength),
        (plus(&[("content-length", "0"), ("content-length", "0")]), ContentLength),
        (plus(&[("content-length", "+0")]), ContentLength),
        (plus(&[("content_length", "0")]), ContentLength),
        (plus(&[(":method", "GET")]), PseudoField),
        (plus(&[(":path", "/")]), PseudoField),
        (plus(&[(":scheme", "https")]), PseudoField),
        (plus(&[(":protocol", "websocket")]), PseudoField),
        (plus(&[(":status", "200")]), PseudoField),
        (plus(&[(":authority", "a")]), Host),
        (plus(&[("x", "1"), (":foo", "1")]), PseudoField),
        (vec![POST[0], POST[1], ("x", "1"), POST[2], POST[3]], PseudoField),
        (vec![POST[1], POST[2], POST[3]], PseudoField),
        (vec![POST[0], POST[2], POST[3]], PseudoField),
        (vec![POST[0], POST[1], POST[2]], PseudoField),
        (vec![POST[0], (":scheme", "ftp"), POST[2], POST[3]], PseudoField),
        (vec![POST[0], POST[1], POST[3]], Host),
        (vec![POST[0], POST[1], (":authority", "a,b"), POST[3]], Host),
        (vec![POST[0], POST[1], (":authority", "x@a"), POST[3]], Host),
        (vec![POST[0], POST[1], (":authority", " a"), POST[3]], Host),
        (plus(&[("host", "b")]), Host),
        (plus(&[("host", "a"), ("host", "a")]), Host),
        (plus(&[("host", "a"), ("host", "b")]), Host),
        (vec![(":method", "G T"), POST[1], POST[2], POST[3]], RequestLine),
        (vec![(":method", ""), POST[1], POST[2], POST[3]], RequestLine),
        (plus(&[("X-Upper", "1")]), FieldName),
        (plus(&[("", "1")]), FieldName),
        (plus(&[("a b", "1")]), FieldName),
        (plus(&[("x", "a\r\nb: c")]), FieldValue),
        (plus(&[("x", "a\0")]), FieldValue),
        (plus(&[("x", " a")]), FieldValue),
        (plus(&[("authorization", "B\u{e4}")]), FieldValue),
        (plus(&[("connection", "close")]), ConnectionField),
        (plus(&[("keep-alive", "5")]), ConnectionField),
        (plus(&[("proxy-connection", "close")]), ConnectionField),
        (plus(&[("transfer-encoding", "chunked")]), ConnectionField),
        (plus(&[("upgrade", "h2c")]), ConnectionField),
        (plus(&[("http2-settings", "x")]), ConnectionField),
        (plus(&[("te", "gzip")]), ConnectionField),
        (plus(&[("transfer_encoding", "chunked")]), FramingError::TransferEncoding),
    ] {
        check_head(&fields, END_STREAM, Err(want.into()));
    }
}

#[test]
fn targets_and_sizes_are_judged_as_those_of_http1() {
    for (target, want) in [
        ("", TargetError::NotOriginForm),
        ("*", TargetError::NotOriginForm),
        ("http://a/", TargetError::NotOriginForm),
        ("/a#b", TargetError::Fragment),
        ("/a b", TargetError::InvalidCharacter),
        ("/\u{e4}", TargetError::InvalidCharacter),
    ] {
        check_head(&[POST[0], POST[1], POST[2], (":path", target)], END_STREAM, Err(want.into()));
    }
    let connect = [(":method", "CONNECT"), (":authority", "a:443")];
    check_head(&connect, 0, Err(TargetError::NotOriginForm.into()));
    let long = format!("/{}", "x".repeat(1024));
    check_head(&[POST[0], POST[1], POST[2], (":path", &long)], END_STREAM, Err(Limit::TargetLength.into()));
    let many: Vec<_> = POST.into_iter().chain((0..=LIMITS.header_count).map(|_| ("x", "1"))).collect();
    check_head(&many, END_STREAM, Err(Limit::HeaderCount.into()));
    let large = "x".repeat(LIMITS.header_bytes);
    check_head(&[&POST[..], &[("x", &large)]].concat(), END_STREAM, Err(Limit::HeaderBytes.into()));
}

/// A field that was kept is referred to again and again: it costs nothing to say, and weighs as if it had been said.
#[test]
fn fields_that_are_compressed_away_count_whole() {
    let mut session = session();
    let value = "x".repeat(4000);
    let kept = [&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], value.as_bytes()].concat();
    feed(&mut session, &frame(Kind::Headers, END_HEADERS | END_STREAM, 1, [block(&POST), kept].concat()))
        .unwrap();
    let bomb = frame(Kind::Headers, END_HEADERS | END_STREAM, 3, [block(&POST), vec![0xbe; 16_000]].concat());
    let head = feed(&mut session, &bomb).unwrap().pop().unwrap().head;
    assert_eq!(head.unwrap_err(), Limit::HeaderBytes.into());
    // The table is as it was: others go on.
    let next = frame(Kind::Headers, END_HEADERS | END_STREAM, 5, [block(&POST), vec![0xbe]].concat());
    assert_eq!(feed(&mut session, &next).unwrap().pop().unwrap().head.unwrap().parts.headers["x"], value);
}
