//! Frame by frame, what no client library would send, and what depends on the moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::attacks::{READER, upstream};
use crate::support::gateway::{DEADLINE, TestGateway, wait_for};
use crate::support::http2::{
    DATA, END_HEADERS, END_STREAM, GO_AWAY, HEADERS, Http2, Outcome, PING, RESET, SETTINGS, TLS,
    WINDOW_UPDATE, block, frame, tls_gateway, tls_gateway_with,
};
use crate::support::policy::token;
use crate::support::spy::Spy;
use crate::support::wire::{Host, ok};

const COMMITS: &str = "/repos/acme/alpha/commits";
const WRITER: &str = "resource_owner: acme\nrepositories: [alpha]\npermissions: { contents: write }";

/// The fields of a request with token 1.
fn fields(method: &str, target: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let bearer = format!("Bearer {}", token(1));
    let usual = [
        (":method", method),
        (":scheme", "https"),
        (":authority", "git.example.com"),
        (":path", target),
        ("authorization", &bearer),
    ];
    block(&[&usual, more].concat())
}

fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields("GET", COMMITS, &[]))
}

/// A request whose body comes behind it.
fn put(stream: u32, more: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &fields("PUT", "/repos/acme/alpha/contents/a", more))
}

fn passed() -> Outcome {
    Outcome::Answered("hello".into())
}

/// A host that never answers; tells when a connection to it comes, and when it goes.
fn silent() -> (Host, Receiver<&'static str>) {
    let (tell, told) = channel();
    let host = Host::start(move |mut wire, _| {
        tell.send("came").unwrap();
        wire.closed();
        tell.send("left").unwrap();
    });
    (host, told)
}

fn quiet(gateway: &TestGateway) {
    wait_for("nothing to be under way", || gateway.metric("portcullis_requests_in_flight") < 0.5);
}

#[test]
fn a_client_that_breaks_the_protocol_is_told_why_and_others_go_on() {
    let spy = Spy::start();
    let (gateway, certificate) = tls_gateway(&upstream(spy.address, "github"), READER);
    let mut other = Http2::connect(&gateway, &certificate);
    for (bytes, code) in [
        (frame(DATA, 0, 1, b"x"), 1),
        (frame(HEADERS, END_HEADERS, 1, &[0x80]), 9),
        (frame(PING, 0, 0, b"short"), 6),
        (frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]), 3),
        (frame(PING, 0, 0, b"12345678").repeat(5000), 11),
        ([get(1), frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 9])].concat(), 1),
    ] {
        let mut client = Http2::connect(&gateway, &certificate);
        client.write(&bytes);
        assert_eq!(client.blamed(), Some(code));
    }
    let mut stranger = Http2::connect(&gateway, &certificate);
    let Outcome::Answered(answer) = stranger.send(&[(":method", "GET")], None, &[]) else {
        panic!("no answer")
    };
    assert!(answer.contains("\"malformed_request\"") && answer.contains("pseudo-header"), "{answer}");
    other.write(&get(1));
    assert_eq!(other.answer(1), passed());
    quiet(&gateway);
    let broken = |cause: &str| {
        let name = format!("portcullis_http2_connections_broken_total{{cause=\"{cause}\"}}");
        gateway.metric(&name).to_string()
    };
    assert_eq!(["protocol", "flood", "timeout"].map(broken), ["5", "1", "0"]);
    let audit = gateway.audit();
    let line = audit.iter().find(|line| line["reason"] == "malformed_request").unwrap();
    assert_eq!((&line["effect"], &line["status"]), (&"refused".into(), &400.into()), "{line}");
}

/// CVE-2023-44487: a client that gives up at once what it asks for has us work for nothing, so it may do that so often.
#[test]
fn requests_that_are_given_up_at_once_are_bounded() {
    let (host, told) = silent();
    let (gateway, certificate) = tls_gateway(&upstream(host.address, "github"), READER);
    let mut client = Http2::connect(&gateway, &certificate);
    let storm: Vec<u8> =
        (1..2001).step_by(2).flat_map(|id| [get(id), frame(RESET, 0, id, &[0, 0, 0, 8])].concat()).collect();
    client.write(&storm);
    assert_eq!(client.blamed(), Some(11));
    quiet(&gateway);
    let audit = gateway.audit();
    assert!(audit.len() <= 200, "{}", audit.len());
    assert!(audit.iter().all(|line| line["effect"] == "aborted"), "{audit:?}");
    // Whatever was begun at the host has ended too.
    let (mut came, mut left) = (0, 0);
    while came < host.connections() || left < came {
        match told.recv_timeout(DEADLINE).unwrap() {
            "came" => came += 1,
            _ => left += 1,
        }
    }
}

