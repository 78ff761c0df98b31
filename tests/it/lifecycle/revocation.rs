//! Revocation under load: when the call has returned, nothing passes any more, on 500 connections and in a running clone.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::api::ApiGateway;
use crate::support::gateway::{DEADLINE, read_answer, reason, status, wait_for};
use crate::support::git::Git;
use crate::support::relay::{Direction, Relay};
use crate::support::spy::Spy;

const CONNECTIONS: usize = 500;
const ACME: &str = "organization: acme\nowners: [alice]\n";

/// What the connections saw.
#[derive(Default)]
struct Seen {
    /// Requests that passed.
    allowed: AtomicUsize,
    /// When each request was begun that passed as the last one of its connection.
    last_allowed: Mutex<Vec<Instant>>,
    refused: AtomicUsize,
    ends: AtomicBool,
}

fn ask_on_and_on(stream: &mut TcpStream, request: &str, seen: &Seen) {
    let mut last = None;
    let mut refused_once = false;
    while !(refused_once && seen.ends.load(Ordering::Acquire)) {
        let begun = Instant::now();
        stream.write_all(request.as_bytes()).unwrap();
        let answer = read_answer(stream);
        // An answer that is under way when its permit is withdrawn is broken off, with its connection.
        let cut = !answer.contains("\r\n\r\n");
        if cut || answer.contains("\r\nconnection: close\r\n") {
            *stream = TcpStream::connect(stream.peer_addr().unwrap()).unwrap();
        }
        if !cut && status(&answer) == 200 {
            seen.allowed.fetch_add(1, Ordering::Relaxed);
            last = Some(begun);
        } else {
            refused_once = true;
            seen.refused.fetch_add(1, Ordering::Relaxed);
        }
    }
    seen.last_allowed.lock().unwrap().extend(last);
}

#[test]
fn nothing_passes_on_any_connection_once_the_call_has_returned() {
    const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok";
    let spy = Spy::answering(ANSWER);
    let gateway = ApiGateway::before(spy.address, "github", &[("organizations/acme.yaml", ACME.into())]);
    let alice = gateway.person("alice");
    let wish = json!({ "name": "load", "resource_owner": "acme", "repositories": "all", "permissions": { "contents": "read" } });
    let (_, token) = alice.create(&wish);
    let grants = alice.get("/orgs/acme/personal-access-tokens").expect(200);
    let address = gateway.gateway.address();
    let request = format!(
        "GET /repos/acme/alpha/contents/x HTTP/1.1\r\nHost: git.example.com\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    let (seen, ready) = (Arc::<Seen>::default(), Arc::new(Barrier::new(CONNECTIONS + 1)));
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (seen, ready, request) = (Arc::clone(&seen), Arc::clone(&ready), request.clone());
            let client = move || {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(DEADLINE * 3)).unwrap();
                ready.wait();
                ask_on_and_on(&mut stream, &request, &seen);
            };
            thread::Builder::new().stack_size(128 * 1024).spawn(client).unwrap()
        })
        .collect();
    ready.wait();
    wait_for("every connection at work", || seen.allowed.load(Ordering::Relaxed) > CONNECTIONS * 4);
    let called = Instant::now();
    let path = format!("/orgs/acme/personal-access-tokens/{}", grants[0]["id"]);
    alice.post(&path, &json!({ "action": "revoke" })).expect(204);
    let returned = Instant::now();
    let until = seen.refused.load(Ordering::Relaxed) + CONNECTIONS * 2;
    wait_for("refusals", || seen.refused.load(Ordering::Relaxed) > until);
    seen.ends.store(true, Ordering::Release);
    for client in clients {
        client.join().unwrap();
    }
    let late = seen.last_allowed.lock().unwrap().iter().filter(|begun| **begun >= returned).count();
    println!(
        "{CONNECTIONS} connections, {} requests passed before, the call took {:?}; {late} passed that began after it had returned",
        seen.allowed.load(Ordering::Relaxed),
        returned - called
    );
    assert_eq!(late, 0);
}

#[test]
fn a_running_clone_ends() {
    let git = Git::new();
    git.seed("root/acme/alpha.git", 1);
    git.commit_noise("root/acme/alpha.git", "noise", 40 << 20);
    let upstreams = format!(
        "  - {{ name: repositories, hosts: ['*'], git_directory: '{}', catalogs: [git] }}",
        git.path("root").display()
    );
    let gateway = ApiGateway::with(&upstreams, &[("organizations/acme.yaml", ACME.into())]);
    let alice = gateway.person("alice");
    let wish = json!({ "name": "clone", "resource_owner": "acme", "repositories": ["alpha"], "permissions": { "contents": "read" } });
    let (id, token) = alice.create(&wish);
    let relay = Relay::start(gateway.gateway.address(), Direction::Down, 2 << 20);
    let mut clone = git.start(&format!("clone http://x:{token}@{}/acme/alpha cut", relay.address));
    relay.wait_until_stopped();
    let called = Instant::now();
    alice.delete(&format!("/user/personal-access-tokens/{id}")).expect(204);
    relay.open();
    assert!(!clone.wait().unwrap().success());
    let took = called.elapsed();
    println!("the clone ended {took:?} after the call, with {} MiB of 40 MiB through", relay.passed() >> 20);
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(relay.passed() < 24 << 20, "{}", relay.passed());
}

#[test]
fn an_answer_that_comes_after_the_revocation_is_a_refusal() {
    let host = TcpListener::bind("127.0.0.1:0").unwrap();
    let gateway =
        ApiGateway::before(host.local_addr().unwrap(), "github", &[("organizations/acme.yaml", ACME.into())]);
    let alice = gateway.person("alice");
    let wish = json!({ "name": "a", "resource_owner": "acme", "repositories": "all", "permissions": { "contents": "read" } });
    let (id, token) = alice.create(&wish);
    let request = format!(
        "GET /repos/acme/alpha/contents/x HTTP/1.1\r\nHost: git.example.com\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    let mut client = TcpStream::connect(gateway.gateway.address()).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client.write_all(request.as_bytes()).unwrap();
    let (mut asked, _) = host.accept().unwrap();
    let head = read_head(&mut asked);
    assert!(head.starts_with("GET /repos/acme/alpha/contents/x "), "{head}");
    alice.delete(&format!("/user/personal-access-tokens/{id}")).expect(204);
    asked.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret").unwrap();
    let answer = read_answer(&mut client);
    assert_eq!((status(&answer), reason(&answer).as_str()), (401, "token_revoked"), "{answer}");
    assert!(!answer.contains("secret"), "{answer}");
    // The host has done it all the same, which the log must not deny.
    let lines = gateway.gateway.audit();
    let line = lines.iter().find(|line| line["path"] == "/repos/acme/alpha/contents/x").unwrap();
    let told = [&line["verdict"], &line["reason"], &line["effect"], &line["status"]];
    assert_eq!(told, [&json!("refuse"), &json!("token_revoked"), &json!("aborted"), &json!(401)]);
}

/// A request's head, as the host reads it.
fn read_head(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    String::from_utf8(head).unwrap()
}
