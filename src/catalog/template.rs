//! The grammar of a route: `GET|POST /repos/{owner}/{repo}/contents/{path...}`.
//!
//! A segment is a literal, `{name}` (one segment), `{name%}` (one segment that may encode delimiters) or `{name...}`
//! (one or more segments, to the end; `{name...!:}` without a colon); `{name}` may be followed by a literal suffix.

use http::Method;
use thiserror::Error;

use crate::catalog::document::ResourceParameters;

/// What stands in one place of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Exactly this text.
    Literal(String),
    /// One segment.
    Parameter(Parameter),
    /// The rest of the path, at least one segment; where a character is named, only without it.
    Tail(Option<char>),
}

/// A parameter of one segment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Parameter {
    /// What it holds.
    pub kind: ParameterKind,
    /// What the segment ends in.
    pub suffix: String,
}

/// What a parameter holds, in the order in which alternatives are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ParameterKind {
    /// A repository's name and `.wiki`.
    Wiki,
    /// A repository's name.
    Repository,
    /// A resource owner's name.
    Owner,
    /// Anything without an encoded delimiter.
    Plain,
    /// Anything.
    Encoded,
}

/// A route's methods and path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// As it was written.
    pub text: String,
    /// The methods; empty means any.
    pub methods: Vec<Method>,
    /// The path, piece by piece.
    pub pieces: Vec<Piece>,
}

/// What is wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// Not `METHOD /path`.
    #[error("a route is written `GET /path`, or `GET|POST /path` for several methods")]
    Form,
    /// A method that is not in capital letters.
    #[error("`{0}` is no method; methods are written in capital letters, parted by `|`")]
    Method(String),
    /// A segment that does not follow the grammar.
    #[error(
        "`{0}` is no segment; expected text, `{{name}}`, `{{name%}}`, `{{name...}}`, `{{name...!:}}` or `{{name}}.suffix`"
    )]
    Segment(String),
    /// Something after `{name...}`.
    #[error("nothing may follow `{{name...}}`")]
    AfterTail,
    /// Two owners or two repositories.
    #[error("a route names one owner and one repository at most")]
    TwoResources,
    /// A repository without an owner before it.
    #[error("a repository parameter needs an owner parameter before it")]
    NoOwner,
}

impl Template {
    /// Reads a template; `resources` says which parameters name resources.
    ///
    /// # Errors
    /// [`TemplateError`].
    pub fn parse(text: &str, resources: &ResourceParameters) -> Result<Self, TemplateError> {
        let (methods, path) = text.split_once(' ').ok_or(TemplateError::Form)?;
        let path = path.strip_prefix('/').ok_or(TemplateError::Form)?;
        let methods = if methods == "*" { Ok(Vec::new()) } else { methods.split('|').map(method).collect() }?;
        let segments = if path.is_empty() { Vec::new() } else { path.split('/').collect() };
        let last = segments.len().saturating_sub(1);
        let pieces: Vec<_> = segments
            .into_iter()
            .enumerate()
            .map(|(at, segment)| piece(segment, at == last, resources))
            .collect::<Result<_, _>>()?;
        if pieces.iter().rev().skip(1).any(|piece| matches!(piece, Piece::Tail(_))) {
            return Err(TemplateError::AfterTail);
        }
        let template = Self { text: text.to_owned(), methods, pieces };
        template.check_resources()?;
        Ok(template)
    }

    /// Whether the path names a resource owner.
    pub fn names_owner(&self) -> bool {
        self.kinds().any(|kind| kind == ParameterKind::Owner)
    }

    /// Whether the path names a repository or its wiki.
    pub fn names_repository(&self) -> bool {
        self.kinds().any(is_repository)
    }

    fn kinds(&self) -> impl Iterator<Item = ParameterKind> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Parameter(parameter) => Some(parameter.kind),
            Piece::Literal(_) | Piece::Tail(_) => None,
        })
    }

    fn check_resources(&self) -> Result<(), TemplateError> {
        let owner = self.kinds().position(|kind| kind == ParameterKind::Owner);
        let repository = self.kinds().position(is_repository);
        let owners = self.kinds().filter(|kind| *kind == ParameterKind::Owner).count();
        let repositories = self.kinds().filter(|kind| is_repository(*kind)).count();
        if owners > 1 || repositories > 1 {
            return Err(TemplateError::TwoResources);
        }
        if repository.is_some() && owner.is_none_or(|owner| Some(owner) > repository) {
            return Err(TemplateError::NoOwner);
        }
        Ok(())
    }
}

