//! The end of a gateway: what is under way is finished, what is new is refused, what takes too long is cut. And the end
//! of a stream whose token was withdrawn.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::gateway::{DEADLINE, TestGateway, authorization, head, policy_tokens, wait_for};
use crate::support::secure::{Authority, Http2, get, run, secure_gateway};
use crate::support::wire::{Host, Wire, field, ok};

const WRITER: &str = "resource_owner: acme\nrepositories: [alpha]\npermissions: { contents: write }";
const COMMITS: &str = "/repos/acme/alpha/commits";

fn upstreams(host: &Host) -> String {
    format!(
        "  - {{ name: forge, hosts: ['*'], url: 'http://{}', catalogs: [github], identity: {{ trusted_header: X-WEBAUTH-USER }} }}",
        host.address
    )
}

fn request() -> String {
    head("GET", COMMITS, &authorization(1))
}

/// A host that answers only once it is told to, and tells what has arrived.
fn gated() -> (Host, Arc<AtomicBool>, mpsc::Receiver<()>) {
    let (tell, arrives) = mpsc::channel();
    let gate = Arc::new(AtomicBool::new(false));
    let opened = Arc::clone(&gate);
    let host = Host::start(move |mut wire, _| {
        while wire.head().is_some() {
            tell.send(()).ok();
            wait_for("the gate", || {
                thread::park_timeout(Duration::from_millis(1));
                opened.load(Ordering::SeqCst)
            });
            if wire.try_send(ok("hello")).is_err() {
                return;
            }
        }
    });
    (host, gate, arrives)
}

