//! Checks a catalog's document and turns it into routes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method, StatusCode};

use crate::catalog::document::{CatalogDocument, ErrorsDocument, PermissionDocument, RouteDocument};
use crate::catalog::errors::{ErrorFormat, ErrorStyle};
use crate::catalog::requirement;
use crate::catalog::template::{Piece, Template};
use crate::domain::action::GitOperation;
use crate::domain::fault::{Fault, Place};
use crate::domain::permission::{Level, Need, Permission, Requirement, Scope, Vocabulary};
use crate::domain::reason::Reason;
use crate::domain::rule::PolicyRule;
use crate::yaml::{self, Spanned};

/// A catalog whose document has been read; its routes wait for the vocabulary of all catalogs.
#[derive(Debug)]
pub struct Catalog {
    /// Its name.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// The file that it came from.
    pub file: PathBuf,
    /// How its clients are told of refusals.
    pub style: Arc<ErrorStyle>,
    /// Query fields in which the host would take a credential.
    pub forbidden_query: Vec<String>,
    /// Header fields in which the host would take a credential.
    pub forbidden_headers: Vec<String>,
    /// Its permissions, each with its place in the file.
    pub permissions: Vec<(Place, Permission)>,
    routes: Vec<(Place, Template, RouteDocument)>,
    source: String,
}

/// A route and what it needs.
#[derive(Debug, Clone)]
pub struct Route {
    /// Methods and path.
    pub template: Template,
    /// What it needs.
    pub rule: Rule,
    /// How its clients are told of refusals.
    pub style: Arc<ErrorStyle>,
    /// Where it stands in its file.
    pub place: Place,
}

/// What a route needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// Always the same.
    Fixed(Needed),
    /// A query field says; it stands exactly once.
    ByQuery {
        /// The field.
        field: String,
        /// Value to requirement. Another value is no route.
        values: Vec<(String, Needed)>,
        /// Without the field; `None` is no route.
        absent: Option<Needed>,
    },
}

/// A requirement, with the forms in which it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// What is needed.
    pub requirement: Requirement,
    /// As text: `contents=read; issues=read`.
    pub text: Arc<str>,
    /// As the value of the catalog's header field.
    pub header: HeaderValue,
    /// Whether it need not be met where the repository is public.
    pub public: bool,
    /// What git does with the request, where it is one of git's.
    pub git: Option<GitOperation>,
}

impl Catalog {
    /// Reads a catalog's document.
    ///
    /// # Errors
    /// Every fault of the document by itself.
    pub fn read(file: &Path, source: &str) -> Result<Self, Vec<Fault>> {
        let document: CatalogDocument = yaml::parse(file, source).map_err(|fault| vec![fault])?;
        let mut faults = Faults { file, source, found: Vec::new() };
        let name = &document.catalog.value;
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || !name.bytes().all(plain) {
            faults.add(&document.catalog, "a catalog's name holds lower-case letters, digits and `-`");
        }
        let told = [&document.accepted_permissions_header, &document.token_expiration_header];
        let style = style(&document.errors, told.map(Option::as_ref), &mut faults);
        let permissions =
            document.permissions.0.iter().map(|(name, value)| permission(name, value, &mut faults)).collect();
        let mut routes = Vec::new();
        for (key, value) in document.routes.0 {
            match Template::parse(&key.value, &document.resource) {
                Ok(template) => routes.push((yaml::place(&key), template, value.value)),
                Err(error) => faults.add(&key, error.to_string()),
            }
        }
        faults.or(Self {
            name: document.catalog.value,
            description: document.description,
            file: file.to_owned(),
            style: Arc::new(style),
            forbidden_query: document.forbidden_query,
            forbidden_headers: document.forbidden_headers,
            permissions,
            routes,
            source: source.to_owned(),
        })
    }

    /// The catalog's routes, in the words of `vocabulary`.
    ///
    /// # Errors
    /// Every route whose requirement cannot be read or cannot be judged on what the path names.
    pub fn routes(&self, vocabulary: &Vocabulary) -> Result<Vec<Route>, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut routes = Vec::new();
        for (place, template, document) in &self.routes {
            match rule(template, document, vocabulary) {
                Ok(rule) => {
                    let style = Arc::clone(&self.style);
                    routes.push(Route { template: template.clone(), rule, style, place: *place });
                }
                Err(message) => faults.push(self.fault(*place, message)),
            }
        }
        if faults.is_empty() { Ok(routes) } else { Err(faults) }
    }

    /// A fault at `place` of this catalog's file.
    pub fn fault(&self, place: Place, message: impl Into<String>) -> Fault {
        Fault::new(&self.file, place, message, &self.source)
    }
}

