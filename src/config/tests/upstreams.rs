//! Upstreams: what they become, and what is said of wrong ones.

use super::*;

#[test]
fn an_upstream() {
    let site = site();
    let root = site.path();
    let config = parse(&root.join("portcullis.yaml"), WHOLE).unwrap();
    let [forge, ..] = config.upstreams.as_slice() else { panic!("{:?}", config.upstreams) };
    assert_eq!(
        *forge,
        Upstream {
            name: "forge".into(),
            hosts: vec!["git.example.com".into(), "*".into()],
            path_prefix: None,
            host: Host::Http { authority: "127.0.0.1:3000".into(), tls: None, preserve_host: true },
            catalogs: vec!["git".into(), "gitea".into()],
            identity: Identity::TrustedHeader(HeaderName::from_static("x-webauth-user")),
            classic: false,
            timeouts: Timeouts {
                connect: Duration::from_secs(5),
                response: Duration::from_secs(600),
                idle: Duration::from_secs(60),
            },
        }
    );
}

#[test]
fn kinds_of_upstreams() {
    let site = site();
    let root = site.path();
    let config = parse(&root.join("portcullis.yaml"), WHOLE).unwrap();
    let [_, billing, lab, old, bare] = config.upstreams.as_slice() else { panic!("{:?}", config.upstreams) };
    assert_eq!(billing.path_prefix.as_deref(), Some("/billing/v2"));
    assert_eq!(billing.timeouts.response, Duration::from_secs(120));
    let secure = |authority: &str, server_name: &str, ca| Host::Http {
        authority: authority.into(),
        tls: Some(UpstreamTls { server_name: server_name.into(), ca }),
        preserve_host: false,
    };
    let ca = Some(root.join("tls/ca.pem"));
    assert_eq!(billing.host, secure("[::1]:443", "billing.example.com", ca));
    assert_eq!(lab.host, secure("lab.example.com:8443", "lab.example.com", None));
    let file = root.join("secret");
    let user_header = Some(HeaderName::from_static("x-forwarded-user"));
    let [bearer, basic] = [file.clone(), file.clone()];
    assert_eq!(billing.identity, Identity::Bearer { file: bearer, user_header });
    assert_eq!(lab.identity, Identity::Sudo { token_file: file });
    assert_eq!(old.identity, Identity::Basic { file: basic, user_header: None });
    assert_eq!(bare.host, Host::GitDirectory { directory: root.join("repositories"), max_children: 4 });
    assert_eq!(bare.identity, Identity::RemoteUser);
}

#[test]
fn names_and_hosts_of_upstreams() {
    let upstream = |name: &str, host: &str, more: &str| {
        format!(
            "- {{ name: {name}, hosts: [{host}], url: 'http://a', catalogs: [git], identity: {{ trusted_header: X-U }}{more} }}"
        )
    };
    let two = |one: String, two: String| format!("{one}\n{two}");
    for name in ["A", "a_b", "''", "a.b"] {
        check_upstreams(&upstream(name, "a", ""), &["4:11: expected a name of 1 to 40"]);
    }
    check_upstreams(&upstream(&"a".repeat(41), "a", ""), &["4:11: expected a name of 1 to 40"]);
    check_upstreams(
        &two(upstream("a", "a", ""), upstream("a", "b", "")),
        &["5:11: line 4 has an upstream of this name already"],
    );
    check_upstreams(
        &two(upstream("a", "a", ""), upstream("b", "A", "")),
        &["5:22: line 4 answers to `A` already"],
    );
    let prefix = ", path_prefix: /x";
    check_upstreams(
        &two(upstream("a", "a", prefix), upstream("b", "a", prefix)),
        &["5:22: line 4 answers to `a` already"],
    );
    check_upstreams(&two(upstream("a", "a", prefix), upstream("b", "a", "")), &[]);
    check_upstreams(&two(upstream("a", "'*'", ""), upstream("b", "a", "")), &[]);
    for host in ["a:80", "'*.a'", "''", "-a", "a.", "'[::1'", "'[0::1]'", "'::1'", "a/b", "ä"] {
        check_upstreams(&upstream("a", host, ""), &["4:22: expected a host without port"]);
    }
    check_upstreams(&upstream("a", "'[::1]'", ""), &[]);
    check_upstreams(&upstream("a", "", ""), &["4:21: expected at least one host"]);
    for prefix in ["x", "/", "/x/", "/x//y", "/x/../y", "/%41", "/x?y", "/x;y", "'/x y'", "''"] {
        let at = upstream("a", "a", ", path_prefix: ").find("prefix: ").unwrap() + "prefix: ".len() + 1;
        check_upstreams(
            &upstream("a", "a", &format!(", path_prefix: {prefix}")),
            &[&format!("4:{at}: expected a path that starts with `/`")],
        );
    }
}

#[test]
fn where_an_upstream_is() {
    for url in [
        "a",
        "ftp://a",
        "HTTP://a",
        "http://",
        "http://a/b",
        "http://a?b",
        "http://a#b",
        "http://a:0",
        "http://a:65536",
        "http://a:",
        "http://a:b",
        "http://a:+80",
        "http://:80",
        "http://[::1",
        "http://[a]",
        "http://a b",
        "http://a//",
        "unix:/run/a",
    ] {
        check_upstream(&format!("{TOLD}  url: '{url}'"), &["9:8: expected `http://` or `https://`, a host"]);
    }
}

