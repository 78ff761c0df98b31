//! Callbacks and ID tokens that are not what they should be, by a provider that says them all.

use serde_json::{Value, json};

use crate::sign_in::browser::{Browser, field};
use crate::sign_in::fake::{Fake, Signer, ok, part};
use crate::sign_in::{entries, gateway, gateway_trusting};
use crate::support::api::{Answer, ApiGateway};
use crate::support::secure::Authority;

const CALLBACK: &str = "http://portcullis.test/login/sso/callback";

/// A gateway, and a provider that says what it is told to.
pub(super) struct Stage {
    pub(super) gateway: ApiGateway,
    fake: Fake,
    signer: Signer,
}

impl Stage {
    fn new() -> Self {
        Self::with_groups("owners: { umbrella: [umbrella-owners] }")
    }

    /// Its provider's groups mean this.
    pub(super) fn with_groups(groups: &str) -> Self {
        let signer = Signer::new("one");
        let fake = Fake::start(&signer);
        Self { gateway: gateway(&api_of(&fake, groups)), fake, signer }
    }

    /// Its provider has a certificate of `authority`, the gateway trusts `trusted`.
    fn secure(authority: &Authority, trusted: &Authority) -> Self {
        let signer = Signer::new("one");
        let fake = Fake::secure(&signer, &authority.issue(&["127.0.0.1"]));
        let api = api_of(&fake, "ca: ca.pem");
        Self { gateway: gateway_trusting(&api, Some(trusted)), fake, signer }
    }

    /// A login whose token `make` makes of its nonce.
    fn login(&self, make: impl Fn(&str) -> String) -> Answer {
        let mut browser = Browser::of(&self.gateway);
        let asked = browser.begin();
        self.fake.script.lock().unwrap().token = make(field(&asked, "nonce"));
        browser.get(&format!("{CALLBACK}?code=abc&state={}", field(&asked, "state")))
    }

    /// A login whose token has these claims beside what is right.
    pub(super) fn with(&self, changes: &Value) -> Answer {
        self.login(|nonce| self.signer.sign(&self.fake.claims(nonce, changes)))
    }
}

fn api_of(fake: &Fake, more: &str) -> String {
    format!(
        "oidc: [{{ name: sso, issuer: '{}', client_id: portcullis, client_secret_file: secret, {more} }}]",
        fake.issuer
    )
}

