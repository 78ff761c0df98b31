//! `portcullis explain`.

use std::cmp::Ordering;

use serde_json::{Value, json};

use crate::command::Folder;
use crate::support::policy::token;

const CLONE: &str = "clone https://git.example.com/acme/alpha.git";

/// Who asks for what, the step that refuses, and why.
const REFUSED: [(&str, &str, u64, &str); 20] = [
    ("reader", "GET https://git.example.com/a//b", 2, "ambiguous_target"),
    ("reader", "GET https://git.example.com/a#b", 2, "ambiguous_target"),
    ("reader", "GET https://other.example.com/", 3, "no_upstream"),
    ("reader", "GET /repos/acme/alpha?access_token=x", 4, "ambiguous_credentials"),
    ("reader", "GET /repos/acme/alpha --header Private-Token:x", 4, "ambiguous_credentials"),
    ("junk", CLONE, 5, "malformed_token"),
    ("9", CLONE, 6, "bad_credentials"),
    ("2", CLONE, 6, "token_revoked"),
    ("revoked", CLONE, 6, "token_revoked"),
    ("pending", CLONE, 6, "token_pending"),
    ("expired", CLONE, 6, "token_expired"),
    ("reader", "clone /acme/alpha --at 2099-01-31", 6, "token_expired"),
    ("reader", "GET /acme/alpha/config", 7, "no_route"),
    ("reader", "GET /acme/alpha/HEAD --header Upgrade:h2c --header Connection:Upgrade", 7, "upgrade_refused"),
    ("reader", "clone /acme/beta", 8, "resource_not_granted"),
    ("reader", "push /acme/alpha", 9, "permission_missing"),
    ("reader", "PUT /repos/acme/alpha/pulls/1/merge", 9, "permission_missing"),
    ("reader", "GET /repos/acme/alpha/check-runs/1", 9, "never_grantable"),
    ("at home", CLONE, 11, "constraint_failed"),
    ("at home", "clone /acme/alpha --peer 11.0.0.1", 11, "constraint_failed"),
];

/// The arguments of `explain` up to the method, the rest, and what comes of it.
#[track_caller]
fn check_explained(folder: &Folder, holder: &str, request: &str, want: Option<(u64, &str)>) {
    let mut arguments = vec!["explain", "--json"];
    let input = match holder.parse::<u8>() {
        Ok(seed) => {
            arguments.push("--token-stdin");
            token(seed)
        }
        Err(_) if holder == "junk" => {
            arguments.push("--token-stdin");
            token(1).replace("portcullis_pat_", "portcullis_pat_0")
        }
        Err(_) => {
            arguments.extend(["--token-name", holder]);
            String::new()
        }
    };
    arguments.extend(request.split(' '));
    let told = folder.run_with(&arguments, &input).expect(i32::from(want.is_some()));
    let json = told.json();
    assert_eq!(json["allowed"], want.is_none(), "{request}");
    let report = json["requests"].as_array().unwrap().last().unwrap();
    let reason = report["refusal"]["reason"].as_str();
    assert_eq!(reason, want.map(|(_, reason)| reason), "{holder} {request}");
    let refused = want.map_or(12, |(step, _)| step);
    for step in report["steps"].as_array().unwrap() {
        let number = step["step"].as_u64().unwrap();
        let outcome = match number.cmp(&refused) {
            Ordering::Less => "passed",
            Ordering::Equal => "refused",
            Ordering::Greater => "not_reached",
        };
        assert_eq!(step["outcome"], outcome, "{holder} {request}: {step}");
        assert_ne!(step["found"], "", "{holder} {request}: {step}");
    }
    assert_eq!(report["steps"].as_array().unwrap().len(), 11);
}

#[test]
fn explain_tells_of_each_step_that_can_refuse() {
    let folder = Folder::new();
    let long = format!("GET https://git.example.com/{}", "a".repeat(256));
    check_explained(&folder, "reader", &long, Some((1, "limit_exceeded")));
    for (holder, request, step, reason) in REFUSED {
        check_explained(&folder, holder, request, Some((step, reason)));
    }
    for (holder, request) in [
        ("1", CLONE),
        ("reader", CLONE),
        ("reader", "get /repos/acme/alpha/branches"),
        ("expired", "clone /acme/alpha --at 2001-01-30T23:59:59Z"),
        ("at home", "clone /acme/alpha --peer 10.1.2.3"),
    ] {
        check_explained(&folder, holder, request, None);
    }
}

#[test]
fn explain_judges_permissions_without_a_token() {
    let folder = Folder::new();
    let explain = |permissions: &str, repositories: &str, request: &[&str]| {
        let who = ["--permissions", permissions, "--repositories", repositories, "--user", "bob"];
        let arguments = [&["explain", "--json"], &who[..], request].concat();
        folder.run(&arguments)
    };
    let push = ["push", "https://git.example.com/acme/alpha"];
    explain("contents=write", "acme/*", &push).expect(0);
    explain("contents=write", "umbrella/x,acme/alpha", &push).expect(0);
    let json = explain("contents=read,issues=write", "acme/alpha", &push).expect(1).json();
    let report = &json["requests"][1];
    assert_eq!(report["target"], "/acme/alpha/git-receive-pack");
    assert_eq!(report["enough"], "contents=write on acme/alpha");
    assert_eq!(report["grantor"], "an owner of `acme` (alice)");
    assert_eq!(report["refusal"]["missing"], json!(["contents=write"]));
    assert_eq!(report["token"], Value::Null);

    let json = explain("administration=write", "acme/*", &["DELETE", "/repos/acme/alpha"]).expect(1).json();
    assert_eq!(json["requests"][0]["refusal"]["reason"], "policy_forbids");
    assert_eq!(json["requests"][0]["steps"][9]["found"], "organization acme: ceiling");
    let merge = ["PUT", "/repos/acme/alpha/pulls/1/merge"];
    let json = explain("contents=write", "acme/*", &merge).expect(1).json();
    assert_eq!(json["requests"][0]["steps"][9]["found"], "deny rule no merging");

    let json = explain("contents=read", "umbrella/*", &["clone", "/umbrella/x"]).expect(0).json();
    let shadow = json["requests"][0]["shadow"][0].as_str().unwrap();
    assert!(shadow.contains("organization umbrella"), "{shadow}");

    let json = explain("contents=read", "acme/*", &["PATCH", "/repos/acme/alpha/branches"]).expect(1).json();
    assert_eq!(json["requests"][0]["hints"][0], "the catalogs have this path for `GET`");
}

#[test]
fn explain_is_told_in_words() {
    let folder = Folder::new();
    let told = folder.run(&["explain", "--token-name", "reader", "push", "/acme/alpha"]).expect(1);
    for part in [
        "GET /acme/alpha/info/refs?service=git-receive-pack at git.example.com\n",
        "  ✓  7 action      GET /{owner}/{repository}/info/refs\n",
        "  ✗  9 permission  needed contents=write; held contents=read, metadata=read, pull_requests=write\n",
        "  – 10 policy      not reached\n",
        "refused: permission_missing (403)\n",
        "  granted by: an owner of `acme` (alice)\n",
        "2 requests: refused\n",
    ] {
        assert!(told.stdout.contains(part), "{part}: {}", told.stdout);
    }
    assert_eq!(told.stderr, "");
}
