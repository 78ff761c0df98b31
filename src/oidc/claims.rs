//! What an ID token must say (OpenID Connect Core 1.0 section 3.1.3.7), and what is taken from it.
//!
//! Pure: the signature was checked, the time is given.

use serde_json::{Map, Value};
use thiserror::Error;

use crate::domain::grant::UnixTime;

/// How far clocks may differ, seconds.
const SKEW: i64 = 60;

/// How old an ID token may be that was just handed out, seconds.
const OLDEST: i64 = 600;

/// The longest subject (section 8).
const LONGEST_SUBJECT: usize = 255;

/// The most groups that are looked at.
const MOST_GROUPS: usize = 10_000;

/// Who someone is by an ID token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claimed {
    /// What the provider calls them, for ever.
    pub(super) subject: String,
    /// Their login, as it is claimed.
    pub(super) login: String,
    /// Their groups.
    pub(super) groups: Vec<String>,
}

/// What is expected of an ID token.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected<'e> {
    pub(super) issuer: &'e str,
    pub(super) client_id: &'e str,
    pub(super) nonce: &'e str,
    pub(super) now: UnixTime,
    pub(super) login_claim: &'e str,
    pub(super) groups_claim: &'e str,
}

/// Why an ID token is not for this login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum ClaimError {
    #[error("`iss` is another provider")]
    Issuer,
    #[error("`aud` or `azp` is another client")]
    Audience,
    #[error("it has expired, was not handed out just now, or is not valid yet; check the clocks")]
    Time,
    #[error("`nonce` is another login's")]
    Nonce,
    #[error("`sub` is missing, or too long")]
    Subject,
    #[error(
        "the claim with the login is missing; check `login_claim`, and what the provider puts into ID tokens"
    )]
    Login,
}

impl Expected<'_> {
    /// Reads `claims`.
    pub(super) fn read(&self, claims: &Map<String, Value>) -> Result<Claimed, ClaimError> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        if text("iss") != Some(self.issuer) {
            return Err(ClaimError::Issuer);
        }
        if !self.is_for_us(claims) {
            return Err(ClaimError::Audience);
        }
        if !self.is_now(claims) {
            return Err(ClaimError::Time);
        }
        if text("nonce") != Some(self.nonce) {
            return Err(ClaimError::Nonce);
        }
        let subject = text("sub").filter(|sub| (1..=LONGEST_SUBJECT).contains(&sub.len()));
        let subject = subject.ok_or(ClaimError::Subject)?.to_owned();
        let login = text(self.login_claim).ok_or(ClaimError::Login)?.to_owned();
        Ok(Claimed { subject, login, groups: self.groups(claims) })
    }

    /// Whether this client is the only one that it is for, or the one that asked for it.
    fn is_for_us(&self, claims: &Map<String, Value>) -> bool {
        let is_us = |value: &Value| value.as_str() == Some(self.client_id);
        let party = claims.get("azp");
        match claims.get("aud") {
            Some(Value::Array(audience)) => {
                let alone = audience.len() == 1;
                audience.iter().any(is_us) && party.map_or(alone, is_us)
            }
            Some(audience) => is_us(audience) && party.is_none_or(is_us),
            None => false,
        }
    }

    fn is_now(&self, claims: &Map<String, Value>) -> bool {
        let now = self.now.0;
        let Some(expires) = claims.get("exp").and_then(seconds) else { return false };
        let Some(issued) = claims.get("iat").and_then(seconds) else { return false };
        let begins = match claims.get("nbf") {
            None => Some(issued),
            Some(value) => seconds(value),
        };
        expires > now.saturating_sub(SKEW)
            && issued >= now.saturating_sub(OLDEST + SKEW)
            && issued <= now.saturating_add(SKEW)
            && begins.is_some_and(|begins| begins <= now.saturating_add(SKEW))
    }

    /// A list of names, or one name.
    fn groups(&self, claims: &Map<String, Value>) -> Vec<String> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        match claims.get(self.groups_claim) {
            Some(Value::Array(groups)) => groups.iter().take(MOST_GROUPS).filter_map(text).collect(),
            Some(group) => text(group).into_iter().collect(),
            None => Vec::new(),
        }
    }
}

