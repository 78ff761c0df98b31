//! Small policies as values that proptest can make, shrink and change: rendered to the files that the product reads.

use std::collections::{BTreeMap, BTreeSet};

use portcullis::domain::token::TokenDigest;
use portcullis::policy::compile::Source;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use serde_json::{Map, Value, json};

use crate::support::policy::{source, token};

pub(crate) const OWNERS: [&str; 3] = ["acme", "Other", "alice"];
pub(crate) const REPOSITORIES: [&str; 3] = ["alpha", "Beta", "gamma"];

/// What can be granted: `keys` is of scope `user`, `meta` is implied, `void` can be granted to nobody.
const GRANTABLE: [(&str, &[&str]); 5] = [
    ("code", &["read", "write", "admin"]),
    ("notes", &["read", "write"]),
    ("team", &["read", "write"]),
    ("meta", &["read"]),
    ("keys", &["read", "write"]),
];

/// The methods of routes that may be public.
const PUBLIC_METHODS: [&str; 2] = ["GET", "HEAD"];

/// Requirements that any path can have, and then those that need an owner in it.
const REQUIREMENTS: [&str; 17] = [
    "none",
    "keys=read",
    "keys=write; keys=read",
    "never",
    "code=read",
    "code=read",
    "code=write",
    "code=write",
    "code=admin",
    "code=write,notes=read",
    "code=read; notes=write",
    "notes=write; code=write,team=read",
    "meta=read",
    "team=read",
    "team=write,keys=read",
    "void=read",
    "void=write; code=read",
];

/// A catalog's route: what it needs, or what each value of the query field `service` needs.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) methods: &'static str,
    pub(crate) template: String,
    needs: usize,
    public: bool,
    by_query: Option<(usize, usize, Option<usize>)>,
}

#[derive(Debug, Clone)]
pub(crate) struct Deny {
    pub(crate) methods: &'static str,
    pub(crate) template: String,
    pub(crate) shadow: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Organization {
    pub(crate) deny_access: bool,
    pub(crate) max_lifetime: Option<&'static str>,
    pub(crate) owners: Vec<&'static str>,
    pub(crate) members: Option<BTreeMap<&'static str, &'static str>>,
    pub(crate) ceiling: BTreeMap<&'static str, &'static str>,
    pub(crate) public: Option<Value>,
    pub(crate) shadow: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) owner: &'static str,
    /// `None` is `all`.
    pub(crate) repositories: Option<Vec<&'static str>>,
    pub(crate) permissions: BTreeMap<&'static str, &'static str>,
}

#[derive(Debug, Clone)]
pub(crate) struct Token {
    user: &'static str,
    pub(crate) parts: Vec<Part>,
    pub(crate) state: Option<&'static str>,
    pub(crate) expires_at: &'static str,
    created_at: Option<&'static str>,
    pub(crate) networks: Vec<&'static str>,
}

#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) routes: Vec<Route>,
    pub(crate) deny: Vec<Deny>,
    pub(crate) organizations: BTreeMap<&'static str, Organization>,
    pub(crate) tokens: Vec<Token>,
    write_role: Option<&'static str>,
}

impl Route {
    fn rule(&self) -> Value {
        let free = !self.template.contains("{owner}");
        let named = self.template.contains("{repository}") || self.template.contains("{wiki}");
        let may_be_public = named && self.methods.split('|').all(|method| PUBLIC_METHODS.contains(&method));
        let reads = |all_of: &str| all_of.split(',').all(|need| need.ends_with("=read"));
        let text = |at: usize| {
            let text = REQUIREMENTS[if free { at % 4 } else { at }];
            let public = self.public && may_be_public && text.split(';').any(reads);
            if public { format!("{text}; public") } else { text.to_owned() }
        };
        match self.by_query {
            None => json!(text(self.needs)),
            Some((up, down, absent)) => {
                let mut rule =
                    json!({ "query": "service", "values": { "up": text(up), "down": text(down) } });
                if let Some(absent) = absent {
                    rule["absent"] = json!(text(absent));
                }
                rule
            }
        }
    }
}

impl Policy {
    /// The files.
    pub(crate) fn sources(&self) -> Vec<Source> {
        let file = |name: String, value: &Value| source(&name, serde_json::to_string_pretty(value).unwrap());
        let mut sources = vec![
            file("catalogs/small.yaml".into(), &self.catalog()),
            file("tokens/all.yaml".into(), &self.declared()),
            file("deny.yaml".into(), &self.denied()),
        ];
        for (name, organization) in &self.organizations {
            sources.push(file(format!("organizations/{name}.yaml"), &organization.document(name)));
        }
        sources
    }

