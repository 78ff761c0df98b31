//! What is not delivered outlives the process: killed, stopped, or without the webhook that it was for.

use std::fs;
use std::net::TcpListener;

use portcullis::store::deliveries::{DeliveryQuery, DeliveryRow, DeliveryState};
use portcullis::store::{Reads, Store};
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use super::receiver::{Receiver, Reply};
use super::{REQUEST, TOKEN, configuration, hook, site, wish};
use crate::support::api::{PASSWORD, add_user};
use crate::support::gateway::wait_for;
use crate::support::process::Process;

/// Calls the API of a process.
fn post(process: &Process, credential: &str, target: &str, body: &serde_json::Value) -> serde_json::Value {
    use std::io::Write as _;

    let body = body.to_string();
    let mut stream = std::net::TcpStream::connect(process.control()).unwrap();
    write!(
        stream,
        "POST {target} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {credential}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let answer = crate::support::gateway::read_answer(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// Makes a token.
fn create(process: &Process, name: &str) {
    let session = post(process, "", "/sessions", &json!({ "login": "bob", "password": PASSWORD }));
    let session = session["token"].as_str().unwrap();
    post(process, session, "/user/personal-access-tokens", &wish(name, "read"));
}

/// What the outbox holds.
fn outbox(directory: &TempDir) -> Vec<DeliveryRow> {
    let store = Store::open(&directory.path().join("portcullis.db")).unwrap();
    let all = DeliveryQuery { limit: 100, ..DeliveryQuery::default() };
    store.read_now(|reads: Reads<'_>| reads.deliveries(&all)).unwrap().entries
}

#[test]
fn what_was_under_way_when_the_process_was_killed_is_told_after_its_next_start() {
    let receiver = Receiver::always(Reply::Hang);
    let directory = site(&[hook("chat", &receiver, "")], "127.0.0.1:9");
    add_user(directory.path(), "bob", false);
    let process = Process::start(directory);
    create(&process, "nightly");
    let before = receiver.wait(2);
    process.signal(Signal::KILL);
    let directory = process.killed();
    assert!(outbox(&directory).iter().all(|row| row.state == DeliveryState::Pending && row.attempts == 0));

    receiver.answer_all(None);
    let mut process = Process::start(directory);
    let got = receiver.wait(4);
    let guids = |from: &[super::receiver::Got]| {
        let mut guids: Vec<_> = from.iter().map(|got| got.guid().to_owned()).collect();
        guids.sort();
        guids
    };
    assert_eq!(guids(&got[2..]), guids(&before), "the same deliveries, with the same ids");
    wait_for("both to be delivered", || {
        outbox(&process.directory).iter().all(|row| row.state == DeliveryState::Delivered)
    });
    process.stop();
}

#[test]
fn an_end_does_not_wait_for_a_receiver_and_loses_nothing() {
    let receiver = Receiver::always(Reply::Hang);
    let directory = site(&[hook("chat", &receiver, ", events: [personal_access_token]")], "127.0.0.1:9");
    add_user(directory.path(), "bob", false);
    let mut process = Process::start(directory);
    create(&process, "nightly");
    receiver.wait(1);
    let start = std::time::Instant::now();
    process.stop();
    assert!(start.elapsed() < std::time::Duration::from_secs(8), "it waited for the receiver");
    let rows = outbox(&process.directory);
    assert_eq!((rows.len(), rows[0].state, &*rows[0].event), (1, DeliveryState::Pending, TOKEN));
}

#[test]
fn what_waits_for_a_webhook_that_is_gone_is_given_up_at_the_next_start() {
    // Nobody listens there.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = format!("- {{ name: gone, url: 'http://{free}', secret_file: secret }}");
    let directory = site(&[text], "127.0.0.1:9");
    add_user(directory.path(), "bob", false);
    let mut process = Process::start(directory);
    create(&process, "nightly");
    process.logs("does not take notices");
    process.configure(&configuration(&[], "127.0.0.1:9"));
    process.stop();
    let directory = std::mem::replace(&mut process.directory, tempfile::tempdir().unwrap());
    let mut process = Process::start(directory);
    // Before it says that it serves, or after.
    wait_for("what waits to be given up", || {
        process.log().iter().any(|line| line.to_string().contains("were given up"))
    });
    let rows = outbox(&process.directory);
    assert_eq!(rows.iter().filter(|row| row.event == REQUEST).count(), 1);
    for row in rows {
        assert_eq!(row.state, DeliveryState::Failed);
        assert_eq!(row.error.as_deref(), Some("the webhook is not configured any more"));
    }
    process.stop();
}

#[test]
fn what_another_process_changes_is_told_too() {
    let receiver = Receiver::start(&[]);
    let directory = site(&[hook("chat", &receiver, ", events: [personal_access_token]")], "127.0.0.1:9");
    add_user(directory.path(), "bob", false);
    let mut process = Process::start(directory);
    let config = portcullis::config::load(&process.directory.path().join("portcullis.yaml")).unwrap();
    let store = Store::open(config.store.as_ref().unwrap()).unwrap();
    let outbox = portcullis::app::notices::outbox(&config);
    let limits = portcullis::issuer::IssuerLimits::default();
    let issuer = portcullis::issuer::Issuer::new(store, config.tokens.clone(), limits, outbox);
    let file = process.directory.path().join("portcullis.yaml");
    let policy = std::sync::Arc::new(portcullis::app::start::inputs(&config, &file).compile(1).unwrap());
    let in_force = portcullis::policy::snapshot::InForce::new(move || std::sync::Arc::clone(&policy));
    let setting = issuer.setting(in_force, portcullis::issuer::Actor::machine("bob".into()));
    let part = portcullis::domain::lifecycle::Part {
        owner: "acme".into(),
        terms: portcullis::domain::lifecycle::terms::Terms {
            reach: portcullis::domain::lifecycle::terms::Reach::All,
            permissions: portcullis::domain::lifecycle::terms::Permissions::default(),
        },
    };
    let draft = portcullis::issuer::draft::Draft {
        name: "by hand".into(),
        description: None,
        expiry: portcullis::issuer::draft::Expiry::Usual,
        parts: vec![part],
        reason: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(issuer.create(setting, draft)).unwrap();
    let got = receiver.wait(1);
    got[0].is_genuine();
    assert_eq!(got[0].body["personal_access_token"]["name"], "by hand");
    process.stop();
}

#[test]
fn a_secret_that_cannot_be_read_stops_the_start() {
    let receiver = Receiver::start(&[]);
    let directory = site(&[hook("chat", &receiver, "")], "127.0.0.1:9");
    fs::write(directory.path().join("secret"), "").unwrap();
    let file = directory.path().join("portcullis.yaml");
    let config = portcullis::config::load(&file).unwrap();
    let error = portcullis::app::start::start(&config, &file).unwrap_err().to_string();
    assert!(error.contains("secret: is empty"), "{error}");
}
