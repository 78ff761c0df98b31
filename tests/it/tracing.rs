//! Traces as a collector and a host see them.

use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::support::gateway::{TestGateway, authorization, head, policy_tokens, status, wait_for};
use crate::support::wire::{Host, Wire, field, ok};

const READER: &str = "resource_owner: acme\nrepositories: [alpha]\npermissions: { contents: read }";
const COMMITS: &str = "/repos/acme/alpha/commits";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// What came to it, head and body.
type Exports = Arc<Mutex<Vec<(String, Value)>>>;

fn collector() -> (Host, Exports) {
    let exports = Exports::default();
    let kept = Arc::clone(&exports);
    let host = Host::start(move |mut wire: Wire, _| {
        while let Some(head) = wire.head() {
            let length = field(&head, "content-length").unwrap().parse().unwrap();
            let body = serde_json::from_str(&wire.exactly(length)).unwrap();
            kept.lock().unwrap().push((head, body));
            wire.send(ok("{}"));
        }
    });
    (host, exports)
}

/// A gateway before `host` that samples every request, and asks no client for a trace.
fn gateway(host: &Host, tracing: &str) -> TestGateway {
    let upstreams = format!(
        "  - {{ name: forge, hosts: ['*'], url: 'http://{}', catalogs: [github], identity: {{ trusted_header: X-WEBAUTH-USER }} }}",
        host.address
    );
    let top = format!("listeners: [{{ bind: 127.0.0.1:0 }}]\n{tracing}");
    TestGateway::configured(&top, &upstreams, &[policy_tokens(&[(1, READER)])])
}

/// A host that keeps the heads of requests.
fn remembering() -> (Host, Arc<Mutex<Vec<String>>>) {
    let heads = Arc::<Mutex<Vec<String>>>::default();
    let kept = Arc::clone(&heads);
    let host = Host::answering(move |head| {
        kept.lock().unwrap().push(head.to_owned());
        ok("hello")
    });
    (host, heads)
}

fn ask(gateway: &TestGateway, target: &str, headers: &str) -> String {
    let mut client = Wire::connect(gateway.address());
    client.send(head("GET", target, &format!("{}{headers}", authorization(1))));
    client.answer().0
}

fn spans(exports: &Exports) -> Vec<Value> {
    let exports = exports.lock().unwrap();
    let of = |(_, body): &(String, Value)| {
        body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone()
    };
    exports.iter().flat_map(of).collect()
}

fn attribute<'a>(span: &'a Value, key: &str) -> &'a Value {
    let attributes = span["attributes"].as_array().unwrap();
    attributes.iter().find(|attribute| attribute["key"] == key).map_or(&Value::Null, |found| &found["value"])
}

