//! Rows of heads, good and bad.

use http::Uri;

use super::*;

const LIMITS: HeadLimits = HeadLimits { header_bytes: 512, header_count: 4, target_bytes: 128 };

fn check_head(head: &[u8], limits: &HeadLimits) -> Result<BodyFraming, HeadFault> {
    read_head(&Bytes::copy_from_slice(head), limits).map(|head| head.body)
}

/// What [`head_end`] and [`read_head`] say of a head, once it is complete.
#[track_caller]
fn check(head: impl AsRef<[u8]>, want: Result<BodyFraming, HeadFault>) {
    let head = head.as_ref();
    let text = String::from_utf8_lossy(head);
    assert_eq!(check_head(head, &LIMITS), want, "{text:?}");
    if let Ok(Some(end)) = head_end(head, 0, &LIMITS) {
        assert_eq!(end, head.len(), "{text:?} ends early");
    }
    if want.is_ok() {
        for length in 0..head.len() {
            assert_eq!(head_end(&head[..length], 0, &LIMITS), Ok(None), "{text:?} cut at {length}");
            let resumed = head_end(head, length, &LIMITS);
            assert_eq!(resumed, Ok(Some(head.len())), "{text:?} resumed at {length}");
        }
    }
}

/// A head of a good request line, a `Host` and these field lines.
#[track_caller]
fn check_fields(fields: impl AsRef<[u8]>, want: Result<BodyFraming, FramingError>) {
    let head = [b"POST /a HTTP/1.1\r\nHost: a\r\n", fields.as_ref(), b"\r\n\r\n"].concat();
    check(head, want.map_err(HeadFault::Framing));
}

#[track_caller]
fn check_line(line: impl AsRef<[u8]>, want: impl Into<HeadFault>) {
    check([line.as_ref(), b"\r\nHost: a\r\n\r\n"].concat(), Err(want.into()));
}

#[test]
fn a_plain_head_passes() {
    for head in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.0\r\nhOST:a\r\n\r\n",
        "M-SEARCH /a?b=c%20d HTTP/1.1\r\nHost:  [::1]:80\t\r\n\r\n",
        "GET /?`^{|} HTTP/1.1\r\nHost: \r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX:\r\nY: a\tb \r\n!#$%&'*+-.^_`|~09azAZ: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: na\u{ef}ve: ok\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nExpect: 100-continue\r\nAuthorization: Basic eDp5\r\n\r\n",
    ] {
        check(head, Ok(BodyFraming::Empty));
    }
}

#[test]
fn a_body_is_framed_in_one_way() {
    check_fields("Content-Length: 5", Ok(BodyFraming::Length(5)));
    check_fields("CONTENT-LENGTH:5", Ok(BodyFraming::Length(5)));
    check_fields("Content-Length: 007", Ok(BodyFraming::Length(7)));
    let longest = Ok(BodyFraming::Length(999_999_999_999_999_999));
    check_fields("Content-Length: 999999999999999999", longest);
    check_fields("Transfer-Encoding: chunked", Ok(BodyFraming::Chunked));
    check_fields("transfer-encoding:CHUNKED", Ok(BodyFraming::Chunked));
}

#[test]
fn a_length_is_one_number() {
    for field in [
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 5, 5",
        "Content-Length: 5,",
        "Content-Length: 0x5",
        "Content-Length: 5_0",
        "Content-Length: 5.0",
        "Content-Length: \"5\"",
        "Content-Length:",
        "Content-Length: ",
        "Content-Length:  5",
        "Content-Length:\t5",
        "Content-Length: 5 ",
        "Content-Length: 5 5",
        "Content-Length: \u{665}",
        "Content-Length: 1000000000000000000",
        "Content-Length: 18446744073709551621",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\ncontent-length: 6",
        "Content-Length: 0\r\ncontent-length: 0",
        "Content_Length: 5",
        "content-length: 5\r\nCONTENT_LENGTH: 5",
    ] {
        check_fields(field, Err(FramingError::ContentLength));
    }
}

#[test]
fn the_only_coding_is_chunked() {
    for field in [
        "Transfer-Encoding:  chunked",
        "Transfer-Encoding:\tchunked",
        "Transfer-Encoding: \tchunked",
        "Transfer-Encoding: chunked ",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunkedx",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: chun\u{212a}ed",
        "Transfer-Encoding: identity",
        "Transfer-Encoding:",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
        "Transfer_Encoding: chunked",
        "Transfer-Encoding: chunked\r\ntransfer_encoding: x",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: chunked\r\nContent-Length: 0",
    ] {
        check_fields(field, Err(FramingError::TransferEncoding));
    }
    let old = "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    check(old, Err(FramingError::TransferEncoding.into()));
}

