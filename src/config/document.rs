//! The raw form of `portcullis.yaml`: its fields, and nothing checked but that there are no others.
//!
//! Fields that must stand there are optional here, so that all that are missing are told at once.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::yaml::{OneOrMany, Spanned};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub(super) listeners: Option<Spanned<Vec<Spanned<ListenerFields>>>>,
    pub(super) control: Option<Spanned<ControlFields>>,
    pub(super) policies: Option<Spanned<String>>,
    pub(super) store: Option<Spanned<String>>,
    pub(super) api: Option<Spanned<ApiFields>>,
    pub(super) webhooks: Option<Spanned<Vec<Spanned<WebhookFields>>>>,
    pub(super) upstreams: Option<Spanned<Vec<Spanned<UpstreamFields>>>>,
    pub(super) limits: Option<LimitFields>,
    pub(super) audit: Option<Spanned<AuditField>>,
    pub(super) metrics: Option<MetricsFields>,
    pub(super) tracing: Option<Spanned<TracingFields>>,
    pub(super) workers: Option<Spanned<u64>>,
    pub(super) token_prefix: Option<Spanned<String>>,
    pub(super) drain: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListenerFields {
    pub(super) name: Option<Spanned<String>>,
    pub(super) bind: Option<Spanned<String>>,
    pub(super) tls: Option<Spanned<OneOrMany<CertificateFields>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CertificateFields {
    #[serde(default)]
    pub(super) hosts: Vec<Spanned<String>>,
    pub(super) certificate: Option<Spanned<String>>,
    pub(super) key: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ControlFields {
    pub(super) bind: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ApiFields {
    pub(super) hosts: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) url: Option<Spanned<String>>,
    pub(super) tokens_per_user: Option<Spanned<u64>>,
    pub(super) changes_per_hour: Option<Spanned<u64>>,
    pub(super) repositories_per_token: Option<Spanned<u64>>,
    pub(super) max_staleness: Option<Spanned<String>>,
    pub(super) revoke_unused_after: Option<Spanned<String>>,
    pub(super) keep_audit_trail: Option<Spanned<String>>,
    pub(super) trusted_header: Option<Spanned<TrustedHeaderFields>>,
    pub(super) oidc: Option<Spanned<Vec<Spanned<OidcFields>>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TrustedHeaderFields {
    pub(super) name: Option<Spanned<String>>,
    pub(super) networks: Option<Spanned<Vec<Spanned<String>>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OidcFields {
    pub(super) name: Option<Spanned<String>>,
    pub(super) issuer: Option<Spanned<String>>,
    pub(super) client_id: Option<Spanned<String>>,
    pub(super) client_secret_file: Option<Spanned<String>>,
    pub(super) ca: Option<Spanned<String>>,
    pub(super) login_claim: Option<Spanned<String>>,
    pub(super) groups_claim: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) owners: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    pub(super) members: BTreeMap<String, BTreeMap<String, Spanned<String>>>,
    pub(super) administrators: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookFields {
    pub(super) name: Option<Spanned<String>>,
    pub(super) url: Option<Spanned<String>>,
    pub(super) secret_file: Option<Spanned<String>>,
    pub(super) ca: Option<Spanned<String>>,
    pub(super) events: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) organizations: Option<Spanned<Vec<Spanned<String>>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UpstreamFields {
    pub(super) name: Option<Spanned<String>>,
    pub(super) hosts: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) path_prefix: Option<Spanned<String>>,
    pub(super) url: Option<Spanned<String>>,
    pub(super) ca: Option<Spanned<String>>,
    pub(super) server_name: Option<Spanned<String>>,
    pub(super) preserve_host: Option<Spanned<bool>>,
    pub(super) git_directory: Option<Spanned<String>>,
    pub(super) max_children: Option<Spanned<u64>>,
    pub(super) catalogs: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) identity: Option<Spanned<IdentityFields>>,
    pub(super) classic_tokens: Option<Spanned<String>>,
    pub(super) timeouts: Option<TimeoutFields>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IdentityFields {
    pub(super) trusted_header: Option<Spanned<String>>,
    pub(super) basic_file: Option<Spanned<String>>,
    pub(super) bearer_file: Option<Spanned<String>>,
    pub(super) sudo_file: Option<Spanned<String>>,
    pub(super) user_header: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TimeoutFields {
    pub(super) connect: Option<Spanned<String>>,
    pub(super) response: Option<Spanned<String>>,
    pub(super) idle: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitFields {
    pub(super) header_bytes: Option<Spanned<String>>,
    pub(super) header_count: Option<Spanned<u64>>,
    pub(super) target_bytes: Option<Spanned<String>>,
    pub(super) connections: Option<Spanned<u64>>,
    pub(super) header_time: Option<Spanned<String>>,
    pub(super) idle_time: Option<Spanned<String>>,
    pub(super) body_idle_time: Option<Spanned<String>>,
    pub(super) upstream_connect: Option<Spanned<String>>,
    pub(super) upstream_response: Option<Spanned<String>>,
    pub(super) upstream_idle: Option<Spanned<String>>,
}

/// A word, or where lines go and what happens where they cannot.
#[derive(Debug)]
pub(super) enum AuditField {
    Word(String),
    Fields(Box<AuditFields>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditFields {
    pub(super) file: Option<Spanned<String>>,
    pub(super) when_full: Option<WhenFullWord>,
    pub(super) requests: Option<LinesWord>,
    pub(super) chain: Option<Spanned<bool>>,
    pub(super) rotate_at: Option<Spanned<String>>,
    pub(super) keep: Option<Spanned<u64>>,
}

impl AuditFields {
    /// Whether it says nothing.
    pub(super) fn is_empty(&self) -> bool {
        let Self { file, when_full, requests, chain, rotate_at, keep } = self;
        file.is_none()
            && when_full.is_none()
            && requests.is_none()
            && chain.is_none()
            && rotate_at.is_none()
            && keep.is_none()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum LinesWord {
    All,
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum WhenFullWord {
    Drop,
    Refuse,
}

impl<'de> Deserialize<'de> for AuditField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AuditVisitor;

        impl<'de> Visitor<'de> for AuditVisitor {
            type Value = AuditField;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`stdout`, `danger_off`, or a mapping with `file`, `when_full`, `requests`, `chain`, `rotate_at` or `keep`")
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<AuditField, E> {
                Ok(AuditField::Word(word.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<AuditField, A::Error> {
                AuditFields::deserialize(MapAccessDeserializer::new(map))
                    .map(|fields| AuditField::Fields(Box::new(fields)))
            }
        }

        deserializer.deserialize_any(AuditVisitor)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TracingFields {
    pub(super) otlp: Option<Spanned<String>>,
    pub(super) ca: Option<Spanned<String>>,
    pub(super) sample: Option<Spanned<f64>>,
    pub(super) service: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MetricsFields {
    pub(super) tokens: Option<Spanned<u64>>,
}
