//! The trace that a request belongs to, as header fields say it (W3C Trace Context, level 1).

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACE_STATE: HeaderName = HeaderName::from_static("tracestate");

/// The longest `tracestate` that spans repeat; section 3.3.1.5 lets a longer one be cut off.
const LONGEST_STATE: usize = 512;

/// Another constant than that of request ids, so that the two differ.
const SPAN_SALT: u64 = 0x9e37_79b9_7f4a_7c15;

/// The id of a span: 16 hexadecimal digits, not all of them zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanId(u64);

impl SpanId {
    /// The span of the request whose id has this number.
    pub(crate) fn of(number: u64) -> Self {
        Self((number ^ SPAN_SALT).max(1))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A `traceparent` that came with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceParent<'a> {
    trace_id: &'a str,
    span_id: &'a str,
    flags: u8,
}

impl<'a> TraceParent<'a> {
    /// The one that `headers` hold; none where there are two or it is malformed (section 3.2).
    pub(crate) fn find(headers: &'a HeaderMap) -> Option<Self> {
        let mut fields = headers.get_all(TRACE_PARENT).iter();
        let field = fields.next()?.to_str().ok()?;
        if fields.next().is_some() {
            return None;
        }
        let mut parts = field.split('-');
        let (version, trace_id, span_id, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_last = parts.next().is_none();
        let hexadecimal = |text: &str, length: usize| {
            text.len() == length
                && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        };
        let zero = |text: &str| text.bytes().all(|byte| byte == b'0');
        // Later versions may say more behind the flags; version ff is none.
        let known = hexadecimal(version, 2) && version != "ff" && (is_last || version != "00");
        let whole = hexadecimal(trace_id, 32) && hexadecimal(span_id, 16) && hexadecimal(flags, 2);
        if !known || !whole || zero(trace_id) || zero(span_id) {
            return None;
        }
        Some(Self { trace_id, span_id, flags: u8::from_str_radix(flags, 16).ok()? })
    }

    pub(crate) fn is_sampled(self) -> bool {
        self.flags & 1 == 1
    }

    /// The span `id` below it.
    pub(crate) fn child(self, id: SpanId, headers: &HeaderMap) -> Span {
        let state: Vec<_> =
            headers.get_all(TRACE_STATE).iter().filter_map(|field| field.to_str().ok()).collect();
        let state = Some(state.join(",")).filter(|state| !state.is_empty() && state.len() <= LONGEST_STATE);
        let start = Start::Below { parent: self.span_id.into(), state: state.map(Into::into) };
        Span { trace_id: self.trace_id.into(), id, start }
    }
}

/// The span of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    pub(crate) trace_id: Box<str>,
    pub(crate) id: SpanId,
    pub(crate) start: Start,
}

/// Where a trace began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Start {
    /// With this request.
    Here,
    /// Before it.
    Below {
        /// The caller's span.
        parent: Box<str>,
        /// What `tracestate` said.
        state: Option<Box<str>>,
    },
}

impl Span {
    /// Says in `headers` that what comes next is below this span. `tracestate` goes on as it came, where it belongs to the
    /// same trace.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        let text = format!("00-{}-{}-01", self.trace_id, self.id);
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(TRACE_PARENT, value);
        }
        if self.start == Start::Here {
            headers.remove(TRACE_STATE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const PARENT: &str = "b7ad6b7169203331";

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[track_caller]
    fn check(field: &str, want: Option<bool>) {
        let headers = headers(&[("traceparent", field)]);
        assert_eq!(TraceParent::find(&headers).map(TraceParent::is_sampled), want, "{field}");
    }

    #[test]
    fn what_is_malformed_is_no_parent() {
        check(&format!("00-{TRACE}-{PARENT}-01"), Some(true));
        check(&format!("00-{TRACE}-{PARENT}-00"), Some(false));
        check(&format!("00-{TRACE}-{PARENT}-fe"), Some(false));
        check(&format!("cc-{TRACE}-{PARENT}-01-what-the-future-will-be"), Some(true));
        check(&format!("00-{TRACE}-{PARENT}-01-x"), None);
        check(&format!("ff-{TRACE}-{PARENT}-01"), None);
        check(&format!("00-{}-{PARENT}-01", "0".repeat(32)), None);
        check(&format!("00-{TRACE}-{}-01", "0".repeat(16)), None);
        check(&format!("00-{}-{PARENT}-01", TRACE.to_uppercase()), None);
        check(&format!("00-{TRACE}-{PARENT}"), None);
        check(&format!("00-{TRACE}-{PARENT}-1"), None);
        check("", None);
        let twice = format!("00-{TRACE}-{PARENT}-01");
        assert_eq!(TraceParent::find(&headers(&[("traceparent", &twice), ("traceparent", &twice)])), None);
    }

    #[test]
    fn a_span_passes_itself_on_as_the_parent() {
        let field = format!("00-{TRACE}-{PARENT}-03");
        let mut headers = headers(&[("traceparent", &field), ("tracestate", "a=1"), ("tracestate", "b=2")]);
        let span = TraceParent::find(&headers).unwrap().child(SpanId::of(7), &headers);
        assert_eq!(span.start, Start::Below { parent: PARENT.into(), state: Some("a=1,b=2".into()) });
        span.tell(&mut headers);
        assert_eq!(headers["traceparent"], format!("00-{TRACE}-{}-01", SpanId::of(7)));
        assert_eq!(headers.get_all("tracestate").iter().count(), 2);
        let fresh = Span { start: Start::Here, ..span };
        fresh.tell(&mut headers);
        assert_eq!(headers.get("tracestate"), None);
    }

    #[test]
    fn a_span_id_is_never_zero() {
        assert_eq!(SpanId::of(SPAN_SALT).to_string(), "0000000000000001");
        assert_ne!(SpanId::of(1), SpanId::of(2));
    }
}
