//! Headers and proxies: what a client says of itself ends at the gateway, and what a host says of its hop too.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{CONTROLS, READER, passed, signed, sites, upstream};
use crate::support::gateway::{TestGateway, head, policy_tokens, reason, status};
use crate::support::policy::token;
use crate::support::spy::Spy;

/// What stands in each field that must not arrive.
const EVIL: &str = "evilvalue";

/// Sends each of `names` with [`EVIL`], over both protocols; requests pass, and the value does not arrive.
#[track_caller]
fn ends_here(names: &[&str]) {
    for site in sites() {
        for name in names {
            let before = site.spy.seen().len();
            let answer = site.request_with(&format!("{name}: {EVIL}\r\n"));
            assert_eq!(status(&answer), 200, "{name}: {answer}");
            let outcome = site.http2_with(&[(&name.to_ascii_lowercase(), EVIL)]);
            assert_eq!(outcome, passed(), "{name}");
            let seen = site.seen_since(before);
            assert_eq!(seen.matches("x-webauth-user: user1\r\n").count(), 2, "{seen}");
            assert_eq!(seen.matches("webauth").count(), 2, "{seen}");
            assert!(!seen.contains(EVIL), "{name}: {seen}");
            let line = format!("get {} http/1.1\r\n", site.control);
            assert_eq!(seen.matches(&line).count(), 2, "{name}: {seen}");
        }
    }
}

/// CVE-2026-40575 and its incomplete fix: only the request line is judged, whatever else names a path.
#[test]
fn no_header_names_the_path_that_is_judged() {
    let names = [
        "X-Forwarded-Uri",
        "X-Forwarded-Path",
        "X-Original-URL",
        "X-Original-URI",
        "X-Rewrite-URL",
        "X_Original_URL",
        "X-Forwarded-Method",
        "X-Original-Method",
    ];
    for site in sites() {
        for name in names {
            let line = format!("{name}: {}\r\n", site.control);
            for target in ["/repos/acme/beta/commits", "/acme/beta.git/info/refs", "/"] {
                let target = if target == "/" { "/notifications" } else { target };
                let answer = site.plain.request("GET", target, &line);
                assert!(status(&answer) >= 400, "{name} {target}: {answer}");
            }
        }
        site.spy.saw_nothing();
    }
    ends_here(&names);
}

/// CVE-2026-35051, CVE-2026-54764, GHSA-vhr5-ggp3-qq85: every forwarding field is the gateway's own.
#[test]
fn forwarding_fields_are_rebuilt() {
    ends_here(&[
        "X-Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "X-Forwarded-Prefix",
        "X-Forwarded-Proto",
        "X-Forwarded-Protocol",
        "X-Forwarded-Scheme",
        "X-Forwarded-Server",
        "X-Forwarded-Ssl",
        "X-Forwarded-User",
        "X-Forwarded-Email",
        "X-Forwarded-Groups",
        "X-Forwarded-Access-Token",
        "X-Forwarded-Client-Cert",
        "X-Forwarded-Tls-Client-Cert",
        "Forwarded",
        "X-Real-IP",
        "X-Client-IP",
        "True-Client-IP",
        "CF-Connecting-IP",
        "X-Cluster-Client-IP",
        "Via",
        "X-Request-Id",
        "Proxy",
        "X_Forwarded_For",
        "X.Forwarded.For",
        "x-FORWARDED_for",
    ]);
    for site in sites() {
        let before = site.spy.seen().len();
        site.request_with("");
        let seen = site.seen_since(before);
        for line in [
            "x-forwarded-for: 127.0.0.1\r\n",
            "x-forwarded-proto: http\r\n",
            "x-forwarded-host: git.example.com\r\n",
        ] {
            assert!(seen.contains(line), "{seen}");
        }
    }
}

