//! Decisions as data: each file in `tests/corpus` holds policy files, requests, and what is expected of each.
//!
//! A request is `METHOD target: expected`, and `expected` is `permit` or a reason, with a part of the sentence that the
//! caller reads in brackets behind it; behind `permit`, a part of the name of a shadowed rule. `${name}` stands for the
//! text of the token called so, `${sha256:name}` for its digest.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use portcullis::domain::grant::UnixTime;
use portcullis::domain::reason::Reason;
use portcullis::domain::refusal::Refusal;
use portcullis::domain::target::CanonicalTarget;
use portcullis::domain::token::{TokenDigest, TokenFormat};
use portcullis::policy::compile::{Source, compile};
use portcullis::policy::grants::index::Kept;
use portcullis::policy::judge::{Question, judge};
use portcullis::policy::snapshot::Snapshot;
use portcullis::yaml::{self, Entries};
use serde::Deserialize;

use crate::support::policy::{NOW, source, upstream};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus");

/// One file: a policy, and questions to it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Theme {
    about: String,
    catalogs: Vec<String>,
    /// File name below the policy directory to its text.
    policy: BTreeMap<String, String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    title: String,
    /// Published advisories of other software that this is about.
    #[serde(default)]
    like: Vec<String>,
    /// `Authorization: Bearer` with the token of this name.
    token: Option<String>,
    /// Header fields, `Name: value`. A `Basic` value is written as `user:password`.
    #[serde(default)]
    headers: Vec<String>,
    from: Option<String>,
    at: Option<String>,
    host: Option<String>,
    server_name: Option<String>,
    requests: Entries<String>,
}

/// The text of the token called `name`.
fn token(name: &str) -> String {
    let random: Vec<u8> = name.bytes().cycle().take(TokenFormat::RANDOM_BYTES).collect();
    let text = TokenFormat::default().assemble(&random).unwrap();
    text.expose().to_owned()
}

/// `text` with the tokens put in.
fn fill(text: &str) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').unwrap();
        filled += before;
        filled += &match name.strip_prefix("sha256:") {
            Some(name) => TokenDigest::of(&token(name)).to_string(),
            None => token(name),
        };
        rest = after;
    }
    filled + rest
}

fn snapshot_of(theme: &Theme) -> Snapshot {
    let sources: Vec<Source> = theme.policy.iter().map(|(name, text)| source(name, fill(text))).collect();
    let catalogs: Vec<_> = theme.catalogs.iter().map(String::as_str).collect();
    let mut spec = upstream(&catalogs);
    spec.hosts = vec!["git.example.com".into()];
    compile(&sources, &[spec], &TokenFormat::default(), 1)
        .unwrap_or_else(|faults| panic!("{}", portcullis::domain::fault::describe(&faults)))
}

