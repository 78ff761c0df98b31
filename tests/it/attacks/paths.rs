//! Path and route identity: the path that is judged is the path that is served.

use super::{READER, Site, passed, signed, site, sites};
use crate::support::gateway::{TestGateway, head, policy_tokens, reason, status};
use crate::support::policy::token;
use crate::support::spy::Spy;

fn github() -> Site {
    site("github", "/repos/acme/alpha/commits")
}

fn git() -> Site {
    site("git", "/acme/alpha.git/info/refs?service=git-upload-pack")
}

/// Puts each of `tricks` into the path of both catalogs, between what is granted and what is not.
#[track_caller]
fn refuses_everywhere(tricks: &[&str]) {
    for site in sites() {
        for trick in tricks {
            let targets = match site.catalog {
                "github" => [
                    format!("/repos/acme/alpha{trick}beta"),
                    format!("/repos/acme/alpha{trick}beta/commits"),
                    format!("/repos{trick}acme/alpha/commits"),
                    format!("/repos/acme{trick}alpha/commits"),
                    format!("/repos/acme/alpha/commits{trick}"),
                ],
                _ => [
                    format!("/acme/alpha.git{trick}beta.git/info/refs"),
                    format!("/acme/alpha{trick}beta/info/refs?service=git-upload-pack"),
                    format!("/acme{trick}alpha.git/info/refs"),
                    format!("/acme/alpha.git/info{trick}refs"),
                    format!("/acme/alpha.git/info/refs{trick}"),
                ],
            };
            for target in targets {
                for method in ["GET", "POST", "DELETE"] {
                    site.refuses(method, &target);
                }
            }
        }
        site.forwards("GET", site.control);
    }
}

/// GHSA-p224-6x5r-fjpm, CVE-2019-9901: `/public/../admin` in every spelling.
#[test]
fn dot_segments_pass_in_no_spelling() {
    refuses_everywhere(&[
        "/../",
        "/./",
        "/%2e%2e/",
        "/%2E%2e/",
        "/.%2e/",
        "/%2e./",
        "/%2e/",
        "/..%2f",
        "/%2e%2e%2f",
        "/%252e%252e/",
        "/..%5c",
        "/..\\",
        "/..;/",
        "/.;x/../",
        "/..",
        "/%2e%2e",
    ]);
}

/// CVE-2021-29492, CVE-2021-31920: an encoded slash, two slashes.
#[test]
fn encoded_and_doubled_slashes_pass_nowhere_in_names() {
    refuses_everywhere(&["//", "%2f", "%2F", "/%2f", "%2f/", "%252f", "%5c", "///"]);
}

/// GHSA-gm3x-23wp-hc2c: `/`, `\`, NUL, `;`, `?`, `#`, encoded, where an owner or a repository stands.
#[test]
fn encoded_delimiters_pass_in_no_name() {
    let (github, git) = (github(), git());
    for code in ["%2f", "%5c", "%00", "%3b", "%3f", "%23", "%25", "%0a", "%0d", "%20", "%7f"] {
        for code in [code.to_owned(), code.to_ascii_uppercase()] {
            for name in [format!("alpha{code}"), format!("{code}alpha"), format!("al{code}pha")] {
                github.refuses("GET", &format!("/repos/acme/{name}/commits"));
                github.refuses("GET", &format!("/repos/{name}/alpha/commits"));
                git.refuses("GET", &format!("/acme/{name}/info/refs?service=git-upload-pack"));
                git.refuses("GET", &format!("/{name}/alpha.git/info/refs"));
            }
        }
    }
    github.forwards("GET", github.control);
    git.forwards("GET", git.control);
}

