//! Handshakes over real sockets, and what is said of wrong files.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ProtocolVersion;
use rustls::pki_types::CertificateDer;
use rustls::version::TLS12;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::config::Certificate;

/// Names that every test certificate is good for, so that what is offered decides, not what is verified.
const NAMES: [&str; 5] = ["git.example.com", "a.example.com", "b.a.example.com", "other.test", "127.0.0.1"];

/// A directory with an authority's certificate in `ca.pem`.
struct Authority {
    directory: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        fs::write(directory.path().join("ca.pem"), certificate.pem()).unwrap();
        let issuer = Issuer::new(params, key);
        Self { directory, issuer }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    /// Writes `<name>.pem` and `<name>.key`.
    fn issue(&self, name: &str, hosts: &[&str]) -> Certificate {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(NAMES.map(String::from)).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let pair = Certificate {
            hosts: hosts.iter().map(ToString::to_string).collect(),
            certificate: self.path(&format!("{name}.pem")),
            key: self.path(&format!("{name}.key")),
        };
        fs::write(&pair.certificate, certificate.pem()).unwrap();
        fs::write(&pair.key, key.serialize_pem()).unwrap();
        pair
    }

    fn client(&self) -> ClientConfig {
        let config = client_config(&UpstreamTls {
            server_name: "git.example.com".into(),
            ca: Some(self.path("ca.pem")),
        });
        Arc::unwrap_or_clone(config.unwrap())
    }
}

fn listener(tls: &[&Certificate]) -> Listener {
    Listener {
        name: None,
        bind: (Ipv4Addr::LOCALHOST, 0).into(),
        tls: tls.iter().copied().cloned().collect(),
    }
}

/// What the client saw.
struct Seen {
    alpn: Option<Vec<u8>>,
    certificate: CertificateDer<'static>,
    version: ProtocolVersion,
}

async fn handshake(server: Arc<ServerConfig>, client: ClientConfig, name: &str) -> io::Result<Seen> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = socket.local_addr()?;
    let serve = async {
        let (stream, _) = socket.accept().await?;
        TlsAcceptor::from(server).accept(stream).await
    };
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let call = async {
        let stream = TcpStream::connect(address).await?;
        TlsConnector::from(Arc::new(client)).connect(name, stream).await
    };
    let both = async { tokio::join!(serve, call) };
    let (accepted, called) = timeout(Duration::from_secs(20), both).await?;
    let called = called?;
    let _accepted = accepted?;
    let (_, session) = called.get_ref();
    Ok(Seen {
        alpn: session.alpn_protocol().map(Vec::from),
        certificate: session.peer_certificates().unwrap()[0].clone().into_owned(),
        version: session.protocol_version().unwrap(),
    })
}

