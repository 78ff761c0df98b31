//! Moments, and tokens in JSON.

use std::path::Path;

use super::*;
use crate::policy::compile::Frame;
use crate::policy::upstream::{ClassicTokens, UpstreamSpec};

#[test]
fn a_date_is_its_first_moment() {
    for (text, want) in [
        ("1970-01-02", Some(86_400)),
        ("1970-01-02T00:00:01Z", Some(86_401)),
        ("1970-01-02T01:00:00+01:00", Some(86_400)),
        ("1970-01-02T00:00:00", None),
        ("1970-13-01", None),
        ("noon", None),
        ("", None),
    ] {
        assert_eq!(parse_moment(text), want.map(UnixTime), "{text}");
    }
}

fn vocabulary() -> Vocabulary {
    let upstream = UpstreamSpec {
        name: "forge".into(),
        hosts: vec!["*".into()],
        path_prefix: None,
        catalogs: vec!["git".into(), "github".into()],
        classic: ClassicTokens::default(),
        file: "portcullis.yaml".into(),
    };
    Frame::compile(&[], &[upstream]).vocabulary().clone()
}

fn read(text: &str, form: TokenForm) -> (TokenFile, Vec<String>) {
    let vocabulary = vocabulary();
    let mut packer = Packer::default();
    let mut compiler = TokenCompiler::new(Path::new("a.jsonl").into(), &vocabulary, &mut packer);
    compiler.take(form, text);
    let (file, faults) = compiler.finish();
    (file, faults.iter().map(ToString::to_string).collect())
}

/// A sound token in JSON.
fn sound() -> String {
    format!(
        r#"{{"name": "ci", "sha256": "{:064x}", "user": "bob", "resource_owner": "acme", "repositories": ["beta", "Alpha"], "permissions": {{"contents": "read", "issues": "write"}}, "created_at": "2026-11-01", "expires_at": "2027-01-31", "networks": ["10.0.0.0/8"]}}"#,
        7
    )
}

/// JSON is YAML: the same entry, read as either, is the same token.
#[test]
fn a_line_means_what_an_element_of_the_list_means() {
    let grants = r#"{"name": "é \"x\" 😀", "sha256": "00000000000000000000000000000000000000000000000000000000000000aB", "user": "b", "grants": [{"resource_owner": "a", "repositories": "all", "permissions": {"contents": "write"}}, {"resource_owner": "c", "permissions": {}}], "expires_at": "2027-01-31T01:02:03Z", "state": "pending"}"#;
    for line in [sound().as_str(), grants, &sound().replace("\"ci\"", "\"\\u0063\\u0069\"")] {
        let (lines, faults) = read(line, TokenForm::Lines);
        assert_eq!(faults, [""; 0]);
        let yaml = format!("tokens:\n  - {line}\n");
        let (document, faults) = read(&yaml, TokenForm::Document);
        assert_eq!(faults, [""; 0]);
        assert_eq!((lines.len(), document.len()), (1, 1));
        assert_eq!(format!("{:?}", lines.grant(0)), format!("{:?}", document.grant(0)));
        assert_eq!(lines.grant(0).unwrap().digest(), document.grant(0).unwrap().digest());
        assert_eq!((lines.line(0), document.line(0)), (Some(1), Some(2)));
    }
}

/// `want` is `line:column: message`, without what follows.
#[track_caller]
fn check(line: &str, want: &str) {
    let (_, faults) = read(&format!("\n{line}\r\n\n"), TokenForm::Lines);
    assert_eq!(faults.len(), 1, "{line}: {faults:?}");
    assert!(faults[0].starts_with(&format!("a.jsonl:2:{want}")), "{line}: {}", faults[0]);
    let (_, shown) = faults[0].split_once("\n  2 | ").expect("the line is shown");
    assert!(shown.starts_with(line.trim_end()), "{shown}");
}