/// CVE-2025-64484, CVE-2026-39858, GHSA-x677-9fxg-v5c5: identity fields in every spelling that a host may fold.
#[test]
fn identity_fields_end_here_in_every_spelling() {
    ends_here(&[
        "X-WEBAUTH-USER",
        "x-webauth-user",
        "X_WEBAUTH_USER",
        "X.WEBAUTH.USER",
        "X-WEBAUTH_USER",
        "x_Webauth.User",
        "X!WEBAUTH!USER",
        "X~WEBAUTH~USER",
        "X+Webauth+User",
        "X|Webauth-User",
        "X^Webauth`User",
        "X*Webauth'User",
        "X-WEBAUTH-EMAIL",
        "X-WEBAUTH-FULLNAME",
        "X-WebAuth-Groups",
        "Remote-User",
        "REMOTE_USER",
        "Remote.User",
        "Remote-Groups",
        "X-Remote-User",
        "X-Remote-Group",
        "X-Authenticated-User",
        "X-Auth-Request-User",
        "X-Auth-Request-Groups",
        "X-Authentik-Username",
        "X-Goog-Authenticated-User-Email",
        "X-User",
        "Sudo",
        "SUDO",
        "Impersonate-User",
        "Impersonate-Group",
        "X-Gerrit-RunAs",
        "X-SSL-Client-S-DN",
        "SSL-Client-Cert",
        "Client-Cert",
        "X-Client-Cert",
        "X-Amzn-Oidc-Identity",
        "X-MS-Client-Principal-Name",
    ]);
    // Several at once, and beside the credential.
    for site in sites() {
        let before = site.spy.seen().len();
        let lines = "X-WEBAUTH-USER: root\r\nX-WEBAUTH-USER: admin\r\nx_webauth_user: root\r\n";
        assert_eq!(status(&site.request_with(lines)), 200);
        let seen = site.seen_since(before);
        assert!(!seen.contains("root") && !seen.contains("admin"), "{seen}");
    }
}