/// GHSA-xf64-8mw2-4gr2: a prefix that is stripped before the path is made canonical. Ours is never stripped: the
/// segments that are judged are those that are forwarded.
#[test]
fn a_path_prefix_is_part_of_what_is_judged() {
    let spy = Spy::start();
    let upstreams = format!(
        "  - {{ name: forge, hosts: ['*'], path_prefix: /api/v3, url: 'http://{}', catalogs: [github], identity: {{ trusted_header: X-WEBAUTH-USER }} }}",
        spy.address
    );
    let gateway = TestGateway::start(&upstreams, &[policy_tokens(&[(1, READER)])]);
    for target in [
        "/repos/acme/alpha/commits",
        "/api/repos/acme/alpha/commits",
        "/api/v3repos/acme/alpha/commits",
        "/api/v3/../v3/repos/acme/alpha/commits",
        "/api/v3/../repos/acme/alpha/commits",
        "/api/v3//repos/acme/alpha/commits",
        "/api//v3/repos/acme/alpha/commits",
        "/api%2fv3/repos/acme/alpha/commits",
        "/API/V3/repos/acme/alpha/commits",
        "/api/v3/api/v3/repos/acme/alpha/commits",
        "/x/api/v3/repos/acme/alpha/commits",
        "/api/v3/repos/acme/beta/commits",
    ] {
        assert!(status(&gateway.request("GET", target, "")) >= 400, "{target}");
    }
    spy.saw_nothing();
    let target = "/api/v3/repos/acme/alpha/commits?path=a%2Fb";
    assert_eq!(status(&gateway.request("GET", target, "")), 200);
    assert!(spy.seen().starts_with(&format!("GET {target} HTTP/1.1\r\n")));
}

/// CVE-2026-73553, CVE-2026-73511, CVE-2026-73551, CVE-2026-127060: a path parameter, which some servers cut off.
#[test]
fn path_parameters_pass_nowhere() {
    refuses_everywhere(&[";/", ";x=y/", ";/../", "/;/", "%3b/", "%3B/", ";jsessionid=1/", "..;x/"]);
}

/// CVE-2026-41059, CVE-2021-32777, CVE-2021-39206, CVE-2026-129502: a fragment, plain or encoded.
#[test]
fn fragments_pass_nowhere_but_encoded_in_a_file_name() {
    refuses_everywhere(&["%23", "/%23/", "%2523/"]);
    let github = github();
    let before = github.spy.seen();
    for target in [
        "/repos/acme/alpha/commits#",
        "/repos/acme/alpha/commits#/../../beta",
        "/repos/acme/alpha/commits?sha=main#x",
        "/#/repos/acme/alpha/commits",
        "#",
    ] {
        let answer = github.plain.request("GET", target, "");
        assert_eq!(reason(&answer), "ambiguous_target", "{target}");
        assert_eq!(github.spy.seen(), before);
        // The HTTP/2 library cuts there before anybody looks; what is left is what is judged and forwarded.
        let outcome = github.http2(&[(":method", "GET"), (":path", target)], &[]);
        let seen = &github.spy.seen_since(before.len());
        assert!(outcome != passed() || !seen.contains('#'), "{target}: {seen}");
        assert!(!seen.contains("beta"), "{target}: {seen}");
        if outcome == passed() {
            break;
        }
    }
    github.forwards("GET", "/repos/acme/alpha/contents/a%23b.txt");
}

/// GHSA-7rh7-c77v-6434: the query takes no part in the choice of a route, and what a route reads of it stands once.
#[test]
fn the_query_chooses_no_route() {
    let (github, git) = (github(), git());
    for query in ["/repos/acme/alpha/commits", "x=/repos/acme/alpha", "/../../alpha"] {
        github.refuses("GET", &format!("/repos/acme/beta/commits?{query}"));
        github.refuses("GET", &format!("/notifications?{query}"));
        git.refuses("GET", &format!("/acme/beta.git/info/refs?{query}"));
    }
    for query in [
        "service=git-receive-pack",
        "service=git-upload-pack&service=git-receive-pack",
        "service=git-receive-pack&service=git-upload-pack",
        "service=git-upload-pack&%73ervice=git-receive-pack",
        "service=git-upload-pack&service",
        "service=git-upload-pack;service=git-receive-pack",
        "service=git%2Dreceive%2Dpack",
        "service=GIT-RECEIVE-PACK",
        "service=git-upload-pack%20",
        "service=git-upload-pack%00",
        "service=",
        "service=nothing",
    ] {
        git.refuses("GET", &format!("/acme/alpha.git/info/refs?{query}"));
    }
    github.forwards("GET", "/repos/acme/alpha/commits?path=/../../beta&x=a%2Fb;c&y=%23");
    git.forwards("GET", git.control);
}

