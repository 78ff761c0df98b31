//! Refusals of the API are GitHub's: its statuses, its members, its header fields, and its sentences where clients compare
//! them.

use portcullis::domain::token::TokenDigest;
use serde_json::{Value, json};

use crate::api::{ACME, facts, gateway, gateway_with, wish};
use crate::support::api::{Answer, ApiGateway, Caller};
use crate::support::gateway::policy_tokens;
use crate::support::policy::token;
use crate::support::spy::Spy;

const GRANTS: &str = "/orgs/acme/personal-access-tokens";

/// Organizations whose rules forbid what the tokens hold, and a token that has expired.
const CLOSED: &str = "organization: closed\nowners: [user1]\nfine_grained_tokens: { access: deny }\n";
const BRIEF: &str = "organization: brief\nowners: [user1]\nmembers: { bob: read }\nfine_grained_tokens: { max_lifetime: 7d }\n";
const ENTERPRISE: &str = "enterprise: example\nfine_grained_tokens: { max_lifetime: 90d }\n";

/// GitHub's name of the case, the status, the sentence, and how it comes about.
type Case = (&'static str, u16, &'static str, fn(&Scene) -> Vec<Answer>);

const CASES: [Case; 9] = [
    ("no token on an endpoint that needs one", 401, "Requires authentication", |scene| scene.asks("")),
    ("invalid, revoked or expired token (same body)", 401, "Bad credentials", bad_credentials),
    (
        "many bad credentials in a short time",
        403,
        "Maximum number of login attempts exceeded. Please try again later.",
        too_many,
    ),
    ("repository/resource not in the grant, private", 404, "Not Found", |scene| {
        scene.ask_both(&token(1), "GET", "/orgs/umbrella/personal-access-tokens")
    }),
    (
        "resource visible but permission missing",
        403,
        "Resource not accessible by personal access token",
        |scene| scene.ask_both(&token(2), "GET", GRANTS),
    ),
    (
        "organisation blocks fine-grained PATs",
        403,
        "`closed` forbids access via a personal access token with fine-grained permissions. Please use a GitHub App, or an OAuth App.",
        |scene| scene.use_at("closed"),
    ),
    (
        "fine-grained PAT lifetime over the organisation's limit",
        403,
        "The 'brief' organization forbids access via a fine-grained personal access tokens if the token's lifetime is greater than 7 days. Please adjust your token's lifetime.",
        |scene| scene.use_at("brief"),
    ),
    (
        "lifetime over the enterprise's limit",
        403,
        "The 'example' enterprise forbids access via a fine-grained personal access tokens if the token's lifetime is greater than 90 days. Please adjust your token's lifetime.",
        |_| {
            let spy = Spy::start();
            Scene::new(&spy, &[("enterprise.yaml", ENTERPRISE)]).use_at("acme")
        },
    ),
    ("wrong method or unknown path", 404, "Not Found", |scene| {
        let mut answers = scene.ask_both(&token(1), "PUT", GRANTS);
        answers.extend(scene.ask_both(&token(1), "GET", "/nowhere"));
        answers.extend([scene.alice.get("/nowhere"), scene.alice.delete(GRANTS)]);
        answers
    }),
];

/// What this API has not: other kinds of credentials, other protocols, limits on what succeeds.
const NOT_HERE: [&str; 8] = [
    "GitHub App",
    "App token",
    "classic PAT",
    "SAML",
    "IP allow list",
    "unknown API version header",
    "primary rate limit exceeded",
    "GraphQL",
];

/// A gateway, and callers with every kind of credential.
struct Scene {
    gateway: ApiGateway,
    alice: Caller,
}

impl Scene {
    fn new(spy: &Spy, more: &[(&str, &str)]) -> Self {
        let at = |org: &str| {
            format!(
                "resource_owner: {org}\nrepositories: all\npermissions: {{ contents: read, organization_personal_access_tokens: write }}"
            )
        };
        let (one, two) = (
            ["acme", "closed", "brief"].map(|org| indented(&at(org))),
            "resource_owner: acme\nrepositories: all\npermissions: { contents: read }",
        );
        let (_, declared) = policy_tokens(&[(1, &format!("grants:\n{}", one.concat())), (2, two)]);
        let expired = format!(
            "tokens:\n  - name: old\n    sha256: {}\n    user: user1\n    resource_owner: acme\n    repositories: all\n    permissions: {{ contents: read }}\n    expires_at: 2020-01-31\n",
            TokenDigest::of(&token(3))
        );
        let acme = ACME.replace("[alice]", "[alice, user1, user2]");
        let mut policies = vec![
            ("organizations/acme.yaml", acme.as_str()),
            ("organizations/closed.yaml", CLOSED),
            ("organizations/brief.yaml", BRIEF),
            ("tokens/test.yaml", declared.as_str()),
            ("tokens/expired.yaml", expired.as_str()),
        ];
        policies.extend(more);
        let policies: Vec<_> = policies.into_iter().map(|(name, text)| (name, text.to_owned())).collect();
        let gateway = ApiGateway::before(spy.address, "github", &policies);
        let alice = gateway.person("alice");
        Self { gateway, alice }
    }

