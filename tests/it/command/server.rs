//! The commands over the API, at a gateway that runs.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::command::local::ACME;
use crate::command::{Finished, command, finish};
use crate::support::api::{ApiGateway, PASSWORD, add_user};
use crate::support::gateway::{TestGateway, wait_for, write};
use crate::support::secure::Authority;
use crate::support::spy::Spy;

/// A gateway with people who have signed in, each with a file of their login that holds the session.
struct Served {
    gateway: ApiGateway,
    url: String,
}

impl Served {
    fn start(spy: &Spy) -> Self {
        let gateway = ApiGateway::before(spy.address, "github", &[("organizations/acme.yaml", ACME.into())]);
        let url = format!("http://{}", gateway.gateway.running().control.unwrap());
        let served = Self { gateway, url };
        for (login, administrator) in [("root", true), ("alice", false), ("bob", false)] {
            served.gateway.add_user(login, administrator);
            let line = format!("sign-in --login {login} --server {}", served.url);
            let told = run(served.folder(), &line, PASSWORD).expect(0).tells(&["is signed in", "ends 20"]);
            assert!(
                told.stdout.starts_with("portcullis_session_")
                    && !told.stderr.contains("portcullis_session_")
            );
            assert!(!told.stderr.contains(PASSWORD));
            fs::write(served.folder().join(login), told.stdout).unwrap();
        }
        served
    }

    fn folder(&self) -> &Path {
        self.gateway.gateway.directory.path()
    }

    /// Runs `line` as `who`.
    fn run(&self, who: &str, line: &str) -> Finished {
        run(self.folder(), &format!("{line} --server {} --credential-file {who}", self.url), "")
    }
}

fn run(folder: &Path, line: &str, input: &str) -> Finished {
    let words: Vec<_> = line.split_whitespace().collect();
    finish(command(folder, &words), input)
}

#[test]
fn a_token_lives_at_a_server() {
    let spy = Spy::start();
    let served = Served::start(&spy);
    let create = "token create --name nightly --owner acme --repositories alpha --permissions contents=read";
    let made =
        served.run("bob", create).expect(0).tells(&["of `bob`", "waits for approval by an owner of `acme`:"]);
    let token = made.stdout.trim();
    assert!(token.starts_with("portcullis_pat_") && made.stdout.lines().count() == 1);
    assert_eq!(served.run("bob", "token list").expect(0).rows()[0][..2], ["1", "nightly"]);
    served.run("alice", "token list").expect(0).tells(&["no tokens"]);
    assert_eq!(
        served.run("alice", "request list acme").expect(0).rows()[0][1..4],
        ["nightly", "bob", "alpha"]
    );
    served.run("bob", "request approve acme 1").expect(1).tells(&["refused: only owners of `acme`"]);
    served.run("alice", "request approve acme 1").expect(0);
    assert_eq!(served.gateway.ask(token, "GET", "/repos/acme/alpha/contents/README.md"), 200);
    assert_eq!(served.run("alice", "grant list acme --json").expect(0).json()[0]["owner"]["login"], "bob");
    let renewed = served.run("bob", "token regenerate 1 --expires 1d").expect(0).stdout;
    assert_eq!(served.gateway.ask(token, "GET", "/repos/acme/alpha/contents/README.md"), 401);
    assert_eq!(served.gateway.ask(renewed.trim(), "GET", "/repos/acme/alpha/contents/README.md"), 200);
    served.run("alice", "grant revoke acme 1").expect(0);
    let shown = served.run("bob", "token show 1").expect(0).stdout;
    assert!(!shown.contains("at acme"), "{shown}");
    served.run("alice", "token revoke 1").expect(1).tells(&["not found"]);
    served.run("bob", "token revoke 1").expect(0);
    assert_eq!(served.run("bob", "token show 1").expect(1).tells(&["not found"]).stdout, "");
    let rows = served.run("alice", "audit query --org acme").expect(0).rows();
    assert_eq!(rows[0][2..4], ["personal_access_token.access_revoked", "alice"]);
    served.run("alice", "audit query").expect(1).tells(&["only administrators"]);
    served.run("root", "audit query").expect(0);
    served.run("root", "user suspend bob").expect(0);
    served.run("bob", "token list").expect(1).tells(&["Bad credentials", "portcullis sign-in"]);
    assert_eq!(served.run("root", "user list").expect(0).rows().len(), 3);
    served.run("root", "user resume bob").expect(0);
    served.run("bob", "token list").expect(1).tells(&["Bad credentials"]);
    served.run("alice", "user list").expect(1).tells(&["only administrators"]);
}

