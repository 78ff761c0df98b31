//! Finds the route that a request takes: a trie over path segments, literals by binary search over their hashes.
//!
//! The cost grows with the length of the path and the logarithm of the number of siblings, not with the number of
//! routes. Nothing is allocated unless a segment is percent-encoded.

mod literals;

use std::borrow::Cow;

use http::Method;

use crate::catalog::table::literals::Literals;
use crate::catalog::template::{Parameter, ParameterKind, Piece, Template};
use crate::domain::resource::{
    RepositoryName, Resource, owner_name, repository_name, strip_suffix_ignoring_case,
};
use crate::domain::target::{CanonicalTarget, Segments, TargetError, decode_once, encodes_delimiter};

/// Templates, each with the index that its owner knows it by.
#[derive(Debug, Clone, Default)]
pub struct Table {
    root: Node,
}

/// Why a template could not be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conflict {
    /// The same method and path were added before, under this index.
    Same(usize),
    /// In this place another template has a parameter of another kind, so that one path could name two things.
    Kinds,
}

/// A route that was found, and what its path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found<'a> {
    /// The index that the route was added under.
    pub index: usize,
    /// What the path names.
    pub resource: Resource<'a>,
}

#[derive(Debug, Clone, Default)]
struct Node {
    literals: Literals<Self>,
    parameters: Vec<(Parameter, Self)>,
    here: Methods,
    tail: Methods,
    /// What the tail may not hold.
    tail_without: Option<char>,
}

/// Method to index; `None` is any method.
#[derive(Debug, Clone, Default)]
struct Methods(Vec<(Option<Method>, usize)>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Captures<'a> {
    owner: Option<&'a str>,
    repository: Option<&'a str>,
    wiki: bool,
}

impl<'a> Captures<'a> {
    fn resource(self) -> Resource<'a> {
        match (self.owner, self.repository) {
            (None, _) => Resource::Nothing,
            (Some(owner), None) => Resource::Owner(owner),
            (Some(owner), Some(name)) if self.wiki => Resource::Wiki(RepositoryName { owner, name }),
            (Some(owner), Some(name)) => Resource::Repository(RepositoryName { owner, name }),
        }
    }
}

impl Table {
    /// Adds `template`, below the literal segments `prefix`, under `index`.
    ///
    /// # Errors
    /// [`Conflict`]; the table may then hold a part of the template's methods and must not be used.
    pub fn add(&mut self, prefix: &[String], template: &Template, index: usize) -> Result<(), Conflict> {
        let mut node = &mut self.root;
        for segment in prefix {
            node = node.literals.put(segment);
        }
        let mut tail = None;
        for piece in &template.pieces {
            match piece {
                Piece::Literal(text) => node = node.literals.put(text),
                Piece::Parameter(parameter) => node = node.parameter(parameter)?,
                Piece::Tail(without) => tail = Some(*without),
            }
        }
        let methods = match tail {
            None => &mut node.here,
            Some(without) => node.tail(without)?,
        };
        methods.add(&template.methods, index)
    }

    /// The route for `method` on `target`; `same(a, b)` tells whether two routes need the same.
    ///
    /// A path that encodes a slash has a second reading. Below `{name...}` the decoded one is judged; elsewhere the two
    /// must need the same.
    ///
    /// # Errors
    /// [`TargetError`] where the path has a place for a name or a value that it does not hold unambiguously.
    pub fn find<'a>(
        &self,
        method: &Method,
        target: &'a CanonicalTarget,
        same: impl Fn(usize, usize) -> bool,
    ) -> Result<Option<Found<'a>>, TargetError> {
        let Some(hit) = self.walk_path(method, target.path())? else {
            return Ok(None);
        };
        let (mut index, mut rest) = (hit.index, hit.rest);
        if let Some(decoded) = with_slashes_decoded(target.path())
            && let Some(other) = self.walk_path(method, &decoded)?
        {
            let below_tail = hit.rest == Rest::Some;
            if other.captures != hit.captures || !(below_tail || same(hit.index, other.index)) {
                return Err(TargetError::EncodedDelimiter);
            }
            if below_tail {
                (index, rest) = (other.index, other.rest);
            }
        }
        // Whoever folds a slash at the end reads another path; a template that ends in one says what it needs.
        if rest == Rest::Empty {
            return Ok(None);
        }
        Ok(Some(Found { index, resource: hit.captures.resource() }))
    }

    fn walk_path<'a>(&self, method: &Method, path: &'a str) -> Result<Option<Hit<'a>>, TargetError> {
        let mut walk = Walk::new(method, path, Doubt::Refuses);
        let hit = walk.descend(&self.root, &Segments::of(path), Captures::default());
        match (hit, walk.complaint) {
            (None, Some(complaint)) => Err(complaint),
            (hit, _) => Ok(hit),
        }
    }

    /// A template that takes `method` on `target` in any reading: with its encoded slashes as they came or decoded, with
    /// or without a slash at its end, and whatever stands where a name or a value is expected. For rules that close: no
    /// spelling leads around them.
    pub fn covers(&self, method: &Method, target: &CanonicalTarget) -> Option<usize> {
        let covers = |path: &str| {
            let mut walk = Walk::new(method, path, Doubt::Fits);
            let hit = walk.descend(&self.root, &Segments::of(path), Captures::default());
            hit.map(|hit| hit.index)
        };
        // Hosts read `x/` as `x`, and a route that ends in `{name...}` lets it through.
        let folded = |path: &str| covers(path).or_else(|| covers(path.strip_suffix('/')?));
        folded(target.path()).or_else(|| folded(&with_slashes_decoded(target.path())?))
    }
}