/// CVE-2025-46821: `*`, `{` and `}` in a path are text, not patterns.
#[test]
fn characters_of_patterns_are_text() {
    refuses_everywhere(&["*", "/*/", "/**/", "{", "}", "/{repo}/", "[a-z]", "|", "$", "(", "%2a", "%7b"]);
    let github = github();
    github.refuses("GET", "/repos/acme/*/commits");
    github.refuses("GET", "/repos/{owner}/{repo}/commits");
    github.forwards("GET", "/repos/acme/alpha/contents/a*b%7B%7D");
}

/// CVE-2022-1993: git's own paths, and what lies beside them in a repository's folder.
#[test]
fn the_folder_of_a_repository_is_not_served() {
    let git = git();
    for path in [
        "config",
        "hooks/pre-receive",
        "objects/../config",
        "objects/..%2fconfig",
        "objects/%2e%2e/config",
        "objects/info/../../config",
        "objects/pack/..%2f..%2fconfig",
        "objects/pack/a/b",
        "objects/aa/bb/cc",
        "info/refs/",
        "info//refs",
        "info/refs/x",
        "info/attributes",
        "info/lfs/objects/batch",
        "git-upload-pack/",
        "git-upload-archive",
        "packed-refs",
        "refs/heads/main",
        "HEAD/",
        "head",
        "",
        "logs/HEAD",
    ] {
        for method in ["GET", "HEAD", "POST", "PUT"] {
            git.refuses(method, &format!("/acme/alpha.git/{path}"));
        }
    }
    git.refuses("POST", "/acme/alpha.git/git-receive-pack");
    git.refuses("GET", "/acme/alpha.git/git-upload-pack");
    git.refuses("GET", "/acme/alpha.git/git-receive-pack");
    git.refuses("PUT", "/acme/alpha.git/git-upload-pack");
    git.forwards("GET", "/acme/alpha.git/objects/aa/bbbb");
    git.forwards("POST", "/acme/alpha.git/git-upload-pack");
}

/// CVE-2026-75101: a name that the host redirects is judged anew, by the client's next request, and never followed.
#[test]
fn a_redirect_is_not_followed() {
    let spy = Spy::answering(
        "HTTP/1.1 301 Moved Permanently\r\nLocation: /repos/acme/beta/commits\r\nContent-Length: 0\r\n\r\n",
    );
    let gateway = TestGateway::before(spy.address, "github", READER);
    let answer = gateway.request("GET", "/repos/acme/alpha/commits", "");
    assert_eq!(status(&answer), 301);
    assert_eq!(spy.seen().matches("HTTP/1.1\r\n").count(), 1);
    let answer = gateway.request("GET", "/repos/acme/beta/commits", "");
    assert_eq!(reason(&answer), "resource_not_granted");
    assert_eq!(spy.seen().matches("HTTP/1.1\r\n").count(), 1);
}

/// CVE-2026-5845: a token that is not found opens nothing, whatever else the request says of its caller.
#[test]
fn no_principal_stands_in_for_an_unknown_token() {
    for site in sites() {
        for headers in [
            String::new(),
            "X-WEBAUTH-USER: user1\r\n".into(),
            "X-GitHub-Installation: 1\r\nX-User: user1\r\n".into(),
        ] {
            for secret in [token(9), token(1).replacen("portcullis", "github", 1), token(1).to_uppercase()] {
                let line = format!("Authorization: Bearer {secret}\r\n{headers}");
                let request = head("GET", site.control, &line);
                assert_eq!(status(&site.plain.raw(request)), 401, "{line}");
            }
        }
        site.spy.saw_nothing();
    }
}

/// What `*` and `all` select does not cross a slash, nor the border of the owner.
#[test]
fn all_repositories_are_those_of_one_owner() {
    let spy = Spy::start();
    let all = "resource_owner: acme\nrepositories: all\npermissions: { contents: read }";
    let gateway = TestGateway::before(spy.address, "git", all);
    for target in [
        "/acme/a/b/info/refs",
        "/acme/a.wiki/info/refs",
        "/acme/a.wiki.git/info/refs",
        "/acme/a.WIKI.git/info/refs",
        "/acme2/a/info/refs",
        "/acme./a/info/refs",
        "/acme%2fa/b/info/refs",
        "/acm/a/info/refs",
        "/acme/info/refs",
        "/other/a/info/refs",
    ] {
        assert!(status(&gateway.request("GET", target, "")) >= 400, "{target}");
    }
    spy.saw_nothing();
    assert_eq!(status(&gateway.request("GET", "/acme/anything/info/refs", "")), 200);
}

