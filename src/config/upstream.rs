//! Raw upstreams to [`Upstream`]s.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use http::HeaderName;
use http::uri::Authority;
use rustls::pki_types::ServerName;

use crate::config::api::OWN_NAME;
use crate::config::check::Checker;
use crate::config::document::{IdentityFields, TimeoutFields, UpstreamFields};
use crate::config::{Host, Identity, Limits, Timeouts, Upstream, UpstreamTls};
use crate::domain::fault::Place;
use crate::domain::target::CanonicalTarget;
use crate::yaml::{Spanned, place};

/// Git processes of one directory: each may hold a pack in memory.
const DEFAULT_CHILDREN: usize = 32;
const MAX_CHILDREN: usize = 1024;

pub(super) const URL: &str = "expected `http://` or `https://`, a host and maybe a port, such as `http://127.0.0.1:3000`, without user, path and query";
const IDENTITY: &str = "one of `trusted_header`, `basic_file`, `bearer_file` or `sudo_file`";

/// Upstreams that are whole. `None` where there is not even a list.
pub(super) fn upstreams(
    field: Option<&Spanned<Vec<Spanned<UpstreamFields>>>>,
    limits: &Limits,
    checker: &mut Checker<'_>,
) -> Option<Vec<Upstream>> {
    let field = checker.required(field, "upstreams", Place { line: 1, column: 1 })?;
    if field.value.is_empty() {
        return checker.fault(place(field), "expected at least one upstream, with `name`, `hosts` and `url`");
    }
    let mut names = BTreeMap::new();
    let mut sites = BTreeMap::new();
    let mut upstreams = Vec::new();
    for fields in &field.value {
        let whole = upstream(fields, limits, checker);
        let UpstreamFields { name, hosts, path_prefix, .. } = &fields.value;
        if let Some(name) = name
            && let Some(Place { line, .. }) = names.insert(name.value.clone(), place(name))
        {
            let message =
                format!("line {line} has an upstream of this name already; expected a distinct one");
            checker.fault::<()>(place(name), message);
        }
        if let Some(name) = name.as_ref().filter(|name| name.value == OWN_NAME) {
            checker.fault::<()>(place(name), "this name is the gateway's own; expected another one");
        }
        let prefix = path_prefix.as_ref().map(|prefix| prefix.value.clone());
        for host in hosts.iter().flat_map(|hosts| &hosts.value) {
            let site = (host.value.to_ascii_lowercase(), prefix.clone());
            if let Some(Place { line, .. }) = sites.insert(site, place(host)) {
                let message = format!(
                    "line {line} answers to `{}` already; expected a distinct host or `path_prefix`",
                    host.value
                );
                checker.fault::<()>(place(host), message);
            }
        }
        upstreams.extend(whole);
    }
    Some(upstreams)
}

fn upstream(
    fields: &Spanned<UpstreamFields>,
    limits: &Limits,
    checker: &mut Checker<'_>,
) -> Option<Upstream> {
    let at = place(fields);
    let fields = &fields.value;
    let name = checker.required(fields.name.as_ref(), "name", at);
    let name = name.and_then(|name| checker.name(name));
    let hosts = checker.required(fields.hosts.as_ref(), "hosts", at);
    let hosts =
        hosts.and_then(|field| each(field, checker, host, "at least one host; `[\"*\"]` stands for any"));
    let path_prefix = match &fields.path_prefix {
        None => Some(None),
        Some(prefix) => path_prefix(prefix, checker).map(Some),
    };
    let catalogs = checker.required(fields.catalogs.as_ref(), "catalogs", at);
    let catalogs = catalogs.and_then(|field| catalogs_of(field, checker));
    let timeouts = timeouts(fields.timeouts.as_ref(), limits, checker);
    let classic = classic_tokens(fields, checker);
    let (host, identity) = match (&fields.url, &fields.git_directory) {
        (Some(url), None) => (http_host(url, fields, checker), http_identity(fields, at, checker)),
        (None, Some(directory)) => (git_host(directory, fields, checker), Some(Identity::RemoteUser)),
        (Some(_), Some(directory)) => checker.fault(
            place(directory),
            "an upstream is an HTTP server or a directory; expected `url` or `git_directory`, not both",
        )?,
        (None, None) => checker.fault(
            at,
            "the upstream says not where it is; expected `url` (an HTTP server) or `git_directory`",
        )?,
    };
    Some(Upstream {
        name: name?,
        hosts: hosts?,
        path_prefix: path_prefix?,
        host: host?,
        catalogs: catalogs?,
        identity: identity?,
        classic: classic?,
        timeouts: timeouts?,
    })
}

