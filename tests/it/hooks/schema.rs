//! Payloads against GitHub's own schema, as far as its words are used there.

use std::path::Path;

use serde_json::Value;

const FACTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/github/openapi-pat-webhook.json");

/// Checks the payload of a `personal_access_token_request`; skipped where the facts are not there.
#[track_caller]
pub(super) fn check(action: &str, payload: &Value) {
    if !Path::new(FACTS).exists() {
        println!("skipped: {FACTS} is not here");
        return;
    }
    let facts: Value = serde_json::from_str(&std::fs::read_to_string(FACTS).unwrap()).unwrap();
    let schema = &facts["components"]["schemas"][format!("webhook-personal-access-token-request-{action}")];
    assert!(schema.is_object(), "{action}");
    let mut wrong = Vec::new();
    fits(&facts, schema, payload, action, &mut wrong);
    // GitHub sends it to its Apps alone, whatever the schema says.
    wrong.retain(|fault| *fault != format!("{action}: no `installation`"));
    assert!(wrong.is_empty(), "{wrong:#?} in {payload:#}");
}

fn fits(facts: &Value, schema: &Value, value: &Value, place: &str, wrong: &mut Vec<String>) {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap();
        return fits(facts, &facts["components"]["schemas"][name], value, place, wrong);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let allowed = match &schema["type"] {
        Value::String(one) => vec![one.as_str()],
        Value::Array(several) => several.iter().map(|one| one.as_str().unwrap()).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    };
    if !allowed.is_empty() && !allowed.contains(&kind) {
        wrong.push(format!("{place}: {kind}, not {allowed:?}"));
    }
    if let Some(words) = schema["enum"].as_array().filter(|words| !words.contains(value)) {
        wrong.push(format!("{place}: {value}, not one of {words:?}"));
    }
    if let Value::Array(items) = value {
        for item in items {
            fits(facts, &schema["items"], item, &format!("{place}[]"), wrong);
        }
    }
    let Value::Object(members) = value else { return };
    for name in schema["required"].as_array().into_iter().flatten() {
        let name = name.as_str().unwrap();
        if !members.contains_key(name) {
            wrong.push(format!("{place}: no `{name}`"));
        }
    }
    for (name, member) in members {
        let known = &schema["properties"][name];
        let known = if known.is_null() { &schema["additionalProperties"] } else { known };
        if known.is_object() {
            fits(facts, known, member, &format!("{place}.{name}"), wrong);
        } else if schema["properties"].is_object() {
            wrong.push(format!("{place}: GitHub has no `{name}`"));
        }
    }
}
