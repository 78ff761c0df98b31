//! The `github` catalog against GitHub's own facts: each endpoint that it covers is open with exactly the permissions
//! that GitHub lists, closed without them, and closed to every other permission at its highest level.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use portcullis::domain::permission::{Level, Scope};
use portcullis::domain::reason::Reason;
use portcullis::policy::snapshot::Snapshot;
use serde::Deserialize;

use crate::support::policy::{ask, snapshot, source, tokens};

const FACTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/github/endpoint-permissions.json");

#[derive(Deserialize)]
struct Endpoint {
    method: String,
    path: String,
    permissions: Vec<Fact>,
    permission_sets: Option<Vec<Vec<String>>>,
    works_with_fine_grained_pat: Option<bool>,
    allows_public_read: Option<bool>,
    #[serde(default)]
    permissionless: bool,
    #[serde(rename = "in")]
    editions: Vec<String>,
}

#[derive(Deserialize)]
struct Fact {
    name: String,
    access: String,
}

impl Endpoint {
    /// The sets of permissions of which any one is enough.
    fn sets(&self) -> Vec<BTreeMap<String, String>> {
        match &self.permission_sets {
            Some(sets) => sets
                .iter()
                .map(|set| {
                    let pairs = set.iter().map(|need| need.split_once('=').unwrap());
                    pairs.map(|(name, level)| (name.to_owned(), level.to_owned())).collect()
                })
                .collect(),
            None if self.permissions.is_empty() => Vec::new(),
            None => {
                vec![self.permissions.iter().map(|fact| (fact.name.clone(), fact.access.clone())).collect()]
            }
        }
    }

    /// The path with something in each parameter's place.
    fn sample(&self) -> String {
        let fill = |segment: &str| match segment {
            "{owner}" | "{org}" => "acme".to_owned(),
            "{repo}" => "alpha".to_owned(),
            segment if segment.starts_with('{') => "7".to_owned(),
            segment => segment.to_owned(),
        };
        self.path.split('/').map(fill).collect::<Vec<_>>().join("/").replace("{base}...{head}", "a...b")
    }
}

fn facts() -> Option<Vec<Endpoint>> {
    if !Path::new(FACTS).exists() {
        println!("skipped: GitHub's endpoint data is not beside the checkout");
        return None;
    }
    Some(serde_json::from_str(&std::fs::read_to_string(FACTS).unwrap()).unwrap())
}

/// A policy with one token, number 1, that holds `permissions` on all of `acme`.
fn holding(permissions: &BTreeMap<String, String>) -> Snapshot {
    let mut list = String::new();
    for (name, level) in permissions {
        write!(list, "{name}: {level}, ").unwrap();
    }
    let body = format!("resource_owner: acme\nrepositories: all\npermissions: {{ {list} }}");
    snapshot(&[tokens(&[(1, &body)])], &["github"])
}

/// Every permission that the catalog lets a token hold, at its highest level.
fn grantable() -> Vec<(String, Level, Scope)> {
    let snapshot = holding(&BTreeMap::new());
    let permissions = snapshot.vocabulary.iter().map(|(_, permission)| permission.clone());
    permissions
        .filter_map(|permission| Some((permission.name, *permission.levels.last()?, permission.scope)))
        .collect()
}

