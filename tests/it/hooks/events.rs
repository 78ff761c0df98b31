//! Each event with each of its actions, and what is in it.

use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpStream;

use portcullis::domain::token::TokenDigest;
use rusqlite::Connection;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use super::receiver::{Got, Receiver};
use super::{REQUEST, TOKEN, gateway, hook, quick, schema, wish};
use crate::support::api::{ApiGateway, Caller};
use crate::support::gateway::{DEADLINE, read_answer, status};

const DAY: i64 = 24 * 60 * 60;

/// The open request, as `alice` sees it.
fn open(alice: &Caller) -> String {
    let requests = alice.get("/orgs/acme/personal-access-token-requests").expect(200);
    format!("/orgs/acme/personal-access-token-requests/{}", requests[0]["id"])
}

/// Nothing of a token that nobody may know stands in any payload.
#[track_caller]
fn no_secret(got: &[Got], secrets: &[&str]) {
    assert!(!got.is_empty() && !secrets.is_empty());
    for got in got {
        got.is_genuine();
        for secret in secrets {
            let (text, digest) = (&got.text, TokenDigest::of(secret));
            assert!(!text.contains(secret) && !got.head.contains(secret), "{text}");
            assert!(!text.contains(&digest.to_string()), "{text}");
            assert!(!text.contains(&portcullis::store::audit::hashed_token(&digest)), "{text}");
        }
    }
}

#[test]
fn requests_are_told_as_github_tells_them() {
    let receiver = Receiver::start(&[]);
    let gateway = gateway(&[hook("chat", &receiver, ", events: [personal_access_token_request]")], quick());
    let (alice, bob) = (gateway.person("alice"), gateway.person("bob"));
    let (id, token) = bob.create(&wish("nightly", "read"));
    let created = receiver.find(REQUEST, "created", |_| true);
    let request = &created.body["personal_access_token_request"];
    assert_eq!(request["token_id"], id);
    assert_eq!(request["permissions_added"], json!({ "repository": { "contents": "read" } }));
    assert_eq!(request["permissions_upgraded"], json!({}));
    assert_eq!(request["repository_count"], 1);
    assert_eq!(request["repositories"][0]["full_name"], "acme/alpha");
    assert_eq!(
        (&request["owner"]["login"], &created.body["sender"]["login"]),
        (&json!("bob"), &json!("bob"))
    );
    assert_eq!(created.body["organization"]["login"], "acme");

    alice.post(&open(&alice), &json!({ "action": "approve" })).expect(204);
    let approved = receiver.find(REQUEST, "approved", |_| true);
    let request = &approved.body["personal_access_token_request"];
    assert_eq!(
        request["permissions_added"],
        json!({ "repository": { "contents": "read" } }),
        "by what was before"
    );
    assert_eq!(approved.body["sender"]["login"], "alice");

    let own = format!("/user/personal-access-tokens/{id}");
    let mut wider = wish("nightly", "write");
    wider["repositories"] = json!("all");
    wider["permissions"]["issues"] = json!("read");
    bob.patch(&own, &wider).expect(200);
    let created = receiver.find(REQUEST, "created", |body| {
        body["personal_access_token_request"]["repository_selection"] == "all"
    });
    let request = &created.body["personal_access_token_request"];
    assert_eq!(request["permissions_added"], json!({ "repository": { "issues": "read" } }));
    assert_eq!(request["permissions_upgraded"], json!({ "repository": { "contents": "write" } }));
    assert_eq!(
        request["permissions_result"],
        json!({ "repository": { "contents": "write", "issues": "read" } })
    );
    assert_eq!((&request["repository_count"], &request["repositories"]), (&Value::Null, &Value::Null));

    alice.post(&open(&alice), &json!({ "action": "deny", "reason": "no" })).expect(204);
    receiver.find(REQUEST, "denied", |_| true);
    bob.patch(&own, &wider).expect(200);
    receiver.wait(5);
    bob.delete(&own).expect(204);
    receiver.find(REQUEST, "cancelled", |_| true);
    let got = receiver.wait(6);
    no_secret(&got, &[&token]);
    for got in &got {
        assert_eq!(got.event(), REQUEST, "the other event was not asked for");
        schema::check(got.action(), &got.body);
    }
}

