//! A gateway with a store, and callers of its API.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use portcullis::config;
use portcullis::domain::secret::Secret;
use portcullis::domain::token::TokenFormat;
use portcullis::issuer::users::{UserEdit, hash_password};
use portcullis::issuer::{Actor, Issuer, IssuerLimits};
use portcullis::store::Store;
use portcullis::store::audit::AuditQuery;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::gateway::{DEADLINE, TestGateway, read_answer, status, write};

/// A password that everybody has here.
pub(crate) const PASSWORD: &str = "correct horse battery";

/// A gateway with a store, in front of `upstream`.
pub(crate) struct ApiGateway {
    pub(crate) gateway: TestGateway,
}

/// An answer of the API.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// 0 where the connection ended without an answer.
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Value,
}

impl Answer {
    /// A header field.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// The body, of an answer with this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.body
    }
}

/// Someone with a credential.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    address: SocketAddr,
    host: &'static str,
    pub(crate) credential: String,
}

impl Caller {
    /// Calls, with a body where there is one.
    pub(crate) fn call(&self, method: &str, target: &str, body: Option<&Value>) -> Answer {
        self.send(method, target, &body.map(Value::to_string).unwrap_or_default())
    }

    /// Calls with this text as the body.
    pub(crate) fn send(&self, method: &str, target: &str, body: &str) -> Answer {
        let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let credential = match self.credential.as_str() {
            "" => String::new(),
            credential => format!("Authorization: Bearer {credential}\r\n"),
        };
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\n{credential}{kind}Content-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let text = read_answer(&mut stream);
        if text.is_empty() {
            // As a request ends whose token is revoked while the host thinks.
            return Answer { status: 0, head: text, body: Value::Null };
        }
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let body =
            if body.is_empty() { Value::Null } else { serde_json::from_str(body).unwrap_or(Value::Null) };
        Answer { status: status(&text), head: head.to_owned(), body }
    }

    pub(crate) fn get(&self, target: &str) -> Answer {
        self.call("GET", target, None)
    }

    pub(crate) fn post(&self, target: &str, body: &Value) -> Answer {
        self.call("POST", target, Some(body))
    }

    pub(crate) fn patch(&self, target: &str, body: &Value) -> Answer {
        self.call("PATCH", target, Some(body))
    }

    pub(crate) fn delete(&self, target: &str) -> Answer {
        self.call("DELETE", target, None)
    }

    /// Makes a token, and gives its number and its text.
    #[track_caller]
    pub(crate) fn create(&self, body: &Value) -> (i64, String) {
        let made = self.post("/user/personal-access-tokens", body).expect(201);
        (made["id"].as_i64().unwrap(), made["token"].as_str().unwrap().to_owned())
    }
}

impl ApiGateway {
    /// In front of `upstream`, whose routes are those of `catalogs`, with policy files. Clients that set no `Host` of their
    /// own reach the API on the data plane too.
    pub(crate) fn before(upstream: SocketAddr, catalogs: &str, policies: &[(&str, String)]) -> Self {
        let upstreams = format!(
            "  - {{ name: forge, hosts: [git.example.com], url: 'http://{upstream}', catalogs: [{catalogs}], identity: {{ trusted_header: X-WEBAUTH-USER }} }}"
        );
        Self::named("tokens.example.com, 127.0.0.1", &upstreams, policies)
    }

    /// With these upstreams.
    pub(crate) fn with(upstreams: &str, policies: &[(&str, String)]) -> Self {
        Self::named("tokens.example.com", upstreams, policies)
    }

    /// With these upstreams, and the API under these host names.
    fn named(hosts: &str, upstreams: &str, policies: &[(&str, String)]) -> Self {
        let top = &format!(
            "listeners: [{{ bind: 127.0.0.1:0 }}]\nstore: sqlite:portcullis.db\napi: {{ hosts: [{hosts}] }}"
        );
        Self { gateway: TestGateway::configured(top, upstreams, policies) }
    }

