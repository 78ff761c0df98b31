//! GitHub's client libraries through a whole gateway: they read on, and understand its refusals.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::api::installed;
use crate::support::gateway::TestGateway;
use crate::support::policy::token;
use crate::support::spy::Spy;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const FILE: &str = concat!(
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 77\r\n\r\n",
    r#"{"type":"file","path":"docs/a b.md","encoding":"base64","content":"aGVsbG8="}"#,
);

/// What a script prints that is run by `program` with `arguments`, and what the host saw.
fn drive(program: &Path, arguments: &[&str]) -> (String, String) {
    let spy = Spy::answering(FILE);
    let reader = "resource_owner: acme\nrepositories: [alpha]\npermissions: { contents: read }";
    let gateway = TestGateway::before(spy.address, "github", reader);
    let mut child = Command::new(program)
        .arg(arguments[0])
        .arg(format!("http://{}", gateway.address()))
        .args(&arguments[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(token(1).as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    (String::from_utf8(output.stdout).unwrap(), spy.seen())
}

const REFUSED: &str = "write 403 Resource not accessible by personal access token \
                       [contents=write; contents=write,workflows=write]\n\
                       other 404 Not Found [metadata=read]\nsearch 403 Not Found []\n";

#[test]
fn octokit() {
    let Some(modules) = installed("node/node_modules") else { return };
    let modules = modules.to_str().unwrap();
    let (printed, seen) = drive(Path::new("node"), &[&format!("{ROOT}/tests/clients/octokit.mjs"), modules]);
    assert_eq!(printed, format!("read 200\n{REFUSED}"));
    assert!(seen.starts_with("GET /repos/acme/alpha/contents/docs%2Fa%20b.md HTTP/1.1\r\n"), "{seen}");
    assert_eq!(seen.matches("HTTP/1.1").count(), 1, "{seen}");
}

#[test]
fn pygithub() {
    let Some(python) = installed("python/bin/python") else { return };
    let (printed, seen) = drive(&python, &[&format!("{ROOT}/tests/clients/pygithub.py")]);
    assert_eq!(printed, format!("read hello\n{REFUSED}"));
    assert!(seen.starts_with("GET /repos/acme/alpha/contents/docs/a%20b.md HTTP/1.1\r\n"), "{seen}");
}
