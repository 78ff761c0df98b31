//! The API's description: it covers the catalog and nothing else, it is valid, it says what GitHub says, and
//! real answers are what it says.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use portcullis::config::api::OWN_NAME;
use serde_json::{Value, json};

use crate::api::{ROOT, facts, gateway, gateway_with, installed, wish};
use crate::support::api::Caller;
use crate::support::gateway::policy_tokens;
use crate::support::policy::token;
use crate::support::spy::Spy;

const FILE: &str = "src/api/openapi.json";

/// What the control listener answers that is no route for tokens.
const CONTROL_ONLY: [(&str, &str); 5] = [
    ("GET", "/openapi.json"),
    ("GET", "/login/{name}"),
    ("GET", "/login/{name}/callback"),
    ("POST", "/credentials/revoke"),
    ("POST", "/sessions"),
];

/// GitHub's success statuses, of the operations that are ours too.
const OURS_OF_GITHUB: [(&str, &str, &str); 9] = [
    ("post", "/credentials/revoke", "202"),
    ("get", "/orgs/{org}/personal-access-token-requests", "200"),
    ("post", "/orgs/{org}/personal-access-token-requests", "202"),
    ("post", "/orgs/{org}/personal-access-token-requests/{pat_request_id}", "204"),
    ("get", "/orgs/{org}/personal-access-token-requests/{pat_request_id}/repositories", "200"),
    ("get", "/orgs/{org}/personal-access-tokens", "200"),
    ("post", "/orgs/{org}/personal-access-tokens", "202"),
    ("post", "/orgs/{org}/personal-access-tokens/{pat_id}", "204"),
    ("get", "/orgs/{org}/personal-access-tokens/{pat_id}/repositories", "200"),
];

fn description() -> Value {
    serde_json::from_str(&std::fs::read_to_string(format!("{ROOT}/{FILE}")).unwrap()).unwrap()
}

/// `value`, or what it refers to.
fn resolved<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    match value["$ref"].as_str() {
        Some(reference) => {
            let found = document.pointer(reference.strip_prefix('#').unwrap());
            resolved(document, found.unwrap_or_else(|| panic!("{reference} leads nowhere")))
        }
        None => value,
    }
}

fn operations(document: &Value) -> BTreeSet<(String, String)> {
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone()))
        })
        .collect()
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let text = std::fs::read_to_string(format!("{ROOT}/policies/catalogs/{OWN_NAME}.yaml")).unwrap();
    let routes = text.split_once("\nroutes:\n").unwrap().1.lines().filter(|line| line.starts_with("  "));
    let mut wanted: BTreeSet<_> = routes
        .filter_map(|line| line.trim().split_once(": "))
        .map(|(route, _)| route.split_once(' ').unwrap())
        .map(|(method, path)| (method.to_owned(), path.to_owned()))
        .collect();
    assert!(wanted.len() > 20, "{wanted:?}");
    wanted.extend(CONTROL_ONLY.map(|(method, path)| (method.to_owned(), path.to_owned())));
    assert_eq!(operations(&description()), wanted);
}

#[test]
fn every_operation_names_itself_and_its_parameters() {
    let document = description();
    let mut ids = BTreeSet::new();
    for (method, path) in operations(&document) {
        let operation = &document["paths"][&path][method.to_lowercase()];
        assert!(
            ids.insert(operation["operationId"].as_str().unwrap()),
            "{method} {path}: its id is another's"
        );
        let named: BTreeSet<_> = parameters(&document, operation, "path");
        let in_path = path.split('/').filter_map(|piece| piece.strip_prefix('{')?.strip_suffix('}'));
        assert_eq!(named, in_path.collect(), "{method} {path}");
    }
}

#[test]
fn it_is_valid() {
    let Some(python) = installed("python/bin/python") else { return };
    let checked =
        Command::new(python).args(["-m", "openapi_spec_validator"]).arg(FILE).current_dir(ROOT).output();
    let checked = checked.unwrap();
    let said =
        String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
    if said.contains("No module named") {
        println!("skipped: openapi-spec-validator is not there; run make test");
        return;
    }
    assert!(checked.status.success(), "{said}");
    assert_eq!(description()["openapi"], "3.1.0");
}

