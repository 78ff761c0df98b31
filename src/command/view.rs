//! The API's JSON in the words of tables.

use serde_json::Value;

use crate::command::client::{Client, PAGE, Question};

/// Repositories that are named; the rest is counted.
const NAMED: usize = 5;

/// The text, number or truth at `field`; empty where there is none.
pub fn text(value: &Value, field: &str) -> String {
    match &value[field] {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => other.to_string(),
    }
}

/// The login of the user at `field`.
pub fn login(value: &Value, field: &str) -> String {
    text(&value[field], "login")
}

/// The list at `field`.
pub fn items<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    value[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// `{"repository": {"contents": "read"}}` as `contents=read`.
pub fn permissions(value: &Value) -> String {
    let mut pairs = Vec::new();
    for scope in value.as_object().into_iter().flat_map(serde_json::Map::values) {
        let levels = scope.as_object().into_iter().flatten();
        pairs.extend(levels.map(|(name, level)| format!("{name}={}", level.as_str().unwrap_or_default())));
    }
    pairs.sort();
    pairs.join(",")
}

/// `all`, `none`, or names.
pub fn repositories(selection: &str, names: &[String]) -> String {
    if selection != "subset" {
        return selection.to_owned();
    }
    let shown: Vec<_> = names.iter().take(NAMED).map(String::as_str).collect();
    match names.len().saturating_sub(NAMED) {
        0 => shown.join(","),
        more => format!("{} and {more} more", shown.join(",")),
    }
}

/// The repositories of an entry of an organization's list: whoever decides about it has to see them.
///
/// # Errors
/// They cannot be asked for.
pub fn reached(client: &Client, list: &str, entry: &Value) -> anyhow::Result<String> {
    let selection = text(entry, "repository_selection");
    let mut names = Vec::new();
    if selection == "subset" {
        let question = Question::get(format!("{list}/{}/repositories?per_page={PAGE}", entry["id"]));
        let found = client.list(question, usize::MAX)?;
        names.extend(found.iter().map(|repository| text(repository, "name")));
    }
    Ok(repositories(&selection, &names))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_becomes_words() {
        let value = json!({ "a": "x", "b": 7, "c": null, "d": true, "e": [1] });
        let words = ["a", "b", "c", "d", "f"].map(|field| text(&value, field));
        assert_eq!(words, ["x", "7", "", "true", ""]);
        assert_eq!((items(&value, "e").len(), items(&value, "a").len()), (1, 0));
        let held = json!({ "repository": { "issues": "write", "contents": "read" }, "organization": { "members": "read" } });
        assert_eq!(permissions(&held), "contents=read,issues=write,members=read");
        assert_eq!(permissions(&Value::Null), "");
    }

    #[test]
    fn many_repositories_are_counted() {
        let names: Vec<_> = ('a'..='g').map(String::from).collect();
        assert_eq!(repositories("all", &[]), "all");
        assert_eq!(repositories("subset", &names[..2]), "a,b");
        assert_eq!(repositories("subset", &names), "a,b,c,d,e and 2 more");
    }
}
