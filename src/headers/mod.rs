//! Header fields: where a credential stands, what ends at this hop, what the host is told of the caller.
//!
//! Pure. Names of header fields are compared folded (see [`fold`]), since servers behind may fold them too.

use std::borrow::Cow;

pub mod credential;
pub mod forward;
pub mod identity;

/// The field of a query or a form, folded, that many frameworks take for the method of a POST (`_method`).
pub const METHOD_OVERRIDE: &str = "-method";

/// `name` in the one spelling in which it is compared: lower case, and `-` for whatever is no letter and no digit.
/// Servers that turn fields into environment variables cannot tell these apart; some fold `-` only, some everything.
pub fn fold(name: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.bytes().all(plain) {
        return Cow::Borrowed(name);
    }
    let folded = |letter: char| {
        if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' }
    };
    Cow::Owned(name.chars().map(folded).collect())
}

/// Whether [`fold`] makes `folded` of `name`.
pub fn folds_to(name: &str, folded: &str) -> bool {
    if !name.is_ascii() {
        return fold(name) == folded;
    }
    let folded_byte = |byte: u8| if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' };
    name.len() == folded.len() && name.bytes().map(folded_byte).eq(folded.bytes())
}

/// The name of a field in a query, a form or an object of JSON as [`fold`] has it, without white space around it and
/// without brackets: of `token[]` and `[token]` frameworks make `token`, and some cut a name at NUL.
pub fn fold_field(name: &str) -> Cow<'_, str> {
    fold(bare_field(name))
}

/// The name of a field as [`fold_field`] has it, not yet folded.
pub fn bare_field(name: &str) -> &str {
    if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')) {
        return name;
    }
    let around = |letter: char| letter.is_whitespace() || matches!(letter, '[' | ']');
    let name = name.trim_start_matches(around);
    let name = name.split(['[', ']', '\0']).next().unwrap_or_default();
    name.trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_one_name() {
        for name in [
            "a_token",
            "A-Token",
            "a.token",
            "a_token[]",
            "a_token[x][y",
            "[a_token]",
            "[[a_token",
            "]a_token",
            " a_token ",
            "a_token\0x",
            " [ a_token ]",
        ] {
            assert_eq!(fold_field(name), "a-token", "{name:?}");
            assert!(folds_to(bare_field(name), "a-token"), "{name:?}");
        }
        for name in ["atoken", "x[a_token]", "a__token", "", "[]"] {
            assert_ne!(fold_field(name), "a-token", "{name:?}");
            assert!(!folds_to(bare_field(name), "a-token"), "{name:?}");
        }
        for name in ["", "a", "ä_Token", "\u{212a}ey", "a\0b", "A.b-C_d", "日本"] {
            assert!(folds_to(name, &fold(name)), "{name:?}");
            assert!(!folds_to(name, &format!("{}-", fold(name))), "{name:?}");
        }
    }
}
