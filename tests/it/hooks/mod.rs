//! Webhooks: what they are told, signed and delivered at least once; seen and told again by the API.

mod delivery;
mod events;
mod receiver;
mod restart;
mod schema;

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use portcullis::app::start::start;
use portcullis::config;
use portcullis::config::webhooks::Pace;
use portcullis::domain::fault::describe;
use serde_json::{Value, json};

use crate::hooks::receiver::{Receiver, SECRET};
use crate::support::api::ApiGateway;
use crate::support::gateway::{TestGateway, write};
use crate::support::spy::Spy;

const ACME: &str = "organization: acme\nowners: [alice]\nmembers: { bob: write, root: read }\n";
const UMBRELLA: &str = "organization: umbrella\nowners: [alice]\nmembers: { bob: write }\n";
const REQUEST: &str = "personal_access_token_request";
const TOKEN: &str = "personal_access_token";

/// As fast as tests want it.
fn quick() -> Pace {
    Pace { first: Duration::from_millis(20), attempts: 5, notices: Duration::ZERO, ..Pace::default() }
}

/// A webhook at `receiver`, with further keys.
fn hook(name: &str, receiver: &Receiver, more: &str) -> String {
    let address = receiver.address;
    format!("- {{ name: {name}, url: 'http://{address}/hook?key=hidden', secret_file: secret{more} }}")
}

/// `portcullis.yaml` with these webhooks, in front of `upstream`.
fn configuration(hooks: &[String], upstream: &str) -> String {
    let mut text = String::from(
        "listeners: [{ bind: 127.0.0.1:0 }]\ncontrol: { bind: 127.0.0.1:0 }\npolicies: policies/\nworkers: 1\ndrain: 5s\n\
         store: sqlite:portcullis.db\napi: { hosts: [tokens.example.com] }\naudit: { file: audit.log }\n",
    );
    if !hooks.is_empty() {
        writeln!(text, "webhooks:\n{}", hooks.join("\n")).unwrap();
    }
    text + &format!(
        "upstreams:\n- {{ name: forge, hosts: [git.example.com], url: 'http://{upstream}', catalogs: [github], identity: {{ trusted_header: X-WEBAUTH-USER }} }}\n"
    )
}

/// The files of a gateway with these webhooks.
fn site(hooks: &[String], upstream: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    write(&root.join("policies/organizations/acme.yaml"), ACME);
    write(&root.join("policies/organizations/umbrella.yaml"), UMBRELLA);
    write(&root.join("portcullis.yaml"), &configuration(hooks, upstream));
    fs::write(root.join("secret"), SECRET).unwrap();
    directory
}

/// A gateway with these webhooks.
fn gateway(hooks: &[String], pace: Pace) -> ApiGateway {
    let spy = Spy::start();
    let directory = site(hooks, &spy.address.to_string());
    let file = directory.path().join("portcullis.yaml");
    let mut config = config::load(&file).unwrap_or_else(|faults| panic!("{}", describe(&faults)));
    config.webhooks.pace = pace;
    let running = start(&config, &file).unwrap_or_else(|error| panic!("{error}"));
    ApiGateway { gateway: TestGateway { directory, running: Some(running) } }
}

fn wish(name: &str, level: &str) -> Value {
    json!({ "name": name, "resource_owner": "acme", "repositories": ["alpha"], "permissions": { "contents": level } })
}
