//! `kill -9` in the middle of changes: what was answered is there afterwards, nothing is half, the audit trail is whole.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use portcullis::store::audit::Chain;
use portcullis::store::{Reads, Store};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::api::{add_user, site};
use crate::support::gateway::DEADLINE;
use crate::support::process::Process;

const KILLS: usize = 50;
const CALLS: usize = 20;

/// What a call was answered: the status and the body. `None` where the gateway was gone.
fn call(address: SocketAddr, credential: &str, line: &str, body: &Value) -> Option<(u16, Value)> {
    let body = body.to_string();
    let request = format!(
        "{line} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {credential}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    if length.is_some_and(|length| length.parse() != Ok(body.len())) {
        return None;
    }
    Some((head.get(9..12)?.parse().ok()?, serde_json::from_str(body).unwrap_or(Value::Null)))
}

/// What is known to be so: of each token by its name, its number, and whether it is deleted.
type Known = BTreeMap<String, (i64, bool)>;

/// Makes, regenerates and deletes tokens until the gateway is gone.
fn work(address: SocketAddr, session: &str, round: usize, known: &mut Known) -> usize {
    let mut answered = 0;
    for number in 0..CALLS {
        let name = format!("r{round} n{number}");
        let wish = json!({ "name": name, "resource_owner": "acme", "repositories": ["alpha"], "permissions": { "contents": "read" } });
        let Some((status, made)) = call(address, session, "POST /user/personal-access-tokens", &wish) else {
            break;
        };
        assert_eq!(status, 201, "{made}");
        answered += 1;
        let id = made["id"].as_i64().unwrap();
        known.insert(name.clone(), (id, false));
        let own = format!("/user/personal-access-tokens/{id}");
        if number % 3 == 1 {
            let Some((status, body)) = call(address, session, &format!("DELETE {own}"), &Value::Null) else {
                break;
            };
            assert_eq!(status, 204, "{body}");
            known.insert(name, (id, true));
            answered += 1;
        } else if number % 3 == 2 {
            let line = format!("POST {own}/regenerate");
            let Some((status, body)) = call(address, session, &line, &json!({})) else { break };
            assert_eq!(status, 201, "{body}");
            answered += 1;
        }
    }
    answered
}

/// Every token that was answered stands as it was answered, and none is half.
fn check(store: &Store, known: &Known) {
    let look = |reads: Reads<'_>| {
        for (name, (id, deleted)) in known {
            let token = reads.token(*id)?.unwrap_or_else(|| panic!("`{name}` is gone"));
            assert_eq!(token.name, *name);
            // One that was to be deleted when the gateway died may be deleted.
            assert!(token.revoked.is_some() || !deleted, "{name}");
        }
        let user = reads.user("alice")?.unwrap();
        for token in reads.tokens_of(user.id)? {
            let (grants, requests) = (reads.grants_of(token.id)?, reads.requests_of(token.id)?);
            assert_eq!(grants.len() + requests.len(), 1, "{token:?} is half");
        }
        let chain = reads.verify_audit()?;
        assert!(matches!(chain, Chain::Whole { .. }), "{chain:?}");
        Ok::<_, portcullis::store::error::StoreError>(())
    };
    store.read_now(look).unwrap();
}

#[test]
fn what_was_answered_outlives_a_kill() {
    let mut directory = site("organization: acme\nowners: [alice]\n");
    add_user(directory.path(), "alice", false);
    let (mut known, mut answered) = (Known::new(), 0);
    for round in 0..KILLS {
        let process = Process::start(directory);
        let (control, pid) = (process.control(), process.pid());
        let (status, session) = call(
            control,
            "",
            "POST /sessions",
            &json!({ "login": "alice", "password": crate::support::api::PASSWORD }),
        )
        .unwrap();
        assert_eq!(status, 201);
        let session = session["token"].as_str().unwrap().to_owned();
        let workers = thread::spawn(move || {
            let count = work(control, &session, round, &mut known);
            (known, count)
        });
        // A moment that differs from round to round, within the time that the calls take.
        thread::park_timeout(Duration::from_millis(3 + (round as u64 * 37) % 160));
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap(),
            Signal::KILL,
        )
        .unwrap();
        let (back, count) = workers.join().unwrap();
        known = back;
        answered += count;
        directory = process.killed();
        check(&Store::open(&directory.path().join("portcullis.db")).unwrap(), &known);
    }
    println!("{KILLS} kills, {answered} calls answered, {} tokens", known.len());
    assert!(answered > KILLS, "{answered}");
}
