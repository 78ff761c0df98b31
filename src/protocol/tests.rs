//! Rows of bodies, and what is found in them.

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::domain::refusal::{CredentialError, Refusal};
use crate::domain::target::TargetError;
use crate::headers::identity::Identity;
use crate::protocol::Inspection;
use crate::protocol::fields::{Unreadable, find_in_form, find_in_json};
use crate::protocol::media::Media;

const NAMES: [&str; 2] = ["sudo", "-method"];
const SUDO: Result<Option<&str>, Unreadable> = Ok(Some("sudo"));
const NOTHING: Result<Option<&str>, Unreadable> = Ok(None);

#[track_caller]
fn check_json(body: impl AsRef<[u8]>, want: Result<Option<&str>, Unreadable>) {
    let body = body.as_ref();
    let text = String::from_utf8_lossy(body);
    assert_eq!(find_in_json(body, &NAMES), want, "{text}");
}

#[track_caller]
fn check_form(body: impl AsRef<[u8]>, want: Result<Option<&str>, Unreadable>) {
    let body = body.as_ref();
    let text = String::from_utf8_lossy(body);
    assert_eq!(find_in_form(body, &NAMES), want, "{text}");
}

#[test]
fn json_is_read_by_its_outermost_names() {
    for body in [
        r#"{"sudo":"root"}"#,
        r#"{"SUDO":1}"#,
        r#"{"\u0073udo":1}"#,
        r#"{"a":{},"s\u0075do":null}"#,
        r#"{"sudo[]":1}"#,
        r#"{"[sudo]":1}"#,
        r#"{" sudo":1}"#,
        r#"{"a":1,"a":2,"sudo":3,"a":4}"#,
        r#"{"a":"}","sudo":3}"#,
        r#"[{"a":1},{"sudo":1}]"#,
        r#"[[{"sudo":1}]]"#,
        "\n\t {\n\"sudo\" : 1 } ",
    ] {
        check_json(body, SUDO);
    }
    check_json(r#"{"_method":"delete"}"#, Ok(Some("-method")));
    for body in [
        r#"{"a":{"sudo":1}}"#,
        r#"{"a":[{"sudo":1}]}"#,
        r#"{"title":"sudo","pseudo":1,"sudoers":2,"su_do":3}"#,
        r#"{"method":1,"__method":2}"#,
        "{}",
        "[]",
        "[1,2.5,-3,true,null,\"sudo\"]",
        "\"sudo\"",
        "null",
        "",
    ] {
        check_json(body, NOTHING);
    }
}

#[test]
fn what_is_no_json_cannot_be_told() {
    let deep = "[".repeat(10_000);
    for body in [
        "{",
        "{}{\"sudo\":1}",
        "{} x",
        "sudo=root",
        " ",
        "{'sudo':1}",
        "{/**/\"sudo\":1}",
        "{\"\\sudo\":1}",
        "{\"a\":1,}",
        "{\"a\":NaN}",
        "{\"a\":\"\n\"}",
        "{\"\\ud800\":1}",
        "\u{feff}{\"sudo\":1}",
        &deep,
    ] {
        check_json(body, Err(Unreadable));
    }
    check_json(b"{\"a\":\"\xe2\"}", Err(Unreadable));
    let utf16: Vec<u8> = r#"{"sudo":1}"#.bytes().flat_map(|byte| [0, byte]).collect();
    check_json(utf16, Err(Unreadable));
}

#[test]
fn forms_are_read_by_their_names() {
    for body in [
        "sudo=root",
        "SUDO=root",
        "sudo",
        "a=1&sudo=2",
        "a=1;sudo=2",
        "a=1& sudo=2",
        "a=1&+sudo=2",
        "s%75do=1",
        "%73%75%64%6F=1",
        "sudo[]=1",
        "sudo%5B%5D=1",
        "sudo[a]=1",
        "[sudo]=1",
        "%5Bsudo%5D=1",
        "sudo%00x=1",
        "sudo=&sudo=2",
        "\r\nsudo=1",
    ] {
        check_form(body, SUDO);
    }
    for body in ["_method=delete", "%5fmethod=delete", ".method=delete", "a&_Method"] {
        check_form(body, Ok(Some("-method")));
    }
    for body in [
        "",
        "a=sudo",
        "a=sudo=1",
        "a[sudo]=1",
        "sudoers=1&pseudo=2",
        "method=1&a_method=2",
        "a=100%&b=%zz\u{e9}\0",
        "a=1%26sudo=2",
        "=sudo",
    ] {
        check_form(body, NOTHING);
    }
    for body in [
        &b"s%u0075do=1"[..],
        b"a%=1",
        b"a%7=1",
        b"a=1&%%75=1",
        b"\xef\xbb\xbfsudo=1",
        b"s\0u\0d\0o\0=\0",
        b"\xff=1",
    ] {
        check_form(body, Err(Unreadable));
    }
}

fn head(fields: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    headers
}

#[test]
fn kinds_of_bodies() {
    for (value, want) in [
        ("application/json", Media::Json),
        ("Application/JSON; charset=UTF-8", Media::Json),
        ("text/json", Media::Json),
        ("text/x-json", Media::Json),
        ("application/vnd.api+json", Media::Json),
        ("application/merge-patch+json;charset=\"utf-8\"", Media::Json),
        ("application/json; charset=utf-16", Media::Other),
        ("application/x-www-form-urlencoded", Media::Form),
        ("application/X-WWW-form-urlencoded ; charset=utf-8", Media::Form),
        ("application/x-www-form-urlencoded; charset=ibm037", Media::Ambiguous),
        ("application/x-www-form-urlencoded; charset*=utf-8''x", Media::Ambiguous),
        ("application/x-www-form-urlencoded, application/json", Media::Ambiguous),
        ("application/json, application/x-www-form-urlencoded", Media::Ambiguous),
        ("application/json; application/x-www-form-urlencoded", Media::Ambiguous),
        ("application/x-www-form-urlencoded x", Media::Ambiguous),
        ("application/x-git-receive-pack-request", Media::Opaque),
        ("application/octet-stream", Media::Opaque),
        ("multipart/form-data; boundary=a", Media::Other),
        ("application/xml", Media::Other),
        ("text/plain", Media::Other),
        ("x", Media::Other),
        ("", Media::Unstated),
        ("; charset=utf-8", Media::Unstated),
    ] {
        assert_eq!(Media::of(&head(&[("content-type", value)])), want, "{value}");
    }
}

#[test]
fn several_fields_are_no_kind() {
    assert_eq!(Media::of(&head(&[])), Media::Unstated);
    let form = ("content-type", "application/x-www-form-urlencoded");
    let json = ("content-type", "application/json");
    for (fields, want) in [
        (&[form, form][..], Media::Ambiguous),
        (&[json, ("content_type", form.1)], Media::Ambiguous),
        (&[("content_type", form.1)], Media::Form),
        (&[form, ("content-encoding", "gzip")], Media::Ambiguous),
        (&[form, ("content_encoding", "gzip")], Media::Ambiguous),
        (&[form, ("content-encoding", "Identity")], Media::Form),
        (&[json, ("content-encoding", "br")], Media::Other),
        (
            &[("content-type", "application/x-git-upload-pack-request"), ("content-encoding", "gzip")],
            Media::Opaque,
        ),
    ] {
        assert_eq!(Media::of(&head(fields)), want, "{fields:?}");
    }
}

/// What becomes of a body of a kind: without `Sudo`, and with it.
#[test]
fn bodies_are_looked_into_where_that_is_needed() {
    let sudo = Identity::Sudo { authorization: HeaderValue::from_static("Bearer x") };
    let unseen: Result<bool, Refusal> = Err(CredentialError::Body.into());
    let form = "application/x-www-form-urlencoded";
    let gzip = "application/x-www-form-urlencoded; charset=ibm037";
    for (method, media, plain, under_sudo) in [
        ("POST", form, Ok(true), Ok(true)),
        ("PUT", form, Ok(false), Ok(true)),
        ("GET", form, Ok(false), Ok(true)),
        ("POST", "application/json", Ok(false), Ok(true)),
        ("PATCH", "application/json", Ok(false), Ok(true)),
        ("POST", "", Ok(true), unseen.clone()),
        ("PUT", "", Ok(false), unseen.clone()),
        ("POST", gzip, Err(TargetError::Form.into()), unseen.clone()),
        ("PUT", gzip, Ok(false), unseen.clone()),
        ("POST", "multipart/form-data", Ok(false), unseen.clone()),
        ("DELETE", "application/xml", Ok(false), unseen),
        ("POST", "application/x-git-upload-pack-request", Ok(false), Ok(false)),
    ] {
        let headers = head(&[("content-type", media)]);
        let needed = |identity: &Identity| {
            Inspection::needed(&method.parse().unwrap(), &headers, identity).map(|needed| needed.is_some())
        };
        assert_eq!(needed(&Identity::RemoteUser), plain, "{method} {media}");
        assert_eq!(needed(&sudo), under_sudo, "{method} {media} with Sudo");
    }
}

#[test]
fn a_finding_says_what_was_found() {
    let sudo = Identity::Sudo { authorization: HeaderValue::from_static("Bearer x") };
    let looked = |method: Method, identity: &Identity, media: &str, body: &str| {
        let headers = head(&[("content-type", media)]);
        let inspection = Inspection::needed(&method, &headers, identity).unwrap().unwrap();
        inspection.check(body.as_bytes())
    };
    let form = "application/x-www-form-urlencoded";
    let json = "application/json";
    let caller = Err(CredentialError::Caller.into());
    let method = Err(TargetError::MethodOverride.into());
    assert_eq!(looked(Method::PUT, &sudo, json, r#"{"sudo":1}"#), caller);
    assert_eq!(looked(Method::PUT, &sudo, json, r#"{"_method":1}"#), Ok(()));
    assert_eq!(looked(Method::POST, &sudo, json, r#"{"_method":1}"#), method);
    assert_eq!(looked(Method::PUT, &sudo, json, "{"), Err(CredentialError::Body.into()));
    assert_eq!(looked(Method::POST, &sudo, form, "sudo=1"), caller);
    let plain = Identity::RemoteUser;
    assert_eq!(looked(Method::POST, &plain, form, "sudo=1"), Ok(()));
    assert_eq!(looked(Method::POST, &plain, form, "_method=PUT"), method);
    assert_eq!(looked(Method::POST, &plain, "", "_method=PUT"), method);
    assert_eq!(looked(Method::POST, &plain, form, "a%=1"), Err(TargetError::Form.into()));
}
