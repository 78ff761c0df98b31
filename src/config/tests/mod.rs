//! One whole file, and what is said of each wrong one.

mod sign_in;
mod upstreams;
mod webhooks;

use std::fs;

use super::*;
use crate::domain::fault::describe;

/// A directory with every file that the documents here name.
fn site() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for folder in ["policies", "tls", "repositories/nested", "log"] {
        fs::create_dir_all(directory.path().join(folder)).unwrap();
    }
    for file in ["tls/cert.pem", "tls/key.pem", "tls/ca.pem", "secret"] {
        fs::write(directory.path().join(file), "x").unwrap();
    }
    directory
}

const WHOLE: &str = r#"
listeners:
  - bind: 0.0.0.0:8443
    tls: { certificate: tls/cert.pem, key: tls/key.pem }
  - bind: "[::1]:0"
    tls:
      - { certificate: tls/cert.pem, key: tls/key.pem }
      - { hosts: [Git.example.com, "*.example.com"], certificate: tls/cert.pem, key: tls/key.pem }
  - bind: 127.0.0.1:8080
control: { bind: 127.0.0.1:8081 }
policies: policies/
upstreams:
  - name: forge
    hosts: [Git.example.com, "*"]
    url: http://127.0.0.1:3000/
    catalogs: [git, gitea]
    identity: { trusted_header: X-WEBAUTH-USER }
    preserve_host: true
    timeouts: { response: 10m }
  - name: billing
    hosts: [git.example.com]
    path_prefix: /billing/v2
    url: https://[::1]
    server_name: billing.example.com
    ca: tls/ca.pem
    catalogs: [billing]
    identity: { bearer_file: secret, user_header: X-Forwarded-User }
  - name: lab
    hosts: [lab.example.com]
    url: https://lab.example.com:8443
    catalogs: [gitlab]
    identity: { sudo_file: secret }
  - name: old
    hosts: [old.example.com]
    url: http://old
    catalogs: [old]
    identity: { basic_file: secret }
  - name: bare
    hosts: [bare.example.com]
    git_directory: repositories
    max_children: 4
    catalogs: [git]
limits: { header_bytes: 64KiB, header_count: 50, target_bytes: 4096, header_time: 500ms, upstream_idle: 1m }
audit: { file: log/audit.jsonl, when_full: refuse }
metrics: { tokens: 7 }
workers: 3
token_prefix: acme
drain: 2m
"#;

#[test]
fn a_whole_file() {
    let site = site();
    let root = site.path();
    let config =
        parse(&root.join("portcullis.yaml"), WHOLE).unwrap_or_else(|faults| panic!("{}", describe(&faults)));
    assert_eq!(config.directory, root);
    let pair = |hosts: &[&str]| Certificate {
        hosts: hosts.iter().map(ToString::to_string).collect(),
        certificate: root.join("tls/cert.pem"),
        key: root.join("tls/key.pem"),
    };
    let listener = |bind: &str, tls| Listener { name: None, bind: bind.parse().unwrap(), tls };
    assert_eq!(
        config.listeners,
        [
            listener("0.0.0.0:8443", vec![pair(&[])]),
            listener("[::1]:0", vec![pair(&[]), pair(&["git.example.com", "*.example.com"])]),
            listener("127.0.0.1:8080", vec![]),
        ]
    );
    assert_eq!(config.control, Some("127.0.0.1:8081".parse().unwrap()));
    assert_eq!(config.policies, root.join("policies/"));
    assert_eq!(
        config.limits,
        Limits {
            header_bytes: 65_536,
            header_count: 50,
            target_bytes: 4096,
            header_time: Duration::from_millis(500),
            upstream_idle: Duration::from_secs(60),
            ..Limits::default()
        }
    );
    assert_eq!(config.audit.output, AuditOutput::File(root.join("log/audit.jsonl")));
    assert_eq!((config.audit.when_full, config.metrics), (WhenFull::Refuse, MetricsLimits { tokens: 7 }));
    assert_eq!((config.workers, config.drain), (3, Duration::from_secs(120)));
    assert_eq!(config.tokens.prefix(), "acme_pat_");
}

