//! The decision as the documentation words it, read off the YAML at every question: no trie, no sets, no caching, and
//! not one function of the product. Slow, and short enough to be compared with `docs/` line by line.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use portcullis::policy::compile::Source;
use serde_json::Value;

use crate::reference::paths::{Fit, Hit, decode, fit, fit_denied, has_two_readings, method_rank};

/// The files, as they are written.
pub(crate) struct Files {
    catalog: Value,
    organizations: Vec<Value>,
    tokens: Vec<Value>,
    deny: Vec<Value>,
}

/// A token, and what it holds where the request takes place.
struct Holder<'a> {
    token: &'a Value,
    held: BTreeMap<String, u8>,
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) digest: String,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) peer: IpAddr,
    pub(crate) now: i64,
}

impl Files {
    pub(crate) fn read(sources: &[Source]) -> Self {
        let documents = |folder: &str| -> Vec<Value> {
            sources
                .iter()
                .filter(|source| source.name.starts_with(folder))
                .map(|source| serde_yaml::from_str(&source.text).unwrap())
                .collect()
        };
        let lists = |folder: &str, key: &str| -> Vec<Value> {
            let documents = documents(folder);
            let lists = documents.iter().flat_map(|document| document[key].as_array().unwrap());
            lists.cloned().collect()
        };
        Self {
            catalog: documents("catalogs").remove(0),
            organizations: documents("organizations"),
            tokens: lists("tokens", "tokens"),
            deny: lists("deny", "deny"),
        }
    }

