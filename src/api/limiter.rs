//! Bounds attempts from one address: at passwords and credentials, and at giving tokens up; and what one user adds.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use dashmap::DashMap;

/// Addresses, and logins at them, that are remembered. Past that all of them are forgotten: a flood from everywhere is bounded by what one
/// attempt costs.
const MOST_ADDRESSES: usize = 100_000;

/// How many attempts there may be from one address in how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Attempts.
    pub attempts: u32,
    /// The time in which they are counted.
    pub window: Duration,
}

/// Failed credentials: 20 in 5 minutes.
pub const FAILURES: Allowance = Allowance { attempts: 20, window: Duration::from_secs(5 * 60) };

/// Calls that give tokens up: 60 in an hour, as at GitHub.
pub const REPORTS: Allowance = Allowance { attempts: 60, window: Duration::from_secs(60 * 60) };

/// Passwords that failed for one login from one address: 10 in 5 minutes.
pub const PASSWORDS: Allowance = Allowance { attempts: 10, window: Duration::from_secs(5 * 60) };

/// Passwords that failed from one address, whatever the login: 200 in 5 minutes, since many people may come from one.
pub const SPRAYED: Allowance = Allowance { attempts: 200, window: Duration::from_secs(5 * 60) };

/// The time in which changes by one user are counted.
const CHANGES_WINDOW: Duration = Duration::from_secs(60 * 60);

/// Counts attempts of all kinds.
#[derive(Debug, Default)]
pub struct Limiter {
    failures: Counter<IpAddr>,
    passwords: Counter<(IpAddr, String)>,
    sprayed: Counter<IpAddr>,
    reports: Counter<IpAddr>,
    changes: Counter<String>,
}

/// Counts attempts of one kind.
#[derive(Debug)]
struct Counter<K: Eq + Hash>(DashMap<K, (Instant, u32)>);

impl<K: Eq + Hash> Default for Counter<K> {
    fn default() -> Self {
        Self(DashMap::new())
    }
}

impl Limiter {
    /// A token or a session from `peer` was good for nothing. Good ones are never limited: nobody guesses their like, and
    /// many people may come from one address.
    ///
    /// # Errors
    /// There were too many; the seconds after which that is over.
    pub fn failed(&self, peer: IpAddr, now: Instant) -> Result<(), u64> {
        let left = self.failures.left(&network(peer), now, FAILURES);
        self.failures.count(network(peer), now, FAILURES);
        left
    }

    /// A password for `login` is looked at. Counts before it is, so that attempts at the same time are counted too.
    ///
    /// # Errors
    /// There were too many; the seconds after which there may be more.
    pub fn try_password(&self, peer: IpAddr, login: &str, now: Instant) -> Result<(), u64> {
        let key = (network(peer), login.to_ascii_lowercase());
        self.passwords.left(&key, now, PASSWORDS)?;
        self.sprayed.left(&key.0, now, SPRAYED)?;
        self.sprayed.count(key.0, now, SPRAYED);
        self.passwords.count(key, now, PASSWORDS);
        Ok(())
    }

    /// The password for `login` was right: what was counted for it is forgotten.
    pub fn signed_in(&self, peer: IpAddr, login: &str) {
        self.passwords.0.remove(&(network(peer), login.to_ascii_lowercase()));
        if let Some(mut entry) = self.sprayed.0.get_mut(&network(peer)) {
            entry.1 = entry.1.saturating_sub(1);
        }
    }

    /// Counts a call that gives tokens up.
    ///
    /// # Errors
    /// There were too many; the seconds after which there may be more.
    pub fn report(&self, peer: IpAddr, now: Instant) -> Result<(), u64> {
        self.reports.left(&network(peer), now, REPORTS)?;
        self.reports.count(network(peer), now, REPORTS);
        Ok(())
    }
}

impl Limiter {
    /// Counts what `login` adds to the store, `most` times an hour.
    ///
    /// # Errors
    /// There was too much; the seconds after which there may be more.
    pub fn change(&self, login: &str, now: Instant, most: usize) -> Result<(), u64> {
        let attempts = u32::try_from(most).unwrap_or(u32::MAX);
        let allowance = Allowance { attempts, window: CHANGES_WINDOW };
        let key = login.to_ascii_lowercase();
        self.changes.left(&key, now, allowance)?;
        self.changes.count(key, now, allowance);
        Ok(())
    }
}

