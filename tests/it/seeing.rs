//! What operators see: metrics, health, and one audit line for each request, whatever becomes of the file.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::gateway::{
    DEADLINE, TestGateway, audit_lines, authorization, head, policy_tokens, status, wait_for,
};
use crate::support::wire::{Host, Wire, field, ok};

const READER: &str = "resource_owner: acme\nrepositories: [alpha]\npermissions: { contents: read }";
const COMMITS: &str = "/repos/acme/alpha/commits";

fn control(gateway: &TestGateway, target: &str) -> (String, String) {
    let mut wire = Wire::connect(gateway.running().control.unwrap());
    wire.send(head("GET", target, ""));
    wire.answer()
}

#[test]
fn health_and_metrics_are_told_also_while_draining() {
    let (tell, arrives) = mpsc::channel();
    let gate = Arc::new(AtomicBool::new(false));
    let opened = Arc::clone(&gate);
    let host = Host::start(move |mut wire, _| {
        wire.head();
        tell.send(()).unwrap();
        wait_for("the gate", || opened.load(Ordering::SeqCst));
        wire.send(ok("hello"));
    });
    let mut gateway = TestGateway::before(host.address, "github", READER);
    for target in ["/livez", "/readyz", "/metrics"] {
        let (head, body) = control(&gateway, target);
        assert_eq!(status(&head), 200, "{target}: {body}");
    }
    assert!(control(&gateway, "/metrics").1.contains("\nportcullis_snapshot_generation 1\n"));
    let address = gateway.running().control.unwrap();
    let mut client = Wire::connect(gateway.address());
    client.send(head("GET", COMMITS, &authorization(1)));
    arrives.recv_timeout(DEADLINE).unwrap();
    let stopping = thread::spawn(move || gateway.stop());
    let ask = |target: &str| {
        let mut wire = Wire::connect(address);
        wire.send(head("GET", target, ""));
        status(&wire.answer().0)
    };
    wait_for("readiness to end", || ask("/readyz") == 503);
    assert_eq!((ask("/livez"), ask("/metrics")), (200, 200));
    gate.store(true, Ordering::SeqCst);
    assert_eq!(client.answer().1, "hello");
    stopping.join().unwrap();
}

#[test]
fn known_traffic_gives_known_numbers_and_lines() {
    let host = Host::answering(|head| {
        if head.contains("sha=cut") {
            "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello".into()
        } else {
            ok("hello")
        }
    });
    let gateway = TestGateway::before(host.address, "github", READER);
    for _ in 0..3 {
        assert_eq!(status(&gateway.request("GET", COMMITS, "")), 200);
    }
    assert_eq!(status(&gateway.request("GET", "/repos/acme/beta/commits", "")), 404);
    assert_eq!(status(&gateway.raw(head("GET", COMMITS, ""))), 401);
    let mut leaving = Wire::connect(gateway.address());
    leaving.send(head("GET", &format!("{COMMITS}?sha=cut"), &authorization(1)));
    leaving.until("hello").unwrap();
    drop(leaving);
    let counted = |decision: &str, reason: &str, class: &str| {
        gateway.metric(&format!(
            "portcullis_requests_total{{decision=\"{decision}\",method_class=\"read\",reason=\"{reason}\",status_class=\"{class}\",upstream=\"forge\"}}"
        ))
    };
    wait_for("the aborted request", || gateway.metric("portcullis_aborted_total{upstream=\"forge\"}") > 0.5);
    for (got, want) in [
        (counted("allow", "granted", "2xx"), 4.0),
        (counted("refuse", "resource_not_granted", "4xx"), 1.0),
        (counted("refuse", "no_credentials", "4xx"), 1.0),
        (gateway.metric("portcullis_requests_in_flight"), 0.0),
        (gateway.metric("portcullis_decision_duration_seconds_count"), 6.0),
        (gateway.metric("portcullis_audit_dropped_total"), 0.0),
        (gateway.metric("portcullis_snapshot_tokens"), 1.0),
    ] {
        assert!((got - want).abs() < 0.5, "{got} {want}\n{}", gateway.running().metrics());
    }
    known_lines(&gateway.audit());
}

/// The lines of that traffic.
fn known_lines(audit: &[serde_json::Value]) {
    let told: Vec<_> = audit
        .iter()
        .map(|line| {
            (line["verdict"].as_str().unwrap(), line["effect"].as_str().unwrap(), line["status"].as_u64())
        })
        .collect();
    let forwarded = ("allow", "forwarded", Some(200));
    assert_eq!(
        told,
        [
            forwarded,
            forwarded,
            forwarded,
            ("refuse", "refused", Some(404)),
            ("refuse", "refused", Some(401)),
            ("allow", "aborted", Some(200)),
        ]
    );
    every_field(&audit[0]);
    assert_eq!(audit[3]["reason"], "resource_not_granted");
    assert_eq!(audit[4]["user"], serde_json::Value::Null);
    assert_eq!(audit[5]["response_bytes"], 5);
    let ids: std::collections::BTreeSet<_> = audit.iter().map(|line| line["request_id"].as_str()).collect();
    assert_eq!(ids.len(), 6);
}

