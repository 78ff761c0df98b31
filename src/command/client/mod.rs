//! Calls of the API, by one code path over two ways: to a running gateway (`server`), or in this process on the store of a
//! configuration (`local`). What an answer that is none means to a person is in `failure`.

mod failure;
pub mod local;
pub mod server;

use std::path::{Path, PathBuf};

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::command::client::local::LocalStore;
use crate::command::client::server::{Server, ServerArguments};
use crate::command::output::Output;
use crate::command::warnings::is_exposed;
use crate::command::{ConfigFile, UsageError};
use crate::config::credential::{read_credential, read_variable};
use crate::domain::secret::Secret;
use crate::domain::target::CanonicalTarget;

/// Entries of a page: the most that the API gives.
pub const PAGE: usize = 100;

/// What the API is told of this program, and keeps in its audit trail.
const USER_AGENT: &str = concat!("portcullis/", env!("CARGO_PKG_VERSION"));

/// The environment variable that a credential may stand in.
const CREDENTIAL: &str = "PORTCULLIS_CREDENTIAL";

/// Which gateway is spoken to, and as whom.
#[derive(Debug, Args)]
pub struct Access {
    #[command(flatten)]
    server: ServerArguments,
    /// The file with the session or the token to call the server with; else `PORTCULLIS_CREDENTIAL` holds it
    #[arg(long, value_name = "FILE", requires = "server")]
    credential_file: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigFile,
}

/// A call.
#[derive(Debug, Clone)]
pub struct Question {
    method: Method,
    path: String,
    json: Option<Value>,
    user: Option<String>,
}

impl Question {
    /// Asks for what is at `path`, which may have a query.
    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path, None)
    }

    /// Sends `json` to `path`.
    pub fn post(path: impl Into<String>, json: Value) -> Self {
        Self::new(Method::POST, path, Some(json))
    }

    /// With any method.
    pub fn new(method: Method, path: impl Into<String>, json: Option<Value>) -> Self {
        Self { method, path: path.into(), json, user: None }
    }

    /// On behalf of `user`: for the local store alone, where whoever may write it may do that.
    #[must_use]
    pub fn of(self, user: Option<impl Into<String>>) -> Self {
        Self { user: user.map(Into::into), ..self }
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its body, whole.
    pub body: Bytes,
}

/// The way to the API.
#[derive(Debug)]
pub struct Client {
    runtime: Runtime,
    transport: Transport,
}

#[derive(Debug)]
enum Transport {
    Server(Server),
    Store(Box<LocalStore>),
}

impl Access {
    /// Whether a running gateway is spoken to.
    pub fn is_of_server(&self) -> bool {
        self.server.url().is_some()
    }

    /// The configuration, where none is.
    pub fn config_file(&self) -> &Path {
        &self.config.file
    }

    /// Gets ready to call.
    ///
    /// # Errors
    /// [`UsageError`] for a URL, a file or a credential that cannot be used; a store that cannot be opened.
    pub fn open(&self, output: &Output) -> anyhow::Result<Client> {
        match self.server.url() {
            Some(url) => {
                let credential = self.credential(output)?;
                Client::of_server(Server::new(url, &self.server, Some(credential))?)
            }
            None => Client::of_store(&self.config, output),
        }
    }

    fn credential(&self, output: &Output) -> Result<Secret, UsageError> {
        let unusable = |fault: crate::domain::fault::Fault| UsageError(fault.to_string());
        if let Some(file) = &self.credential_file {
            if is_exposed(file) {
                let file = file.display();
                output.message(format_args!(
                    "warning: everybody on this machine may read `{file}`; take the permission away (`chmod o-r`)"
                ));
            }
            return read_credential(file).map_err(unusable);
        }
        read_variable(CREDENTIAL).map_err(unusable)?.ok_or_else(|| {
            UsageError(format!(
                "no credential for the server; name a file with `--credential-file`, or set `{CREDENTIAL}`; `portcullis sign-in` gives a session"
            ))
        })
    }
}

impl Client {
    /// To a running gateway.
    ///
    /// # Errors
    /// The system gives nothing to wait with.
    pub fn of_server(server: Server) -> anyhow::Result<Self> {
        Ok(Self { runtime: runtime()?, transport: Transport::Server(server) })
    }

    /// To the store that the configuration names.
    ///
    /// # Errors
    /// [`UsageError`] with the faults of its files; a store that cannot be opened.
    pub fn of_store(config: &ConfigFile, output: &Output) -> anyhow::Result<Self> {
        let store = LocalStore::open(&config.file, output)?;
        Ok(Self { runtime: runtime()?, transport: Transport::Store(Box::new(store)) })
    }

