//! What the policy files mean for one upstream: its routes, its deny rules, the places where no credential may stand.

use std::path::PathBuf;
use std::sync::Arc;

use http::Method;

use crate::catalog::compile::{Catalog, Needed, Route, Rule};
use crate::catalog::errors::ErrorStyle;
use crate::catalog::table::{Conflict, Found, Table};
use crate::domain::action::Action;
use crate::domain::fault::Fault;
use crate::domain::permission::Vocabulary;
use crate::domain::refusal::Refusal;
use crate::domain::target::{CanonicalTarget, TargetError};
use crate::headers::credential::ForbiddenPlaces;
use crate::policy::snapshot::Mode;

/// What the configuration says of an upstream, as far as decisions need it.
#[derive(Debug, Clone)]
pub struct UpstreamSpec {
    /// Its name.
    pub name: String,
    /// The host names that it answers to, lower case, without port; `*` is any.
    pub hosts: Vec<String>,
    /// The path below which it answers, without a slash at the end.
    pub path_prefix: Option<String>,
    /// Its catalogs, by name.
    pub catalogs: Vec<String>,
    /// The configuration file, for faults.
    pub file: PathBuf,
}

/// One upstream, compiled.
#[derive(Debug, Clone)]
pub struct UpstreamPolicy {
    /// Its name.
    pub name: String,
    hosts: Vec<String>,
    prefix: Vec<String>,
    table: Table,
    routes: Vec<Route>,
    forbidden: ForbiddenPlaces,
    style: Arc<ErrorStyle>,
    denied: Table,
    deny_rules: Vec<DenyRule>,
}

/// A route that is closed to every token.
#[derive(Debug, Clone)]
pub struct DenyRule {
    /// Its name.
    pub name: String,
    /// Whether it is acted on.
    pub mode: Mode,
}

/// An action, with how its client is told.
#[derive(Debug, Clone, Copy)]
pub struct Matched<'a> {
    /// What the request wants.
    pub action: Action<'a>,
    /// The requirement in all its forms.
    pub needed: &'a Needed,
    /// How its client is told of refusals.
    pub style: &'a Arc<ErrorStyle>,
}

impl UpstreamPolicy {
    /// Puts the routes of `catalogs` into one table.
    ///
    /// # Errors
    /// Every route that two catalogs give two meanings, and every route whose requirement cannot be read.
    pub fn compile(
        spec: &UpstreamSpec,
        catalogs: &[&Catalog],
        vocabulary: &Vocabulary,
    ) -> Result<Self, Vec<Fault>> {
        let mut upstream = Self {
            name: spec.name.clone(),
            hosts: spec.hosts.clone(),
            prefix: prefix_segments(spec.path_prefix.as_deref()),
            table: Table::default(),
            routes: Vec::new(),
            forbidden: ForbiddenPlaces::default(),
            style: catalogs
                .first()
                .map(|catalog| Arc::clone(&catalog.style))
                .unwrap_or_default(),
            denied: Table::default(),
            deny_rules: Vec::new(),
        };
        // No catalog has to know that the host is told of the caller by `Sudo`.
        upstream.forbidden.forbid_query("sudo");
        let mut faults = Vec::new();
        for catalog in catalogs {
            catalog
                .forbidden_query
                .iter()
                .for_each(|name| upstream.forbidden.forbid_query(name));
            catalog
                .forbidden_headers
                .iter()
                .for_each(|name| upstream.forbidden.forbid_header(name));
            match catalog.routes(vocabulary) {
                Ok(routes) => routes
                    .into_iter()
                    .for_each(|route| faults.extend(upstream.add(catalog, route))),
                Err(found) => faults.extend(found),
            }
        }
        if faults.is_empty() {
            Ok(upstream)
        } else {
            Err(faults)
        }
    }

    fn add(&mut self, catalog: &Catalog, route: Route) -> Option<Fault> {
        let conflict = self
            .table
            .add(&self.prefix, &route.template, self.routes.len())
            .err();
        let fault = conflict.map(|conflict| {
            let text = &route.template.text;
            let message = match conflict {
                Conflict::Same(index) => {
                    let other = self.routes.get(index).map_or("", |other| &other.template.text);
                    format!("`{text}` takes the same requests as `{other}`; keep one of them")
                }
                Conflict::Kinds => format!(
                    "`{text}` has a resource where another route has a plain parameter; one path would have two meanings"
                ),
            };
            catalog.fault(route.place, message)
        });
        self.routes.push(route);
        fault
    }