#[test]
fn fields_of_each_kind() {
    check_upstream(&format!("{TOLD}  url: http://a\n  git_directory: repositories"), &["10:18: not both"]);
    check_upstream("  git_directory: nowhere", &["8:18: expected an existing directory"]);
    check_upstream("  git_directory: secret", &["8:18: expected a directory"]);
    check_upstream(
        "  git_directory: repositories\n  max_children: 0",
        &["9:17: expected a number from 1 to 1024"],
    );
    check_upstream(
        &format!(
            "  git_directory: repositories\n{TOLD}  ca: tls/ca.pem\n  server_name: a\n  preserve_host: true"
        ),
        &[
            "9:13: `identity` belongs to an upstream with `url`",
            "10:7: `ca` belongs to an upstream with `url`",
            "11:16: `server_name` belongs to an upstream with `url`",
            "12:18: `preserve_host` belongs to an upstream with `url`",
        ],
    );
    check_upstream(
        &format!("{TOLD}  url: http://a\n  ca: tls/ca.pem\n  server_name: a\n  max_children: 1"),
        &[
            "10:7: `ca` belongs to an `https://` upstream",
            "11:16: `server_name` belongs to an `https://` upstream",
            "12:17: `max_children` belongs to an upstream with `git_directory`",
        ],
    );
    check_upstream(&format!("{TOLD}  url: https://a\n  ca: none"), &["10:7: expected an existing file"]);
    check_upstream(
        &format!("{TOLD}  url: https://a\n  server_name: a:1"),
        &["10:16: expected a DNS name or an IP"],
    );
    check_upstream(
        &format!("{TOLD}  url: http://a\n  preserve_host: yes"),
        &["10:18: expected `true` or `false`"],
    );
    check_upstream(
        &format!("{TOLD}  url: http://a\n  timeouts: {{ connect: 5 }}"),
        &["10:24: expected a duration"],
    );
}

#[test]
fn a_password_in_a_url_is_not_shown() {
    let site = site();
    let text = "listeners: [{ bind: 127.0.0.1:0 }]\npolicies: policies\nupstreams:\n- name: a\n  hosts: [a]\n  catalogs: [git]\n  identity: { trusted_header: X-U }\n  url: http://user:hunter2@a\n";
    let faults = parse(&site.path().join("portcullis.yaml"), text).unwrap_err();
    let said = describe(&faults);
    assert!(said.contains(":8:8: a URL holds no user and password"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn who_calls() {
    let url = "  url: http://a\n";
    check_upstream(url, &["4:3: expected `identity` with one of `trusted_header`, `basic_file`"]);
    check_upstream(&format!("{url}  identity: {{}}"), &["9:13: expected exactly one of `trusted_header`"]);
    check_upstream(
        &format!("{url}  identity: {{ trusted_header: X-U, sudo_file: secret }}"),
        &["9:13: expected exactly one of"],
    );
    check_upstream(&format!("{url}  identity: {{ user_header: X-U }}"), &["9:13: expected exactly one of"]);
    for header in [
        "Host",
        "Authorization",
        "Connection",
        "Transfer-Encoding",
        "content-length",
        "Content-Anything",
        "TE",
        "Cookie",
    ] {
        check_upstream(
            &format!("{url}  identity: {{ trusted_header: {header} }}"),
            &["9:31: has a meaning of its own"],
        );
        check_upstream(
            &format!("{url}  identity: {{ bearer_file: secret, user_header: {header} }}"),
            &["9:49: has a meaning of its own"],
        );
    }
    check_upstream(
        &format!("{url}  identity: {{ trusted_header: 'X U' }}"),
        &["9:31: expected the name of a header field"],
    );
    for file in ["basic_file", "bearer_file"] {
        let at = format!("9:{}", file.len() + 17);
        check_upstream(
            &format!("{url}  identity: {{ {file}: none }}"),
            &[&format!("{at}: expected an existing file")],
        );
    }
    check_upstream(&format!("{url}  identity: {{ sudo_file: none }}"), &["9:26: expected an existing file"]);
    check_upstream(
        &format!("{url}  identity: {{ sudo_file: secret, user_header: X-U }}"),
        &["9:47: `user_header` belongs to `basic_file` and `bearer_file`"],
    );
}

#[test]
fn catalogs_of_upstreams() {
    let upstream =
        |catalogs: &str| format!("- name: a\n  hosts: [a]\n  url: http://a\n{TOLD}  catalogs: {catalogs}");
    check_upstreams(&upstream("[]"), &["8:13: expected at least one catalog"]);
    check_upstreams(&upstream("[Git]"), &["8:14: expected a name of 1 to 40"]);
    check_upstreams(&upstream("[git, ../git]"), &["8:19: expected a name of 1 to 40"]);
    check_upstreams(&upstream("[git, git]"), &["8:19: this catalog is named twice"]);
    check_upstreams(&upstream("git"), &["8:13: expected a list"]);
}

#[test]
fn policies_are_no_repository() {
    for (policies, repositories) in [
        ("repositories/nested", "repositories"),
        ("repositories", "repositories/nested"),
        ("policies/../repositories", "./repositories"),
    ] {
        check(
            &format!(
                "policies: {policies}\nlisteners: [{{ bind: 127.0.0.1:0 }}]\nupstreams:\n- {{ name: a, hosts: [a], git_directory: {repositories}, catalogs: [git] }}"
            ),
            &["1:11: a token could write its own policy"],
        );
    }
}
