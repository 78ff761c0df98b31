//! What another text of `portcullis.yaml` changes, in a gateway that runs.

use std::net::TcpListener;
use std::sync::Arc;

use crate::app::AppError;
use crate::app::certificates::{self, Loaded, Served};
use crate::app::sockets::{Listening, Neighbours, bind_data};
use crate::app::workers::Change;
use crate::config::{self, Config};

/// Listeners as they are to be; nothing is in force yet.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Those that stay: their position until now, and what is new about them.
    kept: Vec<(usize, config::Listener, Option<Loaded>)>,
    added: Vec<(config::Listener, Loaded, Vec<TcpListener>)>,
}

/// Finds out what it takes to have the listeners of `new`: reads certificates, binds addresses. A listener is known by the
/// address that is written.
///
/// # Errors
/// Faults of certificate files, or an address that cannot be had. Nothing has changed then.
pub(super) fn plan(served: &[Served], new: &Config) -> Result<Plan, AppError> {
    let mut plan = Plan::default();
    let mut faults = Vec::new();
    let mut left: Vec<usize> = (0..served.len()).collect();
    let mut unbound = Vec::new();
    for listener in &new.listeners {
        let old = |at: &&usize| served.get(**at).is_some_and(|served| served.config.bind == listener.bind);
        let old = left.iter().find(old).copied();
        left.retain(|at| Some(*at) != old);
        let has_changed = old.and_then(|at| served.get(at)).is_none_or(|old| old.config.tls != listener.tls);
        let loaded = match has_changed.then(|| certificates::load(listener)).transpose() {
            Ok(loaded) => loaded,
            Err(found) => {
                faults.extend(found);
                continue;
            }
        };
        match (old, loaded) {
            (Some(at), loaded) => plan.kept.push((at, listener.clone(), loaded)),
            (None, Some(loaded)) => unbound.push((listener, loaded)),
            (None, None) => {}
        }
    }
    if !faults.is_empty() {
        return Err(AppError::Faults(faults));
    }
    for (listener, loaded) in unbound {
        let bind = listener.bind;
        let is_neighbour = served.iter().any(|served| served.config.bind.port() == bind.port());
        let neighbours = if is_neighbour { Neighbours::Own } else { Neighbours::Foreign };
        plan.added.push((listener.clone(), loaded, bind_data(bind, new.workers, neighbours)?));
    }
    Ok(plan)
}

impl Plan {
    /// Puts it in force for `served`, as far as that does not need the supervisor; what does, is given back.
    ///
    /// # Errors
    /// [`AppError::System`], where a socket has no address.
    pub(super) fn apply(self, served: &mut Vec<Served>, config: &Config) -> Result<Change, AppError> {
        let mut old: Vec<Option<Served>> = served.drain(..).map(Some).collect();
        for (at, listener, loaded) in self.kept {
            let Some(mut kept) = old.get_mut(at).and_then(Option::take) else { continue };
            match loaded {
                Some(loaded) => kept.change(listener, loaded),
                None => kept.config = listener,
            }
            served.push(kept);
        }
        let removed = old.into_iter().flatten().map(|gone| gone.listener).collect();
        let mut added = Vec::new();
        for (listener, loaded, sockets) in self.added {
            let system =
                |source| AppError::System { what: format!("listening on {}", listener.bind), source };
            let name = listener.name.clone();
            let mut new = Served::new(listener.clone(), loaded);
            let listening =
                Listening::on(sockets, name.as_ref(), Arc::clone(&new.listener)).map_err(system)?;
            new.address = listening.address;
            added.push(listening);
            served.push(new);
        }
        Ok(Change { added, removed, drain: config.drain })
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
        upstreams,
        limits,
        audit,
        workers,
        tokens,
        drain: _,
    } = new;
    let rows = [
        ("control", *control != running.control),
        ("policies", *policies != running.policies),
        ("upstreams", *upstreams != running.upstreams),
        ("limits", *limits != running.limits),
        ("audit", *audit != running.audit),
        ("workers", *workers != running.workers),
        ("token_prefix", *tokens != running.tokens),
    ];
    rows.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key.to_owned()).collect()
}