    /// Closes a route.
    ///
    /// # Errors
    /// A message where it has a plain parameter where routes have a resource, or is closed already.
    pub fn deny(
        &mut self,
        template: &crate::catalog::template::Template,
        rule: DenyRule,
    ) -> Result<(), String> {
        let index = self.deny_rules.len();
        self.denied
            .add(&self.prefix, template, index)
            .map_err(|conflict| match conflict {
                Conflict::Same(_) => format!("`{}` is closed by another rule already", template.text),
                Conflict::Kinds => {
                    format!(
                        "`{}` names `{{owner}}` or `{{repository}}` where another rule does not",
                        template.text
                    )
                }
            })?;
        self.deny_rules.push(rule);
        Ok(())
    }

    /// Whether it answers to `host` (lower case, without port).
    pub fn answers_to(&self, host: &str) -> bool {
        self.hosts.iter().any(|known| known == "*" || known == host)
    }

    /// How many segments of `target` its prefix takes; `None` where the target is not below it.
    pub fn prefix_length(&self, target: &CanonicalTarget) -> Option<usize> {
        let mut segments = target.segments();
        self.prefix
            .iter()
            .all(|wanted| segments.next() == Some(wanted))
            .then_some(self.prefix.len())
    }

    /// Where no credential may stand.
    pub fn forbidden_places(&self) -> &ForbiddenPlaces {
        &self.forbidden
    }

    /// How clients are told of refusals where no route says.
    pub fn style(&self) -> &Arc<ErrorStyle> {
        &self.style
    }

    /// The style of the route that `target` would take, whatever else is wrong with the request.
    pub fn style_for(&self, method: &Method, target: &CanonicalTarget) -> &Arc<ErrorStyle> {
        let found = self.find(method, target).ok().flatten();
        found
            .and_then(|found| self.routes.get(found.index))
            .map_or(&self.style, |route| &route.style)
    }

    /// The routes, in the order of the catalogs.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    fn find<'a>(
        &self,
        method: &Method,
        target: &'a CanonicalTarget,
    ) -> Result<Option<Found<'a>>, TargetError> {
        let rule = |index: usize| self.routes.get(index).map(|route| &route.rule);
        self.table
            .find(method, target, |left, right| rule(left) == rule(right))
    }

    /// What the request wants.
    ///
    /// # Errors
    /// [`Refusal::NoRoute`], or [`Refusal::Target`] where the path or the deciding query field has two readings.
    pub fn action<'a>(
        &'a self,
        method: &Method,
        target: &'a CanonicalTarget,
    ) -> Result<Matched<'a>, Refusal> {
        let found = self.find(method, target)?.ok_or(Refusal::NoRoute)?;
        let route = self.routes.get(found.index).ok_or(Refusal::NoRoute)?;
        let needed = match &route.rule {
            Rule::Fixed(needed) => needed,
            Rule::ByQuery {
                field,
                values,
                absent,
            } => match one_field(target, field)? {
                None => absent.as_ref().ok_or(Refusal::NoRoute)?,
                Some(value) => {
                    let known = values.iter().find(|(known, _)| *known == value);
                    known.map(|(_, needed)| needed).ok_or(Refusal::NoRoute)?
                }
            },
        };
        let action = Action {
            route: &route.template.text,
            requirement: &needed.requirement,
            accepted: &needed.text,
            resource: found.resource,
        };
        Ok(Matched {
            action,
            needed,
            style: &route.style,
        })
    }

    /// The deny rule that closes what the request wants.
    ///
    /// # Errors
    /// [`TargetError`] where the path has two readings for the rules.
    pub fn denied(
        &self,
        method: &Method,
        target: &CanonicalTarget,
    ) -> Result<Option<&DenyRule>, TargetError> {
        if self.deny_rules.is_empty() {
            return Ok(None);
        }
        let found = self.denied.find(method, target, |left, right| left == right)?;
        Ok(found.and_then(|found| self.deny_rules.get(found.index)))
    }
}

fn prefix_segments(prefix: Option<&str>) -> Vec<String> {
    prefix
        .unwrap_or_default()
        .split('/')
        .filter(|segment| !segment.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The value of `field`, which stands at most once.
fn one_field<'a>(
    target: &'a CanonicalTarget,
    field: &str,
) -> Result<Option<std::borrow::Cow<'a, str>>, TargetError> {
    let mut values = target
        .query_fields()
        .filter(|(name, _)| name == field)
        .map(|(_, value)| value);
    let value = values.next();
    if values.next().is_some() {
        Err(TargetError::RepeatedField)
    } else {
        Ok(value)
    }
}
