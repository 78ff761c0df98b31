//! From which network a client comes, as coarse as providers hand addresses out.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IPv4 /24 or an IPv6 /48. An IPv4 address in an IPv6 one (`::ffff:192.0.2.7`) is what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network(IpAddr);

impl Network {
    /// The network of `address`.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => {
                let [first, second, third, _] = address.octets();
                Ipv4Addr::new(first, second, third, 0).into()
            }
            IpAddr::V6(address) => {
                let [first, second, third, ..] = address.segments();
                Ipv6Addr::new(first, second, third, 0, 0, 0, 0, 0).into()
            }
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = if self.0.is_ipv4() { 24 } else { 48 };
        write!(f, "{}/{bits}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, want: &str) {
        assert_eq!(Network::of(address.parse().unwrap()).to_string(), want);
    }

    #[test]
    fn the_rest_of_an_address_does_not_count() {
        check("192.0.2.7", "192.0.2.0/24");
        check("::ffff:192.0.2.200", "192.0.2.0/24");
        check("2001:db8:7:1::1", "2001:db8:7::/48");
        check("::1", "::/48");
    }
}