struct Faults<'a> {
    file: &'a Path,
    source: &'a str,
    found: Vec<Fault>,
}

impl Faults<'_> {
    fn add<T>(&mut self, at: &Spanned<T>, message: impl Into<String>) {
        self.found.push(Fault::new(self.file, yaml::place(at), message, self.source));
    }

    fn or<T>(self, value: T) -> Result<T, Vec<Fault>> {
        if self.found.is_empty() { Ok(value) } else { Err(self.found) }
    }
}

fn style(
    document: &ErrorsDocument,
    told: [Option<&Spanned<String>>; 2],
    faults: &mut Faults<'_>,
) -> ErrorStyle {
    let mut style =
        ErrorStyle { fields: document.fields.clone().into_iter().collect(), ..ErrorStyle::default() };
    match document.format.as_ref().map(|format| (format, format.value.as_str())) {
        None | Some((_, "json")) => {}
        Some((_, "text")) => style.format = ErrorFormat::Text,
        Some((at, other)) => {
            faults.add(at, format!("unknown error format `{other}`; expected `json` or `text`"));
        }
    }
    if let Some(challenge) = &document.challenge {
        match HeaderValue::from_str(&challenge.value) {
            Ok(value) => style.challenge = Some(value),
            Err(_) => faults.add(challenge, "a challenge is one line of ASCII text"),
        }
    }
    [style.accepted_header, style.expiration_header] = told.map(|name| {
        let name = name?;
        let value = HeaderName::try_from(&name.value);
        if value.is_err() {
            faults.add(name, format!("`{}` is no name of a header field", name.value));
        }
        value.ok()
    });
    for (word, message) in &document.messages {
        if let Some(reason) = reason(word, message, faults) {
            style.messages.insert(reason, message.value.clone());
        }
    }
    for (word, message) in &document.rules {
        if let Some(rule) = PolicyRule::ALL.iter().find(|rule| rule.as_str() == word) {
            style.rules.insert(rule.as_str(), message.value.clone());
        } else {
            let known = PolicyRule::ALL.map(PolicyRule::as_str).join(", ");
            faults.add(message, format!("unknown rule `{word}`; expected one of {known}"));
        }
    }
    for (word, status) in &document.statuses {
        let found = StatusCode::from_u16(status.value).ok().filter(StatusCode::is_client_error);
        match (reason(word, status, faults), found) {
            (Some(reason), Some(found)) => {
                style.statuses.insert(reason, found);
            }
            (Some(_), None) => faults.add(status, "a refusal has a status from 400 to 499"),
            (None, _) => {}
        }
    }
    style
}

/// The reason that `word` names; `at` is what stands beside it.
fn reason<T>(word: &str, at: &Spanned<T>, faults: &mut Faults<'_>) -> Option<Reason> {
    let reason = Reason::parse(word);
    if reason.is_none() {
        let known: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        faults.add(at, format!("unknown reason `{word}`; expected one of {}", known.join(", ")));
    }
    reason
}

fn permission(
    name: &Spanned<String>,
    value: &Spanned<PermissionDocument>,
    faults: &mut Faults<'_>,
) -> (Place, Permission) {
    let document = &value.value;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if name.value.is_empty() || !name.value.bytes().all(plain) {
        faults.add(name, "a permission's name holds lower-case letters, digits and `_`");
    }
    let scope = Scope::parse(&document.scope.value).unwrap_or_else(|| {
        faults.add(&document.scope, "unknown scope; expected `repository`, `organization` or `user`");
        Scope::Repository
    });
    let mut levels: Vec<_> = document
        .levels
        .value
        .iter()
        .filter_map(|word| {
            let level = Level::parse(word);
            if level.is_none() {
                faults.add(
                    &document.levels,
                    format!("unknown level `{word}`; expected `read`, `write` or `admin`"),
                );
            }
            level
        })
        .collect();
    levels.sort();
    let write_role = document.write_role.as_ref().map_or(Level::Write, |role| {
        Level::parse(&role.value).unwrap_or_else(|| {
            faults.add(role, "unknown role; expected `read`, `write` or `admin`");
            Level::Admin
        })
    });
    let permission = Permission {
        name: name.value.clone(),
        scope,
        levels,
        description: document.description.clone(),
        implied: document.implied,
        write_role,
    };
    (yaml::place(name), permission)
}