const UPSTREAM: &str =
    "{ name: a, hosts: [a], url: 'http://a', catalogs: [git], identity: { trusted_header: X-User } }";

/// What is said of `text`: `line:column: message`, a line each.
fn faults(text: &str) -> Vec<String> {
    let site = site();
    let file = site.path().join("portcullis.yaml");
    let Err(faults) = parse(&file, text) else {
        return Vec::new();
    };
    assert!(faults.iter().all(|fault| fault.file == file), "{faults:?}");
    faults
        .iter()
        .map(|fault| format!("{}:{}: {}", fault.place.line, fault.place.column, fault.message))
        .collect()
}

/// `want`: for each fault its place and a part of its message, `line:column: part`.
#[track_caller]
fn check(text: &str, want: &[&str]) {
    let faults = faults(text);
    let fits = |(fault, want): (&String, &&str)| {
        let (place, part) = want.split_once(": ").unwrap();
        fault.starts_with(&format!("{place}: ")) && fault.contains(part)
    };
    let all = faults.len() == want.len() && faults.iter().zip(want).all(fits);
    assert!(all, "{text}\nfaults {faults:#?}\nwanted {want:#?}");
}

/// Checks `top` (one line) before a listener, an upstream and a policies directory that are right.
#[track_caller]
fn check_top(top: &str, want: &[&str]) {
    let rest =
        format!("listeners: [{{ bind: 127.0.0.1:8080 }}]\npolicies: policies\nupstreams: [{UPSTREAM}]");
    check(&format!("{top}\n{rest}"), want);
}

/// Checks `fields` (one line) of a listener.
#[track_caller]
fn check_listener(fields: &str, want: &[&str]) {
    check(&format!("policies: policies\nupstreams: [{UPSTREAM}]\nlisteners:\n- {fields}"), want);
}

/// Checks the list `upstreams`, which starts at line 4.
#[track_caller]
fn check_upstreams(upstreams: &str, want: &[&str]) {
    check(
        &format!("policies: policies\nlisteners: [{{ bind: 127.0.0.1:8080 }}]\nupstreams:\n{upstreams}"),
        want,
    );
}

/// Checks an upstream that is right but for `fields`, which are lines from line 8 on.
#[track_caller]
fn check_upstream(fields: &str, want: &[&str]) {
    check_upstreams(&format!("- name: a\n  hosts: [a]\n  catalogs: [git]\n  # the rest:\n{fields}"), want);
}

const TOLD: &str = "  identity: { trusted_header: X-User }\n";

#[test]
fn the_least_file_is_enough() {
    check_top("", &[]);
    let site = site();
    let text = format!("policies: policies\nlisteners: [{{ bind: 127.0.0.1:0 }}]\nupstreams: [{UPSTREAM}]");
    fs::write(site.path().join("portcullis.yaml"), &text).unwrap();
    let config = load(&site.path().join("portcullis.yaml")).unwrap();
    assert_eq!((config.control, config.audit.output), (None, AuditOutput::Stdout));
    assert_eq!((config.audit.when_full, config.metrics.tokens), (WhenFull::Drop, 100));
    assert_eq!((config.limits, config.drain), (Limits::default(), Duration::from_secs(30)));
    assert!((1..=256).contains(&config.workers));
    assert_eq!(config.tokens, TokenFormat::default());

    let missing = load(&site.path().join("other.yaml")).unwrap_err();
    assert!(missing[0].message.starts_with("cannot be read: "), "{missing:?}");
}

#[test]
fn every_missing_field_is_told() {
    check(
        "workers: 1",
        &["1:1: `listeners` is missing", "1:1: `policies` is missing", "1:1: `upstreams` is missing"],
    );
    check(
        "listeners: []\npolicies: nowhere\nupstreams: []\ncontrol: {}",
        &[
            "1:12: expected at least one listener",
            "2:11: expected an existing directory; `",
            "3:12: expected at least one upstream",
            "4:10: `bind` is missing",
        ],
    );
    check_upstreams(
        "- {}\n- name: a",
        &[
            "4:3: `catalogs` is missing",
            "4:3: `hosts` is missing",
            "4:3: `name` is missing",
            "4:3: expected `url` (an HTTP server) or `git_directory`",
            "5:3: `catalogs` is missing",
            "5:3: `hosts` is missing",
            "5:3: expected `url` (an HTTP server) or `git_directory`",
        ],
    );
}

