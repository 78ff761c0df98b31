//! Every way in which a request can end gives one line and is counted once.

use std::net::IpAddr;
use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::domain::reason::Reason;
use crate::domain::resource::{RepositoryName, Resource};
use crate::domain::token::{PublicId, TokenFormat};
use crate::record::audit::{Audit, AuditSettings, Flushed, Output, WhenFull};
use crate::record::fixture::{DEADLINE, Fixture, head};
use crate::record::labels::{Mode, Verdict};
use crate::record::metrics::Metrics;
use crate::record::traces::Traces;
use crate::record::worker::WorkerRecorder;
use crate::record::{Caller, Judged, Record, RecordHead, Recorder, Subject};

const TARGET: &str = "/acme/alpha.git/info/refs?service=git-upload-pack&access_token=hunter2";

fn judged(verdict: Verdict, mode: Mode) -> Judged {
    Judged { verdict, mode, policy_generation: 12, shadow: Vec::new() }
}

/// Asserts the one line's verdict, mode, effect, reason and status, and that the request was counted once.
#[track_caller]
fn check(fixture: &Fixture, want: &[(&str, Value)]) {
    let line = fixture.line();
    for (key, value) in want {
        assert_eq!(&line[*key], value, "`{key}` of {line}");
    }
    fixture.check_counted_once();
}

/// Records a request that is forwarded, with everything that can be known of it.
fn record_all(fixture: &Fixture, token_id: PublicId) {
    let mut record = fixture.open(&Method::GET, TARGET);
    record.routed(fixture.forge());
    record.identified(&Caller {
        token_id: Some(token_id),
        token_name: Some("nightly \"build\""),
        hashed_token: None,
        user: Some("ci-bot"),
    });
    record.understood(&Subject {
        route: Some("GET /{owner}/{repository}.git/info/refs"),
        resource: Resource::Repository(RepositoryName { owner: "acme", name: "alpha" }),
        permission: Some("contents=read"),
    });
    record.judged(Judged { shadow: vec!["no-night-work".into()], ..judged(Verdict::Allow, Mode::Enforce) });
    record.forwarding();
    record.responded(StatusCode::OK);
    record.add_request_bytes(10);
    record.add_response_bytes(20);
    record.add_response_bytes(1);
    record.close();
}

#[test]
fn a_forwarded_request_has_every_field_in_order() {
    let fixture = Fixture::new();
    let format = TokenFormat::new("acme").unwrap();
    let secret = format.assemble(&[7; TokenFormat::RANDOM_BYTES]).unwrap();
    let public_id = format.parse(secret.expose()).unwrap().public_id;
    record_all(&fixture, public_id);

    let text = fixture.text();
    assert!(!text.contains("hunter2") && !text.contains(secret.expose()));
    let line: Value = serde_json::from_str(&text).unwrap();
    let time = line["time"].as_str().unwrap();
    let (seconds, microseconds) = (&line["seconds"], &line["decision_microseconds"]);
    assert!(seconds.as_f64().unwrap() * 1e6 + 1.0 > microseconds.as_f64().unwrap(), "{line}");
    assert!(microseconds.as_f64().unwrap() > 0.0, "{line}");
    let want = format!(
        "{{\"time\":\"{time}\",\"request_id\":{},\"upstream\":\"forge\",\"method\":\"GET\",\
         \"path\":\"/acme/alpha.git/info/refs\",\"route\":\"GET /{{owner}}/{{repository}}.git/info/refs\",\
         \"token_id\":\"{public_id}\",\"token_name\":\"nightly \\\"build\\\"\",\"hashed_token\":null,\"user\":\"ci-bot\",\
         \"resource\":\"acme/alpha\",\"permission\":\"contents=read\",\"verdict\":\"allow\",\"mode\":\"enforce\",\
         \"effect\":\"forwarded\",\"reason\":\"granted\",\"status\":200,\"request_bytes\":10,\"response_bytes\":21,\
         \"seconds\":{seconds},\"decision_microseconds\":{microseconds},\"peer\":\"192.0.2.7\",\"policy_generation\":12,\
         \"shadow\":[\"no-night-work\"]}}\n",
        line["request_id"]
    );
    assert_eq!(text, want);
    assert!(time.ends_with('Z') && time.len() == 27, "{time}");
    fixture.check_counted_once();
    fixture.check_labels(["allow", "read", "granted", "2xx", "forge"]);
    assert_eq!(fixture.sum("portcullis_request_bytes_total{upstream=\"forge\"}"), 10);
    assert_eq!(fixture.sum("portcullis_response_bytes_total{upstream=\"forge\"}"), 21);
    assert_eq!(fixture.sum("portcullis_upstream_duration_seconds_count{upstream=\"forge\"}"), 1);
    assert_eq!(fixture.sum("portcullis_decision_duration_seconds_count "), 1);
}

