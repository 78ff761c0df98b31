//! Raw document to [`Config`]: all that is not about one upstream.

use std::net::SocketAddr;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::check::Checker;
use crate::config::document::{CertificateFields, ControlFields, Document, LimitFields, ListenerFields};
use crate::config::upstream::{self, host_name};
use crate::config::{
    Api, CONTROL_NAME, Certificate, Config, Host, Limits, Listener, MetricsLimits, Upstream, api, audit,
    tracing, webhooks,
};
use crate::domain::fault::{Fault, Place};
use crate::domain::token::TokenFormat;
use crate::yaml::{OneOrMany, Spanned, place};

/// Bytes of a request's head. Less than 8 KiB is less than honest clients send; more than 1 MiB is an attack.
const HEADER_BYTES: std::ops::RangeInclusive<usize> = 8 * 1024..=1024 * 1024;
/// Bytes of a request target. The `http` crate holds no longer one than the last number.
const TARGET_BYTES: std::ops::RangeInclusive<usize> = 256..=65_534;
const MAX_WORKERS: usize = 256;
/// Each has some series; more than this is for the audit log to tell.
const MAX_TOKENS_TOLD: usize = 10_000;
const DEFAULT_DRAIN: Duration = Duration::from_secs(30);

/// The start of the document, for what is missing in it.
const START: Place = Place { line: 1, column: 1 };

/// Checks the whole document.
pub(super) fn validate(document: &Document, mut checker: Checker<'_>) -> Result<Config, Vec<Fault>> {
    let directory = checker.directory();
    let listeners = listeners(document.listeners.as_ref(), &mut checker);
    let control = control(document.control.as_ref(), &mut checker);
    if let (Some(listeners), Some(Some((control, at)))) = (&listeners, control) {
        distinct_control(listeners, control, at, &mut checker);
    }
    let policies = checker
        .required(document.policies.as_ref(), "policies", START)
        .and_then(|value| checker.existing_directory(value));
    let limits = limits(document.limits.as_ref(), &mut checker);
    // Faults of upstreams are told also where a limit is wrong.
    let defaults = limits.unwrap_or_default();
    let mut upstreams = upstream::upstreams(document.upstreams.as_ref(), &defaults, &mut checker);
    let store = document.store.as_ref().map(|field| api::store(field, &mut checker));
    let own = own_api(document, &mut checker);
    let webhooks = webhooks::webhooks(document, &mut checker);
    if let (Some(Some(_)), Some(upstreams)) = (&own, &mut upstreams) {
        let itself = api::own_upstream(document, &defaults, upstreams, &mut checker);
        upstreams.extend(itself);
    }
    if let (Some(Some(store)), Some(policies)) = (&store, &policies) {
        api::apart(document, store, policies, &mut checker);
    }
    if let (Some(field), Some(policies), Some(upstreams)) = (&document.policies, &policies, &upstreams) {
        governed_policies(policies, upstreams, place(field), &mut checker);
    }
    let audit = audit::audit(document.audit.as_ref(), &mut checker);
    let tracing = tracing::tracing(document.tracing.as_ref(), &mut checker);
    let tokens_told = document.metrics.as_ref().and_then(|metrics| metrics.tokens.as_ref());
    let tokens_told = checker.number(tokens_told, 0..=MAX_TOKENS_TOLD, MetricsLimits::default().tokens);
    let workers = checker.number(document.workers.as_ref(), 1..=MAX_WORKERS, default_workers());
    let tokens = match &document.token_prefix {
        None => Some(TokenFormat::default()),
        Some(prefix) => checker.accept(prefix, TokenFormat::new(&prefix.value)),
    };
    let drain = checker.duration(document.drain.as_ref(), DEFAULT_DRAIN);

    let whole = (|| {
        Some(Config {
            directory,
            listeners: listeners?.into_iter().map(|(listener, _)| listener).collect(),
            control: control?.map(|(control, _)| control),
            policies: policies?,
            store: whole_or_absent(store)?,
            api: whole_or_absent(own)?,
            webhooks: webhooks?,
            upstreams: upstreams?,
            limits: limits?,
            audit: audit?,
            metrics: MetricsLimits { tokens: tokens_told? },
            tracing: tracing?,
            workers: workers?,
            tokens: tokens?,
            drain: drain?,
        })
    })();
    let faults = checker.finish();
    match whole {
        Some(config) if faults.is_empty() => Ok(config),
        _ => Err(faults),
    }
}