#[test]
fn the_top_of_the_file() {
    check_top("", &[]);
    check_top(
        "sture: sqlite:a.db",
        &["1:1: unknown field `sture`; expected `listeners`, `control`, `policies`"],
    );
    check_top("store: postgres://db", &["1:8: expected `sqlite:` and a file"]);
    check_top("store: sqlite:nowhere/a.db", &["1:8: expected a file in an existing directory"]);
    check_top("api: { hosts: [a.example] }", &["1:6: the API keeps what is made with it in a store"]);
    check_top("store: sqlite:a.db\napi: { hosts: ['*'] }", &["2:16: expected the names of the API, not `*`"]);
    check_top("store: sqlite:a.db\napi: { url: ftp://a }", &["2:13: expected `http://` or `https://`"]);
    check_top("store: sqlite:a.db\napi: { tokens_per_user: 0 }", &["2:25: expected a number from 1"]);
    check_top("store: sqlite:a.db\napi: { revoke_unused_after: 1y }", &["2:29: expected a duration"]);
    check_top("workers: 0", &["1:10: expected a number from 1 to 256"]);
    check_top("workers: 257", &["1:10: expected a number from 1 to 256"]);
    check_top("workers: two", &["1:10: expected a whole number"]);
    check_top("token_prefix: Acme", &["1:15: a token prefix is 1 to 24 lower-case letters"]);
    check_top("drain: 30", &["1:8: expected a duration: a whole number and `ms`"]);
    check_top("drain: 0s", &["1:8: expected a duration from `1ms` to `24h`"]);
    check_top("drain: 25h", &["1:8: expected a duration from `1ms` to `24h`"]);
    check_top("audit: stdout", &[]);
    check_top("audit: danger_off", &[]);
    check_top("audit: off", &["1:8: unknown word `off`; expected `stdout`, `danger_off`, or a mapping"]);
    check_top("audit: { when_full: refuse }", &[]);
    check_top("audit: { file: audit.log, when_full: drop }", &[]);
    check_top("audit: {}", &["1:8: the mapping says nothing; expected `file`, `when_full`, "]);
    check_top("audit: { when_full: wait }", &["1:21: unknown word `wait`; expected `drop` or `refuse`"]);
    check_top("audit: { sink: x }", &["1:10: unknown field `sink`"]);
    check_top("audit: [stdout]", &["1:1: found sequence; expected `stdout`, `danger_off`, or a mapping"]);
    check_top("tracing: { otlp: 'http://collector:4318/v1/traces' }", &[]);
    check_top("tracing: { otlp: 'https://collector', sample: 1, service: gate }", &[]);
    check_top("tracing: { sample: 0.5 }", &["1:10: the field `otlp` is missing"]);
    check_top("tracing: { otlp: 'collector:4318' }", &["1:18: expected `http://` or `https://`"]);
    check_top("tracing: { otlp: 'http://a/x?y' }", &["1:18: expected `http://` or `https://`"]);
    check_top("tracing: { otlp: 'http://u:p@a/x' }", &["1:18: expected `http://` or `https://`"]);
    check_top("tracing: { otlp: 'http://a', sample: 1.5 }", &["1:38: expected a share from 0 to 1"]);
    check_top("tracing: { otlp: 'http://a', service: '' }", &["1:39: expected a name"]);
    check_top("tracing: { otlp: 'http://a', ca: tls/ca.pem }", &["1:34: `ca` is for `https://`"]);
    check_top("metrics: { tokens: 0 }", &[]);
    check_top("metrics: { tokens: 10001 }", &["1:20: expected a number from 0 to 10000"]);
    check_top("audit: { file: nowhere/a }", &["1:16: expected a file in an existing directory"]);
    check_top("audit: { file: log }", &["1:16: expected a file; `"]);
    check_top("audit: { file: '' }", &["1:16: expected a path"]);
    check_top("control: { bind: localhost }", &["1:18: expected an IP address and a port"]);
    check_top("control: { bind: 127.0.0.1:8080 }", &["1:18: a listener has this address"]);
    check_top("control: { bind: 0.0.0.0:8080 }", &["1:18: a listener has this address"]);
    check_top("control: { bind: 127.0.0.2:8080 }", &[]);
    check("policies: secret", &["1:1: `listeners`", "1:1: `upstreams`", "1:11: expected a directory; `"]);
}

