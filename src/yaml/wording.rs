//! The YAML library's errors in our words: lower case, without Rust type names, with what was expected.

use serde_yaml::budget::BudgetBreach;
use serde_yaml::{Error, MessageFormatter, UserMessageFormatter};

/// What is wrong with `text`, without the place.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library's enum is open; what has no wording of ours keeps the library's"
)]
pub(super) fn of(error: &Error, text: &str) -> String {
    match error.without_snippet() {
        Error::Eof { .. } => "the file holds no document; expected a mapping of fields".into(),
        Error::Unexpected { .. } if is_empty(text) => {
            "the document is empty; expected a mapping of fields".into()
        }
        Error::Unexpected { expected, .. } => format!("expected {}", node(expected)),
        Error::InvalidScalar { ty, .. } => format!("expected {}", scalar(ty)),
        Error::InvalidBooleanStrict { .. } => "expected `true` or `false`".into(),
        Error::NullIntoString { .. } => {
            "expected a text; quote the word `null` where it is meant literally".into()
        }
        Error::SerdeUnknownField { field, expected, .. } => {
            format!("unknown field `{field}`; expected {}", one_of(expected))
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            format!("unknown word `{variant}`; expected {}", one_of(expected))
        }
        Error::SerdeMissingField { field, .. } => {
            format!("the field `{field}` is missing in this mapping; add it")
        }
        Error::SerdeInvalidType { unexpected, expected, .. }
        | Error::SerdeInvalidValue { unexpected, expected, .. } => {
            format!("found {unexpected}; expected {}", value(expected))
        }
        Error::SerdeInvalidLength { len, expected, .. } => {
            format!("found {len} elements; expected {}", value(expected))
        }
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("the key `{key}` stands twice in this mapping; remove one")
        }
        Error::DuplicateMappingKey { key: None, .. } => {
            "a key stands twice in this mapping; remove one".into()
        }
        Error::MergeKeyNotAllowed { .. } => "merge keys (`<<`) are not allowed; write the fields out".into(),
        Error::UnknownAnchor { .. } => NO_ANCHORS.into(),
        Error::UnsupportedTag { tag, .. } | Error::TaggedStructFieldName { tag, .. } => {
            format!("the tag `{tag}` is not allowed; remove it")
        }
        Error::ExternallyTaggedEnumExpectedScalarOrMapping { .. }
        | Error::ExpectedStringKeyForExternallyTaggedEnum { .. } => {
            "expected one word, or a mapping with one field".into()
        }
        Error::ExpectedMappingEndAfterEnumVariantValue { .. } => {
            "expected exactly one field in this mapping; remove the others".into()
        }
        Error::UnexpectedValueForUnitEnumVariant { .. } | Error::UnexpectedValueForUnit { .. } => {
            "expected the word alone, without a value".into()
        }
        Error::Budget { breach, .. } => over_budget(breach),
        Error::ExternalMessage { msg, .. } => format!("not valid YAML: {msg}"),
        Error::Message { msg, .. } | Error::HookError { msg, .. } => own_message(msg),
        other => UserMessageFormatter.format_message(other).into_owned(),
    }
}

const NO_ANCHORS: &str =
    "anchors and aliases (`&`, `*`) are not allowed; write the value out, or quote the text";

/// Whether there is nothing in `text` but comments, white space and document marks.
fn is_empty(text: &str) -> bool {
    text.trim_start_matches('\u{feff}').lines().all(|line| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#') || line == "---" || line == "..."
    })
}

fn node(expected: &str) -> &str {
    match expected {
        "mapping start" => "a mapping",
        "sequence start" => "a list",
        "string scalar" | "scalar" | "str expected" | "missing string" => {
            "a single value, not a list or a mapping"
        }
        "non-scalar key" => "a text as key",
        other => other,
    }
}

fn scalar(kind: &str) -> &str {
    match kind {
        "boolean" | "bool" => "`true` or `false`",
        "floating point" | "f32" | "f64" => "a number",
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" => "a whole number, not negative and not too large",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number",
        other => other,
    }
}

/// What serde says that it expected, without the names of Rust types in it.
fn value(expected: &str) -> &str {
    match expected.split_whitespace().next() {
        Some("struct") => "a mapping",
        Some("enum" | "variant") => "one word, or a mapping with one field",
        Some("tuple") => "a list",
        _ => scalar(expected),
    }
}

fn one_of(expected: &[&str]) -> String {
    let words: Vec<_> = expected.iter().map(|word| format!("`{word}`")).collect();
    match words.as_slice() {
        [] => "no field at all".into(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// A message of our own `Deserialize`, or serde's for an untagged enum, which names a Rust type.
fn own_message(message: &str) -> String {
    if message.starts_with("data did not match any variant") {
        "this has none of the forms that may stand here; check its fields and values".into()
    } else {
        message.into()
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library's enum is open, and the rest says the same")]
fn over_budget(breach: &BudgetBreach) -> String {
    match breach {
        BudgetBreach::Aliases { .. } | BudgetBreach::Anchors { .. } => NO_ANCHORS.into(),
        BudgetBreach::Documents { .. } => {
            "a second document starts here; keep one document in a file and remove the `---`".into()
        }
        BudgetBreach::Depth { .. } => "lists and mappings are nested too deeply; flatten them".into(),
        _ => "the document is too large; split the file".into(),
    }
}