/// `path` with its encoded slashes decoded, where it has any.
fn with_slashes_decoded(path: &str) -> Option<String> {
    let encoded =
        memchr::memchr(b'%', path.as_bytes()).is_some() && (path.contains("%2f") || path.contains("%2F"));
    encoded.then(|| path.replace("%2f", "/").replace("%2F", "/"))
}

struct Hit<'a> {
    index: usize,
    captures: Captures<'a>,
    rest: Rest,
}

/// What `{name...}` took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// The template has none.
    None,
    /// Nothing: the path ends with the slash before it.
    Empty,
    /// At least one segment.
    Some,
}

/// What a segment means that does not hold a name or a value unambiguously.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    /// The path is refused, unless another route takes it.
    Refuses,
    /// It fits.
    Fits,
}

struct Walk<'m> {
    method: &'m Method,
    doubt: Doubt,
    complaint: Option<TargetError>,
    /// Whether the path holds an escape anywhere.
    escaped: bool,
}

impl<'m> Walk<'m> {
    fn new(method: &'m Method, path: &str, doubt: Doubt) -> Self {
        let escaped = memchr::memchr(b'%', path.as_bytes()).is_some();
        Self { method, doubt, complaint: None, escaped }
    }

    /// `text` of the path, decoded once.
    fn decoded<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.escaped { decode_once(text) } else { Cow::Borrowed(text) }
    }

    /// Literals before parameters before the tail; falls back where what follows does not fit.
    fn descend<'a>(
        &mut self,
        node: &Node,
        segments: &Segments<'a>,
        captures: Captures<'a>,
    ) -> Option<Hit<'a>> {
        let mut after = segments.clone();
        let Some(segment) = after.next() else {
            return node.here.find(self.method).map(|index| Hit { index, captures, rest: Rest::None });
        };
        let decoded = self.decoded(segment);
        let below = node.literals.find(&decoded).and_then(|node| self.descend(node, &after, captures));
        if below.is_some() {
            return below;
        }
        for (parameter, node) in &node.parameters {
            let with_value = match (capture(parameter, (segment, &decoded), captures), self.doubt) {
                (Ok(with_value), _) => with_value,
                (Err(_), Doubt::Fits) => Some(captures),
                (Err(complaint), Doubt::Refuses) => {
                    self.complaint = Some(complaint);
                    None
                }
            };
            let below = with_value.and_then(|captures| self.descend(node, &after, captures));
            if below.is_some() {
                return below;
            }
        }
        let rest = segments.rest().unwrap_or_default();
        let fits = |without: char| self.doubt == Doubt::Fits || !self.decoded(rest).contains(without);
        if !node.tail_without.is_none_or(fits) {
            return None;
        }
        node.tail.find(self.method).map(|index| Hit {
            index,
            captures,
            rest: if segment.is_empty() { Rest::Empty } else { Rest::Some },
        })
    }
}