/// A `NumericDate` (RFC 7519 section 2), cut to whole seconds.
#[expect(clippy::cast_possible_truncation, reason = "a float that is too large becomes the largest number")]
fn seconds(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn claims() -> Value {
        json!({
            "iss": "https://sso.example.com", "aud": "portcullis", "sub": "7", "nonce": "once",
            "exp": NOW + 300, "iat": NOW - 1, "preferred_username": "alice", "groups": ["a", "b"],
        })
    }

    /// Reads the claims with `changes`, of which `null` takes one away.
    fn read(changes: &Value) -> Result<Claimed, ClaimError> {
        let mut claims = claims();
        let fields = claims.as_object_mut().unwrap();
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                fields.remove(name);
            } else {
                fields.insert(name.clone(), value.clone());
            }
        }
        let expected = Expected {
            issuer: "https://sso.example.com",
            client_id: "portcullis",
            nonce: "once",
            now: UnixTime(NOW),
            login_claim: "preferred_username",
            groups_claim: "groups",
        };
        expected.read(fields)
    }

    #[test]
    fn an_id_token_for_this_login_is_read() {
        let alice = |groups: &[&str]| Claimed {
            subject: "7".into(),
            login: "alice".into(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        };
        for changes in [
            json!({}),
            json!({ "aud": ["portcullis"] }),
            json!({ "aud": ["portcullis", "other"], "azp": "portcullis" }),
            json!({ "azp": "portcullis" }),
            json!({ "exp": NOW - SKEW + 1 }),
            json!({ "iat": NOW + SKEW }),
            json!({ "exp": 1_800_000_300.5 }),
            json!({ "nbf": NOW }),
        ] {
            assert_eq!(read(&changes), Ok(alice(&["a", "b"])), "{changes}");
        }
        assert_eq!(read(&json!({ "groups": "a" })), Ok(alice(&["a"])));
        assert_eq!(read(&json!({ "groups": null })), Ok(alice(&[])));
        assert_eq!(read(&json!({ "groups": { "a": true } })), Ok(alice(&[])));
    }

    #[test]
    fn another_one_is_not() {
        for (changes, want) in [
            (json!({ "iss": "https://sso.example.com/" }), ClaimError::Issuer),
            (json!({ "iss": null }), ClaimError::Issuer),
            (json!({ "aud": "other" }), ClaimError::Audience),
            (json!({ "aud": [] }), ClaimError::Audience),
            (json!({ "aud": null }), ClaimError::Audience),
            (json!({ "aud": ["portcullis", "other"] }), ClaimError::Audience),
            (json!({ "aud": ["other"], "azp": "portcullis" }), ClaimError::Audience),
            (json!({ "azp": "other" }), ClaimError::Audience),
            (json!({ "exp": NOW - SKEW }), ClaimError::Time),
            (json!({ "exp": null }), ClaimError::Time),
            (json!({ "exp": "later" }), ClaimError::Time),
            (json!({ "iat": null }), ClaimError::Time),
            (json!({ "iat": NOW + SKEW + 1 }), ClaimError::Time),
            (json!({ "iat": NOW - OLDEST - SKEW - 1 }), ClaimError::Time),
            (json!({ "nbf": NOW + SKEW + 1 }), ClaimError::Time),
            (json!({ "nbf": "now" }), ClaimError::Time),
            (json!({ "nonce": null }), ClaimError::Nonce),
            (json!({ "nonce": "twice" }), ClaimError::Nonce),
            (json!({ "sub": null }), ClaimError::Subject),
            (json!({ "sub": "" }), ClaimError::Subject),
            (json!({ "sub": "x".repeat(256) }), ClaimError::Subject),
            (json!({ "preferred_username": null }), ClaimError::Login),
            (json!({ "preferred_username": 7 }), ClaimError::Login),
        ] {
            assert_eq!(read(&changes), Err(want), "{changes}");
        }
    }
}
