//! Connections to hosts: kept, replaced, refused, routed, and told who calls.

use std::fs;
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::support::gateway::{
    DEADLINE, TestGateway, authorization, head, policy_tokens, read_answer, reason, status, wait_for, write,
};
use crate::support::secure::Authority;
use crate::support::wire::{Host, Wire, field, ok};

const READER: &str = "resource_owner: acme\nrepositories: [alpha]\npermissions: { contents: write }";
const COMMITS: &str = "/repos/acme/alpha/commits";

/// An upstream at `url` with more fields, on one worker.
fn upstream(name: &str, hosts: &str, url: &str, more: &str) -> String {
    format!("  - {{ name: {name}, hosts: [{hosts}], url: '{url}', catalogs: [github], {more} }}\n")
}

const TRUSTED: &str = "identity: { trusted_header: X-WEBAUTH-USER }";

fn gateway(upstreams: &str) -> TestGateway {
    TestGateway::start(upstreams, &[policy_tokens(&[(1, READER)])])
}

fn simple(url: &str, more: &str) -> TestGateway {
    gateway(&upstream("forge", "'*'", url, &format!("{TRUSTED}, {more}")))
}

fn get() -> String {
    head("GET", COMMITS, &authorization(1))
}

#[test]
fn connections_are_kept_and_used_again() {
    let host = Host::answering(|_| ok("hello"));
    let gateway = simple(&format!("http://{}", host.address), "");
    let mut client = Wire::connect(gateway.address());
    for _ in 0..50 {
        client.send(get());
        assert_eq!(client.answer().1, "hello");
    }
    assert_eq!(host.connections(), 1);
    let counted = "portcullis_upstream_connections_total{upstream=\"forge\"}";
    assert!((gateway.metric(counted) - 1.0).abs() < 0.5);
}

#[test]
fn a_kept_connection_that_the_host_closed_is_replaced() {
    let (tell, closes) = mpsc::channel();
    let host = Host::start(move |mut wire, _| {
        wire.head();
        wire.send(ok("hello"));
        drop(wire);
        tell.send(()).unwrap();
    });
    let gateway = simple(&format!("http://{}", host.address), "");
    let mut client = Wire::connect(gateway.address());
    for _ in 0..200 {
        client.send(get());
        assert_eq!(client.answer().1, "hello");
        closes.recv_timeout(DEADLINE).unwrap();
    }
}

#[test]
fn hosts_that_close_under_load_cost_no_reading_request() {
    // Each connection is good for a few requests and closes without a word, at any moment that suits it.
    let host = Host::start(|mut wire, number| {
        for _ in 0..=number % 3 {
            if wire.head().is_none() {
                return;
            }
            wire.send(ok("hello"));
        }
    });
    let gateway = simple(&format!("http://{}", host.address), "");
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut client = Wire::connect(gateway.address());
                for _ in 0..60 {
                    client.send(get());
                    let (head, body) = client.answer();
                    assert_eq!(body, "hello", "{head}");
                }
            });
        }
    });
}

#[test]
fn a_request_that_changes_something_is_never_sent_twice() {
    let (show, shown) = mpsc::channel();
    let host = Host::start(move |mut wire, _| {
        while let Some(head) = wire.head() {
            show.send(head.clone()).unwrap();
            if head.starts_with("PUT") {
                return;
            }
            wire.send(ok("hello"));
        }
    });
    let gateway = simple(&format!("http://{}", host.address), "");
    let mut client = Wire::connect(gateway.address());
    client.send(get());
    client.answer();
    let target = "/repos/acme/alpha/contents/a";
    client.send(head("PUT", target, &format!("{}Content-Length: 0\r\n", authorization(1))));
    let (head, body) = client.answer();
    assert_eq!(reason(&(head + &body)), "upstream_failed");
    assert_eq!(shown.try_iter().count(), 2);
}