#[test]
fn it_is_served_as_it_stands() {
    let gateway = gateway(&Spy::start());
    let answer = gateway.control("").get("/openapi.json");
    assert!(answer.header("x-request-id").is_some_and(|id| id.len() > 8), "{answer:?}");
    assert_eq!(answer.expect(200), description());
}

fn parameters<'d>(document: &'d Value, operation: &'d Value, place: &str) -> BTreeSet<&'d str> {
    let all = operation["parameters"].as_array().into_iter().flatten();
    let all = all.map(|parameter| resolved(document, parameter));
    all.filter(|parameter| parameter["in"] == place)
        .map(|parameter| parameter["name"].as_str().unwrap())
        .collect()
}

fn request_fields(document: &Value, operation: &Value) -> BTreeSet<String> {
    let schema = resolved(document, &operation["requestBody"]["content"]["application/json"]["schema"]);
    schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
}

fn successes(operation: &Value) -> BTreeSet<&str> {
    let statuses = operation["responses"].as_object().unwrap().keys().map(String::as_str);
    statuses.filter(|status| status.starts_with('2')).collect()
}

/// The fields that an answer must have, by the path to the object that has them: `owner.login`.
fn required(document: &Value, schema: &Value, before: &str, found: &mut BTreeSet<String>) {
    let schema = resolved(document, schema);
    for part in schema["allOf"].as_array().into_iter().flatten() {
        required(document, part, before, found);
    }
    if schema["type"] == "array" {
        required(document, &schema["items"], before, found);
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        let name = name.as_str().unwrap();
        let path = format!("{before}{name}");
        required(document, &schema["properties"][name], &format!("{path}."), found);
        found.insert(path);
    }
}

fn required_in_answer(document: &Value, operation: &Value, status: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let response = resolved(document, &operation["responses"][status]);
    required(document, &response["content"]["application/json"]["schema"], "", &mut found);
    found
}

#[test]
fn it_says_what_github_says() {
    let Some(theirs) = facts("openapi-pat-management.json") else { return };
    let ours = description();
    for (method, path, status) in OURS_OF_GITHUB {
        let at = |document: &'_ Value| document["paths"][path][method].clone();
        let (our, their) = (at(&ours), at(&theirs));
        let name = format!("{method} {path}");
        for place in ["path", "query"] {
            assert_eq!(parameters(&ours, &our, place), parameters(&theirs, &their, place), "{name}");
        }
        assert_eq!(request_fields(&ours, &our), request_fields(&theirs, &their), "{name}");
        assert_eq!(successes(&our), BTreeSet::from([status]), "{name}");
        assert_eq!(successes(&our), successes(&their), "{name}");
        let missing: Vec<_> = required_in_answer(&theirs, &their, status)
            .difference(&required_in_answer(&ours, &our, status))
            .cloned()
            .collect();
        assert!(missing.is_empty(), "{name}: not required by us: {missing:?}");
    }
}

/// Whether `value`, or each entry of it, has a field at `path`.
fn has(value: &Value, path: &str) -> bool {
    match (value, path.split_once('.')) {
        (Value::Array(entries), _) => !entries.is_empty() && entries.iter().all(|entry| has(entry, path)),
        (Value::Object(fields), None) => fields.contains_key(path),
        (Value::Object(fields), Some((name, rest))) => fields.get(name).is_some_and(|value| has(value, rest)),
        _ => false,
    }
}

#[test]
fn answers_have_what_is_required_here_and_at_github() {
    let gateway =
        gateway_with(&Spy::start(), &[("bundles.yaml", "bundles: { clone: { contents: read } }\n")]);
    let (alice, bob) = (gateway.person("alice"), gateway.person("bob"));
    gateway.add_user("root", true);
    let root = gateway.sign_in("root");
    let (number, text) = bob.create(&wish("one", &["alpha"]));
    let request = &alice.get("/orgs/acme/personal-access-token-requests").expect(200)[0]["id"];
    check(&alice, "/orgs/{org}/personal-access-token-requests", 0);
    let repositories = "/orgs/{org}/personal-access-token-requests/{pat_request_id}/repositories";
    check(&alice, repositories, request.as_i64().unwrap());
    let approve = json!({ "action": "approve" });
    alice.post(&format!("/orgs/acme/personal-access-token-requests/{request}"), &approve).expect(204);
    let grant = alice.get("/orgs/acme/personal-access-tokens").expect(200)[0]["id"].as_i64().unwrap();
    check(&alice, "/orgs/{org}/personal-access-tokens", 0);
    check(&alice, "/orgs/{org}/personal-access-tokens/{pat_id}/repositories", grant);
    check(&alice, "/orgs/{org}/audit-log", 0);
    check(&root, "/audit-log", 0);
    check(&root, "/users", 0);
    check(&bob, "/user", 0);
    check(&bob, "/bundles", 0);
    check(&gateway.control(&text), "/token", 0);
    check(&bob, "/user/personal-access-tokens", 0);
    check(&bob, "/user/personal-access-tokens/{token_id}", number);
}

