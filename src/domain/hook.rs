//! Which events a webhook is told of.

use std::fmt;

/// A kind of event, by GitHub's name where GitHub has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookEvent {
    /// What becomes of requests to reach a resource owner (GitHub's).
    PersonalAccessTokenRequest,
    /// What becomes of tokens (our own).
    PersonalAccessToken,
}

impl HookEvent {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::PersonalAccessTokenRequest, Self::PersonalAccessToken];

    /// The word in `portcullis.yaml` and in `X-GitHub-Event`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PersonalAccessTokenRequest => "personal_access_token_request",
            Self::PersonalAccessToken => "personal_access_token",
        }
    }

    /// The kind that `word` names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.as_str() == word)
    }
}

impl fmt::Display for HookEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one webhook wants to be told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookFilter {
    /// The webhook's name.
    pub name: String,
    /// The kinds of events.
    pub events: Vec<HookEvent>,
    /// The resource owners; none is any.
    pub organizations: Vec<String>,
}

impl HookFilter {
    /// Whether it wants an `event` that concerns these resource owners.
    pub fn wants<'o>(&self, event: HookEvent, owners: impl IntoIterator<Item = &'o str>) -> bool {
        let is_named = |owner: &str| self.organizations.iter().any(|name| name.eq_ignore_ascii_case(owner));
        self.events.contains(&event) && (self.organizations.is_empty() || owners.into_iter().any(is_named))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(events: &[HookEvent], organizations: &[&str], owners: &[&str], want: bool) {
        let organizations = organizations.iter().map(ToString::to_string).collect();
        let filter = HookFilter { name: "chat".into(), events: events.into(), organizations };
        assert_eq!(filter.wants(HookEvent::PersonalAccessToken, owners.iter().copied()), want);
    }

    #[test]
    fn a_filter_wants_what_it_names() {
        use HookEvent::{PersonalAccessToken, PersonalAccessTokenRequest};
        check(&HookEvent::ALL, &[], &[], true);
        check(&[PersonalAccessTokenRequest], &[], &["acme"], false);
        check(&[PersonalAccessToken], &["acme"], &["umbrella", "Acme"], true);
        check(&[PersonalAccessToken], &["acme"], &["umbrella"], false);
        check(&[PersonalAccessToken], &["acme"], &[], false);
    }

    #[test]
    fn words_are_read_back() {
        for event in HookEvent::ALL {
            assert_eq!(HookEvent::parse(event.as_str()), Some(event));
        }
        assert_eq!(HookEvent::parse("push"), None);
    }
}
