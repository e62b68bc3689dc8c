//! The links of an invite.
//!
//! Owns their form, from the station's address and a room's name, and how a token is found in one. It deliberately
//! does not know what a token is.

use hyper::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::wire::ids::RoomId;
use crate::wire::text::{is_printable, quoted};

/// What is encoded in a link: all but the unreserved characters (RFC 3986 section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What comes before the token in a link.
const TOKEN: &str = "token=";

/// Where the web studio is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(String);

impl Address {
    /// Reads an `https://` or `http://` URL.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and what can be written.
    pub fn parse(url: &str) -> Result<Self, String> {
        let bad = |why: &str| {
            let url = quoted(url);
            format!("Invalid --url {url:?}: {why}; write https://HOST/ or https://HOST:PORT/")
        };
        if url.contains(['#', '?']) {
            return Err(bad("it must end before any # or ?"));
        }
        let uri: Uri = url.parse().map_err(|error| bad(&format!("{error}")))?;
        if !matches!(uri.scheme_str(), Some("https" | "http")) {
            return Err(bad("it must begin with https:// or http://"));
        }
        let has_path = url.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
        Ok(Self(if has_path { url.to_owned() } else { format!("{url}/") }))
    }

    /// The address of the page that goes with a WebSocket's.
    ///
    /// # Errors
    ///
    /// When no page can be there.
    pub fn of_websocket(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let scheme = if scheme.eq_ignore_ascii_case("wss") { "https" } else { "http" };
        Self::parse(&format!("{scheme}://{host}/")).map_err(|_| {
            let url = quoted(url);
            format!(
                "signaling.url of the station manifest, {url:?}, names no host: correct it, or give --url https://HOST/"
            )
        })
    }

    /// The link into a room of the web studio. It takes the name and the token out of what follows the `#`, which no
    /// browser sends to a server.
    pub fn studio(&self, room: &RoomId, token: &str) -> String {
        format!("{}{}", self.0, fragment(room, token))
    }

    /// The link to the check page with the same invite.
    pub fn check(&self, room: &RoomId, token: &str) -> String {
        let folder = self.0.rfind('/').map_or("", |slash| &self.0[..=slash]);
        format!("{folder}check{}", fragment(room, token))
    }
}

fn fragment(room: &RoomId, token: &str) -> String {
    format!("#{}?{TOKEN}{token}", utf8_percent_encode(room.as_ref(), RESERVED))
}

/// Reads the name of a room as the server does, where a link can have it.
///
/// # Errors
///
/// Which names there are.
pub fn room(name: &str) -> Result<RoomId, String> {
    let bad = |why: String| {
        let name = quoted(name);
        format!("Invalid --room {name:?}: {why}")
    };
    if let Some(c) = name.chars().find(|c| matches!(c, '?' | '#' | '%')) {
        return Err(bad(format!("{c} has a meaning in links; take a name without ?, # and %")));
    }
    // White space at the ends is taken off, as the server does.
    if let Some(c) = name.trim().chars().find(|c| !is_printable(*c)) {
        let code = u32::from(c);
        return Err(bad(format!("it has a character that does not show (U+{code:04X})")));
    }
    RoomId::parse(name).ok_or_else(|| {
        let most = RoomId::MAX_CHARS;
        bad(format!("it must have 1 to {most} characters, and not only blanks"))
    })
}