/// The API, which is there where a store is.
#[expect(clippy::option_option, reason = "there, faulty and absent are three things")]
fn own_api(document: &Document, checker: &mut Checker<'_>) -> Option<Option<Api>> {
    match &document.api {
        Some(field) => Some(api::api(field, document, checker)),
        None => document.store.as_ref().map(|_| Some(Api::default())),
    }
}

/// What was checked, where it was there; `None` where it has a fault.
#[expect(clippy::option_option, reason = "there, faulty and absent are three things")]
fn whole_or_absent<T>(checked: Option<Option<T>>) -> Option<Option<T>> {
    match checked {
        None => Some(None),
        Some(None) => None,
        Some(Some(whole)) => Some(Some(whole)),
    }
}

/// Listeners that are whole, each with the place of its address. `None` where there is not even a list.
fn listeners(
    field: Option<&Spanned<Vec<Spanned<ListenerFields>>>>,
    checker: &mut Checker<'_>,
) -> Option<Vec<(Listener, Place)>> {
    let field = checker.required(field, "listeners", START)?;
    if field.value.is_empty() {
        return checker.fault(place(field), "expected at least one listener, such as `- bind: 0.0.0.0:8443`");
    }
    let mut listeners: Vec<(Listener, Place)> = Vec::new();
    for fields in &field.value {
        let name = match &fields.value.name {
            None => Some(None),
            Some(name) => listener_name(name, &listeners, checker).map(Some),
        };
        let bind = checker.required(fields.value.bind.as_ref(), "bind", place(fields));
        let address = bind.and_then(|bind| checker.address(bind));
        let tls = match &fields.value.tls {
            None => Some(Vec::new()),
            Some(tls) => certificates(tls, checker),
        };
        let (Some(name), Some(bind), Some(address), Some(tls)) = (name, bind, address, tls) else {
            continue;
        };
        if listeners.iter().any(|(other, _)| overlap(other.bind, address)) {
            checker.fault::<()>(place(bind), "another listener has this address; expected a distinct port");
        }
        listeners.push((Listener { name, bind: address, tls }, place(bind)));
    }
    Some(listeners)
}

fn listener_name(
    name: &Spanned<String>,
    others: &[(Listener, Place)],
    checker: &mut Checker<'_>,
) -> Option<String> {
    let accepted = checker.name(name)?;
    if accepted == CONTROL_NAME {
        return checker.fault(place(name), "the control plane's socket is called so; expected another name");
    }
    if others.iter().any(|(other, _)| other.name.as_ref() == Some(&accepted)) {
        return checker.fault(place(name), "another listener has this name; expected a distinct one");
    }
    Some(accepted)
}

fn certificates(
    field: &Spanned<OneOrMany<CertificateFields>>,
    checker: &mut Checker<'_>,
) -> Option<Vec<Certificate>> {
    let at = place(field);
    if field.value.0.is_empty() {
        return checker.fault(at, "expected at least one certificate; leave `tls` out for plain HTTP");
    }
    let mut certificates: Vec<Certificate> = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    let mut whole = true;
    for (index, fields) in field.value.0.iter().enumerate() {
        // A certificate has no place of its own where it is the only one, in a mapping.
        let at = fields.certificate.as_ref().or(fields.key.as_ref()).map_or(at, place);
        if index > 0 && fields.hosts.is_empty() {
            checker.fault::<()>(
                at,
                "a certificate after the first one is never chosen without `hosts`; expected the names that it is for",
            );
        }
        let mut hosts = Vec::new();
        for host in &fields.hosts {
            let Some(name) = certificate_host(host, checker) else {
                whole = false;
                continue;
            };
            if seen.contains(&name) {
                checker.fault::<()>(place(host), format!("`{name}` already has a certificate; remove one"));
            }
            seen.push(name.clone());
            hosts.push(name);
        }
        let certificate = required_file(fields.certificate.as_ref(), "certificate", at, checker);
        let key = required_file(fields.key.as_ref(), "key", at, checker);
        match (certificate, key) {
            (Some(certificate), Some(key)) => certificates.push(Certificate { hosts, certificate, key }),
            _ => whole = false,
        }
    }
    whole.then_some(certificates)
}

fn required_file(
    field: Option<&Spanned<String>>,
    name: &str,
    at: Place,
    checker: &mut Checker<'_>,
) -> Option<PathBuf> {
    let field = checker.required(field, name, at)?;
    checker.file(field)
}