#[test]
fn a_token_that_is_right_signs_in_and_wrong_ones_do_not() {
    let stage = Stage::new();
    let now = portcullis::clock::now().0;
    let other = Signer::new("one");
    let unsigned = |nonce: &str| {
        format!("{}.{}.", part(r#"{"alg":"none"}"#), part(stage.fake.claims(nonce, &json!({})).to_string()))
    };
    let altered = |nonce: &str| {
        let token = stage.signer.sign(&stage.fake.claims(nonce, &json!({})));
        let (header, rest) = token.split_once('.').unwrap();
        let claims = stage.fake.claims(nonce, &json!({ "preferred_username": "alice" }));
        format!("{header}.{}.{}", part(claims.to_string()), rest.split_once('.').unwrap().1)
    };
    let forged = |nonce: &str| other.sign(&stage.fake.claims(nonce, &json!({})));
    for (what, answer) in [
        ("another issuer", stage.with(&json!({ "iss": "https://other.example" }))),
        ("another audience", stage.with(&json!({ "aud": "other" }))),
        ("for another party", stage.with(&json!({ "aud": ["portcullis", "other"], "azp": "other" }))),
        ("expired", stage.with(&json!({ "exp": now - 61 }))),
        ("of yesterday", stage.with(&json!({ "iat": now - 86_400 }))),
        ("no nonce", stage.with(&json!({ "nonce": null }))),
        ("another nonce", stage.with(&json!({ "nonce": "x" }))),
        ("not signed", stage.login(unsigned)),
        ("altered", stage.login(altered)),
        ("another's signature", stage.login(forged)),
        ("nothing", stage.login(|_| String::new())),
    ] {
        assert_eq!((answer.status, &answer.body["message"]), (401, &"Bad credentials".into()), "{what}");
        assert!(answer.body.get("token").is_none(), "{what}");
    }
    assert!(entries(&stage.gateway).is_empty(), "nobody was made");
    let session = stage.with(&json!({})).expect(200);
    assert_eq!(session["user"]["login"], "dave");
    let me = stage.gateway.control(session["token"].as_str().unwrap()).get("/user").expect(200);
    assert_eq!(me["owned_organizations"], json!(["umbrella"]));
}

#[test]
fn a_callback_is_good_once_and_in_the_browser_that_began() {
    let stage = Stage::new();
    let mut browser = Browser::of(&stage.gateway);
    let asked = browser.begin();
    let claims = stage.fake.claims(field(&asked, "nonce"), &json!({}));
    stage.fake.script.lock().unwrap().token = stage.signer.sign(&claims);
    assert_eq!(browser.get(&format!("{CALLBACK}?code=abc&state=x")).status, 401, "no such state");
    assert_eq!(browser.get(&format!("{CALLBACK}?code=abc")).status, 401, "no state");
    let twice = format!("{CALLBACK}?code=abc&state={0}&state={0}", field(&asked, "state"));
    assert_eq!(browser.get(&twice).status, 400);
    let back = format!("{CALLBACK}?code=abc&state={}", field(&asked, "state"));
    assert_eq!(browser.get(&back).status, 200);
    let asked_for = stage.fake.script.lock().unwrap().asked.len();
    assert_eq!(browser.get(&back).status, 401, "again");
    // Whoever began it elsewhere does not end it here.
    let theirs = Browser::of(&stage.gateway).begin();
    let back = format!("{CALLBACK}?code=abc&state={}", field(&theirs, "state"));
    assert_eq!(browser.get(&back).status, 401);
    assert_eq!(Browser::of(&stage.gateway).get(&back).status, 401, "without a cookie");
    // The provider says no, or another one answers.
    let refused = format!("{CALLBACK}?error=access_denied&state={}", field(&browser.begin(), "state"));
    assert_eq!(browser.get(&refused).status, 401);
    let mixed =
        format!("{CALLBACK}?code=abc&iss=https://evil.example&state={}", field(&browser.begin(), "state"));
    assert_eq!(browser.get(&mixed).status, 401);
    assert_eq!(stage.fake.script.lock().unwrap().asked.len(), asked_for, "no code went to the provider");
}

#[test]
fn the_code_is_exchanged_with_the_verifier_and_the_secret() {
    let stage = Stage::new();
    let mut browser = Browser::of(&stage.gateway);
    let asked = browser.begin();
    assert_eq!(field(&asked, "code_challenge_method"), "S256");
    assert_eq!(field(&asked, "redirect_uri"), "http%3A%2F%2Fportcullis.test%2Flogin%2Fsso%2Fcallback");
    stage.fake.script.lock().unwrap().token =
        stage.signer.sign(&stage.fake.claims(field(&asked, "nonce"), &json!({})));
    let done = browser.get(&format!("{CALLBACK}?code=a%2Bb&state={}", field(&asked, "state")));
    assert_eq!(done.status, 200);
    let seen = stage.fake.script.lock().unwrap().asked.clone();
    let exchange = seen.iter().find(|text| text.starts_with("POST /token ")).unwrap();
    assert!(exchange.contains("grant_type=authorization_code&code=a%2Bb&"), "{exchange}");
    let verifier = exchange.split_once("code_verifier=").unwrap().1;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
    assert_eq!(part(digest), field(&asked, "code_challenge"));
    let basic = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        "portcullis:a%20secret%3A%20of%2Bthe%20client%2F",
    );
    assert!(
        exchange.to_lowercase().contains(&format!("authorization: basic {basic}").to_lowercase()),
        "{exchange}"
    );
}

#[test]
fn a_new_key_is_fetched_once_and_nothing_else_again() {
    let mut stage = Stage::new();
    assert_eq!(stage.with(&json!({})).status, 200);
    assert_eq!(stage.with(&json!({})).status, 200);
    stage.signer = Signer::new("two");
    assert_eq!(stage.with(&json!({})).status, 401, "none of the provider's");
    stage.fake.adopt(&stage.signer);
    assert_eq!(stage.with(&json!({})).status, 200);
    let asked = stage.fake.script.lock().unwrap().asked.clone();
    let count = |path: &str| asked.iter().filter(|text| text.starts_with(&format!("GET {path} "))).count();
    assert_eq!((count("/.well-known/openid-configuration"), count("/keys")), (1, 3));
}

#[test]
fn a_provider_that_does_not_do_its_part_is_unavailable() {
    let far = "HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n";
    let huge = ok(&" ".repeat((1 << 20) + 1));
    let found = "/.well-known/openid-configuration";
    for (path, instead, at_once) in [
        (found, far.to_owned(), true),
        (found, huge.clone(), true),
        (found, ok("<html>"), true),
        (
            found,
            ok(
                r#"{"issuer":"https://other.example","authorization_endpoint":"https://x.example","token_endpoint":"https://x.example","jwks_uri":"https://x.example"}"#,
            ),
            true,
        ),
        (found, String::new(), true),
        ("/token", "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n".to_owned(), false),
        ("/token", huge.clone(), false),
        ("/keys", huge, false),
        ("/keys", ok("[]"), false),
    ] {
        let stage = Stage::new();
        stage.fake.script.lock().unwrap().instead = vec![(path, instead)];
        let answer = if at_once {
            Browser::of(&stage.gateway).get("http://portcullis.test/login/sso")
        } else {
            stage.with(&json!({}))
        };
        assert_eq!(answer.status, 503, "{path} {answer:?}");
        assert_eq!(answer.body["message"], "the provider `sso` cannot be used; try again");
    }
}

#[test]
fn no_login_of_another_is_taken_over() {
    let stage = Stage::new();
    stage.gateway.add_user("dave", true);
    let refused = stage.with(&json!({}));
    assert_eq!(refused.status, 403);
    assert_eq!(refused.body["message"], "the login `dave` is another user's; ask an administrator");
    assert_eq!(stage.with(&json!({ "preferred_username": "../x" })).status, 403, "no login");
    let first = stage.with(&json!({ "preferred_username": "erin" })).expect(200);
    // The same person under another name stays who they are; another person with that name is not them.
    let renamed = stage.with(&json!({ "preferred_username": "eve" })).expect(200);
    assert_eq!((&renamed["user"]["login"], &renamed["user"]["id"]), (&"erin".into(), &first["user"]["id"]));
    assert_eq!(stage.with(&json!({ "preferred_username": "Erin", "sub": "subject 8" })).status, 403);
    // Who was suspended does not come back, and what was lost at the provider is lost here.
    let admin = stage.gateway.sign_in("dave");
    let me = stage.gateway.control(renamed["token"].as_str().unwrap());
    assert_eq!(me.get("/orgs/umbrella/personal-access-tokens").status, 200);
    assert_eq!(me.get("/orgs/acme/personal-access-tokens").status, 403);
    stage.with(&json!({ "groups": [] })).expect(200);
    assert_eq!(me.get("/orgs/umbrella/personal-access-tokens").status, 403);
    assert_eq!(admin.call("PUT", "/users/erin/suspended", None).status, 204);
    assert_eq!(me.get("/user").status, 401);
    assert_eq!(stage.with(&json!({})).status, 403);
    let roles: Vec<_> = entries(&stage.gateway)
        .into_iter()
        .filter(|entry| entry["action"] == "user.change_roles")
        .map(|entry| entry["roles"].clone())
        .collect();
    assert_eq!(roles, [json!(["umbrella:owner"]), json!([])]);
}

#[test]
fn failed_callbacks_are_counted() {
    let stage = Stage::new();
    let mut browser = Browser::of(&stage.gateway);
    for _ in 0..20 {
        assert_eq!(browser.get(&format!("{CALLBACK}?code=abc&state=x")).status, 401);
    }
    let closed = browser.get(&format!("{CALLBACK}?code=abc&state=x"));
    assert_eq!((closed.status, closed.header("retry-after").is_some()), (403, true));
    // Who is right signs in, also from an address where others fail.
    stage.with(&json!({})).expect(200);
}

#[test]
fn other_names_lead_nowhere() {
    let stage = Stage::new();
    for path in ["/login/other", "/login/other/callback?state=x&code=y"] {
        assert_eq!(
            Browser::of(&stage.gateway).get(&format!("http://portcullis.test{path}")).status,
            404,
            "{path}"
        );
    }
}

#[test]
fn a_provider_shows_a_certificate_of_the_authority_that_is_trusted() {
    let (ours, other) = (Authority::new(), Authority::new());
    assert_eq!(Stage::secure(&ours, &ours).with(&json!({})).status, 200);
    let stage = Stage::secure(&other, &ours);
    assert_eq!(Browser::of(&stage.gateway).get("http://portcullis.test/login/sso").status, 503);
    assert!(stage.fake.script.lock().unwrap().asked.is_empty());
}

#[test]
fn the_cookie_is_for_the_callback_alone() {
    let stage = Stage::new();
    let answer = Browser::of(&stage.gateway).get("http://portcullis.test/login/sso");
    let cookie = answer.header("set-cookie").unwrap().to_owned();
    let (pair, rest) = cookie.split_once(';').unwrap();
    assert!(pair.starts_with("portcullis_login=") && pair.len() > 50, "{cookie}");
    assert_eq!(rest, " Path=/login/sso; Max-Age=600; HttpOnly; SameSite=Lax");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}
