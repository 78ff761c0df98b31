//! Faults of catalogs, alone and beside each other.

use portcullis::domain::fault::describe;
use portcullis::policy::upstream::UpstreamSpec;

use crate::policy_faults::faults_of;
use crate::support::policy::{source, upstream};

const CATALOG: &str = "catalogs/small.yaml";

/// A catalog in which only `routes` are wrong.
#[track_caller]
fn check_routes(routes: &str, place: &str, part: &str) {
    let head = "catalog: small\nresource: { owner: [owner], repository: [repo] }\npermissions:\n  code: { scope: repository, levels: [read, write] }\n  void: { scope: repository, levels: [] }\nroutes:\n";
    check_catalog(&format!("{head}{routes}\n"), place, part);
}

#[track_caller]
fn check_catalog(text: &str, place: &str, part: &str) {
    let faults = faults_of(&[source(CATALOG, text)], &[upstream(&["small"])]);
    let all = describe(&faults);
    let start = format!("policies/{CATALOG}:{place}: ");
    let first = faults.iter().find(|fault| fault.file.ends_with(CATALOG)).map(ToString::to_string);
    let first = first.unwrap_or_default();
    assert!(first.starts_with(&start) && first.contains(part), "{text}\ngave:\n{all}\nnot {start}{part}");
}

#[test]
fn routes_of_catalogs() {
    check_routes("  get /x: none", "7:3", "`get` is no method");
    check_routes("  GET x: none", "7:3", "a route is written `GET /path`");
    check_routes("  GET /a//b: none", "7:3", "`` is no segment");
    check_routes("  GET /{a b}: none", "7:3", "`{a b}` is no segment");
    check_routes("  GET /{a...}/b: none", "7:3", "nothing may follow");
    check_routes("  GET /{repo}: none", "7:3", "needs an owner parameter before it");
    check_routes("  GET /{owner%}: none", "7:3", "`{owner%}` is no segment");
    check_routes("  GET /x: code=read", "7:3", "`code` belongs to a resource owner, and the path names none");
    check_routes("  GET /{owner}: code", "7:3", "`code` is no requirement; expected `name=read`");
    check_routes("  GET /{owner}: code=read;", "7:3", "`` is no requirement");
    check_routes("  GET /{owner}: code=owner", "7:3", "`code=owner` is no requirement");
    check_routes("  GET /{owner}: cod=read", "7:3", "unknown permission `cod`");
    check_routes("  GET /{owner}: code=admin", "7:3", "permission `code` has no level `admin`");
    check_routes("  GET /{owner}/{repo}: public; code=read", "7:3", "`public` behind the last `;`");
    check_routes("  GET /{owner}/{repo}: none; public", "7:3", "`none` is no requirement");
    check_routes("  GET /{owner}/{repo}: public", "7:3", "`public` is no requirement");
    check_routes("  GET /{owner}/{repo}: code=write; public", "7:3", "that permissions at `read` open");
    check_routes("  GET|PUT /{owner}/{repo}: code=read; public", "7:3", "for routes that only read");
    check_routes("  POST /{owner}/{repo}/forks: code=read; public", "7:3", "or where git fetches");
    check_routes("  '* /{owner}/{repo}': code=read; public", "7:3", "for routes that only read");
    check_routes("  GET /{owner}: code=read; public", "7:3", "whose path names a repository");
    check_routes("  GET /{owner}: None", "7:3", "`None` is no requirement");
    check_routes(
        "  GET /{owner}: { query: q, values: { a: code=read, b: nope } }",
        "7:3",
        "`nope` is no requirement",
    );
    check_routes("  GET /{owner}: { query: q, value: {} }", "7:17", "none of the forms that may stand here");
}

#[test]
fn routes_beside_each_other() {
    check_routes("  GET|GET /x: none", "7:3", "takes the same requests as");
    check_routes(
        "  GET /{owner}/a: none\n  GET|PUT /{owner}/a: none",
        "8:3",
        "takes the same requests as `GET /{owner}/a`",
    );
    check_routes(
        "  GET /x/{a}: none\n  GET /x/{b}: none",
        "8:3",
        "takes the same requests as `GET /x/{a}`; keep one",
    );
    check_routes("  GET /x/{owner}: none\n  PUT /x/{y}/z: none", "8:3", "one path would have two meanings");
    check_routes("  GET /x/{y%}: none\n  PUT /x/{y}/z: none", "8:3", "one path would have two meanings");
    check_routes("  GET /x: none\n  GET /x: never", "8:3", "stands twice");
}