#[test]
fn tokens_are_told_of() {
    let receiver = Receiver::start(&[]);
    let gateway = gateway(&[hook("chat", &receiver, ", events: [personal_access_token]")], quick());
    let (alice, bob) = (gateway.person("alice"), gateway.person("bob"));
    let (id, token) = bob.create(&wish("nightly", "read"));
    let created = receiver.find(TOKEN, "created", |_| true);
    let shown = bob.get(&format!("/user/personal-access-tokens/{id}")).expect(200);
    let told = &created.body["personal_access_token"];
    assert_eq!(told["resource_owners"], shown["resource_owners"], "whole, with what it waits for");
    assert_eq!((&told["state"], &told["token_prefix"]), (&json!("pending"), &shown["token_prefix"]));
    assert_eq!(created.body["organization"]["login"], "acme");

    let own = format!("/user/personal-access-tokens/{id}");
    let renewed = bob.post(&format!("{own}/regenerate"), &json!({})).expect(201);
    receiver.find(TOKEN, "regenerated", |_| true);
    alice.post(&open(&alice), &json!({ "action": "approve" })).expect(204);
    let grants = alice.get("/orgs/acme/personal-access-tokens").expect(200);
    let grant = format!("/orgs/acme/personal-access-tokens/{}", grants[0]["id"]);
    alice.post(&grant, &json!({ "action": "revoke" })).expect(204);
    let revoked = receiver.find(TOKEN, "revoked", |body| body["sender"]["login"] == "alice");
    assert_eq!(revoked.body["organization"]["login"], "acme");
    assert_eq!(revoked.body["personal_access_token"]["state"], "active", "it is the access that was revoked");

    bob.delete(&own).expect(204);
    let revoked = receiver.find(TOKEN, "revoked", |body| body["sender"]["login"] == "bob");
    assert_eq!(revoked.body["reason"], "deleted by its user");
    assert_eq!(revoked.body["personal_access_token"]["state"], "revoked");
    let (_, leaked) = bob.create(&wish("leaked", "read"));
    gateway.control("").post("/credentials/revoke", &json!({ "credentials": [leaked] })).expect(202);
    receiver.find(TOKEN, "revoked", |body| body["reason"] == "its text was reported as leaked");
    no_secret(&receiver.got(), &[&token, renewed["token"].as_str().unwrap(), &leaked]);
    assert!(receiver.got().iter().all(|got| got.event() == TOKEN));
}

#[test]
fn a_webhook_is_told_of_its_organizations_alone() {
    let (acme, all) = (Receiver::start(&[]), Receiver::start(&[]));
    let gateway = gateway(&[hook("acme", &acme, ", organizations: [Acme]"), hook("all", &all, "")], quick());
    let bob = gateway.person("bob");
    let mut elsewhere = wish("elsewhere", "read");
    elsewhere["resource_owner"] = json!("umbrella");
    bob.create(&elsewhere);
    bob.create(&wish("nightly", "read"));
    all.wait(4);
    let got = acme.wait(2);
    assert!(got.iter().all(|got| got.body["organization"]["login"] == "acme"), "{got:?}");
    let mut guids: Vec<_> = all.got().iter().chain(&got).map(|got| got.guid().to_owned()).collect();
    guids.sort();
    guids.dedup();
    assert_eq!(guids.len(), 6, "each delivery has an id of its own");
}

/// Has the token expire in `seconds` from now, as if it had been made for 30 days.
fn expire_in(gateway: &ApiGateway, id: i64, seconds: i64) {
    let store = Connection::open(gateway.gateway.directory.path().join("portcullis.db")).unwrap();
    let expires = portcullis::clock::now().0 + seconds;
    store
        .execute(
            "UPDATE tokens SET expires_at = ?2, issued_at = ?3 WHERE id = ?1",
            [id, expires, expires - 30 * DAY],
        )
        .unwrap();
}

/// Looks for tokens that expire, as the gateway does each hour; gives how many there were.
fn search(gateway: &ApiGateway) -> usize {
    use portcullis::issuer::{Actor, Issuer, IssuerLimits};

    let file = gateway.gateway.directory.path().join("portcullis.yaml");
    let config = portcullis::config::load(&file).unwrap();
    let outbox = portcullis::app::notices::outbox(&config);
    let (store, format, limits) = (gateway.store(), config.tokens.clone(), IssuerLimits::default());
    let issuer = Issuer::new(store, format, limits, outbox);
    let policy = std::sync::Arc::new(portcullis::app::start::inputs(&config, &file).compile(1).unwrap());
    let in_force = portcullis::policy::snapshot::InForce::new(move || std::sync::Arc::clone(&policy));
    let setting = issuer.setting(in_force, Actor::gateway());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(issuer.tell_expiries(setting)).unwrap()
}

