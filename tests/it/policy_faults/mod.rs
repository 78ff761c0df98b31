//! Broken policy files, and what their author reads: file, line, column, what is wrong, what was expected.

mod catalogs;
mod tokens;

use portcullis::domain::fault::{Fault, describe};
use portcullis::domain::token::{TokenDigest, TokenFormat};
use portcullis::policy::compile::{Source, compile};
use portcullis::policy::upstream::UpstreamSpec;

use crate::support::policy::{source, token, upstream};

const ORGANIZATION: &str = "organizations/acme.yaml";
const TOKENS: &str = "tokens/ci.yaml";
const DENY: &str = "deny.yaml";

fn faults_of(sources: &[Source], upstreams: &[UpstreamSpec]) -> Vec<Fault> {
    compile(sources, upstreams, &TokenFormat::default(), 1).err().unwrap_or_default()
}

fn digest(seed: u8) -> String {
    TokenDigest::of(&token(seed)).to_string()
}

/// The one file `name` with `text` gives exactly one fault, which starts with `place` and holds `part`.
#[track_caller]
fn check(name: &str, text: &str, place: &str, part: &str) {
    let text = text.replace("SHA", &digest(1));
    let faults = faults_of(&[source(name, text.as_str())], &[upstream(&["github", "git"])]);
    let all = describe(&faults);
    assert_eq!(faults.len(), 1, "{text}\ngave:\n{all}");
    let start = format!("policies/{name}:{place}: ");
    assert!(all.starts_with(&start), "{text}\ngave {all}\nnot at {start}");
    assert!(all.contains(part), "{text}\ngave {all}\nwithout {part}");
}

#[test]
fn organizations() {
    let check = |text: &str, place: &str, part: &str| check(ORGANIZATION, text, place, part);
    check("organization: ac me\n", "1:15", "an organization's name holds letters");
    check("owners: [alice]\n", "1:1", "`organization` is missing");
    check("organization: acme\nceilings: {}\n", "2:1", "unknown field `ceilings`; expected");
    check("organization: acme\norganization: b\n", "2:1", "`organization` stands twice");
    check("organization: acme\nmembers: { bob: owner }\n", "2:17", "unknown role `owner`; expected `read`");
    check("organization: acme\nmembers:\n  bob: read\n  bob: admin\n", "4:3", "stands twice");
    check("organization: acme\nmode: dry\n", "2:7", "unknown mode `dry`; expected `enforce` or `shadow`");
    check(
        "organization: acme\nfine_grained_tokens: { access: no }\n",
        "2:32",
        "unknown access `no`; expected `allow` or `deny`",
    );
    check("organization: acme\nfine_grained_tokens:\n  max_lifetime: 90\n", "3:17", "expected a duration");
    check(
        "organization: acme\nfine_grained_tokens: { max_lifetimes: 90d }\n",
        "2:24",
        "unknown field `max_lifetimes`",
    );
}

#[test]
fn ceilings() {
    let check = |text: &str, place: &str, part: &str| check(ORGANIZATION, text, place, part);
    check(
        "organization: acme\nceiling: { content: write }\n",
        "2:12",
        "unknown permission `content`; did you mean `contents`?",
    );
    check(
        "organization: acme\nceiling: { contents: admin }\n",
        "2:22",
        "`admin` is no level of `contents`; expected `read` or `write`",
    );
    check("organization: acme\nceiling: { content: none }\n", "2:12", "unknown permission `content`");
}

#[test]
fn deny_rules() {
    let check = |rules: &str, place: &str, part: &str| check(DENY, &format!("deny:\n{rules}\n"), place, part);
    check("  - { name: a, route: /x }", "2:23", "a route is written `GET /path`");
    check("  - { name: a, route: get /x }", "2:23", "`get` is no method");
    check("  - { name: a, route: \"* /{x...}/y\" }", "2:23", "nothing may follow `{name...}`");
    check("  - { name: a, route: \"* /x\", mode: off }", "2:37", "unknown mode `off`");
    check("  - { name: a, route: \"* /x\", upstreams: [fogre] }", "2:43", "there is no upstream `fogre`");
    check("  - { name: a, route: \"* /x\", upstreams: [] }", "2:13", "`upstreams` is empty; leave it out");
    check("  - { name: a, routes: \"* /x\" }", "2:16", "unknown field `routes`");
    check(
        "  - { name: a, route: \"GET /x/{n}\" }\n  - { name: b, route: \"GET /x/{m}\" }",
        "3:23",
        "is closed by another rule already",
    );
    check(
        "  - { name: a, route: \"GET /x/{n}\" }\n  - { name: b, route: \"PUT /x/{owner}\" }",
        "3:23",
        "names `{owner}` or `{repository}` where another rule does not",
    );
}

#[test]
fn unknown_catalogs_and_files() {
    let text = describe(&faults_of(&[], &[upstream(&["gti"])]));
    assert!(
        text.starts_with(
            "portcullis.yaml: upstream `forge` uses catalog `gti`, which does not exist; there are"
        ),
        "{text}"
    );
    assert!(text.contains("`git`") && text.contains("`github`"), "{text}");
    let text = describe(&faults_of(&[source("token/a.yaml", "tokens: []")], &[upstream(&["git"])]));
    assert!(
        text.starts_with("policies/token/a.yaml: unknown policy file; expected `enterprise.yaml`"),
        "{text}"
    );
    let twice = [
        source("organizations/a.yaml", "organization: Acme\n"),
        source("organizations/b.yaml", "organization: acme\n"),
    ];
    let text = describe(&faults_of(&twice, &[upstream(&["git"])]));
    assert!(
        text.starts_with(
            "policies/organizations/b.yaml:1:15: organization `acme` stands in another file already"
        ),
        "{text}"
    );
}

#[test]
fn all_faults_of_all_files_are_told_at_once_in_order() {
    let sources = [
        source(
            TOKENS,
            "tokens:\n  - name: ci\n    sha256: x\n    user: bob\n    resource_owner: acme\n    repositories: []\n    permissions: { content: read, contents: owner }\n    expires_at: soon\n",
        ),
        source(ORGANIZATION, "organization: acme\nmode: dry\nceiling: { content: read }\n"),
        source(DENY, "deny:\n  - { name: a, route: x }\n  - { name: b, route: \"* /y\", mode: x }\n"),
        source("organizations/b.yaml", "organization: [b]\n"),
        source("other.yaml", "x: 1\n"),
    ];
    let faults = faults_of(&sources, &[upstream(&["git", "svn"])]);
    let text = describe(&faults);
    let places: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("po"))
        .map(|line| line.split(": ").next().unwrap())
        .collect();
    assert_eq!(
        places,
        [
            "policies/deny.yaml:2:23",
            "policies/deny.yaml:3:37",
            "policies/organizations/acme.yaml:2:7",
            "policies/organizations/acme.yaml:3:12",
            "policies/organizations/b.yaml:1:15",
            "policies/other.yaml",
            "policies/tokens/ci.yaml:3:13",
            "policies/tokens/ci.yaml:6:19",
            "policies/tokens/ci.yaml:7:20",
            "policies/tokens/ci.yaml:7:45",
            "policies/tokens/ci.yaml:8:17",
            "portcullis.yaml",
        ],
        "{text}"
    );
    assert!(text.contains("  2 | mode: dry\n    |       ^"), "{text}");
}