/// CVE-2026-105299: a client's `Connection` takes no field of the gateway's away, and passes none on.
#[test]
fn connection_names_no_field_of_the_gateway() {
    for site in sites() {
        for value in [
            "X-WEBAUTH-USER",
            "x-webauth-user, x-forwarded-for, x-forwarded-proto, host, via, x-request-id",
            "close, X_WEBAUTH_USER",
            "keep-alive,, ,x-webauth-user,",
            "content-length, transfer-encoding",
            "\"x-webauth-user\"",
        ] {
            let before = site.spy.seen().len();
            let answer = site.request_with(&format!("Connection: {value}\r\nX-WEBAUTH-USER: root\r\n"));
            assert_eq!(status(&answer), 200, "{value}: {answer}");
            let seen = site.seen_since(before);
            for line in [
                "x-webauth-user: user1\r\n",
                "x-forwarded-for: 127.0.0.1\r\n",
                "host: 127.0.0.1:",
            ] {
                assert!(seen.contains(line), "{value}: {seen}");
            }
            assert!(
                !seen.contains("\r\nconnection:") && !seen.contains("root"),
                "{value}: {seen}"
            );
        }
        // RFC 9113 section 8.2.2: in HTTP/2 such a request is malformed.
        for field in [
            ("connection", "x-webauth-user"),
            ("keep-alive", "1"),
            ("proxy-connection", "close"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("te", "gzip"),
            ("te", "trailers, gzip"),
            ("X-Upper", "1"),
            ("x bad", "1"),
            ("x-bad", "a\r\nx-webauth-user: root"),
            ("x-bad", "a\0b"),
            ("", "1"),
            (":path", "/repos/acme/beta"),
        ] {
            let before = site.spy.seen().len();
            assert_ne!(site.http2_with(&[field]), passed(), "{field:?}");
            assert_eq!(site.seen_since(before), "", "{field:?}");
        }
        assert_eq!(site.http2_with(&[("te", "trailers")]), passed());
    }
}

/// CVE-2026-34457: nothing that a client calls itself, and no path of health checks, spares it the credential.
#[test]
fn no_health_check_passes_without_a_credential() {
    for site in sites() {
        for agent in [
            "GoogleHC/1.0",
            "kube-probe/1.30",
            "ELB-HealthChecker/2.0",
            "git/2.50",
        ] {
            for target in [
                site.control,
                "/ping",
                "/healthz",
                "/livez",
                "/readyz",
                "/metrics",
                "/oauth2/auth",
            ] {
                let answer = site
                    .plain
                    .raw(head("GET", target, &format!("User-Agent: {agent}\r\n")));
                assert_eq!(status(&answer), 401, "{agent} {target}: {answer}");
            }
        }
        site.spy.saw_nothing();
    }
}

/// CVE-2026-73552: bytes beyond ASCII, and control characters, where the gateway reads a value.
#[test]
fn fields_that_decide_hold_ascii_only() {
    for site in sites() {
        for line in [
            "Host: git.example.com\u{e9}",
            "Host: git.example.com\u{7f}",
            "Connection: \u{e9}, x-webauth-user",
            "Expect: \u{e9}",
            "Content-Length: \u{ff11}",
            "Transfer-Encoding: chunked\u{a0}",
            "Authorization: Bearer \u{e9}",
            "X-Any: a\0b",
            "X-Any: a\u{8}b",
            "X-Any\u{e9}: a",
        ] {
            let request = if line.starts_with("Host") {
                let signed = signed("GET", site.control, "");
                signed.replace("Host: git.example.com", line)
            } else {
                signed("GET", site.control, &format!("{line}\r\n"))
            };
            let answer = site.plain.raw(request);
            assert_eq!(status(&answer), 400, "{line:?}: {answer}");
        }
        let rows = [
            vec![("authorization", "Bearer \u{e9}")],
            vec![("host", "git.example.com\u{e9}")],
            vec![("content-length", "\u{ff11}")],
        ];
        for fields in rows {
            assert_ne!(site.http2_with(&fields), passed(), "{fields:?}");
        }
        site.spy.saw_nothing();
    }
}

/// CVE-2026-55458: hop-by-hop fields of an answer end here, on every status.
#[test]
fn answers_are_scrubbed_on_every_status() {
    for code in [
        "200 OK", "206 X", "304 X", "401 X", "404 X", "426 X", "500 X", "503 X",
    ] {
        let answer: &'static str = Box::leak(
            format!(
                "HTTP/1.1 {code}\r\nConnection: x-inner, keep-alive\r\nX-Inner: {EVIL}\r\nKeep-Alive: {EVIL}\r\nUpgrade: {EVIL}\r\nProxy-Authenticate: {EVIL}\r\nProxy-Connection: {EVIL}\r\nSet-Cookie: {EVIL}\r\nTE: {EVIL}\r\nX-Request-Id: {EVIL}\r\nContent-Length: 0\r\nETag: x\r\n\r\n"
            )
            .into_boxed_str(),
        );
        let spy = Spy::answering(answer);
        let gateway = TestGateway::before(spy.address, "github", READER);
        let answer = gateway.request("GET", CONTROLS[0].1, "Connection: close\r\n");
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {}", &code[..3])),
            "{answer}"
        );
        assert!(!answer.contains(EVIL), "{answer}");
        assert!(answer.contains("etag: x\r\n"), "{answer}");
    }
}

/// Method override: a GET is a GET.
#[test]
fn no_header_changes_the_method() {
    ends_here(&[
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
        "X_HTTP_Method_Override",
        "X.Http.Method.Override",
        "X-Http-Method-Anything",
        "_method",
        "Method-Override",
        "X-Method",
    ]);
}

