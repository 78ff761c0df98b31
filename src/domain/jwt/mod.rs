//! Signed tokens of other systems (JWT, RFC 7519) and the keys that they are judged by (JWK, RFC 7517).
//!
//! Two algorithms, RS256 and ES256, and nothing that a token says of itself changes that: no `none`, no shared secret, no key
//! inside the token. What the claims mean is for others to judge.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};
use thiserror::Error;

/// The most keys of a set that are looked at.
const MOST_KEYS: usize = 100;

/// Bytes of a coordinate of P-256.
const COORDINATE: usize = 32;

/// Why a token is not believed, or a set of keys not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum JwtError {
    /// It is none.
    #[error("it is no signed token of three parts")]
    Malformed,
    /// It is signed by an algorithm that is not allowed here.
    #[error("its algorithm is neither RS256 nor ES256")]
    Algorithm,
    /// It must not be read by those who do not know an extension.
    #[error("it takes an extension that is unknown here, or is a token of another kind")]
    Kind,
    /// Its key is not among the provider's.
    #[error("its key is none of the provider's")]
    UnknownKey,
    /// The signature is not of this key over this text.
    #[error("its signature is wrong")]
    Signature,
    /// The keys cannot be read.
    #[error("the provider's keys are no set of keys")]
    Keys,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Rs256,
    Es256,
}

impl Algorithm {
    fn parse(word: &str) -> Option<Self> {
        match word {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
    b64: Option<Value>,
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// A public key that checks signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PublicKey {
    id: Option<String>,
    material: Material,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Material {
    /// Modulus and exponent, without zeros in front.
    Rsa(Vec<u8>, Vec<u8>),
    /// A point, uncompressed.
    P256(Vec<u8>),
}

/// The keys of a provider that are good for checking signatures by RS256 or ES256.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublicKeys(Vec<PublicKey>);

impl PublicKeys {
    /// Reads a set of keys. Those of other kinds and for other ends are left out.
    ///
    /// # Errors
    /// [`JwtError::Keys`].
    pub fn parse(text: &[u8]) -> Result<Self, JwtError> {
        let set: Jwks = serde_json::from_slice(text).map_err(|_| JwtError::Keys)?;
        let keys = set.keys.into_iter().take(MOST_KEYS);
        Ok(Self(keys.filter_map(|key| PublicKey::read(serde_json::from_value(key).ok()?)).collect()))
    }

    /// The key with this id; without one, the only one of its kind.
    fn find(&self, algorithm: Algorithm, id: Option<&str>) -> Option<&PublicKey> {
        let fits = |key: &&PublicKey| {
            key.material.algorithm() == algorithm && id.is_none_or(|id| key.id.as_deref() == Some(id))
        };
        let mut found = self.0.iter().filter(fits);
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }

    /// The claims of `token`, which one of these keys has signed.
    ///
    /// # Errors
    /// [`JwtError`].
    pub fn verify(&self, token: &str) -> Result<Map<String, Value>, JwtError> {
        let (signed, signature) = token.rsplit_once('.').ok_or(JwtError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(JwtError::Malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| JwtError::Malformed);
        let head: Header = serde_json::from_slice(&decode(header)?).map_err(|_| JwtError::Malformed)?;
        let algorithm = Algorithm::parse(&head.alg).ok_or(JwtError::Algorithm)?;
        let is_plain = head.typ.is_none_or(|kind| kind.eq_ignore_ascii_case("JWT"));
        if head.crit.is_some() || head.b64.is_some() || !is_plain {
            return Err(JwtError::Kind);
        }
        let key = self.find(algorithm, head.kid.as_deref()).ok_or(JwtError::UnknownKey)?;
        if !key.material.has_signed(signed.as_bytes(), &decode(signature)?) {
            return Err(JwtError::Signature);
        }
        serde_json::from_slice(&decode(claims)?).map_err(|_| JwtError::Malformed)
    }
}

impl PublicKey {
    fn read(jwk: Jwk) -> Option<Self> {
        let decode = |field: Option<String>| URL_SAFE_NO_PAD.decode(field?).ok();
        let material = match jwk.kty.as_str() {
            "RSA" => Material::Rsa(without_zeros(decode(jwk.n)?), without_zeros(decode(jwk.e)?)),
            "EC" if jwk.crv.as_deref() == Some("P-256") => {
                let (x, y) = (decode(jwk.x)?, decode(jwk.y)?);
                if x.len() != COORDINATE || y.len() != COORDINATE {
                    return None;
                }
                Material::P256([&[4][..], &x, &y].concat())
            }
            _ => return None,
        };
        let for_signatures = jwk.purpose.is_none_or(|purpose| purpose == "sig")
            && jwk.key_ops.is_none_or(|uses| uses.iter().any(|what| what == "verify"))
            && jwk.alg.is_none_or(|word| Algorithm::parse(&word) == Some(material.algorithm()));
        for_signatures.then_some(Self { id: jwk.kid, material })
    }
}

impl Material {
    fn algorithm(&self) -> Algorithm {
        match self {
            Self::Rsa(..) => Algorithm::Rs256,
            Self::P256(_) => Algorithm::Es256,
        }
    }

    fn has_signed(&self, text: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Rsa(n, e) => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, text, signature).is_ok()
            }
            Self::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(text, signature).is_ok()
            }
        }
    }
}

fn without_zeros(number: Vec<u8>) -> Vec<u8> {
    number.into_iter().skip_while(|byte| *byte == 0).collect()
}

#[cfg(test)]
mod tests;
