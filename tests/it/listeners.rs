//! Listeners that change while the gateway runs: what is added serves, what is removed drains, what stays is not touched.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, HandshakeKind};

use crate::support::gateway::{DEADLINE, TestGateway, authorization, head, policy_tokens, wait_for, write};
use crate::support::process::Process;
use crate::support::secure::{Authority, Pair, secure_gateway};
use crate::support::wire::{Host, Wire, ok};

const READER: &str = "resource_owner: acme\nrepositories: [alpha]\npermissions: { contents: read }";

fn upstreams(host: &Host) -> String {
    format!(
        "  - {{ name: forge, hosts: ['git.example.com'], url: 'http://{}', catalogs: [github], identity: {{ trusted_header: X-WEBAUTH-USER }} }}",
        host.address
    )
}

fn request() -> String {
    head("GET", "/repos/acme/alpha/commits", &authorization(1))
}

/// An address that was free a moment ago.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn asks(wire: &mut Wire) -> String {
    wire.send(request());
    let (head, body) = wire.answer();
    assert_eq!(body, "hello");
    head
}

/// Puts these listeners in the place of the ones that the file has.
fn relisten(gateway: &TestGateway, listeners: &str) {
    let file = gateway.directory.path().join("portcullis.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let rest = text.split_once('\n').unwrap().1;
    write(&file, &format!("listeners: [{listeners}]\n{rest}"));
    gateway.running().reload();
}

fn waits_for(gateway: &TestGateway, addresses: &[SocketAddr]) {
    wait_for("the listeners", || gateway.running().addresses() == addresses);
}

#[test]
fn listeners_come_and_go_without_a_restart() {
    let host = Host::answering(|_| ok("hello"));
    let (first, second) = (free(), free());
    let top = format!("listeners: [{{ bind: '{first}' }}]");
    let gateway = TestGateway::configured(&top, &upstreams(&host), &[policy_tokens(&[(1, READER)])]);
    let mut stays = Wire::connect(first);
    asks(&mut stays);
    relisten(&gateway, &format!("{{ bind: '{first}' }}, {{ bind: '{second}' }}"));
    waits_for(&gateway, &[first, second]);
    let mut goes: Vec<_> = (0..10).map(|_| Wire::connect(second)).collect();
    for wire in &mut goes {
        assert!(!asks(wire).contains("connection: close"));
    }
    relisten(&gateway, &format!("{{ bind: '{first}' }}"));
    waits_for(&gateway, &[first]);
    wait_for("the removed listener to close", || TcpStream::connect(second).is_err());
    // Its connections are answered once more, and told to close.
    for wire in &mut goes {
        assert!(asks(wire).contains("connection: close"));
        assert_eq!(wire.rest().unwrap(), "");
    }
    assert!(!asks(&mut stays).contains("connection: close"));
    // It may come back.
    relisten(&gateway, &format!("{{ bind: '{second}' }}, {{ bind: '{first}' }}"));
    waits_for(&gateway, &[second, first]);
    asks(&mut Wire::connect(second));
    asks(&mut stays);
}

#[test]
fn a_configuration_with_a_fault_changes_nothing() {
    let host = Host::answering(|_| ok("hello"));
    let (first, second) = (free(), free());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let taken = TcpListener::bind(taken).unwrap();
    let other = taken.local_addr().unwrap();
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("policies")).unwrap();
    let text = |listeners: &str, rest: &str| {
        format!("listeners: [{listeners}]\npolicies: policies\n{rest}upstreams:\n{}\n", upstreams(&host))
    };
    let one = format!("{{ bind: '{first}' }}");
    fs::write(directory.path().join("portcullis.yaml"), text(&one, "")).unwrap();
    let mut process = Process::start(directory);
    let refuses = |process: &mut Process, listeners: &str, rest: &str, why: &str| {
        process.configure(&text(listeners, rest));
        process.signal(rustix::process::Signal::HUP);
        process.logs("configuration is refused");
        process.logs(why);
        assert!(TcpStream::connect(second).is_err());
        drop(Wire::connect(first));
    };
    let both = format!("{one}, {{ bind: '{second}' }}");
    refuses(&mut process, &both, "workers: none\n", "portcullis.yaml:3:10");
    fs::write(process.directory.path().join("broken.pem"), "broken").unwrap();
    let broken =
        format!("{both}, {{ bind: '{}', tls: {{ certificate: broken.pem, key: broken.pem }} }}", free());
    process.configure(&text(&broken, ""));
    process.signal(rustix::process::Signal::HUP);
    process.logs("the listeners stay as they are");
    process.logs("broken.pem: holds no certificate");
    assert!(TcpStream::connect(second).is_err());
    let in_use = format!("{both}, {{ bind: '{other}' }}");
    process.configure(&text(&in_use, ""));
    process.signal(rustix::process::Signal::HUP);
    let told = process.logs("the listeners stay as they are");
    assert!(told.to_string().contains(&format!("listening on {other}: ")), "{told}");
    assert!(TcpStream::connect(second).is_err());
    // What is read at start only is told by name.
    process.configure(&text(&both, "workers: 3\nlimits: { header_count: 50 }\n"));
    process.signal(rustix::process::Signal::HUP);
    process.logs("the listeners have changed");
    let told = process.logs("are read at start only");
    assert_eq!(told["fields"]["keys"], "limits, workers");
    drop(Wire::connect(second));
    process.stop();
}

/// How a client shakes hands, and what it is offered; `config` keeps its tickets.
fn shake(address: SocketAddr, config: &Arc<ClientConfig>) -> (HandshakeKind, Vec<u8>) {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let name = ServerName::try_from("git.example.com").unwrap();
    let mut session = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut stream = rustls::Stream::new(&mut session, &mut socket);
    // The tickets come behind the handshake, with the first answer at the latest.
    std::io::Write::write_all(&mut stream, request().as_bytes()).unwrap();
    std::io::Read::read_exact(&mut stream, &mut [0; 12]).unwrap();
    let kind = session.handshake_kind().unwrap();
    (kind, session.peer_certificates().unwrap()[0].to_vec())
}

fn der(pair: &Pair) -> Vec<u8> {
    rustls::pki_types::CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap().to_vec()
}

#[test]
fn session_tickets_outlive_changes_of_the_policy_and_certificates_may_move() {
    let authority = Authority::new();
    let host = Host::answering(|_| ok("hello"));
    let gateway = secure_gateway(&authority, "", &upstreams(&host), &[policy_tokens(&[(1, READER)])]);
    let address = gateway.address();
    let config = Arc::new(authority.client(&["http/1.1"]));
    assert_eq!(shake(address, &config).0, HandshakeKind::Full);
    assert_eq!(shake(address, &config).0, HandshakeKind::Resumed);
    for text in ["deny: []\n", "deny: [] # again\n", "deny: [] # and again\n"] {
        gateway.edit("deny.yaml", text);
    }
    gateway.running().reload();
    assert_eq!(shake(address, &config).0, HandshakeKind::Resumed);
    // Another certificate under another name; the listener is the same.
    let pair = authority.issue(&["git.example.com"]);
    pair.write(&gateway.directory.path().join("tls"), "moved");
    relisten(&gateway, "{ bind: '127.0.0.1:0', tls: { certificate: tls/moved.pem, key: tls/moved.key } }");
    wait_for("the other certificate", || {
        let fresh = Arc::new(authority.client(&["http/1.1"]));
        shake(address, &fresh).1 == der(&pair)
    });
    assert_eq!(gateway.running().addresses(), [address]);
}
