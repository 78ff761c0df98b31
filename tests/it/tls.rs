//! TLS towards clients: protocols, names, certificates that change, and handshakes that never end.

use std::fs;
use std::io::Read;
use std::time::{Duration, Instant};

use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use tempfile::TempDir;

use crate::support::gateway::{
    TestGateway, authorization, head, policy_tokens, reason, status, wait_for, write,
};
use crate::support::secure::{Authority, Http2, Pair, get, run, secure_gateway};
use crate::support::wire::{Host, Wire, ok};

const READER: &str = "resource_owner: acme\nrepositories: [alpha]\npermissions: { contents: read }";
const COMMITS: &str = "/repos/acme/alpha/commits";

fn upstreams(host: &Host) -> String {
    format!(
        "  - {{ name: forge, hosts: ['git.example.com', 'a.test'], url: 'http://{}', catalogs: [github], identity: {{ trusted_header: X-WEBAUTH-USER }} }}",
        host.address
    )
}

fn request() -> String {
    head("GET", COMMITS, &authorization(1))
}

/// The certificate that a client is offered who asks for `name`.
fn offered(gateway: &TestGateway, authority: &Authority, name: &str) -> Vec<u8> {
    let mut socket = std::net::TcpStream::connect(gateway.address()).unwrap();
    let config = authority.client(&["http/1.1"]).into();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut session = ClientConnection::new(config, name).unwrap();
    session.complete_io(&mut socket).unwrap();
    session.peer_certificates().unwrap()[0].to_vec()
}

fn same(offered: &[u8], pair: &Pair) -> bool {
    use rustls::pki_types::pem::PemObject;
    *rustls::pki_types::CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap() == *offered
}

#[test]
fn alpn_chooses_the_protocol() {
    let authority = Authority::new();
    let host = Host::answering(|_| ok("hello"));
    let gateway = secure_gateway(&authority, "", &upstreams(&host), &[policy_tokens(&[(1, READER)])]);
    for alpn in [["http/1.1"].as_slice(), &[]] {
        let mut client = Wire::connect_tls(gateway.address(), authority.client(alpn), "git.example.com");
        for _ in 0..3 {
            client.send(request());
            assert_eq!(client.answer().1, "hello");
        }
    }
    run(async {
        let mut client = Http2::connect(gateway.address(), &authority).await;
        for _ in 0..3 {
            let (status, _, body) = client.answer(get(COMMITS)).await.unwrap();
            assert_eq!((status.as_u16(), body.as_str()), (200, "hello"));
        }
    });
    assert!(gateway.metric("portcullis_tls_handshakes_total{result=\"ok\"}") > 2.5);
}

/// SHA-256 has instructions of its own, SHA-384 has none; a client that wants nothing else gets what it wants.
#[test]
fn the_suite_is_one_that_costs_little_and_others_are_there() {
    use rustls::CipherSuite;
    use rustls::crypto::aws_lc_rs::default_provider;
    let authority = Authority::new();
    let host = Host::answering(|_| ok("hello"));
    let gateway = secure_gateway(&authority, "", &upstreams(&host), &[policy_tokens(&[(1, READER)])]);
    let suite_of = |alone: Option<CipherSuite>| {
        let mut provider = default_provider();
        provider.cipher_suites.retain(|suite| alone.is_none_or(|alone| suite.suite() == alone));
        let config = rustls::ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(authority.roots())
            .with_no_client_auth();
        let mut socket = std::net::TcpStream::connect(gateway.address()).unwrap();
        let name = ServerName::try_from("git.example.com").unwrap();
        let mut session = ClientConnection::new(config.into(), name).unwrap();
        session.complete_io(&mut socket).unwrap();
        session.negotiated_cipher_suite().unwrap().suite()
    };
    // It offers AES-256 first.
    assert_eq!(suite_of(None), CipherSuite::TLS13_AES_128_GCM_SHA256);
    for alone in [CipherSuite::TLS13_AES_256_GCM_SHA384, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256] {
        assert_eq!(suite_of(Some(alone)), alone);
    }
}

