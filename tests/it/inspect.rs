//! Bodies that would tell the host another caller or another method than was judged, and bodies that break off.

use std::fs;
use std::sync::mpsc::{Receiver, channel};

use crate::support::gateway::{
    DEADLINE, TestGateway, authorization, head, policy_tokens, reason, status, wait_for,
};
use crate::support::http2::{Http2, Outcome, TLS};
use crate::support::policy::token;
use crate::support::wire::{Host, Wire, field, ok};

const WRITER: &str =
    "resource_owner: acme\nrepositories: [alpha]\npermissions: { contents: write, issues: write }";
const ISSUES: &str = "/repos/acme/alpha/issues";
const FILE: &str = "/repos/acme/alpha/contents/a";
const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// A host that shows each request with its length, and answers `done`; and a gateway that tells it of callers by
/// `identity`.
struct Site {
    host: Host,
    shown: Receiver<String>,
    gateway: TestGateway,
}

fn site(identity: &str) -> Site {
    configured("listeners: [{ bind: 127.0.0.1:0 }]", identity)
}

fn sudo() -> Site {
    site("sudo_file: secret")
}

fn configured(top: &str, identity: &str) -> Site {
    let (show, shown) = channel();
    let host = Host::start(move |mut wire, _| {
        while let Some(head) = wire.head() {
            if field(&head, "transfer-encoding").is_some() {
                // None of these ends.
                return wire.closed();
            }
            let length = field(&head, "content-length").map_or(0, |length| length.parse().unwrap());
            let body = wire.exactly(length);
            show.send(head + &body).unwrap();
            wire.send(ok("done"));
        }
    });
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("secret"), "s3cret").unwrap();
    if top == TLS {
        let made = rcgen::generate_simple_self_signed(vec!["git.example.com".into()]).unwrap();
        fs::write(directory.path().join("cert.pem"), made.cert.pem()).unwrap();
        fs::write(directory.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    }
    let upstreams = format!(
        "  - {{ name: forge, hosts: ['*'], url: 'http://{}', catalogs: [github], identity: {{ {identity} }} }}",
        host.address
    );
    let gateway = TestGateway::in_directory(directory, top, &upstreams, &[policy_tokens(&[(1, WRITER)])]);
    Site { host, shown, gateway }
}

/// A head with token 1; `fields` are whole lines.
fn ask(method: &str, target: &str, fields: &str) -> String {
    head(method, target, &format!("{}{fields}", authorization(1)))
}

fn of_type(media: &str) -> String {
    if media.is_empty() { String::new() } else { format!("Content-Type: {media}\r\n") }
}

impl Site {
    /// Sends head and body over a connection of its own: status and whole answer.
    fn send(&self, head: &str, body: &str) -> (u16, String) {
        let mut client = Wire::connect(self.gateway.address());
        client.send(format!("{head}{body}"));
        let (head, body) = client.answer();
        (status(&head), head + &body)
    }

    fn whole(&self, method: &str, target: &str, fields: &str, body: &str) -> (u16, String) {
        let fields = format!("{fields}Content-Length: {}\r\n", body.len());
        self.send(&ask(method, target, &fields), body)
    }

    #[track_caller]
    fn refuses(&self, method: &str, fields: &str, body: &str, want: (u16, &str)) {
        let target = if method == "PUT" { FILE } else { ISSUES };
        let (status, answer) = self.whole(method, target, fields, body);
        assert_eq!((status, reason(&answer).as_str()), want, "{method} {fields}{body}");
        assert_eq!(self.host.connections(), 0, "the host saw something of {body}");
    }

    /// The host gets the same bytes, with the same length.
    #[track_caller]
    fn passes(&self, method: &str, fields: &str, body: &str) {
        let target = if method == "PUT" { FILE } else { ISSUES };
        let (status, answer) = self.whole(method, target, fields, body);
        assert_eq!(status, 200, "{method} {fields}{body}: {answer}");
        let seen = self.shown.recv_timeout(DEADLINE).unwrap();
        let (head, sent) = seen.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("{method} {target} HTTP/1.1\r\n")), "{head}");
        assert_eq!(sent, body);
        let length = body.len().to_string();
        assert_eq!(field(head, "content-length"), Some(length.as_str()));
        assert_eq!(field(head, "transfer-encoding"), None);
    }
}

const CALLER: (u16, &str) = (400, "ambiguous_credentials");
const METHOD: (u16, &str) = (400, "ambiguous_target");