    fn catalog(&self) -> Value {
        let mut routes = Map::new();
        for route in &self.routes {
            routes.insert(format!("{} {}", route.methods, route.template), route.rule());
        }
        let mut code = json!({ "scope": "repository", "levels": ["read", "write", "admin"] });
        if let Some(role) = self.write_role {
            code["write_role"] = json!(role);
        }
        json!({
            "catalog": "small",
            "resource": { "owner": ["owner"], "repository": ["repository"], "wiki": ["wiki"] },
            "permissions": {
                "code": code,
                "notes": { "scope": "repository", "levels": ["read", "write"] },
                "team": { "scope": "organization", "levels": ["read", "write"] },
                "keys": { "scope": "user", "levels": ["read", "write"] },
                "meta": { "scope": "repository", "levels": ["read"], "implied": true },
                "void": { "scope": "repository", "levels": [] },
            },
            "routes": routes,
        })
    }

    fn denied(&self) -> Value {
        let rule = |(at, deny): (usize, &Deny)| {
            let mode = if deny.shadow { "shadow" } else { "enforce" };
            json!({ "name": format!("rule {at}"), "route": format!("{} {}", deny.methods, deny.template), "mode": mode })
        };
        json!({ "deny": self.deny.iter().enumerate().map(rule).collect::<Vec<_>>() })
    }

    fn declared(&self) -> Value {
        let tokens = self.tokens.iter().enumerate().map(|(at, token)| {
            let mut value = token.document();
            value["name"] = json!(format!("token {at}"));
            value["sha256"] = json!(digest(at));
            value
        });
        json!({ "tokens": tokens.collect::<Vec<_>>() })
    }

    /// Leaves out routes and rules that clash with one before them. `true` where there were none.
    pub(crate) fn drop_conflicts(&mut self) -> bool {
        let before = (self.routes.len(), self.deny.len());
        let mut kept: Vec<(String, String)> = Vec::new();
        self.routes.retain(|route| keep(&mut kept, route.methods, &route.template));
        let (mut enforced, mut shadow) = (Vec::new(), Vec::new());
        self.deny.retain(|deny| {
            let kept = if deny.shadow { &mut shadow } else { &mut enforced };
            keep(kept, deny.methods, &deny.template)
        });
        before == (self.routes.len(), self.deny.len())
    }
}

/// The digest of the token at `at`.
pub(crate) fn digest(at: usize) -> String {
    TokenDigest::of(&token(u8::try_from(at).unwrap())).to_string()
}

impl Token {
    fn document(&self) -> Value {
        let mut value = json!({ "user": self.user, "expires_at": self.expires_at });
        let parts: Vec<_> = self.parts.iter().map(Part::document).collect();
        if let [only] = parts.as_slice() {
            let fields = value.as_object_mut().unwrap();
            fields.extend(only.as_object().unwrap().clone());
        } else {
            value["grants"] = json!(parts);
        }
        for (key, text) in [("state", self.state), ("created_at", self.created_at)] {
            if let Some(text) = text {
                value[key] = json!(text);
            }
        }
        if !self.networks.is_empty() {
            value["networks"] = json!(self.networks);
        }
        value
    }
}

impl Part {
    fn document(&self) -> Value {
        let repositories = match &self.repositories {
            None => json!("all"),
            Some(names) => json!(names),
        };
        json!({ "resource_owner": self.owner, "repositories": repositories, "permissions": self.permissions })
    }
}

impl Organization {
    fn document(&self, name: &str) -> Value {
        let mut tokens = json!({ "access": if self.deny_access { "deny" } else { "allow" } });
        if let Some(most) = self.max_lifetime {
            tokens["max_lifetime"] = json!(most);
        }
        let mode = if self.shadow { "shadow" } else { "enforce" };
        let mut value = json!({
            "organization": name, "owners": self.owners, "fine_grained_tokens": tokens, "ceiling": self.ceiling, "mode": mode
        });
        if let Some(members) = &self.members {
            value["members"] = json!(members);
        }
        if let Some(public) = &self.public {
            value["public"] = public.clone();
        }
        value
    }
}

