//! Which address a client has.
//!
//! Owns whom to believe about it. It is pure: it deliberately knows no
//! socket and no request.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// The address of the client behind `peer`, which is the other end of TCP. Where that is a trusted proxy, it
/// is the nearest address in `forwarded` (the values of `X-Forwarded-For`, in order) that is none: what
/// stands further left was said by the client, who can say anything.
pub fn client<'a>(
    peer: IpAddr,
    forwarded: impl DoubleEndedIterator<Item = &'a [u8]>,
    trusted: &[IpNet],
) -> IpAddr {
    let mut nearest = peer.to_canonical();
    let hops = forwarded.rev().flat_map(|value| value.rsplit(|b| *b == b','));
    for hop in hops {
        if !trusted.iter().any(|network| network.contains(&nearest)) {
            break;
        }
        // Behind something that is no address, nobody can be known.
        let Some(address) = std::str::from_utf8(hop).ok().and_then(|hop| parse(hop.trim())) else {
            break;
        };
        nearest = address;
    }
    nearest
}

/// An address, with or without the port that some proxies add.
fn parse(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok();
    let address = address.or_else(|| text.parse().ok().map(|socket: SocketAddr| socket.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let trusted: Vec<_> = trusted.iter().map(|network| network.parse().unwrap()).collect();
        let forwarded = forwarded.iter().map(|value| value.as_bytes());
        client(peer.parse().unwrap(), forwarded, &trusted).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let local = ["127.0.0.0/8", "::1/128"];
        assert_eq!(find("10.0.0.9", &["1.1.1.1"], &local), "10.0.0.9");
        assert_eq!(find("10.0.0.9", &["1.1.1.1"], &[]), "10.0.0.9");
        assert_eq!(find("127.0.0.1", &["1.1.1.1"], &local), "1.1.1.1");
        assert_eq!(find("::1", &["2001:db8::1"], &local), "2001:db8::1");
        assert_eq!(find("127.0.0.1", &[], &local), "127.0.0.1");
    }

    #[test]
    fn the_nearest_untrusted_one_counts() {
        let trusted = ["127.0.0.1/32", "10.0.0.0/8"];
        let find = |forwarded: &[&str]| find("127.0.0.1", forwarded, &trusted);
        assert_eq!(find(&["6.6.6.6, 1.1.1.1, 10.0.0.2"]), "1.1.1.1");
        assert_eq!(find(&["6.6.6.6", "1.1.1.1,10.0.0.2"]), "1.1.1.1");
        assert_eq!(find(&["10.0.0.3, 10.0.0.2"]), "10.0.0.3", "all of them are trusted");
        assert_eq!(find(&["6.6.6.6, unknown, 10.0.0.2"]), "10.0.0.2", "no address");
        assert_eq!(find(&[""]), "127.0.0.1");
    }

    #[test]
    fn ports_and_mapped_addresses_are_read() {
        let find = |peer, hop| find(peer, &[hop], &["127.0.0.1/32"]);
        assert_eq!(find("127.0.0.1", "1.1.1.1:4711"), "1.1.1.1");
        assert_eq!(find("127.0.0.1", "[2001:db8::1]:4711"), "2001:db8::1");
        assert_eq!(find("127.0.0.1", "[2001:db8::1]"), "2001:db8::1");
        assert_eq!(find("::ffff:127.0.0.1", "::ffff:1.1.1.1"), "1.1.1.1");
    }
}