#[test]
fn no_body_names_another_caller_to_a_host_that_takes_sudo() {
    let site = sudo();
    for (media, body) in [
        (JSON, r#"{"sudo":"root"}"#),
        (JSON, r#"{"title":"a","SUDO":"root"}"#),
        (JSON, r#"{"\u0073udo":"root"}"#),
        (JSON, r#"{"a":1,"a":2,"sudo":"root"}"#),
        (JSON, r#"[{"sudo":"root"}]"#),
        (JSON, r#"{"sudo":"root"#),
        (JSON, r#"{} {"sudo":"root"}"#),
        ("application/vnd.api+json; charset=utf-8", r#"{"sudo":"root"}"#),
        ("text/json", r#"{"sudo":"root"}"#),
        (FORM, "sudo=root"),
        (FORM, "a=1&s%75do=root"),
        (FORM, "a=1;sudo=root"),
        (FORM, "sudo[]=root"),
        (FORM, "[sudo]=root"),
        (FORM, "s%u0075do=root"),
        (
            "multipart/form-data; boundary=a",
            "--a\r\nContent-Disposition: form-data; name=\"sudo\"\r\n\r\nroot\r\n--a--\r\n",
        ),
        ("application/xml", "<sudo>root</sudo>"),
        ("text/plain", "sudo=root"),
        ("", "sudo=root"),
        ("application/json, application/x-www-form-urlencoded", "{}"),
    ] {
        for method in ["POST", "PUT"] {
            site.refuses(method, &of_type(media), body, CALLER);
        }
    }
    let gzip = format!("{}Content-Encoding: gzip\r\n", of_type(JSON));
    site.refuses("POST", &gzip, "{}", CALLER);
    let twice = of_type(JSON) + &of_type(FORM);
    site.refuses("POST", &twice, "{}", CALLER);
    site.refuses("POST", &of_type(FORM), "_method=delete", METHOD);
    let audit = site.gateway.audit();
    assert_eq!(audit.len(), 43);
    for line in audit {
        assert_eq!((&line["effect"], &line["verdict"]), (&"refused".into(), &"refuse".into()));
    }
}

#[test]
fn what_was_looked_into_is_what_is_sent() {
    let site = sudo();
    for (media, body) in [
        (JSON, "{ \"title\" : \"sudo\",\n\"a\":{\"sudo\":1} }\n"),
        (JSON, "[]"),
        ("application/merge-patch+json", r#"{"\u0061":"é"}"#),
        (FORM, "a[sudo]=1&b=sudo&c=100%"),
        ("application/octet-stream", "sudo=root"),
        ("", ""),
    ] {
        for method in ["POST", "PUT"] {
            site.passes(method, &of_type(media), body);
        }
    }
    let git = "Content-Type: application/x-git-receive-pack-request\r\nContent-Encoding: gzip\r\n";
    site.passes("PUT", git, "not really");
    let nearly = format!("{{\"a\":\"{}\"}}", "x".repeat(1024 * 1024 - 8));
    assert_eq!(nearly.len(), 1024 * 1024);
    site.passes("PUT", &of_type(JSON), &nearly);
    let audit = site.gateway.audit();
    assert_eq!(audit.last().unwrap()["request_bytes"], 1024 * 1024);
    assert!(audit.iter().all(|line| line["effect"] == "forwarded"), "{audit:?}");
}

#[test]
fn a_body_that_is_too_large_to_look_into_is_refused() {
    let site = sudo();
    let fields = format!("{}Content-Length: 1048577\r\nExpect: 100-continue\r\n", of_type(JSON));
    let (status, answer) = site.send(&ask("PUT", FILE, &fields), "");
    assert_eq!((status, reason(&answer).as_str()), (413, "limit_exceeded"));
    let fields = format!("{}Transfer-Encoding: chunked\r\n", of_type(JSON));
    let body = format!("100001\r\n{}\r\n0\r\n\r\n", " ".repeat(0x10_0001));
    let (status, answer) = site.send(&ask("PUT", FILE, &fields), &body);
    assert_eq!((status, reason(&answer).as_str()), (413, "limit_exceeded"));
    assert_eq!(site.host.connections(), 0);
}

#[test]
fn chunks_are_looked_into_together() {
    let site = sudo();
    let head =
        ask("POST", ISSUES, &format!("{}Transfer-Encoding: chunked\r\nTE: trailers\r\n", of_type(JSON)));
    let (status, answer) = site.send(&head, "4\r\n{\"su\r\n6\r\ndo\":1}\r\n0\r\n\r\n");
    assert_eq!((status, reason(&answer).as_str()), CALLER);
    assert_eq!(site.host.connections(), 0);
    let (status, _) = site.send(&head, "4\r\n{\"su\r\n6\r\nda\":1}\r\n0\r\nsudo: root\r\n\r\n");
    assert_eq!(status, 200);
    let seen = site.shown.recv_timeout(DEADLINE).unwrap();
    assert!(seen.ends_with("\r\n\r\n{\"suda\":1}"), "{seen}");
    assert_eq!(field(&seen, "content-length"), Some("10"));
    assert_eq!(field(&seen, "transfer-encoding"), None);
    assert_eq!(field(&seen, "sudo"), Some("user1"));
}

#[test]
fn a_client_is_told_to_go_on_where_its_body_is_looked_into() {
    let site = sudo();
    let fields = format!("{}Content-Length: 2\r\nExpect: 100-continue\r\n", of_type(JSON));
    let mut client = Wire::connect(site.gateway.address());
    client.send(ask("POST", ISSUES, &fields));
    assert_eq!(client.head().unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("{}");
    assert_eq!(client.answer().1, "done");
    // Of a refused request no body is wanted.
    client.send(ask("POST", "/repos/acme/beta/issues", &fields));
    let (head, _) = client.answer();
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    let fields = fields.replace(JSON, "text/plain");
    let mut client = Wire::connect(site.gateway.address());
    client.send(ask("POST", ISSUES, &fields));
    let (head, _) = client.answer();
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
}

#[test]
fn no_form_makes_another_method_of_a_post() {
    let site = site("trusted_header: X-WEBAUTH-USER");
    for (media, body) in [
        (FORM, "_method=DELETE"),
        (FORM, "a=1&%5Fmethod=DELETE"),
        (FORM, "_METHOD=DELETE"),
        (FORM, "[_method]=DELETE"),
        (FORM, "_method[]=DELETE"),
        (FORM, "a=1; _method=DELETE"),
        ("", "_method=DELETE"),
        ("application/x-www-form-urlencoded;charset=IBM037", "x"),
        ("application/json, application/x-www-form-urlencoded", "x"),
    ] {
        site.refuses("POST", &of_type(media), body, METHOD);
    }
    let gzip = format!("{}Content-Encoding: gzip\r\n", of_type(FORM));
    site.refuses("POST", &gzip, "x", METHOD);
    site.passes("POST", &of_type(FORM), "method=1&a=_method");
    site.passes("POST", &of_type(JSON), r#"{"sudo":1"#);
    site.passes("PUT", &of_type(FORM), "_method=DELETE");
    site.passes("PUT", &gzip, "x");
}

#[test]
fn http2_bodies_are_looked_into() {
    let site = configured(TLS, "sudo_file: secret");
    let bearer = format!("Bearer {}", token(1));
    let certificate = fs::read(site.gateway.directory.path().join("cert.pem")).unwrap();
    let certificate = rustls::pki_types::pem::PemObject::from_pem_slice(&certificate).unwrap();
    let fields = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "git.example.com"),
        (":path", ISSUES),
        ("authorization", &bearer),
        ("content-type", JSON),
    ];
    let send =
        |body: &str| Http2::connect(&site.gateway, &certificate).send(&fields, Some(body.as_bytes()), &[]);
    let Outcome::Answered(answer) = send(r#"{"sudo":"root"}"#) else { panic!("no answer") };
    assert!(answer.contains("ambiguous_credentials"), "{answer}");
    assert_eq!(site.host.connections(), 0);
    assert_eq!(send(r#"{"a":1}"#), Outcome::Answered("done".into()));
    let seen = site.shown.recv_timeout(DEADLINE).unwrap();
    assert!(seen.ends_with("\r\n\r\n{\"a\":1}"), "{seen}");
    assert_eq!(field(&seen, "content-length"), Some("7"));
}

/// Bodies that break off while they are looked into, and on their way: what the client hears, and the audit line.
#[test]
fn a_body_that_breaks_off_is_its_clients_fault() {
    let top = "listeners: [{ bind: 127.0.0.1:0 }]\nlimits: { body_idle_time: 1s }";
    for media in [JSON, "application/octet-stream"] {
        let streams = media != JSON;
        let site = configured(top, "sudo_file: secret");
        let fields = of_type(media) + "Transfer-Encoding: chunked\r\n";
        for (body, want) in [
            ("5\r\nhello\r\nzz\r\n", (400, "malformed_request")),
            ("5\r\nhello\r\n", (408, "limit_exceeded")),
        ] {
            let mut client = Wire::connect(site.gateway.address());
            let before = site.host.connections();
            client.send(ask("PUT", FILE, &fields));
            if streams {
                wait_for("the head", || site.host.connections() > before);
            }
            client.send(body);
            let (head, text) = client.answer();
            let status = status(&head);
            assert_eq!((status, reason(&(head + &text)).as_str()), want, "{media}: {body}");
            client.closed();
        }
        let mut client = Wire::connect(site.gateway.address());
        client.send(ask("PUT", FILE, &fields) + "5\r\nhello\r\n");
        wait_for("the request", || site.gateway.metric("portcullis_requests_in_flight") > 0.5);
        client.reset();
        wait_for("its end", || site.gateway.metric("portcullis_requests_in_flight") < 0.5);
        assert_eq!(site.host.connections() > 0, streams);
        let audit = site.gateway.audit();
        let told: Vec<_> = audit
            .iter()
            .map(|line| (line["effect"].as_str().unwrap(), line["reason"].as_str().unwrap()))
            .collect();
        assert_eq!(
            told,
            [("refused", "malformed_request"), ("refused", "limit_exceeded"), ("aborted", "granted")],
            "{media}"
        );
    }
}

/// The policy may change while a body is collected; then it is not sent.
#[test]
fn a_permit_that_is_gone_when_the_body_is_there_opens_nothing() {
    let site = sudo();
    let fields = of_type(JSON) + "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n";
    let mut client = Wire::connect(site.gateway.address());
    client.send(ask("POST", ISSUES, &fields));
    assert_eq!(client.head().unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
    site.gateway.edit("tokens/test.yaml", "tokens: []\n");
    // Nothing that could be held back on its way.
    client.send("0\r\n\r\n");
    let (head, body) = client.answer();
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    assert_eq!(reason(&(head + &body)), "bad_credentials");
    assert_eq!(site.host.connections(), 0);
}
