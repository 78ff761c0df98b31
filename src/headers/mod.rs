//! Header fields: where a credential stands, what ends at this hop, what the host is told of the caller.
//!
//! Pure. Names of header fields are compared folded (see [`fold`]), since servers behind may fold them too.

use std::borrow::Cow;

pub mod credential;
pub mod forward;
pub mod identity;

/// `name` in the one spelling in which it is compared: lower case, and `-` for whatever is no letter and no digit.
/// Servers that turn fields into environment variables cannot tell these apart; some fold `-` only, some everything.
pub fn fold(name: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.bytes().all(plain) {
        return Cow::Borrowed(name);
    }
    let folded = |letter: char| {
        if letter.is_ascii_alphanumeric() {
            letter.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    Cow::Owned(name.chars().map(folded).collect())
}