fn is_repository(kind: ParameterKind) -> bool {
    matches!(kind, ParameterKind::Repository | ParameterKind::Wiki)
}

fn method(text: &str) -> Result<Method, TemplateError> {
    let error = || TemplateError::Method(text.to_owned());
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') {
        return Err(error());
    }
    Method::from_bytes(text.as_bytes()).map_err(|_| error())
}

fn piece(segment: &str, last: bool, resources: &ResourceParameters) -> Result<Piece, TemplateError> {
    let error = || TemplateError::Segment(segment.to_owned());
    let Some(body) = segment.strip_prefix('{') else {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@[]".contains(&byte);
        let whole = !segment.is_empty() || last;
        return if whole && segment.bytes().all(plain) {
            Ok(Piece::Literal(segment.to_owned()))
        } else {
            Err(error())
        };
    };
    let (name, suffix) = body.split_once('}').ok_or_else(error)?;
    if let Some((name, without)) = name.split_once("...") {
        let without = match without {
            "" => None,
            "!:" => Some(':'),
            _ => return Err(error()),
        };
        return if is_name(name) && suffix.is_empty() { Ok(Piece::Tail(without)) } else { Err(error()) };
    }
    let (name, encoded) = name.strip_suffix('%').map_or((name, false), |name| (name, true));
    if !is_name(name) || suffix.contains(['{', '}', '%', ' ']) {
        return Err(error());
    }
    let is_in = |names: &[String]| names.iter().any(|known| known == name);
    let kind = match (encoded, is_in(&resources.owner), is_in(&resources.repository), is_in(&resources.wiki))
    {
        (true, false, false, false) => ParameterKind::Encoded,
        (false, false, false, false) => ParameterKind::Plain,
        (false, true, false, false) => ParameterKind::Owner,
        (false, false, true, false) => ParameterKind::Repository,
        (false, false, false, true) => ParameterKind::Wiki,
        _ => return Err(error()),
    };
    Ok(Piece::Parameter(Parameter { kind, suffix: suffix.to_owned() }))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources() -> ResourceParameters {
        ResourceParameters {
            owner: vec!["owner".into(), "org".into()],
            repository: vec!["repo".into()],
            wiki: vec!["wiki".into()],
        }
    }

    #[track_caller]
    fn check(text: &str, want: impl Into<Option<TemplateError>>) {
        assert_eq!(Template::parse(text, &resources()).err(), want.into(), "{text}");
    }

    #[test]
    fn grammar() {
        for good in [
            "GET /",
            "GET|POST /repos/{owner}/{repo}",
            "* /x",
            "GET /a/",
            "GET /repos/{owner}/{repo}/contents/{path...}",
            "GET /repos/{owner}/{repo}/compare/{basehead...!:}",
            "GET /p/{id%}/x",
            "GET /{owner}/{repo}/pull/{n}.diff",
            "GET /users/github-actions[bot]",
        ] {
            check(good, None);
        }
        check("/", Some(TemplateError::Form));
        check("GET x", Some(TemplateError::Form));
        check("get /", Some(TemplateError::Method("get".into())));
        check("GET| /", Some(TemplateError::Method(String::new())));
        for segment in [
            "{}", "{a b}", "{owner%}", "{a", "a}", "{a...}x", "{a...!}", "{a!:}", "a{b}", "%2f", "{a}{b}",
            "a b",
        ] {
            check(&format!("GET /{segment}"), Some(TemplateError::Segment(segment.into())));
        }
        check("GET /a//b", Some(TemplateError::Segment(String::new())));
        check("GET /{a...}/b", Some(TemplateError::AfterTail));
        check("GET /{owner}/{org}", Some(TemplateError::TwoResources));
        check("GET /{repo}", Some(TemplateError::NoOwner));
        check("GET /{repo}/{owner}", Some(TemplateError::NoOwner));
    }
}