#[test]
fn what_is_unknown_is_null_and_an_empty_shadow_is_left_out() {
    let fixture = Fixture::new();
    let peer = IpAddr::from([192, 0, 2, 7]);
    let mut record =
        Record::open(&fixture.worker, &RecordHead { method: None, path: None, headers: None, peer });
    record.refused(Reason::MalformedRequest);
    record.close();
    let line = fixture.line();
    for key in [
        "upstream",
        "method",
        "path",
        "route",
        "token_id",
        "token_name",
        "user",
        "resource",
        "permission",
        "status",
        "decision_microseconds",
        "policy_generation",
    ] {
        assert_eq!(line.get(key), Some(&Value::Null), "`{key}` of {line}");
    }
    assert!(line.get("shadow").is_none());
    check(
        &fixture,
        &[("verdict", json!("refuse")), ("effect", json!("refused")), ("reason", json!("malformed_request"))],
    );
    fixture.check_labels(["refuse", "other", "malformed_request", "none", "none"]);
}

#[test]
fn a_refused_request_was_refused() {
    let fixture = Fixture::new();
    let mut record = fixture.open(&Method::POST, TARGET);
    record.judged(judged(Verdict::Refuse(Reason::PermissionMissing), Mode::Enforce));
    record.answered(StatusCode::FORBIDDEN);
    record.close();
    check(
        &fixture,
        &[
            ("verdict", json!("refuse")),
            ("mode", json!("enforce")),
            ("effect", json!("refused")),
            ("reason", json!("permission_missing")),
            ("status", json!(403)),
        ],
    );
}

#[test]
fn a_request_on_trial_is_refused_on_paper_and_forwarded() {
    let fixture = Fixture::new();
    let mut record = fixture.open(&Method::POST, TARGET);
    record.routed(fixture.forge());
    record.judged(judged(Verdict::Refuse(Reason::NoRoute), Mode::Shadow));
    record.forwarding();
    record.responded(StatusCode::OK);
    record.close();
    check(
        &fixture,
        &[
            ("verdict", json!("refuse")),
            ("mode", json!("shadow")),
            ("effect", json!("forwarded")),
            ("reason", json!("no_route")),
        ],
    );
    fixture.check_labels(["refuse", "write", "no_route", "2xx", "forge"]);
}

#[test]
fn a_refusal_on_trial_does_not_make_an_own_answer_a_refusal_but_a_real_one_does() {
    for (refused, mode, effect) in [(false, "shadow", "answered"), (true, "enforce", "refused")] {
        let fixture = Fixture::new();
        let mut record = fixture.open(&Method::GET, TARGET);
        record.judged(judged(Verdict::Refuse(Reason::NoRoute), Mode::Shadow));
        if refused {
            record.refused(Reason::ConstraintFailed);
        }
        record.answered(StatusCode::OK);
        record.close();
        check(&fixture, &[("mode", json!(mode)), ("effect", json!(effect))]);
    }
}

#[test]
fn a_failing_upstream_leaves_the_verdict() {
    let fixture = Fixture::new();
    let mut record = fixture.open(&Method::GET, TARGET);
    record.routed(fixture.forge());
    record.judged(judged(Verdict::Allow, Mode::Enforce));
    record.forwarding();
    record.refused(Reason::UpstreamTimeout);
    record.answered(StatusCode::GATEWAY_TIMEOUT);
    record.close();
    check(
        &fixture,
        &[
            ("verdict", json!("allow")),
            ("effect", json!("refused")),
            ("reason", json!("upstream_timeout")),
            ("status", json!(504)),
        ],
    );
    fixture.check_labels(["allow", "read", "upstream_timeout", "5xx", "forge"]);
    assert_eq!(fixture.sum("portcullis_upstream_errors_total{cause=\"timeout\",upstream=\"forge\"}"), 1);
    assert_eq!(fixture.sum("portcullis_upstream_errors_total{"), 1);
    assert_eq!(fixture.sum("portcullis_upstream_duration_seconds_count{"), 0);
}

#[test]
fn a_request_without_room_is_refused_without_a_verdict() {
    let fixture = Fixture::new();
    let mut record = fixture.open(&Method::GET, TARGET);
    record.refused(Reason::Overloaded);
    record.answered(StatusCode::SERVICE_UNAVAILABLE);
    record.close();
    check(
        &fixture,
        &[("verdict", Value::Null), ("effect", json!("refused")), ("reason", json!("overloaded"))],
    );
    assert_eq!(
        fixture
            .sum("portcullis_requests_total{decision=\"refuse\",method_class=\"read\",reason=\"overloaded\""),
        1
    );
}