/// A line of an allowed request says everything.
fn every_field(line: &serde_json::Value) {
    for (name, want) in [
        ("upstream", "forge"),
        ("method", "GET"),
        ("path", COMMITS),
        ("user", "user1"),
        ("token_name", "token 1"),
        ("resource", "acme/alpha"),
        ("permission", "contents=read"),
        ("mode", "enforce"),
        ("reason", "granted"),
        ("peer", "127.0.0.1"),
    ] {
        assert_eq!(line[name], want, "{name}");
    }
    for name in ["time", "request_id", "token_id", "route"] {
        assert!(line[name].as_str().is_some_and(|text| !text.is_empty()), "{name}");
    }
    assert_eq!((line["request_bytes"].as_u64(), line["response_bytes"].as_u64()), (Some(0), Some(5)));
    assert_eq!(line["policy_generation"], 1);
    assert!(line["seconds"].as_f64().unwrap() > 0.0 && line["decision_microseconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn an_audit_file_that_is_rotated_under_load_loses_nothing() {
    let host = Host::answering(|_| ok("hello"));
    let mut gateway = TestGateway::before(host.address, "github", READER);
    let file = gateway.directory.path().join("audit.log");
    let rotated = |number: usize| file.with_extension(number.to_string());
    let done = AtomicBool::new(false);
    let sent: usize = thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = Wire::connect(gateway.address());
                    let mut sent = 0;
                    while !done.load(Ordering::Relaxed) {
                        client.send(head("GET", COMMITS, &authorization(1)));
                        assert_eq!(client.answer().1, "hello");
                        sent += 1;
                    }
                    sent
                })
            })
            .collect();
        for number in 0..2 {
            fs::rename(&file, rotated(number)).unwrap();
            wait_for("a new file", || {
                thread::park_timeout(Duration::from_millis(10));
                file.exists()
            });
        }
        done.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    gateway.stop();
    let lines = |file: &std::path::Path| audit_lines(file).len();
    let written = lines(&file) + lines(&rotated(0)) + lines(&rotated(1));
    println!("{sent} requests, {written} lines");
    assert_eq!(written, sent);
}

#[test]
fn a_full_disk_stops_no_request_and_is_counted() {
    let host = Host::answering(|_| ok("hello"));
    let upstreams = format!(
        "  - {{ name: forge, hosts: ['*'], url: 'http://{}', catalogs: [github], identity: {{ trusted_header: X-WEBAUTH-USER }} }}",
        host.address
    );
    let top = "listeners: [{ bind: 127.0.0.1:0 }]\naudit: { file: /dev/full }";
    let gateway = TestGateway::configured(top, &upstreams, &[policy_tokens(&[(1, READER)])]);
    let start = Instant::now();
    let mut client = Wire::connect(gateway.address());
    for _ in 0..500 {
        client.send(head("GET", COMMITS, &authorization(1)));
        let (head, body) = client.answer();
        assert_eq!((field(&head, "content-length"), body.as_str()), (Some("5"), "hello"));
    }
    assert!(start.elapsed() < Duration::from_secs(10));
    wait_for("the lost lines to be counted", || {
        (gateway.metric("portcullis_audit_dropped_total") - 500.0).abs() < 0.5
    });
    assert!(gateway.metric("portcullis_audit_lines_total") < 0.5);
}

#[test]
fn a_request_whose_line_cannot_be_kept_is_refused_before_it_reaches_the_host() {
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    let host = Host::answering(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        ok("hello")
    });
    let upstreams = format!(
        "  - {{ name: forge, hosts: ['*'], url: 'http://{}', catalogs: [github], identity: {{ trusted_header: X-WEBAUTH-USER }} }}",
        host.address
    );
    let top = "listeners: [{ bind: 127.0.0.1:0 }]\naudit: { file: /dev/full, when_full: refuse }";
    let gateway = TestGateway::configured(top, &upstreams, &[policy_tokens(&[(1, READER)])]);
    let mut client = Wire::connect(gateway.address());
    let mut ask = || {
        client.send(head("GET", COMMITS, &authorization(1)));
        client.answer()
    };
    // The first line is lost, and with that it is known that none can be kept.
    let mut last = ask();
    assert_eq!(status(&last.0), 200);
    wait_for("a refusal", || {
        last = ask();
        status(&last.0) == 503
    });
    let (head, body) = last;
    assert!(body.contains("\"reason\":\"overloaded\""), "{body}");
    assert_eq!(field(&head, "retry-after"), Some("1"));
    let before = seen.load(Ordering::SeqCst);
    assert!(gateway.metric("portcullis_audit_refused_total") > 0.5);
    assert_eq!(status(&ask().0), 503);
    assert_eq!(seen.load(Ordering::SeqCst), before, "the host saw a request that was refused");
}

