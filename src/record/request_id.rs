//! Request ids: what joins a response, its audit line and the upstream's log.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderValue;

/// Length of the text.
const LENGTH: usize = 32;

/// One request's id: 32 lower-case hexadecimal digits, the shape of a W3C trace id.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId([u8; LENGTH]);

impl RequestId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }

    fn of(value: u128) -> Self {
        let mut text = [b'0'; LENGTH];
        let mut rest = value;
        for digit in text.iter_mut().rev() {
            let nibble = u8::try_from(rest & 0xf).unwrap_or_default();
            *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
            rest >>= 4;
        }
        Self(text)
    }
}

impl From<RequestId> for HeaderValue {
    fn from(id: RequestId) -> Self {
        // Hexadecimal digits always make a header value; the other branch is there so that nothing can fail.
        Self::from_str(id.as_str()).unwrap_or_else(|_| Self::from_static("unknown"))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A source of request ids. One for each worker, or one that all share.
#[derive(Debug)]
pub struct RequestIds {
    seed: u64,
    count: AtomicU64,
}

impl RequestIds {
    /// A source whose ids all begin with `seed`; two sources with different seeds never give the same id.
    pub fn new(seed: u64) -> Self {
        Self { seed, count: AtomicU64::new(0) }
    }

    /// A source with a seed from the operating system's generator.
    ///
    /// # Errors
    /// When the generator gives nothing.
    pub fn from_system() -> io::Result<Self> {
        let mut seed = [0; 8];
        aws_lc_rs::rand::fill(&mut seed)
            .map_err(|_| io::Error::other("the operating system gave no random bytes; see its log"))?;
        Ok(Self::new(u64::from_ne_bytes(seed)))
    }

    /// An id that this source has not given before, up to 2^64 of them.
    pub fn next(&self) -> RequestId {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        RequestId::of(u128::from(self.seed) << 64 | u128::from(scatter(self.seed ^ count)))
    }
}

/// Spreads neighbouring numbers over the whole range (the last step of `SplitMix64`), so that ids of neighbouring
/// requests differ at a glance. It is one to one, so different counts stay different.
fn scatter(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn text_is_hexadecimal() {
        assert_eq!(
            RequestId::of(0x0123_4567_89ab_cdef_fedc_ba98_7654_3210).as_str(),
            "0123456789abcdeffedcba9876543210"
        );
        assert_eq!(RequestId::of(0).as_str(), "0".repeat(LENGTH));
    }

    #[test]
    fn ids_differ_within_and_across_sources() {
        let sources = [RequestIds::new(1), RequestIds::new(2)];
        let ids: HashSet<_> = sources.iter().flat_map(|source| (0..10_000).map(|_| source.next())).collect();
        assert_eq!(ids.len(), 20_000);
    }

    #[test]
    fn seeds_from_the_system_differ() {
        let [left, right] = [RequestIds::from_system(), RequestIds::from_system()];
        assert_ne!(left.unwrap().next(), right.unwrap().next());
    }

    #[test]
    fn an_id_is_a_header_value() {
        let id = RequestIds::new(7).next();
        assert_eq!(HeaderValue::from(id).to_str().unwrap(), id.as_str());
    }
}
