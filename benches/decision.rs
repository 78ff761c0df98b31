//! What a decision costs, and what it does not depend on: the number of declared tokens, the number of routes.
//!
//! `cargo bench --bench decision`. Everything here is in memory and without the network.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and prints"
)]

use std::fmt::Write as _;
use std::hint::black_box;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use criterion::{BatchSize, Criterion};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, header};
use portcullis::domain::fault::describe;
use portcullis::domain::grant::UnixTime;
use portcullis::domain::target::CanonicalTarget;
use portcullis::domain::token::{TokenDigest, TokenFormat};
use portcullis::headers::credential::{self, Credential};
use portcullis::policy::compile::{Source, compile};
use portcullis::policy::decide::{Circumstances, decide};
use portcullis::policy::grants::index::Kept;
use portcullis::policy::judge::{Question, judge};
use portcullis::policy::snapshot::Snapshot;
use portcullis::policy::upstream::{ClassicTokens, UpstreamSpec};

const NOW: UnixTime = UnixTime(1_795_305_600);
const TARGET: &str = "/repos/acme/alpha/contents/src/main.rs?ref=main";

/// The text of the token number `number`.
fn token(number: u32) -> anyhow::Result<String> {
    let mut random = [1; TokenFormat::RANDOM_BYTES];
    for (byte, digit) in random.iter_mut().zip(number.to_string().bytes()) {
        *byte = digit;
    }
    let text = TokenFormat::default().assemble(&random).context("too few bytes")?;
    Ok(text.expose().to_owned())
}

fn source(name: &str, text: String) -> Source {
    Source { name: name.into(), file: name.into(), text }
}

/// `count` declared tokens, 10,000 a file, each for three repositories of one organization.
fn tokens(count: u32) -> anyhow::Result<Vec<Source>> {
    let mut sources: Vec<Source> = Vec::new();
    for number in 0..count {
        if number % 10_000 == 0 {
            sources.push(source(&format!("tokens/{number}.jsonl"), String::new()));
        }
        let file = sources.last_mut().context("no file")?;
        let digest = TokenDigest::of(&token(number)?);
        writeln!(
            file.text,
            "{{\"name\": \"t{number}\", \"sha256\": \"{digest}\", \"user\": \"u{number}\", \
             \"resource_owner\": \"acme\", \"repositories\": [\"alpha\", \"beta\", \"r{number}\"], \
             \"permissions\": {{\"contents\": \"read\"}}, \"expires_at\": \"2027-01-31\"}}"
        )?;
    }
    Ok(sources)
}

/// An organization whose rules are all looked at.
fn organization() -> Source {
    let text = "organization: acme\nowners: [alice]\nfine_grained_tokens: { max_lifetime: 400d }\n";
    source("organizations/acme.yaml", text.into())
}

/// `count` routes over 20 kinds of things in a repository.
fn catalog(count: u32) -> anyhow::Result<Source> {
    let mut text = String::from(
        "catalog: bench\nresource: { owner: [owner], repository: [repo] }\npermissions:\n  \
         contents: { scope: repository, levels: [read, write] }\nroutes:\n  \
         GET /repos/{owner}/{repo}/contents/{path...}: contents=read\n",
    );
    for number in 1..count {
        let (kind, verb) = (number / 20, number % 20);
        writeln!(text, "  GET /repos/{{owner}}/{{repo}}/kind{kind}/{{n}}/verb{verb}: contents=read")?;
    }
    Ok(source("catalogs/bench.yaml", text))
}

fn snapshot(sources: &[Source], catalogs: &[&str]) -> anyhow::Result<Snapshot> {
    let upstream = UpstreamSpec {
        name: "forge".into(),
        hosts: vec!["git.example.com".into()],
        path_prefix: None,
        catalogs: catalogs.iter().map(|name| (*name).into()).collect(),
        classic: ClassicTokens::default(),
        file: "portcullis.yaml".into(),
    };
    compile(sources, &[upstream], &TokenFormat::default(), 1).map_err(|faults| anyhow!(describe(&faults)))
}

/// A snapshot with a question that it permits.
struct Scene {
    snapshot: Snapshot,
    headers: HeaderMap,
    target: CanonicalTarget,
}

impl Scene {
    fn new(snapshot: Snapshot, number: u32) -> anyhow::Result<Self> {
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, HeaderValue::from_static("git/2.51.0"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let value = HeaderValue::try_from(format!("Bearer {}", token(number)?))?;
        headers.insert(header::AUTHORIZATION, value);
        let target = CanonicalTarget::parse(TARGET)?;
        let scene = Self { snapshot, headers, target };
        judge(&scene.snapshot, &scene.question(&scene.target, &Kept::default())).outcome.map(drop)?;
        Ok(scene)
    }

    fn question<'a>(&'a self, target: &'a CanonicalTarget, kept: &'a Kept) -> Question<'a> {
        Question {
            method: &Method::GET,
            target,
            host: "git.example.com",
            server_name: None,
            headers: &self.headers,
            peer: IpAddr::from([192, 0, 2, 7]),
            now: NOW,
            kept,
        }
    }
}

fn targets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("target");
    for (name, text) in [
        ("git", "/acme/alpha.git/info/refs?service=git-upload-pack"),
        ("rest", TARGET),
        ("encoded", "/repos/acme/alpha/contents/src%2Fa%20b%2Fmain.rs?ref=feature%2Fx"),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| CanonicalTarget::parse(black_box(text)));
        });
    }
    group.finish();
}

