//! Puts changed files in force: policy, certificates, credentials.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::app::start::{identity, tell_certificates};
use crate::config::{Config, Identity};
use crate::domain::fault::Fault;
use crate::gateway::Gateway;
use crate::live::files::{Stamp, stamps};
use crate::live::watch::Changes;
use crate::live::{Look, Reload};
use crate::{clock, tls};

/// Watches the files of a running gateway.
#[derive(Debug)]
pub struct Reloader {
    gateway: Arc<Gateway>,
    config: Config,
    asked: mpsc::Receiver<()>,
    changes: Changes,
    /// Certificates, keys and credentials.
    secrets: Vec<PathBuf>,
    seen: Vec<Stamp>,
}

impl Reloader {
    /// For `gateway`, which was started from `config`; looks also whenever `asked` says so, and ends with it.
    pub fn new(gateway: Arc<Gateway>, config: Config, asked: mpsc::Receiver<()>) -> Self {
        let certificates = config.listeners.iter().flat_map(tls::files);
        let credentials = config.upstreams.iter().filter_map(|upstream| match &upstream.identity {
            Identity::Basic { file, .. } | Identity::Bearer { file, .. } => Some(file.clone()),
            Identity::Sudo { token_file } => Some(token_file.clone()),
            Identity::TrustedHeader(_) | Identity::RemoteUser => None,
        });
        let secrets: Vec<_> = certificates.chain(credentials).collect();
        let seen = secrets.iter().flat_map(|file| stamps(file)).collect();
        let roots = std::iter::once(config.policies.clone()).chain(secrets.iter().cloned());
        Self { gateway, asked, changes: Changes::of(roots.collect()), config, secrets, seen }
    }

    /// Reloads whenever files change, until nobody can ask any more.
    ///
    /// # Cancel safety
    /// A reload is not cut: what has begun goes on on its own thread.
    pub async fn run(mut self) {
        loop {
            let look = tokio::select! {
                look = self.changes.next() => look,
                asked = self.asked.recv() => match asked {
                    Some(()) => Look::AtTexts,
                    None => return,
                },
            };
            self.policy(look).await;
            self.secrets(look);
        }
    }

    async fn policy(&self, look: Look) {
        let metrics = &self.gateway.recorder.metrics;
        let in_force = |what: &str| {
            let snapshot = self.gateway.live.snapshot();
            let (generation, tokens) = (snapshot.generation, snapshot.tokens.len());
            metrics.reload_succeeded(generation, tokens, clock::now());
            tracing::info!(generation, tokens, "{what}");
        };
        let started = clock::monotonic();
        let reload = self.gateway.live.reload_aside(look).await;
        if !matches!(reload, Reload::Unchanged) {
            metrics.reload_took(clock::monotonic().saturating_duration_since(started));
        }
        match reload {
            Reload::Unchanged => metrics.reload_unneeded(clock::now()),
            Reload::Replaced(_) => in_force("new policy in force"),
            Reload::Restored => in_force("the policy files say again what is in force"),
            Reload::Refused(faults) => {
                metrics.reload_refused();
                let generation = self.gateway.live.peek().generation;
                tracing::error!(
                    generation,
                    faults = faults.len(),
                    "policy files refused; the last good policy stays in force"
                );
                tell(&faults);
            }
        }
    }

    fn secrets(&mut self, look: Look) {
        let now: Vec<_> = self.secrets.iter().flat_map(|file| stamps(file)).collect();
        if now == self.seen && look == Look::AtStamps || self.secrets.is_empty() {
            return;
        }
        self.seen = now;
        for (listener, current) in self.config.listeners.iter().zip(&self.gateway.listeners) {
            let Some(current) = current else { continue };
            match tls::server_config(listener) {
                Ok(new) => {
                    current.store(new);
                    tell_certificates(&self.config, listener, &self.gateway.recorder.metrics);
                }
                Err(faults) => {
                    tracing::error!(bind = %listener.bind, "certificate files refused; the last good ones stay in use");
                    tell(&faults);
                }
            }
        }
        for (upstream, current) in self.config.upstreams.iter().zip(&self.gateway.upstreams) {
            match identity(&upstream.identity) {
                Ok(new) => current.identity.store(Arc::new(new)),
                Err(fault) => {
                    let name = &upstream.name;
                    tracing::error!(
                        upstream = name,
                        "credential file refused; the last good one stays in use"
                    );
                    tell(&[fault]);
                }
            }
        }
    }
}

fn tell(faults: &[Fault]) {
    for fault in faults {
        tracing::error!("{fault}");
    }
}
