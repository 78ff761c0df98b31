//! The catalogs of the examples: each route is reached, opens with what it needs, and with nothing less or elsewhere.

use std::fs;
use std::path::Path;

use portcullis::catalog::document::{CatalogDocument, RouteDocument};
use portcullis::domain::reason::Reason;
use portcullis::policy::compile::Source;
use portcullis::policy::snapshot::Snapshot;
use portcullis::yaml;

use crate::deploy::{EXAMPLES, folders};
use crate::support::policy::{ask, snapshot, source, tokens};

/// Tokens: everything on all of `acme`, everything on `alpha`, nothing but what is implied on `alpha`.
const ALL: u8 = 1;
const SOME: u8 = 2;
const NONE: u8 = 3;

/// The catalog of a file, and the file.
fn catalogs() -> Vec<(CatalogDocument, Source)> {
    let files = folders(EXAMPLES).into_iter().filter_map(|folder| {
        let entries = fs::read_dir(folder.join("policies/catalogs")).ok()?;
        Some(entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>())
    });
    let read = |file: &Path| {
        let text = fs::read_to_string(file).unwrap();
        let document = yaml::parse(file, &text).unwrap_or_else(|fault| panic!("{fault}"));
        (document, source(&format!("catalogs/{}", file.file_name().unwrap().display()), text))
    };
    files.flatten().map(|file| read(&file)).collect()
}

fn with_tokens(document: &CatalogDocument, file: &Source) -> Snapshot {
    let highest = document.permissions.0.iter().filter_map(|(name, permission)| {
        let level = permission.value.levels.value.last()?;
        Some(format!("{}: {level}", name.value))
    });
    let highest = highest.collect::<Vec<_>>().join(", ");
    let declared = |repositories: &str, permissions: &str| {
        format!("resource_owner: acme\nrepositories: {repositories}\npermissions: {{ {permissions} }}")
    };
    // A permission of another catalog, on the same repositories.
    let bodies =
        [declared("all", &highest), declared("[alpha]", &highest), declared("[alpha]", "contents: read")];
    let bodies: Vec<_> = [ALL, SOME, NONE].into_iter().zip(bodies.iter().map(String::as_str)).collect();
    snapshot(&[file.clone(), tokens(&bodies)], &[document.catalog.value.as_str(), "git"])
}

/// The methods of a route, and its path with something in each parameter's place.
fn sample(route: &str, document: &CatalogDocument, repository: &str) -> (Vec<String>, String) {
    let (methods, path) = route.split_once(' ').unwrap();
    let fill = |segment: &str| {
        let name = segment.strip_prefix('{').and_then(|segment| segment.split(['}', '.', '%']).next());
        match name {
            None => segment.to_owned(),
            Some(name) if document.resource.owner.iter().any(|owner| owner == name) => "acme".to_owned(),
            Some(name) if document.resource.repository.iter().any(|it| it == name) => repository.to_owned(),
            Some(_) if segment.contains("...") => "a/b".to_owned(),
            Some(_) => "7".to_owned(),
        }
    };
    let path = path.split('/').map(fill).collect::<Vec<_>>().join("/");
    (methods.split('|').map(str::to_owned).collect(), path)
}

