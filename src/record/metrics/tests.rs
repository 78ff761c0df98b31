//! What is rendered is complete, well formed and described.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use http::StatusCode;

use super::*;
use crate::clock;
use crate::domain::refusal::UpstreamError;
use crate::domain::token::{PublicId, TokenFormat};
use crate::record::Recorder;
use crate::record::audit::{Audit, Output};
use crate::record::census::TokenCounts;
use crate::record::fixture::{requests, sum};
use crate::record::labels::StatusClass;
use crate::record::shard::Decision;
use crate::record::traces::Traces;
use crate::record::worker::WorkerRecorder;

fn metrics() -> Metrics {
    Metrics::new(&["forge".to_owned(), "billing \"x\"\n".to_owned()])
}

fn outcome(metrics: &Metrics) -> RequestOutcome {
    RequestOutcome {
        upstream: metrics.upstream("forge"),
        verdict: Some(Verdict::Allow),
        failure: None,
        method: MethodClass::Read,
        status: Some(StatusCode::OK),
        effect: Effect::Forwarded,
        git: None,
        duration: Duration::from_millis(3),
        decision: Some(Duration::from_nanos(300)),
        request_bytes: 5,
        response_bytes: 7,
    }
}

#[track_caller]
fn check(metrics: &Metrics, sample: &str, want: u64) {
    let text = metrics.render();
    assert!(text.lines().any(|line| line.starts_with(sample)), "no `{sample}` in {text}");
    assert_eq!(sum(&text, sample), want, "`{sample}`");
}

#[test]
fn a_request_is_counted_with_its_labels() {
    let metrics = metrics();
    metrics.shard(0).request(&outcome(&metrics));
    metrics.shard(1).request(&outcome(&metrics));
    metrics.shard(0).request(&RequestOutcome {
        upstream: None,
        verdict: Some(Verdict::Refuse(Reason::NoUpstream)),
        status: Some(StatusCode::NOT_FOUND),
        method: MethodClass::Write,
        effect: Effect::Refused,
        decision: None,
        ..outcome(&metrics)
    });
    check(&metrics, &requests(["allow", "read", "granted", "2xx", "forge"]), 2);
    check(&metrics, &requests(["refuse", "write", "no_upstream", "4xx", "none"]), 1);
    check(&metrics, "portcullis_request_bytes_total{upstream=\"forge\"} ", 10);
    check(&metrics, "portcullis_response_bytes_total{upstream=\"none\"} ", 7);
    check(&metrics, "portcullis_request_duration_seconds_bucket{upstream=\"forge\",le=\"0.0025\"} ", 0);
    check(&metrics, "portcullis_request_duration_seconds_bucket{upstream=\"forge\",le=\"0.005\"} ", 2);
    check(&metrics, "portcullis_decision_duration_seconds_bucket{le=\"0.00000025\"} ", 0);
    check(&metrics, "portcullis_decision_duration_seconds_bucket{le=\"0.0000005\"} ", 2);
}

#[test]
fn guards_count_what_is_under_way() {
    let metrics = metrics();
    let audit = Audit::open(Output::Off.into(), &metrics).unwrap();
    let recorder = Arc::new(Recorder { metrics, audit, traces: Traces::off() });
    let workers = [0, 1].map(|number| WorkerRecorder::new(&recorder, number).unwrap());
    let metrics = &recorder.metrics;
    let guards = workers.each_ref().map(|worker| worker.connection_opened());
    let child = metrics.git_child_started();
    check(metrics, "portcullis_connections_open ", 2);
    check(metrics, "portcullis_git_children ", 1);
    drop((guards, child));
    check(metrics, "portcullis_connections_open ", 0);
    check(metrics, "portcullis_git_children ", 0);
    check(metrics, "portcullis_connections_total ", 2);
}