#[test]
fn faults_of_lines_are_told_with_their_places() {
    let with = |from: &str, to: &str| {
        assert!(sound().contains(from), "{from}");
        sound().replace(from, to)
    };
    let column = |part: &str| sound().find(part).unwrap() + 1;
    check(&with("contents", "content"), &format!("{}: unknown permission `content`", column("\"contents\"")));
    check(&with("\"bob\"", "\"b b\""), &format!("{}: a user's name holds letters", column("\"bob\"")));
    check(&with("\"user\"", "\"users\""), &format!("{}: unknown field `users`", column("\"user\"")));
    let without = with("\"user\": \"bob\", ", "");
    check(&without, &format!("{}: the field `user` is missing", without.find("\"networks\"").unwrap() + 1));
    check(
        &with("\"issues\"", "\"contents\""),
        &format!("{}: the key `contents` stands twice", column("\"issues\"")),
    );
    let second = with("\"user\": \"bob\"", "\"user\": \"bob\", \"user\": \"eve\"");
    check(&second, &format!("{}: the key `user` stands twice", second.rfind("\"user\"").unwrap() + 1));
    check("[]", "1: expected a mapping");
    check("{", "1: not one token in JSON: EOF");
    check(&(sound() + " {}"), &format!("{}: not one token in JSON: trailing", sound().len() + 2));
    check(&with("2027-01-31", "soon"), &format!("{}: expected a date", column("\"2027-01-31\"")));
}

#[test]
fn what_only_yaml_takes_is_no_line() {
    for (from, to) in [
        ("\"ci\"", "ci"),
        ("\"ci\"", "'ci'"),
        ("\"ci\"", "12"),
        ("\"ci\"", "\"ci\" # x"),
        ("\"name\"", "name"),
        ("{\"name\"", "--- {\"name\""),
    ] {
        let line = sound().replace(from, to);
        let (_, faults) = read(&line, TokenForm::Lines);
        assert_eq!(faults.len(), 1, "{line}: {faults:?}");
        assert!(faults[0].starts_with("a.jsonl:1:"), "{faults:?}");
    }
}

/// By this key the library hands places over; whoever writes it hides what is granted.
#[test]
fn the_marker_of_places_is_no_key() {
    for marker in ["__serde_saphyr_private_spanned", "\\u005f_serde_saphyr_private_spanned"] {
        let hidden = format!(r#"{{"{marker}": true, "value": "eve", "referenced": null, "defined": null}}"#);
        let line = sound().replace("\"bob\"", &hidden);
        let (_, faults) = read(&line, TokenForm::Lines);
        assert_eq!(faults.len(), 1, "{faults:?}");
    }
}

#[test]
fn the_first_faults_of_a_file_are_told() {
    let line = sound().replace("contents", "content") + "\n";
    let (file, faults) = read(&line.repeat(3 * MOST_FAULTS), TokenForm::Lines);
    assert_eq!((file.len(), faults.len()), (0, MOST_FAULTS + 1));
    assert!(faults[MOST_FAULTS].starts_with("a.jsonl: has 100 faults or more"), "{}", faults[MOST_FAULTS]);
    let entry = format!("  - {line}");
    let (file, faults) = read(&format!("tokens:\n{}", entry.repeat(3 * MOST_FAULTS)), TokenForm::Document);
    assert_eq!((file.len(), faults.len()), (0, MOST_FAULTS + 1));
}

/// What was taken before a file turns out to be no YAML is not told of.
#[test]
fn a_document_that_cannot_be_read_has_one_fault() {
    let line = sound().replace("contents", "content");
    let (_, faults) = read(&format!("tokens:\n  - {line}\nmore: 1\n"), TokenForm::Document);
    assert_eq!(faults.len(), 1);
    assert!(faults[0].starts_with("a.jsonl:3:1: unknown field `more`; expected `tokens`"), "{}", faults[0]);
    let (_, faults) = read("{}\n", TokenForm::Document);
    assert!(faults[0].starts_with("a.jsonl:1:1: the field `tokens` is missing"), "{}", faults[0]);
}
