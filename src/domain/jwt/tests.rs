//! Tokens that are signed here, and those that only look so.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use der::asn1::{AnyRef, UintRef};
use der::{Decode, SliceReader};
use serde_json::json;

use super::*;

fn part(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

struct Signers {
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
}

impl Signers {
    fn new() -> Self {
        Self {
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
            ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
        }
    }

    fn jwks(&self) -> Value {
        let public = AnyRef::from_der(self.rsa.public_key().as_ref()).unwrap();
        let mut numbers = SliceReader::new(public.value()).unwrap();
        let mut number = || part(UintRef::decode(&mut numbers).unwrap().as_bytes());
        let (n, e) = (number(), number());
        let point = self.ec.public_key().as_ref();
        json!({ "keys": [
            { "kty": "RSA", "kid": "rsa", "n": n,
              "e": e, "use": "sig", "alg": "RS256" },
            { "kty": "EC", "kid": "ec", "crv": "P-256", "x": part(&point[1..33]), "y": part(&point[33..]) },
        ] })
    }

    fn keys(&self) -> PublicKeys {
        PublicKeys::parse(self.jwks().to_string().as_bytes()).unwrap()
    }

    fn by_rsa(&self, header: &Value, claims: &Value) -> String {
        let text = format!("{}.{}", part(header.to_string()), part(claims.to_string()));
        let mut signature = vec![0; self.rsa.public_modulus_len()];
        self.rsa.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
        format!("{text}.{}", part(signature))
    }

    fn by_ec(&self, header: &Value, claims: &Value) -> String {
        let text = format!("{}.{}", part(header.to_string()), part(claims.to_string()));
        let signature = self.ec.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        format!("{text}.{}", part(signature))
    }
}

#[test]
fn both_algorithms_are_checked() {
    let signers = Signers::new();
    let (keys, claims) = (signers.keys(), json!({ "sub": "7" }));
    for token in [
        signers.by_rsa(&json!({ "alg": "RS256", "kid": "rsa", "typ": "JWT" }), &claims),
        signers.by_rsa(&json!({ "alg": "RS256" }), &claims),
        signers.by_ec(&json!({ "alg": "ES256", "kid": "ec" }), &claims),
    ] {
        assert_eq!(keys.verify(&token).map(Value::Object), Ok(claims.clone()), "{token}");
    }
}

#[test]
fn nothing_that_a_token_says_opens_another_way() {
    let signers = Signers::new();
    let (keys, claims) = (signers.keys(), json!({ "sub": "7" }));
    let head = |header: Value| signers.by_rsa(&header, &claims);
    let good = head(json!({ "alg": "RS256", "kid": "rsa" }));
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let header = signed.split_once('.').unwrap().0;
    let unsigned = format!("{}.{}", part(r#"{"alg":"none"}"#), part(claims.to_string()));
    let altered = format!("{header}.{}.{signature}", part(r#"{"sub":"8"}"#));
    let own_key = Signers::new();
    let jwk = own_key.jwks()["keys"][0].clone();
    let twice = format!("{}.{}.{signature}", part(r#"{"alg":"none","alg":"RS256"}"#), part("{}"));
    for (token, want) in [
        (format!("{unsigned}."), JwtError::Algorithm),
        (unsigned, JwtError::Malformed),
        (head(json!({ "alg": "None" })), JwtError::Algorithm),
        (head(json!({ "alg": "HS256", "kid": "rsa" })), JwtError::Algorithm),
        (head(json!({ "alg": "RS512", "kid": "rsa" })), JwtError::Algorithm),
        (head(json!({ "alg": "rs256", "kid": "rsa" })), JwtError::Algorithm),
        (head(json!({ "alg": "ES256", "kid": "ec" })), JwtError::Signature),
        (head(json!({ "alg": "ES256", "kid": "rsa" })), JwtError::UnknownKey),
        (head(json!({ "alg": "RS256", "kid": "new" })), JwtError::UnknownKey),
        (head(json!({ "alg": "RS256", "kid": "rsa", "crit": ["x"], "x": 1 })), JwtError::Kind),
        (head(json!({ "alg": "RS256", "kid": "rsa", "b64": false })), JwtError::Kind),
        (head(json!({ "alg": "RS256", "kid": "rsa", "typ": "at+jwt" })), JwtError::Kind),
        (own_key.by_rsa(&json!({ "alg": "RS256", "kid": "rsa" }), &claims), JwtError::Signature),
        (own_key.by_rsa(&json!({ "alg": "RS256", "kid": "rsa", "jwk": jwk }), &claims), JwtError::Signature),
        (own_key.by_ec(&json!({ "alg": "ES256", "kid": "ec" }), &claims), JwtError::Signature),
        (altered, JwtError::Signature),
        (twice, JwtError::Malformed),
        (format!("{good}="), JwtError::Malformed),
        (format!("{signed}."), JwtError::Signature),
        (format!("{good}.x"), JwtError::Malformed),
        ("a.b".to_owned(), JwtError::Malformed),
        (String::new(), JwtError::Malformed),
    ] {
        assert_eq!(keys.verify(&token), Err(want), "{token}");
    }
}

#[test]
fn keys_for_other_ends_are_left_out() {
    let signers = Signers::new();
    for (field, value) in [
        ("use", json!("enc")),
        ("alg", json!("RS512")),
        ("key_ops", json!(["sign"])),
        ("kty", json!("oct")),
        ("n", json!(null)),
        ("e", json!("!")),
    ] {
        let mut set = signers.jwks();
        set["keys"][0][field] = value;
        let keys = PublicKeys::parse(set.to_string().as_bytes()).unwrap();
        assert_eq!(keys.0.len(), 1, "{field}");
    }
    let mut set = signers.jwks();
    set["keys"][1]["crv"] = "P-384".into();
    set["keys"][1]["x"] = "AA".into();
    assert_eq!(PublicKeys::parse(set.to_string().as_bytes()).unwrap().0.len(), 1);
    assert_eq!(PublicKeys::parse(b"{}"), Err(JwtError::Keys));
    // Two keys without ids: which one is meant cannot be told.
    let mut set = signers.jwks();
    let copy = set["keys"][0].clone();
    set["keys"].as_array_mut().unwrap().push(copy);
    let keys = PublicKeys::parse(set.to_string().as_bytes()).unwrap();
    let token = signers.by_rsa(&json!({ "alg": "RS256" }), &json!({}));
    assert_eq!(keys.verify(&token), Err(JwtError::UnknownKey));
}
