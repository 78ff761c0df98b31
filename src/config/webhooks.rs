//! `webhooks`: who is told of what becomes of tokens.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::UpstreamTls;
use crate::config::check::Checker;
use crate::config::document::{Document, WebhookFields};
use crate::config::upstream::Origin;
use crate::domain::hook::{HookEvent, HookFilter};
use crate::yaml::{Spanned, place};

const URL: &str = "expected `https://` (or `http://`), a host, maybe a port, and a path, such as `https://hooks.example.com/portcullis`; the text is not shown, for it may hold a secret";
const USER: &str = "a URL with a user or a password would show them wherever it is shown; expected one without: the receiver knows the gateway by its signature";

/// The longest URL: more is no address but a mistake.
const LONGEST_URL: usize = 2048;

/// Whom is told, and how hard it is tried.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Webhooks {
    /// The receivers, names distinct.
    pub hooks: Vec<Webhook>,
    /// How hard it is tried. No file says so.
    pub pace: Pace,
}

/// One receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its name, and what it wants.
    pub filter: HookFilter,
    /// `host:port`, always with the port.
    pub authority: String,
    /// The path, with the query where there is one.
    pub path: HookPath,
    /// `None` speaks plain HTTP.
    pub tls: Option<UpstreamTls>,
    /// Holds the secret that bodies are signed with; read it with [`crate::config::credential::read_credential`].
    pub secret_file: PathBuf,
}

/// The path of a webhook, which some receivers make a secret of.
#[derive(Clone, PartialEq, Eq)]
pub struct HookPath(String);

impl HookPath {
    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for HookPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HookPath(…)")
    }
}

/// How hard it is tried to deliver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How long one attempt may take, from connecting to the end of the answer.
    pub attempt: Duration,
    /// The time between the first attempt and the second; it doubles with each one more.
    pub first: Duration,
    /// The longest time between two attempts.
    pub longest: Duration,
    /// After how many attempts it is given up.
    pub attempts: i64,
    /// How long after the start tokens that expire are looked for first.
    pub notices: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            attempt: Duration::from_secs(10),
            first: Duration::from_secs(10),
            longest: Duration::from_secs(60 * 60),
            attempts: 20,
            notices: Duration::from_secs(60),
        }
    }
}

impl Webhook {
    /// The receiver on another machine that is spoken to without TLS.
    pub fn clear_host(&self) -> Option<&str> {
        let (host, _) = self.authority.rsplit_once(':')?;
        let host = host.trim_matches(['[', ']']);
        let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        (self.tls.is_none() && !here).then_some(&self.authority)
    }
}

/// The receivers.
pub(super) fn webhooks(document: &Document, checker: &mut Checker<'_>) -> Option<Webhooks> {
    let Some(field) = &document.webhooks else {
        return Some(Webhooks::default());
    };
    if document.store.is_none() {
        return checker.fault(
            place(field),
            "webhooks are told of tokens in a store; add `store: sqlite:portcullis.db`",
        );
    }
    let mut hooks: Vec<Webhook> = Vec::new();
    let mut whole = true;
    for fields in &field.value {
        let found = webhook(fields, checker);
        let name = fields.value.name.as_ref();
        if let Some(name) = name.filter(|name| hooks.iter().any(|hook| hook.filter.name == name.value)) {
            checker.fault::<()>(place(name), "another webhook has this name; expected a distinct one");
        }
        whole &= found.is_some();
        hooks.extend(found);
    }
    whole.then_some(Webhooks { hooks, pace: Pace::default() })
}

fn webhook(field: &Spanned<WebhookFields>, checker: &mut Checker<'_>) -> Option<Webhook> {
    let (at, fields) = (place(field), &field.value);
    let name = checker.required(fields.name.as_ref(), "name", at);
    let name = name.and_then(|name| checker.name(name));
    let url = checker.required(fields.url.as_ref(), "url", at);
    let url = url.and_then(|url| target(url, checker));
    let secret_file = checker.required(fields.secret_file.as_ref(), "secret_file", at);
    let secret_file = secret_file.and_then(|file| checker.file(file));
    let ca = match &fields.ca {
        None => Some(None),
        Some(ca) => checker.file(ca).map(Some),
    };
    let events = events(fields.events.as_ref(), checker);
    let organizations = organizations(fields.organizations.as_ref(), checker);
    if let (Some((Origin { secure: false, .. }, _)), Some(ca)) = (&url, &fields.ca) {
        return checker.fault(place(ca), "`ca` is for `https://`; remove it, or change `url`");
    }
    let (origin, path) = url?;
    let ca = ca?;
    Some(Webhook {
        filter: HookFilter { name: name?, events: events?, organizations: organizations? },
        tls: origin.secure.then_some(UpstreamTls { server_name: origin.host, ca }),
        authority: origin.authority,
        path: HookPath(path),
        secret_file: secret_file?,
    })
}

/// Origin, and path with query, of a URL. No fault shows it.
fn target(url: &Spanned<String>, checker: &mut Checker<'_>) -> Option<(Origin, String)> {
    let split = || {
        let (scheme, rest) = url.value.split_once("://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        Some((scheme, rest.get(..end)?, rest.get(end..)?))
    };
    let Some((scheme, authority, rest)) = split() else {
        return checker.fault_without_text(place(url), URL);
    };
    if authority.contains('@') {
        return checker.fault_without_text(place(url), USER);
    }
    let is_plain = rest.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    let path = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    let fits = is_plain && url.value.len() <= LONGEST_URL;
    match Origin::parse(&format!("{scheme}://{authority}")).filter(|_| fits) {
        Some(origin) => Some((origin, path)),
        None => checker.fault_without_text(place(url), URL),
    }
}

fn events(
    field: Option<&Spanned<Vec<Spanned<String>>>>,
    checker: &mut Checker<'_>,
) -> Option<Vec<HookEvent>> {
    let Some(field) = field else {
        return Some(HookEvent::ALL.into());
    };
    if field.value.is_empty() {
        return checker
            .fault(place(field), "expected at least one event; leave `events` out for all of them");
    }
    let expected = "expected `personal_access_token_request` or `personal_access_token`";
    let read: Vec<_> = field
        .value
        .iter()
        .map(|word| checker.accept(word, HookEvent::parse(&word.value).ok_or(expected)))
        .collect();
    read.into_iter().collect()
}

/// Names of resource owners; none is any.
fn organizations(
    field: Option<&Spanned<Vec<Spanned<String>>>>,
    checker: &mut Checker<'_>,
) -> Option<Vec<String>> {
    let Some(field) = field else {
        return Some(Vec::new());
    };
    if field.value.is_empty() {
        let message = "expected at least one organization; leave `organizations` out for all of them";
        return checker.fault(place(field), message);
    }
    let plain = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    let expected = "expected the name of an organization, such as `acme`";
    let read: Vec<_> = field
        .value
        .iter()
        .map(|name| {
            checker.accept(name, if plain(&name.value) { Ok(name.value.clone()) } else { Err(expected) })
        })
        .collect();
    read.into_iter().collect()
}
