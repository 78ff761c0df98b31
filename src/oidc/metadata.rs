//! A provider's description of itself (OpenID Connect Discovery 1.0 section 3). Pure.

use serde::Deserialize;

use crate::oidc::client::Endpoint;

/// Scopes that are asked for where the provider has them, beside `openid`.
const WISHES: [&str; 3] = ["profile", "email", "groups"];

/// What is used of it.
#[derive(Debug)]
pub(super) struct Metadata {
    /// Where browsers go.
    pub(super) authorization: String,
    /// Where codes are exchanged.
    pub(super) token: Endpoint,
    /// Where its keys are.
    pub(super) keys: Endpoint,
    /// The scopes to ask for.
    pub(super) scope: String,
    /// Whether a client shows its secret by Basic; else in the form.
    pub(super) basic: bool,
    /// Whether every answer names the provider (RFC 9207).
    pub(super) names_itself: bool,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    scopes_supported: Option<Vec<String>>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl Metadata {
    /// Reads what the provider at `issuer` says; `plain` lets endpoints on loopback be without TLS.
    pub(super) fn read(text: &[u8], issuer: &str, plain: bool) -> Result<Self, String> {
        let document: Document =
            serde_json::from_slice(text).map_err(|_| "its description cannot be read".to_owned())?;
        if document.issuer != issuer {
            return Err("it calls itself by another URL; `issuer` is compared letter by letter".to_owned());
        }
        let endpoint = |url: &str, what: &str| {
            Endpoint::parse(url, plain).ok_or_else(|| format!("its {what} is no URL of `https`"))
        };
        endpoint(&document.authorization_endpoint, "`authorization_endpoint`")?;
        let has_scope =
            |scope: &&str| document.scopes_supported.iter().flatten().any(|supported| supported == scope);
        let scopes =
            WISHES.into_iter().filter(has_scope).fold("openid".to_owned(), |all, one| all + " " + one);
        let methods = document.token_endpoint_auth_methods_supported;
        Ok(Self {
            token: endpoint(&document.token_endpoint, "`token_endpoint`")?,
            keys: endpoint(&document.jwks_uri, "`jwks_uri`")?,
            authorization: without_fragment(document.authorization_endpoint),
            scope: scopes,
            basic: methods.is_none_or(|methods| methods.iter().any(|method| method == "client_secret_basic")),
            names_itself: document.authorization_response_iss_parameter_supported,
        })
    }
}

fn without_fragment(mut url: String) -> String {
    if let Some(at) = url.find('#') {
        url.truncate(at);
    }
    url
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ISSUER: &str = "https://sso.example.com/realm";

    fn document() -> Value {
        json!({
            "issuer": ISSUER,
            "authorization_endpoint": "https://sso.example.com/auth?x=1",
            "token_endpoint": "https://tokens.example.com/token",
            "jwks_uri": "https://sso.example.com/keys",
            "scopes_supported": ["openid", "groups", "offline_access"],
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
        })
    }

    #[test]
    fn a_description_says_how_it_is_asked() {
        let read = Metadata::read(document().to_string().as_bytes(), ISSUER, false).unwrap();
        assert_eq!((read.scope.as_str(), read.basic, read.names_itself), ("openid groups", false, false));
        assert_eq!(read.authorization, "https://sso.example.com/auth?x=1");
    }

    #[test]
    fn others_are_not_read() {
        for (field, value) in [
            ("issuer", "https://sso.example.com/realm/"),
            ("token_endpoint", "http://127.0.0.1/token"),
            ("jwks_uri", "http://sso.example.com/keys"),
            ("authorization_endpoint", "javascript:alert(1)"),
            ("authorization_endpoint", "https://user@sso.example.com/"),
        ] {
            let mut document = document();
            document[field] = value.into();
            assert!(
                Metadata::read(document.to_string().as_bytes(), ISSUER, false).is_err(),
                "{field} {value}"
            );
        }
        assert!(Metadata::read(b"<html>", ISSUER, false).is_err());
    }
}