#[test]
fn long_lists_are_followed_to_their_end() {
    let spy = Spy::start();
    let served = Served::start(&spy);
    let bob = served.gateway.sign_in("bob");
    for number in 0..103 {
        bob.create(&json!({ "name": format!("t{number}"), "resource_owner": "acme", "repositories": "all", "permissions": { "contents": "read" } }));
    }
    for (who, line, want) in [
        ("bob", "token list", 103),
        ("alice", "request list acme", 103),
        ("root", "audit query --limit 150", 150),
        ("root", "audit query --limit 1", 1),
        ("root", "audit query --action personal_access_token.* --limit 1000", 206),
    ] {
        assert_eq!(served.run(who, line).expect(0).rows().len(), want, "{line}");
        let names = ["token list", "request list"].iter().any(|name| line.starts_with(name));
        let lines = served.run(who, &format!("{line} --json")).expect(0);
        let count = if names { lines.json().as_array().unwrap().len() } else { lines.stdout.lines().count() };
        assert_eq!(count, want, "{line}");
    }
}

#[test]
fn requests_are_found_at_a_server() {
    let spy = Spy::start();
    let served = Served::start(&spy);
    let create = "token create --name nightly --owner acme --repositories alpha --permissions contents=read";
    let token = served.run("alice", create).expect(0).stdout;
    for method in ["GET", "PUT"] {
        served.gateway.ask(token.trim(), method, "/repos/acme/alpha/contents/a");
    }
    let found = |who: &str, line: &str| {
        let told = served.run(who, &format!("audit requests --json {line}")).expect(0).stdout;
        let methods = told.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["method"].clone());
        methods.collect::<Vec<_>>()
    };
    wait_for("the log", || found("root", "--token nightly").len() == 2);
    assert_eq!(found("alice", "--org acme --token nightly"), ["PUT", "GET"]);
    assert_eq!(found("alice", "--org acme --refused --since 1h --reason permission_missing"), ["PUT"]);
    assert_eq!(found("alice", "--org acme --limit 1"), ["PUT"]);
    served.run("bob", "audit requests --org acme").expect(1).tells(&["only owners of `acme`"]);
    served.run("alice", "audit requests").expect(1).tells(&["refused"]);
    served.run("root", "audit requests --log audit").expect(2).tells(&["cannot be used with"]);
}

/// What is looked for may be far back in a log of which each answer covers a part.
#[test]
fn an_empty_page_leads_on() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let link = format!("Link: <{url}/request-log?before=1-2>; rel=\"next\"\r\n");
    let server = thread::spawn(move || {
        for (link, body) in [(link.as_str(), "[]"), ("", "[{\"path\":\"/far/back\"}]")] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\n{link}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )
            .unwrap();
        }
    });
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("root"), "portcullis_session_00").unwrap();
    let words = format!("audit requests --json --server {url} --credential-file root");
    assert_eq!(run(folder.path(), &words, "").expect(0).stdout, "{\"path\":\"/far/back\"}\n");
    server.join().unwrap();
}

#[test]
fn a_credential_comes_by_file_or_variable_and_goes_nowhere_else() {
    let spy = Spy::start();
    let served = Served::start(&spy);
    let session = fs::read_to_string(served.folder().join("bob")).unwrap();
    let with = |credential: &str| {
        let mut command = command(served.folder(), &["token", "list"]);
        command.env("PORTCULLIS_SERVER", &served.url).env("PORTCULLIS_CREDENTIAL", credential);
        finish(command, "")
    };
    with(session.trim()).expect(0).tells(&["no tokens"]);
    with("portcullis_session_00").expect(1).tells(&["does not take the credential"]);
    with("").expect(2).tells(&["--credential-file", "PORTCULLIS_CREDENTIAL", "sign-in"]);
    with("a\nb").expect(2).tells(&["PORTCULLIS_CREDENTIAL: holds a second line"]);
    served.run("bob", "token list").expect(0).tells(&["everybody on this machine may read `bob`"]);
    let url = &served.url;
    run(served.folder(), &format!("token list --server {url} --credential-file nowhere"), "").expect(2);
    let told =
        run(served.folder(), &format!("token list --server {url} --credential-file {session}"), "").expect(2);
    assert!(
        told.stderr.contains("an argument holds") && !told.stderr.contains(session.trim()),
        "{}",
        told.stderr
    );
    for (line, want) in [
        ("token list --user bob", "`--user` is for the local store"),
        (
            "token create --user bob --name n --owner acme --permissions contents=read",
            "`--user` is for the local store",
        ),
        ("token revoke 1 --why x", "`--why` is for the local store"),
        ("user add carol", "unexpected argument '--server'"),
        ("audit verify", "unexpected argument '--server'"),
    ] {
        served.run("bob", line).expect(2).tells(&[want]);
    }
    let told =
        run(served.folder(), "token list --server http://192.0.2.1 --credential-file bob", "").expect(2);
    told.tells(&["in the clear", "https://192.0.2.1", "--danger-plain-http"]);
    run(served.folder(), "sign-in --login bob --server http://192.0.2.1", PASSWORD)
        .expect(2)
        .tells(&["in the clear"]);
}

