//! Puts together what tells of tokens: the outbox for whoever changes them, the courier with its receivers, and uses out of
//! the audit log.

use std::sync::Arc;

use crate::app::AppError;
use crate::app::start::connector;
use crate::config::Config;
use crate::config::credential::read_credential;
use crate::config::webhooks::Webhook;
use crate::domain::fault::Fault;
use crate::hooks::Courier;
use crate::hooks::send::{Receiver, SigningKey};
use crate::hooks::tally::Tally;
use crate::issuer::Issuer;
use crate::issuer::notices::TokenUse;
use crate::issuer::outbox::Outbox;
use crate::live::LivePolicy;
use crate::record::Recorder;
use crate::record::audit::uses::Used;
use crate::store::Store;
use crate::store::rows::LastUse;

/// The outbox of `config`: for every process that changes tokens.
pub fn outbox(config: &Config) -> Arc<Outbox> {
    let hooks = config.webhooks.hooks.iter().map(|hook| hook.filter.clone()).collect();
    let url = config.api.as_ref().and_then(|api| api.url.clone());
    Arc::new(Outbox::new(hooks, url))
}

/// The receivers of `config`, with their secrets.
///
/// # Errors
/// A fault for each secret and each file of authorities that cannot be used.
pub(super) fn receivers(config: &Config) -> Result<Vec<Receiver>, AppError> {
    let mut faults = Vec::new();
    let mut receivers = Vec::new();
    for hook in &config.webhooks.hooks {
        match receiver(hook) {
            Ok(receiver) => receivers.push(receiver),
            Err(AppError::Faults(found)) => faults.extend(found),
            Err(other) => return Err(other),
        }
    }
    if faults.is_empty() { Ok(receivers) } else { Err(AppError::Faults(faults)) }
}

fn receiver(hook: &Webhook) -> Result<Receiver, AppError> {
    let faulty = |fault: Fault| AppError::Faults(vec![fault]);
    Ok(Receiver {
        name: hook.filter.name.clone(),
        authority: hook.authority.clone(),
        path: hook.path.expose().to_owned(),
        tls: hook.tls.as_ref().map(connector).transpose()?,
        key: SigningKey::new(&read_credential(&hook.secret_file).map_err(faulty)?),
        failing: Arc::default(),
    })
}

/// What delivers to `receivers` out of the outbox of `issuer`.
pub(super) fn courier(config: &Config, issuer: &Issuer, receivers: Vec<Receiver>) -> Courier {
    let (store, outbox): (Store, _) = (issuer.store.clone(), Arc::clone(&issuer.outbox));
    Courier { store, outbox, receivers, pace: config.webhooks.pace, tally: Arc::new(Tally::default()) }
}

/// Has `issuer` told when tokens were used last, and the store when credentials that hosts issued were.
pub(super) fn note_uses(recorder: &Recorder, issuer: Issuer, live: Arc<LivePolicy>) {
    recorder.audit.tell_uses(Box::new(move |uses| {
        let (mut of_tokens, mut of_classic) = (Vec::new(), Vec::new());
        for used in uses {
            let by = if used.git { "git" } else { "rest" };
            match used.used {
                Used::Token(public_id) => {
                    of_tokens.push(TokenUse { public_id, at: used.at, from: used.from, by });
                }
                Used::Classic { digest, upstream, owner } => {
                    let last = LastUse { at: used.at, from: used.from.to_string(), by: by.to_owned() };
                    of_classic.push(((digest, upstream, owner), used.times, last));
                }
            }
        }
        if !of_tokens.is_empty() {
            issuer.note_uses(live.in_force(), of_tokens);
        }
        if !of_classic.is_empty() {
            issuer.store.write_aside(move |changes| {
                for ((digest, upstream, owner), times, last) in &of_classic {
                    changes.note_classic_use((digest, upstream, owner), *times, last)?;
                }
                changes.trim_classic_uses()
            });
        }
    }));
}