#[test]
fn hosts_that_fail_have_their_reasons() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = simple(&format!("http://{closed}"), "");
    let answer = gateway.raw(get());
    assert_eq!((status(&answer), reason(&answer).as_str()), (502, "upstream_unreachable"));

    let (left, leaves) = mpsc::channel();
    let silent = Host::start(move |mut wire, _| {
        wire.closed();
        left.send(()).unwrap();
    });
    let gateway = simple(&format!("http://{}", silent.address), "timeouts: { response: 1s }");
    let start = Instant::now();
    let answer = gateway.raw(get());
    assert_eq!((status(&answer), reason(&answer).as_str()), (504, "upstream_timeout"));
    let took = start.elapsed();
    assert!((1.0..3.0).contains(&took.as_secs_f64()), "{took:?}");
    leaves.recv_timeout(DEADLINE).unwrap();
    let errors = "portcullis_upstream_errors_total{cause=\"timeout\",upstream=\"forge\"}";
    wait_for("the error to be counted", || gateway.metric(errors) > 0.5);

    for garbage in ["SSH-2.0-OpenSSH_9.6\r\n", "HTTP/1.1 2x0 OK\r\n\r\n", ""] {
        let host = Host::answering(move |_| garbage.to_owned() + "\r\n\r\n");
        let empty = Host::start(|mut wire, _| drop(wire.head()));
        let address = if garbage.is_empty() { empty.address } else { host.address };
        let gateway = simple(&format!("http://{address}"), "");
        let answer = gateway.raw(get());
        assert_eq!((status(&answer), reason(&answer).as_str()), (502, "upstream_failed"), "{garbage}");
    }
}

#[test]
fn an_upload_that_moves_does_not_time_out() {
    let host = Host::start(|mut wire, _| {
        wire.head();
        wire.exactly(8);
        wire.send(ok("stored"));
    });
    let gateway = simple(&format!("http://{}", host.address), "timeouts: { response: 1s }");
    let mut client = Wire::connect(gateway.address());
    let fields = format!("{}Content-Length: 8\r\n", authorization(1));
    client.send(head("PUT", "/repos/acme/alpha/contents/a", &fields));
    let start = Instant::now();
    for step in 1..=8u32 {
        // The passing of time is what is tested.
        while start.elapsed() < Duration::from_millis(300) * step {
            std::thread::park_timeout(Duration::from_millis(10));
        }
        client.send("x");
    }
    assert!(start.elapsed() > Duration::from_secs(2));
    assert_eq!(client.answer().1, "stored");
}

#[test]
fn the_host_and_the_longest_prefix_choose_the_upstream() {
    let named = |name: &'static str| Host::answering(move |_| ok(name));
    let hosts = [named("any"), named("a"), named("api"), named("v3")];
    let url = |index: usize| format!("http://{}", hosts[index].address);
    let gateway = gateway(
        &[
            upstream("any", "b.example.com", &url(0), TRUSTED),
            upstream("a", "a.example.com", &url(1), TRUSTED),
            upstream("api", "a.example.com", &url(2), &format!("path_prefix: /api, {TRUSTED}")),
            upstream("v3", "a.example.com", &url(3), &format!("path_prefix: /api/v3, {TRUSTED}")),
        ]
        .concat(),
    );
    let ask = |host: &str, target: &str| {
        gateway.raw(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{}\r\n", authorization(1)))
    };
    for (host, prefix, want) in [
        ("b.example.com", "", "any"),
        ("A.Example.com:8443", "", "a"),
        ("a.example.com", "/api", "api"),
        ("a.example.com", "/api/v3", "v3"),
    ] {
        let answer = ask(host, &format!("{prefix}{COMMITS}"));
        assert!(answer.ends_with(&format!("\r\n\r\n{want}")), "{host}{prefix}: {answer}");
    }
    // Whole segments only: these belong to `a`, which has no such route.
    for target in ["/apis/repos/acme/alpha/commits", "/api-v3/repos/acme/alpha/commits"] {
        let answer = ask("a.example.com", target);
        assert_eq!((status(&answer), reason(&answer).as_str()), (403, "no_route"), "{target}");
    }
    let answer = ask("c.example.com", COMMITS);
    assert_eq!((status(&answer), reason(&answer).as_str()), (404, "no_upstream"));
}

#[test]
fn a_host_behind_tls_must_have_a_certificate_of_the_right_authority() {
    let (right, wrong) = (Authority::new(), Authority::new());
    let host = Host::start_tls(right.issue(&["forge.internal"]).server(), |mut wire, _| {
        while wire.head().is_some() {
            wire.send(ok("hello"));
        }
    });
    for (ca, name, want) in
        [(&right, "forge.internal", 200), (&wrong, "forge.internal", 502), (&right, "other.internal", 502)]
    {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("ca.pem"), &ca.certificate).unwrap();
        let more = format!("ca: ca.pem, server_name: {name}, {TRUSTED}");
        let upstreams = upstream("forge", "'*'", &format!("https://{}", host.address), &more);
        let gateway = TestGateway::in_directory(
            directory,
            "listeners: [{ bind: 127.0.0.1:0 }]",
            &upstreams,
            &[policy_tokens(&[(1, READER)])],
        );
        let answer = gateway.raw(get());
        assert_eq!(status(&answer), want, "{name}: {answer}");
        if want == 502 {
            assert_eq!(reason(&answer), "upstream_unreachable");
        }
    }
}

