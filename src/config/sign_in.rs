//! Raw document to [`TrustedHeader`] and [`OidcProvider`]: by whom people are signed in to the API.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::check::Checker;
use crate::config::document::{OidcFields, TrustedHeaderFields};
use crate::config::upstream::Origin;
use crate::config::{OidcProvider, TrustedHeader};
use crate::domain::fault::Place;
use crate::domain::permission::Level;
use crate::yaml::{Spanned, place};

const DEFAULT_LOGIN_CLAIM: &str = "preferred_username";
const DEFAULT_GROUPS_CLAIM: &str = "groups";

const ISSUER: &str = "expected the provider's URL exactly as it names itself, with `https://` (`http://` on loopback only) and without query, such as `https://sso.example.com`";

/// Whose word is taken, and in which field.
pub(super) fn trusted_header(
    field: &Spanned<TrustedHeaderFields>,
    checker: &mut Checker<'_>,
) -> Option<TrustedHeader> {
    let name = checker
        .required(field.value.name.as_ref(), "name", place(field))
        .and_then(|name| checker.identity_header(name));
    let listed = checker.required(field.value.networks.as_ref(), "networks", place(field))?;
    if listed.value.is_empty() {
        return checker
            .fault(place(listed), "expected the networks of the proxies that sign people in, at least one");
    }
    let networks: Vec<Option<IpNet>> =
        listed.value.iter().map(|network| checker.accept(network, network_of(&network.value))).collect();
    Some(TrustedHeader { name: name?, networks: networks.into_iter().collect::<Option<_>>()? })
}

fn network_of(text: &str) -> Result<IpNet, &'static str> {
    let found = text.parse::<IpNet>().ok().filter(|network| network.trunc() == *network);
    found.ok_or("expected a network whose address has no bit behind the prefix, such as `10.0.0.0/8` or `192.0.2.7/32`")
}

/// Providers that are whole, in their order.
pub(super) fn oidc(
    field: &Spanned<Vec<Spanned<OidcFields>>>,
    has_url: bool,
    checker: &mut Checker<'_>,
) -> Option<Vec<OidcProvider>> {
    if !has_url && !field.value.is_empty() {
        let message = "providers send people back to `api.url`; add it";
        return checker.fault(place(field), message);
    }
    let mut providers: Vec<OidcProvider> = Vec::new();
    let mut whole = true;
    for fields in &field.value {
        let Some(provider) = provider(&fields.value, place(fields), checker) else {
            whole = false;
            continue;
        };
        if providers.iter().any(|other| other.name == provider.name) {
            let message = format!("another provider is called `{}`; expected a distinct name", provider.name);
            return checker.fault(fields.value.name.as_ref().map_or_else(|| place(fields), place), message);
        }
        providers.push(provider);
    }
    whole.then_some(providers)
}

fn provider(fields: &OidcFields, at: Place, checker: &mut Checker<'_>) -> Option<OidcProvider> {
    let name = checker.required(fields.name.as_ref(), "name", at).and_then(|name| checker.name(name));
    let issuer = checker
        .required(fields.issuer.as_ref(), "issuer", at)
        .and_then(|url| checker.accept(url, issuer(&url.value).ok_or(ISSUER)));
    let client_id =
        checker.required(fields.client_id.as_ref(), "client_id", at).and_then(|id| plain(id, checker));
    let secret = checker
        .required(fields.client_secret_file.as_ref(), "client_secret_file", at)
        .and_then(|file| checker.file(file));
    let ca = match &fields.ca {
        None => Some(None),
        Some(ca) => checker.file(ca).map(Some),
    };
    let login_claim = claim(fields.login_claim.as_ref(), DEFAULT_LOGIN_CLAIM, checker);
    let groups_claim = claim(fields.groups_claim.as_ref(), DEFAULT_GROUPS_CLAIM, checker);
    let members = members(&fields.members, checker);
    Some(OidcProvider {
        name: name?,
        issuer: issuer?,
        client_id: client_id?,
        client_secret_file: secret?,
        ca: ca?,
        login_claim: login_claim?,
        groups_claim: groups_claim?,
        owners: fields.owners.clone(),
        members: members?,
        administrators: fields.administrators.clone(),
    })
}

fn members(
    fields: &BTreeMap<String, BTreeMap<String, Spanned<String>>>,
    checker: &mut Checker<'_>,
) -> Option<BTreeMap<String, BTreeMap<String, Level>>> {
    let mut organizations = BTreeMap::new();
    for (organization, groups) in fields {
        let mut levels = BTreeMap::new();
        for (group, word) in groups {
            let level = Level::parse(&word.value).ok_or("expected `read`, `write` or `admin`");
            levels.insert(group.clone(), checker.accept(word, level)?);
        }
        organizations.insert(organization.clone(), levels);
    }
    Some(organizations)
}

fn claim(field: Option<&Spanned<String>>, default: &str, checker: &mut Checker<'_>) -> Option<String> {
    match field {
        None => Some(default.to_owned()),
        Some(field) => plain(field, checker),
    }
}

fn plain(field: &Spanned<String>, checker: &mut Checker<'_>) -> Option<String> {
    let fits = !field.value.is_empty() && field.value.bytes().all(|byte| byte.is_ascii_graphic());
    checker.accept(field, fits.then(|| field.value.clone()).ok_or("expected a word of ASCII without spaces"))
}

/// `url`, where it can be a provider's.
fn issuer(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split('/').next()?;
    let origin = Origin::parse(&format!("{scheme}://{authority}"))?;
    let is_loopback = || {
        origin.host == "localhost" || origin.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    let is_plain = url.bytes().all(|byte| byte.is_ascii_graphic()) && !url.contains(['?', '#', '@']);
    (is_plain && (origin.secure || is_loopback())).then(|| url.to_owned())
}