    /// `permit`, or the word of the reason.
    pub(crate) fn answer(&self, ask: &Ask) -> &'static str {
        self.judge(ask).err().unwrap_or("permit")
    }

    fn judge(&self, ask: &Ask) -> Result<(), &'static str> {
        let (path, query) = ask.target.split_once('?').unwrap_or((&ask.target, ""));
        if has_two_readings(path) || ask.target.contains('#') {
            return Err("ambiguous_target");
        }
        let token = self.tokens.iter().find(|token| token["sha256"] == ask.digest);
        let token = token.ok_or("bad_credentials")?;
        let pending = token["state"] == "pending";
        if token["state"] == "revoked" {
            return Err("token_revoked");
        }
        if moment(&token["expires_at"]).unwrap() <= ask.now {
            return Err("token_expired");
        }
        let wanted =
            self.route(&ask.method, path).and_then(|(hit, rule)| Ok((hit, requirement(&rule, query)?)));
        let (hit, requirement) = wanted.map_err(|reason| if pending { "token_pending" } else { reason })?;
        let granted = if pending {
            Err("token_pending")
        } else {
            self.granted(token, (&hit, &requirement), (path, ask))
        };
        match granted {
            Err("token_pending" | "resource_not_granted" | "permission_missing" | "policy_forbids")
                if self.is_public(&hit, &requirement) =>
            {
                self.public(token, (&hit, &requirement), (path, ask))
            }
            outcome => outcome,
        }
    }

    /// What everybody may read at an organization, by permission.
    fn everybodys(&self, organization: &Value) -> BTreeMap<String, u8> {
        let usual = serde_json::json!(["contents"]);
        let named = organization["public"].get("permissions").unwrap_or(&usual).as_array().unwrap();
        let known = |name: &&Value| self.catalog["permissions"].get(name.as_str().unwrap()).is_some();
        let named = named.iter().filter(known).map(|name| (name.as_str().unwrap().to_owned(), "read".into()));
        self.with_implied(&Value::Object(named.collect()))
    }

    /// Whether this only reads what is public.
    fn is_public(&self, hit: &Hit, requirement: &str) -> bool {
        let (Some(owner), Some(name)) = (&hit.owner, &hit.repository) else { return false };
        let Some(organization) = self.organization(owner) else { return false };
        let repositories = &organization["public"]["repositories"];
        let listed =
            repositories.as_array().is_some_and(|names| names.iter().any(|known| same_name(known, name)));
        let held = self.everybodys(organization);
        requirement.ends_with("; public")
            && (repositories == "all" || listed)
            && satisfied(requirement, |name, level| held.get(name).is_some_and(|held| *held >= level))
    }

    fn public(
        &self,
        token: &Value,
        (hit, requirement): (&Hit, &str),
        (path, ask): (&str, &Ask),
    ) -> Result<(), &'static str> {
        if self.is_denied(&ask.method, path) {
            return Err("policy_forbids");
        }
        let organization = self.organization(hit.owner.as_ref().unwrap()).unwrap();
        let held = self.everybodys(organization);
        let below = |name: &str, level: u8| {
            let ceiling = organization["ceiling"][name].as_str().map_or(3, level_number);
            held.get(name).is_some_and(|held| *held >= level) && ceiling >= level
        };
        if organization["mode"] != "shadow" && !satisfied(requirement, below) {
            return Err("policy_forbids");
        }
        from_within(token, ask)
    }

    fn organization(&self, owner: &str) -> Option<&Value> {
        self.organizations.iter().find(|known| same_name(&known["organization"], owner))
    }

    /// By what the token was granted.
    fn granted(
        &self,
        token: &Value,
        (hit, requirement): (&Hit, &str),
        (path, ask): (&str, &Ask),
    ) -> Result<(), &'static str> {
        let held = self.step_8(token, hit, requirement)?;
        self.step_9(requirement, &held)?;
        if self.is_denied(&ask.method, path) {
            return Err("policy_forbids");
        }
        if let Some(owner) = &hit.owner
            && let Some(organization) = self.organization(owner)
            && organization["mode"] != "shadow"
        {
            let holder = Holder { token, held };
            self.step_10(organization, &holder, requirement, ask.now)?;
        }
        from_within(token, ask)
    }

    /// The route, by a scan of all of them: on the path as it came, and on the path with its encoded slashes decoded.
    fn route(&self, method: &str, path: &str) -> Result<(Hit, Value), &'static str> {
        let (hit, rule) = self.best(method, path)?.ok_or("no_route")?;
        let decoded = path.replace("%2f", "/").replace("%2F", "/");
        let (hit, rule) = match self.best(method, &decoded)? {
            None => (hit, rule),
            Some((other, _)) if !other.names_the_same(&hit) => return Err("ambiguous_target"),
            Some((other, rule)) if hit.tail && !hit.empty_tail => (other, rule),
            Some((_, other)) if other == rule => (hit, rule),
            Some(_) => return Err("ambiguous_target"),
        };
        if hit.empty_tail { Err("no_route") } else { Ok((hit, rule)) }
    }

    fn best(&self, method: &str, path: &str) -> Result<Option<(Hit, Value)>, &'static str> {
        let mut unclear = false;
        let mut found: Vec<(Hit, Value)> = Vec::new();
        for (key, rule) in self.catalog["routes"].as_object().unwrap() {
            let (methods, template) = key.split_once(' ').unwrap();
            match fit(template, path, &self.catalog["resource"]) {
                Fit::No => {}
                Fit::Unclear => unclear = true,
                Fit::Yes(mut hit) => {
                    if let Some(rank) = method_rank(methods, method) {
                        hit.rank.push((rank, 0, 0));
                        found.push((hit, rule.clone()));
                    }
                }
            }
        }
        found.sort_by(|(left, _), (right, _)| left.rank.cmp(&right.rank));
        match found.into_iter().next() {
            None if unclear => Err("ambiguous_target"),
            first => Ok(first),
        }
    }

    /// A rule closes what it takes in either reading of the path, with or without a slash at its end; a name that is
    /// unclear does not open it.
    fn is_denied(&self, method: &str, path: &str) -> bool {
        let resource = serde_json::json!({
            "owner": ["owner", "org"], "repository": ["repo", "repository"], "wiki": ["wiki"]
        });
        let decoded = path.replace("%2f", "/").replace("%2F", "/");
        self.deny.iter().any(|rule| {
            let (methods, template) = rule["route"].as_str().unwrap().split_once(' ').unwrap();
            let fits = |path: &str| !matches!(fit_denied(template, path, &resource), Fit::No);
            let takes = |path: &str| {
                fits(path) || path.strip_suffix('/').is_some_and(|path| !path.is_empty() && fits(path))
            };
            rule["mode"] != "shadow"
                && method_rank(methods, method).is_some()
                && (takes(path) || takes(decoded.as_str()))
        })
    }

    fn scope(&self, permission: &str) -> &str {
        self.catalog["permissions"][permission]["scope"].as_str().unwrap()
    }

    fn step_8(
        &self,
        token: &Value,
        hit: &Hit,
        requirement: &str,
    ) -> Result<BTreeMap<String, u8>, &'static str> {
        let grants = match token["grants"].as_array() {
            Some(grants) => grants.clone(),
            None => vec![token.clone()],
        };
        let mut held: BTreeMap<String, u8> = BTreeMap::new();
        for grant in &grants {
            let own = self.with_implied(&grant["permissions"]);
            held.extend(own.into_iter().filter(|(name, _)| self.scope(name) == "user"));
        }
        let Some(owner) = &hit.owner else { return Ok(held) };
        let part = grants.iter().find(|grant| same_name(&grant["resource_owner"], owner)).filter(|grant| {
            let selected = grant["repositories"].as_array();
            grant["repositories"] == "all"
                || hit.repository.as_ref().is_none_or(|name| {
                    selected.is_some_and(|names| names.iter().any(|known| same_name(known, name)))
                })
        });
        let Some(part) = part else {
            let open = requirement == "none" && hit.repository.is_none();
            return if open { Ok(held) } else { Err("resource_not_granted") };
        };
        let of_repositories =
            needs(requirement).iter().flatten().any(|(name, _)| self.scope(name) == "repository");
        if hit.repository.is_none() && of_repositories && part["repositories"] != "all" {
            return Err("resource_not_granted");
        }
        let here = self.with_implied(&part["permissions"]);
        held.extend(here.into_iter().filter(|(name, _)| self.scope(name) != "user"));
        Ok(held)
    }

    fn with_implied(&self, permissions: &Value) -> BTreeMap<String, u8> {
        let mut held: BTreeMap<_, _> = permissions
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, level)| (name.clone(), level_number(level.as_str().unwrap())))
            .collect();
        if held.keys().any(|name| self.scope(name) == "repository") {
            for (name, permission) in self.catalog["permissions"].as_object().unwrap() {
                if permission["implied"] == true {
                    held.entry(name.clone()).or_insert(1);
                }
            }
        }
        held
    }

    fn step_9(&self, requirement: &str, held: &BTreeMap<String, u8>) -> Result<(), &'static str> {
        if satisfied(requirement, |name, level| held.get(name).is_some_and(|held| *held >= level)) {
            return Ok(());
        }
        let grantable = |(name, level): &(String, u8)| {
            let levels = self.catalog["permissions"][name]["levels"].as_array().unwrap();
            levels.iter().any(|known| level_number(known.as_str().unwrap()) >= *level)
        };
        if needs(requirement).iter().any(|all_of| all_of.iter().all(grantable)) {
            Err("permission_missing")
        } else {
            Err("never_grantable")
        }
    }

    fn step_10(
        &self,
        organization: &Value,
        Holder { token, held }: &Holder<'_>,
        requirement: &str,
        now: i64,
    ) -> Result<(), &'static str> {
        const NO: Result<(), &str> = Err("policy_forbids");
        let policy = &organization["fine_grained_tokens"];
        if policy["access"] == "deny" {
            return NO;
        }
        if let Some(most) = policy["max_lifetime"].as_str() {
            let days: i64 = most.strip_suffix('d').unwrap().parse().unwrap();
            let born = moment(&token["created_at"]).unwrap_or(now).min(now);
            if moment(&token["expires_at"]).unwrap() - born > days * 86_400 {
                return NO;
            }
        }
        let user = token["user"].as_str().unwrap();
        let is_owner = organization["owners"]
            .as_array()
            .is_some_and(|owners| owners.iter().any(|owner| same_name(owner, user)));
        let role = match organization["members"].as_object() {
            None => 3,
            Some(_) if is_owner => 3,
            Some(members) => {
                let role = members.iter().find(|(member, _)| member.eq_ignore_ascii_case(user));
                match role {
                    None => return NO,
                    Some((_, role)) => level_number(role.as_str().unwrap()),
                }
            }
        };
        let allowed = |name: &str, level: u8| {
            let ceiling = organization["ceiling"][name].as_str().map_or(3, level_number);
            let write_role = self.catalog["permissions"][name]["write_role"].as_str();
            let needed = if level == 1 { 1 } else { level.max(write_role.map_or(2, level_number)) };
            held.get(name).is_some_and(|held| *held >= level) && ceiling >= level && role >= needed
        };
        if satisfied(requirement, allowed) { Ok(()) } else { NO }
    }
}