    /// The store, where it is one.
    pub fn store(&self) -> Option<&LocalStore> {
        match &self.transport {
            Transport::Server(_) => None,
            Transport::Store(store) => Some(store),
        }
    }

    /// Waits for something that the store is asked for.
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Calls, whatever the answer is.
    ///
    /// # Errors
    /// [`UsageError`] for a path that is none; there is no answer.
    pub fn call(&self, question: &Question) -> anyhow::Result<Reply> {
        let path = &question.path;
        let target = CanonicalTarget::parse(path)
            .map_err(|error| UsageError(format!("`{path}` cannot be asked for: {error}; check the names")))?;
        match &self.transport {
            Transport::Server(server) => self.wait(server.call(question, &target)),
            Transport::Store(store) => Ok(self.wait(store.call(question, &target))),
        }
    }

    /// Calls, and gives the JSON of an answer that is one; `null` where it has no body.
    ///
    /// # Errors
    /// As [`Self::call`], and what the answer says where it is a refusal.
    pub fn ask(&self, question: &Question) -> anyhow::Result<Value> {
        let reply = self.accepted(question)?;
        reply.json().with_context(|| {
            format!("{} answered with something else than JSON; is it a gateway?", self.name())
        })
    }

    /// The entries of a list, over as many pages as it takes, at most `limit`.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn list(&self, question: Question, limit: usize) -> anyhow::Result<Vec<Value>> {
        let (mut question, mut entries) = (question, Vec::new());
        loop {
            let reply = self.accepted(&question)?;
            let page: Vec<Value> = serde_json::from_slice(&reply.body)
                .with_context(|| format!("{} answered with something else than a list", self.name()))?;
            entries.extend(page);
            match next_page(&reply.headers) {
                // A page may be empty and lead on.
                Some(path) if entries.len() < limit && path != question.path => question.path = path,
                Some(_) | None => break,
            }
        }
        entries.truncate(limit);
        Ok(entries)
    }

    fn accepted(&self, question: &Question) -> anyhow::Result<Reply> {
        let reply = self.call(question)?;
        if reply.status.is_success() { Ok(reply) } else { Err(failure::failure(&reply, &self.name())) }
    }

    /// What is spoken to, for people.
    fn name(&self) -> String {
        match &self.transport {
            Transport::Server(server) => format!("`{}`", server.url()),
            Transport::Store(store) => format!("`{}`", store.path().display()),
        }
    }
}

impl Reply {
    fn json(&self) -> serde_json::Result<Value> {
        if self.body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&self.body) }
    }
}

fn runtime() -> anyhow::Result<Runtime> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.context("the system gives no means to wait for an answer")
}

/// Path and query of the next page (RFC 8288). What host the link names does not matter: the one that was asked is asked.
fn next_page(headers: &HeaderMap) -> Option<String> {
    let links = headers.get(header::LINK)?.to_str().ok()?;
    let next = links.split(", ").find_map(|link| link.strip_suffix("; rel=\"next\""))?;
    let url = next.trim().strip_prefix('<')?.strip_suffix('>')?;
    let (_, rest) = url.split_once("://")?;
    let (_, path) = rest.split_once('/')?;
    Some(format!("/{path}"))
}

/// `text` as a segment of a path, or a value in a query.
pub fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let digit = |four: u8| char::from_digit(four.into(), 16).unwrap_or('0').to_ascii_uppercase();
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if plain(byte) {
            encoded.push(byte.into());
        } else {
            encoded.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[track_caller]
    fn check_next(link: &'static str, want: Option<&str>) {
        let headers = HeaderMap::from_iter([(header::LINK, HeaderValue::from_static(link))]);
        assert_eq!(next_page(&headers).as_deref(), want, "{link}");
    }

    #[test]
    fn the_next_page_is_found_and_its_host_is_not_followed() {
        check_next("<https://evil.example/x?page=2>; rel=\"next\"", Some("/x?page=2"));
        check_next(
            "<http://h/x?a=b,c&page=1>; rel=\"prev\", <http://h/x?a=b,c&page=3>; rel=\"next\", <http://h/x>; rel=\"last\"",
            Some("/x?a=b,c&page=3"),
        );
        check_next("<http://h/x?page=1>; rel=\"prev\"", None);
        check_next("http://h/x; rel=\"next\"", None);
        check_next("", None);
        assert_eq!(next_page(&HeaderMap::new()), None);
    }

    #[test]
    fn names_are_encoded() {
        for (text, want) in [("acme", "acme"), ("a+b@c", "a%2Bb%40c"), ("a b/ä", "a%20b%2F%C3%A4")] {
            assert_eq!(encode(text), want);
        }
    }
}
