//! Raw document to [`Tracing`].

use crate::config::check::Checker;
use crate::config::document::TracingFields;
use crate::config::upstream::Origin;
use crate::config::{Tracing, UpstreamTls};
use crate::yaml::{Spanned, place};

const DEFAULT_PATH: &str = "/v1/traces";
const DEFAULT_SAMPLE: f64 = 0.01;
const DEFAULT_SERVICE: &str = "portcullis";

const URL: &str = "expected `http://` or `https://`, a host, maybe a port, and a path, such as `http://127.0.0.1:4318/v1/traces`";

/// Where traces go; `Some(None)` where the document names no collector.
#[expect(clippy::option_option, reason = "a wrong collector and no collector are told apart")]
pub(super) fn tracing(
    field: Option<&Spanned<TracingFields>>,
    checker: &mut Checker<'_>,
) -> Option<Option<Tracing>> {
    let Some(field) = field else {
        return Some(None);
    };
    let fields = &field.value;
    let url = checker.required(fields.otlp.as_ref(), "otlp", place(field));
    let found = url.and_then(|url| checker.accept(url, split(&url.value).ok_or(URL)));
    let ca = match &fields.ca {
        None => Some(None),
        Some(ca) => checker.file(ca).map(Some),
    };
    let sample = match &fields.sample {
        None => Some(DEFAULT_SAMPLE),
        Some(sample) if (0.0..=1.0).contains(&sample.value) => Some(sample.value),
        Some(sample) => checker.fault(place(sample), "expected a share from 0 to 1, such as `0.01`"),
    };
    let service = match &fields.service {
        None => Some(DEFAULT_SERVICE.to_owned()),
        Some(service) if service.value.is_empty() => {
            checker.fault(place(service), "expected a name, such as `portcullis`")
        }
        Some(service) => Some(service.value.clone()),
    };
    let (found, ca, sample, service) = (found?, ca?, sample?, service?);
    let (origin, path) = found;
    if let (false, Some(ca)) = (origin.secure, &fields.ca) {
        return checker.fault(place(ca), "`ca` is for `https://`; remove it, or change `otlp`");
    }
    let tls = origin.secure.then_some(UpstreamTls { server_name: origin.host, ca });
    Some(Some(Tracing { authority: origin.authority, path, tls, sample, service }))
}

/// Origin and path of a URL.
fn split(url: &str) -> Option<(Origin, String)> {
    let (scheme, rest) = url.split_once("://")?;
    let (authority, path) = match rest.split_once('/') {
        None | Some((_, "")) => (rest.trim_end_matches('/'), DEFAULT_PATH.to_owned()),
        Some((authority, path)) => (authority, format!("/{path}")),
    };
    let is_plain = path.bytes().all(|byte| byte.is_ascii_graphic()) && !path.contains(['?', '#']);
    let origin = Origin::parse(&format!("{scheme}://{authority}"))?;
    (is_plain && !authority.contains('@')).then_some((origin, path))
}
