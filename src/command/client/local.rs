//! Calls in this process, on the store that a configuration names. Whoever may write its file may do everything.
//!
//! A gateway that runs on the same file sees each change within [`crate::store::LOOK_EVERY`].

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};

use crate::api::{Api, ApiRequest, Caller};
use crate::app::start::{api, inputs};
use crate::command::UsageError;
use crate::command::client::{Question, Reply, USER_AGENT};
use crate::command::load::{Faulty, and_policy};
use crate::command::output::Output;
use crate::config::{self, Config};
use crate::domain::target::CanonicalTarget;
use crate::issuer::{Actor, Issuer, Setting};
use crate::live::LivePolicy;
use crate::record::request_id::RequestIds;
use crate::store::Store;

/// The API over a store.
#[derive(Debug)]
pub struct LocalStore {
    api: Api,
    /// What the system calls whoever runs this.
    person: String,
    ids: RequestIds,
}

impl LocalStore {
    /// Opens the store that the configuration in `file` names.
    ///
    /// # Errors
    /// [`UsageError`] with the faults of its files, or without a store; a store that cannot be opened.
    pub fn open(file: &Path, output: &Output) -> anyhow::Result<Self> {
        let (config, store) = open_store(file, output)?;
        let live = LivePolicy::load_with(inputs(&config, file), Some(store.clone()))
            .map_err(|faults| faulty(file, &Faulty { faults, unchecked: None }))?;
        let api = api(&config, store, &Arc::new(live))?.ok_or_else(|| without_store(file))?;
        let ids = RequestIds::from_system().context("the system's random generator fails; try again")?;
        Ok(Self { api, person: person(), ids })
    }

    /// The file of the store.
    pub fn path(&self) -> &Path {
        self.api.issuer.store.path()
    }

    /// What changes it beside the API.
    pub fn issuer(&self) -> &Issuer {
        &self.api.issuer
    }

    /// By what a change beside the API is judged and noted.
    pub fn setting(&self) -> Setting {
        self.issuer().setting(self.api.live.in_force(), Actor::machine(self.person.clone()))
    }

    /// The owners of an organization.
    pub fn owners(&self, organization: &str) -> Vec<String> {
        let policy = self.api.live.snapshot();
        policy.organization(organization).map(|found| found.owners.clone()).unwrap_or_default()
    }

    /// Calls.
    ///
    /// # Cancel safety
    /// What was begun is done to its end though nobody waits for the answer.
    pub(super) async fn call(&self, question: &Question, target: &CanonicalTarget) -> Reply {
        let caller = Caller::Machine(question.user.clone().unwrap_or_else(|| self.person.clone()));
        let body = question.json.as_ref().map(|json| Bytes::from(json.to_string())).unwrap_or_default();
        let headers = HeaderMap::from_iter([(header::USER_AGENT, HeaderValue::from_static(USER_AGENT))]);
        let id = self.ids.next();
        let request = ApiRequest {
            method: &question.method,
            target,
            headers: &headers,
            body: &body,
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
            scheme: "http",
            request_id: id.as_str(),
        };
        let (head, body) = self.api.respond(&caller, request).await.into_parts();
        Reply { status: head.status, headers: head.headers, body }
    }
}

/// The configuration in `file`, and the store that it names, which is made where there is none yet.
///
/// # Errors
/// [`UsageError`] with the faults of the file, or without a store; a store that cannot be opened.
pub fn open_store(file: &Path, output: &Output) -> anyhow::Result<(Config, Store)> {
    if !file.exists() {
        let file = file.display();
        return Err(UsageError(format!(
            "there is no `{file}`; name a configuration with `--config`, or a running gateway with `--server`"
        ))
        .into());
    }
    let config = config::load(file).map_err(|faults| faulty(file, &and_policy(file, faults)))?;
    let path = config.store.as_deref().ok_or_else(|| without_store(file))?;
    let is_new = !path.exists();
    let store = Store::open(path)?;
    if is_new {
        output.message(format_args!(
            "the store `{}` is new; see that the gateway may write it too",
            path.display()
        ));
    }
    Ok((config, store))
}

fn faulty(file: &Path, faulty: &Faulty) -> UsageError {
    UsageError(format!("`{}` or its policy files have faults:\n{}", file.display(), faulty.text()))
}

fn without_store(file: &Path) -> UsageError {
    UsageError(format!(
        "`{}` names no store; add `store: sqlite:portcullis.db`, or name a running gateway with `--server`",
        file.display()
    ))
}

/// What the system calls whoever runs this: for the audit trail, so by the process and not by a variable.
fn person() -> String {
    let number = rustix::process::getuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == number).then_some(name)
    });
    name.map_or_else(|| format!("uid-{number}"), str::to_owned)
}
