//! Bounds attempts from one address: at passwords and credentials, and at giving tokens up.

use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use dashmap::DashMap;

/// Addresses that are remembered. Past that all of them are forgotten: a flood from everywhere is bounded by what one
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

/// Counts attempts of all kinds.
#[derive(Debug, Default)]
pub struct Limiter {
    failures: Counter,
    reports: Counter,
}

/// Counts attempts of one kind.
#[derive(Debug, Default)]
struct Counter(DashMap<IpAddr, (Instant, u32)>);

impl Limiter {
    /// Whether credentials from `peer` are looked at; else after how many seconds again.
    ///
    /// # Errors
    /// The seconds.
    pub fn may_try(&self, peer: IpAddr, now: Instant) -> Result<(), u64> {
        self.failures.left(peer, now, FAILURES)
    }

    /// A credential from `peer` was good for nothing.
    pub fn failed(&self, peer: IpAddr, now: Instant) {
        self.failures.count(peer, now, FAILURES);
    }

    /// Counts a call that gives tokens up.
    ///
    /// # Errors
    /// There were too many; the seconds after which there may be more.
    pub fn report(&self, peer: IpAddr, now: Instant) -> Result<(), u64> {
        self.reports.left(peer, now, REPORTS)?;
        self.reports.count(peer, now, REPORTS);
        Ok(())
    }
}

impl Counter {
    fn left(&self, peer: IpAddr, now: Instant, allowance: Allowance) -> Result<(), u64> {
        let counted = self.0.get(&network(peer)).map(|entry| *entry);
        let Some((since, count)) = counted else { return Ok(()) };
        let passed = now.saturating_duration_since(since);
        if count < allowance.attempts || passed >= allowance.window {
            return Ok(());
        }
        Err((allowance.window.saturating_sub(passed)).as_secs().max(1))
    }

    fn count(&self, peer: IpAddr, now: Instant, allowance: Allowance) {
        if self.0.len() >= MOST_ADDRESSES {
            self.0.retain(|_, (since, _)| now.saturating_duration_since(*since) < allowance.window);
            if self.0.len() >= MOST_ADDRESSES {
                self.0.clear();
            }
        }
        let mut entry = self.0.entry(network(peer)).or_insert((now, 0));
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
            assert_eq!(limiter.may_try(one, now), Ok(()));
            limiter.failed(one, now);
        }
        assert_eq!(limiter.may_try(one, now), Err(300));
        assert_eq!(limiter.may_try("::ffff:192.0.2.1".parse().unwrap(), now), Err(300));
        assert_eq!(limiter.may_try(other, now), Ok(()));
        let later = now + FAILURES.window;
        assert_eq!(limiter.may_try(one, later), Ok(()));
        limiter.failed(one, later);
        assert_eq!(limiter.may_try(one, later), Ok(()), "the count begins anew");
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
