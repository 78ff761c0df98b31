//! Spans as OTLP spells them in JSON (opentelemetry-proto, `ExportTraceServiceRequest`): ids in hexadecimal, 64-bit numbers
//! as text. Names of attributes are those of the HTTP semantic conventions, and ours below `portcullis.`.

use serde_json::{Value, json};

use crate::record::labels::{Effect, Verdict};
use crate::record::line::{Field, RequestPath};
use crate::record::traces::FinishedSpan;
use crate::record::traces::context::Start;

/// The kind of a span that answers a request.
const SERVER: u8 = 2;
/// The status of a span that failed.
const ERROR: u8 = 2;

/// One export.
pub(crate) fn request(service: &str, spans: &[FinishedSpan]) -> Value {
    let version = env!("CARGO_PKG_VERSION");
    let spans: Vec<_> = spans.iter().map(span).collect();
    json!({ "resourceSpans": [{
        "resource": { "attributes": [text("service.name", service), text("service.version", version)] },
        "scopeSpans": [{ "scope": { "name": "portcullis", "version": version }, "spans": spans }],
    }] })
}

fn span(finished: &FinishedSpan) -> Value {
    let FinishedSpan { span, line, .. } = finished;
    let method = field(finished, Field::Method).unwrap_or("HTTP");
    let name = match field(finished, Field::Route) {
        // A route begins with its methods.
        Some(route) => format!("{method} {}", route.split_once(' ').map_or(route, |(_, path)| path)),
        None => method.to_owned(),
    };
    let start = i128::from(line.time) * 1000;
    let end = start + i128::try_from(line.duration.as_nanos()).unwrap_or_default();
    let (parent, state) = match &span.start {
        Start::Here => (None, None),
        Start::Below { parent, state } => (Some(parent), state.as_deref()),
    };
    let has_failed =
        line.effect == Effect::Aborted || line.status.is_some_and(|status| status.is_server_error());
    let fields = [
        ("traceId", Some(json!(span.trace_id))),
        ("spanId", Some(json!(span.id.to_string()))),
        ("parentSpanId", parent.map(|parent| json!(parent))),
        ("traceState", state.map(|state| json!(state))),
        ("name", Some(json!(name))),
        ("kind", Some(json!(SERVER))),
        ("startTimeUnixNano", Some(json!(start.to_string()))),
        ("endTimeUnixNano", Some(json!(end.to_string()))),
        ("flags", Some(json!(1))),
        ("attributes", Some(json!(attributes(finished)))),
        ("status", has_failed.then(|| json!({ "code": ERROR, "message": line.reason }))),
    ];
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn attributes(finished: &FinishedSpan) -> Vec<Value> {
    let FinishedSpan { line, .. } = finished;
    let texts = [
        ("http.request.method", Field::Method),
        ("portcullis.request_id", Field::RequestId),
        ("portcullis.upstream", Field::Upstream),
        ("portcullis.token_id", Field::TokenId),
        ("portcullis.token_name", Field::TokenName),
        ("portcullis.resource", Field::Resource),
        ("portcullis.permission", Field::Permission),
        ("user.name", Field::User),
    ];
    let mut found: Vec<_> =
        texts.into_iter().filter_map(|(name, of)| Some(text(name, field(finished, of)?))).collect();
    if let Some(route) = field(finished, Field::Route) {
        found.push(text("http.route", route.split_once(' ').map_or(route, |(_, path)| path)));
    }
    if let Some(path) = field(finished, Field::Path) {
        found.push(text("url.path", &RequestPath(path).shown()));
    }
    found.push(text("client.address", &line.peer.to_canonical().to_string()));
    found.push(text("portcullis.mode", line.mode.as_str()));
    found.push(text("portcullis.effect", line.effect.as_str()));
    found.push(text("portcullis.reason", line.reason));
    found.extend(line.verdict.map(|verdict| text("portcullis.verdict", Verdict::as_str(verdict))));
    found.extend(line.status.map(|status| number("http.response.status_code", u64::from(status.as_u16()))));
    found.push(number("http.request.body.size", line.request_bytes));
    found.push(number("http.response.body.size", line.response_bytes));
    found.extend(line.policy_generation.map(|generation| number("portcullis.policy_generation", generation)));
    found.extend(line.decision.map(|decision| {
        json!({ "key": "portcullis.decision_microseconds", "value": { "doubleValue": decision.as_secs_f64() * 1e6 } })
    }));
    found
}

fn field(finished: &FinishedSpan, field: Field) -> Option<&str> {
    finished.line.text(finished.text.as_str(), field)
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn number(key: &str, value: u64) -> Value {
    json!({ "key": key, "value": { "intValue": value.to_string() } })
}
