//! Web origins, as browsers send and compare them (RFC 6454).
//!
//! Owns the form. It deliberately does not know whose origin may connect.

use std::net::{Ipv4Addr, Ipv6Addr};

/// An origin in the form that browsers send, and in which it is compared (RFC 6454 section 6.2): scheme and host in
/// lower case, the port where it is not the scheme's own, without the slash that people copy along. `None` for what no
/// browser sends.
pub fn origin(text: &str) -> Option<String> {
    let text = text.strip_suffix('/').unwrap_or(text).to_ascii_lowercase();
    let (scheme, authority) = text.split_once("://")?;
    let is_scheme = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    if scheme.is_empty() || !scheme.bytes().all(is_scheme) {
        return None;
    }
    let (host, port) = match authority.rsplit_once(':') {
        // A colon inside of brackets belongs to an IPv6 address.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let host = host_of_origin(host)?;
    let is_digits = |port: &&str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let port = match port {
        None => None,
        Some(port) => Some(port).filter(is_digits)?.parse().ok().filter(|port: &u16| *port > 0),
    };
    if port.is_none() && authority.len() > host.len() && !authority.ends_with(']') {
        return None;
    }
    // A page's own origin, where somebody wrote down its WebSocket's.
    let scheme = match scheme {
        "ws" => "http",
        "wss" => "https",
        other => other,
    };
    let own = match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    Some(match port.filter(|port| own != Some(*port)) {
        None => format!("{scheme}://{host}"),
        Some(port) => format!("{scheme}://{host}:{port}"),
    })
}

/// A host as browsers write it: a name in ASCII, or an address in its shortest form (URL standard, host serializing).
fn host_of_origin(host: &str) -> Option<String> {
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        let address: Ipv6Addr = address.parse().ok()?;
        return Some(format!("[{address}]"));
    }
    // Whatever ends in a number is an IPv4 address for browsers, or no host.
    let last = host.strip_suffix('.').unwrap_or(host).rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|b| b.is_ascii_digit()) {
        return host.parse().ok().map(|address: Ipv4Addr| address.to_string());
    }
    let in_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let labels = host.strip_suffix('.').unwrap_or(host).split('.');
    let is_name = labels.into_iter().all(|label| !label.is_empty() && label.bytes().all(in_name));
    is_name.then(|| host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_read_in_the_form_that_browsers_send() {
        for (text, expected) in [
            ("https://studio.example.org:443", "https://studio.example.org"),
            ("http://studio.example.org:80/", "http://studio.example.org"),
            ("https://studio.example.org:80", "https://studio.example.org:80"),
            ("http://localhost:08080", "http://localhost:8080"),
            ("HTTPS://Studio.Example.ORG:443", "https://studio.example.org"),
            ("https://[2001:DB8:0:0::1]:443", "https://[2001:db8::1]"),
            ("https://[::1]:3000", "https://[::1]:3000"),
            ("http://192.0.2.7:80", "http://192.0.2.7"),
            ("https://xn--mnchen-3ya.example", "https://xn--mnchen-3ya.example"),
            ("chrome-extension://abcdefgh", "chrome-extension://abcdefgh"),
            ("wss://studio.example.org:443/", "https://studio.example.org"),
            ("ws://localhost:3000", "http://localhost:3000"),
            ("https://studio.example.org.", "https://studio.example.org."),
        ] {
            assert_eq!(origin(text).as_deref(), Some(expected), "{text}");
        }
        for bad in [
            "*",
            "null",
            "studio.example.org",
            "://a",
            "https://",
            "https://a..b",
            "https://.a",
            "https://a/b",
            "https://a//",
            "https://*.a",
            "https://me@a",
            "https://a?b",
            "https://a:",
            "https://a:0",
            "https://a:65536",
            "https://a:b",
            "https://a:+1",
            "https://:443",
            "https://[::1",
            "https://::1",
            "https://[::g]",
            "https://[::1]x",
            "https://192.0.2",
            "https://192.0.2.256",
            "https://0x7f.1",
            "https://m\u{fc}nchen.example",
        ] {
            assert_eq!(origin(bad), None, "{bad}");
        }
    }
}
