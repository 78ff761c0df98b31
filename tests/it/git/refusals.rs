//! What git may not do: what it prints, and that the host sees nothing of it.

use crate::git::{EXPIRED, READER, REVOKED, Stage, UNKNOWN, WIKI_READER, WRITER};
use crate::support::gateway::{head, status};
use crate::support::git::fingerprint;
use crate::support::nginx::Nginx;

/// A clone that is refused.
struct Row {
    seed: u8,
    path: &'static str,
    /// What stands behind `remote: Portcullis: `.
    sentence: &'static str,
    reason: &'static str,
    /// What git itself says last.
    fatal: &'static str,
}

const AUTHENTICATION: &str = "Authentication failed for";
const NOT_FOUND: &str = "not found";
const FORBIDDEN: &str = "The requested URL returned error: 403";
const NOT_GRANTED: &str = "not found, or not among the repositories that this token was granted.";

const CLONES: [Row; 8] = [
    Row {
        seed: READER,
        path: "/acme/beta.git",
        sentence: NOT_GRANTED,
        reason: "resource_not_granted",
        fatal: NOT_FOUND,
    },
    Row {
        seed: READER,
        path: "/acme/nothing.git",
        sentence: NOT_GRANTED,
        reason: "resource_not_granted",
        fatal: NOT_FOUND,
    },
    Row {
        seed: READER,
        path: "/other/alpha.git",
        sentence: NOT_GRANTED,
        reason: "resource_not_granted",
        fatal: NOT_FOUND,
    },
    Row {
        seed: UNKNOWN,
        path: "/acme/alpha.git",
        sentence: "this token is not known; it was deleted or never existed.",
        reason: "bad_credentials",
        fatal: AUTHENTICATION,
    },
    Row {
        seed: EXPIRED,
        path: "/acme/alpha.git",
        sentence: "this token expired; regenerate it or make a new one.",
        reason: "token_expired",
        fatal: AUTHENTICATION,
    },
    Row {
        seed: REVOKED,
        path: "/acme/alpha.git",
        sentence: "this token was revoked; make a new one.",
        reason: "token_revoked",
        fatal: AUTHENTICATION,
    },
    Row {
        seed: READER,
        path: "/acme/alpha.wiki.git",
        sentence: "this token lacks wikis=read; ask the owner of `acme` to grant it.",
        reason: "permission_missing",
        fatal: FORBIDDEN,
    },
    Row {
        seed: WIKI_READER,
        path: "/acme/alpha.git",
        sentence: "this token lacks contents=read; ask the owner of `acme` to grant it.",
        reason: "permission_missing",
        fatal: FORBIDDEN,
    },
];

/// Each clone that is refused, with git's own protocol and with the dumb one.
pub(super) fn clones(stage: &mut Stage) {
    for smart in ["1", "0"] {
        let client = stage.client.with(&[], &[("GIT_SMART_HTTP", smart)]);
        for row in &CLONES {
            let url = stage.url(row.seed, row.path);
            let said = stage.host_sees_nothing(|| client.refused(&format!("clone {url} work")));
            check(&said, row);
        }
    }
    let url = stage.url(WIKI_READER, "/acme/alpha.wiki.git");
    stage.client.ok(&format!("clone --quiet {url} wiki"));
}

#[track_caller]
fn check(said: &str, row: &Row) {
    let lines: Vec<_> =
        said.lines().filter_map(|line| line.strip_prefix("remote: ")).map(str::trim_end).collect();
    let [sentence, word] = lines.as_slice() else { panic!("{}: {said}", row.path) };
    assert_eq!(*sentence, format!("Portcullis: {}", row.sentence), "{}", row.path);
    assert!(word.starts_with(&format!("{}, request ", row.reason)), "{said}");
    assert!(said.trim_end().contains(row.fatal), "{}: {said}", row.path);
}

/// Each push that is refused.
pub(super) fn pushes(stage: &mut Stage) {
    let client = &stage.client;
    client.ok(&format!("clone --quiet {} work", stage.url(READER, "/acme/alpha.git")));
    client.ok("-C work commit --quiet --allow-empty -m one");
    let lacks = |permission| format!("this token lacks {permission}; ask the owner of `acme` to grant it.");
    let rows = [
        (READER, "alpha", lacks("contents=write"), FORBIDDEN),
        (WIKI_READER, "alpha", lacks("contents=write"), FORBIDDEN),
        (WIKI_READER, "alpha.wiki", lacks("wikis=write"), FORBIDDEN),
        (WRITER, "beta", NOT_GRANTED.into(), NOT_FOUND),
        (EXPIRED, "alpha", "this token expired; regenerate it or make a new one.".into(), AUTHENTICATION),
    ];
    for (seed, name, sentence, fatal) in rows {
        let url = stage.url(seed, &format!("/acme/{name}.git"));
        for what in ["main", "--force main", "main:refs/heads/new", "--delete topic", "v1"] {
            let said = stage.host_sees_nothing(|| client.refused(&format!("-C work push {url} {what}")));
            assert!(
                said.contains(&format!("remote: Portcullis: {sentence}")) && said.contains(fatal),
                "{name} {what}: {said}"
            );
        }
    }
}

/// `git archive --remote` has no route, in no protocol that git may choose; nor has what lies beside the services.
pub(super) fn what_has_no_route(stage: &mut Stage) {
    let url = stage.url(WRITER, "/acme/alpha.git");
    stage.host_sees_nothing(|| {
        for (method, path) in [
            ("POST", "/acme/alpha.git/git-upload-archive"),
            ("GET", "/acme/alpha.git/info/refs?service=git-upload-archive"),
            ("GET", "/acme/alpha.git/config"),
            ("GET", "/acme/alpha.git/hooks/update"),
            ("GET", "/acme/alpha.git/packed-refs"),
            ("PUT", "/acme/alpha.git/git-receive-pack"),
            ("PROPFIND", "/acme/alpha.git/"),
        ] {
            let answer = stage.gateway().request(method, path, "Content-Length: 0\r\n");
            assert_eq!(status(&answer), 403, "{method} {path}: {answer}");
            assert!(answer.contains("\nno_route, request "), "{answer}");
        }
        let answer = stage.gateway().raw(head("POST", "/acme/alpha.git/git-upload-archive", ""));
        assert_eq!(status(&answer), 401, "{answer}");
    });
    // What git asks first is a fetch's own question; the archive itself is refused.
    let before = fingerprint(&stage.root());
    let said = stage.client.refused(&format!("archive --remote={url} main"));
    assert!(said.contains("HTTP 403") || said.contains("not supported"), "{said}");
    let answered = stage.nginx.as_ref().map(Nginx::answered).unwrap_or_default();
    assert!(answered.iter().all(|line| !line.contains("archive")), "{answered:?}");
    assert_eq!(fingerprint(&stage.root()), before);
}
