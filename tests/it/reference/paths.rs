//! The naive reference's view of a path: segments, templates, names.

use serde_json::Value;

/// A route that takes a path, and how it compares with others: from the left, a literal, then a parameter (the longer
/// suffix first), then the rest of the path.
pub(crate) struct Hit {
    pub(crate) rank: Vec<(u8, isize, u8)>,
    pub(crate) owner: Option<String>,
    pub(crate) repository: Option<String>,
    pub(crate) wiki: bool,
    pub(crate) tail: bool,
    /// The path ends with the slash before `{name...}`.
    pub(crate) empty_tail: bool,
}

impl Hit {
    pub(crate) fn names_the_same(&self, other: &Self) -> bool {
        (&self.owner, &self.repository, self.wiki) == (&other.owner, &other.repository, other.wiki)
    }
}

pub(crate) enum Fit {
    No,
    /// It would fit, were the name or the value in it not open to two readings.
    Unclear,
    Yes(Hit),
}

fn segments(path: &str) -> Vec<&str> {
    if path == "/" { Vec::new() } else { path.strip_prefix('/').unwrap().split('/').collect() }
}

pub(crate) fn fit(template: &str, path: &str, resource: &Value) -> Fit {
    walk(template, path, resource, false)
}

/// As [`fit`], but what is unclear counts as fitting.
pub(crate) fn fit_denied(template: &str, path: &str, resource: &Value) -> Fit {
    walk(template, path, resource, true)
}

fn walk(template: &str, path: &str, resource: &Value, unclear_fits: bool) -> Fit {
    let (pieces, given) = (segments(template), segments(path));
    let mut hit =
        Hit { rank: Vec::new(), owner: None, repository: None, wiki: false, tail: false, empty_tail: false };
    for (at, piece) in pieces.iter().enumerate() {
        let Some(segment) = given.get(at) else {
            return Fit::No;
        };
        if piece.ends_with("...}") {
            hit.rank.push((2, 0, 0));
            hit.tail = true;
            hit.empty_tail = segment.is_empty();
            return Fit::Yes(hit);
        }
        if !piece.starts_with('{') {
            if decode(segment) != *piece {
                return Fit::No;
            }
            hit.rank.push((0, 0, 0));
            continue;
        }
        let (name, suffix) = piece.strip_prefix('{').unwrap().split_once('}').unwrap();
        let kind = kind(name, resource);
        let decoded = decode(segment);
        if !decoded.ends_with(suffix) || decoded.len() == suffix.len() {
            return Fit::No;
        }
        let suffix_length = isize::try_from(suffix.len()).unwrap();
        hit.rank.push((1, -suffix_length, kind as u8));
        match value(kind, segment, suffix) {
            Read::No => return Fit::No,
            Read::Unclear if unclear_fits => {}
            Read::Unclear => return Fit::Unclear,
            Read::Plain => {}
            Read::Name(name) if kind == Kind::Owner => hit.owner = Some(name),
            Read::Name(name) => {
                hit.repository = Some(name);
                hit.wiki = kind == Kind::Wiki;
            }
        }
    }
    if pieces.len() == given.len() { Fit::Yes(hit) } else { Fit::No }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Wiki,
    Repository,
    Owner,
    Plain,
    Encoded,
}

fn kind(name: &str, resource: &Value) -> Kind {
    let is_in =
        |list: &str| resource[list].as_array().is_some_and(|names| names.iter().any(|known| known == name));
    match name {
        name if name.ends_with('%') => Kind::Encoded,
        _ if is_in("owner") => Kind::Owner,
        _ if is_in("repository") => Kind::Repository,
        _ if is_in("wiki") => Kind::Wiki,
        _ => Kind::Plain,
    }
}

/// What a segment says in a parameter's place.
enum Read {
    No,
    Unclear,
    Plain,
    Name(String),
}

fn value(kind: Kind, segment: &str, suffix: &str) -> Read {
    let lower = segment.to_ascii_lowercase();
    if kind == Kind::Encoded {
        return Read::Plain;
    }
    if kind == Kind::Plain {
        let encodes = ["%2f", "%3f", "%23", "%25"].iter().any(|escape| lower.contains(escape));
        return if encodes { Read::Unclear } else { Read::Plain };
    }
    let plain = |text: &str| {
        let good = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
        !text.is_empty() && !text.ends_with('.') && text.chars().all(good)
    };
    let Some(name) = segment.strip_suffix(suffix) else {
        return Read::Unclear;
    };
    if kind == Kind::Owner {
        return if plain(name) { Read::Name(name.into()) } else { Read::Unclear };
    }
    let cut = |text: &str, end: &str| {
        let length = text.len().checked_sub(end.len())?;
        text.to_ascii_lowercase().ends_with(end).then(|| text.get(..length).unwrap().to_owned())
    };
    let name = cut(name, ".git").unwrap_or_else(|| name.into());
    let good = |name: &str| plain(name) && cut(name, ".git").is_none() && cut(name, ".wiki").is_none();
    match (kind, cut(&name, ".wiki")) {
        (Kind::Wiki, None) => Read::No,
        (Kind::Wiki, Some(name)) if good(&name) => Read::Name(name),
        (Kind::Repository, Some(name)) if good(&name) => Read::No,
        (Kind::Repository, None) if good(&name) => Read::Name(name),
        _ => Read::Unclear,
    }
}

/// A route of its own, then `GET` for `HEAD`, then any method.
pub(crate) fn method_rank(methods: &str, method: &str) -> Option<u8> {
    let has = |wanted| methods.split('|').any(|known| known == wanted);
    if methods == "*" {
        return Some(2);
    }
    match (has(method), method == "HEAD" && has("GET")) {
        (true, _) => Some(0),
        (_, true) => Some(1),
        _ => None,
    }
}

/// Percent-decoded once.
pub(crate) fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let escape = rest.strip_prefix('%').and_then(|rest| u8::from_str_radix(rest.get(..2)?, 16).ok());
        let taken = if let Some(byte) = escape {
            bytes.push(byte);
            3
        } else {
            bytes.extend(letter.to_string().bytes());
            letter.len_utf8()
        };
        rest = rest.get(taken..).unwrap();
    }
    String::from_utf8(bytes).unwrap_or_else(|error| panic!("{error}: the requests here are UTF-8"))
}

/// Dot segments, empty segments, `;`, `\`, control characters, or an escape that decodes to an escape of one of them.
pub(crate) fn has_two_readings(path: &str) -> bool {
    let decoded = decode(path);
    let control = |letter: char| letter.is_control();
    if decoded.contains([';', '\\']) || decoded.contains(control) || path.contains('#') {
        return true;
    }
    let again = decoded.match_indices('%').any(|(at, _)| {
        let letter = decoded.get(at + 1..at + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        letter.is_some_and(|letter| b"/\\.;?#%".contains(&letter) || letter.is_ascii_control())
    });
    let pieces: Vec<_> = decoded.split('/').skip(1).collect();
    let dots_or_empty = pieces.iter().enumerate().any(|(at, piece)| {
        let slash_at_end = at + 1 == pieces.len() && path.ends_with('/');
        *piece == "." || *piece == ".." || piece.is_empty() && !slash_at_end
    });
    again || dots_or_empty
}
