//! `store` and `api`: where tokens are kept that users make, and where they make them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::check::Checker;
use crate::config::document::{ApiFields, Document};
use crate::config::upstream::{self, Origin};
use crate::config::{Api, Host, Identity, Limits, Timeouts, Upstream, sign_in};
use crate::units::parse_duration;
use crate::yaml::{Spanned, place};

/// What the upstream is called that is the gateway itself, and its catalog.
pub const OWN_NAME: &str = "portcullis";

/// The most that the bounds of users can be set to.
const MOST: usize = 1_000_000;

/// The file of `store`.
pub(super) fn store(field: &Spanned<String>, checker: &mut Checker<'_>) -> Option<PathBuf> {
    let expected = "expected `sqlite:` and a file, such as `sqlite:portcullis.db`";
    let Some(file) = field.value.strip_prefix("sqlite:").filter(|file| !file.is_empty()) else {
        return checker.fault(place(field), format!("{expected}, not `{}`", field.value));
    };
    let path = checker.directory().join(file);
    match path.parent() {
        Some(parent) if parent.is_dir() && !path.is_dir() => Some(path),
        _ => {
            let message = format!("expected a file in an existing directory, not `{}`", path.display());
            checker.fault(place(field), message)
        }
    }
}

/// Faults a store among the policy files.
pub(super) fn apart(document: &Document, store: &Path, policies: &Path, checker: &mut Checker<'_>) {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.into());
    let folder = store.parent().map(real);
    if let (Some(field), Some(folder)) = (&document.store, folder)
        && folder.starts_with(real(policies))
    {
        checker.fault::<()>(
            place(field),
            "the store lies among the policy files, which are all read as policy; expected it elsewhere",
        );
    }
}

/// The bounds and the URL of the API.
pub(super) fn api(field: &Spanned<ApiFields>, document: &Document, checker: &mut Checker<'_>) -> Option<Api> {
    if document.store.is_none() {
        return checker.fault(
            place(field),
            "the API keeps what is made with it in a store; add `store: sqlite:portcullis.db`",
        );
    }
    let ApiFields {
        hosts: _,
        url,
        tokens_per_user,
        repositories_per_token,
        changes_per_hour,
        max_staleness,
        revoke_unused_after,
        keep_audit_trail,
        trusted_header,
        oidc,
    } = &field.value;
    let default = Api::default();
    let url = match url {
        None => Some(None),
        Some(url) => base_url(url, checker).map(Some),
    };
    let tokens_per_user = checker.number(tokens_per_user.as_ref(), 1..=MOST, default.tokens_per_user);
    let repositories =
        checker.number(repositories_per_token.as_ref(), 1..=MOST, default.repositories_per_token);
    let changes_per_hour = checker.number(changes_per_hour.as_ref(), 1..=MOST, default.changes_per_hour);
    let max_staleness = checker.duration(max_staleness.as_ref(), default.max_staleness);
    let revoke_unused_after =
        lasting(revoke_unused_after.as_ref(), ("never", default.revoke_unused_after), checker);
    let keep_audit_trail = lasting(keep_audit_trail.as_ref(), ("forever", default.keep_audit_trail), checker);
    let trusted_header = match trusted_header {
        None => Some(None),
        Some(header) => sign_in::trusted_header(header, checker).map(Some),
    };
    let oidc = match oidc {
        None => Some(Vec::new()),
        Some(providers) => sign_in::oidc(providers, field.value.url.is_some(), checker),
    };
    Some(Api {
        trusted_header: trusted_header?,
        oidc: oidc?,
        url: url?,
        tokens_per_user: tokens_per_user?,
        repositories_per_token: repositories?,
        changes_per_hour: changes_per_hour?,
        max_staleness: max_staleness?,
        revoke_unused_after: revoke_unused_after.ok()?,
        keep_audit_trail: keep_audit_trail.ok()?,
    })
}

/// A duration, or a word for one without an end, which is `None`.
///
/// # Errors
/// It is neither; the fault is added.
fn lasting(
    text: Option<&Spanned<String>>,
    (endless, default): (&str, Option<Duration>),
    checker: &mut Checker<'_>,
) -> Result<Option<Duration>, ()> {
    match text {
        None => Ok(default),
        Some(word) if word.value == endless => Ok(None),
        Some(text) => checker.accept(text, parse_duration(&text.value)).map(Some).ok_or(()),
    }
}

fn base_url(url: &Spanned<String>, checker: &mut Checker<'_>) -> Option<String> {
    let bare = url.value.strip_suffix('/').unwrap_or(&url.value);
    if Origin::parse(bare).is_none() {
        return checker.fault(place(url), format!("{}, not `{}`", upstream::URL, url.value));
    }
    Some(bare.to_owned())
}

/// The upstream that is the gateway itself, behind those of the document.
pub(super) fn own_upstream(
    document: &Document,
    limits: &Limits,
    others: &[Upstream],
    checker: &mut Checker<'_>,
) -> Option<Upstream> {
    let hosts = document.api.as_ref().and_then(|api| api.value.hosts.as_ref());
    let mut names = Vec::new();
    for value in hosts.iter().flat_map(|hosts| &hosts.value) {
        let name = upstream::host(value, checker)?;
        let taken = |other: &&Upstream| other.path_prefix.is_none() && other.hosts.contains(&name);
        if let Some(other) = others.iter().find(taken) {
            let message =
                format!("upstream `{}` answers to `{name}` already; expected a host of its own", other.name);
            return checker.fault(place(value), message);
        }
        if name == "*" {
            return checker.fault(place(value), "expected the names of the API, not `*`");
        }
        names.push(name);
    }
    Some(Upstream {
        name: OWN_NAME.to_owned(),
        hosts: names,
        path_prefix: None,
        host: Host::Api,
        catalogs: vec![OWN_NAME.to_owned()],
        identity: Identity::RemoteUser,
        classic: false,
        timeouts: Timeouts {
            connect: limits.upstream_connect,
            response: limits.upstream_response,
            idle: limits.upstream_idle,
        },
    })
}
