//! The text of a fine-grained token: `<product>_pat_<22 base62: public id>_<53 base62: random><6 base62: checksum>`.
//!
//! The checksum is CRC-32 (IEEE) over all that stands before it, in base62 (`0-9A-Za-z`), padded with `0` to six:
//! junk is refused without a look-up, and a secret scanner has no false positives.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use thiserror::Error;

use crate::domain::secret::Secret;

/// Characters of the public id.
pub const PUBLIC_ID_LENGTH: usize = 22;
/// Characters of the random part: 315 bits.
pub const RANDOM_LENGTH: usize = 53;
/// Characters of the checksum.
pub const CHECKSUM_LENGTH: usize = 6;

/// The start of a session's text.
pub const SESSION_PREFIX: &str = "portcullis_session_";

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Why a text is no token of this gateway. Tells nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TokenError {
    /// Another prefix: not a credential that this gateway issued.
    #[error("the credential does not start like a token of this gateway")]
    Prefix,
    /// Wrong length, or a character that no token holds.
    #[error("the token is cut short, too long, or holds a character that no token holds")]
    Shape,
    /// The checksum does not fit: mistyped or made up.
    #[error("the token's checksum does not fit; it was mistyped or cut")]
    Checksum,
}

/// A product name that cannot stand in a token's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "a token prefix is 1 to 24 lower-case letters, digits and `_`, starts with a letter, and is not one of GitHub's"
)]
pub struct ProductError;

/// The product part of the prefix: `acme` makes `acme_pat_…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFormat {
    prefix: String,
}

impl Default for TokenFormat {
    fn default() -> Self {
        Self { prefix: "portcullis_pat_".into() }
    }
}

impl TokenFormat {
    /// The format of tokens that start with `<product>_pat_`.
    ///
    /// # Errors
    /// [`ProductError`] where `product` is not 1 to 24 of `[a-z0-9_]`, does not start with a letter, or makes a prefix
    /// that GitHub's scanners own.
    pub fn new(product: &str) -> Result<Self, ProductError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let starts_well = product.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
        if product.len() > 24 || !starts_well || !product.bytes().all(plain) || product == "github" {
            return Err(ProductError);
        }
        Ok(Self { prefix: format!("{product}_pat_") })
    }

    /// The prefix, with its last `_`.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A regular expression for secret scanners, without anchors.
    pub fn pattern(&self) -> String {
        let secret = RANDOM_LENGTH + CHECKSUM_LENGTH;
        format!("{}[0-9A-Za-z]{{{PUBLIC_ID_LENGTH}}}_[0-9A-Za-z]{{{secret}}}", self.prefix)
    }

    /// Reads a token. The text itself is not kept.
    ///
    /// # Errors
    /// [`TokenError`], before any look-up.
    pub fn parse(&self, text: &str) -> Result<TokenText, TokenError> {
        let body = text.strip_prefix(&self.prefix).ok_or(TokenError::Prefix)?;
        let (id, secret) = body.split_once('_').ok_or(TokenError::Shape)?;
        let base62 = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let lengths = (id.len(), secret.len()) == (PUBLIC_ID_LENGTH, RANDOM_LENGTH + CHECKSUM_LENGTH);
        if !lengths || !base62(id) || !base62(secret) {
            return Err(TokenError::Shape);
        }
        let at = text.len() - CHECKSUM_LENGTH;
        let (checked, checksum) = text.split_at_checked(at).ok_or(TokenError::Shape)?;
        if checksum.as_bytes() != checksum_of(checked) {
            return Err(TokenError::Checksum);
        }
        let public_id = id.as_bytes().try_into().map(PublicId).map_err(|_| TokenError::Shape)?;
        Ok(TokenText { public_id, digest: TokenDigest::of(text) })
    }

    /// Builds a token's text out of random bytes, at least [`Self::RANDOM_BYTES`] of them, from the operating system's
    /// generator. `None` where there are too few.
    pub fn assemble(&self, random: &[u8]) -> Option<Secret> {
        let mut characters = characters(random);
        let id: Option<String> = (0..PUBLIC_ID_LENGTH).map(|_| characters.next()).collect();
        self.with_id(&id?, characters)
    }

    /// As [`Self::assemble`], for a token that has a public id already. `None` also where `public_id` is none.
    pub fn assemble_for(&self, public_id: &str, random: &[u8]) -> Option<Secret> {
        let fits =
            public_id.len() == PUBLIC_ID_LENGTH && public_id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if fits { self.with_id(public_id, characters(random)) } else { None }
    }

    fn with_id(&self, id: &str, mut characters: impl Iterator<Item = char>) -> Option<Secret> {
        // As large as it gets: a text that grows leaves copies of itself in memory.
        let mut text = String::with_capacity(self.prefix.len() + 128);
        text.push_str(&self.prefix);
        text.push_str(id);
        text.push('_');
        for _ in 0..RANDOM_LENGTH {
            text.push(characters.next()?);
        }
        text.extend(checksum_of(&text).map(char::from));
        Some(Secret::new(text))
    }

    /// How many random bytes [`Self::assemble`] wants: with this many, too few usable ones come less than once in 2^64.
    pub const RANDOM_BYTES: usize = 128;
}

