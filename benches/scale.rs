//! A gateway's policy at the size that it is made for: what a million declared tokens take, and what one decision
//! among them takes.
//!
//! `cargo bench --bench scale` prints a table and fails where a budget is not kept; `-- --tokens 100000` takes fewer,
//! `--yaml` writes them as YAML, `--keep DIRECTORY` leaves the files there. Everything here is in memory and without
//! the network.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and prints"
)]

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufWriter, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, header};
use portcullis::domain::fault::describe;
use portcullis::domain::grant::UnixTime;
use portcullis::domain::target::CanonicalTarget;
use portcullis::domain::token::{TokenDigest, TokenFormat};
use portcullis::live::{Inputs, LivePolicy, Look, Reload};
use portcullis::policy::grants::index::Kept;
use portcullis::policy::judge::{Question, judge};
use portcullis::policy::snapshot::Snapshot;
use portcullis::policy::upstream::{ClassicTokens, UpstreamSpec};

const NOW: UnixTime = UnixTime(1_795_305_600);
const FILES: u32 = 20;
const DECISIONS: usize = 200_000;

/// Budgets at a million tokens.
const LOAD: Duration = Duration::from_secs(3);
const RESIDENT_MIB: u64 = 200;
const MEDIAN: Duration = Duration::from_micros(1);
const P99: Duration = Duration::from_micros(3);

struct Arguments {
    tokens: u32,
    yaml: bool,
    keep: Option<PathBuf>,
}

fn arguments() -> anyhow::Result<Arguments> {
    let mut arguments = Arguments { tokens: 1_000_000, yaml: false, keep: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--tokens" => arguments.tokens = words.next().context("--tokens NUMBER")?.parse()?,
            "--yaml" => arguments.yaml = true,
            "--keep" => arguments.keep = Some(words.next().context("--keep DIRECTORY")?.into()),
            // Cargo adds it.
            "--bench" => {}
            other => bail!("unknown argument `{other}`"),
        }
    }
    Ok(arguments)
}

/// The text of the token number `number`.
fn token(number: u32) -> anyhow::Result<String> {
    let mut random = [1; TokenFormat::RANDOM_BYTES];
    for (byte, digit) in random.iter_mut().zip(number.to_string().bytes()) {
        *byte = digit;
    }
    let text = TokenFormat::default().assemble(&random).context("too few bytes")?;
    Ok(text.expose().to_owned())
}

/// Tokens that share little: each has a user of its own, and a repository that no other reaches.
fn write(directory: &Path, arguments: &Arguments) -> anyhow::Result<()> {
    fs::create_dir_all(directory.join("tokens"))?;
    let ending = if arguments.yaml { "yaml" } else { "jsonl" };
    for file in 0..FILES {
        let path = directory.join(format!("tokens/{file:03}.{ending}"));
        let mut out = BufWriter::new(File::create(path)?);
        if arguments.yaml {
            writeln!(out, "tokens:")?;
        }
        for number in (file..arguments.tokens).step_by(FILES as usize) {
            let digest = TokenDigest::of(&token(number)?);
            if arguments.yaml {
                writeln!(
                    out,
                    "  - name: token {number}\n    sha256: {digest}\n    user: user{number}\n    resource_owner: acme\n    \
                     repositories: [alpha, beta, r{number}]\n    permissions: {{ contents: read, issues: write }}\n    \
                     created_at: 2026-11-01\n    expires_at: 2027-01-31"
                )?;
            } else {
                writeln!(
                    out,
                    "{{\"name\": \"token {number}\", \"sha256\": \"{digest}\", \"user\": \"user{number}\", \
                     \"resource_owner\": \"acme\", \"repositories\": [\"alpha\", \"beta\", \"r{number}\"], \
                     \"permissions\": {{\"contents\": \"read\", \"issues\": \"write\"}}, \
                     \"created_at\": \"2026-11-01\", \"expires_at\": \"2027-01-31\"}}"
                )?;
            }
        }
        out.flush()?;
    }
    Ok(())
}

/// One more file, with one token.
fn write_small(directory: &Path, user: &str) -> anyhow::Result<()> {
    let digest = TokenDigest::of(&token(u32::MAX)?);
    let text = format!(
        "tokens:\n  - name: small\n    sha256: {digest}\n    user: {user}\n    resource_owner: acme\n    repositories: all\n    \
         permissions: {{ contents: read }}\n    expires_at: 2027-01-31\n"
    );
    Ok(fs::write(directory.join("tokens/small.yaml"), text)?)
}

/// A line of the process's status, MiB.
fn memory(field: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).context("no such line")?;
    let kib: u64 = line.trim_matches([':', ' ', '\t', 'k', 'B']).parse()?;
    Ok(kib / 1024)
}