#[test]
fn a_refused_reload_makes_the_policy_stale_until_one_succeeds() {
    let metrics = metrics();
    metrics.reload_succeeded(3, 40, UnixTime(1_800_000_000));
    check(&metrics, "portcullis_snapshot_generation ", 3);
    check(&metrics, "portcullis_snapshot_tokens ", 40);
    check(&metrics, "portcullis_snapshot_loaded_timestamp_seconds ", 1_800_000_000);
    check(&metrics, "portcullis_snapshot_stale ", 0);
    metrics.reload_refused();
    check(&metrics, "portcullis_snapshot_stale ", 1);
    check(&metrics, "portcullis_snapshot_generation ", 3);
    metrics.reload_succeeded(4, 41, UnixTime(1_800_000_001));
    check(&metrics, "portcullis_snapshot_stale ", 0);
    check(&metrics, "portcullis_snapshot_reload_total{result=\"ok\"} ", 2);
    check(&metrics, "portcullis_snapshot_reload_total{result=\"refused\"} ", 1);
}

#[test]
fn events_count_under_their_labels() {
    let metrics = metrics();
    metrics.handshake(Handshake::Completed);
    metrics.handshake(Handshake::TimedOut);
    metrics.http2_broken(Http2Fault::Flood);
    metrics.connection_refused();
    let forge = metrics.upstream("forge");
    metrics.shard(0).of(forge).unwrap().connections.add(1);
    metrics.shard(1).of(forge).unwrap().count_error(UpstreamError::Unreachable);
    metrics.shard(0).of(None).unwrap().count_error(UpstreamError::Failed);
    check(&metrics, "portcullis_tls_handshakes_total{result=\"ok\"} ", 1);
    check(&metrics, "portcullis_tls_handshakes_total{result=\"failed\"} ", 0);
    check(&metrics, "portcullis_tls_handshakes_total{result=\"timeout\"} ", 1);
    check(&metrics, "portcullis_http2_connections_broken_total{cause=\"flood\"} ", 1);
    check(&metrics, "portcullis_http2_connections_broken_total{cause=\"protocol\"} ", 0);
    check(&metrics, "portcullis_connections_refused_total ", 1);
    check(&metrics, "portcullis_upstream_connections_total{upstream=\"forge\"} ", 1);
    check(&metrics, "portcullis_upstream_errors_total{cause=\"unreachable\",upstream=\"forge\"} ", 1);
    check(&metrics, "portcullis_upstream_errors_total{cause=\"failed\",upstream=\"none\"} ", 1);
    check(&metrics, "portcullis_upstream_errors_total{", 2);
}

#[test]
fn upstreams_are_found_by_name() {
    let metrics = metrics();
    let forge = metrics.upstream("forge").unwrap();
    assert_eq!(metrics.upstream_name(forge), Some("forge"));
    assert_eq!(metrics.upstream("nowhere"), None);
    assert_eq!(metrics.upstream(NO_UPSTREAM), None);
    assert_eq!(Metrics::new(&[]).upstream_name(UpstreamId(1)), None);
}

#[test]
fn a_git_operation_is_counted_with_its_decision() {
    let metrics = metrics();
    let count = |worker: usize, git, verdict| {
        let outcome = RequestOutcome { git: Some(git), verdict: Some(verdict), ..outcome(&metrics) };
        metrics.shard(worker).request(&outcome);
    };
    count(0, GitOperation::Fetch, Verdict::Allow);
    count(1, GitOperation::Fetch, Verdict::Allow);
    count(1, GitOperation::Push, Verdict::Refuse(Reason::PermissionMissing));
    let sample = |decision: &str, operation: &str| {
        format!(
            "portcullis_git_operations_total{{decision=\"{decision}\",operation=\"{operation}\",upstream=\"forge\"}} "
        )
    };
    check(&metrics, &sample("allow", "fetch"), 2);
    check(&metrics, &sample("refuse", "push"), 1);
    check(&metrics, "portcullis_git_operations_total{", 3);
}