/// Method override in the query, which several frameworks take for the method of a POST.
#[test]
fn no_query_field_changes_the_method() {
    for site in sites() {
        let mark = if site.control.contains('?') { '&' } else { '?' };
        for field in [
            "_method=DELETE",
            "%5fmethod=PUT",
            "_METHOD=PATCH",
            "a=1&_method=DELETE",
            "_method",
            "a=1;_method=PUT",
        ] {
            for method in ["GET", "POST"] {
                site.refuses(method, &format!("{}{mark}{field}", site.control));
            }
        }
    }
}

/// Pomerium#6590: two credentials are none.
#[test]
fn two_credentials_are_none() {
    let bearer = format!("Authorization: Bearer {}\r\n", token(1));
    let basic = |user: &str, password: &str| {
        format!(
            "Authorization: Basic {}\r\n",
            STANDARD.encode(format!("{user}:{password}"))
        )
    };
    let good = token(1);
    for site in sites() {
        let mark = if site.control.contains('?') { '&' } else { '?' };
        let mut rows = vec![
            (site.control.to_owned(), format!("{bearer}{bearer}")),
            (site.control.to_owned(), format!("{bearer}{}", basic("x", &good))),
            (site.control.to_owned(), format!("{}{bearer}", basic("x", &good))),
            (
                site.control.to_owned(),
                format!("Authorization: Basic x\r\n{bearer}"),
            ),
            (site.control.to_owned(), format!("Authorization:\r\n{bearer}")),
            (site.control.to_owned(), basic(&good, &token(9))),
            (site.control.to_owned(), basic(&token(9), &good)),
        ];
        for name in ["PRIVATE-TOKEN", "Private_Token", "private.token"] {
            rows.push((site.control.into(), format!("{bearer}{name}: {good}\r\n")));
            rows.push((site.control.into(), format!("{name}: {good}\r\n")));
        }
        for field in [
            "access_token",
            "ACCESS_TOKEN",
            "private_token",
            "Private-Token",
            "token",
            "job_token",
            "access%5ftoken",
            "%61ccess_token",
            "access.token",
            "access_token[]",
            "access_token%5b%5d",
            "x=1&token",
            "x=1;token",
            "token ",
            "+token",
            "%20token",
            "sudo",
            "SUDO",
        ] {
            let field = field.replace(' ', "+");
            rows.push((format!("{}{mark}{field}={good}", site.control), bearer.clone()));
            rows.push((format!("{}{mark}{field}={good}", site.control), String::new()));
        }
        for (target, lines) in rows {
            let answer = site.plain.raw(head("GET", &target, &lines));
            assert_eq!(status(&answer), 400, "{target} {lines}: {answer}");
            assert_eq!(answer.matches(&good).count(), 0, "{answer}");
        }
        let second = format!("Bearer {good}");
        assert_ne!(site.http2_with(&[("authorization", &second)]), passed());
        assert_ne!(site.http2_with(&[("private-token", &good)]), passed());
        site.spy.saw_nothing();
    }
}

