//! Faults of declared tokens.

use portcullis::domain::fault::describe;

use crate::policy_faults::{TOKENS, check, digest, faults_of};
use crate::support::policy::{snapshot, source, upstream};

/// One token; `body` is what comes after its name, digest and user.
#[track_caller]
fn check_token(body: &str, place: &str, part: &str) {
    let head = "tokens:\n  - name: ci\n    sha256: SHA\n    user: bob\n";
    let text = format!("{head}{}", body.replace('|', "\n    ").replacen("", "    ", 1) + "\n");
    check(TOKENS, &text, place, part);
}

/// A sound token.
const ALL: &str =
    "resource_owner: acme|repositories: all|permissions: { contents: read }|expires_at: 2027-01-31";

fn with(from: &str, to: &str) -> String {
    ALL.replace(from, to)
}

#[test]
fn fields_and_permissions() {
    check_token(&with("2027-01-31", "tomorrow"), "8:17", "expected a date such as `2027-01-31`");
    check_token(&with("2027-01-31", "2027-02-30"), "8:17", "expected a date");
    check_token(&with("2027-01-31", "2027-01-31T18:00:00"), "8:17", "a moment such as");
    check_token(&with("expires_at", "expires"), "8:5", "unknown field `expires`");
    check_token(&with("|expires_at: 2027-01-31", ""), "7:5", "`expires_at` is missing");
    check_token(
        &with("contents", "contnets"),
        "7:20",
        "unknown permission `contnets`; did you mean `contents`?",
    );
    check_token(&with("contents", "pull_request"), "7:20", "did you mean `pull_requests`?");
    check_token(&with("contents", "zzz"), "7:20", "it is in none of the catalogs in use");
    check_token(&with("contents: read", "checks: read"), "7:20", "`checks` cannot be granted to a token");
    check_token(
        &with("read", "admin"),
        "7:30",
        "`admin` is no level of `contents`; expected `read` or `write`",
    );
    check_token(&with("read", "none"), "7:30", "`none` is no level of `contents`");
}

#[test]
fn reach_and_state() {
    check_token(&with("all", "none"), "6:19", "expected `all` or a list of repository names");
    check_token(&with("all", "[]"), "6:19", "the list is empty");
    check_token(&with("all", "[acme/alpha]"), "6:19", "`acme/alpha` is no repository name");
    check_token(&with("all", "[alpha.git]"), "6:19", "without `.git`");
    check_token(&with("all", "[\"*\"]"), "6:19", "`*` is no repository name");
    check_token(&with("repositories: all|", ""), "5:21", "`repositories` is missing");
    check_token(&with("acme", "acme."), "5:21", "does not end in `.`");
    check_token(&with("resource_owner: acme|", ""), "2:5", "or else `grants`");
    check_token(&format!("{ALL}|grants: []"), "2:5", "or else `grants`");
    check_token("grants: []|expires_at: 2027-01-31", "2:5", "`grants` is empty");
    check_token(&format!("{ALL}|state: paused"), "9:12", "unknown state `paused`");
    check_token(&format!("{ALL}|networks: [10.0.0.0/33]"), "9:16", "expected a network such as");
    check_token(&format!("{ALL}|networks: []"), "2:5", "`networks` is empty; leave it out");
    let two = "grants:|  - { resource_owner: acme, permissions: {} }|  - { resource_owner: ACME, permissions: {} }|expires_at: 2027-01-31";
    check_token(two, "7:27", "stands in `grants` already");
}

#[test]
fn names_and_digests_of_tokens() {
    let token = |name: &str, sha256: &str, user: &str| {
        format!(
            "tokens:\n  - name: {name}\n    sha256: {sha256}\n    user: {user}\n    expires_at: 2027-01-31\n    resource_owner: acme\n    permissions: {{}}\n"
        )
    };
    check(TOKENS, &token("\"\"", "SHA", "bob"), "2:11", "1 to 40 characters");
    check(TOKENS, &token(&"n".repeat(41), "SHA", "bob"), "2:11", "1 to 40 characters");
    check(TOKENS, &token("ci", "abc", "bob"), "3:13", "64 hexadecimal digits");
    check(TOKENS, &token("ci", &"g".repeat(64), "bob"), "3:13", "64 hexadecimal digits");
    check(TOKENS, &token("ci", "SHA", "a b"), "4:11", "a user's name holds");
    check(TOKENS, &token("ci", "SHA", "\"a\\nb\""), "4:11", "a user's name holds");
    check(TOKENS, "tokens:\n  - name: &n ci\n", "2:14", "anchors and aliases");
    check(TOKENS, "", "1:1", "holds no document");
}

