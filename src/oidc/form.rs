//! `application/x-www-form-urlencoded`.

use std::fmt::Write;

use zeroize::Zeroizing;

/// The fields in this order. Everything but letters, digits, `-`, `.`, `_` and `~` is encoded, so that a query reads it in the
/// same way.
pub(super) fn encode(fields: &[(&str, &str)]) -> Zeroizing<String> {
    let length = fields.iter().map(|(name, value)| 3 * (name.len() + value.len()) + 2).sum();
    // Full capacity from the start: growing would leave copies of secrets behind.
    let mut text = Zeroizing::new(String::with_capacity(length));
    for (name, value) in fields {
        if !text.is_empty() {
            text.push('&');
        }
        escape(name, &mut text);
        text.push('=');
        escape(value, &mut text);
    }
    text
}

fn escape(from: &str, to: &mut String) {
    for byte in from.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            to.push(byte.into());
        } else {
            // Writing to a string does not fail.
            write!(to, "%{byte:02X}").unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_parts_fields_is_encoded() {
        let text = encode(&[("a", "x y&z=%+é"), ("b-._~", "")]);
        assert_eq!(*text, "a=x%20y%26z%3D%25%2B%C3%A9&b-._~=");
        assert_eq!(*encode(&[]), "");
    }
}