#[test]
fn a_server_that_is_none_is_told_with_what_to_do() {
    let spy = Spy::start();
    let served = Served::start(&spy);
    let ask =
        |url: &str| run(served.folder(), &format!("token list --server {url} --credential-file bob"), "");
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = free.local_addr().unwrap();
    drop(free);
    ask(&format!("http://{closed}")).expect(1).tells(&["nothing listens", "control.bind"]);
    ask(&served.url.replace("http:", "https:")).expect(1).tells(&["no TLS is spoken there", "`http://`"]);
    ask("ftp://h").expect(2).tells(&["neither `http` nor `https`"]);
    let without = TestGateway::before(
        spy.address,
        "github",
        "resource_owner: acme\nrepositories: all\npermissions: { contents: read }",
    );
    let control = without.running().control.unwrap();
    ask(&format!("http://{control}")).expect(1).tells(&["there is no API", "`store`"]);
    let wrong =
        run(served.folder(), &format!("sign-in --login bob --server {}", served.url), "wrong password")
            .expect(1);
    assert_eq!(wrong.tells(&["not signed in", "Bad credentials"]).stdout, "");
}

#[test]
fn the_data_plane_is_asked_over_tls_with_a_token() {
    let spy = Spy::start();
    let authority = Authority::new();
    let directory = TempDir::new().unwrap();
    authority.issue(&["localhost"]).write(directory.path(), "a");
    write(&directory.path().join("ca.pem"), &authority.certificate);
    write(&directory.path().join("other.pem"), &Authority::new().certificate);
    let upstreams = format!(
        "  - {{ name: forge, hosts: [git.example.com], url: 'http://{}', catalogs: [github], identity: {{ trusted_header: X-WEBAUTH-USER }} }}",
        spy.address
    );
    let top = "listeners: [{ bind: 127.0.0.1:0, tls: { certificate: a.pem, key: a.key } }]\nstore: sqlite:portcullis.db\napi: { hosts: [localhost] }";
    let gateway =
        TestGateway::in_directory(directory, top, &upstreams, &[("organizations/acme.yaml", ACME.into())]);
    let folder = gateway.directory.path();
    add_user(folder, "bob", false);
    for (name, what) in [
        ("keeper", "bob --permissions personal_access_tokens=read"),
        ("reader", "acme --repositories all --permissions contents=read"),
    ] {
        let line = format!("token create --user bob --name {name} --owner {what}");
        let made = run(folder, &line, "").expect(0);
        fs::write(folder.join(name), made.stdout).unwrap();
    }
    run(folder, "request approve acme 1", "").expect(0);
    let port = gateway.address().port();
    let ask = |name: &str, rest: &str| {
        run(folder, &format!("token list --server https://{name}:{port} {rest}"), "")
    };
    wait_for("the tokens", || ask("localhost", "--ca ca.pem --credential-file keeper").code == 0);
    let listed = ask("localhost", "--ca ca.pem --credential-file keeper").expect(0);
    assert_eq!(listed.rows().len(), 2);
    ask("localhost", "--ca ca.pem --credential-file reader").expect(1).tells(&["refused"]);
    ask("localhost", "--ca other.pem --credential-file keeper")
        .expect(1)
        .tells(&["cannot be trusted", "--ca"]);
    ask("127.0.0.1", "--ca ca.pem --credential-file keeper").expect(1).tells(&["for another name"]);
    ask("localhost", "--ca missing.pem --credential-file keeper").expect(2).tells(&["missing.pem"]);
    assert_eq!(spy.seen(), "", "nothing reached the host");
}
