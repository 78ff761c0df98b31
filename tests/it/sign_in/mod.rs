//! Signing in to the API by others: a proxy's header, and providers of OpenID Connect, a real one and one that lies.

mod attacks;
mod browser;
mod fake;
mod header;
mod provider;
mod roles;

use std::io::Write;
use std::net::TcpStream;

use portcullis::store::audit::AuditQuery;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::api::{Answer, ApiGateway};
use crate::support::gateway::{DEADLINE, TestGateway, read_answer, status};
use crate::support::secure::Authority;

/// Alice owns it by its file; the other one belongs to whomever a provider says.
const POLICIES: [(&str, &str); 2] = [
    ("organizations/acme.yaml", "organization: acme\nowners: [alice]\n"),
    ("organizations/umbrella.yaml", "organization: umbrella\nowners: [nobody]\n"),
];

const UPSTREAM: &str = "  - { name: forge, hosts: [git.example.com], url: 'http://127.0.0.1:9', catalogs: [github], identity: { trusted_header: X-WEBAUTH-USER } }";

/// A gateway whose `api` says this too.
fn gateway(api: &str) -> ApiGateway {
    gateway_trusting(api, None)
}

/// The same, beside an authority in `ca.pem`.
fn gateway_trusting(api: &str, authority: Option<&Authority>) -> ApiGateway {
    let directory = tempfile::tempdir().unwrap();
    if let Some(authority) = authority {
        std::fs::write(directory.path().join("ca.pem"), &authority.certificate).unwrap();
    }
    gateway_in(directory, api)
}

/// The same, in a directory that holds something already.
fn gateway_in(directory: TempDir, api: &str) -> ApiGateway {
    std::fs::write(directory.path().join("secret"), "a secret: of+the client/\n").unwrap();
    let top = format!(
        "listeners: [{{ bind: 127.0.0.1:0 }}]\nstore: sqlite:portcullis.db\napi: {{ hosts: [tokens.example.com], url: 'http://portcullis.test', {api} }}"
    );
    let policies = POLICIES.map(|(name, text)| (name, text.to_owned()));
    ApiGateway { gateway: TestGateway::in_directory(directory, &top, UPSTREAM, &policies) }
}

/// The answer of the control listener to a request with these lines in its head.
fn ask(gateway: &ApiGateway, request: &str, lines: &[&str], body: &str) -> Answer {
    let mut stream = TcpStream::connect(gateway.gateway.running().control.unwrap()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let lines = lines.iter().flat_map(|line| [line, "\r\n"]).collect::<String>();
    let text = format!(
        "{request} HTTP/1.1\r\nHost: portcullis.test\r\n{lines}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).unwrap();
    let text = read_answer(&mut stream);
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    Answer {
        status: status(&text),
        head: head.to_owned(),
        body: serde_json::from_str(body).unwrap_or(Value::Null),
    }
}

/// The audit trail, the oldest entry first.
fn entries(gateway: &ApiGateway) -> Vec<Value> {
    let find = |reads: portcullis::store::Reads<'_>| reads.audit(&AuditQuery::default(), 1000);
    let entries = gateway.store().read_now(find).unwrap();
    entries.iter().rev().map(|entry| serde_json::from_str(&entry.entry).unwrap()).collect()
}