#[test]
fn replaced_certificates_are_used_and_broken_ones_are_not() {
    let authority = Authority::new();
    let host = Host::answering(|_| ok("hello"));
    let gateway = secure_gateway(&authority, "", &upstreams(&host), &[policy_tokens(&[(1, READER)])]);
    let mut old = Wire::connect_tls(gateway.address(), authority.client(&[]), "git.example.com");
    old.send(request());
    assert_eq!(old.answer().1, "hello");

    let expiry = || {
        let name = "portcullis_tls_certificate_expiry_timestamp_seconds{certificate=\"tls/a.pem\",listener=\"127.0.0.1:0\"}";
        gateway.metric(name)
    };
    // The first moment of 2061.
    let (first, year_2061) = (expiry(), 2_871_763_200.0);
    let is_told = |moment: f64| (expiry() - moment).abs() < 0.5;
    assert!(first > year_2061, "{first}");
    let folder = gateway.directory.path().join("tls");
    let pair = authority.issue(&["git.example.com"]);
    pair.write(&folder, "a");
    let start = Instant::now();
    wait_for("the new certificate", || same(&offered(&gateway, &authority, "git.example.com"), &pair));
    let took = start.elapsed();
    println!("a certificate was in use after {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    old.send(request());
    assert_eq!(old.answer().1, "hello");

    write(&folder.join("a.pem"), "broken");
    // A policy that is in force was read after the certificates changed; the next one, after they were looked at.
    gateway.edit("deny.yaml", "deny: []\n");
    gateway.edit("deny.yaml", "deny: [] # again\n");
    assert!(same(&offered(&gateway, &authority, "git.example.com"), &pair));
    // A key that is not the certificate's.
    let other = authority.issue_until(&["git.example.com"], jiff::civil::date(2061, 1, 1));
    write(&folder.join("a.pem"), &other.certificate);
    gateway.edit("deny.yaml", "deny: [] # and again\n");
    gateway.edit("deny.yaml", "deny: [] # and once more\n");
    assert!(same(&offered(&gateway, &authority, "git.example.com"), &pair));
    assert!(is_told(first), "that of a certificate which is not in use");
    write(&folder.join("a.key"), &other.key);
    wait_for("the mended pair", || same(&offered(&gateway, &authority, "git.example.com"), &other));
    wait_for("the new expiry", || is_told(year_2061));
}

#[test]
fn the_name_picks_the_certificate_and_must_be_the_host() {
    let authority = Authority::new();
    let host = Host::answering(|_| ok("hello"));
    let directory = TempDir::new().unwrap();
    let folder = directory.path().join("tls");
    fs::create_dir(&folder).unwrap();
    let names = ["git.example.com", "a.test", "b.wild.test"];
    let [first, second, wild] = ["first", "second", "wild"].map(|name| {
        let pair = authority.issue(&names);
        pair.write(&folder, name);
        pair
    });
    let top = "listeners: [{ bind: 127.0.0.1:0, tls: [\
               { certificate: tls/first.pem, key: tls/first.key }, \
               { hosts: [a.test], certificate: tls/second.pem, key: tls/second.key }, \
               { hosts: ['*.wild.test'], certificate: tls/wild.pem, key: tls/wild.key }] }]";
    let gateway =
        TestGateway::in_directory(directory, top, &upstreams(&host), &[policy_tokens(&[(1, READER)])]);
    for (name, pair) in names.iter().zip([&first, &second, &wild]) {
        assert!(same(&offered(&gateway, &authority, name), pair), "{name}");
    }
    let mut client = Wire::connect_tls(gateway.address(), authority.client(&[]), "a.test");
    client.send(request());
    let (head, body) = client.answer();
    assert_eq!((status(&head), reason(&(head + &body)).as_str()), (421, "no_upstream"));
    run(async {
        let mut client = Http2::connect(gateway.address(), &authority).await;
        let other = http::Request::get(format!("https://a.test{COMMITS}"));
        let (status, _, body) = client.answer(other).await.unwrap();
        assert_eq!(status.as_u16(), 421);
        assert!(body.contains("\"no_upstream\""), "{body}");
    });
}

#[test]
fn what_is_no_tls_and_what_never_ends_is_cut() {
    let authority = Authority::new();
    let host = Host::answering(|_| ok("hello"));
    let limits = "limits: { header_time: 1s }";
    let gateway = secure_gateway(&authority, limits, &upstreams(&host), &[policy_tokens(&[(1, READER)])]);
    let mut plain = Wire::connect(gateway.address());
    plain.send(request());
    plain.closed();
    wait_for("the failure to be counted", || {
        gateway.metric("portcullis_tls_handshakes_total{result=\"failed\"}") > 0.5
    });
    let start = Instant::now();
    let mut silent = Wire::connect(gateway.address());
    let mut partial = Wire::connect(gateway.address());
    partial.send(b"\x16\x03\x01\x02");
    silent.closed();
    partial.closed();
    let took = start.elapsed();
    assert!((0.9..3.0).contains(&took.as_secs_f64()), "{took:?}");
    wait_for("both to be counted", || {
        gateway.metric("portcullis_tls_handshakes_total{result=\"timeout\"}") > 1.5
    });
    assert_eq!(host.connections(), 0);
}

#[test]
fn a_client_that_chose_http2_and_says_nothing_is_cut_too() {
    let authority = Authority::new();
    let host = Host::answering(|_| ok("hello"));
    let limits = "limits: { header_time: 1s, idle_time: 1s }";
    let gateway = secure_gateway(&authority, limits, &upstreams(&host), &[policy_tokens(&[(1, READER)])]);
    let mut socket = std::net::TcpStream::connect(gateway.address()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let name = ServerName::try_from("git.example.com").unwrap();
    let mut session = ClientConnection::new(authority.client(&["h2"]).into(), name).unwrap();
    session.complete_io(&mut socket).unwrap();
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).expect("closed in time");
}