/// One step after the other, each with what the one before it found.
fn steps(criterion: &mut Criterion, scene: &Scene) -> anyhow::Result<()> {
    let Scene { snapshot, headers, target } = scene;
    let upstream = snapshot.upstreams.first().context("no upstream")?;
    let mut group = criterion.benchmark_group("step");
    group.bench_function("credential", |bencher| {
        let places = upstream.forbidden_places();
        bencher.iter(|| credential::take(black_box(headers), target, places, &snapshot.format));
    });
    let places = upstream.forbidden_places();
    let Credential::Token(token) = credential::take(headers, target, places, &snapshot.format)? else {
        anyhow::bail!("not a token");
    };
    group.bench_function("look_up", |bencher| {
        bencher.iter(|| snapshot.token(black_box(&token.digest), &Kept::default()).is_some());
    });
    let kept = Kept::default();
    let grant = snapshot.token(&token.digest, &kept).context("no token")?;
    group.bench_function("route", |bencher| {
        bencher.iter(|| upstream.action(&Method::GET, black_box(target)).is_ok());
    });
    let matched = upstream.action(&Method::GET, target)?;
    let circumstances = Circumstances { now: NOW, peer: IpAddr::from([192, 0, 2, 7]), denied: None };
    group.bench_function("decide", |bencher| {
        bencher.iter(|| decide(snapshot, grant, black_box(&matched.action), (&circumstances, None)));
    });
    group.finish();
    Ok(())
}

/// The whole decision, from the target as the HTTP parser hands it over.
fn judged(scene: &Scene, arrived: &PathAndQuery) -> bool {
    let target = CanonicalTarget::from_path_and_query(arrived);
    target.is_ok_and(|target| {
        judge(&scene.snapshot, &scene.question(&target, &Kept::default())).outcome.is_ok()
    })
}

fn whole(criterion: &mut Criterion, name: &str, scene: &Scene) -> anyhow::Result<()> {
    let arrived = PathAndQuery::try_from(TARGET)?;
    criterion.bench_function(&format!("judge/{name}"), |bencher| {
        bencher.iter(|| judged(scene, black_box(&arrived)));
    });
    Ok(())
}

/// The median time of the whole decision, by itself, for a line of a table.
fn median(scene: &Scene) -> anyhow::Result<Duration> {
    const ROUNDS: usize = 101;
    const A_ROUND: u32 = 1_000;
    let arrived = PathAndQuery::try_from(TARGET)?;
    let mut rounds: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let started = Instant::now();
            for _ in 0..A_ROUND {
                black_box(judged(scene, black_box(&arrived)));
            }
            started.elapsed() / A_ROUND
        })
        .collect();
    rounds.sort();
    rounds.get(ROUNDS / 2).copied().context("no rounds")
}

/// What a refusal costs: it must not cost more than a permit by an order of magnitude, or it is a lever.
fn refusals(criterion: &mut Criterion, scene: &Scene) -> anyhow::Result<()> {
    for (name, text) in [
        ("no_route", "/repos/acme/alpha/nothing/here/at/all"),
        ("not_granted", "/repos/acme/other/contents/src/main.rs"),
        ("permission_missing", "/repos/acme/alpha/keys"),
    ] {
        let target = CanonicalTarget::parse(text)?;
        criterion.bench_function(&format!("refuse/{name}"), |bencher| {
            bencher.iter(|| {
                judge(&scene.snapshot, black_box(&scene.question(&target, &Kept::default()))).outcome.is_err()
            });
        });
    }
    Ok(())
}

fn compiling(criterion: &mut Criterion) -> anyhow::Result<()> {
    let mut sources = tokens(1_000)?;
    sources.push(organization());
    criterion.bench_function("compile/1000_tokens", |bencher| {
        bencher.iter_batched(
            || sources.clone(),
            |sources| snapshot(&sources, &["git", "github"]).is_ok(),
            BatchSize::LargeInput,
        );
    });
    Ok(())
}

/// A snapshot of the built-in catalogs with `count` tokens.
fn github(count: u32) -> anyhow::Result<Scene> {
    let mut sources = tokens(count)?;
    sources.push(organization());
    Scene::new(snapshot(&sources, &["git", "github"])?, count / 2)
}

/// A snapshot of one catalog with `count` routes.
fn routes(count: u32) -> anyhow::Result<Scene> {
    let mut sources = tokens(10)?;
    sources.push(catalog(count)?);
    Scene::new(snapshot(&sources, &["bench"])?, 5)
}

fn main() -> anyhow::Result<()> {
    let mut criterion = Criterion::default().configure_from_args();
    targets(&mut criterion);
    let few = github(1_000)?;
    steps(&mut criterion, &few)?;
    refusals(&mut criterion, &few)?;
    compiling(&mut criterion)?;
    let mut lines = Vec::new();
    for count in [1_000, 10_000, 100_000, 1_000_000] {
        let scene = github(count)?;
        whole(&mut criterion, &format!("{count}_tokens"), &scene)?;
        lines.push(format!("{count:>9} tokens  {:>6?}", median(&scene)?));
    }
    for count in [10, 100, 1_000, 10_000] {
        let scene = routes(count)?;
        whole(&mut criterion, &format!("{count}_routes"), &scene)?;
        lines.push(format!("{count:>9} routes  {:>6?}", median(&scene)?));
    }
    criterion.final_summary();
    println!("{}", lines.join("\n"));
    Ok(())
}