/// Whether the client is where the token may be used.
fn from_within(token: &Value, ask: &Ask) -> Result<(), &'static str> {
    let networks = token["networks"].as_array();
    let inside =
        |networks: &Vec<Value>| networks.iter().any(|network| contains(network.as_str().unwrap(), ask.peer));
    if networks.is_some_and(|networks| !inside(networks)) { Err("constraint_failed") } else { Ok(()) }
}

fn requirement(rule: &Value, query: &str) -> Result<String, &'static str> {
    let Some(field) = rule["query"].as_str() else {
        return Ok(rule.as_str().unwrap().to_owned());
    };
    let mut values = Vec::new();
    for piece in query.split('&') {
        for (at, part) in piece.split(';').enumerate() {
            let name = decode(part.split('=').next().unwrap());
            let name = name.trim();
            if at == 0 && name == field {
                let (_, value) = piece.split_once('=').unwrap_or((piece, ""));
                values.push(decode(value));
            } else if name.split('[').next().unwrap().eq_ignore_ascii_case(field) {
                return Err("ambiguous_target");
            }
        }
    }
    let text = match values.as_slice() {
        [] => &rule["absent"],
        [value] => &rule["values"][value],
        _ => return Err("ambiguous_target"),
    };
    text.as_str().map(str::to_owned).ok_or("no_route")
}