#[test]
fn a_sampled_request_is_a_span_below_its_callers_and_above_its_hosts() {
    let (collector, exports) = collector();
    let (host, heads) = remembering();
    let mut gateway = gateway(
        &host,
        &format!("tracing: {{ otlp: 'http://{}/v1/traces', sample: 0, service: gate }}", collector.address),
    );
    let parent = format!("traceparent: 00-{TRACE}-{PARENT}-01\r\ntracestate: vendor=1\r\n");
    assert_eq!(status(&ask(&gateway, &format!("{COMMITS}?secret=hunter2"), &parent)), 200);
    let unsampled = format!("traceparent: 00-{TRACE}-{PARENT}-00\r\n");
    assert_eq!(status(&ask(&gateway, COMMITS, &unsampled)), 200);
    assert_eq!(status(&ask(&gateway, "/repos/acme/beta/commits", &parent)), 404);
    wait_for("the export", || spans(&exports).len() >= 2);
    assert!(gateway.metric("portcullis_trace_spans_exported_total") < 2.5);
    gateway.stop();
    let found = spans(&exports);
    assert_eq!(found.len(), 2, "{found:?}");
    let (head, body) = exports.lock().unwrap()[0].clone();
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
    assert_eq!(field(&head, "content-type"), Some("application/json"));
    let resource = &body["resourceSpans"][0]["resource"];
    assert_eq!(attribute(resource, "service.name")["stringValue"], "gate");
    let [allowed, refused] = &found[..] else { panic!("{found:?}") };
    for span in [allowed, refused] {
        assert_eq!((&span["traceId"], &span["parentSpanId"]), (&TRACE.into(), &PARENT.into()));
        assert_eq!((&span["traceState"], &span["kind"]), (&"vendor=1".into(), &2.into()));
        let time = |key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
        assert!(time("endTimeUnixNano") > time("startTimeUnixNano"), "{span}");
        assert!(time("startTimeUnixNano") > 1_700_000_000_000_000_000, "{span}");
    }
    assert_eq!(allowed["name"], "GET /repos/{owner}/{repo}/commits");
    for (key, want) in [
        ("http.request.method", "GET"),
        ("url.path", COMMITS),
        ("http.route", "/repos/{owner}/{repo}/commits"),
        ("portcullis.upstream", "forge"),
        ("portcullis.reason", "granted"),
        ("user.name", "user1"),
    ] {
        assert_eq!(attribute(allowed, key)["stringValue"], want, "{key}");
    }
    assert_eq!(attribute(allowed, "http.response.status_code")["intValue"], "200");
    assert_eq!(attribute(refused, "portcullis.reason")["stringValue"], "resource_not_granted");
    assert!(!body.to_string().contains("hunter2"), "{body}");
    // The host is told our span, and of the request that was not sampled what the caller said.
    let heads = heads.lock().unwrap();
    let ours = format!("00-{TRACE}-{}-01", allowed["spanId"].as_str().unwrap());
    assert_eq!(field(&heads[0], "traceparent"), Some(&*ours));
    assert_eq!(field(&heads[0], "tracestate"), Some("vendor=1"));
    assert_eq!(field(&heads[1], "traceparent"), Some(&*format!("00-{TRACE}-{PARENT}-00")));
    assert_eq!(heads.len(), 2);
}

#[test]
fn a_trace_that_begins_here_has_the_requests_id() {
    let (collector, exports) = collector();
    let (host, heads) = remembering();
    let mut gateway =
        gateway(&host, &format!("tracing: {{ otlp: 'http://{}', sample: 1 }}", collector.address));
    let answer = ask(&gateway, COMMITS, "tracestate: stray=1\r\n");
    let id = field(&answer, "x-request-id").unwrap().to_owned();
    // What is left is exported at the end, without waiting for company.
    gateway.stop();
    let found = spans(&exports);
    assert_eq!((found.len(), &found[0]["traceId"]), (1, &Value::from(id.clone())));
    assert!(found[0].get("parentSpanId").is_none(), "{}", found[0]);
    let heads = heads.lock().unwrap();
    assert!(field(&heads[0], "traceparent").unwrap().starts_with(&format!("00-{id}-")), "{}", heads[0]);
    assert_eq!(field(&heads[0], "tracestate"), None);
}

#[test]
fn without_tracing_the_fields_go_through_unharmed() {
    let (host, heads) = remembering();
    let gateway = gateway(&host, "");
    let parent = format!("traceparent: 00-{TRACE}-{PARENT}-01\r\ntracestate: vendor=1\r\n");
    assert_eq!(status(&ask(&gateway, COMMITS, &parent)), 200);
    let heads = heads.lock().unwrap();
    assert_eq!(field(&heads[0], "traceparent"), Some(&*format!("00-{TRACE}-{PARENT}-01")));
    assert_eq!(field(&heads[0], "tracestate"), Some("vendor=1"));
}

#[test]
fn a_collector_that_refuses_costs_its_spans_and_nothing_else() {
    let collector = Host::start(|mut wire: Wire, _| {
        let head = wire.head().unwrap();
        wire.exactly(field(&head, "content-length").unwrap().parse().unwrap());
        wire.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    });
    let (host, _) = remembering();
    let gateway = gateway(&host, &format!("tracing: {{ otlp: 'http://{}', sample: 1 }}", collector.address));
    assert_eq!(status(&ask(&gateway, COMMITS, "")), 200);
    wait_for("the loss", || (gateway.metric("portcullis_trace_spans_dropped_total") - 1.0).abs() < 0.1);
    assert!(gateway.metric("portcullis_trace_spans_exported_total") < 0.5);
}