    /// On both listeners.
    fn ask_both(&self, credential: &str, method: &str, target: &str) -> Vec<Answer> {
        let callers = [self.gateway.control(credential), self.gateway.data(credential)];
        callers.iter().map(|caller| caller.call(method, target, None)).collect()
    }

    fn asks(&self, credential: &str) -> Vec<Answer> {
        self.ask_both(credential, "GET", GRANTS)
    }

    /// The API of `org`, and one of its repositories at the host.
    fn use_at(&self, org: &str) -> Vec<Answer> {
        let mut answers = self.ask_both(&token(1), "GET", &format!("/orgs/{org}/personal-access-tokens"));
        answers.push(self.gateway.answer(
            &token(1),
            "GET",
            &format!("/repos/{org}/alpha/contents/README.md"),
        ));
        answers
    }
}

/// As an entry of a list below `grants`.
fn indented(body: &str) -> String {
    format!("  - {}\n", body.replace('\n', "\n    "))
}

fn bad_credentials(scene: &Scene) -> Vec<Answer> {
    let (id, revoked) = scene.alice.create(&wish("short", &["alpha"]));
    scene.alice.delete(&format!("/user/personal-access-tokens/{id}")).expect(204);
    let session = "portcullis_session_0000";
    let mut answers: Vec<_> = [token(9), revoked, token(3), "ghp_x".to_owned(), String::from("x")]
        .iter()
        .flat_map(|credential| scene.asks(credential))
        .collect();
    answers.extend(scene.asks(session));
    answers
}

fn too_many(_: &Scene) -> Vec<Answer> {
    let (spy, body) = (Spy::start(), json!({ "login": "alice", "password": "x" }));
    let gateway = gateway(&spy);
    let good = gateway.person("alice");
    for _ in 0..20 {
        gateway.control(&token(9)).get(GRANTS).expect(401);
    }
    for _ in 0..10 {
        gateway.control("").post("/sessions", &body).expect(401);
    }
    let answers = vec![gateway.control(&token(9)).get(GRANTS), gateway.control("").post("/sessions", &body)];
    // Whoever has a good one is not kept out by those who have not.
    good.get(GRANTS).expect(200);
    for answer in &answers {
        let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=300).contains(&after), "{answer:?}");
    }
    answers
}

#[track_caller]
fn check(name: &str, answer: &Answer, status: u16, message: &str) {
    assert_eq!(answer.status, status, "{name}: {answer:?}");
    assert_eq!(answer.body["message"], message, "{name}: {answer:?}");
    assert_eq!(answer.body["status"], status.to_string(), "{name}: {answer:?}");
    assert!(answer.body["documentation_url"].as_str().unwrap().starts_with("https://"), "{name}: {answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"), "{name}: {answer:?}");
    assert!(answer.header("x-request-id").is_some_and(|id| id.len() > 8), "{name}: {answer:?}");
    let challenge = (status == 401).then_some("Bearer realm=\"Portcullis\"");
    assert_eq!(answer.header("www-authenticate"), challenge, "{name}: {answer:?}");
}

#[test]
fn refusals_are_githubs() {
    let spy = Spy::start();
    let scene = Scene::new(&spy, &[]);
    let facts = facts("error-responses.json");
    for (name, status, message, come_about) in CASES {
        let answers = come_about(&scene);
        assert!(answers.len() > 1, "{name}");
        let fact = facts.iter().flat_map(|facts| facts.as_array().unwrap()).find(|fact| fact["case"] == name);
        assert!(fact.is_some() || facts.is_none(), "{name} is none of GitHub's cases");
        for answer in answers {
            check(name, &answer, status, message);
            if let Some(fact) = fact {
                check_fact(name, &answer, fact);
            }
        }
    }
    assert_eq!(spy.seen(), "", "nothing reached the host");
}

#[track_caller]
fn check_fact(name: &str, answer: &Answer, fact: &Value) {
    assert_eq!(fact["status"], answer.status, "{name}");
    for (field, value) in fact["body"].as_object().unwrap() {
        let theirs = value.as_str().unwrap();
        let said = answer.body[field].as_str();
        assert!(said.is_some(), "{name}: no `{field}`: {answer:?}");
        if !theirs.starts_with('<') {
            assert_eq!(said.map(|said| fill(theirs, said)).as_deref(), said, "{name}: {field}");
        }
    }
    for field in fact["headers"].as_array().into_iter().flatten() {
        let field = field.as_str().unwrap();
        assert!(answer.header(field).is_some(), "{name}: no {field}: {answer:?}");
    }
}