/// GHSA-cp3q-vrj2-ghhh and its kin: every spelling of a name is that repository, or nobody's.
#[test]
fn spellings_of_a_name_are_one_repository_or_none() {
    let (github, git) = (github(), git());
    for name in [
        "alpha.",
        "alpha..",
        "alpha.git.git",
        "alpha.git.",
        ".alpha",
        "alpha ",
        "alpha%20",
        "alpha.wiki",
        "alpha.wiki.git",
        "alpha.git.wiki",
        "alpha.WiKi",
        "alpha~",
        "alpha~1",
        "alpha::$DATA",
        "alpha:",
        "alpha,",
        "%61lpha",
        "alph\u{0430}",
        "alpha+",
        "alpha@",
        "-alpha",
        "alpha%00.git",
        "beta.git",
        "alpha-",
        "alpha_",
    ] {
        git.refuses("GET", &format!("/acme/{name}/info/refs"));
        git.refuses("POST", &format!("/acme/{name}/git-upload-pack"));
        github.refuses("GET", &format!("/repos/acme/{name}/commits"));
    }
    for name in ["alpha", "ALPHA", "alpha.git", "Alpha.GIT"] {
        git.forwards("GET", &format!("/acme/{name}/info/refs"));
        git.forwards("GET", &format!("/ACME/{name}/info/refs"));
        github.forwards("GET", &format!("/repos/Acme/{name}/commits"));
    }
    for tail in ["/", "/.", "%20", ".", "?/"] {
        let target = format!("/repos/acme/alpha{tail}");
        let answer = github.plain.request("DELETE", &target, "");
        assert!(status(&answer) >= 400, "{target}");
    }
}

/// CVE-2026-73547: targets without a path: authority form, absolute form, `*`, nothing.
#[test]
fn targets_without_a_path_are_refused() {
    for site in sites() {
        for (method, target) in [
            ("OPTIONS", "*"),
            ("GET", "*"),
            ("CONNECT", "git.example.com:443"),
            ("CONNECT", "/repos/acme/alpha/commits"),
            ("CONNECT", "127.0.0.1:22"),
            ("GET", "http://git.example.com/repos/acme/alpha/commits"),
            ("GET", "HTTP://git.example.com/acme/alpha.git/info/refs"),
            ("GET", "https://other.example.com/repos/acme/alpha/commits"),
            ("GET", "git.example.com/repos/acme/alpha/commits"),
            ("GET", "repos/acme/alpha/commits"),
            ("GET", "?service=git-upload-pack"),
        ] {
            site.refuses(method, target);
        }
        let answer = site.plain.raw(signed("GET", "", ""));
        assert_eq!(reason(&answer), "malformed_request");
        for pseudo in [
            [(":method", "CONNECT"), (":authority", "git.example.com:443")].as_slice(),
            &[(":method", "CONNECT"), (":protocol", "websocket"), (":path", site.control)],
            &[(":method", "GET")],
            &[(":method", "GET"), (":path", "")],
            &[(":path", site.control)],
            &[(":method", "GET"), (":path", site.control), (":path", site.control)],
            &[(":method", "GET"), (":path", site.control), (":status", "200")],
            &[("x-first", "1"), (":method", "GET"), (":path", site.control)],
        ] {
            assert_ne!(site.http2(pseudo, &[]), passed(), "{pseudo:?}");
        }
        site.spy.saw_nothing();
        site.forwards("GET", site.control);
    }
}

/// A method is compared as it is: no folding of case, nothing unknown, nothing that echoes.
#[test]
fn only_methods_of_the_catalog_pass() {
    for site in sites() {
        for method in [
            "get", "Get", "TRACE", "TRACK", "DEBUG", "PROPFIND", "OPTIONS", "PUT", "PATCH", "DELETE", "GETX",
            "PRI", "PURGE", "M-SEARCH", "QUERY",
        ] {
            site.refuses(method, site.control);
        }
        let head = site.plain.request("HEAD", site.control, "Connection: close\r\n");
        assert_eq!(status(&head), 200, "{head}");
        let two = [(":method", "GET POST"), (":path", site.control)];
        assert_ne!(site.http2(&two, &[]), passed());
    }
}
