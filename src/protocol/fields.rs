//! The names of the fields that a body holds, as the most willing of hosts would read them.
//!
//! Names are compared as those of a query are (see [`fold_field`]). Only names of the outermost object count: what is
//! called `sudo` further inside is data.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::domain::target::decode_once;
use crate::headers::fold_field;

/// Two hosts could read other names out of this body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the names of the body's fields cannot be told for certain")]
pub struct Unreadable;

/// A name that a body holds.
pub type Found = Option<&'static str>;

/// The first of `names`, folded, that an object of JSON holds, or one of the objects in an array. Every key is looked
/// at, one that stands twice as well.
///
/// # Errors
/// It is not JSON by RFC 8259. Lenient readers take something out of such text, and each of them something else.
pub fn find_in_json(body: &[u8], names: &[&'static str]) -> Result<Found, Unreadable> {
    if body.is_empty() {
        return Ok(None);
    }
    let text = str::from_utf8(body).map_err(|_| Unreadable)?;
    let mut json = serde_json::Deserializer::from_str(text);
    let found = Names(names).deserialize(&mut json).map_err(|_| Unreadable)?;
    json.end().map_err(|_| Unreadable)?;
    Ok(found)
}

/// The first of `names`, folded, that a URL-encoded form holds. Fields are parted at `&` and at `;`.
///
/// # Errors
/// A name holds an escape that is none, or a byte that a form does not hold.
pub fn find_in_form(body: &[u8], names: &[&'static str]) -> Result<Found, Unreadable> {
    for field in body.split(|byte| matches!(byte, b'&' | b';')) {
        let name = field.split(|byte| *byte == b'=').next().unwrap_or_default();
        let name = str::from_utf8(name).map_err(|_| Unreadable)?;
        if !name.bytes().all(is_form_byte) || !has_whole_escapes(name) {
            return Err(Unreadable);
        }
        let found = named(&decode_once(&name.replace('+', " ")), names);
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn is_form_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() || byte.is_ascii_whitespace()
}

fn has_whole_escapes(name: &str) -> bool {
    name.split('%').skip(1).all(|after| {
        let digits = after.as_bytes().first_chunk::<2>();
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

fn named(name: &str, names: &[&'static str]) -> Found {
    let name = fold_field(name);
    names.iter().copied().find(|known| *known == name)
}

/// Reads all of a value, and finds the first of these names in it.
#[derive(Clone, Copy)]
struct Names<'a>(&'a [&'static str]);

impl<'de> DeserializeSeed<'de> for Names<'_> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Names<'_> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<String>()? {
            found = found.or_else(|| named(&name, self.0));
            map.next_value::<IgnoredAny>()?;
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Found, A::Error> {
        let mut found = None;
        while let Some(inside) = elements.next_element_seed(self)? {
            found = found.or(inside);
        }
        Ok(found)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Found, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Found, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Found, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Found, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Found, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Found, E> {
        Ok(None)
    }
}
