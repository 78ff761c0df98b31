//! The ways in which git is given a token.

use std::fs;

use crate::git::{READER, Stage, UNKNOWN};
use crate::support::git::Git;
use crate::support::policy::token;

/// git asks its helper only after a challenge, then sends what it said, and has it kept when it was right.
pub(super) fn asks_the_helper(stage: &mut Stage) {
    let client = with_helper(stage, READER);
    let url = stage.base("") + "/acme/alpha.git";
    client.ok(&format!("clone --quiet {url} work"));
    let asked = fs::read_to_string(client.path("asked")).unwrap();
    let (scheme, authority) =
        url.strip_suffix("/acme/alpha.git").and_then(|base| base.split_once("://")).unwrap();
    assert!(
        asked.contains(&format!("protocol={scheme}\n")) && asked.contains(&format!("host={authority}\n")),
        "{asked}"
    );
    let verbs: Vec<_> = asked.lines().filter_map(|line| line.strip_prefix("verb ")).collect();
    assert_eq!(verbs, ["get", "store"], "{asked}");

    let client = with_helper(stage, UNKNOWN);
    let said = stage.host_sees_nothing(|| client.refused(&format!("clone --quiet {url} work")));
    assert!(said.contains("Authentication failed for"), "{said}");
    let asked = fs::read_to_string(client.path("asked")).unwrap();
    let verbs: Vec<_> = asked.lines().filter_map(|line| line.strip_prefix("verb ")).collect();
    assert_eq!(verbs, ["get", "erase"], "{asked}");

    let silent = stage.client.with(&[], &[("GIT_CURL_VERBOSE", "1")]);
    let said = stage.host_sees_nothing(|| silent.refused(&format!("clone {url} work")));
    assert!(said.to_ascii_lowercase().contains("www-authenticate: basic realm=\"portcullis\""), "{said}");
    assert!(said.contains("could not read Username"), "{said}");

    let lines = stage.gateway.take().unwrap().audit();
    let first: Vec<_> = lines
        .iter()
        .take(3)
        .map(|line| (line["reason"].as_str().unwrap(), line["status"].as_u64().unwrap()))
        .collect();
    assert_eq!(first, [("no_credentials", 401), ("granted", 200), ("granted", 200)], "{lines:?}");
}

fn with_helper(stage: &Stage, seed: u8) -> Git {
    let mut client = stage.client.with(&[], &[]);
    let script = client.path("helper");
    let text = format!(
        "echo \"verb $1\" >> asked\ncat >> asked\ntest \"$1\" != get || printf 'username=any\\npassword={}\\n'\n",
        token(seed)
    );
    fs::write(&script, format!("cd '{}'\n{text}", client.home.path().display())).unwrap();
    client.set("credential.helper", &format!("!sh '{}'", script.display()));
    client
}

/// In the URL as password with any name or as the name itself, and in a header field of its own.
pub(super) fn takes_the_token_in_each_place(stage: &mut Stage) {
    let token = token(READER);
    let want = stage.server_has("alpha", "main");
    for user in [format!("{token}@"), format!("{token}:x-oauth-basic@"), format!("oauth2:{token}@")] {
        let found = stage.client.ok(&format!("ls-remote {}/acme/alpha.git main", stage.base(&user)));
        assert!(found.starts_with(&want), "{found}");
    }
    for scheme in ["Bearer", "token"] {
        let field = format!("Authorization: {scheme} {token}");
        let client = stage.client.with(&[("http.extraHeader", &field)], &[]);
        client.ok(&format!("clone --quiet {}/acme/alpha.git work", stage.base("")));
        assert_eq!(client.ok("-C work rev-parse HEAD"), want);
    }
}
