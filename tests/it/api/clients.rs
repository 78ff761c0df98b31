//! GitHub's client libraries do an owner's work: requests, grants and the audit log, page by page, on both listeners, with a
//! session and with a token.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::api::{ROOT, gateway, installed, wish};
use crate::support::api::ApiGateway;
use crate::support::spy::Spy;

/// What the scripts find: five requests of two users.
const FOUND: &str = "\
requests one two three four five on 3
owner two four on 1
owners one two three four five on 3
repository two five on 1
permission five on 1
token one three on 1
unused  on 1
newest five four three two one on 1
repositories acme/alpha acme/beta
approve 204
again 404 Not Found [ACCEPTED]
deny 202
approve all 202
wrong 422 Validation Failed [ACCEPTED]
left  on 1
grants GRANTS
grant repositories acme/alpha acme/beta
revoke 204
revoke all 202
kept five on 1
";

/// What the trail says of it, beside the making of the tokens.
const TRAIL: [&str; 8] = [
    "access_granted",
    "request_denied",
    "access_granted",
    "access_granted",
    "access_granted",
    "access_revoked",
    "access_revoked",
    "access_revoked",
];

/// Who calls, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Session,
    TokenAtControl,
    TokenAtData,
}

impl Way {
    const ALL: [Self; 3] = [Self::Session, Self::TokenAtControl, Self::TokenAtData];

    /// What is printed by scripts that come this way.
    fn prints(self) -> String {
        // The data plane says with every answer what its route takes; the owner's own token is a grant too.
        let accepted = match self {
            Self::TokenAtData => "organization_personal_access_token_requests=write",
            Self::Session | Self::TokenAtControl => "",
        };
        let (grants, audit) = match self {
            Self::Session => ("one three four five on 2", "four one three"),
            Self::TokenAtControl | Self::TokenAtData => (
                "owner one three four five on 2",
                "403 Resource not accessible by personal access token [organization_administration=read]",
            ),
        };
        format!("{}audit {audit}\n", FOUND.replace("ACCEPTED", accepted).replace("GRANTS", grants))
    }
}

/// Runs a script three times, each at a gateway of its own.
#[track_caller]
fn check(program: &Path, arguments: &[&str]) {
    for way in Way::ALL {
        let spy = Spy::start();
        let gateway = gateway(&spy);
        let (base, credential) = prepare(&gateway, way);
        let mut child = Command::new(program)
            .arg(arguments[0])
            .arg(base)
            .args(&arguments[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(credential.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{way:?}");
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(printed, way.prints(), "{way:?}");
        let actions = gateway.actions();
        let after = actions.iter().rposition(|action| action.ends_with(".request_created")).unwrap() + 1;
        let actions =
            actions[after..].iter().filter_map(|action| action.strip_prefix("personal_access_token."));
        assert_eq!(actions.collect::<Vec<_>>(), TRAIL, "{way:?}");
        assert_eq!(spy.seen(), "", "nothing reached the host");
    }
}

/// Five requests, and the URL and the credential to review them with.
fn prepare(gateway: &ApiGateway, way: Way) -> (String, String) {
    let (alice, bob, carol) = (gateway.person("alice"), gateway.person("bob"), gateway.person("carol"));
    let credential = match way {
        Way::Session => alice.credential,
        Way::TokenAtControl | Way::TokenAtData => {
            let permissions = json!({
                "organization_personal_access_token_requests": "write", "organization_personal_access_tokens": "write",
            });
            let body = json!({ "name": "owner", "resource_owner": "acme", "permissions": permissions });
            alice.create(&body).1
        }
    };
    bob.create(&wish("one", &["alpha", "beta"]));
    carol.create(&wish("two", &["gamma"]));
    bob.create(&wish("three", &["alpha"]));
    carol.create(&wish("four", &["beta"]));
    let mut five = wish("five", &[]);
    five["repositories"] = json!("all");
    five["permissions"] = json!({ "issues": "read" });
    bob.create(&five);
    let address = match way {
        Way::TokenAtData => gateway.gateway.address(),
        Way::Session | Way::TokenAtControl => gateway.gateway.running().control.unwrap(),
    };
    (format!("http://{address}"), credential)
}

#[test]
fn octokit() {
    let Some(modules) = installed("node/node_modules") else { return };
    let script = format!("{ROOT}/tests/clients/octokit-tokens.mjs");
    check(Path::new("node"), &[&script, modules.to_str().unwrap()]);
}

#[test]
fn pygithub() {
    let Some(python) = installed("python/bin/python") else { return };
    check(&python, &[&format!("{ROOT}/tests/clients/pygithub_tokens.py")]);
}