#[test]
fn the_same_digest_twice_is_told_with_both_places() {
    let entry = |name: &str, digest: &str| {
        format!(
            "  - name: {name}\n    sha256: {digest}\n    user: bob\n    expires_at: 2027-01-31\n    resource_owner: acme\n    permissions: {{}}\n"
        )
    };
    let file = |name: &str, digest: &str| format!("tokens:\n{}", entry(name, digest));
    let upper = digest(1).to_ascii_uppercase();
    let sources =
        [source("tokens/a.yaml", file("one", &digest(1))), source("tokens/b.yaml", file("two", &upper))];
    let faults = faults_of(&sources, &[upstream(&["git"])]);
    assert_eq!(faults.len(), 1);
    let text = describe(&faults);
    assert!(
        text.starts_with(
            "policies/tokens/b.yaml:3:13: this digest stands at policies/tokens/a.yaml:3 already"
        ),
        "{text}"
    );
}

/// The same in lines, with quotes, and in one file.
#[test]
fn the_same_digest_twice_in_lines_is_told_with_both_places() {
    let line = |digest: &str| {
        format!(
            "{{\"name\": \"é\", \"sha256\": \"{digest}\", \"user\": \"bob\", \"resource_owner\": \"acme\", \"permissions\": {{}}, \"expires_at\": \"2027-01-31\"}}\n"
        )
    };
    let text = format!("{}\n{}", line(&digest(1)), line(&digest(1).to_ascii_uppercase()));
    let text = describe(&faults_of(&[source("tokens/a.jsonl", text)], &[upstream(&["git"])]));
    let want = "policies/tokens/a.jsonl:3:25: this digest stands at policies/tokens/a.jsonl:1 already";
    assert!(text.starts_with(want), "{text}");
}

/// Lines declare tokens and nothing else.
#[test]
fn lines_elsewhere_are_refused() {
    for name in ["organizations/acme.jsonl", "deny.jsonl", "catalogs/x.jsonl", "x.jsonl"] {
        let text = describe(&faults_of(&[source(name, "{}\n")], &[upstream(&["git"])]));
        assert!(text.starts_with(&format!("policies/{name}: unknown policy file")), "{text}");
    }
}

#[test]
fn a_permission_of_a_user_belongs_to_that_user() {
    let catalog = "catalog: people\npermissions:\n  keys: { scope: user, levels: [read] }\nroutes:\n  GET /my/keys: keys=read\n";
    let token = |owner: &str| {
        format!(
            "tokens:\n  - name: ci\n    sha256: {}\n    user: Bob\n    resource_owner: {owner}\n    permissions: {{ keys: read }}\n    expires_at: 2027-01-31\n",
            digest(1)
        )
    };
    let faults = |owner: &str| {
        let sources = [source("catalogs/people.yaml", catalog), source(TOKENS, token(owner))];
        describe(&faults_of(&sources, &[upstream(&["people"])]))
    };
    let foreign = faults("acme");
    assert!(
        foreign.starts_with("policies/tokens/ci.yaml:5:21: `keys` is a user's own permission"),
        "{foreign}"
    );
    assert_eq!(faults("bob"), "");
}

#[test]
fn one_file_holds_many_tokens() {
    let token = |number: u32| {
        format!(
            "  - {{ name: t, sha256: {number:064x}, user: bot, resource_owner: acme, repositories: all, permissions: {{ contents: read }}, expires_at: 2999-01-31 }}\n"
        )
    };
    let text: String = (0..15_000).map(token).collect();
    let snapshot = snapshot(&[source("tokens/many.yaml", format!("tokens:\n{text}"))], &["git"]);
    assert_eq!(snapshot.tokens.len(), 15_000);
}