/// GitHub's sentence with what `said` has in the places of its names and numbers, and without the page where GitHub's users
/// edit their tokens.
fn fill(theirs: &str, said: &str) -> String {
    let theirs = theirs
        .split_once(" at the following URL")
        .map_or_else(|| theirs.to_owned(), |(own, _)| format!("{own}."));
    let is_plain = |word: &&str| !matches!(word.trim_matches(['`', '\'']), "ORG" | "ENTERPRISE" | "N");
    let words = theirs.split(' ').zip(said.split(' ').chain(std::iter::repeat("")));
    let filled: Vec<_> = words.map(|(word, said)| if is_plain(&word) { word } else { said }).collect();
    filled.join(" ")
}

#[test]
fn every_case_of_github_is_looked_at() {
    let Some(facts) = facts("error-responses.json") else { return };
    let rest =
        facts.as_array().unwrap().iter().filter(|fact| fact["surface"].as_str().unwrap().starts_with("rest"));
    for name in rest.map(|fact| fact["case"].as_str().unwrap()) {
        let here = CASES.iter().any(|(case, ..)| *case == name);
        assert!(here != NOT_HERE.iter().any(|word| name.contains(word)), "{name}");
    }
}

#[test]
fn what_would_be_enough_is_told() {
    let spy = Spy::start();
    let scene = Scene::new(&spy, &[]);
    for answer in scene.ask_both(&token(2), "GET", GRANTS) {
        let accepted = answer.header("x-accepted-github-permissions");
        assert_eq!(accepted, Some("organization_personal_access_tokens=read"), "{answer:?}");
        assert_eq!(answer.body["missing"], json!(["organization_personal_access_tokens=read"]), "{answer:?}");
    }
}

/// Bodies that are not the JSON that is expected.
const NO_JSON: [&str; 8] = [
    "{",
    "[]",
    "7",
    r#"{"name": 7}"#,
    r#"{"name": "a", "surprise": 1}"#,
    r#"{"name": "a", "name": "b"}"#,
    r#"{"name": "a", "repositories": {}}"#,
    r#"{"name": "a", "permissions": {"contents": 1}}"#,
];

#[test]
fn bodies_that_are_not_as_expected_are_400() {
    let spy = Spy::start();
    let gateway = gateway(&spy);
    let alice = gateway.person("alice");
    for text in NO_JSON {
        let answer = alice.send("POST", "/user/personal-access-tokens", text);
        check(text, &answer, 400, "Problems parsing JSON");
    }
}

/// One call, what its body has beside or in place of what is good, and what is told of it: field and code.
type Invalid = (&'static str, &'static str, &'static str, &'static [(&'static str, &'static str)]);

const OWN: &str = "/user/personal-access-tokens";
const REQUESTS: &str = "/orgs/acme/personal-access-token-requests";