/// `git.example.com` or `*.example.com`.
fn certificate_host(value: &Spanned<String>, checker: &mut Checker<'_>) -> Option<String> {
    let name = value.value.to_ascii_lowercase();
    let rest = name.strip_prefix("*.").unwrap_or(&name);
    // An IP address is never in SNI (RFC 6066 section 3).
    let fits = host_name(rest) && rest.parse::<std::net::IpAddr>().is_err();
    let expected = "expected a DNS name without port, such as `git.example.com` or `*.example.com`";
    checker.accept(value, if fits { Ok(name) } else { Err(expected) })
}

/// The control address and its place; `Some(None)` where there is none.
#[expect(clippy::option_option, reason = "a wrong address and no address are told apart")]
fn control(
    field: Option<&Spanned<ControlFields>>,
    checker: &mut Checker<'_>,
) -> Option<Option<(SocketAddr, Place)>> {
    let Some(field) = field else {
        return Some(None);
    };
    let bind = checker.required(field.value.bind.as_ref(), "bind", place(field))?;
    let address = checker.address(bind)?;
    Some(Some((address, place(bind))))
}

fn distinct_control(
    listeners: &[(Listener, Place)],
    control: SocketAddr,
    at: Place,
    checker: &mut Checker<'_>,
) {
    if listeners.iter().any(|(other, _)| overlap(other.bind, control)) {
        checker.fault::<()>(
            at,
            "a listener has this address, where clients would reach the control plane; expected a distinct port",
        );
    }
}

/// Whether both cannot be bound, because one takes the other's connections. Port 0 is a new port each time.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let (ip, other_ip) = (one.ip(), other.ip());
    let same_family = ip.is_ipv4() == other_ip.is_ipv4();
    let same_ip = ip == other_ip || same_family && (ip.is_unspecified() || other_ip.is_unspecified());
    one.port() != 0 && one.port() == other.port() && same_ip
}

/// Faults policies that a token which they govern could push to, and repositories that would be read as policies.
fn governed_policies(policies: &Path, upstreams: &[Upstream], at: Place, checker: &mut Checker<'_>) {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.into());
    let policies = real(policies);
    for upstream in upstreams {
        let Host::GitDirectory { directory, .. } = &upstream.host else {
            continue;
        };
        let directory = real(directory);
        if policies.starts_with(&directory) || directory.starts_with(&policies) {
            let message = format!(
                "the policies and the repositories of `{}` share a directory, so a token could write its own policy; expected them apart",
                upstream.name
            );
            checker.fault::<()>(at, message);
        }
    }
}

fn limits(fields: Option<&LimitFields>, checker: &mut Checker<'_>) -> Option<Limits> {
    let default = Limits::default();
    let Some(fields) = fields else {
        return Some(default);
    };
    let mut time = |field: &Option<Spanned<String>>, default| checker.duration(field.as_ref(), default);
    let header_time = time(&fields.header_time, default.header_time);
    let idle_time = time(&fields.idle_time, default.idle_time);
    let body_idle_time = time(&fields.body_idle_time, default.body_idle_time);
    let upstream_connect = time(&fields.upstream_connect, default.upstream_connect);
    let upstream_response = time(&fields.upstream_response, default.upstream_response);
    let upstream_idle = time(&fields.upstream_idle, default.upstream_idle);
    let header_bytes = checker.size(fields.header_bytes.as_ref(), HEADER_BYTES, default.header_bytes);
    let target_bytes = checker.size(fields.target_bytes.as_ref(), TARGET_BYTES, default.target_bytes);
    let header_count = checker.number(fields.header_count.as_ref(), 16..=1000, default.header_count);
    let connections = checker.number(fields.connections.as_ref(), 1..=1_000_000, default.connections);
    let limits = Limits {
        header_bytes: header_bytes?,
        header_count: header_count?,
        target_bytes: target_bytes?,
        connections: connections?,
        header_time: header_time?,
        idle_time: idle_time?,
        body_idle_time: body_idle_time?,
        upstream_connect: upstream_connect?,
        upstream_response: upstream_response?,
        upstream_idle: upstream_idle?,
    };
    if limits.target_bytes > limits.header_bytes {
        let at = fields.target_bytes.as_ref().or(fields.header_bytes.as_ref());
        return checker.fault(
            at.map_or(START, place),
            "the target is a part of the head; expected `target_bytes` not above `header_bytes`",
        );
    }
    Some(limits)
}

fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get).min(MAX_WORKERS)
}