#[test]
fn a_stream_that_is_given_up_leaves_the_host_and_no_other_stream() {
    let (host, told) = silent();
    let (gateway, certificate) = tls_gateway(&upstream(host.address, "github"), READER);
    let mut client = Http2::connect(&gateway, &certificate);
    client.write(&[get(1), get(3)].concat());
    for _ in 0..2 {
        assert_eq!(told.recv_timeout(DEADLINE).unwrap(), "came");
    }
    client.write(&frame(RESET, 0, 1, &[0, 0, 0, 8]));
    assert_eq!(told.recv_timeout(DEADLINE).unwrap(), "left");
    wait_for("one to be recorded", || gateway.metric("portcullis_requests_in_flight") < 1.5);
    assert!(told.try_recv().is_err());
    // The connection that breaks off takes the rest along.
    drop(client);
    assert_eq!(told.recv_timeout(DEADLINE).unwrap(), "left");
    quiet(&gateway);
    assert!(gateway.audit().iter().all(|line| line["effect"] == "aborted"));
}

#[test]
fn a_body_that_is_not_as_long_as_was_said_does_not_arrive_whole() {
    let (host, told) = silent();
    let (gateway, certificate) = tls_gateway(&upstream(host.address, "github"), WRITER);
    for (length, body) in [("5", "hello!"), ("7", "hello!"), ("1", "")] {
        let mut client = Http2::connect(&gateway, &certificate);
        client.write(
            &[put(1, &[("content-length", length)]), frame(DATA, END_STREAM, 1, body.as_bytes())].concat(),
        );
        let Outcome::Answered(answer) = client.answer(1) else { panic!("{length}: no answer") };
        assert!(answer.contains("\"malformed_request\""), "{length}: {answer}");
    }
    for said in ["came", "left"].repeat(host.connections()) {
        assert_eq!(told.recv_timeout(DEADLINE).unwrap(), said);
    }
    for line in gateway.audit() {
        assert_eq!((&line["reason"], &line["status"]), (&"malformed_request".into(), &400.into()), "{line}");
    }
}

/// What is refused is answered before the body has come, and the client is told to keep it.
#[test]
fn a_refused_upload_is_not_waited_for_and_its_connection_goes_on() {
    let spy = Spy::start();
    let (gateway, certificate) = tls_gateway(&upstream(spy.address, "github"), READER);
    let mut client = Http2::connect(&gateway, &certificate);
    client.write(&put(1, &[("content-length", "1000000")]));
    let (mut answer, mut status) = (Vec::new(), None);
    let reset = loop {
        let frame = client.frame().unwrap();
        match frame.kind {
            DATA => answer.extend(frame.payload),
            // A literal status, behind the size of the table.
            HEADERS => status = Some(frame.payload[1..6].to_vec()),
            _ => break frame,
        }
    };
    assert_eq!((reset.kind, reset.id, reset.payload), (RESET, 1, vec![0; 4]));
    assert_eq!(status.unwrap(), b"\x08\x03403");
    assert!(String::from_utf8(answer).unwrap().contains("permission_missing"));
    // What was under way already is passed over, and makes room.
    for _ in 0..100 {
        client.write(&frame(DATA, 0, 1, &[0; 16_384]));
    }
    client.write(&get(3));
    assert_eq!(client.answer(3), passed());
    assert!(!spy.seen().contains("PUT"), "{}", spy.seen());
}

#[test]
fn a_client_that_waits_to_be_told_is_told_and_only_where_its_body_is_wanted() {
    let host = Host::start(|mut wire, _| {
        while wire.head().is_some() {
            wire.skip(5);
            wire.send(ok("hello"));
        }
    });
    let (gateway, certificate) = tls_gateway(&upstream(host.address, "github"), WRITER);
    let mut client = Http2::connect(&gateway, &certificate);
    let waits = [("expect", "100-continue"), ("content-length", "5")];
    client.write(&put(1, &waits));
    let told = client.frame().unwrap();
    assert_eq!(
        (told.kind, told.flags, told.id, &told.payload[1..]),
        (HEADERS, END_HEADERS, 1, &b"\x08\x03100"[..])
    );
    client.write(&frame(DATA, END_STREAM, 1, b"12345"));
    assert_eq!(client.answer(1), passed());
    let forbidden = fields("PUT", "/repos/acme/beta/contents/a", &waits);
    client.write(&frame(HEADERS, END_HEADERS, 3, &forbidden));
    let told = client.frame().unwrap();
    assert_eq!((told.kind, &told.payload[1..2]), (HEADERS, &b"\x8d"[..]), "404, and nothing before it");
}

