//! Whom changes are told to: the webhooks' names and what each of them wants. Their addresses and secrets are nothing that
//! whoever changes tokens needs to know.

use std::fmt::Write as _;

use serde_json::Value;
use tokio::sync::Notify;

use crate::domain::hook::{HookEvent, HookFilter};
use crate::issuer::{IssueError, Setting};
use crate::store::Changes;
use crate::store::deliveries::NewDelivery;

/// What links in payloads begin with where the API's URL is not known.
const NO_URL: &str = "http://localhost";

/// Where notices are put for the webhooks.
#[derive(Debug, Default)]
pub struct Outbox {
    /// The webhooks.
    hooks: Vec<HookFilter>,
    /// The URL of the API, for links.
    url: Option<String>,
    filled: Notify,
}

/// A notice, before anyone has asked for it.
pub(super) struct Notice<'n> {
    pub(super) event: HookEvent,
    pub(super) action: &'n str,
    /// The resource owners that it concerns.
    pub(super) owners: &'n [String],
}

impl Outbox {
    /// For these webhooks, with the URL of the API.
    pub fn new(hooks: Vec<HookFilter>, url: Option<String>) -> Self {
        Self { hooks, url, filled: Notify::new() }
    }

    /// Whether there is a webhook of this name.
    pub fn has(&self, name: &str) -> bool {
        self.hooks.iter().any(|hook| hook.name == name)
    }

    /// Whether nobody wants to be told anything.
    pub fn is_unwanted(&self) -> bool {
        self.hooks.is_empty()
    }

    /// What links begin with.
    pub(super) fn url(&self) -> &str {
        self.url.as_deref().unwrap_or(NO_URL)
    }

    /// Waits until something may have been put here by this process.
    ///
    /// # Cancel safety
    /// What is put here meanwhile is told of next time.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Says that something may have been put here.
    pub(super) fn fill(&self) {
        self.filled.notify_one();
    }

    /// Whether someone wants an event of this kind.
    pub(super) fn wants(&self, event: HookEvent) -> bool {
        self.hooks.iter().any(|hook| hook.events.contains(&event))
    }

    /// Puts `payload` here for every webhook that wants `notice`.
    pub(super) fn put(
        &self,
        changes: &Changes<'_>,
        setting: &Setting,
        notice: &Notice<'_>,
        payload: &Value,
    ) -> Result<(), IssueError> {
        let payload = payload.to_string();
        let owners = || notice.owners.iter().map(String::as_str);
        for hook in self.hooks.iter().filter(|hook| hook.wants(notice.event, owners())) {
            changes.add_delivery(&NewDelivery {
                guid: &guid()?,
                hook: &hook.name,
                event: notice.event.as_str(),
                action: notice.action,
                payload: &payload,
                at: setting.now,
            })?;
        }
        Ok(())
    }
}

/// A random UUID (RFC 9562, version 4).
fn guid() -> Result<String, IssueError> {
    let mut bytes = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| IssueError::Random)?;
    let number = u128::from_be_bytes(bytes) & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{number:032x}");
    let mut text = String::with_capacity(36);
    for (at, digit) in hex.chars().enumerate() {
        let dash = if matches!(at, 8 | 12 | 16 | 20) { "-" } else { "" };
        // Writing into a text cannot fail.
        write!(text, "{dash}{digit}").ok();
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_form_of_a_uuid_and_differ() {
        let (one, other) = (guid().unwrap(), guid().unwrap());
        assert_ne!(one, other);
        let lengths: Vec<_> = one.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{one}");
        let bytes = one.as_bytes();
        assert!(bytes[14] == b'4' && b"89ab".contains(&bytes[19]), "{one}");
    }
}
