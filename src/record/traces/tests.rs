//! What is sampled, and what a collector gets.

use http::HeaderValue;

use super::*;
use crate::record::request_id::RequestIds;

fn parent(flags: &str) -> HeaderMap {
    let value = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
    HeaderMap::from_iter([(
        http::HeaderName::from_static("traceparent"),
        HeaderValue::try_from(value).unwrap(),
    )])
}

#[test]
fn a_share_of_requests_is_sampled() {
    let ids = RequestIds::new(5);
    let (none, all, tenth) = (Sampler::new(0.0), Sampler::new(1.0), Sampler::new(0.1));
    let headers = HeaderMap::new();
    let ids: Vec<_> = (0..10_000).map(|_| ids.next()).collect();
    let count = |sampler: &Sampler| ids.iter().filter(|id| sampler.sample(&headers, id).is_some()).count();
    assert_eq!((count(&none), count(&all)), (0, 10_000));
    assert!((900..1_100).contains(&count(&tenth)), "{}", count(&tenth));
}

#[test]
fn who_brings_a_trace_decides() {
    let id = RequestIds::new(5).next();
    let sampled = Sampler::new(0.0).sample(&parent("01"), &id).unwrap();
    assert_eq!(&*sampled.trace_id, "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(sampled.start, Start::Below { parent: "b7ad6b7169203331".into(), state: None });
    assert_eq!(Sampler::new(1.0).sample(&parent("00"), &id), None);
    let own = Sampler::new(1.0).sample(&parent("xx"), &id).unwrap();
    assert_eq!((&*own.trace_id, own.start), (id.as_str(), Start::Here));
}

#[test]
fn nothing_is_sampled_where_traces_are_off() {
    let traces = Traces::off();
    assert_eq!(traces.sample(&parent("01"), &RequestIds::new(5).next()), None);
    traces.flush(Duration::ZERO);
}
