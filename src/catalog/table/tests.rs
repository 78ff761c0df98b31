//! Routes, and the paths that do and do not take them.

use super::*;
use crate::catalog::document::ResourceParameters;

const ROUTES: [&str; 13] = [
    "GET /repos/{owner}/{repo}",
    "GET|PUT /repos/{owner}/{repo}/contents/{path...}",
    "PUT /repos/{owner}/{repo}/contents/.github/workflows/{path...}",
    "GET /repos/{owner}/{repo}/branches/{branch%}",
    "GET /repos/{owner}/{repo}/branches/{branch%}/protection",
    "GET /{owner}/{repo}/info/refs",
    "GET /{owner}/{wiki}/info/refs",
    "GET /",
    "POST /repos/{owner}/{repo}/pulls/{n}.diff",
    "GET /orgs/{owner}/",
    "* /any",
    "GET /archive/{owner}/{repo}.zip",
    "GET /repos/{owner}/{repo}/compare/{basehead...!:}",
];

fn table() -> Table {
    let resources = ResourceParameters {
        owner: vec!["owner".into()],
        repository: vec!["repo".into()],
        wiki: vec!["wiki".into()],
    };
    let mut table = Table::default();
    for (index, route) in ROUTES.iter().enumerate() {
        table.add(&[], &Template::parse(route, &resources).unwrap(), index).unwrap();
    }
    table
}

#[track_caller]
fn check(request: &str, want: Result<Option<(&str, &str)>, TargetError>) {
    let (method, path) = request.split_once(' ').unwrap();
    let target = CanonicalTarget::parse(path).unwrap();
    let method = method.parse().unwrap();
    let found = table().find(&method, &target, |left, right| left == right);
    let found = found.map(|found| found.map(|found| (ROUTES[found.index], found.resource.to_string())));
    let found =
        found.as_ref().map(|found| found.as_ref().map(|(route, resource)| (*route, resource.as_str())));
    assert_eq!(found.map_err(|error| *error), want, "{request}");
}

#[test]
fn routes() {
    check("GET /", Ok(Some((ROUTES[7], ""))));
    check("GET /repos/Acme/alpha", Ok(Some((ROUTES[0], "Acme/alpha"))));
    check("HEAD /repos/acme/alpha.git", Ok(Some((ROUTES[0], "acme/alpha"))));
    check("GET /%72epos/acme/alpha", Ok(Some((ROUTES[0], "acme/alpha"))));
    check("DELETE /any", Ok(Some((ROUTES[10], ""))));
    check("GET /acme/alpha.git/info/refs?service=x", Ok(Some((ROUTES[5], "acme/alpha"))));
    check("GET /acme/alpha.wiki.git/info/refs", Ok(Some((ROUTES[6], "acme/alpha.wiki"))));
    check("POST /repos/acme/alpha/pulls/7.diff", Ok(Some((ROUTES[8], "acme/alpha"))));
}

#[test]
fn deny_by_default() {
    for request in [
        "POST /repos/acme/alpha",
        "GET /repos/acme/alpha/",
        "GET /repos/acme",
        "GET /repos/acme/alpha/contents",
        "POST /repos/acme/alpha/pulls/.diff",
        "GET /orgs/acme",
        "GET /Repos",
        // The slash at the end is not a rest of one empty segment.
        "GET /repos/acme/alpha/contents/",
        "PUT /repos/acme/alpha/contents/.github/workflows/",
        "PUT /repos/acme/alpha/contents/.github%2Fworkflows/",
        "GET /repos/acme/alpha.wiki",
    ] {
        check(request, Ok(None));
    }
    check("GET /repos/acme/alpha/contents/a/", Ok(Some((ROUTES[1], "acme/alpha"))));
}

#[test]
fn a_suffix_is_seen_however_it_is_spelled() {
    for request in ["POST /repos/acme/alpha/pulls/7%2Ediff", "POST /repos/acme/alpha/pulls/7.%64iff"] {
        check(request, Ok(Some((ROUTES[8], "acme/alpha"))));
    }
    check("GET /archive/acme/alpha.zip", Ok(Some((ROUTES[11], "acme/alpha"))));
    check("GET /archive/acme/alpha%2Ezip", Err(TargetError::ResourceName));
}