fn lower(level: &str) -> Option<&'static str> {
    match level {
        "admin" => Some("write"),
        "write" => Some("read"),
        _ => None,
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one walk through one table")]
fn each_endpoint_opens_with_exactly_what_github_lists() {
    let Some(facts) = facts() else { return };
    let nothing = holding(&BTreeMap::new());
    let grantable = grantable();
    let mut policies: BTreeMap<BTreeMap<String, String>, Snapshot> = BTreeMap::new();
    let mut covered = BTreeSet::new();
    let mut refused_by_others = 0_u32;
    for endpoint in facts.iter().filter(|endpoint| endpoint.editions.iter().any(|edition| edition == "fpt")) {
        let (method, sample) = (endpoint.method.as_str(), endpoint.sample());
        let name = format!("{method} {}", endpoint.path);
        let reason = |policy: &Snapshot| ask(policy, 1, method, &sample).map_err(|refusal| refusal.reason());
        let bare = reason(&nothing);
        if bare == Err(Reason::NoRoute) {
            continue;
        }
        if endpoint.works_with_fine_grained_pat == Some(false) {
            assert_eq!(bare, Err(Reason::NeverGrantable), "{name}");
            continue;
        }
        covered.insert(name.clone());
        if endpoint.permissionless {
            assert_eq!(bare, Ok(()), "{name} needs no permission");
            continue;
        }
        let sets = endpoint.sets();
        assert!(!sets.is_empty(), "{name} is covered, and GitHub names no permission for it");
        assert_eq!(bare, Err(Reason::PermissionMissing), "{name} without any permission");
        let mut open = |permissions: BTreeMap<String, String>| {
            let policy = policies.entry(permissions).or_insert_with_key(holding);
            reason(policy)
        };
        for set in &sets {
            assert_eq!(open(set.clone()), Ok(()), "{name} with {set:?}");
            // One step less of any one of them, or all but one, is not enough, unless another set still holds or the
            // permission comes with every repository permission.
            for (less, level) in set {
                let mut reduced = set.clone();
                match lower(level) {
                    Some(level) => reduced.insert(less.clone(), level.into()),
                    None => reduced.remove(less),
                };
                let implied = less == "metadata" && !reduced.is_empty();
                let other = sets.iter().any(|other| satisfied(other, &reduced));
                if !implied && !other && is_grantable(&grantable, &reduced) {
                    assert_eq!(
                        open(reduced.clone()),
                        Err(Reason::PermissionMissing),
                        "{name} with only {reduced:?}"
                    );
                }
            }
        }
        let needed: BTreeSet<_> = sets.iter().flat_map(|set| set.keys().cloned()).collect();
        for (other, level, scope) in &grantable {
            let implies = *scope == Scope::Repository && needed.iter().all(|name| name == "metadata");
            if needed.contains(other) || implies {
                continue;
            }
            let only = BTreeMap::from([(other.clone(), level.to_string())]);
            assert_eq!(open(only), Err(Reason::PermissionMissing), "{name} with {other}={level}");
            refused_by_others += 1;
        }
    }
    println!("{} endpoints, {refused_by_others} refusals by other permissions", covered.len());
    assert!(covered.len() > 380, "the catalog covers only {}", covered.len());
    assert!(refused_by_others > 1_500, "{refused_by_others}");
}

fn satisfied(set: &BTreeMap<String, String>, held: &BTreeMap<String, String>) -> bool {
    let rank = |level: &str| Level::parse(level);
    set.iter().all(|(name, level)| held.get(name).and_then(|held| rank(held)) >= rank(level))
}

/// GitHub lists some permissions at levels that nobody can hold (`workflows: read`).
fn is_grantable(grantable: &[(String, Level, Scope)], set: &BTreeMap<String, String>) -> bool {
    set.iter().all(|(name, level)| {
        grantable.iter().any(|(known, _, _)| known == name) && !(name == "workflows" && level == "read")
    })
}

#[test]
fn no_other_endpoint_of_github_is_opened_by_accident() {
    let Some(facts) = facts() else { return };
    let everything = grantable().into_iter().map(|(name, level, _)| (name, level.to_string())).collect();
    let policy = holding(&everything);
    let known: BTreeSet<_> = grantable().into_iter().map(|(name, _, _)| name).collect();
    for endpoint in &facts {
        let outcome = ask(&policy, 1, &endpoint.method, &endpoint.sample());
        let foreign = endpoint.permissions.iter().any(|fact| !known.contains(&fact.name));
        let closed = endpoint.works_with_fine_grained_pat == Some(false)
            || foreign && endpoint.permission_sets.is_none() && !endpoint.permissionless;
        assert!(!(closed && outcome.is_ok()), "{} {} is open", endpoint.method, endpoint.path);
    }
}

/// Readable at GitHub where the repository is public, and not here: their answers show some users more than others, such as drafts.
const NOT_PUBLIC: [&str; 14] = [
    "GET /repos/{owner}/{repo}/actions/runs/{run_id}/pending_deployments",
    "GET /repos/{owner}/{repo}/code-scanning/codeql/databases",
    "GET /repos/{owner}/{repo}/code-scanning/codeql/databases/{language}",
    "GET /repos/{owner}/{repo}/pulls/{pull_number}/reviews",
    "GET /repos/{owner}/{repo}/pulls/{pull_number}/reviews/{review_id}",
    "GET /repos/{owner}/{repo}/pulls/{pull_number}/reviews/{review_id}/comments",
    "GET /repos/{owner}/{repo}/releases",
    "GET /repos/{owner}/{repo}/releases/assets/{asset_id}",
    "GET /repos/{owner}/{repo}/releases/{release_id}",
    "GET /repos/{owner}/{repo}/releases/{release_id}/assets",
    "GET /repos/{owner}/{repo}/rulesets",
    "GET /repos/{owner}/{repo}/rulesets/{ruleset_id}",
    "GET /repos/{owner}/{repo}/stargazers",
    "GET /repos/{owner}/{repo}/subscribers",
];

#[test]
fn what_is_public_opens_nothing_that_github_keeps() {
    let Some(facts) = facts() else { return };
    let readable: Vec<_> = grantable()
        .into_iter()
        .filter(|(name, level, scope)| {
            // Of `workflows` there is no reading.
            *scope == Scope::Repository && (*level >= Level::Read) && name != "workflows"
        })
        .map(|(name, ..)| name)
        .collect();
    let text = format!(
        "organization: acme\nowners: [alice]\npublic: {{ repositories: all, permissions: [{}] }}\n",
        readable.join(", ")
    );
    let sources = [
        source("organizations/acme.yaml", &text),
        tokens(&[(1, "resource_owner: elsewhere\nrepositories: all\npermissions: { contents: write }")]),
    ];
    let policy = snapshot(&sources, &["github"]);
    let (mut open, mut kept) = (0, BTreeSet::new());
    for endpoint in facts.iter().filter(|endpoint| endpoint.path.contains("{repo}")) {
        let name = format!("{} {}", endpoint.method, endpoint.path);
        let public = endpoint.allows_public_read == Some(true);
        match ask(&policy, 1, &endpoint.method, &endpoint.sample()).map_err(|refusal| refusal.reason()) {
            Ok(()) => {
                assert!(
                    endpoint.allows_public_read != Some(false) && endpoint.method == "GET",
                    "{name} is open"
                );
                open += 1;
            }
            // Nobody is granted `checks`, so nothing of them is public.
            Err(Reason::ResourceNotGranted) if name.contains("/check-") => {}
            Err(Reason::ResourceNotGranted) if public && endpoint.method == "GET" => {
                kept.insert(name);
            }
            Err(_) => {}
        }
    }
    assert_eq!(kept, NOT_PUBLIC.map(str::to_owned).into());
    assert!(open > 100, "{open}");
}

#[test]
fn workflow_files_need_their_own_permission_however_the_path_is_spelled() {
    let contents = BTreeMap::from([("contents".to_owned(), "write".to_owned())]);
    let mut both = contents.clone();
    both.insert("workflows".into(), "write".into());
    let (contents, both) = (holding(&contents), holding(&both));
    for path in [
        ".github/workflows/x.yml",
        ".github%2Fworkflows%2Fx.yml",
        ".github/workflows%2fx.yml",
        "%2Egithub/workflows/x.yml",
        ".github/workflow%73/a/x.yml",
    ] {
        for method in ["PUT", "DELETE"] {
            let target = format!("/repos/acme/alpha/contents/{path}");
            let refused = ask(&contents, 1, method, &target).map_err(|refusal| refusal.reason());
            assert_eq!(refused, Err(Reason::PermissionMissing), "{method} {target}");
            assert_eq!(ask(&both, 1, method, &target), Ok(()), "{method} {target}");
        }
    }
    assert_eq!(ask(&contents, 1, "PUT", "/repos/acme/alpha/contents/src%2Fmain.rs"), Ok(()));
    assert_eq!(ask(&contents, 1, "GET", "/repos/acme/alpha/contents/.github/workflows/x.yml"), Ok(()));
}