/// Whether a template may stand beside those in `kept`, as `docs/catalogs.md` words it; then it is added to them.
fn keep(kept: &mut Vec<(String, String)>, methods: &str, template: &str) -> bool {
    let form = |template: &str| -> Vec<String> {
        template.split('/').map(|piece| form_of_piece(piece).to_owned()).collect()
    };
    let methods_of = |methods: &str| -> BTreeSet<String> { methods.split('|').map(str::to_owned).collect() };
    let new = form(template);
    for (other_methods, other) in kept.iter() {
        let other = form(other);
        if new == other && !methods_of(methods).is_disjoint(&methods_of(other_methods)) {
            return false;
        }
        let differ = new.iter().zip(&other).find(|(left, right)| left != right);
        if differ.is_some_and(|(left, right)| clash(left, right)) {
            return false;
        }
    }
    kept.push((methods.into(), template.into()));
    true
}

fn form_of_piece(piece: &str) -> &str {
    if piece.ends_with("...}") { "{...}" } else { piece }
}

/// Two parameters in one place hold the same kind of thing; repositories and wikis tell themselves apart.
fn clash(left: &str, right: &str) -> bool {
    let suffix = |piece: &str| piece.split_once('}').map(|(_, suffix)| suffix.to_owned());
    let parameter = |piece: &str| piece.starts_with('{') && piece != "{...}";
    let named = |piece: &str| piece == "{repository}" || piece == "{wiki}";
    parameter(left) && parameter(right) && suffix(left) == suffix(right) && !(named(left) && named(right))
}

fn template() -> impl Strategy<Value = String> {
    let heads = vec![
        "/{owner}/{repository}",
        "/{owner}/{wiki}",
        "/repos/{owner}/{repository}",
        "/repos/{owner}/{repository}",
        "/orgs/{owner}",
        "/api",
        "",
    ];
    let piece = select(vec!["a", "b", "refs", "{x}", "{x}", "{x%}", "{x}.diff"]);
    let pieces = prop::collection::vec(piece, 0..3);
    let end = select(vec!["", "", "", "/{rest...}", "/{rest...}", "/"]);
    (select(heads), pieces, end).prop_map(|(head, pieces, end)| {
        let path = pieces.iter().fold(head.to_owned(), |path, piece| path + "/" + piece) + end;
        if path.is_empty() { "/".into() } else { path }
    })
}

fn methods() -> impl Strategy<Value = &'static str> {
    select(vec!["GET", "GET", "GET|PUT", "POST|DELETE", "*", "HEAD"])
}

fn route() -> impl Strategy<Value = Route> {
    let needs = || 0..REQUIREMENTS.len();
    let by_query = prop::option::weighted(0.2, (needs(), needs(), prop::option::of(needs())));
    let route = (methods(), template(), needs(), any::<bool>(), by_query);
    route.prop_map(|(methods, template, needs, public, by_query)| Route {
        methods,
        template,
        needs,
        public,
        by_query,
    })
}

pub(crate) fn deny() -> impl Strategy<Value = Deny> {
    (methods(), template(), any::<bool>()).prop_map(|(methods, template, shadow)| Deny {
        methods,
        template,
        shadow,
    })
}