fn rule(template: &Template, document: &RouteDocument, vocabulary: &Vocabulary) -> Result<Rule, String> {
    match document {
        RouteDocument::Fixed(text) => {
            let git = git_operation(template, None);
            Ok(Rule::Fixed(Needed { git, ..needed(template, text, vocabulary)? }))
        }
        RouteDocument::ByQuery(document) => {
            let values: Result<Vec<_>, String> = document
                .values
                .iter()
                .map(|(value, text)| {
                    let git = git_operation(template, Some((&document.query, value)));
                    Ok((value.clone(), Needed { git, ..needed(template, text, vocabulary)? }))
                })
                .collect();
            let absent =
                document.absent.as_ref().map(|text| needed(template, text, vocabulary)).transpose()?;
            Ok(Rule::ByQuery { field: document.query.clone(), values: values?, absent })
        }
    }
}

fn needed(template: &Template, text: &str, vocabulary: &Vocabulary) -> Result<Needed, String> {
    let (requirement, public) = requirement::parse(text, vocabulary).map_err(|error| error.to_string())?;
    if public {
        check_public(template, &requirement)?;
    }
    for need in requirement.needs() {
        let scope = vocabulary.permission(need.permission).map(|permission| permission.scope);
        if !template.names_owner() && matches!(scope, Some(Scope::Repository | Scope::Organization)) {
            let name = vocabulary.name(need.permission);
            return Err(format!(
                "`{name}` belongs to a resource owner, and the path names none; use one of the catalog's `resource` \
                 parameters, or leave the route out"
            ));
        }
    }
    let text = requirement.describe(vocabulary);
    let header =
        HeaderValue::try_from(&text).map_err(|_| format!("`{text}` cannot stand in a header field"))?;
    Ok(Needed { requirement, text: text.into(), header, public, git: None })
}

/// Whether what is public may be read by `template`.
fn check_public(template: &Template, requirement: &Requirement) -> Result<(), String> {
    let fetches = git_operation(template, None) == Some(GitOperation::Fetch);
    let reads =
        |method: &Method| matches!(*method, Method::GET | Method::HEAD) || fetches && *method == Method::POST;
    if template.methods.is_empty() || !template.methods.iter().all(reads) {
        return Err("`public` is for routes that only read: by `GET`, or where git fetches".to_owned());
    }
    if !template.names_repository() {
        return Err("`public` is for routes whose path names a repository".to_owned());
    }
    let only_reads = |all_of: &[Need]| all_of.iter().all(|need| need.level == Level::Read);
    if !requirement.alternatives().iter().any(|all_of| only_reads(all_of)) {
        return Err("`public` is for routes that permissions at `read` open".to_owned());
    }
    Ok(())
}

/// What git does with a request by `template`, with this field in its query. The dumb protocol, which names no service, is
/// not told apart from other files.
fn git_operation(template: &Template, query: Option<(&str, &str)>) -> Option<GitOperation> {
    let Some(Piece::Literal(last)) = template.pieces.last() else {
        return None;
    };
    match (last.as_str(), query) {
        ("refs", Some(("service", "git-upload-pack"))) => Some(GitOperation::LsRefs),
        ("refs", Some(("service", "git-receive-pack"))) => Some(GitOperation::PushRefs),
        ("git-upload-pack", None) => Some(GitOperation::Fetch),
        ("git-receive-pack", None) => Some(GitOperation::Push),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::document::ResourceParameters;

    #[track_caller]
    fn check(route: &str, query: Option<(&str, &str)>, want: Option<GitOperation>) {
        let template = Template::parse(route, &ResourceParameters::default()).unwrap();
        assert_eq!(git_operation(&template, query), want, "{route} {query:?}");
    }

    #[test]
    fn routes_of_git_are_known() {
        let refs = "GET /{owner}/{repository}/info/refs";
        check(refs, Some(("service", "git-upload-pack")), Some(GitOperation::LsRefs));
        check(refs, Some(("service", "git-receive-pack")), Some(GitOperation::PushRefs));
        check(refs, Some(("service", "other")), None);
        check(refs, None, None);
        check("POST /{owner}/{repository}/git-upload-pack", None, Some(GitOperation::Fetch));
        check("POST /x/{owner}/{repository}/git-receive-pack", None, Some(GitOperation::Push));
        check("GET /git-upload-pack/{file}", None, None);
    }
}
