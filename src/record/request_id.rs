//! Request ids: what joins a response, its audit line and the upstream's log.

use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use http::HeaderValue;

/// Length of the text.
const LENGTH: usize = 32;

/// How many ids share one piece of memory: large enough that making one costs no allocation, small enough that a
/// request that goes on for hours does not hold much.
const BLOCK: usize = 64;

/// One request's id: 32 lower-case hexadecimal digits, the shape of a W3C trace id. Copies share its text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(self.0.as_bytes()).unwrap_or_default()
    }

    /// A number that differs from request to request, evenly spread.
    pub(crate) fn number(&self) -> u64 {
        let digits = self.as_str().get(LENGTH / 2..).unwrap_or_default();
        u64::from_str_radix(digits, 16).unwrap_or_default()
    }

    /// The id as the value of a header field.
    pub fn as_header(&self) -> &HeaderValue {
        &self.0
    }

    fn of(text: Bytes) -> Self {
        // Hexadecimal digits always make a header value; the other branch is there so that nothing can fail.
        Self(HeaderValue::from_maybe_shared(text).unwrap_or_else(|_| HeaderValue::from_static("unknown")))
    }
}

impl From<RequestId> for HeaderValue {
    fn from(id: RequestId) -> Self {
        id.0
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

/// A source of request ids. One for each worker, so that none waits for another.
#[derive(Debug)]
pub struct RequestIds {
    seed: u64,
    next: Mutex<Next>,
}

/// The next id, as far as it is known.
#[derive(Debug, Default)]
struct Next {
    count: u64,
    block: BytesMut,
}

impl RequestIds {
    /// A source whose ids all begin with `seed`; two sources with different seeds never give the same id.
    pub fn new(seed: u64) -> Self {
        Self { seed, next: Mutex::default() }
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
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let count = next.count;
        next.count = count.wrapping_add(1);
        if next.block.capacity() < LENGTH {
            next.block = BytesMut::with_capacity(LENGTH * BLOCK);
        }
        next.block.extend_from_slice(&hexadecimal(self.seed));
        next.block.extend_from_slice(&hexadecimal(scatter(self.seed ^ count)));
        let text = next.block.split().freeze();
        drop(next);
        RequestId::of(text)
    }
}

/// The 16 digits of `value`, all at once: each byte of a 128-bit number takes one digit.
fn hexadecimal(value: u64) -> [u8; 16] {
    const ONES: u128 = u128::from_ne_bytes([1; 16]);
    let mut spread = u128::from(value);
    for (shift, mask) in [
        (32, 0x0000_0000_ffff_ffff_0000_0000_ffff_ffff),
        (16, 0x0000_ffff_0000_ffff_0000_ffff_0000_ffff),
        (8, 0x00ff_00ff_00ff_00ff_00ff_00ff_00ff_00ff),
        (4, 0x0f0f_0f0f_0f0f_0f0f_0f0f_0f0f_0f0f_0f0f),
    ] {
        spread = (spread | spread << shift) & mask;
    }
    // Where a digit is ten or more, adding six carries into the fifth bit.
    let letters = (spread + ONES * 6) >> 4 & ONES;
    (spread + ONES * u128::from(b'0') + letters * u128::from(b'a' - b'0' - 10)).to_be_bytes()
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
        for value in [0, 1, 0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210, u64::MAX, 0x9a9a_a9a9_0f0f_f0f0] {
            assert_eq!(str::from_utf8(&hexadecimal(value)).unwrap(), format!("{value:016x}"));
        }
    }

    #[test]
    fn ids_differ_within_and_across_sources() {
        let sources = [RequestIds::new(1), RequestIds::new(2)];
        let ids: HashSet<_> = sources
            .iter()
            .flat_map(|source| (0..10_000).map(|_| source.next().as_str().to_owned()))
            .collect();
        assert_eq!(ids.len(), 20_000);
        assert!(ids.iter().all(|id| id.len() == LENGTH), "a length");
    }

    #[test]
    fn seeds_from_the_system_differ() {
        let [left, right] = [RequestIds::from_system(), RequestIds::from_system()];
        assert_ne!(left.unwrap().next(), right.unwrap().next());
    }

    #[test]
    fn an_id_is_a_header_value() {
        let id = RequestIds::new(7).next();
        assert_eq!(id.as_header().to_str().unwrap(), id.as_str());
        assert_eq!(HeaderValue::from(id.clone()), id.as_header());
        assert!(id.as_str().ends_with(&format!("{:016x}", id.number())), "{id}");
    }
}
