//! Rows: a target, and whether it has one reading.

use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(target: &str, want: Result<(), TargetError>) {
    assert_eq!(CanonicalTarget::parse(target).map(|_| ()), want, "{target:?}");
}

#[test]
fn one_reading() {
    for target in [
        "/",
        "/?",
        "/repos/acme/alpha",
        "/repos/acme/alpha/",
        "/repos/acme/alpha/contents/a%20b.md?ref=main",
        "/repos/acme/alpha/contents/...",
        "/projects/acme%2Falpha/issues",
        "/users/dependabot[bot]",
        "/acme/alpha.git/info/refs?service=git-upload-pack",
        "/search?q=a;b&x=%0A",
        "/a%25b",
    ] {
        check(target, Ok(()));
    }
}

#[test]
fn form() {
    for target in ["", "*", "acme", "http://h/", "host:443", "?a"] {
        check(target, Err(TargetError::NotOriginForm));
    }
    for target in ["/a#b", "/a?b#c", "/#"] {
        check(target, Err(TargetError::Fragment));
    }
    for target in
        ["/a b", "/a\\b", "/a\tb", "/a\u{0}b", "/\u{e4}", "/a\"b", "/a<b", "/a?b c", "/a?\u{e4}", "/a?b\\c"]
    {
        check(target, Err(TargetError::InvalidCharacter));
    }
}

#[test]
fn dot_segments_in_every_encoding() {
    for target in [
        "/public/../admin",
        "/./a",
        "/a/.",
        "/a/..",
        "/%2e%2e/a",
        "/%2E./a",
        "/.%2e/a",
        "/a/%2e",
        "/a%2f..%2fb",
        "/..%2fb",
        "/a%2F%2e%2E",
    ] {
        check(target, Err(TargetError::DotSegment));
    }
}

#[test]
fn empty_segments() {
    for target in ["//", "//a", "/a//b", "/a//", "/%2fa", "/a%2f", "/a%2f%2fb", "/a/%2f", "/a%2f/b"] {
        check(target, Err(TargetError::EmptySegment));
    }
}

#[test]
fn escapes() {
    for target in ["/%", "/%2", "/%zz", "/a?%", "/a?%4", "/%u0041"] {
        check(target, Err(TargetError::BadEscape));
    }
    for target in ["/a%00", "/a%5cb", "/a%5Cb", "/a%0d%0ab", "/a%7f", "/a?b=%00"] {
        check(target, Err(TargetError::EncodedControl));
    }
    for target in ["/a/%c0%ae%c0%ae/b", "/a%c0%afb", "/a%e0%80%ae", "/a%F0%80%80%AF", "/a%ff", "/a%e4"] {
        check(target, Err(TargetError::NotUtf8));
    }
    check("/a%c3%a4", Ok(()));
    for target in ["/a;b", "/a/..;x/b", "/a%3bb", "/a%3B"] {
        check(target, Err(TargetError::PathParameter));
    }
    for target in [
        "/%252e%252e/a",
        "/a%252fb",
        "/a%255cb",
        "/a%2500",
        "/a%253b",
        "/a%252525",
        "/a%2523",
        "/a%253f",
        "/%25%32%65%25%32%65/a",
        "/a%25%32fb",
        "/a%252%66b",
    ] {
        check(target, Err(TargetError::DoubleEncoding));
    }
}

#[test]
fn segments_and_query() {
    let target = CanonicalTarget::parse("/a/b%20c/?x=1&y=a%26b+c&&z").unwrap();
    assert_eq!(target.segments().collect::<Vec<_>>(), ["a", "b%20c", ""]);
    let fields: Vec<_> = target.query_fields().map(|(n, v)| (n.into_owned(), v.into_owned())).collect();
    assert_eq!(fields, [("x".into(), "1".into()), ("y".into(), "a&b c".into()), ("z".into(), String::new())]);
    assert_eq!(CanonicalTarget::parse("/").unwrap().segments().count(), 0);
    assert!(encodes_delimiter("a%2Fb") && encodes_delimiter("%23") && !encodes_delimiter("a%20b"));
}

proptest! {
    #[test]
    fn judged_is_forwarded_and_parsing_is_stable(target in "/[a-z%2eF./;?#\\\\0-9 ]{0,24}") {
        if let Ok(first) = CanonicalTarget::parse(&target) {
            prop_assert_eq!(first.as_str(), target.as_str());
            prop_assert_eq!(&CanonicalTarget::from_path_and_query(first.as_path_and_query()).unwrap(), &first);
        }
    }

    #[test]
    fn an_accepted_path_has_no_dot_segment_however_often_it_is_decoded(target in "/([a./]|%2[eEfF5]|2[eEfF]|(%25|%)(2|%32)(e|%65|f|%66)){0,6}") {
        if let Ok(target) = CanonicalTarget::parse(&target) {
            let once = decode_once(target.path()).into_owned();
            let twice = decode_once(&once).into_owned();
            for path in [target.path(), &once, &twice] {
                for segment in path.split('/').skip(1) {
                    prop_assert!(segment != "." && segment != "..", "{}", path);
                }
            }
        }
    }

    #[test]
    fn no_text_panics(target in ".{0,64}") {
        let _outcome = CanonicalTarget::parse(&target);
    }
}
