//! What another text of `portcullis.yaml` changes, in a gateway that runs.

use std::sync::Arc;
use std::time::Duration;

use crate::app::AppError;
use crate::app::certificates::{self, Loaded, Served};
use crate::app::sockets::{Listening, Neighbours, bind_data};
use crate::app::workers::Change;
use crate::config::{self, Config};

/// Listeners as they are to be, in their order; nothing is in force yet.
#[derive(Debug)]
pub(super) struct Plan(Vec<Step>);

/// What becomes of one listener.
#[derive(Debug)]
enum Step {
    /// It has this position until now, and new certificates where they are loaded.
    Stays(usize, config::Listener, Option<Loaded>),
    /// It is new, and bound already.
    Comes(Served, Listening),
}

/// Finds out what it takes to have the listeners of `new`: reads certificates, binds addresses. A listener is known by the
/// address that is written.
///
/// # Errors
/// Faults of certificate files, or an address that cannot be had. Nothing has changed then.
pub(super) fn plan(served: &[Served], new: &Config) -> Result<Plan, AppError> {
    let mut found = Vec::new();
    let mut faults = Vec::new();
    let mut left: Vec<usize> = (0..served.len()).collect();
    for config in &new.listeners {
        let is_it = |at: &&usize| served.get(**at).is_some_and(|served| served.config.bind == config.bind);
        let old = left.iter().find(is_it).copied();
        left.retain(|at| Some(*at) != old);
        let has_changed = old.and_then(|at| served.get(at)).is_none_or(|old| old.config.tls != config.tls);
        match has_changed.then(|| certificates::load(config)).transpose() {
            Ok(loaded) => found.push((config.clone(), old, loaded)),
            Err(more) => faults.extend(more),
        }
    }
    if !faults.is_empty() {
        return Err(AppError::Faults(faults));
    }
    let ports: Vec<u16> = served.iter().map(|served| served.config.bind.port()).collect();
    let step = |(config, old, loaded): (config::Listener, _, _)| match (old, loaded) {
        (Some(at), loaded) => Ok(Some(Step::Stays(at, config, loaded))),
        (None, Some(loaded)) => bind(config, loaded, new.workers, &ports).map(Some),
        // A new one was loaded.
        (None, None) => Ok(None),
    };
    let steps: Result<Vec<_>, AppError> =
        found.into_iter().filter_map(|found| step(found).transpose()).collect();
    steps.map(Plan)
}

/// Binds a listener that is new, beside those at `ports`.
fn bind(config: config::Listener, loaded: Loaded, workers: usize, ports: &[u16]) -> Result<Step, AppError> {
    let address = config.bind;
    let neighbours = if ports.contains(&address.port()) { Neighbours::Own } else { Neighbours::Foreign };
    let sockets = bind_data(address, workers, neighbours)?;
    let mut served = Served::new(config, loaded);
    let system = |source| AppError::System { what: format!("listening on {address}"), source };
    let listener = Arc::clone(&served.listener);
    let listening = Listening::on(sockets, served.config.name.as_ref(), listener).map_err(system)?;
    served.address = listening.address;
    Ok(Step::Comes(served, listening))
}

impl Plan {
    /// Puts it in force for `served`, as far as that does not need the supervisor; what does, is given back. `drain` is how
    /// long requests may go on after the end was told.
    pub(super) fn apply(self, served: &mut Vec<Served>, drain: Duration) -> Change {
        let mut old: Vec<Option<Served>> = served.drain(..).map(Some).collect();
        let mut added = Vec::new();
        for step in self.0 {
            match step {
                Step::Stays(at, config, loaded) => {
                    let Some(mut stays) = old.get_mut(at).and_then(Option::take) else { continue };
                    match loaded {
                        Some(loaded) => stays.change(config, loaded),
                        None => stays.config = config,
                    }
                    served.push(stays);
                }
                Step::Comes(new, listening) => {
                    served.push(new);
                    added.push(listening);
                }
            }
        }
        let removed = old.into_iter().flatten().map(|gone| gone.listener).collect();
        Change { added, removed, drain }
    }
}

/// The keys that say something else in `new` and are read at start only, as far as `running` is what runs.
pub(super) fn read_at_start(running: &Config, new: &Config) -> Vec<String> {
    // Taken apart whole, so that a new key does not build without being thought of here.
    let Config {
        directory: _,
        listeners: _,
        control,
        policies,
        store,
        api,
        webhooks,
        upstreams,
        limits,
        audit,
        metrics,
        tracing,
        workers,
        tokens,
        drain: _,
    } = new;
    let rows = [
        ("control", *control != running.control),
        ("policies", *policies != running.policies),
        ("store", *store != running.store),
        ("api", *api != running.api),
        ("webhooks", *webhooks != running.webhooks),
        ("upstreams", *upstreams != running.upstreams),
        ("limits", *limits != running.limits),
        ("audit", audit != &running.audit),
        ("metrics", *metrics != running.metrics),
        ("tracing", *tracing != running.tracing),
        ("workers", *workers != running.workers),
        ("token_prefix", *tokens != running.tokens),
    ];
    rows.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key.to_owned()).collect()
}
