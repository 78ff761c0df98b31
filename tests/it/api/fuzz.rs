//! Whatever a fuzzer thinks of: schemathesis reads the served description and calls everything in it. No answer is a failure
//! of the gateway, and each is one that is described.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::api::{gateway_with, installed, token_with_everything, wish};
use crate::support::api::{ApiGateway, Caller};
use crate::support::spy::Spy;

const ENTERPRISE: &str = "enterprise: example\nadministrators: [alice]\n";

/// Whose rules may become anything: nothing else depends on them.
const LAB: &str = "organization: lab\nowners: [alice]\nmanaged: store\n";

/// Values that lead somewhere, tried beside what comes by chance.
const CONFIG: &str = r#"
[dictionaries]
orgs = { values = ["acme", "Acme", "alice", "lab", "nowhere"] }
actions = { values = ["approve", "deny", "revoke"] }
names = { values = ["a", "b", "c", "d", "e", "f", "g", "h"] }
users = { values = ["carol", "nobody"] }
numbers = { values = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 99] }
phrases = { values = ["actor:bob", "action:personal_access_token.*", "created:2020-01-01..2999-01-01", "repo:acme/alpha"] }

[parameters]
"path.org" = { dictionary = "orgs", probability = 0.8 }
"path.login" = { dictionary = "users", probability = 0.8 }
"path.token_id" = { dictionary = "numbers", probability = 0.7 }
"path.pat_id" = { dictionary = "numbers", probability = 0.7 }
"path.pat_request_id" = { dictionary = "numbers", probability = 0.7 }
"query.phrase" = { dictionary = "phrases", probability = 0.5 }
"body.resource_owner" = { dictionary = "orgs", probability = 0.8 }
"body.name" = { dictionary = "names", probability = 0.5 }
"body.action" = { dictionary = "actions", probability = 0.8 }
"body.pat_ids[*]" = { dictionary = "numbers", probability = 0.9 }
"body.pat_request_ids[*]" = { dictionary = "numbers", probability = 0.9 }
"#;

const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance";

/// Starts schemathesis. Before Python 3.11.8 and 3.12.2 threads that take turns while one parses Python break that
/// (python/cpython#106905), so they are made to take turns where they wait for something only.
const START: &str = "import sys; sys.setswitchinterval(60); from schemathesis.cli import schemathesis; sys.exit(schemathesis())";

const ARGUMENTS: [&str; 16] = [
    "--report",
    "har",
    "--report-har-path",
    "calls.har",
    "--phases",
    "examples,coverage,fuzzing",
    "--seed",
    "7",
    "--workers",
    "1",
    "--suppress-health-check",
    "all",
    "--warnings",
    "off",
    "--no-shrink",
    "--continue-on-failure",
];

/// Who calls, where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Nobody,
    Owner,
    TokenAtControl,
    TokenAtData,
}

impl Who {
    /// Statuses that some calls end in: that success is among them says that the fuzzer gets somewhere.
    fn sees(self) -> &'static [u64] {
        match self {
            Self::Nobody => &[202, 400, 401, 403, 422],
            Self::Owner | Self::TokenAtControl | Self::TokenAtData => {
                &[200, 201, 202, 204, 400, 401, 403, 404, 422]
            }
        }
    }
}

/// The statuses in a file of calls.
fn seen(file: &Path) -> BTreeSet<u64> {
    let calls: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let calls = calls["log"]["entries"].as_array().unwrap();
    assert!(calls.len() > 20, "{} calls", calls.len());
    calls.iter().map(|call| call["response"]["status"].as_u64().unwrap()).collect()
}

/// What ends a session, and what counts attempts.
const SESSIONS: &str = "^/sessions";

/// What ends a token that is called with, or takes its permissions.
const ENDS: [&str; 5] = ["regenerate-token", "change-token", "delete-token", "revoke-grant", "revoke-grants"];

/// One run of schemathesis.
struct Run<'r> {
    /// Cases of each operation, beside those that follow from its description.
    cases: u32,
    /// Which operations.
    chosen: Vec<&'r str>,
}

