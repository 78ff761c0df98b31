//! Credentials: one, in one place, with the same verdict wherever that is, and it stays here.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{CONTROLS, READER, passed, sites, upstream};
use crate::support::gateway::{TestGateway, head, policy_tokens, reason, status};
use crate::support::policy::token;
use crate::support::spy::Spy;

/// Pomerium#6590: two credentials are none.
#[test]
fn two_credentials_are_none() {
    let bearer = format!("Authorization: Bearer {}\r\n", token(1));
    let basic = |user: &str, password: &str| {
        format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{user}:{password}")))
    };
    let good = token(1);
    for site in sites() {
        let mark = if site.control.contains('?') { '&' } else { '?' };
        let mut rows = vec![
            (site.control.to_owned(), format!("{bearer}{bearer}")),
            (site.control.to_owned(), format!("{bearer}{}", basic("x", &good))),
            (site.control.to_owned(), format!("{}{bearer}", basic("x", &good))),
            (site.control.to_owned(), format!("Authorization: Basic x\r\n{bearer}")),
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
        for target in [control, "/repos/acme/beta", "/acme/beta.git/HEAD", "/x/../y", "/notifications"] {
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
        for (place, text) in [("host", seen), ("answers", answers), ("metrics", metrics), ("audit", audit)] {
            let at = text.find(&good).or_else(|| text.find(&pair));
            let around = at.map(|at| String::from_utf8_lossy(&text.as_bytes()[at.saturating_sub(200)..at]));
            assert_eq!(around, None, "{place}");
        }
    }
}

/// Something of each kind: granted, lacking, of others, unknown, ambiguous.
const ROUTES: [(&str, &str); 15] = [
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
    let mut passes = 0;
    for (method, target) in ROUTES {
        let verdict = |lines: &str| {
            let answer = gateway.raw(head(method, target, &format!("Connection: close\r\n{lines}")));
            let why = if status(&answer) < 400 || method == "HEAD" { String::new() } else { reason(&answer) };
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

/// A service account: the client's own spellings of its fields end here too, and its credential does not come back.
#[test]
fn the_service_credential_is_the_gateways_own() {
    let spy = Spy::start();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("account"), "servicesecret").unwrap();
    let upstreams = upstream(spy.address, "github")
        .replace("trusted_header: X-WEBAUTH-USER", "bearer_file: account, user_header: X-Caller");
    let top = "listeners: [{ bind: 127.0.0.1:0 }]";
    let policies = [policy_tokens(&[(1, READER)])];
    let gateway = TestGateway::in_directory(directory, top, &upstreams, &policies);
    let lines = "X-Caller: root\r\nX_Caller: root\r\nx.caller: root\r\nX~Caller: root\r\nConnection: authorization, x-caller\r\n";
    let answer = gateway.request("GET", CONTROLS[0].1, lines);
    assert_eq!(status(&answer), 200, "{answer}");
    let seen = spy.seen();
    assert!(seen.contains("authorization: Bearer servicesecret\r\n"), "{seen}");
    assert!(seen.contains("x-caller: user1\r\n") && !seen.contains("root"), "{seen}");
    let refused = gateway.request("GET", "/notifications", lines);
    let audit = format!("{:?}", gateway.audit());
    for text in [answer, refused, audit] {
        assert!(!text.contains("servicesecret"), "{text}");
    }
}