/// The token in a text: in a link, behind `token=`; else the text is one.
pub fn token(text: &str) -> &str {
    match text.rsplit_once(TOKEN) {
        Some((_, token)) => token.split(['&', '#']).next().unwrap_or_default(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn studio(url: &str) -> Result<String, String> {
        Address::parse(url).map(|address| address.studio(&RoomId::from("a"), "t"))
    }

    #[test]
    fn the_address_is_that_of_the_manifest_or_one_that_is_given() {
        for (url, expected) in [
            ("wss://studio.example.org/", "https://studio.example.org/#a?token=t"),
            ("wss://studio.example.org", "https://studio.example.org/#a?token=t"),
            ("wss://studio.example.org:8443/ws?x#y", "https://studio.example.org:8443/#a?token=t"),
            ("WSS://[2001:db8::1]:8443", "https://[2001:db8::1]:8443/#a?token=t"),
            ("ws://localhost:3000/", "http://localhost:3000/#a?token=t"),
        ] {
            let address = Address::of_websocket(url).unwrap();
            assert_eq!(address.studio(&RoomId::from("a"), "t"), expected);
        }
        let why = Address::of_websocket("wss:///").unwrap_err();
        assert!(why.contains("names no host") && why.contains("--url"), "{why}");

        for (url, expected) in [
            ("https://a", "https://a/#a?token=t"),
            ("http://a:1/", "http://a:1/#a?token=t"),
            ("https://a/studio/", "https://a/studio/#a?token=t"),
            ("https://a/studio.html", "https://a/studio.html#a?token=t"),
        ] {
            assert_eq!(studio(url).unwrap(), expected);
        }
        for bad in
            ["", "a", "/a", "wss://a/", "https://", "https://a/#b", "https://a/?b", "https://a b/"]
        {
            let why = studio(bad).unwrap_err();
            assert!(why.starts_with("Invalid --url ") && why.contains("https://HOST/"), "{why}");
        }
    }

    #[test]
    fn the_check_page_is_beside_the_studio() {
        let check = |url: &str| Address::parse(url).unwrap().check(&RoomId::from("a b"), "t");
        assert_eq!(check("https://a"), "https://a/check#a%20b?token=t");
        assert_eq!(check("https://a/studio.html"), "https://a/check#a%20b?token=t");
        assert_eq!(check("https://a/x/"), "https://a/x/check#a%20b?token=t");
    }

    #[test]
    fn a_name_in_a_link_is_read_as_itself() {
        let address = Address::parse("https://a/").unwrap();
        for (name, encoded) in [
            ("morning-show", "morning-show"),
            ("a.b_c~d-7", "a.b_c~d-7"),
            (" Käse & Brot ", "K%C3%A4se%20%26%20Brot"),
            ("cafe\u{301}", "caf%C3%A9"),
            ("a/b=c+d\"e<f>'g", "a%2Fb%3Dc%2Bd%22e%3Cf%3E%27g"),
            ("🎙", "%F0%9F%8E%99"),
        ] {
            let room = room(name).unwrap();
            let link = address.studio(&room, "t");
            assert_eq!(link, format!("https://a/#{encoded}?token=t"));
            // What the studio sends is what its address has.
            assert_eq!(RoomId::parse(encoded), Some(room));
        }
    }

    #[test]
    fn names_that_a_link_cannot_have_are_refused() {
        for (name, why) in [
            ("a?b", "? has a meaning in links"),
            ("a#b", "# has a meaning in links"),
            ("100%", "% has a meaning in links"),
            ("K%C3%A4se", "% has a meaning in links"),
            ("a\nb", "does not show (U+000A)"),
            ("a\u{7f}b", "does not show (U+007F)"),
            ("a\u{202e}b", "does not show (U+202E)"),
            ("", "1 to 128 characters"),
            ("  ", "1 to 128 characters"),
            (&"ü".repeat(129), "1 to 128 characters"),
        ] {
            let line = room(name).unwrap_err();
            assert!(line.starts_with("Invalid --room ") && line.contains(why), "{line}");
            assert_eq!(line.lines().count(), 1, "{line:?}");
        }
        assert_eq!(room(&"ü".repeat(128)).unwrap().as_ref().chars().count(), 128);
    }

    #[test]
    fn a_token_is_found_in_a_link() {
        for text in [
            "eyJ.a.b",
            "https://a/#show?token=eyJ.a.b",
            "https://a/check#show?x=y&token=eyJ.a.b&z",
            "token=eyJ.a.b",
        ] {
            assert_eq!(token(text), "eyJ.a.b", "{text}");
        }
        assert_eq!(token("https://a/#show"), "https://a/#show");
    }
}