#[test]
fn an_answer_goes_out_as_the_client_makes_room() {
    let host = Host::answering(|_| ok(&"0123456789".repeat(1000)));
    let (gateway, certificate) = tls_gateway(&upstream(host.address, "github"), READER);
    let mut client = Http2::connect(&gateway, &certificate);
    client.write(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
    client.write(&[get(1), get(3)].concat());
    let mut bodies: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let mut room: BTreeMap<u32, usize> = BTreeMap::new();
    let mut ended = 0;
    while ended < 2 {
        let came = client.frame().unwrap();
        let body = bodies.entry(came.id).or_default();
        if came.kind == DATA {
            body.extend(came.payload);
        }
        let room = room.entry(came.id).or_default();
        assert!(body.len() <= *room, "{} in {room}", body.len());
        *room += 700;
        ended += usize::from(came.flags & END_STREAM != 0);
        client.write(&frame(WINDOW_UPDATE, 0, came.id, &700_u32.to_be_bytes()));
    }
    for id in [1, 3] {
        assert_eq!(bodies[&id], "0123456789".repeat(1000).as_bytes());
    }
}

/// A client that waits for nothing but room on the connection holds the host no longer than one that does not read.
#[test]
fn a_connection_whose_window_stays_shut_lets_its_hosts_go() {
    let (left, ended) = channel();
    let host = Host::start(move |mut wire, _| {
        wire.head();
        wire.socket().set_write_timeout(None).unwrap();
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
        while wire.try_send(vec![b'x'; 65536]).is_ok() {}
        left.send(()).unwrap();
    });
    let top = format!("{TLS}\nlimits: {{ body_idle_time: 200ms }}");
    let (gateway, certificate) = tls_gateway_with(&top, &upstream(host.address, "github"), READER);
    let mut client = Http2::connect(&gateway, &certificate);
    client.write(&frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]));
    client.write(&[get(1), get(3), get(5)].concat());
    for _ in 0..3 {
        ended.recv_timeout(DEADLINE).expect("the connection to the host is closed");
    }
    let mut resets = 0;
    while resets < 3 {
        resets += usize::from(client.frame().unwrap().kind == RESET);
    }
    // It is no worse off: with room, it is answered again.
    client.write(&frame(WINDOW_UPDATE, 0, 0, &1_000_000_u32.to_be_bytes()));
    client.write(&get(7));
    assert_eq!(client.frame().unwrap().id, 7);
}

#[test]
fn a_head_that_never_ends_is_cut() {
    let spy = Spy::start();
    let top = format!("{TLS}\nlimits: {{ header_time: 1s, idle_time: 1h }}");
    let (gateway, certificate) = tls_gateway_with(&top, &upstream(spy.address, "github"), READER);
    let whole = get(3);
    let start = Instant::now();
    let mut clients: Vec<_> = [
        // A frame that stops, fields that are to go on, and one byte.
        &whole[..20],
        &frame(HEADERS, END_STREAM, 3, &fields("GET", COMMITS, &[])),
        &whole[..1],
    ]
    .map(|bytes| {
        let mut client = Http2::connect(&gateway, &certificate);
        // After this it has nothing to say by itself.
        client.write(&get(1));
        assert_eq!(client.answer(1), passed());
        client.write(bytes);
        client
    })
    .into();
    for client in &mut clients {
        assert_eq!(client.blamed(), Some(0));
    }
    let took = start.elapsed();
    assert!((0.9..5.0).contains(&took.as_secs_f64()), "{took:?}");
    assert_eq!(spy.seen().matches("GET").count(), 3);
}

/// Whoever asks for nothing is idle, whatever else is said; and whoever was told to go goes, heard or not.
#[test]
fn frames_that_ask_for_nothing_keep_no_connection() {
    let spy = Spy::start();
    let top = format!("{TLS}\nlimits: {{ header_time: 1s, idle_time: 1s }}");
    let (gateway, certificate) = tls_gateway_with(&top, &upstream(spy.address, "github"), READER);
    let mut client = Http2::connect(&gateway, &certificate);
    client.write(&get(1));
    assert_eq!(client.answer(1), passed());
    let start = Instant::now();
    let mut told = Vec::new();
    // Its pings are answered; it never confirms that it heard it has to go.
    while client.write(&frame(PING, 0, 0, b"12345678")) {
        let Some(came) = client.frame() else { break };
        if came.kind == GO_AWAY {
            told.push(u32::from_be_bytes(came.payload[..4].try_into().unwrap()));
        }
        thread::park_timeout(Duration::from_millis(20));
        assert!(start.elapsed() < DEADLINE, "it goes on");
    }
    assert_eq!(told, [0x7fff_ffff, 1]);
    let took = start.elapsed();
    assert!((1.9..6.0).contains(&took.as_secs_f64()), "{took:?}");
}

