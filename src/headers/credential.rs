//! Takes the one credential off a request.
//!
//! Fourth and fifth step of the decision. The text of the credential does not leave this file: what goes on is its
//! public id and its digest.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, header};
use zeroize::Zeroizing;

use crate::domain::refusal::{CredentialError, Refusal};
use crate::domain::target::{CanonicalTarget, cut};
use crate::domain::token::{SESSION_PREFIX, TokenDigest, TokenError, TokenFormat, TokenText};
use crate::headers::{bare_field, fold, folds_to};

/// Places where a host would take a credential, and where none may stand.
#[derive(Debug, Clone, Default)]
pub struct ForbiddenPlaces {
    query: Vec<Place>,
    headers: Vec<Place>,
}

/// A place: folded for comparison, and as operators write it. Catalogs live as long as their snapshot, so the name in
/// an error is one of a fixed few.
#[derive(Debug, Clone)]
struct Place {
    folded: String,
    class: &'static str,
}

impl ForbiddenPlaces {
    /// Adds a field of the query.
    pub fn forbid_query(&mut self, name: &str) {
        self.query.push(Place { folded: fold(name).into_owned(), class: "the query" });
    }

    /// Adds a header field.
    pub fn forbid_header(&mut self, name: &str) {
        self.headers.push(Place {
            folded: fold(name).into_owned(),
            class: "a header field other than Authorization",
        });
    }

    fn in_headers(&self, headers: &HeaderMap) -> Option<&'static str> {
        headers.keys().find_map(|name| {
            let forbids = |place: &&Place| folds_to(name.as_str(), &place.folded);
            self.headers.iter().find(forbids).map(|place| place.class)
        })
    }

    fn in_query(&self, target: &CanonicalTarget) -> Option<&'static str> {
        first_in_query(target, |name| {
            self.query.iter().find(|place| folds_to(name, &place.folded)).map(|place| place.class)
        })
    }
}

/// Whether the query has a field called `folded`, in any spelling.
pub fn query_holds(target: &CanonicalTarget, folded: &str) -> bool {
    first_in_query(target, |name| folds_to(name, folded).then_some(())).is_some()
}

/// What `found` says first of the query's names, bare but not folded. Some servers part fields at `;` too, and read `token[]` as
/// `token`.
fn first_in_query<T>(target: &CanonicalTarget, found: impl Fn(&str) -> Option<T>) -> Option<T> {
    let query = target.query()?;
    if !query.bytes().any(|byte| matches!(byte, b'%' | b'+' | b';')) {
        // Nothing is encoded and nothing hidden: the names are what stands before each `=`.
        let mut rest = Some(query);
        let mut next = || {
            let (piece, after) = cut(rest?, b'&');
            rest = after;
            Some(piece)
        };
        return std::iter::from_fn(&mut next).find_map(|piece| match cut(piece, b'=') {
            ("", None) => None,
            (name, _) => found(bare_field(name)),
        });
    }
    target.query_fields().find_map(|(name, value)| {
        let hidden = value.split(';').skip(1).chain(name.split(';'));
        hidden.into_iter().find_map(|field| found(bare_field(field.split('=').next().unwrap_or_default())))
    })
}

/// The one credential that a request carries. Its text is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// A token of this gateway.
    Token(TokenText),
    /// Anything else, by its digest: what the host itself issued.
    Classic(TokenDigest),
}

/// The one credential that the request carries.
///
/// # Errors
/// [`Refusal::Credential`] where there is none, more than one, or one in a forbidden place; [`Refusal::Token`] where it
/// starts like a token of this gateway and is none.
pub fn take(
    headers: &HeaderMap,
    target: &CanonicalTarget,
    forbidden: &ForbiddenPlaces,
    format: &TokenFormat,
) -> Result<Credential, Refusal> {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(CredentialError::Several.into());
    }
    if let Some(place) = forbidden.in_headers(headers).or_else(|| forbidden.in_query(target)) {
        let error = if field.is_some() { CredentialError::Several } else { CredentialError::Place(place) };
        return Err(error.into());
    }
    authorization(field.ok_or(CredentialError::Missing)?, format)
}

/// Reads `Authorization` (RFC 9110 section 11.6.2; Basic: RFC 7617; `token`: GitHub's).
fn authorization(field: &HeaderValue, format: &TokenFormat) -> Result<Credential, Refusal> {
    let field = field.to_str().map_err(|_| CredentialError::Scheme)?;
    let (scheme, rest) = field.split_once(' ').ok_or(CredentialError::Scheme)?;
    let credential = rest.trim_matches(' ');
    if credential.is_empty() {
        return Err(CredentialError::Missing.into());
    }
    if scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token") {
        return read(credential, format);
    }
    if scheme.eq_ignore_ascii_case("basic") {
        return basic(credential, format);
    }
    Err(CredentialError::Scheme.into())
}