/// What cannot be had.
const INVALID: [Invalid; 23] = [
    (
        "POST",
        OWN,
        r#"{"name": null, "resource_owner": null, "repositories": null, "permissions": null}"#,
        &[("name", "missing_field"), ("resource_owner", "missing_field")],
    ),
    ("POST", OWN, r#"{"resource_owner": null}"#, &[("resource_owner", "missing_field")]),
    ("POST", OWN, r#"{"name": ""}"#, &[("name", "invalid")]),
    ("POST", OWN, r#"{"name": "taken"}"#, &[("name", "already_exists")]),
    ("POST", OWN, r#"{"repositories": []}"#, &[("repositories", "custom")]),
    ("POST", OWN, r#"{"repositories": ["a/b"]}"#, &[("repositories", "custom")]),
    ("POST", OWN, r#"{"permissions": {"contents": "own"}}"#, &[("permissions", "invalid")]),
    ("POST", OWN, r#"{"permissions": {"nothing": "read"}}"#, &[("permissions", "custom")]),
    ("POST", OWN, r#"{"expires_in": 400}"#, &[("expires_at", "custom")]),
    ("POST", OWN, r#"{"expires_at": "soon"}"#, &[("expires_at", "invalid")]),
    ("POST", OWN, r#"{"expires_at": "2020-01-31"}"#, &[("expires_at", "invalid")]),
    ("POST", OWN, r#"{"resource_owner": "closed"}"#, &[("resource_owner", "custom")]),
    ("POST", OWN, r#"{"resource_owner": "brief", "expires_in": 8}"#, &[("expires_at", "custom")]),
    ("POST", REQUESTS, r#"{"pat_request_ids": null}"#, &[("pat_request_ids", "missing_field")]),
    ("POST", REQUESTS, r#"{"pat_request_ids": []}"#, &[("pat_request_ids", "invalid")]),
    ("POST", REQUESTS, r#"{"pat_request_ids": [1], "action": "keep"}"#, &[("action", "invalid")]),
    ("POST", GRANTS, r#"{"action": "revoke"}"#, &[("pat_ids", "missing_field")]),
    ("POST", GRANTS, r#"{"action": "keep", "pat_ids": [1]}"#, &[("action", "invalid")]),
    (
        "GET",
        "/orgs/acme/personal-access-tokens?page=x&per_page=y",
        "",
        &[("page", "invalid"), ("per_page", "invalid")],
    ),
    (
        "GET",
        "/orgs/acme/personal-access-tokens?sort=name&direction=up",
        "",
        &[("sort", "invalid"), ("direction", "invalid")],
    ),
    ("GET", "/orgs/acme/personal-access-tokens?owner=a,b,c,d,e,f,g,h,i,j,k", "", &[("owner", "invalid")]),
    (
        "GET",
        "/orgs/acme/personal-access-tokens?last_used_before=soon",
        "",
        &[("last_used_before", "invalid")],
    ),
    (
        "GET",
        "/orgs/acme/audit-log?phrase=nonsense&before=x",
        "",
        &[("phrase", "invalid"), ("before", "invalid")],
    ),
];

/// `good`, with the members of `other` in place of its own.
fn with(mut good: Value, other: &str) -> String {
    let other: Value = serde_json::from_str(other).unwrap();
    good.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
    good.to_string()
}

#[test]
fn what_cannot_be_had_is_422_with_every_reason() {
    let spy = Spy::start();
    let gateway = gateway_with(
        &spy,
        &[
            ("organizations/closed.yaml", CLOSED),
            ("organizations/brief.yaml", BRIEF),
            ("enterprise.yaml", "enterprise: example\nadministrators: [alice]\n"),
        ],
    );
    let (alice, bob) = (gateway.person("alice"), gateway.person("bob"));
    bob.create(&wish("taken", &["alpha"]));
    for (method, target, other, wanted) in INVALID {
        let (caller, body) = match (method, target) {
            ("GET", _) => (&alice, String::new()),
            (_, OWN) => (&bob, with(wish("a", &["alpha"]), other)),
            (_, REQUESTS) => (&alice, with(json!({ "action": "approve" }), other)),
            _ => (&alice, other.to_owned()),
        };
        let answer = caller.send(method, target, &body);
        let name = format!("{method} {target} {body}");
        check(&name, &answer, 422, "Validation Failed");
        let errors = answer.body["errors"].as_array().unwrap();
        let told: Vec<_> = errors
            .iter()
            .map(|error| (error["field"].as_str().unwrap(), error["code"].as_str().unwrap()))
            .collect();
        assert_eq!(told, wanted, "{name}: {answer:?}");
        for error in errors {
            assert_eq!(error["resource"], "PersonalAccessToken", "{name}");
            assert!(error["message"].as_str().is_some_and(|message| message.len() > 5), "{name}");
        }
    }
}

#[test]
fn a_target_with_two_readings_is_told_so_in_json() {
    let spy = Spy::start();
    let scene = Scene::new(&spy, &[]);
    for target in
        ["/orgs/acme/../umbrella", "/user//token", "/user?access_token=x", "/users/%2e%2e/suspended"]
    {
        for answer in scene.ask_both(&token(1), "GET", target) {
            assert_eq!(answer.status, 400, "{target}: {answer:?}");
            assert!(answer.body["message"].is_string(), "{target}: {answer:?}");
            assert!(
                answer.body["reason"].as_str().unwrap().starts_with("ambiguous_"),
                "{target}: {answer:?}"
            );
        }
    }
}

#[test]
fn more_than_a_mebibyte_is_413() {
    let spy = Spy::start();
    let scene = Scene::new(&spy, &[]);
    let (_, text) = scene.alice.create(&json!({
        "name": "writer", "resource_owner": "alice", "permissions": { "personal_access_tokens": "write" },
    }));
    let large = json!({ "name": "a".repeat(1 << 20) });
    for caller in [scene.alice.clone(), scene.gateway.control(&text), scene.gateway.data(&text)] {
        let answer = caller.post("/user/personal-access-tokens", &large);
        assert_eq!(answer.status, 413, "{answer:?}");
        assert_eq!(answer.body["status"], "413", "{answer:?}");
    }
}
