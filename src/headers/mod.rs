//! Header fields: where a credential stands, what ends at this hop, what the host is told of the caller.
//!
//! Pure. Names of header fields are compared folded (see [`fold`]), since servers behind may fold them too.

use std::borrow::Cow;

pub mod credential;
pub mod forward;
pub mod identity;

/// `name` in the one spelling in which it is compared: lower case, `_` and `.` as `-`. Servers that turn fields into
/// environment variables cannot tell these apart.
pub fn fold(name: &str) -> Cow<'_, str> {
    let plain = |byte: u8| !byte.is_ascii_uppercase() && byte != b'_' && byte != b'.';
    if name.bytes().all(plain) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(name.to_ascii_lowercase().replace(['_', '.'], "-"))
}