/// The token is the password, with any user; or the user, with no password or `x-oauth-basic`.
fn basic(credential: &str, format: &TokenFormat) -> Result<Credential, Refusal> {
    let decoded = Zeroizing::new(STANDARD.decode(credential).map_err(|_| CredentialError::Scheme)?);
    let pair = str::from_utf8(&decoded).map_err(|_| CredentialError::Scheme)?;
    let (user, password) = pair.split_once(':').ok_or(CredentialError::Scheme)?;
    if password.is_empty() || password == "x-oauth-basic" {
        if user.is_empty() {
            return Err(CredentialError::Missing.into());
        }
        return read(user, format);
    }
    if user.starts_with(format.prefix()) && user != password {
        return Err(CredentialError::Several.into());
    }
    read(password, format)
}

/// A mistyped token of this gateway is none of the host's.
fn read(text: &str, format: &TokenFormat) -> Result<Credential, Refusal> {
    match format.parse(text) {
        Ok(token) => Ok(Credential::Token(token)),
        // In quotes, behind a tab, or of a session: it is none of the host's either.
        Err(TokenError::Prefix) if text.contains(format.prefix()) || text.contains(SESSION_PREFIX) => {
            Err(TokenError::Shape.into())
        }
        Err(TokenError::Prefix) => Ok(Credential::Classic(TokenDigest::of(text))),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(fill: u8) -> String {
        TokenFormat::default().assemble(&[fill; 128]).unwrap().expose().to_owned()
    }

    fn forbidden() -> ForbiddenPlaces {
        let mut places = ForbiddenPlaces::default();
        places.forbid_query("access_token");
        places.forbid_header("PRIVATE-TOKEN");
        places
    }

    fn take_of(target: &str, fields: &[(&str, &str)]) -> Result<String, Refusal> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name: http::HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        let target = CanonicalTarget::parse(target).unwrap();
        match take(&headers, &target, &forbidden(), &TokenFormat::default())? {
            Credential::Token(token) => Ok(token.public_id.to_string()),
            Credential::Classic(_) => Err(TokenError::Prefix.into()),
        }
    }

    fn basic_of(pair: &str) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    #[test]
    fn every_placement_gives_the_same_token() {
        let token = text(7);
        let want = Ok("7".repeat(22));
        for value in [
            format!("Bearer {token}"),
            format!("bearer  {token}"),
            format!("token {token}"),
            basic_of(&format!("x-access-token:{token}")),
            basic_of(&format!(":{token}")),
            basic_of(&format!("{token}:")),
            basic_of(&format!("{token}:x-oauth-basic")),
            basic_of(&format!("{token}:{token}")),
        ] {
            assert_eq!(take_of("/", &[("authorization", &value)]), want, "{value}");
        }
    }

    #[test]
    fn two_credentials_are_refused() {
        let (one, two) = (format!("Bearer {}", text(7)), text(8));
        let several = Err(CredentialError::Several.into());
        assert_eq!(take_of("/", &[("authorization", &one), ("authorization", &one)]), several);
        assert_eq!(take_of("/", &[("authorization", &one), ("private-token", "x")]), several);
        assert_eq!(take_of("/", &[("authorization", &one), ("Private_Token", "x")]), several);
        assert_eq!(take_of("/?access_token=x", &[("authorization", &one)]), several);
        assert_eq!(take_of("/", &[("authorization", &basic_of(&format!("{}:{two}", text(7))))]), several);
    }

    #[test]
    fn a_credential_in_another_place_is_refused_in_every_spelling() {
        for target in [
            "/?access_token=x",
            "/?a=b&ACCESS_TOKEN=x",
            "/?access%5Ftoken=x",
            "/?access_token[]=x",
            "/?[access_token]=x",
            "/?%5Baccess_token%5D=x",
            "/?a=b;access_token=x",
            "/?access-token=x",
            "/?access.token=x",
            "/?access_token",
        ] {
            assert_eq!(take_of(target, &[]), Err(CredentialError::Place("the query").into()), "{target}");
        }
        let place = CredentialError::Place("a header field other than Authorization");
        assert_eq!(take_of("/", &[("private.token", "x")]), Err(place.into()));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let missing = Err(CredentialError::Missing.into());
        assert_eq!(take_of("/", &[]), missing);
        assert_eq!(take_of("/", &[("authorization", &basic_of(":"))]), missing);
        let scheme = Err(CredentialError::Scheme.into());
        for value in ["Negotiate abc", "Bearer", "Basic ???", "Digest a=b", &basic_of("nocolon")] {
            assert_eq!(take_of("/", &[("authorization", value)]), scheme, "{value}");
        }
        assert_eq!(take_of("/", &[("authorization", "Bearer \u{e9}")]), scheme);
        assert_eq!(take_of("/", &[("authorization", "Bearer ghp_x")]), Err(TokenError::Prefix.into()));
        assert_eq!(
            take_of("/", &[("authorization", &basic_of("alice:hunter2"))]),
            Err(TokenError::Prefix.into())
        );
    }
}
