//! Who signs people in to the API, out of a checked configuration.

use crate::api::trusted::TrustedProxies;
use crate::app::AppError;
use crate::config::Api;
use crate::oidc::Provider;

/// The proxies whose word is taken.
pub(super) fn trusted(settings: &Api) -> Option<TrustedProxies> {
    let trusted = settings.trusted_header.as_ref()?;
    Some(TrustedProxies { header: trusted.name.clone(), networks: trusted.networks.clone() })
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
