//! Callers whom a proxy has signed in: their login stands in a header field that only the proxy's networks may send.
//!
//! A browser adds no such field by itself, but the proxy adds it to whatever a browser sends, also at another site's bidding:
//! so nothing is changed for a request that says it comes from another site.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, Method, header};
use ipnet::IpNet;

use crate::api::answer::ApiError;
use crate::api::{Api, ApiRequest, Caller};
use crate::headers::{fold, folds_to};
use crate::issuer::users::is_login;

/// Whose word is taken for who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedProxies {
    /// The field that holds the login.
    pub header: HeaderName,
    /// The networks of the proxies.
    pub networks: Vec<IpNet>,
}

impl TrustedProxies {
    /// The login that `headers` name, where `peer` is a proxy and there is one.
    ///
    /// # Errors
    /// The field stands there twice, or in another spelling, which the proxy may have let through; or it names nobody.
    fn login<'h>(&self, peer: IpAddr, headers: &'h HeaderMap) -> Result<Option<&'h str>, ApiError> {
        let peer = peer.to_canonical();
        if !self.networks.iter().any(|network| network.contains(&peer)) {
            return Ok(None);
        }
        let folded = fold(self.header.as_str());
        let mut found = headers.iter().filter(|(name, _)| folds_to(name.as_str(), &folded));
        let Some((name, value)) = found.next() else { return Ok(None) };
        if found.next().is_some() {
            return Err(ApiError::Misread("the field that says who calls stands there more than once"));
        }
        if name != self.header {
            return Err(ApiError::Misread("the field that says who calls is spelled in another way"));
        }
        let login = value.to_str().ok().filter(|login| is_login(login));
        login.map(Some).ok_or(ApiError::Misread("the field that says who calls names nobody"))
    }
}

impl Api {
    /// Whom a proxy says `request` comes from. `None` where none does, or where there is an `Authorization`, which decides.
    ///
    /// # Errors
    /// As [`TrustedProxies::login`]; the user is suspended; another site asks for a change.
    pub(super) async fn signed_in_by_proxy(
        &self,
        request: &ApiRequest<'_>,
    ) -> Result<Option<Caller>, ApiError> {
        let Some(trusted) = &self.trusted else { return Ok(None) };
        if request.headers.contains_key(header::AUTHORIZATION) {
            return Ok(None);
        }
        let Some(login) = trusted.login(request.peer, request.headers)? else { return Ok(None) };
        if !matches!(*request.method, Method::GET | Method::HEAD) && is_foreign(request.headers) {
            return Err(ApiError::Forbidden("another site may change nothing here".to_owned()));
        }
        let asked = login.to_owned();
        let known = self.issuer.store.read(move |reads: crate::store::Reads<'_>| reads.user(&asked)).await?;
        let (login, administrator) = match known {
            Some(user) if user.suspended_at.is_some() => {
                return Err(ApiError::Forbidden(format!("the user `{}` is suspended", user.login)));
            }
            Some(user) => (user.login, user.administrator),
            None => (login.to_owned(), false),
        };
        Ok(Some(Caller::Person { login, administrator, session: None }))
    }
}

/// Whether a browser says that another site made it send this.
fn is_foreign(headers: &HeaderMap) -> bool {
    let says = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if let Some(site) = says("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    // Older browsers.
    let Some(origin) = says("origin") else { return false };
    let host = origin.split_once("://").map_or("", |(_, host)| host);
    says("host").is_none_or(|own| !own.eq_ignore_ascii_case(host))
}