/// Whether credentials that the host issued pass. A directory issues none.
fn classic_tokens(fields: &UpstreamFields, checker: &mut Checker<'_>) -> Option<bool> {
    let Some(word) = &fields.classic_tokens else {
        return Some(false);
    };
    match (word.value.as_str(), &fields.git_directory) {
        ("refuse", _) => Some(false),
        ("pass", None) => Some(true),
        ("pass", Some(_)) => {
            checker.fault(place(word), "a directory of repositories issues no credentials; leave it out")
        }
        (other, _) => checker.fault(place(word), format!("expected `pass` or `refuse`, not `{other}`")),
    }
}

/// Every element of a list through `check`; at least one.
fn each(
    field: &Spanned<Vec<Spanned<String>>>,
    checker: &mut Checker<'_>,
    check: impl Fn(&Spanned<String>, &mut Checker<'_>) -> Option<String>,
    expected: &str,
) -> Option<Vec<String>> {
    if field.value.is_empty() {
        return checker.fault(place(field), format!("expected {expected}"));
    }
    let names: Vec<_> = field.value.iter().map(|value| check(value, checker)).collect();
    names.into_iter().collect()
}

fn catalogs_of(field: &Spanned<Vec<Spanned<String>>>, checker: &mut Checker<'_>) -> Option<Vec<String>> {
    let expected = "at least one catalog, such as `git`; without one every request is refused";
    let names = each(field, checker, |value, checker| checker.name(value), expected)?;
    for (index, value) in field.value.iter().enumerate() {
        if names.iter().take(index).any(|name| *name == value.value) {
            return checker.fault(place(value), "this catalog is named twice; remove one");
        }
    }
    Some(names)
}

/// A host that clients ask for, in lower case.
pub(super) fn host(value: &Spanned<String>, checker: &mut Checker<'_>) -> Option<String> {
    let name = value.value.to_ascii_lowercase();
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let fits = match address {
        // One spelling: clients that write an address otherwise are told `no_upstream`, never another upstream.
        Some(address) => address.parse::<Ipv6Addr>().is_ok_and(|ip| ip.to_string() == address),
        None => name == "*" || host_name(&name),
    };
    let expected = "expected a host without port, such as `git.example.com`, or `*` for any";
    checker.accept(value, if fits { Ok(name) } else { Err(expected) })
}

/// Whether `name` is a DNS name in lower case or an IPv4 address.
pub(super) fn host_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

fn path_prefix(value: &Spanned<String>, checker: &mut Checker<'_>) -> Option<String> {
    let prefix = &value.value;
    let plain = prefix.starts_with('/') && !prefix.ends_with('/') && !prefix.contains(['%', '?']);
    if !plain || CanonicalTarget::parse(prefix).is_err() {
        let expected = "expected a path that starts with `/`, without a slash at its end, escapes, query, `//`, `.`, `..` and `;`";
        return checker.accept(value, Err(expected));
    }
    Some(prefix.clone())
}

fn timeouts(fields: Option<&TimeoutFields>, limits: &Limits, checker: &mut Checker<'_>) -> Option<Timeouts> {
    let field = |of: fn(&TimeoutFields) -> Option<&Spanned<String>>| fields.and_then(of);
    let connect = checker.duration(field(|fields| fields.connect.as_ref()), limits.upstream_connect);
    let response = checker.duration(field(|fields| fields.response.as_ref()), limits.upstream_response);
    let idle = checker.duration(field(|fields| fields.idle.as_ref()), limits.upstream_idle);
    Some(Timeouts { connect: connect?, response: response?, idle: idle? })
}

/// Faults each of `fields` that stands there: it belongs to another kind of upstream.
fn misplaced(fields: &[(&str, Option<Place>)], belongs: &str, checker: &mut Checker<'_>) -> Option<()> {
    let mut none = Some(());
    for (name, at) in fields {
        if let Some(at) = at {
            none = checker.fault(*at, format!("`{name}` belongs to {belongs}; remove it"));
        }
    }
    none
}

fn git_host(directory: &Spanned<String>, fields: &UpstreamFields, checker: &mut Checker<'_>) -> Option<Host> {
    let alone = misplaced(
        &[
            ("ca", fields.ca.as_ref().map(place)),
            ("server_name", fields.server_name.as_ref().map(place)),
            ("preserve_host", fields.preserve_host.as_ref().map(place)),
            ("identity", fields.identity.as_ref().map(place)),
        ],
        "an upstream with `url`",
        checker,
    );
    let directory = checker.existing_directory(directory);
    let max_children = checker.number(fields.max_children.as_ref(), 1..=MAX_CHILDREN, DEFAULT_CHILDREN);
    alone?;
    Some(Host::GitDirectory { directory: directory?, max_children: max_children? })
}

fn http_host(url: &Spanned<String>, fields: &UpstreamFields, checker: &mut Checker<'_>) -> Option<Host> {
    let alone = misplaced(
        &[("max_children", fields.max_children.as_ref().map(place))],
        "an upstream with `git_directory`",
        checker,
    );
    let origin = if url.value.contains('@') {
        checker
            .fault_without_text(place(url), "a URL holds no user and password; name a file under `identity`")
    } else {
        checker.accept(url, Origin::parse(&url.value).ok_or(URL))
    };
    let ca = match &fields.ca {
        None => Some(None),
        Some(ca) => checker.file(ca).map(Some),
    };
    let Origin { authority, host, secure } = origin?;
    let tls = if secure {
        let named = fields.server_name.as_ref();
        let server_name = named.map_or(host, |name| name.value.clone());
        let fits = ServerName::try_from(server_name.as_str()).is_ok();
        let expected = "expected a DNS name or an IP address that the certificate is for";
        checker.accept(named.unwrap_or(url), fits.then_some(()).ok_or(expected))?;
        Some(UpstreamTls { server_name, ca: ca? })
    } else {
        misplaced(
            &[("ca", fields.ca.as_ref().map(place)), ("server_name", fields.server_name.as_ref().map(place))],
            "an `https://` upstream",
            checker,
        )?;
        None
    };
    alone?;
    Some(Host::Http {
        authority,
        tls,
        preserve_host: fields.preserve_host.as_ref().is_some_and(|preserve| preserve.value),
    })
}

/// The parts of a URL without a path.
pub(super) struct Origin {
    /// `host:port`, always with the port.
    pub(super) authority: String,
    /// The host, without brackets.
    pub(super) host: String,
    /// Whether it is `https`.
    pub(super) secure: bool,
}

impl Origin {
    /// `scheme://host:port`, maybe with a slash.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (secure, default_port) = match scheme {
            "http" => (false, 80),
            "https" => (true, 443),
            _ => return None,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return None;
        }
        let authority: Authority = rest.parse().ok()?;
        let host = authority.host().to_ascii_lowercase();
        let port = match rest.get(authority.host().len()..)? {
            "" => default_port,
            port => port_number(port.strip_prefix(':')?)?,
        };
        let bare = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(address) => address.parse::<IpAddr>().ok()?.to_string(),
            None if host_name(&host) => host.clone(),
            None => return None,
        };
        Some(Self { authority: format!("{host}:{port}"), host: bare, secure })
    }
}

