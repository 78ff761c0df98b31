//! Compressed header fields of HTTP/2, as clients send them (RFC 7541).
//!
//! Pure. A block that cannot be read ends the connection: whoever reads on after it reads other fields than were sent. A
//! field that can be read and may not be sent is given out as what it is, so that its request alone is refused.

mod fields;
mod huffman;

use std::collections::VecDeque;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use thiserror::Error;

/// How large the table of fields that a client may refer to is (RFC 7540 section 6.5.2). It is what HTTP/2 begins with, so
/// clients are not told.
const TABLE_SIZE: usize = 4096;

/// What a field weighs beside its text (RFC 7541 section 4.1).
const FIELD_WEIGHT: usize = 32;

/// A block that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the compressed header fields cannot be read")]
pub struct HpackError;

/// The name of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// `:method`
    Method,
    /// `:scheme`
    Scheme,
    /// `:authority`
    Authority,
    /// `:path`
    Path,
    /// Another one that begins with a colon.
    UnknownPseudo,
    /// That of a header field.
    Header(HeaderName),
    /// None: it has upper-case letters, or characters that no name has.
    Malformed,
}

/// The value of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// That of a header field, or a host name.
    Header(HeaderValue),
    /// That of `:method`, `:scheme` or `:path`, as it came.
    Text(Bytes),
    /// None: it has characters that no value has, or white space at an end (RFC 9113 section 8.2.1).
    Malformed,
}

/// One field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: Name,
    /// Its value.
    pub value: Value,
    /// How many bytes name and value are.
    pub length: usize,
    name_length: usize,
}

impl Name {
    fn of(text: &[u8]) -> Self {
        match text {
            b":method" => Self::Method,
            b":scheme" => Self::Scheme,
            b":authority" => Self::Authority,
            b":path" => Self::Path,
            [b':', ..] => Self::UnknownPseudo,
            _ => HeaderName::from_lowercase(text).map_or(Self::Malformed, Self::Header),
        }
    }
}

impl Value {
    fn of(name: &Name, text: Bytes) -> Self {
        let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        match name {
            Name::Method | Name::Scheme | Name::Path => Self::Text(text),
            Name::Authority | Name::Header(_) if !is_space(text.first()) && !is_space(text.last()) => {
                HeaderValue::from_maybe_shared(text).map_or(Self::Malformed, Self::Header)
            }
            Name::Authority | Name::Header(_) | Name::UnknownPseudo | Name::Malformed => Self::Malformed,
        }
    }
}

impl Field {
    fn new(name: &[u8], value: &'static [u8]) -> Self {
        Self::named(Name::of(name), name.len(), Bytes::from_static(value))
    }

    fn named(name: Name, name_length: usize, value: Bytes) -> Self {
        let length = name_length + value.len();
        Self { value: Value::of(&name, value), name, length, name_length }
    }

    fn weight(&self) -> usize {
        self.length + FIELD_WEIGHT
    }
}

/// Reads the blocks of one connection, which refer to fields of earlier ones.
pub struct Decoder {
    /// The newest stands first.
    table: VecDeque<Field>,
    weight: usize,
    /// How much the table may weigh, as the client has it.
    most: usize,
}

impl std::fmt::Debug for Decoder {
    /// Tells nothing of the fields: some are credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("weight", &self.weight).finish_non_exhaustive()
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self { table: VecDeque::new(), weight: 0, most: TABLE_SIZE }
    }
}

impl Decoder {
    /// Reads a whole block, and gives `take` its fields in their order.
    ///
    /// # Errors
    /// [`HpackError`]. No other block can be read then.
    pub fn decode(&mut self, block: &[u8], mut take: impl FnMut(&Field)) -> Result<(), HpackError> {
        let mut rest = block;
        let mut may_resize = true;
        while let Some(first) = rest.first() {
            let is_resize = first >> 5 == 0b001;
            match first {
                // An indexed field.
                0x80.. => {
                    let index = integer(&mut rest, 7)?;
                    take(self.field(index)?);
                }
                // One that is kept for the next blocks.
                0x40.. => {
                    let field = self.literal(&mut rest, 6)?;
                    take(&field);
                    self.keep(field);
                }
                // A new size of the table: at the beginning of a block, and not above what we allow.
                0x20.. => {
                    let most = integer(&mut rest, 5)?;
                    if most > TABLE_SIZE || !may_resize {
                        return Err(HpackError);
                    }
                    self.most = most;
                    self.evict(0);
                }
                // One that is not kept; or that nobody may ever keep, which is all the same to us.
                _ => take(&self.literal(&mut rest, 4)?),
            }
            may_resize &= is_resize;
        }
        Ok(())
    }

    /// The field of `index`, which is known or was kept.
    fn field(&self, index: usize) -> Result<&Field, HpackError> {
        let kept = index.checked_sub(fields::COUNT + 1);
        kept.map_or_else(|| fields::known(index), |kept| self.table.get(kept)).ok_or(HpackError)
    }

