//! What the policy files mean for one upstream: its routes, its deny rules, the places where no credential may stand.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

use http::Method;

use crate::catalog::compile::{Catalog, Needed, Route, Rule};
use crate::catalog::errors::ErrorStyle;
use crate::catalog::table::{Conflict, Found, Table};
use crate::catalog::template::Template;
use crate::domain::action::Action;
use crate::domain::fault::Fault;
use crate::domain::permission::Vocabulary;
use crate::domain::refusal::Refusal;
use crate::domain::target::{CanonicalTarget, TargetError, decode_once};
use crate::headers::credential::ForbiddenPlaces;
use crate::headers::fold;
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
    /// Whether credentials that the host issued pass.
    pub classic: ClassicTokens,
    /// The configuration file, for faults.
    pub file: PathBuf,
}

/// What becomes of credentials that the host itself issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClassicTokens {
    /// They are refused.
    #[default]
    Refuse,
    /// They pass as they came, where no organization forbids it.
    Pass,
}

/// One upstream, compiled.
#[derive(Debug, Clone)]
pub struct UpstreamPolicy {
    /// Its name.
    pub name: String,
    /// Whether credentials that the host issued pass.
    pub classic: ClassicTokens,
    hosts: Vec<String>,
    prefix: Vec<String>,
    table: Table,
    routes: Vec<Route>,
    forbidden: ForbiddenPlaces,
    style: Arc<ErrorStyle>,
    /// Whether it is that of every route.
    has_one_style: bool,
    enforced: Table,
    shadowed: Table,
    deny_rules: Vec<DenyRule>,
}