impl<K: Eq + Hash> Counter<K> {
    fn left(&self, key: &K, now: Instant, allowance: Allowance) -> Result<(), u64> {
        let counted = self.0.get(key).map(|entry| *entry);
        let Some((since, count)) = counted else { return Ok(()) };
        let passed = now.saturating_duration_since(since);
        if count < allowance.attempts || passed >= allowance.window {
            return Ok(());
        }
        Err((allowance.window.saturating_sub(passed)).as_secs().max(1))
    }

    fn count(&self, key: K, now: Instant, allowance: Allowance) {
        if self.0.len() >= MOST_ADDRESSES {
            self.0.retain(|_, (since, _)| now.saturating_duration_since(*since) < allowance.window);
            if self.0.len() >= MOST_ADDRESSES {
                self.0.clear();
            }
        }
        let mut entry = self.0.entry(key).or_insert((now, 0));
        if now.saturating_duration_since(entry.0) >= allowance.window {
            *entry = (now, 0);
        }
        entry.1 = entry.1.saturating_add(1);
    }
}

/// One address of version 4; of version 6 the network of 64 bits, since whoever has one address has all of it.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::monotonic;

    #[test]
    fn one_address_is_bounded_and_others_are_not() {
        let (limiter, now) = (Limiter::default(), monotonic());
        let (one, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        for _ in 0..FAILURES.attempts {
            assert_eq!(limiter.failed(one, now), Ok(()));
        }
        assert_eq!(limiter.failed(one, now), Err(300));
        assert_eq!(limiter.failed("::ffff:192.0.2.1".parse().unwrap(), now), Err(300));
        assert_eq!(limiter.failed(other, now), Ok(()));
        let later = now + FAILURES.window;
        assert_eq!(limiter.failed(one, later), Ok(()));
        assert_eq!(limiter.failed(one, later), Ok(()), "the count begins anew");
    }

    #[test]
    fn passwords_are_bounded_by_login_and_a_right_one_forgives() {
        let (limiter, now) = (Limiter::default(), monotonic());
        let peer: IpAddr = "192.0.2.1".parse().unwrap();
        for _ in 0..PASSWORDS.attempts {
            assert_eq!(limiter.try_password(peer, "bob", now), Ok(()));
        }
        assert_eq!(limiter.try_password(peer, "Bob", now), Err(300));
        assert_eq!(limiter.try_password(peer, "carol", now), Ok(()), "others come from there, too");
        limiter.signed_in(peer, "BOB");
        assert_eq!(limiter.try_password(peer, "bob", now), Ok(()));
        let left = SPRAYED.attempts - PASSWORDS.attempts - 1;
        for number in 0..left {
            assert_eq!(limiter.try_password(peer, &format!("user{number}"), now), Ok(()), "{number}");
        }
        assert_eq!(limiter.try_password(peer, "another", now), Err(300));
    }

    #[test]
    fn what_one_user_changes_is_bounded() {
        let (limiter, now) = (Limiter::default(), monotonic());
        assert_eq!([limiter.change("bob", now, 2), limiter.change("Bob", now, 2)], [Ok(()), Ok(())]);
        assert_eq!(limiter.change("bob", now, 2), Err(3600));
        assert_eq!(limiter.change("carol", now, 2), Ok(()));
        assert_eq!(limiter.change("bob", now + CHANGES_WINDOW, 2), Ok(()));
    }

    #[test]
    fn of_version_6_a_network_counts() {
        let (limiter, now) = (Limiter::default(), monotonic());
        for number in 0..REPORTS.attempts {
            let peer: IpAddr = format!("2001:db8::{number:x}").parse().unwrap();
            assert_eq!(limiter.report(peer, now), Ok(()));
        }
        assert!(limiter.report("2001:db8::ffff".parse().unwrap(), now).is_err());
        assert!(limiter.report("2001:db8:0:1::1".parse().unwrap(), now).is_ok());
    }
}