fn needs(requirement: &str) -> Vec<Vec<(String, u8)>> {
    if matches!(requirement, "none" | "never") {
        return Vec::new();
    }
    let need = |text: &str| {
        let (name, level) = text.trim().split_once('=').unwrap();
        (name.to_owned(), level_number(level))
    };
    let alternatives = requirement.split(';').filter(|all_of| all_of.trim() != "public");
    alternatives.map(|all_of| all_of.split(',').map(need).collect()).collect()
}

fn satisfied(requirement: &str, holds: impl Fn(&str, u8) -> bool) -> bool {
    requirement == "none"
        || needs(requirement).iter().any(|all_of| all_of.iter().all(|(name, level)| holds(name, *level)))
}

fn level_number(level: &str) -> u8 {
    match level {
        "none" => 0,
        "read" => 1,
        "write" => 2,
        "admin" => 3,
        other => panic!("{other}"),
    }
}

fn same_name(known: &Value, name: &str) -> bool {
    known.as_str().unwrap().eq_ignore_ascii_case(name)
}

/// Seconds since 1970 of a date or a moment that ends in `Z`.
fn moment(value: &Value) -> Option<i64> {
    let text = value.as_str()?;
    let (date, time) = text.split_once('T').unwrap_or((text, "00:00:00Z"));
    let numbers = |text: &str, by: char| -> Vec<i64> {
        text.trim_end_matches('Z').split(by).map(|number| number.parse().unwrap()).collect()
    };
    let (date, time) = (numbers(date, '-'), numbers(time, ':'));
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let years: i64 = (1970..date[0]).map(|year| 365 + i64::from(leap(year))).sum();
    let lengths = [31, 28 + i64::from(leap(date[0])), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let months: i64 = lengths.iter().take(usize::try_from(date[1] - 1).unwrap()).sum();
    Some((years + months + date[2] - 1) * 86_400 + time[0] * 3_600 + time[1] * 60 + time[2])
}

fn contains(network: &str, peer: IpAddr) -> bool {
    let (address, length) = network.split_once('/').unwrap_or((network, ""));
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => (32, u128::from(address.to_bits())),
        IpAddr::V6(address) => (128, address.to_bits()),
    };
    let peer = match peer {
        IpAddr::V6(peer) => mapped(peer).unwrap_or(IpAddr::V6(peer)),
        peer @ IpAddr::V4(_) => peer,
    };
    let ((width, network), (peer_width, peer)) = (bits(address.parse().unwrap()), bits(peer));
    let length: u32 = if length.is_empty() { width } else { length.parse().unwrap() };
    width.cmp(&peer_width) == Ordering::Equal && network >> (width - length) == peer >> (width - length)
}

/// `::ffff:192.0.2.1` is 192.0.2.1.
fn mapped(peer: Ipv6Addr) -> Option<IpAddr> {
    peer.to_ipv4_mapped().map(IpAddr::V4)
}
