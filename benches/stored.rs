//! A million tokens in the store: how long a gateway takes to have them in memory, how much of that they take, and what one
//! approval costs then.
//!
//! `cargo bench --bench stored -- [TOKENS] [DIRECTORY]`; the store is made in DIRECTORY where it is not there yet. Prints one
//! JSON object.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and prints"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use portcullis::domain::grant::UnixTime;
use portcullis::domain::lifecycle::Part;
use portcullis::domain::lifecycle::terms::{Names, Permissions, Reach, Terms};
use portcullis::domain::permission::Level;
use portcullis::domain::token::{TokenDigest, TokenFormat};
use portcullis::issuer::review::{Review, Verdict};
use portcullis::issuer::{Actor, IssueError, Issuer, IssuerLimits};
use portcullis::live::{Inputs, LivePolicy};
use portcullis::policy::grants::index::Kept;
use portcullis::policy::upstream::{ClassicTokens, UpstreamSpec};
use portcullis::store::Store;
use portcullis::store::tokens::NewToken;

/// Tokens of one user.
const TOKENS_PER_USER: usize = 20;

/// Tokens that are made in one transaction.
const BATCH: usize = 20_000;

/// One in so many waits for approval.
const PENDING: usize = 1000;

/// Approvals that are timed.
const APPROVALS: usize = 200;

const CREATED: UnixTime = UnixTime(1_795_305_600);

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let tokens: usize = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let kept = tempfile::tempdir()?;
    let directory = arguments.next().map_or_else(|| kept.path().to_owned(), PathBuf::from);
    std::fs::create_dir_all(directory.join("policies/organizations"))?;
    std::fs::write(
        directory.join("policies/organizations/acme.yaml"),
        "organization: acme\nowners: [alice]\n",
    )?;
    let file = directory.join("portcullis.db");
    if !file.exists() {
        fill(&file, tokens)?;
    }
    let started = Instant::now();
    let store = Store::open(&file)?;
    let live = Arc::new(
        LivePolicy::load_with(inputs(&directory), Some(store.clone()))
            .map_err(|faults| anyhow::anyhow!("{}", portcullis::domain::fault::describe(&faults)))?,
    );
    live.follow();
    let ready = started.elapsed();
    let resident = resident()?;
    let known = live.peek().stored.len();
    let (median, slowest) = approve(&store, &live)?;
    println!(
        "{{\"tokens\":{known},\"start_s\":{:.2},\"resident_mib\":{},\"approval_ms\":{{\"median\":{median:.2},\"slowest\":{slowest:.2}}},\"resident_after_mib\":{}}}",
        ready.as_secs_f64(),
        resident / 1024,
        self::resident()? / 1024
    );
    Ok(())
}

fn inputs(directory: &Path) -> Inputs {
    Inputs {
        directory: directory.join("policies"),
        upstreams: vec![UpstreamSpec {
            name: "forge".into(),
            hosts: vec!["*".into()],
            path_prefix: None,
            catalogs: vec!["git".into(), "github".into()],
            classic: ClassicTokens::default(),
            file: "portcullis.yaml".into(),
        }],
        format: TokenFormat::default(),
    }
}

/// KiB.
fn resident() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn part(number: usize) -> Part {
    let mut permissions = Permissions::default();
    permissions
        .repository
        .insert("contents".into(), if number.is_multiple_of(3) { Level::Write } else { Level::Read });
    if number.is_multiple_of(5) {
        permissions.repository.insert("issues".into(), Level::Write);
    }
    let reach = match number % 10 {
        0 => Reach::All,
        _ => Reach::Subset(Names::new(vec![format!("r{}", number % 4000), format!("r{}", number % 37)])),
    };
    Part {
        owner: if number.is_multiple_of(2) { "acme" } else { "umbrella" }.into(),
        terms: Terms { reach, permissions },
    }
}

fn fill(file: &Path, tokens: usize) -> anyhow::Result<()> {
    let store = Store::open(file)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    for start in (0..tokens).step_by(BATCH) {
        let batch = start..tokens.min(start + BATCH);
        runtime.block_on(store.write::<_, IssueError>(move |changes| {
            for number in batch {
                let user = changes.user(&format!("user{}", number / TOKENS_PER_USER), CREATED)?;
                let token = NewToken {
                    user_id: user.id,
                    name: format!("token number {number}"),
                    description: None,
                    public_id: format!("{number:022}"),
                    digest: TokenDigest::of(&number.to_string()),
                    at: CREATED,
                    expires_at: Some(UnixTime(CREATED.0 + 300 * 86_400)),
                };
                let id = changes.add_token(&token)?;
                if number.is_multiple_of(PENDING) {
                    changes.add_request(id, &part(number), None, CREATED)?;
                } else {
                    changes.grant(id, &part(number), CREATED, "alice")?;
                }
            }
            Ok(())
        }))?;
        eprint!("\r{} of {tokens}", start + BATCH);
    }
    eprintln!();
    Ok(())
}

/// Milliseconds, from the call to its return, when the token works: the median and the slowest.
fn approve(store: &Store, live: &Arc<LivePolicy>) -> anyhow::Result<(f64, f64)> {
    let issuer = Issuer::new(store.clone(), TokenFormat::default(), IssuerLimits::default(), Arc::default());
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut times = Vec::new();
    for number in 0..APPROVALS {
        let request = i64::try_from(number)? + 1;
        let waiting =
            runtime.block_on(store.read::<_, IssueError>(move |reads| Ok(reads.request(request)?)))?;
        let Some(waiting) = waiting else { break };
        let token = runtime.block_on(issuer.token(waiting.token_id))?;
        let setting = issuer.setting(live.in_force(), Actor::machine("alice".into()));
        let review = Review {
            org: waiting.part.owner,
            requests: vec![request],
            verdict: Verdict::Approve,
            reason: None,
        };
        let started = Instant::now();
        if runtime.block_on(issuer.review(setting, review)).is_err() {
            continue;
        }
        times.push(started.elapsed().as_secs_f64() * 1000.0);
        let kept = Kept::default();
        let granted =
            live.peek().token(&token.token.digest, &kept).is_some_and(|grant| grant.parts().count() == 1);
        anyhow::ensure!(granted, "an approved token does not work");
    }
    times.sort_by(f64::total_cmp);
    let median = *times.get(times.len() / 2).context("nothing to approve; make the store anew")?;
    Ok((median, *times.last().context("nothing")?))
}