/// What the path names once `segment`, as it came and decoded, stands for `parameter`; `None` where it cannot.
fn capture<'a>(
    parameter: &Parameter,
    (segment, decoded): (&'a str, &str),
    captures: Captures<'a>,
) -> Result<Option<Captures<'a>>, TargetError> {
    let suffix = parameter.suffix.as_str();
    if decoded.len() <= suffix.len() || !suffix.is_empty() && !decoded.ends_with(suffix) {
        return Ok(None);
    }
    let name = || match suffix {
        "" => Ok(segment),
        suffix => segment.strip_suffix(suffix).ok_or(TargetError::ResourceName),
    };
    let captures = match parameter.kind {
        ParameterKind::Owner => Captures { owner: Some(owner_name(name()?)?), ..captures },
        ParameterKind::Repository if wiki_of(name()?)?.is_some() => return Ok(None),
        ParameterKind::Repository => Captures { repository: Some(repository_name(name()?)?), ..captures },
        ParameterKind::Wiki => {
            let Some(repository) = wiki_of(name()?)? else {
                return Ok(None);
            };
            Captures { repository: Some(repository), wiki: true, ..captures }
        }
        ParameterKind::Plain if encodes_delimiter(segment) => return Err(TargetError::EncodedDelimiter),
        ParameterKind::Plain | ParameterKind::Encoded => captures,
    };
    Ok(Some(captures))
}

/// The repository whose wiki `name` is, where it is one.
fn wiki_of(name: &str) -> Result<Option<&str>, TargetError> {
    if !name.as_bytes().contains(&b'.') {
        return Ok(None);
    }
    let name = strip_suffix_ignoring_case(name, ".git").unwrap_or(name);
    let Some(repository) = strip_suffix_ignoring_case(name, ".wiki") else {
        return Ok(None);
    };
    // `alpha.git.wiki` is no second spelling of `alpha.wiki`.
    if repository_name(repository)? == repository {
        Ok(Some(repository))
    } else {
        Err(TargetError::ResourceName)
    }
}

impl Node {
    fn tail(&mut self, without: Option<char>) -> Result<&mut Methods, Conflict> {
        if !self.tail.0.is_empty() && self.tail_without != without {
            return Err(Conflict::Kinds);
        }
        self.tail_without = without;
        Ok(&mut self.tail)
    }

    fn parameter(&mut self, parameter: &Parameter) -> Result<&mut Self, Conflict> {
        let clashes = |known: &Parameter| {
            known.suffix == parameter.suffix
                && known.kind != parameter.kind
                && !both_repositories(known.kind, parameter.kind)
        };
        if self.parameters.iter().any(|(known, _)| clashes(known)) {
            return Err(Conflict::Kinds);
        }
        let order = |known: &Parameter| {
            (parameter.suffix.len(), known.kind).cmp(&(known.suffix.len(), parameter.kind))
        };
        let at = if let Some(at) = self.parameters.iter().position(|(known, _)| known == parameter) {
            at
        } else {
            let at = self.parameters.partition_point(|(known, _)| order(known).is_lt());
            self.parameters.insert(at, (parameter.clone(), Self::default()));
            at
        };
        // INVARIANT: `at` is where the parameter was found or has just been put.
        #[expect(clippy::indexing_slicing, reason = "`at` was found or inserted above")]
        Ok(&mut self.parameters[at].1)
    }
}

fn both_repositories(left: ParameterKind, right: ParameterKind) -> bool {
    let repository = |kind| matches!(kind, ParameterKind::Repository | ParameterKind::Wiki);
    repository(left) && repository(right)
}

impl Methods {
    fn add(&mut self, methods: &[Method], index: usize) -> Result<(), Conflict> {
        let methods: Vec<_> =
            if methods.is_empty() { vec![None] } else { methods.iter().cloned().map(Some).collect() };
        for method in methods {
            if let Some((_, known)) = self.0.iter().find(|(known, _)| *known == method) {
                return Err(Conflict::Same(*known));
            }
            self.0.push((method, index));
        }
        Ok(())
    }

    /// `HEAD` is answered by `GET`, unless it has a route of its own.
    fn find(&self, method: &Method) -> Option<usize> {
        let of = |wanted: Option<&Method>| {
            self.0.iter().find(|(known, _)| known.as_ref() == wanted).map(|(_, index)| *index)
        };
        of(Some(method))
            .or_else(|| if method == Method::HEAD { of(Some(&Method::GET)) } else { None })
            .or_else(|| of(None))
    }
}

#[cfg(test)]
mod tests;