    /// A field that is spelled out behind `prefix` bits; its name may be that of another one.
    fn literal(&self, rest: &mut &[u8], prefix: u8) -> Result<Field, HpackError> {
        let (name, name_length) = match integer(rest, prefix)? {
            0 => {
                let name = string(rest)?;
                (Name::of(&name), name.len())
            }
            index => {
                let named = self.field(index)?;
                (named.name.clone(), named.name_length)
            }
        };
        Ok(Field::named(name, name_length, string(rest)?))
    }

    fn keep(&mut self, field: Field) {
        self.evict(field.weight());
        // One that is too large empties the table, and that is all.
        if field.weight() <= self.most {
            self.weight += field.weight();
            self.table.push_front(field);
        }
    }

    /// Makes room for `weight` more.
    fn evict(&mut self, weight: usize) {
        while self.weight + weight > self.most {
            let Some(oldest) = self.table.pop_back() else { return };
            self.weight -= oldest.weight();
        }
    }
}

/// An integer whose first byte has `prefix` bits of it (RFC 7541 section 5.1). None is larger than 32 bits.
fn integer(rest: &mut &[u8], prefix: u8) -> Result<usize, HpackError> {
    let (first, mut after) = rest.split_first().ok_or(HpackError)?;
    let most = (1_u32 << prefix) - 1;
    let mut value = u32::from(*first) & most;
    if value == most {
        for shift in [0, 7, 14, 21, 28] {
            let (byte, behind) = after.split_first().ok_or(HpackError)?;
            after = behind;
            let part = u32::from(byte & 0x7f);
            let part =
                part.checked_shl(shift).filter(|shifted| shifted >> shift == part).ok_or(HpackError)?;
            value = value.checked_add(part).ok_or(HpackError)?;
            if byte & 0x80 == 0 {
                *rest = after;
                return usize::try_from(value).map_err(|_| HpackError);
            }
        }
        return Err(HpackError);
    }
    *rest = after;
    usize::try_from(value).map_err(|_| HpackError)
}

/// A text (RFC 7541 section 5.2). A copy: what is kept must not keep all that was read with it.
fn string(rest: &mut &[u8]) -> Result<Bytes, HpackError> {
    let is_coded = rest.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer(rest, 7)?;
    let (text, after) = rest.split_at_checked(length).ok_or(HpackError)?;
    *rest = after;
    if is_coded {
        huffman::decode(text).map(Bytes::from).ok_or(HpackError)
    } else {
        Ok(Bytes::copy_from_slice(text))
    }
}

/// Begins a block. Nothing that we write refers to a kept field, so the client need keep none: a table of no size is within
/// whatever size it set, and one that it changed has to be answered so (RFC 7541 section 4.2).
pub fn begin(block: &mut Vec<u8>) {
    block.push(0x20);
}

/// Writes a status (RFC 9113 section 8.3.2). It stands before all fields.
pub fn push_status(block: &mut Vec<u8>, status: http::StatusCode) {
    let index = match status.as_u16() {
        200 => 8,
        204 => 9,
        206 => 10,
        304 => 11,
        400 => 12,
        404 => 13,
        500 => 14,
        _ => {
            // The value of field 8, spelled out.
            block.extend_from_slice(&[8, 3]);
            return block.extend_from_slice(status.as_str().as_bytes());
        }
    };
    block.push(0x80 | index);
}

/// Writes a field, spelled out, so that nothing of it has to be kept on either side.
pub fn push_field(block: &mut Vec<u8>, name: &str, value: &[u8]) {
    match name_index(name) {
        // More than four bits hold: 15, and the rest.
        Some(index @ 15..) => block.extend_from_slice(&[15, index - 15]),
        Some(index) => block.push(index),
        None => {
            block.push(0);
            push_length(block, name.len());
            block.extend_from_slice(name.as_bytes());
        }
    }
    push_length(block, value.len());
    block.extend_from_slice(value);
}

/// Where the names stand among the known fields that most answers have.
fn name_index(name: &str) -> Option<u8> {
    Some(match name {
        "age" => 21,
        "vary" => 59,
        "etag" => 34,
        "date" => 33,
        "link" => 45,
        "via" => 60,
        "server" => 54,
        "location" => 46,
        "content-type" => 31,
        "accept-ranges" => 18,
        "cache-control" => 24,
        "last-modified" => 44,
        "content-length" => 28,
        "content-encoding" => 26,
        "www-authenticate" => 61,
        _ => return None,
    })
}

fn push_length(block: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(127) else {
        // Below 127, so that nothing is cut.
        return block.push(length.to_le_bytes()[0]);
    };
    block.push(127);
    while rest >= 128 {
        block.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    block.push(rest.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests;