#[test]
fn workers_are_told_apart() {
    let metrics = metrics();
    let audit = Audit::open(Output::Off.into(), &metrics).unwrap();
    let recorder = Arc::new(Recorder { metrics, audit, traces: Traces::off() });
    let [first, second] = [0, 1].map(|number| WorkerRecorder::new(&recorder, number).unwrap());
    let metrics = &recorder.metrics;
    first.shard.request(&outcome(metrics));
    let connection = second.connection_opened();
    second.panicked();
    for (name, want) in [("requests_total", [1, 0]), ("connections_open", [0, 1]), ("panics_total", [0, 1])] {
        for (worker, want) in want.into_iter().enumerate() {
            check(metrics, &format!("portcullis_worker_{name}{{worker=\"{worker}\"}} "), want);
        }
    }
    drop(connection);
    check(metrics, "portcullis_worker_connections_open{worker=\"1\"} ", 0);
}

#[test]
fn connections_to_upstreams_are_open_until_they_are_dropped() {
    let metrics = metrics();
    let forge = metrics.upstream("forge").unwrap();
    let audit = Audit::open(Output::Off.into(), &metrics).unwrap();
    let recorder = Arc::new(Recorder { metrics, audit, traces: Traces::off() });
    let workers = [0, 1].map(|number| WorkerRecorder::new(&recorder, number).unwrap());
    let metrics = &recorder.metrics;
    let open = workers.each_ref().map(|worker| worker.upstream_connected(forge));
    for worker in &workers {
        worker.upstream_connections_kept(forge, 3);
        worker.upstream_connections_kept(forge, 2);
    }
    let [left, right] = open;
    drop(left);
    check(metrics, "portcullis_upstream_connections_total{upstream=\"forge\"} ", 2);
    check(metrics, "portcullis_upstream_connections_open{upstream=\"forge\"} ", 1);
    check(metrics, "portcullis_upstream_connections_idle{upstream=\"forge\"} ", 4);
    check(metrics, "portcullis_upstream_connections_open{upstream=\"none\"} ", 0);
    drop(right);
    check(metrics, "portcullis_upstream_connections_open{upstream=\"forge\"} ", 0);
}

#[test]
fn certificates_take_the_place_of_those_before() {
    let metrics = metrics();
    let sample = |certificate: &str| {
        format!(
            "portcullis_tls_certificate_expiry_timestamp_seconds{{certificate=\"{certificate}\",listener=\"[::]:8443\"}} "
        )
    };
    metrics.certificates([("[::]:8443", "a.pem", UnixTime(5)), ("[::]:8443", "b.pem", UnixTime(6))]);
    check(&metrics, &sample("b.pem"), 6);
    metrics.certificates([("[::]:8443", "a.pem", UnixTime(7))]);
    check(&metrics, &sample("a.pem"), 7);
    assert!(!metrics.render().contains("b.pem"), "the old one");
}

#[test]
fn files_that_are_refused_are_not_found_to_be_in_force() {
    let metrics = metrics();
    let checked = "portcullis_snapshot_checked_timestamp_seconds ";
    metrics.reload_succeeded(1, 2, UnixTime(10));
    check(&metrics, checked, 10);
    metrics.reload_unneeded(UnixTime(11));
    check(&metrics, checked, 11);
    metrics.reload_refused();
    metrics.reload_unneeded(UnixTime(12));
    check(&metrics, checked, 11);
    metrics.reload_took(Duration::from_millis(1_500));
    assert!(metrics.render().contains("\nportcullis_snapshot_load_duration_seconds 1.5\n"), "the duration");
}

#[test]
fn tokens_are_counted_when_somebody_asks() {
    struct Four;

    impl Census for Four {
        fn states(&self, now: UnixTime) -> TokenCounts {
            assert!(now.0 > 1_700_000_000);
            TokenCounts { active: 4, expired: 3, pending: 2, revoked: 1, suspended: 0 }
        }

        fn expiring(&self, _now: UnixTime, seconds: i64) -> usize {
            usize::try_from(seconds / 86_400).unwrap()
        }
    }

    let metrics = metrics();
    check(&metrics, "portcullis_tokens{", 0);
    metrics.count_tokens_with(Box::new(Four));
    for (state, want) in [("active", 4), ("expired", 3), ("pending", 2), ("revoked", 1)] {
        check(&metrics, &format!("portcullis_tokens{{state=\"{state}\"}} "), want);
    }
    for (within, want) in [("1d", 1), ("7d", 7), ("30d", 30)] {
        check(&metrics, &format!("portcullis_tokens_expiring{{within=\"{within}\"}} "), want);
    }
}