    /// The store, opened by another hand.
    pub(crate) fn store(&self) -> Store {
        Store::open(&self.gateway.directory.path().join("portcullis.db")).unwrap()
    }

    /// Makes a user, at the machine.
    pub(crate) fn add_user(&self, login: &str, administrator: bool) {
        add_user(self.gateway.directory.path(), login, administrator);
    }

    /// Someone with `credential`, on the control listener.
    pub(crate) fn control(&self, credential: &str) -> Caller {
        let address = self.gateway.running().control.unwrap();
        Caller { address, host: "127.0.0.1", credential: credential.into() }
    }

    /// Someone with `credential`, on the data plane.
    pub(crate) fn data(&self, credential: &str) -> Caller {
        let address = self.gateway.address();
        Caller { address, host: "tokens.example.com", credential: credential.into() }
    }

    /// A user who has signed in; made where there is none.
    pub(crate) fn person(&self, login: &str) -> Caller {
        self.add_user(login, false);
        self.sign_in(login)
    }

    /// A user who signs in.
    pub(crate) fn sign_in(&self, login: &str) -> Caller {
        let session = self.control("").post("/sessions", &json!({ "login": login, "password": PASSWORD }));
        self.control(session.expect(201)["token"].as_str().unwrap())
    }

    /// The status of `method target` at the host, with this token.
    pub(crate) fn ask(&self, token: &str, method: &str, target: &str) -> u16 {
        self.answer(token, method, target).status
    }

    /// The answer to `method target` at the host, with this token.
    pub(crate) fn answer(&self, token: &str, method: &str, target: &str) -> Answer {
        let address = self.gateway.address();
        Caller { address, host: "git.example.com", credential: token.into() }.call(method, target, None)
    }

    /// The actions in the audit trail, the oldest first.
    pub(crate) fn actions(&self) -> Vec<String> {
        let find = |reads: portcullis::store::Reads<'_>| reads.audit(&AuditQuery::default(), 10_000);
        let mut entries = self.store().read_now(find).unwrap();
        entries.reverse();
        entries
            .iter()
            .map(|entry| {
                let value: Value = serde_json::from_str(&entry.entry).unwrap();
                value["action"].as_str().unwrap().to_owned()
            })
            .collect()
    }
}

/// Makes a user in the store of the gateway whose files are in `directory`.
pub(crate) fn add_user(directory: &Path, login: &str, administrator: bool) {
    let file = directory.join("portcullis.yaml");
    let config = config::load(&file).unwrap();
    let store = Store::open(config.store.as_ref().unwrap()).unwrap();
    let issuer = Issuer::new(store, TokenFormat::default(), IssuerLimits::default(), Arc::default());
    let policy = Arc::new(portcullis::app::start::inputs(&config, &file).compile(1).unwrap());
    let in_force = portcullis::policy::snapshot::InForce::new(move || Arc::clone(&policy));
    let setting = issuer.setting(in_force, Actor::machine("root".into()));
    let password = hash_password(&Secret::new(PASSWORD.into())).unwrap();
    let edit = UserEdit { password: Some(password), administrator: Some(administrator), suspended: None };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(issuer.set_user(setting, login.into(), edit)).unwrap();
}

/// The files of a gateway with a store and one organization, for a process of its own.
pub(crate) fn site(organization: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    write(&directory.path().join("policies/organizations/acme.yaml"), organization);
    write(
        &directory.path().join("portcullis.yaml"),
        "listeners: [{ bind: 127.0.0.1:0 }]\ncontrol: { bind: 127.0.0.1:0 }\npolicies: policies/\nworkers: 1\n\
         store: sqlite:portcullis.db\napi: { tokens_per_user: 10000 }\naudit: { file: audit.log }\nupstreams:\n  \
         - { name: forge, hosts: [git.example.com], url: 'http://127.0.0.1:9', catalogs: [github], identity: { trusted_header: X-WEBAUTH-USER } }\n",
    );
    directory
}
