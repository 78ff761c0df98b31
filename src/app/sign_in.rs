//! Who signs people in to the API, out of a checked configuration.

use std::sync::Arc;

use crate::api::trusted::TrustedProxies;
use crate::app::AppError;
use crate::config::{Api, Config};
use crate::domain::membership::Memberships;
use crate::issuer::provided::GroupMapping;
use crate::issuer::{Actor, IssueError, Issuer, IssuerLimits};
use crate::live::LivePolicy;
use crate::oidc::{Provider, roles};
use crate::store::Store;

/// The proxies whose word is taken.
pub(super) fn trusted(settings: &Api) -> Option<TrustedProxies> {
    let trusted = settings.trusted_header.as_ref()?;
    Some(TrustedProxies { header: trusted.name.clone(), networks: trusted.networks.clone() })
}

/// What groups make of people by `config`. A provider that it does not name makes nothing of anybody; of people whose groups
/// are not known nothing can be said. Who administers is said at a sign-in alone: somebody may have said otherwise since.
pub(super) fn mapping(config: &Config) -> GroupMapping {
    let oidc = config.api.as_ref().map(|api| api.oidc.clone()).unwrap_or_default();
    Arc::new(move |provider: Option<&str>, groups: Option<&[String]>| {
        match (oidc.iter().find(|known| Some(known.name.as_str()) == provider), groups) {
            (None, _) => Some(Memberships::default()),
            (Some(provider), Some(groups)) => Some(roles::of(provider, groups).0),
            (Some(_), None) => None,
        }
    })
}

/// Makes of the users of `store` what `config` makes of their groups.
pub(super) fn apply_groups(config: &Config, store: Store, live: &Arc<LivePolicy>) {
    let issuer = Issuer::new(store, config.tokens.clone(), IssuerLimits::default(), Arc::default());
    let setting = issuer.setting(live.in_force(), Actor::gateway());
    tell_applied(&issuer.apply_groups_now(setting, mapping(config)));
}

/// Says in the log what became of applying groups, and whether it was done.
pub(super) fn tell_applied(outcome: &Result<usize, IssueError>) -> bool {
    match outcome {
        Ok(0) => {}
        Ok(users) => tracing::warn!(users, "by `api.oidc`, groups make something else of users than before"),
        Err(error) => tracing::error!(
            %error,
            "what `api.oidc` makes of groups could not be stored; users keep what they had until it can"
        ),
    }
    outcome.is_ok()
}

/// The providers of OpenID Connect.
///
/// # Errors
/// Secrets and authorities that cannot be read, all of them.
pub(super) fn providers(settings: &Api) -> Result<Vec<Provider>, AppError> {
    // `config` lets no provider stand without a URL.
    let url = settings.url.as_deref().unwrap_or_default();
    let (mut providers, mut faults) = (Vec::new(), Vec::new());
    for provider in &settings.oidc {
        match Provider::new(provider.clone(), url) {
            Ok(provider) => providers.push(provider),
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() { Ok(providers) } else { Err(AppError::Faults(faults)) }
}
