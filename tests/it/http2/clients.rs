//! A client of another make, which has many streams under way at a time.

use std::process::Command;

use crate::support::gateway::policy_tokens;
use crate::support::policy::token;
use crate::support::secure::{Authority, secure_gateway};
use crate::support::wire::{Host, field};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/http2.mjs");
const WRITER: &str = "resource_owner: acme\nrepositories: [alpha]\npermissions: { contents: write }";

/// A host that answers with what it was sent.
fn echo() -> Host {
    Host::start(|mut wire, _| {
        while let Some(head) = wire.head() {
            let length: usize = field(&head, "content-length").map_or(0, |length| length.parse().unwrap());
            let body = wire.exactly(length);
            // Both ways in which an answer's length is told.
            let answer = if length.is_multiple_of(2) {
                format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}")
            } else {
                format!(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"
                )
            };
            if wire.try_send(answer).is_err() {
                return;
            }
        }
    })
}

#[test]
fn node_gets_back_what_it_sent_over_a_hundred_streams_at_a_time() {
    let (host, authority) = (echo(), Authority::new());
    let upstreams = format!(
        "  - {{ name: forge, hosts: ['*'], url: 'http://{}', catalogs: [github], identity: {{ trusted_header: X-WEBAUTH-USER }} }}",
        host.address
    );
    let gateway = secure_gateway(&authority, "", &upstreams, &[policy_tokens(&[(1, WRITER)])]);
    let ran = Command::new("node").arg(SCRIPT).args([gateway.address().to_string(), token(1)]).output();
    let Ok(ran) = ran else { return println!("skipped: there is no node; run make test") };
    let printed = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{printed}{}", String::from_utf8_lossy(&ran.stderr));
    // Each of them sends as many bytes as its number squared.
    assert_eq!(printed.trim(), "400 answers, 21253400 bytes, 0 wrong");
    let lines = gateway.audit();
    assert_eq!(lines.len(), 400);
    let bytes = |name: &str| lines.iter().map(|line| line[name].as_u64().unwrap()).sum::<u64>();
    assert_eq!((bytes("request_bytes"), bytes("response_bytes")), (21_253_400, 21_253_400));
}