#[test]
fn a_field_name_is_a_token_before_a_colon() {
    for field in [
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        "Content-Length\u{b}: 5",
        "Content-Length\0: 5",
        "\u{b}Content-Length: 5",
        "X\r: y",
        "X",
        ": x",
        "X Y: z",
        "X\u{e9}: z",
        "(X): y",
        "X\u{7f}: y",
    ] {
        check_fields(field, Err(FramingError::FieldName));
    }
}

#[test]
fn a_field_is_one_line() {
    check_fields("X: a\r\n b", Err(FramingError::Folding));
    check_fields("X: a\r\n\tb", Err(FramingError::Folding));
    check_fields("Transfer-Encoding:\r\n chunked", Err(FramingError::TransferEncoding));
    check_fields(" X: a", Err(FramingError::Folding));
    let first = "GET / HTTP/1.1\r\n Host: a\r\n\r\n";
    check(first, Err(FramingError::Folding.into()));
}

#[test]
fn every_line_ends_in_cr_lf() {
    for head in [
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\nContent-Length: 5\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\rContent-Length: 5\r\n\r\n",
        "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n",
        "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n",
        "GET / HTTP/1.1",
        "",
    ] {
        check(head, Err(FramingError::LineEnd.into()));
    }
}

#[test]
fn a_field_value_has_no_control_characters() {
    for byte in (0..=0x1f).chain([0x7f]).filter(|byte| !b"\t\n".contains(byte)) {
        let error = if b"\r\0".contains(&byte) { FramingError::LineEnd } else { FramingError::FieldValue };
        check_fields([b"X: a", &[byte][..], b"b"].concat(), Err(error));
    }
    for byte in (0x20..=0xff).filter(|byte| *byte != 0x7f) {
        check_fields([b"X: a", &[byte][..], b"b"].concat(), Ok(BodyFraming::Empty));
    }
    for name in ["Authorization", "connection", "EXPECT"] {
        check_fields(format!("{name}: \u{e9}"), Err(FramingError::FieldValue));
    }
}

#[test]
fn there_is_one_host() {
    for fields in [
        "",
        "Host: a\r\nHost: a\r\n",
        "Host: a\r\nhost: b\r\n",
        "Host: a b\r\n",
        "Host: a, b\r\n",
        "Host: a\tb\r\n",
        "Host: user@a\r\n",
        "Host: a/b\r\n",
        "Host: a?b\r\n",
        "Host: a#b\r\n",
        "Host: a\\b\r\n",
        "Host: \u{e9}\r\n",
    ] {
        for version in ["1.0", "1.1"] {
            let head = format!("GET / HTTP/{version}\r\n{fields}\r\n");
            check(head, Err(FramingError::Host.into()));
        }
    }
}

#[test]
fn a_request_line_has_three_parts() {
    for line in [
        "",
        "\r\nGET / HTTP/1.1",
        "GET",
        "GET /",
        "GET / ",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET / a HTTP/1.1",
        "GET  HTTP/1.1",
        " / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /\tHTTP/1.1",
        "G(T / HTTP/1.1",
        "G\u{c9}T / HTTP/1.1",
        "GET / HTTP/1.2",
        "GET / HTTP/2.0",
        "GET / HTTP/0.9",
        "GET / HTTP/1.10",
        "GET / HTTP/1",
        "GET / http/1.1",
        "GET / ICY/1.1",
        "PRI * HTTP/2.0",
    ] {
        check_line(line, FramingError::RequestLine);
    }
}