fn public_id() -> PublicId {
    let format = TokenFormat::default();
    let secret = format.assemble(&[7; TokenFormat::RANDOM_BYTES]).unwrap();
    format.parse(secret.expose()).unwrap().public_id
}

/// The families of `text`, each of which must have its HELP, its TYPE and samples, in this order.
fn families(text: &str) -> BTreeSet<String> {
    let mut families = BTreeSet::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let (name, help) = line.strip_prefix("# HELP ").and_then(|line| line.split_once(' ')).unwrap();
        assert!(help.ends_with('.') || help.contains(';'), "help of `{name}`");
        let kind = lines.next().and_then(|line| line.strip_prefix("# TYPE ")).unwrap();
        assert!(kind.starts_with(&format!("{name} ")), "{kind}");
        assert_eq!(kind.ends_with(" counter"), name.ends_with("_total"), "{kind}");
        assert!(lines.peek().is_some_and(|line| line.starts_with(name)), "samples of `{name}`");
        while lines.next_if(|line| line.starts_with(name)).is_some() {}
        assert!(families.insert(name.to_owned()), "`{name}` stands twice");
    }
    families
}

#[test]
fn every_family_has_help_type_and_a_description_and_none_is_only_described() {
    let metrics = Metrics::with_tokens(&["forge".to_owned()], 1);
    Audit::open(Output::Off.into(), &metrics).unwrap();
    metrics.shard(0).request(&RequestOutcome { git: Some(GitOperation::Fetch), ..outcome(&metrics) });
    metrics.certificates([("0.0.0.0:8443", "tls/cert.pem", UnixTime(1))]);
    let tokens = metrics.worker_tokens(0).unwrap();
    tokens.count(&public_id(), Decision::Allow, None, clock::monotonic());
    let mut rendered = families(&metrics.render());
    // The control listener adds it.
    rendered.insert("portcullis_worker_cpu_seconds_total".to_owned());
    // And what it tells of webhooks, which has a test of its own there.
    rendered
        .extend(["portcullis_webhook_deliveries", "portcullis_webhook_attempts_total"].map(str::to_owned));
    // And of the store, too.
    let of_store = [
        "portcullis_store_readable",
        "portcullis_store_writable",
        "portcullis_store_followed_timestamp_seconds",
    ];
    rendered.extend(of_store.map(str::to_owned));
    assert_eq!(rendered.len(), 48);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let document = fs::read_to_string(path).unwrap();
    let described: BTreeSet<_> = document
        .lines()
        .filter_map(|line| line.strip_prefix("### `"))
        .filter_map(|rest| rest.split(['`', '{']).next())
        .filter(|name| name.starts_with("portcullis_"))
        .map(ToOwned::to_owned)
        .collect();
    assert_eq!(rendered, described);
}

#[test]
fn every_label_value_is_described() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let document = fs::read_to_string(path).unwrap();
    let words = Reason::ALL
        .map(Reason::as_str)
        .into_iter()
        .chain(MethodClass::ALL.map(MethodClass::as_str))
        .chain(StatusClass::ALL.map(StatusClass::as_str))
        .chain(Handshake::ALL.map(Handshake::as_str))
        .chain(Http2Fault::ALL.map(Http2Fault::as_str))
        .chain(GitOperation::ALL.map(GitOperation::as_str))
        .chain(["granted", "undecided", "allow", "refuse", "none", "unreachable"])
        .chain(["active", "expired", "pending", "revoked", "1d", "7d", "30d"]);
    for word in words {
        assert!(document.contains(&format!("`{word}`")), "`{word}`");
    }
}
