//! Limits: what is too large, too slow or too much is refused, and costs nobody else anything.

use std::time::{Duration, Instant};

use crate::support::gateway::{TestGateway, authorization, head, policy_tokens, reason, status, wait_for};
use crate::support::secure::{Authority, Http2, get, run, secure_gateway};
use crate::support::spy::Spy;
use crate::support::wire::{Host, Wire, ok};

const READER: &str = "resource_owner: acme\nrepositories: [alpha]\npermissions: { contents: read }";
const COMMITS: &str = "/repos/acme/alpha/commits";

fn upstreams(address: std::net::SocketAddr) -> String {
    format!(
        "  - {{ name: forge, hosts: ['*'], url: 'http://{address}', catalogs: [github], identity: {{ trusted_header: X-WEBAUTH-USER }} }}"
    )
}

fn limited(limits: &str, address: std::net::SocketAddr) -> TestGateway {
    let top = format!("listeners: [{{ bind: 127.0.0.1:0 }}]\nlimits: {{ {limits} }}");
    TestGateway::configured(&top, &upstreams(address), &[policy_tokens(&[(1, READER)])])
}

const SMALL: &str = "header_bytes: 8KiB, header_count: 20, target_bytes: 1KiB";

type Fields = Vec<(String, String)>;

/// Requests over the limits of [`SMALL`], as target and fields, with their status.
fn too_large() -> [(String, Fields, u16); 3] {
    let many = (0..30).map(|number| (format!("x-{number}"), "1".to_owned()));
    [
        (COMMITS.into(), vec![("x-large".into(), "x".repeat(9000))], 431),
        (COMMITS.into(), many.collect(), 431),
        (format!("{COMMITS}?q={}", "x".repeat(2000)), Vec::new(), 414),
    ]
}

#[test]
fn heads_over_the_limits_are_refused_over_http1() {
    let spy = Spy::start();
    let gateway = limited(SMALL, spy.address);
    for (target, fields, want) in too_large() {
        let lines: Vec<_> = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let answer = gateway.request("GET", &target, &lines.concat());
        assert_eq!((status(&answer), reason(&answer).as_str()), (want, "limit_exceeded"));
    }
    spy.saw_nothing();
    let audit = gateway.audit();
    assert_eq!(audit.len(), 3);
    assert!(audit.iter().all(|line| line["reason"] == "limit_exceeded"), "{audit:?}");
}

#[test]
fn heads_over_the_limits_are_refused_over_http2() {
    let authority = Authority::new();
    let spy = Spy::start();
    let policies = [policy_tokens(&[(1, READER)])];
    let limits = format!("limits: {{ {SMALL} }}");
    let gateway = secure_gateway(&authority, &limits, &upstreams(spy.address), &policies);
    run(async {
        let mut client = Http2::connect(gateway.address(), &authority).await;
        for (target, fields, want) in too_large() {
            let request =
                fields.iter().fold(get(&target), |request, (name, value)| request.header(name, value));
            let (status, _, body) = client.answer(request).await.unwrap();
            assert_eq!(status.as_u16(), want, "{body}");
            assert!(body.contains("\"limit_exceeded\""), "{body:?}");
        }
        spy.saw_nothing();
        // The connection goes on.
        assert_eq!(client.answer(get(COMMITS)).await.unwrap().0, 200);
    });
    let audit = gateway.audit();
    assert_eq!(audit.len(), 4);
}

#[test]
fn slow_heads_and_idle_connections_end() {
    let spy = Spy::start();
    let gateway = limited("header_time: 1s, idle_time: 2s", spy.address);
    let start = Instant::now();
    let mut slow = Wire::connect(gateway.address());
    slow.send("GET /repos/acme");
    let mut silent = Wire::connect(gateway.address());
    let mut idle = Wire::connect(gateway.address());
    idle.send(head("GET", COMMITS, &authorization(1)));
    assert_eq!(idle.answer().1, "hello");
    let (answered, body) = slow.answer();
    assert_eq!((status(&answered), reason(&(answered + &body)).as_str()), (408, "limit_exceeded"));
    let took = start.elapsed();
    assert!((0.9..2.0).contains(&took.as_secs_f64()), "{took:?}");
    assert_eq!(idle.rest().unwrap(), "");
    assert_eq!(silent.rest().unwrap(), "");
    let took = start.elapsed();
    // The machine is busy.
    assert!((1.9..5.5).contains(&took.as_secs_f64()), "{took:?}");
}