#[test]
fn each_identity_tells_the_host_who_calls_and_follows_its_file() {
    let host = Host::answering(ok);
    for (identity, fields) in [
        ("trusted_header: X-WEBAUTH-USER", ["x-webauth-user: user1", ""]),
        (
            "bearer_file: secret, user_header: X-On-Behalf",
            ["authorization: Bearer s3cret", "x-on-behalf: user1"],
        ),
        ("basic_file: secret", ["authorization: Basic czNjcmV0", ""]),
        ("sudo_file: secret", ["authorization: Bearer s3cret", "sudo: user1"]),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let secret = directory.path().join("secret");
        fs::write(&secret, "s3cret\n").unwrap();
        let more = format!("identity: {{ {identity} }}");
        let upstreams = upstream("forge", "'*'", &format!("http://{}", host.address), &more);
        let gateway = TestGateway::in_directory(
            directory,
            "listeners: [{ bind: 127.0.0.1:0 }]",
            &upstreams,
            &[policy_tokens(&[(1, READER)])],
        );
        let spoofed = "Sudo: root\r\nX-On-Behalf: root\r\nX_WEBAUTH_USER: root\r\n";
        let ask = || gateway.request("GET", COMMITS, spoofed);
        let answer = ask();
        for wanted in fields {
            assert!(answer.contains(&format!("{wanted}\r\n")), "{identity}: {answer}");
        }
        if fields[0].starts_with("authorization") {
            write(&secret, "n3w\n");
            wait_for("the new credential", || {
                let answer = ask();
                assert_eq!(status(&answer), 200);
                answer.contains("Bearer n3w\r\n") || answer.contains("Basic bjN3\r\n")
            });
            // A broken one changes nothing. What follows it says that it was looked at.
            write(&secret, "two\nlines\n");
            gateway.edit("deny.yaml", "deny: []\n");
            let answer = ask();
            assert!(answer.contains("Bearer n3w\r\n") || answer.contains("Basic bjN3\r\n"), "{answer}");
        }
    }
}

#[test]
fn the_host_field_is_ours_or_the_clients() {
    let host = Host::answering(ok);
    for (more, want) in
        [("", host.address.to_string()), ("preserve_host: true", "git.example.com".to_owned())]
    {
        let gateway = simple(&format!("http://{}", host.address), more);
        let mut client = std::net::TcpStream::connect(gateway.address()).unwrap();
        std::io::Write::write_all(&mut client, get().as_bytes()).unwrap();
        let answer = read_answer(&mut client);
        let (_, seen) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(field(seen, "host"), Some(want.as_str()), "{seen}");
        assert_eq!(field(seen, "x-forwarded-host"), Some("git.example.com"));
    }
}