/// APISIX key-auth (`hide_credentials=false`): a client's secret reaches no host, no record and no answer.
#[test]
fn the_secret_stays_here() {
    for (catalog, control) in CONTROLS {
        let spy = Spy::start();
        let gateway = TestGateway::before(spy.address, catalog, READER);
        let good = token(1);
        let pair = STANDARD.encode(format!("x:{good}"));
        let mut answers = String::new();
        for target in [
            control,
            "/repos/acme/beta",
            "/acme/beta.git/HEAD",
            "/x/../y",
            "/notifications",
        ] {
            for method in ["GET", "POST", "DELETE"] {
                for line in [
                    format!("Authorization: Bearer {good}\r\n"),
                    format!("Authorization: token {good}\r\n"),
                    format!("Authorization: Basic {pair}\r\n"),
                    format!("Authorization: Digest {good}\r\n"),
                    format!("Authorization: {good}\r\n"),
                    format!("Proxy-Authorization: Bearer {good}\r\n"),
                    format!("Authorization: Bearer {good}\r\nProxy-Authorization: Basic {pair}\r\n"),
                    format!("Authorization: Bearer {good}\r\nCookie: session={good}\r\n"),
                    format!("Authorization: Bearer {good}\r\nX-Forwarded-Access-Token: {good}\r\n"),
                    format!("Authorization_: Bearer {good}\r\nPRIVATE-TOKEN: {good}\r\n"),
                ] {
                    answers += &gateway.raw(head(method, target, &line));
                    answers += &gateway.raw(head(method, &format!("{target}?token={good}"), &line));
                }
            }
        }
        answers += &gateway.raw(format!("GET /{good} HTTP/1.1\r\nHost: x\r\n\r\n"));
        answers += &gateway.raw(format!("GET / HTTP/9\r\nAuthorization: Bearer {good}\r\n\r\n"));
        answers += &gateway.raw(format!("{good} / HTTP/1.1\r\nHost: x\r\n\r\n"));
        let metrics = gateway.running().metrics();
        let audit = format!("{:?}", gateway.audit());
        let seen = spy.seen();
        assert!(seen.contains("x-webauth-user: user1"), "nothing passed: {seen}");
        for (place, text) in [
            ("host", seen),
            ("answers", answers),
            ("metrics", metrics),
            ("audit", audit),
        ] {
            let at = text.find(&good).or_else(|| text.find(&pair));
            let around = at.map(|at| &text[at.saturating_sub(200)..at + 20]);
            assert_eq!(around, None, "{place}");
        }
    }
}

/// GHSA-cc8w-r4qh-3v65, CVE-2022-29226, CVE-2023-49947: the verdict is the same wherever the credential stands, and
/// one of an unknown kind is none.
#[test]
fn every_placement_gives_the_same_verdict() {
    let spy = Spy::start();
    let body = "resource_owner: acme\nrepositories: [alpha]\npermissions: { contents: read, issues: write }";
    let gateway = TestGateway::before(spy.address, "github", body);
    let basic = |pair: String| format!("Authorization: Basic {}\r\n", STANDARD.encode(pair));
    let good = token(1);
    let placements = [
        format!("authorization: bearer {good}\r\n"),
        format!("Authorization: token {good}\r\n"),
        format!("AUTHORIZATION: TOKEN {good}\r\n"),
        format!("Authorization: Bearer   {good}  \r\n"),
        basic(format!("x:{good}")),
        basic(format!("{good}:")),
        basic(format!("{good}:x-oauth-basic")),
        basic(format!(":{good}")),
        basic(format!("{good}:{good}")),
    ];
    let routes = [
        ("GET", "/repos/acme/alpha/commits"),
        ("GET", "/repos/acme/alpha"),
        ("HEAD", "/repos/acme/alpha/branches"),
        ("PUT", "/repos/acme/alpha/contents/a.txt"),
        ("POST", "/repos/acme/alpha/issues"),
        ("PATCH", "/repos/acme/alpha/issues/1"),
        ("POST", "/repos/acme/alpha/pulls"),
        ("DELETE", "/repos/acme/alpha"),
        ("POST", "/repos/acme/alpha/transfer"),
        ("GET", "/repos/acme/beta/commits"),
        ("GET", "/repos/other/alpha/commits"),
        ("GET", "/user"),
        ("GET", "/notifications"),
        ("GET", "/repos/acme/alpha/../beta"),
        ("POST", "/graphql"),
    ];
    let mut passes = 0;
    for (method, target) in routes {
        let verdict = |lines: &str| {
            let answer = gateway.raw(head(method, target, &format!("Connection: close\r\n{lines}")));
            let why = if status(&answer) < 400 || method == "HEAD" {
                String::new()
            } else {
                reason(&answer)
            };
            (status(&answer), why)
        };
        let want = verdict(&format!("Authorization: Bearer {good}\r\n"));
        passes += usize::from(want.0 == 200);
        for placement in &placements {
            assert_eq!(verdict(placement), want, "{method} {target} {placement}");
        }
        let before = spy.seen();
        for none in [
            String::new(),
            format!("Authorization: Digest username=\"{good}\"\r\n"),
            format!("Authorization: Negotiate {good}\r\n"),
            format!("Authorization: AWS4-HMAC-SHA256 Credential={good}\r\n"),
            format!("Authorization: {good}\r\n"),
            format!("Authorization: Bearer\t{good}\r\n"),
            format!("Authorization: Bearer {good},{good}\r\n"),
            format!("Cookie: token={good}\r\n"),
            format!("X-Api-Key: {good}\r\n"),
            basic("alice:hunter2".into()),
            basic(good.clone()),
        ] {
            let (status, _) = verdict(&none);
            assert!(matches!(status, 400 | 401), "{method} {target} {none}: {status}");
        }
        assert_eq!(spy.seen(), before, "{method} {target}");
    }
    assert_eq!(passes, 6, "the routes that pass");
}

