//! The whole flow with a provider that others wrote: `oidc-provider` of npm.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::sign_in::browser::Browser;
use crate::sign_in::{entries, gateway};
use crate::support::api::{Answer, ApiGateway};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const GROUPS: &str = r#"{ "carol": ["umbrella-owners", "gateway-admins"], "alice": [], "local": [] }"#;
const REDIRECT: &str = "http://portcullis.test/login/sso/callback";

struct Provider {
    child: Child,
    issuer: String,
}

impl Provider {
    /// `None`, and a line that says so, where it cannot be had.
    fn start(algorithm: &str) -> Option<Self> {
        let modules = Path::new(ROOT).join("target/clients/node/node_modules");
        if !modules.join("oidc-provider").exists() || Command::new("node").arg("--version").output().is_err()
        {
            println!("skipped: oidc-provider or node is not there; run make test");
            return None;
        }
        let mut child = Command::new("node")
            .arg(format!("{ROOT}/tests/clients/oidc-provider.mjs"))
            .arg(modules)
            .args([GROUPS, REDIRECT, algorithm])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let issuer = lines.find(|line| line.starts_with("http://")).unwrap();
        Some(Self { child, issuer })
    }

    fn gateway(&self) -> ApiGateway {
        gateway(&format!(
            "oidc: [{{ name: sso, issuer: '{}', client_id: portcullis, client_secret_file: secret, owners: {{ umbrella: [umbrella-owners] }}, members: {{ acme: {{ umbrella-owners: write }} }}, administrators: [gateway-admins] }}]",
            self.issuer
        ))
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Signs in as `login`: through the provider's form, back to the gateway. Gives the answer there and the URL that led to it.
fn sign_in(gateway: &ApiGateway, login: &str) -> (Answer, String) {
    let mut browser = Browser::of(gateway);
    let mut url = browser.begin();
    for _ in 0..10 {
        let answer = if url.contains("/form/") {
            browser.send("POST", &url, &format!("login={login}"))
        } else {
            browser.get(&url)
        };
        if url.starts_with(REDIRECT) {
            return (answer, url);
        }
        url = Browser::next(&url, &answer);
    }
    panic!("the redirects have no end: {url}");
}

#[track_caller]
fn check(algorithm: &str) {
    let Some(provider) = Provider::start(algorithm) else { return };
    let gateway = provider.gateway();
    let (answer, back) = sign_in(&gateway, "carol");
    let session = answer.expect(200);
    assert_eq!(session["user"]["login"], "carol");
    let carol = gateway.control(session["token"].as_str().unwrap());
    let me = carol.get("/user").expect(200);
    assert_eq!((&me["owned_organizations"], &me["site_admin"]), (&json!(["umbrella"]), &true.into()));
    carol.get("/audit-log").expect(200);
    // An owner by her groups approves, and needs no approval herself.
    let wish = |name: &str| json!({ "name": name, "resource_owner": "umbrella", "repositories": ["a"], "permissions": { "contents": "read" } });
    let made = carol.post("/user/personal-access-tokens", &wish("own")).expect(201);
    assert_eq!(made["state"], "active");
    let alice = sign_in(&gateway, "alice").0.expect(200);
    let alice = gateway.control(alice["token"].as_str().unwrap());
    let asked = alice.post("/user/personal-access-tokens", &wish("asks")).expect(201);
    assert_eq!(asked["state"], "pending");
    assert_eq!(alice.get("/user").expect(200)["owned_organizations"], json!(["acme"]), "by the file");
    let request = &asked["resource_owners"][0]["request_id"];
    let decision = format!("/orgs/umbrella/personal-access-token-requests/{request}");
    assert_eq!(alice.post(&decision, &json!({ "action": "approve" })).status, 403);
    assert_eq!(carol.post(&decision, &json!({ "action": "approve" })).status, 204);
    // The code and the state were used up, and a second sign-in is the same user.
    assert_eq!(Browser::of(&gateway).get(&back).status, 401);
    assert_eq!(sign_in(&gateway, "carol").0.expect(200)["user"]["id"], session["user"]["id"]);
    let made: Vec<_> =
        entries(&gateway).into_iter().filter(|entry| entry["action"] == "user.create").collect();
    assert_eq!(made.len(), 2);
    assert_eq!((&made[0]["user"], &made[0]["provider"]), (&"carol".into(), &"sso".into()));
}

#[test]
fn people_sign_in_by_rs256() {
    check("RS256");
}

#[test]
fn people_sign_in_by_es256() {
    check("ES256");
}

#[test]
fn a_local_user_is_not_taken_over() {
    let Some(provider) = Provider::start("ES256") else { return };
    let gateway = provider.gateway();
    gateway.add_user("local", false);
    assert_eq!(sign_in(&gateway, "local").0.status, 403);
    gateway.sign_in("local");
}