#[test]
fn a_target_is_in_origin_form() {
    for line in [
        "OPTIONS * HTTP/1.1",
        "GET http://a/ HTTP/1.1",
        "GET a HTTP/1.1",
        "GET ?a HTTP/1.1",
        "GET #/ HTTP/1.1",
        "GET \\a HTTP/1.1",
        "CONNECT a:443 HTTP/1.1",
        "CONNECT /a HTTP/1.1",
    ] {
        check_line(line, TargetError::NotOriginForm);
    }
    for line in ["GET /# HTTP/1.1", "GET /a#b HTTP/1.1", "GET /?a#b HTTP/1.1", "GET /#\u{e9} HTTP/1.1"] {
        check_line(line, TargetError::Fragment);
    }
    for line in [
        "GET /\u{e9} HTTP/1.1",
        "GET /?\u{e9} HTTP/1.1",
        "GET /\t HTTP/1.1",
        "GET /\u{1} HTTP/1.1",
        "GET /\u{7f} HTTP/1.1",
        "GET /< HTTP/1.1",
        "GET /?\" HTTP/1.1",
        "GET /\\ HTTP/1.1",
        "GET /` HTTP/1.1",
    ] {
        check_line(line, TargetError::InvalidCharacter);
    }
}

/// What passes here, the types of `http` must hold, and as it stands: nothing is cut off, and nothing is lost.
#[test]
fn every_target_that_passes_is_held_as_it_stands() {
    let mut passed = 0;
    for byte in 0..=u8::MAX {
        for target in [&[b'/', byte, b'a'][..], &[b'/', b'?', byte, b'a']] {
            if check_target(b"GET", target).is_ok() {
                let uri = Uri::try_from(target).expect("not held");
                assert_eq!(uri.to_string().as_bytes(), target);
                passed += 1;
            }
        }
    }
    assert!(passed > 160);
}

/// A request line whose target has this length, a `Host`, and a field that fills the head up to `head` bytes.
fn sized(target: usize, head: usize) -> String {
    let start = format!("GET /{} HTTP/1.1\r\nHost: a\r\nX: ", "a".repeat(target - 1));
    let filler = "b".repeat(head.saturating_sub(start.len() + 4));
    format!("{start}{filler}\r\n\r\n")
}

#[test]
fn the_limits_are_to_the_byte() {
    check(sized(128, 0), Ok(BodyFraming::Empty));
    check(sized(129, 0), Err(Limit::TargetLength.into()));
    check(sized(1, 512), Ok(BodyFraming::Empty));
    check(sized(1, 513), Err(Limit::HeaderBytes.into()));
    check(sized(129, 513), Err(Limit::TargetLength.into()));
    check_fields("A: 1\r\nB: 2\r\nC: 3", Ok(BodyFraming::Empty));
    let head = "GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n\r\n";
    check(head, Err(Limit::HeaderCount.into()));
    let limits = HeadLimits { header_bytes: 1 << 20, header_count: 4, target_bytes: 1 << 20 };
    let longest = |target| check_head(sized(target, 0).as_bytes(), &limits);
    assert_eq!(longest(65_534), Ok(BodyFraming::Empty));
    assert_eq!(longest(65_535), Err(Limit::TargetLength.into()));
}

/// A head that has not ended, and what can be said of it all the same.
#[track_caller]
fn check_partial(head: impl AsRef<[u8]>, want: Result<Option<usize>, HeadFault>) {
    let head = head.as_ref();
    assert_eq!(head_end(head, 0, &LIMITS), want, "{:?}", String::from_utf8_lossy(head));
}

#[test]
fn a_partial_head_may_be_past_saving() {
    check_partial("", Ok(None));
    check_partial("G", Ok(None));
    check_partial("GET / HTTP/1.1\r\nHost: a\r\n\r", Ok(None));
    check_partial("\r\n", Err(FramingError::RequestLine.into()));
    check_partial("\x16\x03\x01", Err(FramingError::RequestLine.into()));
    check_partial("GET / HTTP/1.1\n", Err(FramingError::LineEnd.into()));
    check_partial("GET / HTTP/1.1\r\nHost: a\n", Err(FramingError::LineEnd.into()));
    check_partial("a".repeat(192), Ok(None));
    check_partial("a".repeat(193), Err(Limit::TargetLength.into()));
    let whole = sized(1, 600).into_bytes();
    check_partial(&whole[..511], Ok(None));
    check_partial(&whole[..512], Err(Limit::HeaderBytes.into()));
    check_partial(&whole, Err(Limit::HeaderBytes.into()));
}

#[test]
fn a_bare_line_feed_is_seen_wherever_the_bytes_are_cut() {
    let head = b"GET / HTTP/1.1\r\nHost: a\nX: y";
    let fault = Err(FramingError::LineEnd.into());
    for cut in 0..head.len() {
        let first = head_end(&head[..cut], 0, &LIMITS);
        let second = head_end(head, cut, &LIMITS);
        assert!(first == fault || second == fault, "cut at {cut}");
    }
}
