//! The cookie that tells a browser's connections from those of others (RFC 6265).
//!
//! Owns for which pages it counts, what it is called, and that each handshake sets it anew. It deliberately does not
//! know what an identity may do.

use std::net::IpAddr;

use warp::http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::config::web_origin::origin;
use crate::server::state::State;
use crate::station::proofs::Cookie;
use crate::wire::ids::Identity;

/// What a proxy says that its client speaks.
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The cookie's name without TLS, and with it: a browser takes a name that begins so from the same host only, and by
/// TLS (RFC 6265bis section 4.1.3).
const PLAIN: &str = "openstudio-id";
const SECURE: &str = "__Host-openstudio-id";

/// How long a browser keeps it, in seconds.
const MAX_AGE: u32 = 24 * 3600;

/// The identity of the cookie of a request or a new one, and the `Set-Cookie` of the answer: `None` for a page of another
/// origin, which has none. `ip` is the other end of TCP.
pub fn identify(state: &State, headers: &HeaderMap, ip: IpAddr) -> (Identity, Option<HeaderValue>) {
    let is_secure = is_secure(state, headers, ip);
    let allowed = state.studio.config.allowed_origins.as_deref();
    if !is_own_page(headers, is_secure, allowed) {
        return (Identity::random(), None);
    }
    let (name, attribute) = if is_secure { (SECURE, "; Secure") } else { (PLAIN, "") };
    let cookie = cookie(headers, name).unwrap_or_else(Cookie::random);
    let text = format!(
        "{name}={}; HttpOnly; SameSite=Strict; Path=/; Max-Age={MAX_AGE}{attribute}",
        cookie.text()
    );
    (cookie.identity(), HeaderValue::try_from(text).ok())
}

/// Whether the client came by TLS: to this port, or to a proxy that says so once.
fn is_secure(state: &State, headers: &HeaderMap, ip: IpAddr) -> bool {
    if state.tls.is_some() {
        return true;
    }
    let proxies = &state.studio.config.trusted_proxies;
    if !proxies.iter().any(|network| network.contains(&ip)) {
        return false;
    }
    let mut said = headers.get_all(FORWARDED_PROTO).iter();
    let first = said.next().is_some_and(|said| said.as_bytes().eq_ignore_ascii_case(b"https"));
    first && said.next().is_none()
}

/// Whether the page that asks is the server's own, or one that `ALLOWED_ORIGINS` names. A program has no page.
fn is_own_page(headers: &HeaderMap, is_secure: bool, allowed: Option<&[String]>) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let page = match (origins.next(), origins.next()) {
        (None, _) => return true,
        (Some(page), None) => page.to_str().ok().and_then(origin),
        (Some(_), Some(_)) => None,
    };
    let Some(page) = page else { return false };
    if allowed.is_some_and(|allowed| allowed.contains(&page)) {
        return true;
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let scheme = if is_secure { "https" } else { "http" };
    origin(&format!("{scheme}://{host}")).is_some_and(|own| own == page)
}

/// The cookie of this name. Two with different values are none: one of them may have been planted.
fn cookie(headers: &HeaderMap, name: &str) -> Option<Cookie> {
    let all =
        headers.get_all(header::COOKIE).iter().flat_map(|all| all.as_bytes().split(|b| *b == b';'));
    let mut values = all.filter_map(|pair| {
        let (found, value) = pair.split_at(pair.iter().position(|b| *b == b'=')?);
        (found.trim_ascii() == name.as_bytes()).then(|| value[1..].trim_ascii())
    });
    let first = values.next()?;
    values.all(|other| other == first).then(|| Cookie::parse(first)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "AAAAAAAAAAAAAAAAAAAAAA";
    const B: &str = "BAAAAAAAAAAAAAAAAAAAAA";

    fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect::<Vec<_>>()
            .into_iter()
            .fold(HeaderMap::new(), |mut all, (name, value)| {
                all.append(name, value);
                all
            })
    }

    #[test]
    fn a_cookie_is_found_among_others_and_two_are_none() {
        let find = |lines: &[&str]| {
            let lines: Vec<_> = lines.iter().map(|line| (header::COOKIE, *line)).collect();
            cookie(&headers(&lines), PLAIN).map(|cookie| cookie.text())
        };
        let with = |value: &str| format!("{PLAIN}={value}");
        assert_eq!(find(&[&with(A)]).as_deref(), Some(A));
        assert_eq!(find(&[&format!("x=1; {} ;y", with(A))]).as_deref(), Some(A));
        assert_eq!(find(&["x=1", &with(A)]).as_deref(), Some(A));
        assert_eq!(find(&[&format!("{}; {}", with(A), with(A))]).as_deref(), Some(A));
        assert_eq!(find(&[&format!("{}; {}", with(A), with(B))]), None, "one may be planted");
        assert_eq!(find(&[&with(A), &with(B)]), None);
        assert_eq!(find(&[&with("short")]), None);
        assert_eq!(find(&[&format!("not-{}", with(A)), &format!("{PLAIN}x={A}"), PLAIN]), None);
        assert_eq!(find(&[]), None);
    }

    #[test]
    fn only_the_own_page_and_those_that_are_named_have_one() {
        let own = |lines: &[(HeaderName, &str)], is_secure, allowed: Option<&[String]>| {
            is_own_page(&headers(lines), is_secure, allowed)
        };
        let from = |page, host| [(header::ORIGIN, page), (header::HOST, host)];
        assert!(own(&[(header::HOST, "a.example")], false, None), "a program");
        assert!(own(&from("http://a.example", "a.example"), false, None));
        assert!(own(&from("http://a.example:3000", "A.example:3000"), false, None));
        assert!(own(&from("https://a.example", "a.example:443"), true, None));
        for (page, host) in [
            ("http://a.example:8080", "a.example:3000"),
            ("http://b.example", "a.example"),
            ("https://a.example", "a.example"),
            ("null", "a.example"),
        ] {
            assert!(!own(&from(page, host), false, None), "{page} at {host}");
        }
        let named = ["https://studio.example".to_owned()];
        assert!(own(&from("https://studio.example", "a.example"), false, Some(&named)));
        assert!(!own(&from("https://other.example", "a.example"), false, Some(&named)));
        let twice = [
            (header::ORIGIN, "http://a.example"),
            (header::ORIGIN, "http://a.example"),
            (header::HOST, "a.example"),
        ];
        assert!(!own(&twice, false, None));
    }
}
