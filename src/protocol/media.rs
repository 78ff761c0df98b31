//! What kind of body a request's head announces, as the most willing of hosts would take it.

use http::{HeaderMap, HeaderValue, header};

use crate::headers::fold;

const FORM: &str = "application/x-www-form-urlencoded";

/// The one word of [`FORM`] that hosts look for in what is no media type.
const FORM_WORD: &str = "x-www-form-urlencoded";

/// JSON under names that do not end in `/json` or `+json`.
const JSON: [&str; 3] = ["application/jsonrequest", "application/x-json", "text/x-json"];

/// What no framework takes fields out of.
const OPAQUE: [&str; 4] =
    ["application/gzip", "application/octet-stream", "application/x-gzip", "application/zip"];

/// The beginning of what git sends: packs and pkt-lines.
const GIT: &str = "application/x-git-";

/// Character sets in which ASCII is ASCII.
const CHARSETS: [&str; 4] = ["iso-8859-1", "us-ascii", "utf-8", "utf8"];

/// How a host may read a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// JSON that can be looked into.
    Json,
    /// A URL-encoded form that can be looked into.
    Form,
    /// No host takes fields out of it.
    Opaque,
    /// The head does not say. Rack takes the body of such a POST for a form.
    Unstated,
    /// Anything else, and JSON that is encoded once more.
    Other,
    /// Some hosts would take it for a form, and not all of them for the same one.
    Ambiguous,
}

impl Media {
    /// What the head says of its body.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut types = fields(headers, &header::CONTENT_TYPE);
        let Some(value) = types.next() else {
            return Self::Unstated;
        };
        if types.next().is_some() {
            return Self::Ambiguous;
        }
        let value = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
        let (media_type, parameters) = value.split_once(';').unwrap_or((&value, ""));
        let media_type = media_type.trim();
        let is_plain = || is_plain_text(parameters) && !is_encoded(headers);
        let is_json = media_type.ends_with("/json") || media_type.ends_with("+json");
        if media_type.is_empty() {
            Self::Unstated
        } else if media_type == FORM {
            if is_plain() { Self::Form } else { Self::Ambiguous }
        } else if value.contains(FORM_WORD) {
            Self::Ambiguous
        } else if (is_json || JSON.contains(&media_type)) && is_plain() {
            Self::Json
        } else if OPAQUE.contains(&media_type) || media_type.starts_with(GIT) {
            Self::Opaque
        } else {
            Self::Other
        }
    }
}

/// The values of a field in every spelling that a host may take for it.
fn fields<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> impl Iterator<Item = &'a HeaderValue> {
    headers.iter().filter(move |(field, _)| fold(field.as_str()) == name.as_str()).map(|(_, value)| value)
}

fn is_encoded(headers: &HeaderMap) -> bool {
    fields(headers, &header::CONTENT_ENCODING)
        .any(|coding| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"))
}

/// Whether no parameter names a character set in which other bytes would be letters.
fn is_plain_text(parameters: &str) -> bool {
    parameters.split(';').all(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        !name.trim().starts_with("charset") || CHARSETS.contains(&value.trim().trim_matches('"'))
    })
}