#[test]
fn catalogs() {
    let rest = "permissions: {}\nroutes: {}\n";
    check_catalog(&format!("catalog: Small\n{rest}"), "1:10", "lower-case letters, digits and `-`");
    check_catalog(&format!("catalog: small\nroute: {{}}\n{rest}"), "2:1", "unknown field `route`");
    check_catalog("catalog: small\nroutes: {}\n", "2:1", "`permissions` is missing");
    check_catalog(
        &format!("catalog: small\nerrors: {{ format: xml }}\n{rest}"),
        "2:19",
        "unknown error format `xml`; expected `json` or `text`",
    );
    check_catalog(
        &format!("catalog: small\nerrors: {{ messages: {{ denied: x }} }}\n{rest}"),
        "2:31",
        "unknown reason `denied`; expected one of limit_exceeded",
    );
    check_catalog(
        &format!("catalog: small\nerrors: {{ statuses: {{ no_route: 500 }} }}\n{rest}"),
        "2:33",
        "a refusal has a status from 400 to 499",
    );
    check_catalog(
        &format!("catalog: small\naccepted_permissions_header: a b\n{rest}"),
        "2:30",
        "`a b` is no name of a header field",
    );
    let permission =
        |fields: &str| format!("catalog: small\npermissions:\n  code: {{ {fields} }}\nroutes: {{}}\n");
    check_catalog(&permission("scope: repo, levels: [read]"), "3:18", "unknown scope; expected `repository`");
    check_catalog(&permission("scope: user, levels: [reed]"), "3:32", "unknown level `reed`");
    check_catalog(&permission("scope: user, level: [read]"), "3:24", "unknown field `level`");
    check_catalog(
        &permission("scope: user, levels: [read], write_role: owner"),
        "3:52",
        "unknown role; expected `read`, `write` or `admin`",
    );
    check_catalog(
        "catalog: small\npermissions:\n  Code: { scope: user, levels: [read] }\nroutes: {}\n",
        "3:3",
        "lower-case letters, digits and `_`",
    );
}

#[test]
fn two_catalogs_share_a_permission_only_with_one_scope() {
    let catalog = |name: &str, scope: &str| {
        let text = format!(
            "catalog: {name}\npermissions:\n  code: {{ scope: {scope}, levels: [read] }}\nroutes: {{}}\n"
        );
        source(&format!("catalogs/{name}.yaml"), text)
    };
    let sources = [catalog("one", "repository"), catalog("two", "organization")];
    let text = describe(&faults_of(&sources, &[upstream(&["one", "two"])]));
    assert!(
        text.starts_with(
            "policies/catalogs/two.yaml:3:3: permission `code` has scope `repository` in another catalog"
        ),
        "{text}"
    );
    assert_eq!(faults_of(&sources, &[upstream(&["one"])]), []);
    let sources = [
        catalog("one", "user"),
        source("catalogs/other.yaml", "catalog: one\npermissions: {}\nroutes: {}\n"),
    ];
    let text = describe(&faults_of(&sources, &[upstream(&["one"])]));
    assert!(
        text.starts_with(
            "policies/catalogs/other.yaml: catalog `one` stands in `policies/catalogs/one.yaml` already"
        ),
        "{text}"
    );
}

#[test]
fn catalogs_of_one_upstream_may_not_differ_about_a_request() {
    let catalog = |name: &str, route: &str| {
        let text = format!(
            "catalog: {name}\nresource: {{ owner: [owner] }}\npermissions: {{}}\nroutes:\n  {route}: none\n"
        );
        source(&format!("catalogs/{name}.yaml"), text)
    };
    let sources = [catalog("one", "GET /x/{a}"), catalog("two", "GET /x/{owner}")];
    let text = describe(&faults_of(&sources, &[upstream(&["one", "two"])]));
    assert!(text.starts_with("policies/catalogs/two.yaml:5:3: "), "{text}");
    assert!(text.contains("one path would have two meanings"), "{text}");
    let apart = [upstream(&["one"]), UpstreamSpec { name: "other".into(), ..upstream(&["two"]) }];
    assert_eq!(faults_of(&sources, &apart), []);
}
