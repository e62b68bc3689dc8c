//! URLs of STUN and TURN servers (RFC 7064, RFC 7065).
//!
//! Owns which ones browsers take. It deliberately does not know whose they are.

use std::net::Ipv6Addr;

/// Whether a URL has one of these schemes, with something behind it.
pub fn starts(url: &str, schemes: [&str; 2]) -> bool {
    behind(url, schemes).is_some_and(|rest| !rest.is_empty())
}

fn behind<'a>(url: &'a str, schemes: [&str; 2]) -> Option<&'a str> {
    schemes.iter().find_map(|scheme| url.strip_prefix(scheme))
}

/// Whether this is a URL of RFC 7064. A browser that is given another one throws, and has no call at all.
pub fn is_stun(url: &str) -> bool {
    behind(url, ["stun:", "stuns:"]).is_some_and(is_host_and_port)
}

/// Whether this is a URL of RFC 7065.
pub fn is_turn(url: &str) -> bool {
    behind(url, ["turn:", "turns:"]).is_some_and(|rest| match rest.split_once("?transport=") {
        Some((host, transport)) => {
            // Browsers take either case.
            let is_known = ["udp", "tcp"].iter().any(|known| transport.eq_ignore_ascii_case(known));
            is_known && is_host_and_port(host)
        }
        None => is_host_and_port(rest),
    })
}

fn is_host_and_port(text: &str) -> bool {
    let (is_host, rest) = match text.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((address, rest)) => (address.parse::<Ipv6Addr>().is_ok(), rest),
        None => {
            let (name, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
            (is_name(name), rest)
        }
    };
    let is_port = |port: &str| {
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    is_host && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port))
}

/// Whether a host's name has only what the `reg-name` of RFC 3986 section 3.2.2 has, which is what Chromium
/// takes. Letters of other alphabets, which browsers turn into ASCII, are letters.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "-._~%!$&'()*+,;=".contains(c))
}