#[test]
fn every_route_opens_with_what_it_needs_and_not_without() {
    let catalogs = catalogs();
    assert!(catalogs.len() >= 3, "{} catalogs", catalogs.len());
    for (document, file) in &catalogs {
        let policy = with_tokens(document, file);
        for (route, needs) in &document.routes.0 {
            let RouteDocument::Fixed(needs) = &needs.value else { continue };
            let needs = needs.trim_end_matches("; public");
            let route = &route.value;
            let about = |repository: &str| sample(route, document, repository);
            let (methods, path) = about("alpha");
            for method in methods {
                let asks = |seed: u8, path: &str| ask(&policy, seed, &method, path).map_err(|no| no.reason());
                let everywhere = asks(ALL, &path);
                if needs == "never" {
                    assert_eq!(everywhere, Err(Reason::NeverGrantable), "{route}");
                    continue;
                }
                assert_eq!(everywhere, Ok(()), "{route}");
                if needs == "none" {
                    assert_eq!(asks(NONE, &path), Ok(()), "{route}");
                    continue;
                }
                let implied = matches!(needs, "metadata=read" | "projects=read");
                let reads_files = needs == "contents=read";
                let owner_alone = !path.contains("alpha");
                let scoped = document.permissions.0.iter().any(|(name, permission)| {
                    needs.starts_with(&format!("{}=", name.value))
                        && permission.value.scope.value == "repository"
                });
                if owner_alone {
                    // What is about all repositories is closed to a selection of them.
                    assert_eq!(asks(SOME, &path).is_ok(), !scoped, "{route}");
                } else {
                    assert_eq!(asks(SOME, &path), Ok(()), "{route}");
                    assert_eq!(asks(NONE, &path).is_ok(), implied || reads_files, "{route}");
                    let (_, other) = about("beta");
                    assert_eq!(asks(SOME, &other), Err(Reason::ResourceNotGranted), "{route}");
                }
                let foreign = path.replacen("acme", "umbrella", 1);
                assert_eq!(asks(ALL, &foreign), Err(Reason::ResourceNotGranted), "{route}");
            }
        }
    }
}

/// What must stay out, by catalog: requests that reach other repositories, and spellings of one thing in place of another.
#[test]
fn what_was_left_out_stays_out() {
    let left_out: [(&str, &[&str]); 2] = [
        (
            "gitea",
            &[
                "POST /repos/acme/alpha/pulls",
                "POST /repos/acme/alpha/pulls/7/merge",
                "POST /repos/acme/alpha/pulls/7/update",
                "POST /repos/acme/alpha/forks",
                "GET /repos/acme/alpha/forks",
                "POST /repos/acme/alpha/generate",
                "POST /repos/acme/alpha/transfer",
                "POST /repos/migrate",
                "GET /repos/search",
                "GET /repositories/7",
                "GET /repos/acme/alpha/issues/7/timeline",
                "POST /repos/acme/alpha/issues/7/dependencies",
                "POST /repos/acme/alpha/issues/7/blocks",
                "GET /repos/acme/alpha/compare/main...bob:main",
                "GET /repos/acme/alpha/compare/main...bob%3Amain",
                "GET /repos/acme/alpha/hooks",
                "GET /repos/acme/alpha/hooks/git",
                "PATCH /repos/acme/alpha/hooks/git/post-receive",
                "POST /repos/acme/alpha/push_mirrors",
                "POST /repos/acme/alpha/diffpatch",
                "GET /user/repos",
                "GET /user/keys",
                "POST /users/bob/tokens",
                "GET /admin/users",
                "GET /notifications",
            ],
        ),
        (
            "gitlab-groups",
            &[
                "GET /projects/acme%2Falpha",
                "GET /projects/42/variables",
                "GET /groups",
                "GET /groups/acme",
                "GET /groups/acme/projects",
                "GET /groups/acme/issues",
                "GET /groups/acme/search",
                "POST /groups/acme/projects/42",
                "POST /groups/acme/share",
                "POST /groups/acme/access_tokens",
                "GET /groups/acme/milestones/7/issues",
            ],
        ),
    ];
    let catalogs = catalogs();
    for (name, requests) in left_out {
        let (document, file) = catalogs.iter().find(|(document, _)| document.catalog.value == name).unwrap();
        let policy = with_tokens(document, file);
        for request in requests {
            let (method, target) = request.split_once(' ').unwrap();
            let answer = ask(&policy, ALL, method, target).map_err(|refusal| refusal.reason());
            let closed = matches!(answer, Err(Reason::NoRoute | Reason::AmbiguousTarget));
            assert!(closed, "{name}: {request}: {answer:?}");
        }
    }
}