#[test]
fn limits() {
    check_top("limits: { header_bytes: 8191 }", &["1:25: expected a size from 8192 to 1048576 bytes"]);
    check_top("limits: { header_bytes: 2MiB }", &["1:25: expected a size from 8192 to 1048576 bytes"]);
    check_top("limits: { header_bytes: 32KB }", &["1:25: expected a size: a whole number of bytes"]);
    check_top("limits: { target_bytes: 64KiB }", &["1:25: expected a size from 256 to 65534 bytes"]);
    check_top("limits: { target_bytes: 33KiB }", &["1:25: expected `target_bytes` not above `header_bytes`"]);
    check_top("limits: { header_count: 1 }", &["1:25: expected a number from 16 to 1000"]);
    check_top("limits: { connections: 0 }", &["1:24: expected a number from 1 to 1000000"]);
    check_top(
        "limits: { header_time: 1, idle_time: x, upstream_idle: 0s }",
        &["1:24: expected a duration: ", "1:38: expected a duration: ", "1:56: expected a duration from"],
    );
    check_top("limits: { body: 1s }", &["1:11: unknown field `body`; expected `header_bytes`"]);
}

#[test]
fn listeners() {
    check_listener("bind: 127.0.0.1:0", &[]);
    check_listener(
        "tls: { }",
        &["4:3: `bind` is missing", "4:8: `certificate` is missing", "4:8: `key` is missing"],
    );
    check_listener("bind: :8443", &["4:9: expected an IP address and a port"]);
    check_listener("bind: localhost:8443", &["4:9: not `localhost:8443`"]);
    check_listener(
        "name: a\n  bind: 127.0.0.1:1\n- name: a\n  bind: 127.0.0.1:2",
        &["6:9: another listener has this name"],
    );
    check_listener("name: control\n  bind: 127.0.0.1:1", &["4:9: the control plane's socket is called so"]);
    check_listener("name: A:B\n  bind: 127.0.0.1:1", &["4:9: expected a name of 1 to 40"]);
    check_listener("bind: 127.0.0.1:1\n- bind: 127.0.0.1:1", &["5:9: another listener has this address"]);
    check_listener("bind: 127.0.0.1:1\n- bind: 0.0.0.0:1", &["5:9: another listener has this address"]);
    check_listener("bind: 127.0.0.1:0\n- bind: 127.0.0.1:0", &[]);
    check_listener("{ bind: '127.0.0.1:1', tls: [] }", &["4:31: expected at least one certificate"]);
    check_listener(
        "{ bind: '127.0.0.1:1', tls: { certificate: tls/none.pem, key: tls } }",
        &["4:46: expected an existing file; `", "4:65: expected a file; `"],
    );
    let pair = "certificate: tls/cert.pem, key: tls/key.pem";
    check_listener(
        &format!("bind: 127.0.0.1:1\n  tls:\n  - {{ {pair} }}\n  - {{ {pair} }}"),
        &["7:20: never chosen without `hosts`"],
    );
    check_listener(
        &format!("bind: 127.0.0.1:1\n  tls:\n  - {{ hosts: [a], {pair} }}\n  - {{ hosts: [A], {pair} }}"),
        &["7:15: `a` already has a certificate"],
    );
    for host in ["'*'", "a.*", "'*.*.a'", "a:1", "10.0.0.1", "'[::1]'", "''", "a..b", "a."] {
        check_listener(
            &format!("bind: 127.0.0.1:1\n  tls:\n  - {{ hosts: [{host}], {pair} }}"),
            &["6:15: expected a DNS name without port"],
        );
    }
    check_listener(
        "{ bind: '127.0.0.1:1', http2: true }",
        &["4:26: unknown field `http2`; expected `name`, `bind` or `tls`"],
    );
}