#[test]
fn an_open_question_is_covered() {
    let resources = ResourceParameters {
        owner: vec!["owner".into()],
        repository: vec!["repo".into()],
        wiki: vec!["wiki".into()],
    };
    let covers = |template: &str, request: &str| {
        let mut table = Table::default();
        let template = Template::parse(template, &resources).unwrap();
        table.add(&[], &template, 0).unwrap();
        let (method, path) = request.split_once(' ').unwrap();
        let target = CanonicalTarget::parse(path).unwrap();
        table.covers(&method.parse().unwrap(), &target).is_some()
    };
    for (template, request) in [
        ("* /x/secret/{path...}", "PUT /x/secret/a"),
        ("* /x/secret/{path...}", "PUT /x/secret%2Fa"),
        ("* /x/secret/{path...}", "PUT /x/secret/"),
        ("* /x/secret", "PUT /x/secret/"),
        ("* /x/{path...!:}", "PUT /x/a:b"),
        ("* /x/secret/a", "PUT /x/secret%2Fa/"),
        ("* /x/{n}", "GET /x/a%2Fb"),
        ("* /x/{n}", "GET /x/a%23b"),
        ("GET /{owner}/{repo}/x", "HEAD /ac%6de/alpha./x"),
        ("* /{owner}/{repo}/x", "GET /acme/alpha%2Ewiki/x"),
    ] {
        assert!(covers(template, request), "{template}: {request}");
    }
    for (template, request) in [
        ("* /x/{n}", "GET /x/a/b"),
        ("POST /x/{n}", "GET /x/a%2Fb"),
        ("* /{owner}/{repo}/x", "GET /acme/alpha.wiki.git/x"),
        ("* /{owner}/{wiki}/x", "GET /acme/alpha/x"),
    ] {
        assert!(!covers(template, request), "{template}: {request}");
    }
}

#[test]
fn names_have_one_spelling() {
    for request in [
        "GET /repos/ac%6de/alpha",
        "GET /repos/acme/alpha%20",
        "GET /repos/acme/alpha.",
        "GET /repos/acme/alpha.git.git",
        "GET /acme/alpha.git.wiki/info/refs",
        "GET /acme/alpha.git.wiki.git/info/refs",
    ] {
        check(request, Err(TargetError::ResourceName));
    }
    check("GET /repos/acme/a%23b", Err(TargetError::ResourceName));
    check("GET /repos/acme/alpha%2Fcontents", Err(TargetError::ResourceName));
}

#[test]
fn an_encoded_slash_has_one_judgment() {
    check("GET /repos/acme/alpha/contents/a%2Fb", Ok(Some((ROUTES[1], "acme/alpha"))));
    check("PUT /repos/acme/alpha/contents/.github/workflows/x", Ok(Some((ROUTES[2], "acme/alpha"))));
    check("PUT /repos/acme/alpha/contents/.github%2Fworkflows%2fx", Ok(Some((ROUTES[2], "acme/alpha"))));
    check("PUT /repos/acme/alpha/contents/%2Egithub/workflows/x", Ok(Some((ROUTES[2], "acme/alpha"))));
    check("GET /repos/acme/alpha/contents/.github%2Fworkflows%2fx", Ok(Some((ROUTES[1], "acme/alpha"))));
    check("GET /repos/acme/alpha/branches/feature%2Fx", Ok(Some((ROUTES[3], "acme/alpha"))));
    check("GET /repos/acme/alpha/branches/main%2Fprotection", Err(TargetError::EncodedDelimiter));
    check("POST /repos/acme/alpha/pulls/a%2Fb.diff", Err(TargetError::EncodedDelimiter));
}

/// `owner:branch` names another repository of the same network.
#[test]
fn a_tail_without_a_colon() {
    let alpha = Ok(Some((ROUTES[12], "acme/alpha")));
    check("GET /repos/acme/alpha/compare/main...feature/x", alpha);
    for basehead in [
        "main...mallory:main",
        "main...mallory:secret:main",
        "main...mallory%3Amain",
        "main...mallory%3amain",
        "a/b%2Fmain...mallory:main",
        "acme:main...main",
    ] {
        check(&format!("GET /repos/acme/alpha/compare/{basehead}"), Ok(None));
    }
}

#[test]
fn conflicts() {
    let resources = ResourceParameters { owner: vec!["owner".into()], ..ResourceParameters::default() };
    let mut table = table();
    let template = |text| Template::parse(text, &resources).unwrap();
    assert_eq!(table.add(&[], &template("GET /repos/{owner}/{x}/y"), 20), Err(Conflict::Kinds));
    assert_eq!(table.add(&[], &template("GET /"), 20), Err(Conflict::Same(7)));
    assert_eq!(table.add(&[], &template("PUT /x/{a...}"), 20), Ok(()));
    assert_eq!(table.add(&[], &template("GET /x/{a...!:}"), 21), Err(Conflict::Kinds));
}
