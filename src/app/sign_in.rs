//! Who signs people in to the API, out of a checked configuration.

use crate::api;
use crate::api::trusted::TrustedProxies;
use crate::app::AppError;
use crate::config;
use crate::issuer::{Actor, IssueError};
use crate::oidc::{Provider, roles};

/// The proxies whose word is taken.
pub(super) fn trusted(settings: &config::Api) -> Option<TrustedProxies> {
    let trusted = settings.trusted_header.as_ref()?;
    Some(TrustedProxies { header: trusted.name.clone(), networks: trusted.networks.clone() })
}

/// Takes from users what no provider of `settings` makes of anybody any more.
///
/// # Errors
/// The store cannot be changed: what it says would go on holding.
pub(super) fn take_back_roles(settings: &config::Api, api: &api::Api) -> Result<(), AppError> {
    let oidc = settings.oidc.clone();
    let gives = move |provider: &str, organization: &str, role| {
        let provider = oidc.iter().find(|known| known.name == provider);
        provider.is_some_and(|provider| roles::gives(provider, organization, role))
    };
    let setting = api.issuer.setting(api.live.in_force(), Actor::gateway());
    match api.issuer.take_back_roles(setting, gives) {
        Ok(0) => {}
        Ok(count) => {
            tracing::warn!(count, "users lost roles that no group in `api.oidc` gives any more");
        }
        Err(IssueError::Store(error)) => return Err(AppError::Store(error)),
        Err(error) => tracing::error!(%error, "roles that no group gives any more stay"),
    }
    Ok(())
}

/// The providers of OpenID Connect.
///
/// # Errors
/// Secrets and authorities that cannot be read, all of them.
pub(super) fn providers(settings: &config::Api) -> Result<Vec<Provider>, AppError> {
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
