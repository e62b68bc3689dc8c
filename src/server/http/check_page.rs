//! The check page: a studio's whole way through this server, tried in the visitor's own browser.
//!
//! Owns what goes out with the page, above all its Content-Security-Policy. It deliberately does not know what
//! the page tries: that is in check-page.html.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use warp::http::Response;
use warp::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use warp::reply::Response as Reply;

/// All of it: style and script are inside, and nothing is loaded from elsewhere.
const PAGE: &str = include_str!("check-page.html");

/// The page asks for a microphone, and shall have nothing else to ask for.
const PERMISSIONS: &str =
    "camera=(), display-capture=(), geolocation=(), microphone=(self), payment=(), usb=()";

const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");

/// What the page may do (CSP level 3) beside connecting: its own style, its own script, its own icon.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let (style, script) =
        (hash("<style>", "</style>"), hash("<script type=\"module\">", "</script>"));
    format!(
        "default-src 'none'; script-src {script}; style-src {style}; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; connect-src 'self'"
    )
});

/// The page, for a visitor who asked for it by these headers.
pub fn page(headers: &HeaderMap) -> Reply {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let reply = Response::builder()
        .header(header::CONTENT_TYPE, "text/html; charset=utf-8")
        // It belongs to the version that answers now.
        .header(header::CACHE_CONTROL, "no-cache")
        .header(header::CONTENT_SECURITY_POLICY, policy(host))
        .header(PERMISSIONS_POLICY, HeaderValue::from_static(PERMISSIONS))
        .body(PAGE);
    warp::Reply::into_response(reply.expect("a host that can be named is a valid header"))
}

/// The policy of a page from this host. `'self'` is enough for browsers of today; Safari before 15.4 does not
/// take it for WebSockets, which have to be named there.
fn policy(host: Option<&str>) -> String {
    match host {
        Some(host) if can_be_named(host) => format!("{} ws://{host} wss://{host}", *POLICY),
        _ => POLICY.clone(),
    }
}

/// Whether it is a host, with a port or without, as CSP can have one. It has no IPv6 addresses, and what would
/// end the directive is none.
fn can_be_named(host: &str) -> bool {
    let (name, port) = host.split_once(':').unwrap_or((host, "0"));
    let in_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
    let digits = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    !name.is_empty() && name.bytes().all(in_name) && digits(port)
}

/// The hash of what is inside of an element that the page has once.
fn hash(start: &str, end: &str) -> String {
    let inside = PAGE.split_once(start).and_then(|(_, rest)| rest.split_once(end));
    let (inside, _) = inside.expect("the page has one style and one script");
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(inside)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_host_gets_into_the_policy() {
        for host in ["localhost:3000", "studio.example.org", "192.0.2.7:80"] {
            let named = format!("connect-src 'self' ws://{host} wss://{host}");
            assert!(policy(Some(host)).ends_with(&named), "{host}");
        }
        for host in
            ["", "*", "a;script-src *", "a b", "a,b", "[::1]:3000", "a:", "a:b", "a:1:2", "*.a"]
        {
            assert!(policy(Some(host)).ends_with("connect-src 'self'"), "{host}");
        }
        assert!(policy(None).ends_with("connect-src 'self'"));
    }

    #[test]
    fn style_and_script_are_there_once_and_nothing_is_inline_beside_them() {
        for once in ["<style", "<script", "</style>", "</script>"] {
            assert_eq!(PAGE.matches(once).count(), 1, "{once}");
        }
        assert!(!PAGE.contains(" style="), "blocked by the policy");
    }

    #[test]
    fn the_page_is_there_in_half_a_second() {
        // It goes out as it is, perhaps to a phone with 1 Mbit/s: 56 KiB take 0.46 s there.
        assert!(PAGE.len() <= 56 * 1024, "{} bytes", PAGE.len());
    }
}
