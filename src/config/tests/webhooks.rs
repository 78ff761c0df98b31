//! Webhooks, and what is said of wrong ones.

use super::*;
use crate::config::webhooks::Pace;
use crate::domain::hook::HookEvent;

fn document(webhooks: &str) -> String {
    format!(
        "listeners: [{{ bind: 127.0.0.1:0 }}]\npolicies: policies\nstore: sqlite:a.db\nupstreams: [{UPSTREAM}]\nwebhooks:\n{webhooks}\n"
    )
}

#[test]
fn whole_ones() {
    let site = site();
    let root = site.path();
    let text = document(
        "- { name: chat, url: 'https://Hooks.example.com/a/b?c=d', secret_file: secret, ca: tls/ca.pem, events: [personal_access_token], organizations: [acme] }\n\
         - { name: own, url: 'http://[::1]:8080', secret_file: secret }",
    );
    let config =
        parse(&root.join("portcullis.yaml"), &text).unwrap_or_else(|faults| panic!("{}", describe(&faults)));
    let [chat, own] = config.webhooks.hooks.as_slice() else { panic!("{:?}", config.webhooks) };
    assert_eq!((&*chat.filter.name, &*chat.authority), ("chat", "hooks.example.com:443"));
    assert_eq!(chat.path.expose(), "/a/b?c=d");
    assert!(!format!("{config:?}").contains("c=d"), "the path may be a secret");
    let tls = UpstreamTls { server_name: "hooks.example.com".into(), ca: Some(root.join("tls/ca.pem")) };
    assert_eq!(chat.tls, Some(tls));
    assert_eq!(chat.secret_file, root.join("secret"));
    assert_eq!(chat.filter.events, [HookEvent::PersonalAccessToken]);
    assert_eq!(chat.filter.organizations, ["acme"]);
    assert_eq!((&*own.authority, own.path.expose(), &own.tls), ("[::1]:8080", "/", &None));
    assert_eq!(own.filter.events, HookEvent::ALL);
    assert_eq!(own.filter.organizations, [""; 0]);
    assert_eq!((chat.clear_host(), own.clear_host()), (None, None));
    assert_eq!(config.webhooks.pace, Pace::default());
}

#[test]
fn plain_http_to_another_machine_is_known() {
    let site = site();
    let text = document("- { name: chat, url: 'http://hooks.example.com', secret_file: secret }");
    let config = parse(&site.path().join("portcullis.yaml"), &text).unwrap();
    assert_eq!(config.webhooks.hooks[0].clear_host(), Some("hooks.example.com:80"));
}

#[track_caller]
fn check(webhooks: &str, want: &[&str]) {
    let found = faults(&document(webhooks));
    assert_eq!(found.len(), want.len(), "{found:#?}");
    for (found, want) in found.iter().zip(want) {
        assert!(found.starts_with(want), "{found}, not {want}");
        assert!(!found.contains("hunter2"), "{found}");
    }
}

#[test]
fn wrong_ones_are_told_with_their_place() {
    check("- {}", &["6:3: the field `name`", "6:3: the field `secret_file`", "6:3: the field `url`"]);
    check(
        "- { name: a, url: 'https://bob:hunter2@h/', secret_file: secret }",
        &["6:19: a URL with a user or a password"],
    );
    for url in [
        "hunter2",
        "ftp://hunter2",
        "https:///hunter2",
        "https://h/hunter2#x",
        "https://h/hunter 2",
        "https://h:0/hunter2",
    ] {
        check(
            &format!("- {{ name: a, url: '{url}', secret_file: secret }}"),
            &["6:19: expected `https://` (or `http://`)"],
        );
    }
    check(
        "- { name: A b, url: 'https://h', secret_file: nowhere, events: [push], organizations: ['a/b'] }",
        &[
            "6:11: expected a name of 1 to 40",
            "6:47: expected an existing file",
            "6:65: expected `personal_access_token_request` or `personal_access_token`, not `push`",
            "6:88: expected the name of an organization",
        ],
    );
    check(
        "- { name: a, url: 'http://h', secret_file: secret, ca: tls/ca.pem, events: [], organizations: [] }",
        &[
            "6:56: `ca` is for `https://`",
            "6:76: expected at least one event",
            "6:95: expected at least one organization",
        ],
    );
    let twice = "- { name: a, url: 'https://h', secret_file: secret }";
    check(&format!("{twice}\n{twice}"), &["7:11: another webhook has this name"]);
    check(
        "- { name: a, url: 'https://h', secret_file: secret, secret: x }",
        &["6:53: unknown field `secret`"],
    );
}

#[test]
fn they_need_a_store() {
    let text = document("- {}").replace("store: sqlite:a.db\n", "");
    assert!(faults(&text)[0].contains("add `store: sqlite:portcullis.db`"));
}
