//! Rows of chunked bodies, good and bad.

use super::*;

const LIMITS: HeadLimits = HeadLimits { header_bytes: 64, header_count: 2, target_bytes: 64 };

/// `want` is the number of bytes of the body, `None` where it is malformed.
#[track_caller]
fn check(body: &str, want: Option<usize>) {
    let want = want.map(|used| Progress { used, ended: true }).ok_or(FramingError::Chunk);
    assert_eq!(Chunks::of_client(LIMITS).advance(body.as_bytes()), want, "{body:?} at once");
    let mut chunks = Chunks::of_client(LIMITS);
    let mut result = Err(FramingError::Host);
    for (at, byte) in body.as_bytes().iter().enumerate() {
        result = chunks
            .advance(&[*byte])
            .map(|progress| Progress { used: at + progress.used, ended: progress.ended });
        if !matches!(result, Ok(Progress { ended: false, .. })) {
            break;
        }
    }
    assert_eq!(result, want, "{body:?} byte by byte");
}

#[test]
fn whole_bodies_end_where_they_end() {
    for body in [
        "0\r\n\r\n",
        "000\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
        "00a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n",
        "2\r\n\r\n\r\n0\r\n\r\n",
        "0\r\ndigest: x\r\nb:\r\n\r\n",
    ] {
        check(body, Some(body.len()));
        check(&format!("{body}GET / HTTP/1.1\r\n"), Some(body.len()));
    }
}

#[test]
fn anything_else_is_refused() {
    for body in [
        "\r\n",
        ";\r\n",
        "g\r\n",
        "-1\r\n",
        "+1\r\n",
        " 1\r\n",
        "1 \r\n",
        "0x1\r\n",
        "1_0\r\n",
        "5;name=value\r\nhello\r\n0\r\n\r\n",
        "5;\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\rhello",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello!\r\n",
        "5\r\nhell\r\n0\r\n\r\n",
        "5\r\nhello\r0\r\n",
        "1000000000000000\r\n",
        "0000000000000000\r\n",
        "0\n\r\n",
        "0\r\n\n",
        "0\r\na: b\n\r\n",
        "0\r\n folded: b\r\n\r\n",
        "0\r\na : b\r\n\r\n",
        "0\r\na\r\n\r\n",
        "0\r\na: \0\r\n\r\n",
        "0\r\na: b\r\na: b\r\na: b\r\n\r\n",
        "0\r\na: 012345678901234567890123456789012345678901234567890123456789\r\n\r\n",
    ] {
        check(body, None);
    }
}

#[test]
fn a_trailer_neither_frames_nor_routes_nor_authenticates() {
    for name in [
        "Content-Length",
        "content_length",
        "TRANSFER-ENCODING",
        "Host",
        "Authorization",
        "Connection",
        "Trailer",
        "Expect",
        "Upgrade",
    ] {
        check(&format!("0\r\n{name}: 1\r\n\r\n"), None);
    }
}

#[test]
fn the_largest_chunk_is_counted() {
    let mut chunks = Chunks::of_client(LIMITS);
    let all = Ok(Progress { used: 17, ended: false });
    assert_eq!(chunks.advance(b"fffffffffffffff\r\n"), all);
    assert_eq!(chunks.place, Place::Bytes { left: (1 << 60) - 1 });
}
