//! Which addresses count as one.
//!
//! Owns the rule. It deliberately does not know what is counted.

use std::net::{IpAddr, Ipv6Addr};

/// What one site has, whatever address of it connects: an IPv4 address, or the /64 of an IPv6 address,
/// which is what a single site gets (RFC 6177).
pub fn subnet(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_is_an_ipv4_address_or_an_ipv6_site() {
        let subnet = |text: &str| subnet(text.parse().unwrap()).to_string();
        assert_eq!(subnet("192.0.2.1"), "192.0.2.1");
        assert_eq!(subnet("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(subnet("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(subnet("2001:db8:1:2:ffff::"), "2001:db8:1:2::");
        assert_eq!(subnet("2001:db8:1:3::1"), "2001:db8:1:3::");
    }
}