impl Case {
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let bearer = self.token.as_ref().map(|name| format!("Authorization: Bearer ${{{name}}}"));
        for field in self.headers.iter().chain(bearer.as_ref()) {
            let (name, value) = field.split_once(": ").unwrap();
            let value = fill(value);
            let value = match value.strip_prefix("Basic ") {
                Some(pair) if pair.contains(':') => format!("Basic {}", STANDARD.encode(pair)),
                _ => value,
            };
            headers.append(
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        headers
    }

    fn ask(&self, snapshot: &Snapshot, request: &str) -> Result<Vec<String>, Refusal> {
        let (method, target) = request.split_once(' ').unwrap();
        let target = CanonicalTarget::parse(target)?;
        let at = self.at.as_ref().map(|at| {
            let at: jiff::Timestamp = at.parse().unwrap();
            UnixTime(at.as_second())
        });
        let peer = self.from.as_deref().unwrap_or("192.0.2.7");
        let question = Question {
            method: &Method::from_bytes(method.as_bytes()).unwrap(),
            target: &target,
            host: self.host.as_deref().unwrap_or("git.example.com"),
            server_name: self.server_name.as_deref(),
            headers: &self.headers(),
            peer: peer.parse::<IpAddr>().unwrap(),
            now: at.unwrap_or(NOW),
            kept: &Kept::default(),
        };
        let permit = judge(snapshot, &question).outcome?;
        Ok(permit.shadow().to_vec())
    }
}

/// `None` where the answer is as expected.
fn difference(expected: &str, answer: &Result<Vec<String>, Refusal>) -> Option<String> {
    let (word, part) = match expected.split_once(" (") {
        Some((word, part)) => (word, part.strip_suffix(')').unwrap()),
        None => (expected, ""),
    };
    assert!(word == "permit" || Reason::parse(word).is_some(), "unknown word `{word}`");
    let (is, says) = match answer {
        Ok(shadow) => ("permit", shadow.join("; ")),
        Err(refusal) => (refusal.reason().as_str(), refusal.public_message()),
    };
    let silent = part.is_empty() && is == "permit" && !says.is_empty();
    (is != word || !says.contains(part) || silent).then(|| format!("{is} ({says})"))
}

/// All files, sorted by name.
fn themes() -> Vec<(String, Theme)> {
    let mut names: Vec<_> = std::fs::read_dir(FOLDER)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let read = |name: String| {
        let text = std::fs::read_to_string(Path::new(FOLDER).join(&name)).unwrap();
        let theme = yaml::parse(Path::new(&name), &text).unwrap_or_else(|fault| panic!("{fault}"));
        (name, theme)
    };
    names.into_iter().map(read).collect()
}

#[test]
fn every_row_is_decided_as_it_says() {
    let mut wrong = Vec::new();
    let mut rows = 0;
    for (file, theme) in themes() {
        assert!(!theme.about.is_empty(), "{file}: say what it is about");
        let snapshot = snapshot_of(&theme);
        for case in &theme.cases {
            for (request, expected) in &case.requests.0 {
                rows += 1;
                if let Some(is) = difference(&expected.value, &case.ask(&snapshot, &request.value)) {
                    let line = yaml::place(request).line;
                    wrong.push(format!(
                        "{file}:{line}: {}: {}\n  expected {}, is {is}",
                        case.title, request.value, expected.value
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {rows} rows:\n{}", wrong.len(), wrong.join("\n"));
    assert!(rows >= 150, "only {rows} rows");
}

/// Every reason that a decision can give stands in the corpus, and permits do too.
#[test]
fn every_reason_of_the_decision_has_a_row() {
    let themes = themes();
    let expected: BTreeSet<&str> = themes
        .iter()
        .flat_map(|(_, theme)| &theme.cases)
        .flat_map(|case| &case.requests.0)
        .filter_map(|(_, expected)| expected.value.split(' ').next())
        .collect();
    // What only the store can say is in tests/it/lifecycle.
    let of_store = [Reason::UserSuspended, Reason::StoreStale];
    let decided = |reason: &Reason| (2..=11).contains(&reason.step()) && !of_store.contains(reason);
    for reason in Reason::ALL.iter().filter(|reason| decided(reason)) {
        assert!(expected.contains(reason.as_str()), "{reason} has no row");
    }
    assert!(expected.contains("permit"));
}

/// The published bypasses of the path in other gateways, each with its row.
#[test]
fn the_known_bypasses_have_rows() {
    let themes = themes();
    let known: BTreeSet<&str> = themes
        .iter()
        .flat_map(|(_, theme)| &theme.cases)
        .flat_map(|case| case.like.iter().map(String::as_str))
        .collect();
    for advisory in [
        "GHSA-p224-6x5r-fjpm",
        "CVE-2019-9901",
        "CVE-2021-29492",
        "CVE-2021-31920",
        "GHSA-gm3x-23wp-hc2c",
        "CVE-2026-73553",
        "CVE-2026-41059",
        "CVE-2021-32777",
        "GHSA-7rh7-c77v-6434",
        "CVE-2025-46821",
        "CVE-2022-1993",
        "CVE-2026-5845",
        "GHSA-cp3q-vrj2-ghhh",
        "GHSA-7x7g-xq59-cqgh",
        "CVE-2026-60004",
        "CVE-2026-26196",
        "CVE-2022-29226",
    ] {
        assert!(known.contains(advisory), "{advisory} has no row");
    }
}
