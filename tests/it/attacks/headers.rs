//! Headers and proxies: what a client says of itself ends at the gateway, and what a host says of its hop too.

use super::{CONTROLS, READER, passed, signed, sites};
use crate::support::gateway::{TestGateway, head, reason, status};
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
            for line in ["x-webauth-user: user1\r\n", "x-forwarded-for: 127.0.0.1\r\n", "host: 127.0.0.1:"] {
                assert!(seen.contains(line), "{value}: {seen}");
            }
            assert!(!seen.contains("\r\nconnection:") && !seen.contains("root"), "{value}: {seen}");
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
        for agent in ["GoogleHC/1.0", "kube-probe/1.30", "ELB-HealthChecker/2.0", "git/2.50"] {
            for target in [site.control, "/ping", "/healthz", "/livez", "/readyz", "/metrics", "/oauth2/auth"]
            {
                let answer = site.plain.raw(head("GET", target, &format!("User-Agent: {agent}\r\n")));
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
    for code in ["200 OK", "206 X", "304 X", "401 X", "404 X", "426 X", "500 X", "503 X"] {
        let answer: &'static str = Box::leak(
            format!(
                "HTTP/1.1 {code}\r\nConnection: x-inner, keep-alive\r\nX-Inner: {EVIL}\r\nKeep-Alive: {EVIL}\r\nUpgrade: {EVIL}\r\nProxy-Authenticate: {EVIL}\r\nProxy-Connection: {EVIL}\r\nSet-Cookie: {EVIL}\r\nTE: {EVIL}\r\nX-Request-Id: {EVIL}\r\nContent-Length: 0\r\nETag: x\r\n\r\n"
            )
            .into_boxed_str(),
        );
        let spy = Spy::answering(answer);
        let gateway = TestGateway::before(spy.address, "github", READER);
        let answer = gateway.request("GET", CONTROLS[0].1, "Connection: close\r\n");
        assert!(code.starts_with(&status(&answer).to_string()), "{answer}");
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
        assert_ne!(site.http2_with(&[("host", "git.example.com"), ("host", "git.example.com")]), passed());
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
