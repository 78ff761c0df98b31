//! Delivery: again until it is taken, each apart, seen and told again by the API.

use std::time::Duration;

use portcullis::config::webhooks::Pace;
use serde_json::{Value, json};

use super::receiver::{Receiver, Reply};
use super::{REQUEST, TOKEN, gateway, hook, quick, wish};
use crate::support::api::{ApiGateway, Caller};
use crate::support::gateway::wait_for;

const ONLY_TOKENS: &str = ", events: [personal_access_token]";

/// Someone who administers the gateway.
fn administrator(gateway: &ApiGateway) -> Caller {
    gateway.add_user("root", true);
    gateway.sign_in("root")
}

/// Waits until the deliveries that `query` finds are as `fits` says, and gives them.
#[track_caller]
fn deliveries(root: &Caller, query: &str, fits: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let mut found = Vec::new();
    wait_for(query, || {
        let answer = root.get(&format!("/webhooks/deliveries{query}")).expect(200);
        found = answer.as_array().unwrap().clone();
        fits(&found)
    });
    found
}

/// A metric of the control listener.
fn metric(gateway: &ApiGateway, name: &str) -> f64 {
    let metrics = crate::support::gateway::read_answer(&mut {
        use std::io::Write as _;
        let mut stream = std::net::TcpStream::connect(gateway.gateway.running().control.unwrap()).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        stream
    });
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

#[test]
fn what_is_not_taken_is_told_again_with_the_same_id() {
    let moved = "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n";
    let replies = [
        Reply::status(500),
        Reply::Close,
        Reply::Bytes(moved.into()),
        Reply::Bytes("nonsense\r\n\r\n".into()),
    ];
    let receiver = Receiver::start(&replies);
    let gateway = gateway(&[hook("chat", &receiver, ONLY_TOKENS)], quick());
    gateway.person("bob").create(&wish("nightly", "read"));
    let got = receiver.wait(5);
    let mut ids: Vec<_> = got.iter().map(|got| (got.guid(), got.text.as_str())).collect();
    ids.dedup();
    assert_eq!(ids.len(), 1, "the same each time");
    assert!(got.iter().all(|got| got.head.starts_with("POST /hook?key=hidden HTTP/1.1")), "no redirect");
    for (at, pair) in got.windows(2).enumerate() {
        let waited = pair[1].at.duration_since(pair[0].at);
        let least = Duration::from_millis(20 << at) * 3 / 4;
        assert!(waited >= least, "{waited:?} is less than {least:?}");
    }
    let root = administrator(&gateway);
    let found = deliveries(&root, "?state=delivered", |found| found.len() == 1);
    assert_eq!((&found[0]["attempts"], &found[0]["status_code"]), (&json!(5), &json!(204)));
    assert_eq!(found[0]["error"], Value::Null);
    assert_eq!(receiver.got().len(), 5, "and then no more");
    for (outcome, count) in [("delivered", 1.0), ("refused", 2.0), ("unreachable", 2.0), ("timed_out", 0.0)] {
        let name = format!("portcullis_webhook_attempts_total{{outcome=\"{outcome}\"}}");
        assert!((metric(&gateway, &name) - count).abs() < 0.1, "{name} is not {count}");
    }
}

#[test]
fn one_that_hangs_holds_up_nobody_else() {
    let (hangs, takes) = (Receiver::always(Reply::Hang), Receiver::start(&[]));
    let gateway = gateway(&[hook("hangs", &hangs, ""), hook("takes", &takes, "")], quick());
    let bob = gateway.person("bob");
    for at in 0..10 {
        bob.create(&wish(&format!("n{at}"), "read"));
    }
    let got = takes.wait(20);
    assert_eq!(got.len(), 20);
    assert_eq!(hangs.got().len(), 4, "its share of the places");
    let root = administrator(&gateway);
    let waiting = deliveries(&root, "?hook=hangs&state=pending&per_page=100", |found| found.len() == 20);
    assert!(waiting.iter().all(|delivery| delivery["attempts"] == 0), "{waiting:?}");
    wait_for("the gauge", || {
        (metric(&gateway, "portcullis_webhook_deliveries{state=\"pending\"}") - 20.0).abs() < 0.1
    });
}

#[test]
fn an_attempt_has_its_time_whatever_the_receiver_does() {
    let endless = format!("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n{}", "x".repeat(100_000));
    let slow = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell".to_owned();
    let receiver = Receiver::start(&[Reply::Hang, Reply::Bytes(endless), Reply::Stuck(slow)]);
    let pace = Pace { attempt: Duration::from_millis(300), ..quick() };
    let gateway = gateway(&[hook("chat", &receiver, ONLY_TOKENS)], pace);
    let bob = gateway.person("bob");
    bob.create(&wish("one", "read"));
    receiver.wait(2);
    bob.create(&wish("two", "read"));
    let root = administrator(&gateway);
    let found = deliveries(&root, "?state=delivered", |found| found.len() == 2);
    let attempts: Vec<_> = found.iter().map(|delivery| delivery["attempts"].as_i64().unwrap()).collect();
    assert_eq!(attempts, [1, 2], "a status counts, whatever the body does");
    assert!((metric(&gateway, "portcullis_webhook_attempts_total{outcome=\"timed_out\"}") - 1.0).abs() < 0.1);
}

#[test]
fn what_failed_is_seen_and_told_again_by_the_api() {
    let receiver = Receiver::always(Reply::status(503));
    let gateway = gateway(&[hook("chat", &receiver, "")], Pace { attempts: 2, ..quick() });
    let bob = gateway.person("bob");
    let root = administrator(&gateway);
    bob.create(&wish("nightly", "read"));
    let failed = deliveries(&root, "?hook=chat&state=failed", |found| found.len() == 2);
    let delivery = failed.iter().find(|delivery| delivery["event"] == REQUEST).unwrap();
    assert_eq!((&delivery["attempts"], &delivery["status_code"]), (&json!(2), &json!(503)));
    assert_eq!(delivery["error"], "it answered 503 Service Unavailable");
    assert_eq!(delivery.get("payload"), None);
    wait_for("the gauge", || {
        (metric(&gateway, "portcullis_webhook_deliveries{state=\"failed\"}") - 2.0).abs() < 0.1
    });
    let path = format!("/webhooks/deliveries/{}", delivery["id"]);
    let whole = root.get(&path).expect(200);
    assert_eq!(whole["payload"]["personal_access_token_request"]["token_name"], "nightly");

    receiver.answer_all(None);
    let before = receiver.got();
    let again = root.post(&format!("{path}/attempts"), &json!({})).expect(202);
    assert_eq!(again["state"], "pending");
    let got = receiver.wait(before.len() + 1);
    let told = got.last().unwrap();
    told.is_genuine();
    assert_eq!(told.guid(), delivery["guid"].as_str().unwrap());
    assert!(before.iter().any(|got| got.text == told.text), "the payload is the same");
    deliveries(&root, "?state=delivered", |found| found.len() == 1 && found[0]["attempts"] == 3);
    // What was taken can be told again too.
    root.post(&format!("{path}/attempts"), &json!({})).expect(202);
    receiver.wait(before.len() + 2);
    assert_eq!(gateway.actions().iter().filter(|action| *action == "webhook.redeliver").count(), 2);
}

#[test]
fn deliveries_are_for_administrators_and_come_in_pages() {
    let receiver = Receiver::start(&[]);
    let gateway = gateway(&[hook("chat", &receiver, ONLY_TOKENS)], quick());
    let (bob, root) = (gateway.person("bob"), administrator(&gateway));
    for at in 0..3 {
        bob.create(&wish(&format!("n{at}"), "read"));
    }
    receiver.wait(3);
    let page = root.get("/webhooks/deliveries?per_page=2");
    assert!(page.header("link").unwrap().contains("page=2>; rel=\"next\""), "{page:?}");
    let names = |page: Value| {
        let ids = page.as_array().unwrap().clone();
        ids.iter().map(|delivery| delivery["id"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(names(page.expect(200)), [3, 2], "the latest first");
    assert_eq!(names(root.get("/webhooks/deliveries?per_page=2&page=2").expect(200)), [1]);
    assert_eq!(names(root.get("/webhooks/deliveries?hook=other").expect(200)), [0; 0]);
    root.get("/webhooks/deliveries?state=lost").expect(422);
    root.get("/webhooks/deliveries/99").expect(404);
    root.post("/webhooks/deliveries/99/attempts", &json!({})).expect(404);

    let (_, token) = root.create(&wish("of an administrator", "read"));
    for target in ["/webhooks/deliveries", "/webhooks/deliveries/1"] {
        bob.get(target).expect(403);
        gateway.control(&token).get(target).expect(403);
        gateway.data(&token).get(target).expect(403);
        gateway.control("").get(target).expect(401);
    }
    let before = receiver.wait(4).len();
    bob.post("/webhooks/deliveries/1/attempts", &json!({})).expect(403);
    gateway.data(&token).post("/webhooks/deliveries/1/attempts", &json!({})).expect(403);
    assert_eq!(receiver.got().len(), before);
    assert!(receiver.got().iter().all(|got| got.event() == TOKEN));
}
