//! Requests for small policies: a path out of one of their templates, then bent.

use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::reference::model::{Policy, digest};
use crate::reference::naive::Ask;
use crate::support::policy::NOW;

const VALUES: [&str; 14] = [
    "7", "a", "b", "refs", "7.diff", "7%2Ediff", ".diff", "a%2Fb", "refs%2fa", "%61", "a%20b", "x%23y",
    "x%25y", "a%2F%62",
];
const OWNERS: [&str; 9] = ["acme", "acme", "acme", "ACME", "other", "alice", "ac%6de", "acme.", "nobody"];
const NAMES: [&str; 17] = [
    "alpha",
    "alpha",
    "beta",
    "ALPHA",
    "alpha.git",
    "beta.GIT",
    "gamma",
    "delta",
    "alpha.wiki",
    "beta.wiki.git",
    "alpha%2Ewiki",
    "alpha%20",
    "alpha.git.git",
    "alpha.git.wiki",
    "alpha.wiki.wiki",
    "alpha%2fa",
    "alpha.diff",
];
const QUERIES: [&str; 12] = [
    "",
    "",
    "?service=up",
    "?service=down",
    "?a=b&service=down",
    "?service=up&service=down",
    "?a=b;service=down",
    "?service[]=down",
    "?Service=down",
    "?service=zzz",
    "?service",
    "?x=service=up",
];
/// The empty one is the template's own.
const METHODS: [&str; 8] = ["", "", "", "GET", "HEAD", "PUT", "DELETE", "PATCH"];
const PEERS: [&str; 5] = ["192.0.2.7", "192.0.2.7", "10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1"];
const REPLACEMENTS: [&str; 11] =
    ["..", ".", "%2e%2E", "%252e", "%25%32%65", "a;b", "a%3bb", "a%5cb", "%2f", "x", "a"];
const APPENDED: [&str; 5] = ["a", "b", "7", "refs", ".."];

/// How a request is made out of a policy.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    template: Index,
    owner: &'static str,
    name: &'static str,
    values: Vec<&'static str>,
    bends: Vec<(Bend, Index)>,
    query: &'static str,
    method: &'static str,
    token: Index,
    peer: &'static str,
}

#[derive(Debug, Clone, Copy)]
enum Bend {
    SlashAtEnd,
    Drop,
    Replace(&'static str),
    Append(&'static str),
    Escape,
    EncodeSlash,
    DoubleSlash,
    UpperCase,
}

fn bend() -> impl Strategy<Value = Bend> {
    prop_oneof![
        Just(Bend::SlashAtEnd),
        Just(Bend::Drop),
        select(&REPLACEMENTS[..]).prop_map(Bend::Replace),
        select(&APPENDED[..]).prop_map(Bend::Append),
        Just(Bend::Escape),
        Just(Bend::EncodeSlash),
        Just(Bend::DoubleSlash),
        Just(Bend::UpperCase),
    ]
}

pub(crate) fn request() -> impl Strategy<Value = Request> {
    let bends = prop_oneof![
        3 => Just(Vec::new()),
        1 => any::<Index>().prop_map(|at| vec![(Bend::EncodeSlash, at)]),
        1 => prop::collection::vec((bend(), any::<Index>()), 1..3),
    ];
    let value = prop_oneof![2 => select(vec!["7", "a", "b", "refs"]), 1 => select(&VALUES[..])];
    let path = (
        any::<Index>(),
        prop_oneof![3 => Just("acme"), 1 => select(&OWNERS[..])],
        prop_oneof![2 => Just("alpha"), 1 => select(&NAMES[..])],
        prop::collection::vec(value, 4),
        bends,
    );
    let rest = (select(&QUERIES[..]), select(&METHODS[..]), any::<Index>(), select(&PEERS[..]));
    (path, rest).prop_map(|((template, owner, name, values, bends), (query, method, token, peer))| Request {
        template,
        owner,
        name,
        values,
        bends,
        query,
        method,
        token,
        peer,
    })
}

impl Request {
    /// The request itself.
    pub(crate) fn of(&self, policy: &Policy) -> Ask {
        let routes = policy.routes.iter().map(|route| (route.methods, route.template.as_str()));
        let rules = policy.deny.iter().map(|deny| (deny.methods, deny.template.as_str()));
        let templates: Vec<_> = routes.chain(rules).collect();
        let (methods, template) = templates[self.template.index(templates.len())];
        let method = match (self.method, methods) {
            ("", "*") => "POST",
            ("", methods) => methods.split('|').next_back().unwrap(),
            (method, _) => method,
        };
        let token = self.token.index(policy.tokens.len() * 20);
        // One request in twenty carries a token that nobody declared.
        let token = if token == 0 { 99 } else { token % policy.tokens.len() };
        Ask {
            digest: digest(token),
            method: method.into(),
            target: self.path(template) + self.query,
            peer: self.peer.parse::<IpAddr>().unwrap(),
            now: NOW.0,
        }
    }

    fn path(&self, template: &str) -> String {
        let mut values = self.values.iter().copied();
        let mut fill = |piece: &str| match piece {
            "{owner}" => self.owner.to_owned(),
            "{repository}" => self.name.to_owned(),
            "{wiki}" if self.name.contains("wiki") => self.name.to_owned(),
            "{wiki}" => format!("{}.wiki", self.name),
            "{rest...}" => values.by_ref().collect::<Vec<_>>().join("/"),
            piece if piece.starts_with('{') => {
                values.next().unwrap_or("7").to_owned() + piece.split_once('}').unwrap().1
            }
            piece => piece.to_owned(),
        };
        let mut segments: Vec<_> = template.split('/').skip(1).map(&mut fill).collect();
        for (bend, at) in &self.bends {
            bend_path(&mut segments, *bend, *at);
        }
        format!("/{}", segments.join("/"))
    }
}

fn bend_path(segments: &mut Vec<String>, bend: Bend, at: Index) {
    if segments.is_empty() {
        segments.push(String::new());
    }
    let at = at.index(segments.len());
    match bend {
        Bend::SlashAtEnd => segments.push(String::new()),
        Bend::Drop => drop(segments.remove(at)),
        Bend::Replace(text) => segments[at] = text.into(),
        Bend::Append(text) => segments.push(text.into()),
        Bend::Escape => {
            if let Some(letter) = segments[at].chars().next().filter(char::is_ascii_alphanumeric) {
                segments[at].replace_range(..1, &format!("%{:02x}", u32::from(letter)));
            }
        }
        Bend::EncodeSlash if at + 1 < segments.len() => {
            let next = segments.remove(at + 1);
            segments[at] = format!("{}%2F{next}", segments[at]);
        }
        Bend::EncodeSlash => {}
        Bend::DoubleSlash => segments.insert(at, String::new()),
        Bend::UpperCase => segments[at] = segments[at].to_uppercase(),
    }
}
