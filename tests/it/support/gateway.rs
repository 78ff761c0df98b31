//! A whole gateway on ports of its own, and ways to speak to it.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use portcullis::app::Running;
use portcullis::app::start::{inputs, start};
use portcullis::config;
use portcullis::domain::fault::describe;
use portcullis::live::Inputs;
use tempfile::TempDir;

use crate::support::policy::{token, tokens};

/// Longer than anything here may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A gateway and its files.
pub(crate) struct TestGateway {
    pub(crate) directory: TempDir,
    pub(crate) running: Option<Running>,
}

impl TestGateway {
    /// One plain listener with two workers; `upstreams` is the text below `upstreams:`, `policies` name and text below
    /// `policies/`.
    pub(crate) fn start(upstreams: &str, policies: &[(&str, String)]) -> Self {
        Self::configured("listeners: [{ bind: 127.0.0.1:0 }]", upstreams, policies)
    }

    /// As [`Self::start`], with the text above `upstreams:` too.
    pub(crate) fn configured(top: &str, upstreams: &str, policies: &[(&str, String)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self::in_directory(directory, top, upstreams, policies)
    }

    /// As [`Self::configured`], in a directory that holds files already.
    pub(crate) fn in_directory(
        directory: TempDir,
        top: &str,
        upstreams: &str,
        policies: &[(&str, String)],
    ) -> Self {
        let root = directory.path();
        fs::create_dir_all(root.join("policies")).unwrap();
        for (name, text) in policies {
            write(&root.join("policies").join(name), text);
        }
        let file = root.join("portcullis.yaml");
        let unless_said = |line: &str| {
            let name = line.split_once(':').unwrap().0;
            let said = top.lines().any(|line| line.starts_with(name));
            if said { String::new() } else { format!("{line}\n") }
        };
        let (drain, audit) = (unless_said("drain: 5s"), unless_said("audit: { file: audit.log }"));
        let text = format!(
            "{top}\ncontrol: {{ bind: 127.0.0.1:0 }}\npolicies: policies/\nworkers: 2\n{drain}{audit}upstreams:\n{upstreams}\n"
        );
        fs::write(&file, text).unwrap();
        let config = config::load(&file).unwrap_or_else(|faults| panic!("{}", describe(&faults)));
        let running = start(&config, &file).unwrap_or_else(|error| panic!("{error}"));
        Self { directory, running: Some(running) }
    }

    /// In front of an HTTP host at `upstream`, with `catalogs` and the header `X-WEBAUTH-USER`; token 1 holds what
    /// `body` says, for `user1`.
    pub(crate) fn before(upstream: SocketAddr, catalogs: &str, body: &str) -> Self {
        let upstreams = format!(
            "  - {{ name: forge, hosts: ['*'], url: 'http://{upstream}', catalogs: [{catalogs}], identity: {{ trusted_header: X-WEBAUTH-USER }} }}"
        );
        Self::start(&upstreams, &[policy_tokens(&[(1, body)])])
    }

    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    /// The address of the first listener.
    pub(crate) fn address(&self) -> SocketAddr {
        self.running().listeners[0]
    }

    pub(crate) fn policy_file(&self, name: &str) -> PathBuf {
        self.directory.path().join("policies").join(name)
    }

    /// What another process that starts on these files compiles.
    pub(crate) fn live_inputs(&self) -> Inputs {
        let file = self.directory.path().join("portcullis.yaml");
        inputs(&config::load(&file).unwrap(), &file)
    }

    /// Replaces a policy file as editors do, and waits until another generation is in force.
    pub(crate) fn edit(&self, name: &str, text: &str) {
        let before = self.metric("portcullis_snapshot_generation");
        write(&self.policy_file(name), text);
        wait_for("a new policy", || self.metric("portcullis_snapshot_generation") > before);
    }

    /// The value of a metric without labels, or with the labels as they are printed.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let metrics = self.running().metrics();
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Stops it as SIGTERM does.
    pub(crate) fn stop(&mut self) {
        self.running.take().unwrap().stop().unwrap();
    }

    /// The audit lines, once the gateway has stopped.
    pub(crate) fn audit(mut self) -> Vec<serde_json::Value> {
        self.stop();
        audit_lines(&self.directory.path().join("audit.log"))
    }

    /// Sends bytes over a new connection, and gives back all that comes until the gateway closes, or until a whole
    /// answer with a length has come.
    pub(crate) fn raw(&self, request: impl AsRef<[u8]>) -> String {
        let mut stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(request.as_ref()).unwrap();
        read_answer(&mut stream)
    }

    /// `method target` with token 1 and further header lines.
    pub(crate) fn request(&self, method: &str, target: &str, headers: &str) -> String {
        self.raw(head(method, target, &format!("{}{headers}", authorization(1))))
    }
}

impl Drop for TestGateway {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            let stopped = running.stop();
            assert!(stopped.is_ok() || std::thread::panicking(), "{stopped:?}");
        }
    }
}

/// The lines of an audit file.
pub(crate) fn audit_lines(file: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// `policies/tokens/test.yaml`.
pub(crate) fn policy_tokens(declared: &[(u8, &str)]) -> (&'static str, String) {
    ("tokens/test.yaml", tokens(declared).text)
}

/// A request's head; `headers` are whole lines.
pub(crate) fn head(method: &str, target: &str, headers: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: git.example.com\r\n{headers}\r\n")
}

/// The header line of token `seed`.
pub(crate) fn authorization(seed: u8) -> String {
    format!("Authorization: Bearer {}\r\n", token(seed))
}

/// The status of an answer.
pub(crate) fn status(answer: &str) -> u16 {
    answer
        .get(9..12)
        .and_then(|status| status.parse().ok())
        .unwrap_or_else(|| panic!("no answer: {answer:?}"))
}

/// The reason in an answer's JSON body.
pub(crate) fn reason(answer: &str) -> String {
    let body = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}")).1;
    let body: serde_json::Value =
        serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {answer:?}"));
    body["reason"].as_str().unwrap_or_default().to_owned()
}

/// One answer with a length, or everything until the end.
pub(crate) fn read_answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().unwrap())
            });
            if length.is_some_and(|length| body.len() >= length) {
                return text;
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) => return text,
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
            Err(error) => panic!("{error} after {text:?}"),
        }
    }
}

/// Waits until `done`, or fails with `what`.
#[track_caller]
pub(crate) fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < DEADLINE, "waited in vain for {what}");
        std::thread::yield_now();
    }
}

/// Writes a file beside its place and renames it there.
pub(crate) fn write(file: &Path, text: &str) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let new = file.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(&new, file).unwrap();
}