#[test]
fn a_request_dropped_before_its_verdict_is_undecided() {
    let fixture = Fixture::new();
    drop(fixture.open(&Method::GET, TARGET));
    check(
        &fixture,
        &[
            ("verdict", Value::Null),
            ("effect", json!("aborted")),
            ("reason", json!("undecided")),
            ("status", Value::Null),
        ],
    );
    assert_eq!(fixture.sum("portcullis_aborted_total{upstream=\"none\"}"), 1);
    fixture.check_labels(["none", "read", "undecided", "none", "none"]);
}

#[test]
fn a_request_dropped_before_its_response_is_aborted() {
    let fixture = Fixture::new();
    let mut record = fixture.open(&Method::GET, TARGET);
    record.routed(fixture.forge());
    record.judged(judged(Verdict::Allow, Mode::Enforce));
    record.forwarding();
    drop(record);
    check(
        &fixture,
        &[
            ("verdict", json!("allow")),
            ("effect", json!("aborted")),
            ("reason", json!("granted")),
            ("status", Value::Null),
        ],
    );
    assert_eq!(fixture.sum("portcullis_aborted_total{upstream=\"forge\"}"), 1);
}

#[test]
fn a_handler_that_hyper_drops_leaves_its_record() {
    let fixture = Fixture::new();
    let record = fixture.open(&Method::GET, TARGET);
    let mut handler = Box::pin(async move {
        std::future::pending::<()>().await;
        record.close();
    });
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(handler.as_mut().poll(&mut context).is_pending());
    assert_eq!(fixture.sum("portcullis_requests_in_flight "), 1);
    drop(handler);
    check(&fixture, &[("effect", json!("aborted"))]);
}

#[test]
fn without_an_audit_log_requests_are_counted() {
    let metrics = Metrics::new(&[]);
    let audit = Audit::open(Output::Off.into(), &metrics).unwrap();
    let recorder = Arc::new(Recorder { metrics, audit, traces: Traces::off() });
    let worker = WorkerRecorder::new(&recorder, 0).unwrap();
    let record = Record::open(&worker, &head(&Method::GET, &PathAndQuery::from_static(TARGET)));
    assert!(!record.is_described());
    record.close();
    let text = recorder.metrics.render();
    assert_eq!(crate::record::fixture::sum(&text, "portcullis_requests_total{"), 1);
    assert_eq!(crate::record::fixture::sum(&text, "portcullis_audit_dropped_total "), 0);
}

#[test]
fn a_request_that_cannot_be_recorded_is_told_so_and_counted() {
    let metrics = Metrics::new(&[]);
    let settings =
        AuditSettings { when_full: WhenFull::Refuse, ..Output::File("/dev/full".into(), None).into() };
    let audit = Audit::open(settings, &metrics).unwrap();
    let recorder = Arc::new(Recorder { metrics, audit, traces: Traces::off() });
    let worker = WorkerRecorder::new(&recorder, 0).unwrap();
    let open = || Record::open(&worker, &head(&Method::GET, &PathAndQuery::from_static(TARGET)));
    let mut record = open();
    assert_eq!(record.reserve(), Ok(()));
    assert_eq!(record.reserve(), Ok(()), "the same place");
    record.close();
    let start = crate::clock::monotonic();
    while open().reserve().is_ok() {
        assert!(start.elapsed() < DEADLINE, "the disk is full");
        std::thread::yield_now();
    }
    let text = recorder.metrics.render();
    assert_eq!(crate::record::fixture::sum(&text, "portcullis_audit_refused_total "), 1);
    assert_eq!(recorder.audit.flush(DEADLINE), Flushed::Whole);
}

#[test]
fn only_a_token_of_the_policy_is_counted() {
    let fixture = Fixture::new();
    let format = TokenFormat::new("acme").unwrap();
    let secret = format.assemble(&[7; TokenFormat::RANDOM_BYTES]).unwrap();
    let token = format.parse(secret.expose()).unwrap().public_id;
    record_all(&fixture, token);
    assert_eq!(fixture.sum("portcullis_token_requests_total{"), 0);
    let mut record = fixture.open(&Method::GET, TARGET);
    record.recognized(token);
    record.judged(judged(Verdict::Refuse(Reason::PermissionMissing), Mode::Enforce));
    record.close();
    let sample =
        format!("portcullis_token_requests_total{{reason=\"permission_missing\",token=\"{token}\"}} ");
    assert_eq!(fixture.sum(&sample), 1);
}