/// The time that the process has had on processors.
fn processor_time() -> anyhow::Result<Duration> {
    let status = fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = status.rsplit_once(") ").context("no fields")?;
    // User and system time, the 14th and 15th field, in hundredths of a second.
    let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}

/// Times of single decisions over random tokens, each with the reading of its target, in order.
fn decisions(snapshot: &Snapshot, tokens: u32) -> anyhow::Result<Vec<Duration>> {
    // Texts are made before, some at a time: to make one costs more than to judge it.
    let mut times = Vec::with_capacity(DECISIONS);
    let mut state = 1_u64;
    while times.len() < DECISIONS {
        let mut requests = Vec::new();
        for _ in 0..1_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = u32::try_from((state >> 33) % u64::from(tokens))?;
            let mut headers = HeaderMap::new();
            headers.insert(header::USER_AGENT, HeaderValue::from_static("git/2.51.0"));
            headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
            let value = HeaderValue::try_from(format!("Bearer {}", token(number)?))?;
            headers.insert(header::AUTHORIZATION, value);
            let target = format!("/repos/acme/r{number}/contents/src/main.rs?ref=main");
            requests.push((headers, PathAndQuery::try_from(target)?));
        }
        for (headers, target) in &requests {
            let started = Instant::now();
            let permitted = CanonicalTarget::from_path_and_query(black_box(target)).is_ok_and(|target| {
                let question = Question {
                    method: &Method::GET,
                    target: &target,
                    host: "git.example.com",
                    server_name: None,
                    headers,
                    peer: IpAddr::from([192, 0, 2, 7]),
                    now: NOW,
                    kept: &Kept::default(),
                };
                judge(snapshot, &question).outcome.is_ok()
            });
            times.push(started.elapsed());
            if !permitted {
                bail!("refused: {target}");
            }
        }
    }
    times.sort();
    Ok(times)
}

/// Changes one small file, and lets go of the old snapshot.
fn reload(live: &LivePolicy, directory: &Path) -> anyhow::Result<()> {
    write_small(directory, "bob")?;
    let (started, worked) = (Instant::now(), processor_time()?);
    let Reload::Replaced(_) = live.reload(Look::AtTexts) else { bail!("not reloaded") };
    let took = processor_time()?.saturating_sub(worked);
    println!("one small file changed {:.2?}, {took:.2?} of processors", started.elapsed());
    let started = Instant::now();
    live.reload(Look::AtStamps);
    println!("old snapshot let go    {:.2?}", started.elapsed());
    println!("resident               {} MiB; at most {} MiB", memory("VmRSS")?, memory("VmHWM")?);
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let arguments = arguments()?;
    let temporary = tempfile::tempdir()?;
    let directory = arguments.keep.clone().unwrap_or_else(|| temporary.path().to_owned());
    write(&directory, &arguments)?;
    write_small(&directory, "alice")?;
    let bytes: u64 = fs::read_dir(directory.join("tokens"))?
        .map(|entry| Ok(entry?.metadata()?.len()))
        .sum::<std::io::Result<u64>>()?;
    let upstream = UpstreamSpec {
        name: "forge".into(),
        hosts: vec!["git.example.com".into()],
        path_prefix: None,
        catalogs: vec!["git".into(), "github".into()],
        classic: ClassicTokens::default(),
        file: "portcullis.yaml".into(),
    };
    let inputs =
        Inputs { directory: directory.clone(), upstreams: vec![upstream], format: TokenFormat::default() };
    let before = memory("VmRSS")?;
    let (started, worked) = (Instant::now(), processor_time()?);
    let live = LivePolicy::load(inputs).map_err(|faults| anyhow!(describe(&faults)))?;
    let load = started.elapsed();
    let (resident, peak) = (memory("VmRSS")?, memory("VmHWM")?);
    let declared = live.peek().tokens.len();
    println!("tokens                 {declared} in {FILES} files, {} MiB", bytes >> 20);
    println!(
        "loaded in              {load:.2?}, {:.2?} of processors",
        processor_time()?.saturating_sub(worked)
    );
    println!("resident               {resident} MiB, {before} MiB before; at most {peak} MiB");
    let times = decisions(&live.peek(), arguments.tokens)?;
    let at = |thousandths: usize| times.get(times.len() * thousandths / 1_000).copied().unwrap_or_default();
    println!("decision               median {:?}, p99 {:?}, p99.9 {:?}", at(500), at(990), at(999));
    reload(&live, &directory)?;
    let kept = load <= LOAD && resident <= RESIDENT_MIB && at(500) <= MEDIAN && at(990) <= P99;
    if !kept && !arguments.yaml {
        bail!("over budget: {LOAD:?}, {RESIDENT_MIB} MiB, {MEDIAN:?}, {P99:?}");
    }
    Ok(())
}
