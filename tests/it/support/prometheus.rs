//! A real Prometheus that scrapes one gateway with the configuration and the rules that are shipped.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::gateway::wait_for;
use crate::support::wire::Wire;

/// What is shipped for it.
const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/prometheus");

/// A server that runs until it is dropped.
pub(crate) struct Prometheus {
    pub(crate) address: SocketAddr,
    child: Child,
    log: Option<JoinHandle<()>>,
    _directory: TempDir,
}

impl Prometheus {
    /// Scrapes `gateway` each second, or says what is not installed.
    pub(crate) fn start(gateway: SocketAddr) -> Result<Self, String> {
        let directory = tempfile::tempdir().unwrap();
        for file in ["recording.yml", "alerts.yml"] {
            fs::copy(Path::new(SHIPPED).join(file), directory.path().join(file)).unwrap();
        }
        let shipped = fs::read_to_string(Path::new(SHIPPED).join("prometheus.yml")).unwrap();
        let (ours, every) = ("127.0.0.1:8081", "_interval: 15s");
        assert!(shipped.contains(ours) && shipped.matches(every).count() == 2, "{shipped}");
        let file = directory.path().join("prometheus.yml");
        let text = shipped.replace(ours, &gateway.to_string()).replace(every, "_interval: 1s");
        fs::write(&file, text).unwrap();
        let started = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match started {
            Ok(child) => child,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err("prometheus".into()),
            Err(error) => panic!("prometheus: {error}"),
        };
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let address = listens_on(&mut log);
        // Whoever does not read on stops the writer.
        let log = thread::spawn(move || drop(io::copy(&mut log, &mut io::sink())));
        let server = Self { address, child, log: Some(log), _directory: directory };
        wait_for("prometheus", || server.fetch("/-/ready").starts_with("HTTP/1.0 200"));
        Ok(server)
    }

    fn fetch(&self, path: &str) -> String {
        let mut wire = Wire::connect(self.address);
        wire.send(format!("GET {path} HTTP/1.0\r\n\r\n"));
        wire.rest().unwrap()
    }

    /// What the API answers to `path`.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Value {
        let answer = self.fetch(path);
        let body = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}")).1;
        serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {answer:?}"))
    }

    /// The samples that `expression` gives now, without those that are no number.
    ///
    /// # Errors
    /// What is wrong with the expression.
    pub(crate) fn query(&self, expression: &str) -> Result<Vec<Value>, String> {
        let answer = self.get(&format!("/api/v1/query?query={}", percent_encoded(expression)));
        if answer["status"] != "success" {
            return Err(answer["error"].to_string());
        }
        let result = &answer["data"]["result"];
        let is_number = |sample: &Value| sample["value"][1] != "NaN";
        Ok(match answer["data"]["resultType"].as_str() {
            Some("scalar") => vec![result.clone()],
            _ => result.as_array().unwrap().iter().filter(|sample| is_number(sample)).cloned().collect(),
        })
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        let read = self.log.take().unwrap().join();
        assert!(ended.is_ok() && read.is_ok() || thread::panicking(), "{ended:?}");
    }
}

/// Reads the log up to the line that names the port.
fn listens_on(log: &mut impl BufRead) -> SocketAddr {
    let mut seen = String::new();
    for line in log.lines().map_while(Result::ok) {
        if line.to_ascii_lowercase().contains("\"listening on\"")
            && let Some((_, address)) = line.split_once("address=")
        {
            return address.trim().trim_matches('"').parse().unwrap();
        }
        seen = seen + &line + "\n";
    }
    panic!("prometheus ended: {seen}")
}

fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// Runs `promtool`, which must be content; `None` where it is not installed.
#[track_caller]
pub(crate) fn promtool(arguments: &[&str], file: &str) -> Option<String> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file);
    match Command::new("promtool").args(arguments).arg(&file).output() {
        Ok(output) => {
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            assert!(output.status.success(), "promtool {arguments:?} {}:\n{said}", file.display());
            Some(said)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            println!("skipped: promtool is not installed; run make test");
            None
        }
        Err(error) => panic!("promtool: {error}"),
    }
}