#[tokio::test]
async fn both_protocols_of_http() {
    let authority = Authority::new();
    let server = server_config(&listener(&[&authority.issue("a", &[])])).unwrap();
    assert!(server.ticketer.enabled());
    let rows: [(&[&str], Option<&str>); 5] = [
        (&["h2", "http/1.1"], Some("h2")),
        (&["http/1.1", "h2"], Some("h2")),
        (&["h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ];
    for (offer, want) in rows {
        let mut client = authority.client();
        assert!(client.alpn_protocols.is_empty());
        client.alpn_protocols = offer.iter().map(|name| name.as_bytes().to_vec()).collect();
        let seen = handshake(Arc::clone(&server), client, "git.example.com").await.unwrap();
        assert_eq!(seen.alpn.as_deref(), want.map(str::as_bytes), "{offer:?}");
        assert_eq!(seen.version, ProtocolVersion::TLSv1_3);
    }
    let mut client = authority.client();
    client.alpn_protocols = vec![b"spdy/3".to_vec()];
    assert!(handshake(server, client, "git.example.com").await.is_err());
}

#[tokio::test]
async fn tls_1_2_is_spoken() {
    let authority = Authority::new();
    let server = server_config(&listener(&[&authority.issue("a", &[])])).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_root_certificates(private_roots(&authority.path("ca.pem")).unwrap())
        .with_no_client_auth();
    let seen = handshake(server, client, "git.example.com").await.unwrap();
    assert_eq!(seen.version, ProtocolVersion::TLSv1_2);
}

#[tokio::test]
async fn the_name_chooses_the_certificate() {
    let authority = Authority::new();
    let first = authority.issue("first", &[]);
    let git = authority.issue("git", &["Git.example.com"]);
    let wild = authority.issue("wild", &["*.example.com"]);
    let server = server_config(&listener(&[&first, &wild, &git])).unwrap();
    for (name, want) in [
        ("git.example.com", &git),
        ("GIT.Example.Com", &git),
        ("a.example.com", &wild),
        ("b.a.example.com", &first),
        ("other.test", &first),
        ("127.0.0.1", &first),
    ] {
        let seen = handshake(Arc::clone(&server), authority.client(), name).await.unwrap();
        let [want] = Pem::read(&want.certificate).unwrap().certificates().unwrap().try_into().unwrap();
        assert_eq!(seen.certificate, want, "{name}");
    }
}

/// Clients send the name in lower case as a rule, and nobody makes them.
#[test]
fn names_have_no_case() {
    let authority = Authority::new();
    let first = authority.issue("first", &[]);
    let wild = authority.issue("wild", &["*.Example.com"]);
    let resolver = {
        let listener = listener(&[&first, &wild]);
        let texts = Texts::read(&listener).unwrap();
        Resolver::new(&listener, &texts.0, &default_provider()).unwrap()
    };
    let chosen = |name| &resolver.choose(name).cert;
    assert_eq!(chosen(Some("A.EXAMPLE.COM")), chosen(Some("a.example.com")));
    assert_ne!(chosen(Some("A.EXAMPLE.COM")), chosen(None));
    assert_eq!(chosen(Some("example.com")), chosen(None));
}

#[tokio::test]
async fn only_the_named_authority_is_trusted() {
    let [authority, other] = [Authority::new(), Authority::new()];
    let server = server_config(&listener(&[&authority.issue("a", &[])])).unwrap();
    let call = |client| handshake(Arc::clone(&server), client, "git.example.com");
    call(authority.client()).await.unwrap();
    let error = call(other.client()).await.err().expect("an unknown authority");
    assert!(error.to_string().contains("invalid peer certificate"), "{error}");
    let error = handshake(Arc::clone(&server), authority.client(), "wrong.test").await.err();
    let error = error.expect("a wrong name");
    assert!(error.to_string().contains("not valid for name"), "{error}");
}

/// The faults of one pair, as `file name: message`.
#[track_caller]
fn check(pair: &Certificate, want: &[(&Path, &str)]) {
    let faults = server_config(&listener(&[pair])).expect_err("no fault");
    let said: Vec<_> = faults.iter().map(|fault| (fault.file.as_path(), &fault.message)).collect();
    let fits = |((file, message), (want, part)): (&(&Path, &String), &(&Path, &str))| {
        file == want && message.contains(part)
    };
    assert!(said.len() == want.len() && said.iter().zip(want).all(fits), "{said:?}\n{want:?}");
}

#[test]
fn wrong_files() {
    let authority = Authority::new();
    let good = authority.issue("a", &[]);
    let other = authority.issue("b", &[]);
    let (certificate, key) = (good.certificate.as_path(), good.key.as_path());
    let with_key = |key: &Path| Certificate { key: key.into(), ..good.clone() };
    let with_certificate =
        |certificate: &Path| Certificate { certificate: certificate.into(), ..good.clone() };

    check(&with_key(&other.key), &[(&other.key, "is not the key of the first certificate in `")]);
    check(&with_key(certificate), &[(certificate, "holds no private key")]);
    check(&with_certificate(key), &[(key, "holds no certificate")]);
    let missing = authority.path("missing");
    let both = Certificate { hosts: vec![], certificate: missing.clone(), key: missing.clone() };
    check(&both, &[(&missing, "cannot be read: "), (&missing, "cannot be read: ")]);

    let bad = authority.path("bad");
    for (text, said_of_certificate, said_of_key) in [
        ("", "holds no certificate", "holds no private key"),
        ("hello", "holds no certificate", "holds no private key"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n", "a section has no end line", "a section has no end line"),
        (
            "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "a section is not base64",
            "is not well-formed PEM",
        ),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "holds a certificate that cannot be used",
            "holds a private key that cannot be used",
        ),
    ] {
        fs::write(&bad, text).unwrap();
        check(&with_certificate(&bad), &[(&bad, said_of_certificate)]);
        check(&with_key(&bad), &[(&bad, said_of_key)]);
    }
    fs::write(&bad, vec![b'x'; 1024 * 1024 + 1]).unwrap();
    check(&with_key(&bad), &[(&bad, "is larger than 1 MiB")]);

    let plain = server_config(&listener(&[])).unwrap_err();
    assert!(plain[0].message.contains("has no certificate"), "{plain:?}");
    assert_eq!(files(&listener(&[&good])), [good.certificate, good.key]);
}

#[test]
fn wrong_authorities() {
    let authority = Authority::new();
    let pair = authority.issue("a", &[]);
    let said = |file: &Path| {
        let tls = UpstreamTls { server_name: "a".into(), ca: Some(file.into()) };
        let fault = client_config(&tls).unwrap_err();
        assert_eq!(fault.file, file);
        fault.message
    };
    assert!(said(&pair.key).contains("holds no certificate"));
    assert!(said(&authority.path("missing")).contains("cannot be read"));
    let bad = authority.path("bad");
    fs::write(&bad, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    assert!(said(&bad).contains("holds a certificate that no authority can have"));
}

#[test]
fn names_of_upstreams() {
    let name = |text: &str| server_name(&UpstreamTls { server_name: text.into(), ca: None });
    assert_eq!(name("::1").unwrap(), ServerName::try_from("::1").unwrap());
    assert_eq!(name("a.test").unwrap(), ServerName::try_from("a.test").unwrap());
    assert!(name("a b").unwrap_err().message.contains("is not a DNS name"));
}