/// `:authority` and `host` that differ, a name that is not the certificate's, a name with something behind it.
#[test]
fn one_request_names_one_host() {
    for site in sites() {
        let authority = |value| [(":method", "GET"), (":path", site.control), (":authority", value)];
        for value in [
            "other.example.com",
            "git.example.com:443@other.example.com",
            "other.example.com@git.example.com",
            "git.example.com:x",
            "git.example.com:44:3",
            "[git.example.com]other",
            "git.example.com.",
            "",
        ] {
            assert_ne!(site.http2(&authority(value), &[]), passed(), "{value}");
        }
        assert_ne!(site.http2_with(&[("host", "other.example.com")]), passed());
        assert_ne!(
            site.http2_with(&[("host", "git.example.com"), ("host", "git.example.com")]),
            passed()
        );
        for value in [
            "git.example.com, other.example.com",
            "git.example.com:80:90",
            "git.example.com:x",
            "git.example.com:80@other.example.com",
            "other@git.example.com",
            "git.example.com/x",
            "git.example.com#x",
            "[::1]other.example.com",
            "",
        ] {
            let request = signed("GET", site.control, "");
            let request = request.replace("git.example.com", value);
            let answer = site.plain.raw(request);
            assert!(matches!(status(&answer), 400 | 404), "{value}: {answer}");
        }
        let twice = signed("GET", site.control, "Host: git.example.com\r\n");
        assert_eq!(reason(&site.plain.raw(twice)), "malformed_request");
        site.spy.saw_nothing();
        assert_eq!(site.http2(&authority("GIT.example.com:8443"), &[]), passed());
    }
}

/// A service account: the client's own spellings of its fields end here too, and its credential does not come back.
#[test]
fn the_service_credential_is_the_gateways_own() {
    let spy = Spy::start();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("account"), "servicesecret").unwrap();
    let upstreams = upstream(spy.address, "github").replace(
        "trusted_header: X-WEBAUTH-USER",
        "bearer_file: account, user_header: X-Caller",
    );
    let top = "listeners: [{ bind: 127.0.0.1:0 }]";
    let policies = [policy_tokens(&[(1, READER)])];
    let gateway = TestGateway::in_directory(directory, top, &upstreams, &policies);
    let lines = "X-Caller: root\r\nX_Caller: root\r\nx.caller: root\r\nX~Caller: root\r\nConnection: authorization, x-caller\r\n";
    let answer = gateway.request("GET", CONTROLS[0].1, lines);
    assert_eq!(status(&answer), 200, "{answer}");
    let seen = spy.seen();
    assert!(seen.contains("authorization: Bearer servicesecret\r\n"), "{seen}");
    assert!(
        seen.contains("x-caller: user1\r\n") && !seen.contains("root"),
        "{seen}"
    );
    let refused = gateway.request("GET", "/notifications", lines);
    let audit = format!("{:?}", gateway.audit());
    for text in [answer, refused, audit] {
        assert!(!text.contains("servicesecret"), "{text}");
    }
}