/// CVE-2025-8671: to make us reset a stream is to give it up.
#[test]
fn resets_that_the_client_provokes_are_bounded_too() {
    let (host, _told) = silent();
    let (gateway, certificate) = tls_gateway(&upstream(host.address, "github"), READER);
    let mut client = Http2::connect(&gateway, &certificate);
    let storm: Vec<u8> = (1..2001)
        .step_by(2)
        .flat_map(|id| [get(id), frame(WINDOW_UPDATE, 0, id, &[0; 4])].concat())
        .collect();
    client.write(&storm);
    assert_eq!(client.blamed(), Some(11));
    quiet(&gateway);
}

/// The host does not get the whole of a request that may still turn out to be malformed.
#[test]
fn a_request_is_not_whole_before_its_client_has_ended_it() {
    let (seen, heads) = channel();
    let host = Host::start(move |mut wire, _| {
        seen.send(wire.head().unwrap()).unwrap();
        seen.send(wire.rest().unwrap_or_default()).unwrap();
    });
    let (gateway, certificate) = tls_gateway(&upstream(host.address, "github"), WRITER);
    let mut client = Http2::connect(&gateway, &certificate);
    client.write(&[put(1, &[("content-length", "5")]), frame(DATA, 0, 1, b"hel")].concat());
    let head = heads.recv_timeout(DEADLINE).unwrap();
    assert!(head.contains("content-length: 5\r\n"), "{head}");
    client.write(&[frame(DATA, 0, 1, b"lo"), frame(PING, 0, 0, b"12345678")].concat());
    assert_eq!(client.frame().unwrap().kind, PING);
    client.write(&frame(DATA, 0, 1, b"!"));
    let Outcome::Answered(answer) = client.answer(1) else { panic!("no answer") };
    assert!(answer.contains("\"malformed_request\""), "{answer}");
    assert_eq!(heads.recv_timeout(DEADLINE).unwrap(), "hel");
    // Nothing is said to follow, and something does: it does not even begin.
    client.write(&[put(3, &[("content-length", "0")]), frame(DATA, END_STREAM, 3, b"x")].concat());
    let Outcome::Answered(answer) = client.answer(3) else { panic!("no answer") };
    assert!(answer.contains("\"malformed_request\""), "{answer}");
    assert_eq!(host.connections(), 1);
}

/// A request that was sent before the client could know that the gateway goes is answered, and so is what it says last.
#[test]
fn what_a_client_sends_before_it_hears_of_the_drain_is_answered() {
    let gate = Arc::new(AtomicBool::new(false));
    let opened = Arc::clone(&gate);
    let host = Host::start(move |mut wire, _| {
        while wire.head().is_some() {
            wait_for("the gate", || {
                thread::park_timeout(Duration::from_millis(1));
                opened.load(Ordering::SeqCst)
            });
            wire.send(ok("hello"));
        }
    });
    let (mut gateway, certificate) = tls_gateway(&upstream(host.address, "github"), READER);
    let mut client = Http2::connect(&gateway, &certificate);
    client.write(&get(1));
    wait_for("the first", || host.connections() == 1);
    let stopping = thread::spawn(move || gateway.stop());
    let told = client.frame().unwrap();
    assert_eq!((told.kind, &told.payload[..4]), (GO_AWAY, &[0x7f, 0xff, 0xff, 0xff][..]));
    let call = client.frame().unwrap();
    assert_eq!((call.kind, call.flags), (PING, 0));
    client.write(&get(3));
    client.write(&frame(PING, 1, 0, &call.payload));
    let last = client.frame().unwrap();
    assert_eq!((last.kind, last.payload), (GO_AWAY, vec![0, 0, 0, 3, 0, 0, 0, 0]));
    // Too late: it is not begun, and the client knows.
    client.write(&get(5));
    gate.store(true, Ordering::SeqCst);
    let mut answered = Vec::new();
    while let Some(frame) = client.frame() {
        if frame.flags & END_STREAM != 0 {
            answered.push(frame.id);
        }
    }
    answered.sort_unstable();
    assert_eq!(answered, [1, 3]);
    stopping.join().unwrap();
    assert!(host.connections() < 3);
}