fn permissions() -> impl Strategy<Value = BTreeMap<&'static str, &'static str>> {
    let level = |(name, levels): (&'static str, &'static [&'static str])| {
        let most = levels.last().copied().unwrap_or_default();
        (Just(name), prop_oneof![2 => Just(most), 1 => select(levels)])
    };
    let some = prop_oneof![3 => 3..=GRANTABLE.len(), 1 => 0..=2_usize];
    some.prop_flat_map(|some| subsequence(GRANTABLE.to_vec(), some))
        .prop_flat_map(move |held| held.into_iter().map(level).collect::<Vec<_>>())
        .prop_map(|held| held.into_iter().collect())
}

fn token_strategy() -> impl Strategy<Value = Token> {
    let repositories = prop::option::of(subsequence(REPOSITORIES.to_vec(), 1..=2));
    let part = (repositories, permissions());
    let parts = prop::collection::vec(part, 3);
    let owners = prop_oneof![
        4 => Just(vec!["acme"]),
        2 => subsequence(OWNERS.to_vec(), 1..=3),
    ];
    let state = prop_oneof![
        12 => Just(None),
        3 => select(vec![Some("active"), Some("pending"), Some("revoked")]),
    ];
    let expires_at = prop_oneof![
        12 => select(vec!["2027-06-30", "2026-12-20", "2026-11-22T00:00:01Z"]),
        1 => select(vec!["2026-11-22", "2026-11-21"]),
    ];
    let created_at = select(vec![None, Some("2026-01-01"), Some("2026-11-01"), Some("2027-05-01")]);
    let networks =
        select(vec![vec![], vec![], vec![], vec![], vec!["10.0.0.0/8"], vec!["2001:db8::/32", "192.0.2.7"]]);
    let user = select(vec!["alice", "bob", "Acme"]);
    let fields = (user, owners, parts, state, expires_at, created_at, networks);
    fields.prop_map(|(user, owners, parts, state, expires_at, created_at, networks)| {
        let part = |(owner, (repositories, mut permissions)): (&'static str, (_, BTreeMap<_, _>))| {
            // Only a grant on the user itself may hold a user's permission.
            if !owner.eq_ignore_ascii_case(user) {
                permissions.remove("keys");
            }
            Part { owner, repositories, permissions }
        };
        Token {
            user,
            parts: owners.into_iter().zip(parts).map(part).collect(),
            state,
            expires_at,
            created_at,
            networks,
        }
    })
}

fn public() -> impl Strategy<Value = Option<Value>> {
    let repositories = select(vec![json!("all"), json!(["alpha"]), json!(["Beta", "alpha"])]);
    let permissions =
        select(vec![None, Some(json!(["code"])), Some(json!(["notes", "code"])), Some(json!(["meta"]))]);
    let some = (repositories, permissions).prop_map(|(repositories, permissions)| {
        let mut public = json!({ "repositories": repositories });
        if let Some(permissions) = permissions {
            public["permissions"] = permissions;
        }
        public
    });
    prop::option::weighted(0.2, some)
}

fn organization() -> impl Strategy<Value = Organization> {
    let members = select(vec![
        None,
        Some(BTreeMap::from([("Bob", "write"), ("alice", "read")])),
        Some(BTreeMap::from([("BOB", "admin"), ("acme", "write")])),
        Some(BTreeMap::new()),
    ]);
    let ceiling =
        subsequence(vec![("code", "none"), ("code", "read"), ("notes", "read"), ("team", "read")], 0..=2);
    (
        prop::bool::weighted(0.1),
        select(vec![None, None, Some("90d"), Some("400d")]),
        select(vec![vec![], vec!["alice"], vec!["carol"]]),
        members,
        ceiling,
        public(),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(deny_access, max_lifetime, owners, members, ceiling, public, shadow)| Organization {
            deny_access,
            max_lifetime,
            owners,
            members,
            ceiling: ceiling.into_iter().collect(),
            public,
            shadow,
        })
}

/// A policy that may hold conflicts.
/// A policy that may hold conflicts. Two of three deny rules close a route that there is, or what lies below it.
pub(crate) fn any_policy() -> impl Strategy<Value = Policy> {
    let organizations =
        (prop::option::weighted(0.7, organization()), prop::option::weighted(0.3, organization()));
    let of_route = (any::<Index>(), select(vec!["", "", "/a/b", "/a/{rest...}", "/{rest...}"]));
    let closed = (deny(), prop::option::weighted(0.7, of_route));
    (
        prop::collection::vec(route(), 1..10),
        prop::collection::vec(closed, 0..3),
        organizations,
        prop::collection::vec(token_strategy(), 1..=2),
        select(vec![None, Some("admin"), Some("read")]),
    )
        .prop_map(|(routes, closed, (acme, other), tokens, write_role)| {
            let close = |(mut deny, of_route): (Deny, Option<(Index, &str)>)| {
                if let Some((index, end)) = of_route {
                    let template = &routes[index.index(routes.len())].template;
                    let begin = template.trim_end_matches("/{rest...}");
                    if !begin.ends_with('/') && !begin.is_empty() {
                        deny.template = format!("{begin}{end}");
                    }
                }
                deny
            };
            let organizations = [("acme", acme), ("other", other)];
            Policy {
                deny: closed.into_iter().map(close).collect(),
                organizations: organizations
                    .into_iter()
                    .filter_map(|(name, policy)| Some((name, policy?)))
                    .collect(),
                routes,
                tokens,
                write_role,
            }
        })
}

/// A policy that compiles.
pub(crate) fn policy() -> impl Strategy<Value = Policy> {
    any_policy().prop_map(|mut policy| {
        policy.drop_conflicts();
        policy
    })
}