/// What is kept of a well-formed token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenText {
    /// The part that may be shown.
    pub public_id: PublicId,
    /// The digest of the whole text.
    pub digest: TokenDigest,
}

/// The part of a token that may be shown and logged: 22 base62 characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicId([u8; PUBLIC_ID_LENGTH]);

impl PublicId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for PublicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for PublicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// SHA-256 of a token's text: what is stored, declared and looked up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// The digest of `text`.
    pub fn of(text: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        Self(bytes)
    }

    /// Reads 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let bytes: Option<Vec<u8>> = pairs
            .iter()
            .map(|[high, low]| {
                let high = char::from(*high).to_digit(16)?;
                let low = char::from(*low).to_digit(16)?;
                u8::try_from(high << 4 | low).ok()
            })
            .collect();
        if !rest.is_empty() {
            return None;
        }
        bytes?.try_into().ok().map(Self)
    }

    /// Of 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes, big end first.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenDigest({self})")
    }
}

/// Characters out of random bytes.
fn characters(random: &[u8]) -> impl Iterator<Item = char> {
    // Bytes of 248 and above would make some characters likelier than others: 248 is 4 × 62.
    let usable = random.iter().filter(|byte| **byte < 248);
    usable.filter_map(|byte| ALPHABET.get(usize::from(byte % 62))).map(|letter| char::from(*letter))
}

/// The checksum over `text`.
fn checksum_of(text: &str) -> [u8; CHECKSUM_LENGTH] {
    let mut rest = crc32fast::hash(text.as_bytes());
    let mut digits = [b'0'; CHECKSUM_LENGTH];
    for digit in digits.iter_mut().rev() {
        *digit = usize::try_from(rest % 62).ok().and_then(|at| ALPHABET.get(at)).copied().unwrap_or(b'0');
        rest /= 62;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Secret {
        TokenFormat::default().assemble(&[7; TokenFormat::RANDOM_BYTES]).unwrap()
    }

    #[test]
    fn a_token_reads_back() {
        let text = token();
        let read = TokenFormat::default().parse(text.expose()).unwrap();
        assert_eq!(text.expose().len(), "portcullis_pat_".len() + 22 + 1 + 59);
        assert_eq!(read.public_id.as_str(), "7".repeat(22));
        assert_eq!(read.digest, TokenDigest::of(text.expose()));
        assert_eq!(TokenDigest::from_hex(&read.digest.to_string()), Some(read.digest));
    }

    #[test]
    fn the_checksum_is_crc32_in_base62() {
        // CRC-32 of `123456789` is 0xCBF43926 = 3421780262; in base62 that is `3jZRME`.
        let mut value = 0_u64;
        for digit in checksum_of("123456789") {
            value = value * 62 + ALPHABET.iter().position(|letter| *letter == digit).unwrap() as u64;
        }
        assert_eq!(value, 0xCBF4_3926);
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let format = TokenFormat::default();
        let text = token().expose().to_owned();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
            assert!(format.parse(&String::from_utf8(bytes).unwrap()).is_err(), "{at}");
        }
        for cut in 0..text.len() {
            assert!(format.parse(text.get(..cut).unwrap()).is_err(), "{cut}");
        }
        assert_eq!(format.parse(&format!("{text}0")), Err(TokenError::Shape));
        assert_eq!(TokenFormat::new("acme").unwrap().parse(&text), Err(TokenError::Prefix));
    }

    #[test]
    fn products() {
        for bad in ["", "github", "Acme", "1a", "a-b", &"a".repeat(25)] {
            assert!(TokenFormat::new(bad).is_err(), "{bad:?}");
        }
        assert_eq!(TokenFormat::new("acme").unwrap().pattern(), "acme_pat_[0-9A-Za-z]{22}_[0-9A-Za-z]{59}");
    }
}