fn refuses(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

#[test]
fn requests_under_way_are_answered_and_new_connections_are_refused() {
    let (host, gate, arrives) = gated();
    let mut gateway = TestGateway::before(host.address, "github", WRITER);
    let address = gateway.address();
    gate.store(true, Ordering::SeqCst);
    let mut idle: Vec<_> = (0..4).map(|_| Wire::connect(address)).collect();
    for wire in &mut idle {
        wire.send(request());
        wire.answer();
        arrives.recv_timeout(DEADLINE).unwrap();
    }
    gate.store(false, Ordering::SeqCst);
    let mut busy: Vec<_> = (0..8).map(|_| Wire::connect(address)).collect();
    for wire in &mut busy {
        wire.send(request());
        arrives.recv_timeout(DEADLINE).unwrap();
    }
    let stopping = thread::spawn(move || {
        gateway.stop();
        gateway
    });
    wait_for("new connections to be refused", || refuses(address));
    for wire in &mut idle {
        assert_eq!(wire.rest().unwrap(), "");
    }
    assert!(!stopping.is_finished());
    gate.store(true, Ordering::SeqCst);
    for wire in &mut busy {
        let (head, body) = wire.answer();
        assert_eq!((field(&head, "connection"), body.as_str()), (Some("close"), "hello"));
        assert_eq!(wire.rest().unwrap(), "");
    }
    let start = Instant::now();
    let gateway = stopping.join().unwrap();
    assert!(start.elapsed() < Duration::from_secs(2));
    let file = gateway.directory.path().join("audit.log");
    assert_eq!(crate::support::gateway::audit_lines(&file).len(), 12);
}

#[test]
fn an_http2_client_is_told_to_go_and_gets_its_answers() {
    let authority = Authority::new();
    let (host, gate, arrives) = gated();
    let mut gateway = secure_gateway(&authority, "", &upstreams(&host), &[policy_tokens(&[(1, WRITER)])]);
    let address = gateway.address();
    run(async {
        let mut idle = Http2::connect(address, &authority).await;
        gate.store(true, Ordering::SeqCst);
        idle.answer(get(COMMITS)).await.unwrap();
        arrives.try_recv().unwrap();
        gate.store(false, Ordering::SeqCst);
        let mut client = Http2::connect(address, &authority).await;
        let answer = {
            let mut sender = client.sender.clone();
            tokio::spawn(async move {
                let request = get(COMMITS).body(http_body_util::Full::default()).unwrap();
                sender.send_request(request).await.map(|answer| answer.status())
            })
        };
        while arrives.try_recv().is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let stopping = thread::spawn(move || gateway.stop());
        idle.connection.await.unwrap().unwrap();
        gate.store(true, Ordering::SeqCst);
        assert_eq!(answer.await.unwrap().unwrap(), 200);
        // The client would go on; it ends because it was told to.
        (&mut client.connection).await.unwrap().unwrap();
        assert!(client.send(get(COMMITS)).await.is_err());
        stopping.join().unwrap();
    });
}

#[test]
fn a_request_that_outlives_the_deadline_is_cut_at_it() {
    let (host, gate, arrives) = gated();
    let top = "listeners: [{ bind: 127.0.0.1:0 }]\ndrain: 1s";
    let mut gateway = TestGateway::configured(top, &upstreams(&host), &[policy_tokens(&[(1, WRITER)])]);
    let mut client = Wire::connect(gateway.address());
    client.send(request());
    arrives.recv_timeout(DEADLINE).unwrap();
    let start = Instant::now();
    gateway.stop();
    let took = start.elapsed();
    assert!((0.9..3.0).contains(&took.as_secs_f64()), "{took:?}");
    client.closed();
    gate.store(true, Ordering::SeqCst);
    let audit = crate::support::gateway::audit_lines(&gateway.directory.path().join("audit.log"));
    assert_eq!(audit.len(), 1);
    assert_eq!(audit[0]["effect"], "aborted");
}

#[test]
fn connections_that_wait_to_be_accepted_are_served() {
    let host = Host::answering(|_| ok("hello"));
    for _ in 0..5 {
        let mut gateway = TestGateway::before(host.address, "github", WRITER);
        let mut clients: Vec<_> = (0..100)
            .map(|_| {
                let mut wire = Wire::connect(gateway.address());
                wire.send(request());
                wire
            })
            .collect();
        let stopping = thread::spawn(move || gateway.stop());
        for wire in &mut clients {
            assert_eq!(wire.answer().1, "hello");
        }
        stopping.join().unwrap();
    }
}

#[test]
fn streams_of_a_token_that_was_withdrawn_end() {
    let (left, leaves) = mpsc::channel();
    let host = Host::start(move |mut wire, _| {
        let head = wire.head().unwrap();
        if head.starts_with("GET") {
            wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            while wire.try_send("5\r\nhello\r\n").is_ok() {
                thread::park_timeout(Duration::from_millis(5));
            }
        } else {
            wire.closed();
        }
        left.send(()).unwrap();
    });
    let gateway = TestGateway::before(host.address, "github", WRITER);
    let mut down = Wire::connect(gateway.address());
    down.send(request());
    down.until("hello").unwrap();
    let mut up = Wire::connect(gateway.address());
    let fields = format!("{}Content-Length: 1000000\r\n", authorization(1));
    up.send(head("PUT", "/repos/acme/alpha/contents/a", &fields) + "x");
    wait_for("both to be under way", || host.connections() == 2);
    // A change that concerns nobody ends nothing.
    gateway.edit("deny.yaml", "deny: [{ name: x, route: \"* /x\" }]\n");
    down.until("hello").unwrap();
    up.send("x");
    let start = Instant::now();
    let revoked = format!("{WRITER}\nstate: revoked");
    let (name, text) = policy_tokens(&[(1, &revoked)]);
    gateway.edit(name, &text);
    while down.until("hello").is_some() {}
    assert!(up.try_send("x").is_ok(), "the next bytes are those that it ends with");
    for _ in 0..2 {
        leaves.recv_timeout(DEADLINE).unwrap();
    }
    println!("streams ended {:?} after the edit", start.elapsed());
    wait_for("both to end", || gateway.metric("portcullis_requests_in_flight") < 0.5);
    let audit = gateway.audit();
    assert_eq!(audit.len(), 2);
    assert!(audit.iter().all(|line| line["effect"] != "forwarded"), "{audit:?}");
}