#[test]
fn an_idle_http2_connection_ends_and_one_that_waits_for_its_host_does_not() {
    let authority = Authority::new();
    let host = Host::start(|mut wire, _| {
        while let Some(head) = wire.head() {
            if head.contains("sha=slow") {
                // Longer than a connection may be idle: that is what is tested.
                let start = Instant::now();
                while start.elapsed() < Duration::from_secs(3) {
                    std::thread::park_timeout(Duration::from_millis(100));
                }
            }
            wire.send(ok("hello"));
        }
    });
    let policies = [policy_tokens(&[(1, READER)])];
    let limits = "limits: { idle_time: 1s, header_time: 1s }";
    let gateway = secure_gateway(&authority, limits, &upstreams(host.address), &policies);
    run(async {
        let mut client = Http2::connect(gateway.address(), &authority).await;
        let (_, _, body) = client.answer(get(&format!("{COMMITS}?sha=slow"))).await.unwrap();
        assert_eq!(body, "hello");
        let start = Instant::now();
        client.connection.await.unwrap().unwrap();
        let took = start.elapsed();
        // For once to twice its time, and the machine is busy.
        assert!((0.9..5.0).contains(&took.as_secs_f64()), "{took:?}");
    });
}

#[test]
fn connections_over_the_limit_are_refused_counted_and_free_again() {
    let spy = Spy::start();
    let gateway = limited("connections: 4", spy.address);
    let ask = |wire: &mut Wire| {
        wire.try_send(head("GET", COMMITS, &authorization(1))).ok()?;
        wire.head()
    };
    let mut held: Vec<_> = (0..4).map(|_| Wire::connect(gateway.address())).collect();
    for wire in &mut held {
        assert!(ask(wire).is_some());
    }
    let mut fifth = Wire::connect(gateway.address());
    fifth.closed();
    assert!((gateway.metric("portcullis_connections_refused_total") - 1.0).abs() < 0.5);
    assert!((gateway.metric("portcullis_connections_open") - 4.0).abs() < 0.5);
    held.pop();
    wait_for("a free place", || ask(&mut Wire::connect(gateway.address())).is_some());
}

#[test]
fn a_connection_has_a_bounded_number_of_streams() {
    let authority = Authority::new();
    let (tell, arrives) = std::sync::mpsc::channel();
    let gate = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let opened = std::sync::Arc::clone(&gate);
    let host = Host::start(move |mut wire, _| {
        while wire.head().is_some() {
            tell.send(()).unwrap();
            while !opened.load(std::sync::atomic::Ordering::SeqCst) {
                std::thread::park_timeout(Duration::from_millis(5));
            }
            wire.send(ok("hello"));
        }
    });
    let policies = [policy_tokens(&[(1, READER)])];
    let gateway = secure_gateway(&authority, "", &upstreams(host.address), &policies);
    run(async {
        let client = Http2::connect(gateway.address(), &authority).await;
        let answers: Vec<_> = (0..200)
            .map(|_| {
                let mut sender = client.sender.clone();
                tokio::spawn(async move {
                    sender.ready().await.unwrap();
                    let request = get(COMMITS).body(http_body_util::Full::default()).unwrap();
                    sender.send_request(request).await.unwrap().status()
                })
            })
            .collect();
        let in_flight = || gateway.metric("portcullis_requests_in_flight");
        while arrives.try_iter().count() == 0 || in_flight() < 127.5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // What came over is under way; the rest waits with the client.
        assert!(in_flight() < 128.5, "{}", in_flight());
        gate.store(true, std::sync::atomic::Ordering::SeqCst);
        for answer in answers {
            assert_eq!(answer.await.unwrap(), 200);
        }
    });
}