#[test]
fn a_token_that_expires_is_told_of_once_a_stage_for_each_secret() {
    let receiver = Receiver::start(&[]);
    let gateway = gateway(&[hook("chat", &receiver, ", events: [personal_access_token]")], quick());
    let bob = gateway.person("bob");
    let (id, token) = bob.create(&wish("nightly", "read"));
    let (short, _) = bob.create(&json!({ "name": "short", "resource_owner": "acme", "repositories": ["alpha"], "permissions": { "contents": "read" }, "expires_in": 1 }));
    assert_eq!(
        search(&gateway),
        0,
        "30 days are left; what lives for a day is not told to expire within one"
    );
    let by = |days: i64| move |body: &Value| body["days_left"] == days;
    for (seconds, days) in [(14 * DAY - 5, 14), (3 * DAY - 5, 3), (DAY - 5, 1)] {
        expire_in(&gateway, id, seconds);
        assert_eq!((search(&gateway), search(&gateway)), (1, 0), "{days}");
        let told = receiver.find(TOKEN, "expiring", by(days));
        assert_eq!(told.body["personal_access_token"]["id"], id);
        assert_eq!(
            (&told.body["sender"]["login"], &told.body["sender"]["type"]),
            (&json!("portcullis"), &json!("Bot"))
        );
    }
    expire_in(&gateway, id, -5);
    assert_eq!((search(&gateway), search(&gateway)), (1, 0));
    let told = receiver.find(TOKEN, "expired", |_| true);
    assert_eq!(told.body["personal_access_token"]["state"], "expired");

    bob.post(&format!("/user/personal-access-tokens/{id}/regenerate"), &json!({})).expect(201);
    expire_in(&gateway, id, 2 * DAY);
    assert_eq!((search(&gateway), search(&gateway)), (1, 0), "the nearest stage alone");
    receiver.find(TOKEN, "expiring", by(2));
    expire_in(&gateway, short, -30 * DAY);
    assert_eq!(search(&gateway), 0, "that is long ago");
    no_secret(&receiver.got(), &[&token]);
}

#[test]
fn the_gateway_looks_for_tokens_that_expire_by_itself() {
    let receiver = Receiver::start(&[]);
    let mut gateway = gateway(&[hook("chat", &receiver, ", events: [personal_access_token]")], quick());
    let (id, _) = gateway.person("bob").create(&wish("nightly", "read"));
    expire_in(&gateway, id, 2 * DAY);
    gateway.gateway.stop();
    let file = gateway.gateway.directory.path().join("portcullis.yaml");
    let mut config = portcullis::config::load(&file).unwrap();
    config.webhooks.pace = quick();
    gateway.gateway.running = Some(portcullis::app::start::start(&config, &file).unwrap());
    receiver.find(TOKEN, "expiring", |body| body["days_left"] == 2);
}

/// Uses the token from an address.
fn use_from(gateway: &ApiGateway, token: &str, from: &str) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let from: SocketAddr = format!("{from}:0").parse().unwrap();
    socket.bind(&from.into()).unwrap();
    socket.connect(&gateway.gateway.address().into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let request =
        format!("GET /user HTTP/1.1\r\nHost: tokens.example.com\r\nAuthorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    assert_eq!(status(&read_answer(&mut stream)), 200);
}

#[test]
fn a_use_from_a_new_network_is_told() {
    let receiver = Receiver::start(&[]);
    let gateway = gateway(&[hook("chat", &receiver, ", events: [personal_access_token]")], quick());
    let alice = gateway.person("alice");
    let (id, token) = alice.create(&wish("nightly", "read"));
    let own = format!("/user/personal-access-tokens/{id}");
    let used_from = |address: &str| {
        use_from(&gateway, &token, address);
        crate::support::gateway::wait_for("the use to be noted", || {
            alice.get(&own).expect(200)["last_used_from"] == address
        });
    };
    used_from("127.0.0.1");
    used_from("127.0.0.2");
    used_from("127.0.5.1");
    let told = receiver.find(TOKEN, "last_used_from_new_network", |_| true);
    assert_eq!(
        (&told.body["network"], &told.body["used_from"]),
        (&json!("127.0.5.0/24"), &json!("127.0.5.1"))
    );
    assert_eq!(told.body["personal_access_token"]["last_used_from"], "127.0.5.1");
    used_from("127.0.0.3");
    used_from("127.0.6.1");
    receiver.find(TOKEN, "last_used_from_new_network", |body| body["network"] == "127.0.6.0/24");
    let of_networks = receiver.got().iter().filter(|got| got.action().starts_with("last_used")).count();
    assert_eq!(of_networks, 2, "the first network is no news, nor is one that is known");
    no_secret(&receiver.got(), &[&token]);
}
