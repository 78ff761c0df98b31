//! Policies, tokens and questions out of text.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;

use http::{HeaderMap, HeaderValue, Method, header};
use portcullis::domain::grant::UnixTime;
use portcullis::domain::refusal::Refusal;
use portcullis::domain::target::CanonicalTarget;
use portcullis::domain::token::{TokenDigest, TokenFormat};
use portcullis::policy::compile::{Source, compile};
use portcullis::policy::grants::index::Kept;
use portcullis::policy::judge::{Question, judge};
use portcullis::policy::snapshot::Snapshot;
use portcullis::policy::upstream::{ClassicTokens, UpstreamSpec};

/// A moment before every expiry in the tests: 2026-11-22 00:00 UTC.
pub(crate) const NOW: UnixTime = UnixTime(1_795_305_600);

/// A token's text that differs by `seed`.
pub(crate) fn token(seed: u8) -> String {
    let mut random = [seed % 61; TokenFormat::RANDOM_BYTES];
    random[0] = seed / 61;
    TokenFormat::default().assemble(&random).unwrap().expose().to_owned()
}

/// A policy file.
pub(crate) fn source(name: &str, text: impl Into<String>) -> Source {
    Source { name: name.into(), file: PathBuf::from("policies").join(name), text: text.into() }
}

/// `tokens/test.yaml` with one token per `(seed, body)`; the body holds everything from `resource_owner` on.
pub(crate) fn tokens(declared: &[(u8, &str)]) -> Source {
    let mut text = String::from("tokens:\n");
    for (seed, body) in declared {
        let digest = TokenDigest::of(&token(*seed));
        writeln!(
            text,
            "  - name: token {seed}\n    sha256: {digest}\n    user: user{seed}\n    expires_at: 2999-01-31"
        )
        .unwrap();
        for line in body.lines() {
            writeln!(text, "    {}", line.trim_end()).unwrap();
        }
    }
    source("tokens/test.yaml", text)
}

/// One upstream for any host.
pub(crate) fn upstream(catalogs: &[&str]) -> UpstreamSpec {
    UpstreamSpec {
        name: "forge".into(),
        hosts: vec!["*".into()],
        path_prefix: None,
        catalogs: catalogs.iter().map(|name| (*name).into()).collect(),
        classic: ClassicTokens::default(),
        file: "portcullis.yaml".into(),
    }
}

/// Compiles, or shows the faults.
#[track_caller]
pub(crate) fn snapshot(sources: &[Source], catalogs: &[&str]) -> Snapshot {
    compile(sources, &[upstream(catalogs)], &TokenFormat::default(), 1)
        .unwrap_or_else(|faults| panic!("{}", portcullis::domain::fault::describe(&faults)))
}

/// The outcome of `method target` with the token of `seed`.
pub(crate) fn ask(snapshot: &Snapshot, seed: u8, method: &str, target: &str) -> Result<(), Refusal> {
    let target = CanonicalTarget::parse(target)?;
    let mut headers = HeaderMap::new();
    let value = HeaderValue::try_from(format!("Bearer {}", token(seed))).unwrap();
    headers.insert(header::AUTHORIZATION, value);
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let question = Question {
        method: &method,
        target: &target,
        host: "git.example.com",
        server_name: None,
        headers: &headers,
        peer: IpAddr::from([192, 0, 2, 7]),
        now: NOW,
        kept: &Kept::default(),
    };
    judge(snapshot, &question).outcome.map(drop)
}
