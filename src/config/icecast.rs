//! The settings of the programme: which Icecast takes it, and who may go on air.
//!
//! Owns the form of `ICECAST_URL`. It deliberately connects to nothing.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::config::config::Secret;
use crate::config::origin::Invalid;
use crate::config::parser::Parser;
use crate::config::web_origin::origin;

/// Icecast's own name for who brings a programme.
const SOURCE: &str = "source";

/// The port of Icecast where the URL has none: Icecast's own, and for https that of the scheme.
const PORT: u16 = 8000;

/// Who may go on air.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnAirAccess {
    /// Hosts and ops whose role came from an invite.
    Invited,
    /// Every host and ops.
    Open,
}

/// Where the programme goes.
#[derive(Clone, Debug)]
pub struct Icecast {
    /// Icecast's address and the mount.
    pub url: IcecastUrl,
    /// What Icecast knows the source by; `None` where nobody has set it.
    pub password: Option<Secret>,
    /// How long silence holds the mount for a host who has gone.
    pub hold: Duration,
    /// Where listeners are sent, instead of being served.
    pub public_url: Option<String>,
    /// Where the programme is kept, if it is.
    pub archive: Option<Archive>,
    /// How many may listen by way of this server at the same time.
    pub max_listeners: u32,
}

/// Where the programme is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// A directory.
    pub directory: PathBuf,
    /// How much is kept there, in bytes.
    pub max_bytes: u64,
}

impl Archive {
    /// How large a part is, in bytes: what is deleted for a new one is an eighth of all at most.
    pub fn part_bytes(&self) -> u64 {
        self.max_bytes / 8
    }
}

/// Icecast's address and the mount: `http://source@127.0.0.1:8000/live.ogg`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IcecastUrl {
    /// Whether it speaks TLS.
    pub is_tls: bool,
    /// The user of the source.
    pub user: String,
    /// The host, an IPv6 address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The mount, with the slash in front.
    pub mount: String,
}

impl IcecastUrl {
    /// Host and port as an HTTP request names them.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for IcecastUrl {
    type Err = ();

    /// Reads a URL with a host, one path and no password: passwords in URLs end in logs.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (is_tls, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err(()),
        };
        let (authority, path) = rest.split_at(rest.find('/').ok_or(())?);
        let (user, authority) = authority.rsplit_once('@').unwrap_or((SOURCE, authority));
        let is_word = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
        };
        let mount = path.strip_prefix('/').ok_or(())?;
        if !is_word(user) || !mount.split('/').all(is_word) {
            return Err(());
        }
        // A host and a port are as in an origin.
        let form = origin(&format!("http://{authority}")).ok_or(())?;
        let form = form.strip_prefix("http://").ok_or(())?;
        let (host, port) = match form.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| ())?),
            // Port 80 is not written in an origin.
            _ if authority.ends_with(":80") => (form, 80),
            _ => (form, if is_tls { 443 } else { PORT }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { is_tls, user: user.to_owned(), host, port, mount: path.to_owned() })
    }
}

impl fmt::Display for IcecastUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.mount)
    }
}

/// Whether there is a password before the host: it is shown to nobody.
fn has_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
}

/// Where the programme goes; `None` where it goes nowhere.
pub fn icecast(parser: &mut Parser) -> Option<Icecast> {
    let hold = parser.time("ICECAST_HOLD_MS");
    let public_url = public_url(parser);
    let archive = archive(parser);
    let max_listeners = parser.number("MAX_LISTENERS");
    let password = parser.set("ICECAST_PASSWORD").map(|password: String| Secret::new(&password));
    if !parser.is_set("ICECAST_URL") {
        if archive.is_some() {
            let (_, value, origin) = parser.settings.get("ARCHIVE_DIR");
            parser.errors.push(Invalid(format!(
                "Invalid setting ARCHIVE_DIR={value:?} (from {origin}): there is no programme without ICECAST_URL; set that, too"
            )));
        }
        return None;
    }
    let (_, text, origin) = parser.settings.get("ICECAST_URL");
    if has_password(text) {
        parser.errors.push(Invalid(format!(
            "Invalid setting ICECAST_URL (from {origin}): it has a password in it; take that out, and set ICECAST_PASSWORD or the credential icecast-password"
        )));
        return None;
    }
    let url = parser.set("ICECAST_URL")?;
    Some(Icecast { url, password, hold, public_url, archive, max_listeners })
}

/// Where the programme is kept, if it is.
fn archive(parser: &mut Parser) -> Option<Archive> {
    let max_bytes = parser.number("ARCHIVE_MAX_BYTES");
    let directory = parser.set("ARCHIVE_DIR")?;
    Some(Archive { directory, max_bytes })
}

/// Where listeners are sent: a URL that browsers know, in ASCII, so that it can stand in a field of HTTP.
fn public_url(parser: &mut Parser) -> Option<String> {
    let url: String = parser.set("ICECAST_PUBLIC_URL")?;
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let is_url = rest.is_some_and(|rest| {
        let host = rest.split('/').next().unwrap_or_default();
        !host.is_empty() && !host.contains('@') && rest.bytes().all(|b| b.is_ascii_graphic())
    });
    if !is_url {
        parser.refuse("ICECAST_PUBLIC_URL");
        return None;
    }
    Some(url)
}

/// Who may go on air.
pub fn on_air_access(parser: &mut Parser) -> OnAirAccess {
    match parser.word("ON_AIR_ACCESS") {
        "open" => OnAirAccess::Open,
        _ => OnAirAccess::Invited,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_shown_to_nobody() {
        assert!(has_password("http://source:hackme@127.0.0.1:8000/live.ogg"));
        assert!(has_password("source:hackme@127.0.0.1"));
        assert!(!has_password("http://source@127.0.0.1:8000/live.ogg"));
        assert!(!has_password("http://127.0.0.1:8000/live.ogg"));
    }

    #[test]
    fn a_url_has_a_host_and_a_mount() {
        for (text, shown, user) in [
            ("http://source@127.0.0.1:8000/live.ogg", "http://127.0.0.1:8000/live.ogg", "source"),
            (
                "http://icecast.example.org/live.ogg",
                "http://icecast.example.org:8000/live.ogg",
                "source",
            ),
            ("http://dj@Icecast.example.org:80/a", "http://icecast.example.org:80/a", "dj"),
            (
                "https://icecast.example.org/a/b.ogg",
                "https://icecast.example.org:443/a/b.ogg",
                "source",
            ),
            ("https://[::1]:8443/live.ogg", "https://[::1]:8443/live.ogg", "source"),
            ("http://[::1]/live.ogg", "http://[::1]:8000/live.ogg", "source"),
        ] {
            let url: IcecastUrl = text.parse().unwrap_or_else(|()| panic!("{text}"));
            assert_eq!((url.to_string().as_str(), url.user.as_str()), (shown, user));
        }
        for bad in [
            "",
            "127.0.0.1:8000/live.ogg",
            "icecast://127.0.0.1/live.ogg",
            "http://127.0.0.1:8000",
            "http://127.0.0.1:8000/",
            "http://source:hackme@127.0.0.1:8000/live.ogg",
            "http://127.0.0.1:0/live.ogg",
            "http://127.0.0.1:70000/live.ogg",
            "http:///live.ogg",
            "http://a b/live.ogg",
            "http://127.0.0.1/live ogg",
            "http://127.0.0.1/live.ogg?x=1",
            "http://127.0.0.1//live.ogg",
            "http://127.0.0.1/live.ogg\r\nX: y",
        ] {
            assert!(bad.parse::<IcecastUrl>().is_err(), "{bad}");
        }
    }
}