fn port_number(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok()?;
    (digits && number != 0).then_some(number)
}

fn http_identity(fields: &UpstreamFields, at: Place, checker: &mut Checker<'_>) -> Option<Identity> {
    let Some(identity) = &fields.identity else {
        let message = format!("the upstream is not told who calls; expected `identity` with {IDENTITY}");
        return checker.fault(at, message);
    };
    let at = place(identity);
    let IdentityFields { trusted_header, basic_file, bearer_file, sudo_file, user_header } = &identity.value;
    let user_field = user_header.as_ref().map(place);
    match (trusted_header, basic_file, bearer_file, sudo_file) {
        (Some(header), None, None, None) => {
            misplaced(&[("user_header", user_field)], "`basic_file` and `bearer_file`", checker)?;
            checker.identity_header(header).map(Identity::TrustedHeader)
        }
        (None, None, None, Some(file)) => {
            misplaced(&[("user_header", user_field)], "`basic_file` and `bearer_file`", checker)?;
            checker.file(file).map(|token_file| Identity::Sudo { token_file })
        }
        (None, Some(file), None, None) => {
            let user_header = optional_header(user_header.as_ref(), checker);
            let file = checker.file(file)?;
            user_header.map(|user_header| Identity::Basic { file, user_header })
        }
        (None, None, Some(file), None) => {
            let user_header = optional_header(user_header.as_ref(), checker);
            let file = checker.file(file)?;
            user_header.map(|user_header| Identity::Bearer { file, user_header })
        }
        _ => checker.fault(at, format!("expected exactly {IDENTITY}")),
    }
}

#[expect(clippy::option_option, reason = "a wrong header and no header are told apart")]
fn optional_header(field: Option<&Spanned<String>>, checker: &mut Checker<'_>) -> Option<Option<HeaderName>> {
    match field {
        None => Some(None),
        Some(field) => checker.identity_header(field).map(Some),
    }
}