#[test]
fn a_declared_token_is_shown_as_others_are() {
    let held = "resource_owner: user1\nrepositories: [alpha]\npermissions: { contents: read, personal_access_tokens: read }";
    let (name, declared) = policy_tokens(&[(1, held)]);
    let gateway = gateway_with(&Spy::start(), &[(name, &declared)]);
    check(&gateway.control(&token(1)), "/token", 0);
    let shown = gateway.data(&token(1)).get("/token").expect(200);
    let permissions = json!({ "repository": { "contents": "read", "metadata": "read" }, "other": { "personal_access_tokens": "read" } });
    assert_eq!(shown["resource_owners"][0]["permissions"], permissions, "{shown}");
}

/// `path` of `acme`, with `id` for any other parameter, is answered with every field that the descriptions require.
#[track_caller]
fn check(caller: &Caller, path: &str, id: i64) {
    let id = id.to_string();
    let fill = |piece| match piece {
        "{org}" => "acme",
        piece if piece.starts_with('{') => &id,
        piece => piece,
    };
    let target = path.split('/').map(fill).collect::<Vec<_>>().join("/");
    let answer = caller.get(&target).expect(200);
    let mut wanted = required_in_answer(&description(), &description()["paths"][path]["get"], "200");
    assert!(!wanted.is_empty(), "{path}");
    if let Some(theirs) = facts("openapi-pat-management.json") {
        wanted.extend(required_in_answer(&theirs, &theirs["paths"][path]["get"], "200"));
    }
    let missing: Vec<_> = wanted.iter().filter(|field| !has(&answer, field)).collect();
    assert!(missing.is_empty(), "{target} lacks {missing:?}: {answer}");
}

#[test]
fn bodies_are_as_strict_as_they_are_said_to_be() {
    let administered = ("enterprise.yaml", "enterprise: example\nadministrators: [alice]\n");
    let gateway = gateway_with(&Spy::start(), &[administered]);
    let alice = gateway.person("alice");
    let document = description();
    let mut seen = 0;
    for (method, path) in operations(&document) {
        let operation = &document["paths"][&path][method.to_lowercase()];
        let schema = resolved(&document, &operation["requestBody"]["content"]["application/json"]["schema"]);
        if schema.is_null() {
            continue;
        }
        assert_eq!(schema["additionalProperties"], false, "{method} {path}");
        let target = path.replace("{org}", "acme").split('/').map(fill).collect::<Vec<_>>().join("/");
        let caller = if operation["security"] == json!([]) { gateway.control("") } else { alice.clone() };
        let fields = schema["properties"].as_object().unwrap();
        let nothing: BTreeMap<_, Value> = fields.keys().map(|name| (name, Value::Null)).collect();
        let mut unknown = json!(nothing);
        unknown["surprise"] = json!(1);
        let answer = caller.call(&method, &target, Some(&unknown));
        assert_eq!(answer.status, 400, "{method} {path}: {answer:?}");
        for name in fields.keys() {
            // No field takes an object with this member.
            let answer = caller.call(&method, &target, Some(&json!({ name: { "surprise": { "a": 1 } } })));
            assert_eq!(answer.status, 400, "{method} {path} {name}: {answer:?}");
            let detail = answer.body["detail"].as_str().unwrap();
            let unknown = format!("unknown field `{name}`");
            assert!(!detail.contains(&unknown), "{method} {path} {name}: {detail}");
            seen += 1;
        }
    }
    assert!(seen > 25, "{seen} fields");
}

fn fill(piece: &str) -> &str {
    if piece.starts_with('{') { "1" } else { piece }
}
