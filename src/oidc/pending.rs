//! Logins that have begun: what each callback must fit, for ten minutes, once.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::secret::Secret;
use crate::domain::token::TokenDigest;

/// How long someone may take to sign in at the provider.
const PATIENCE: Duration = Duration::from_secs(600);

/// Logins under way at a time. More push out the oldest ones.
const MOST: usize = 10_000;

/// A login that has begun.
#[derive(Debug)]
pub(super) struct Pending {
    /// The digest of `state`.
    pub(super) state: TokenDigest,
    /// The digest of what the browser keeps.
    pub(super) browser: TokenDigest,
    /// What the ID token must hold.
    pub(super) nonce: Secret,
    /// The verifier of PKCE (RFC 7636).
    pub(super) verifier: Secret,
}

/// All of one provider.
#[derive(Debug, Default)]
pub(super) struct Logins(Mutex<VecDeque<(Instant, Pending)>>);

impl Logins {
    /// Keeps `login`, which begins at `now`.
    pub(super) fn begin(&self, login: Pending, now: Instant) {
        let mut logins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while logins.front().is_some_and(|(since, _)| now.saturating_duration_since(*since) >= PATIENCE)
            || logins.len() >= MOST
        {
            logins.pop_front();
        }
        logins.push_back((now, login));
    }

    /// Takes the login of `state`, which no second callback gets. `None` where there is none, it has taken too long, or it
    /// began in another browser.
    pub(super) fn take(&self, state: &str, browser: Option<&str>, now: Instant) -> Option<Pending> {
        let state = TokenDigest::of(state);
        let mut logins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = logins.iter().position(|(_, login)| login.state == state)?;
        let (since, login) = logins.remove(at)?;
        let in_time = now.saturating_duration_since(since) < PATIENCE;
        let same = browser.is_some_and(|browser| TokenDigest::of(browser) == login.browser);
        (in_time && same).then_some(login)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::monotonic;

    fn login(number: usize) -> Pending {
        Pending {
            state: TokenDigest::of(&format!("state {number}")),
            browser: TokenDigest::of("browser"),
            nonce: Secret::new("nonce".into()),
            verifier: Secret::new("verifier".into()),
        }
    }

    #[test]
    fn a_login_ends_once_in_time_and_where_it_began() {
        let (logins, now) = (Logins::default(), monotonic());
        for number in 0..4 {
            logins.begin(login(number), now);
        }
        assert!(logins.take("state 9", Some("browser"), now).is_none());
        assert!(logins.take("state 0", Some("browser"), now).is_some());
        assert!(logins.take("state 0", Some("browser"), now).is_none(), "once");
        assert!(logins.take("state 1", Some("another"), now).is_none(), "another browser");
        assert!(logins.take("state 1", Some("browser"), now).is_none(), "its state is known to others");
        assert!(logins.take("state 2", None, now).is_none());
        assert!(logins.take("state 3", Some("browser"), now + PATIENCE).is_none(), "too late");
    }

    #[test]
    fn the_oldest_give_way() {
        let (logins, now) = (Logins::default(), monotonic());
        for number in 0..=MOST {
            logins.begin(login(number), now);
        }
        assert!(logins.take("state 0", Some("browser"), now).is_none());
        assert!(logins.take("state 1", Some("browser"), now).is_some());
        logins.begin(login(0), now + PATIENCE);
        assert_eq!(logins.0.lock().unwrap().len(), 1);
    }
}
