//! What does not depend on the machine: how often a decision asks for memory, and how much a declared token takes.

use std::fmt::Write as _;
use std::net::IpAddr;

use allocation_counter::measure;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, header};
use portcullis::domain::target::CanonicalTarget;
use portcullis::policy::compile::Source;
use portcullis::policy::grants::index::Kept;
use portcullis::policy::judge::{Question, judge};
use portcullis::policy::snapshot::Snapshot;

use crate::support::policy::{NOW, snapshot, source, token, tokens};

const TOKEN: &str =
    "resource_owner: acme\nrepositories: [alpha, beta]\npermissions: { contents: write, issues: read }";
const ORGANIZATION: &str = "organization: Acme\nowners: [alice]\nmembers: { user1: write }\nceiling: { contents: write }\nfine_grained_tokens: { max_lifetime: 999999d }\n";
const DENY: &str = "deny: [{ name: hooks, route: \"* /repos/{owner}/{repo}/hooks\" }]\n";

/// How often a permit for `target` asks for memory.
fn allocations(snapshot: &Snapshot, method: &Method, target: &str) -> u64 {
    let mut headers = HeaderMap::new();
    headers.insert(header::USER_AGENT, HeaderValue::from_static("git/2.51.0"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert("x-github-api-version", HeaderValue::from_static("2022-11-28"));
    headers.insert(header::AUTHORIZATION, HeaderValue::try_from(format!("Bearer {}", token(1))).unwrap());
    let arrived = PathAndQuery::try_from(target).unwrap();
    // The bytes of a request are shared with its connection; the first one to share asks for the count.
    let _connection = arrived.clone();
    let mut permitted = false;
    let counted = measure(|| {
        let target = CanonicalTarget::from_path_and_query(&arrived).unwrap();
        let question = Question {
            method,
            target: &target,
            host: "Git.Example.com:8443",
            server_name: Some("git.example.com"),
            headers: &headers,
            peer: IpAddr::from([192, 0, 2, 7]),
            now: NOW,
            kept: &Kept::default(),
        };
        permitted = judge(snapshot, &question).outcome.is_ok();
    });
    assert!(permitted, "{target}");
    counted.count_total
}

#[test]
fn a_decision_asks_for_no_memory() {
    let sources =
        [tokens(&[(1, TOKEN)]), source("organizations/acme.yaml", ORGANIZATION), source("deny.yaml", DENY)];
    let snapshot = snapshot(&sources, &["git", "github"]);
    for (method, target) in [
        (Method::GET, "/repos/acme/alpha/contents/src/main.rs?ref=main"),
        (Method::GET, "/repos/acme/beta/issues?state=open&per_page=100&since=2026-01-01T00:00:00Z"),
        (Method::GET, "/acme/alpha.git/info/refs?service=git-upload-pack"),
        (Method::POST, "/acme/alpha.git/git-receive-pack"),
        (Method::GET, "/user"),
    ] {
        assert_eq!(allocations(&snapshot, &method, target), 0, "{method} {target}");
    }
    // What is encoded is decoded somewhere, and names that are not in lower case are folded.
    let decoded = allocations(&snapshot, &Method::GET, "/repos/ACME/alpha/contents/a%20b?ref=a%2Fb");
    assert!((1..=12).contains(&decoded), "{decoded}");
}

/// Tokens in lines; `user` and `repository` give those of a token.
fn declared(count: u32, user: impl Fn(u32) -> u32, repository: impl Fn(u32) -> u32) -> Source {
    let mut text = String::new();
    for number in 0..count {
        writeln!(
            text,
            "{{\"name\": \"token {number}\", \"sha256\": \"{number:064x}\", \"user\": \"user{}\", \"resource_owner\": \"acme\", \"repositories\": [\"alpha\", \"r{}\"], \"permissions\": {{\"contents\": \"read\"}}, \"expires_at\": \"2999-01-31\"}}",
            user(number),
            repository(number)
        )
        .unwrap();
    }
    source("tokens/many.jsonl", text)
}

/// Bytes that stay, and that are taken at most, for each token of `source`.
fn bytes_a_token(source: Source, count: u32) -> (i64, u64) {
    let sources = [source];
    let empty = measure(|| drop(snapshot(&[], &["git"]))).bytes_max;
    let mut kept = None;
    let counted = measure(|| kept = Some(snapshot(&sources, &["git"])));
    assert_eq!(kept.map(|snapshot| snapshot.tokens.len()), Some(count as usize));
    (counted.bytes_current / i64::from(count), counted.bytes_max.saturating_sub(empty) / u64::from(count))
}

#[test]
fn a_declared_token_takes_few_bytes() {
    const COUNT: u32 = 20_000;
    // Nothing is shared but the organization: each token has its own user and its own repository.
    let (kept, most) = bytes_a_token(declared(COUNT, |number| number, |number| number), COUNT);
    assert!((64..170).contains(&kept) && most < 450, "{kept} bytes, at most {most}");
    // A hundred users, a hundred repositories.
    let (kept, most) =
        bytes_a_token(declared(COUNT, |number| number % 100, |number| number / 7 % 100), COUNT);
    assert!((64..125).contains(&kept) && most < 300, "{kept} bytes, at most {most}");
}