#[test]
fn a_refusal_leads_to_its_audit_line_by_the_request_id() {
    let host = Host::answering(|_| ok("hello"));
    let gateway = TestGateway::before(host.address, "git, github", READER);
    let mut wanted = Vec::new();
    for target in ["/repos/acme/beta/commits", "/acme/beta/info/refs?service=git-upload-pack"] {
        let answer = gateway.request("GET", target, "");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let id = field(head, "x-request-id").unwrap().to_owned();
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        let told = if body.starts_with('{') {
            serde_json::from_str::<serde_json::Value>(body).unwrap()["request_id"]
                .as_str()
                .unwrap()
                .to_owned()
        } else {
            body.trim_end().rsplit(' ').next().unwrap().to_owned()
        };
        assert_eq!(told, id, "{body}");
        wanted.push((id, target.split('?').next().unwrap()));
    }
    let lines = gateway.audit();
    for (id, path) in wanted {
        let found: Vec<_> = lines.iter().filter(|line| line["request_id"] == id.as_str()).collect();
        assert_eq!(found.len(), 1, "{id}");
        assert_eq!((found[0]["path"].as_str(), found[0]["effect"].as_str()), (Some(path), Some("refused")));
    }
}

#[test]
fn git_tokens_workers_and_connections_are_counted() {
    let host = Host::answering(|_| ok("hello"));
    let gateway = TestGateway::before(host.address, "git, github", READER);
    let refs = |service: &str| format!("/acme/alpha/info/refs?service=git-{service}-pack");
    assert_eq!(status(&gateway.request("GET", &refs("upload"), "")), 200);
    assert_eq!(status(&gateway.request("GET", &refs("receive"), "")), 403);
    assert_eq!(status(&gateway.request("GET", COMMITS, "")), 200);
    assert_eq!(status(&gateway.raw(head("GET", COMMITS, &authorization(2)))), 401);
    let operation = |decision: &str, operation: &str| {
        gateway.metric(&format!(
            "portcullis_git_operations_total{{decision=\"{decision}\",operation=\"{operation}\",upstream=\"forge\"}}"
        ))
    };
    wait_for("the counters", || gateway.metric("portcullis_requests_in_flight") < 0.5);
    let text = gateway.running().metrics();
    let of_tokens: Vec<_> =
        text.lines().filter(|line| line.starts_with("portcullis_token_requests_total{")).collect();
    let sum_of_workers: f64 = text
        .lines()
        .filter_map(|line| line.strip_prefix("portcullis_worker_requests_total{")?.rsplit(' ').next())
        .map(|value| value.parse::<f64>().unwrap())
        .sum();
    assert_eq!(of_tokens.len(), 2, "{of_tokens:?}");
    assert!(
        of_tokens.iter().any(|line| line.contains("reason=\"granted\"") && line.ends_with("} 2")),
        "{of_tokens:?}"
    );
    for (got, want) in [
        (operation("allow", "ls_refs"), 1.0),
        (operation("refuse", "push_refs"), 1.0),
        (sum_of_workers, 4.0),
        (gateway.metric("portcullis_tokens{state=\"active\"}"), 1.0),
        (gateway.metric("portcullis_audit_queue_capacity_lines"), 2.0 * 16_384.0),
    ] {
        assert!((got - want).abs() < 0.5, "{got} {want}\n{text}");
    }
    let of_host =
        |name: &str| gateway.metric(&format!("portcullis_upstream_connections_{name}{{upstream=\"forge\"}}"));
    wait_for("connections to be kept", || {
        of_host("idle") > 0.5 && (of_host("open") - of_host("idle")).abs() < 0.5
    });
    assert!(gateway.metric("portcullis_snapshot_checked_timestamp_seconds") > 1.7e9);
    assert!(gateway.metric("portcullis_snapshot_load_duration_seconds") > 0.0);
    let body = control(&gateway, "/metrics").1;
    for worker in ["0", "1"] {
        assert!(
            body.contains(&format!("\nportcullis_worker_cpu_seconds_total{{worker=\"{worker}\"}} ")),
            "{body}"
        );
    }
}