/// How an upstream answers to a host name; the better match is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostMatch {
    /// By `*`.
    Any,
    /// By name.
    Named,
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
            classic: spec.classic,
            hosts: spec.hosts.clone(),
            prefix: prefix_segments(spec.path_prefix.as_deref()),
            table: Table::default(),
            routes: Vec::new(),
            forbidden: ForbiddenPlaces::default(),
            style: catalogs.first().map(|catalog| Arc::clone(&catalog.style)).unwrap_or_default(),
            has_one_style: catalogs.len() < 2,
            enforced: Table::default(),
            shadowed: Table::default(),
            deny_rules: Vec::new(),
        };
        // No catalog has to know that the host is told of the caller by `Sudo`.
        upstream.forbidden.forbid_query("sudo");
        let mut faults = Vec::new();
        for catalog in catalogs {
            catalog.forbidden_query.iter().for_each(|name| upstream.forbidden.forbid_query(name));
            catalog.forbidden_headers.iter().for_each(|name| upstream.forbidden.forbid_header(name));
            match catalog.routes(vocabulary) {
                Ok(routes) => {
                    for route in routes {
                        faults.extend(upstream.add(catalog, route));
                    }
                }
                Err(found) => faults.extend(found),
            }
        }
        if faults.is_empty() { Ok(upstream) } else { Err(faults) }
    }

    fn add(&mut self, catalog: &Catalog, route: Route) -> Option<Fault> {
        let conflict = self.table.add(&self.prefix, &route.template, self.routes.len()).err();
        let fault = conflict.map(|conflict| {
            let text = &route.template.text;
            let message = match conflict {
                Conflict::Same(index) => {
                    let other = self.routes.get(index).map_or(text, |other| &other.template.text);
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
    pub fn deny(&mut self, template: &Template, rule: DenyRule) -> Result<(), String> {
        let index = self.deny_rules.len();
        let table = match rule.mode {
            Mode::Enforce => &mut self.enforced,
            Mode::Shadow => &mut self.shadowed,
        };
        table.add(&self.prefix, template, index).map_err(|conflict| match conflict {
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

    /// The first name that it answers to; `None` where it is any.
    pub fn first_host(&self) -> Option<&str> {
        self.hosts.first().map(String::as_str).filter(|host| *host != "*")
    }

    /// How it answers to `host` (without port, in any case); `None` where it does not.
    pub fn answers_to(&self, host: &str) -> Option<HostMatch> {
        let of = |wanted: &str, found| {
            self.hosts.iter().any(|known| known.eq_ignore_ascii_case(wanted)).then_some(found)
        };
        of(host, HostMatch::Named).or_else(|| of("*", HostMatch::Any))
    }

    /// How many segments of `target` its prefix takes; `None` where the target is not below it.
    pub fn prefix_length(&self, target: &CanonicalTarget) -> Option<usize> {
        let mut segments = target.segments();
        self.prefix.iter().all(|wanted| segments.next() == Some(wanted)).then_some(self.prefix.len())
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
        if self.has_one_style {
            return &self.style;
        }
        let found = self.find(method, target).ok().flatten();
        found.and_then(|found| self.routes.get(found.index)).map_or(&self.style, |route| &route.style)
    }

    /// The routes, in the order of the catalogs.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The rules that close routes here.
    pub fn deny_rules(&self) -> &[DenyRule] {
        &self.deny_rules
    }

    fn find<'a>(
        &self,
        method: &Method,
        target: &'a CanonicalTarget,
    ) -> Result<Option<Found<'a>>, TargetError> {
        let rule = |index: usize| self.routes.get(index).map(|route| &route.rule);
        self.table.find(method, target, |left, right| rule(left) == rule(right))
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
            Rule::ByQuery { field, values, absent } => match one_field(target, field)? {
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
            public: needed.public,
            resource: found.resource,
        };
        Ok(Matched { action, needed, style: &route.style })
    }

    /// The deny rule that closes what the request wants, in any reading of its path. One that is acted on comes before
    /// one in shadow mode, however close their templates are: trying a rule out never opens what another one closes.
    pub fn denied(&self, method: &Method, target: &CanonicalTarget) -> Option<&DenyRule> {
        if self.deny_rules.is_empty() {
            return None;
        }
        let index = self.enforced.covers(method, target).or_else(|| self.shadowed.covers(method, target))?;
        self.deny_rules.get(index)
    }
}

fn prefix_segments(prefix: Option<&str>) -> Vec<String> {
    prefix.unwrap_or_default().split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
}

/// The value of `field`, which stands at most once, and in no spelling that only some servers take for it: another
/// case, `field[]`, or behind a `;`.
fn one_field<'a>(target: &'a CanonicalTarget, field: &str) -> Result<Option<Cow<'a, str>>, TargetError> {
    let mut found = None;
    for (name, value) in target.query_fields() {
        if name == field {
            if found.replace(value).is_some() {
                return Err(TargetError::RepeatedField);
            }
        } else if may_mean(&name, field) {
            return Err(TargetError::RepeatedField);
        }
    }
    let pieces = target.query().unwrap_or_default().split('&');
    let mut hidden = pieces.flat_map(|piece| piece.split(';').skip(1));
    if hidden.any(|piece| may_mean(&decode_once(piece.split('=').next().unwrap_or_default()), field)) {
        return Err(TargetError::RepeatedField);
    }
    Ok(found)
}

/// Whether some server takes `name` for `field`.
fn may_mean(name: &str, field: &str) -> bool {
    let name = name.split(['[', ';']).next().unwrap_or_default();
    fold(name.trim_matches([' ', '+'])) == fold(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, want: Result<Option<&str>, TargetError>) {
        let target = CanonicalTarget::parse(&format!("/a?{query}")).unwrap();
        let found = one_field(&target, "service");
        assert_eq!(found.as_ref().map(Option::as_deref).map_err(|error| *error), want, "{query}");
    }

    #[test]
    fn the_deciding_field_has_one_reading() {
        check("", Ok(None));
        check("a=b&services=x&xservice=y&b=service", Ok(None));
        check("a=b&service=x", Ok(Some("x")));
        check("s%65rvice=%78", Ok(Some("x")));
        check("service=x;a=b", Ok(Some("x;a=b")));
        for query in [
            "service=x&service=x",
            "service=x&s%65rvice=y",
            "service=x;service=y",
            "a=b;service=y",
            "a=b;s%65rvice",
            "a=b; service=y",
            "Service=x",
            "service[]=x",
            "service%5B0%5D=x",
            "+service=x",
            "%20service=x",
            "service;a=b",
        ] {
            let query = query.replace(' ', "%20");
            check(&query, Err(TargetError::RepeatedField));
        }
    }
}