fn only<'r>(ids: &[&'r str]) -> Vec<&'r str> {
    ids.iter().flat_map(|id| ["--include-operation-id", *id]).collect()
}

fn but<'r>(ids: &[&'r str], paths: &'r str) -> Vec<&'r str> {
    let ids = ids.iter().flat_map(|id| ["--exclude-operation-id", *id]);
    ids.chain(["--exclude-path-regex", paths]).collect()
}

/// A gateway with some of everything.
fn populated(spy: &Spy, alice: bool) -> (ApiGateway, Caller) {
    let gateway = gateway_with(spy, &[("enterprise.yaml", ENTERPRISE), ("organizations/lab.yaml", LAB)]);
    let (owner, bob) = (gateway.person("alice"), gateway.person("bob"));
    for number in 0..20 {
        let caller = if alice && number % 2 == 0 { &owner } else { &bob };
        caller.create(&wish(&format!("token {number}"), &["alpha", "beta"]));
    }
    gateway.add_user("carol", false);
    (gateway, owner)
}

/// Calls what `runs` say, one after the other, as `who`.
fn check(who: Who, runs: &[Run<'_>]) {
    let Some(python) = installed("python/bin/python") else { return };
    if installed("python/bin/schemathesis").is_none() {
        return;
    }
    let spy = Spy::start();
    let (gateway, alice) = populated(&spy, who != Who::Nobody);
    let credential = match who {
        Who::Nobody => None,
        Who::Owner => Some(alice.credential),
        Who::TokenAtControl | Who::TokenAtData => Some(token_with_everything(&alice, "alice")),
    };
    let control = format!("http://{}", gateway.gateway.running().control.unwrap());
    let base = match who {
        Who::TokenAtData => format!("http://{}", gateway.gateway.address()),
        Who::Nobody | Who::Owner | Who::TokenAtControl => control.clone(),
    };
    let directory = gateway.gateway.directory.path();
    std::fs::write(directory.join("schemathesis.toml"), CONFIG).unwrap();
    let mut statuses = BTreeSet::new();
    for (at, run) in runs.iter().enumerate() {
        let mut command = Command::new(&python);
        command.current_dir(directory).args(["-c", START, "--config-file", "schemathesis.toml"]);
        command.args(["run", &format!("{control}/openapi.json"), "--url", &base]).args(ARGUMENTS);
        command.args(["--checks", CHECKS, "--max-examples", &run.cases.to_string()]).args(&run.chosen);
        if let Some(credential) = &credential {
            command.args(["--header", &format!("Authorization: Bearer {credential}")]);
        }
        let output = command.output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{who:?}, run {at}: {said}");
        statuses.extend(seen(&directory.join("calls.har")));
    }
    let missing: Vec<_> = who.sees().iter().filter(|status| !statuses.contains(status)).collect();
    assert!(missing.is_empty(), "{who:?} never saw {missing:?}, only {statuses:?}");
    assert_eq!(spy.seen(), "", "nothing reached the host");
}

#[test]
fn nobody() {
    check(Who::Nobody, &[Run { cases: 5, chosen: Vec::new() }]);
}

#[test]
fn an_owner_who_is_an_administrator() {
    let suspend = ["suspend-user", "unsuspend-user"];
    check(
        Who::Owner,
        &[Run { cases: 40, chosen: but(&suspend, SESSIONS) }, Run { cases: 10, chosen: only(&suspend) }],
    );
}

#[test]
fn a_token_on_the_control_listener() {
    check(
        Who::TokenAtControl,
        &[Run { cases: 10, chosen: but(&ENDS, SESSIONS) }, Run { cases: 10, chosen: only(&ENDS) }],
    );
}

#[test]
fn a_token_on_the_data_plane() {
    let control_only = "^/(sessions$|credentials|openapi)";
    check(
        Who::TokenAtData,
        &[Run { cases: 20, chosen: but(&ENDS, control_only) }, Run { cases: 10, chosen: only(&ENDS) }],
    );
}
