//! Which server `check` is about.
//!
//! Owns what a URL means: TLS or not, host, port, path. It deliberately connects to nothing.

use std::fmt;

use hyper::Uri;

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Whether TLS is spoken there.
    pub tls: bool,
    /// A name or an address, the latter without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// Path and query of the WebSocket.
    pub path: String,
}

impl Target {
    /// Reads a URL; one without a scheme is a WebSocket's without TLS.
    ///
    /// # Errors
    ///
    /// A line that says what is wrong with it and what can be written.
    pub fn parse(url: &str) -> Result<Self, String> {
        let bad = |why: &str| {
            format!("Invalid URL {url:?}: {why}; write ws://HOST:PORT/ or wss://HOST:PORT/")
        };
        let full = if url.contains("://") { url.to_owned() } else { format!("ws://{url}") };
        let uri: Uri = full.parse().map_err(|error| bad(&format!("{error}")))?;
        let tls = match uri.scheme_str() {
            Some("ws" | "http") => false,
            Some("wss" | "https") => true,
            _ => return Err(bad("unknown scheme")),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| bad("no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16();
        let given = uri
            .authority()
            .is_some_and(|authority| !authority.as_str().ends_with(uri.host().unwrap_or_default()));
        if given && port.is_none_or(|port| port == 0) {
            return Err(bad("the port must be from 1 to 65535"));
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let port = port.unwrap_or(default_port(tls));
        Ok(Self { tls, host: host.to_owned(), port, path })
    }

    /// Host and port as in a URL and a Host header: the port where it is not the scheme's own.
    pub fn authority(&self) -> String {
        let Self { tls, host, port, .. } = self;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        if *port == default_port(*tls) { host } else { format!("{host}:{port}") }
    }

    /// The same place, asked with TLS or without.
    pub fn with_tls(&self, tls: bool) -> Self {
        Self { tls, ..self.clone() }
    }
}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "wss" } else { "ws" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_with_and_without_scheme() {
        let parsed = |url| Target::parse(url).map(|target| target.to_string());
        assert_eq!(parsed("ws://a:1/x?y").unwrap(), "ws://a:1/x?y");
        assert_eq!(parsed("http://a").unwrap(), "ws://a/");
        assert_eq!(parsed("a:3000").unwrap(), "ws://a:3000/");
        assert_eq!(parsed("ws://[::1]:3000/").unwrap(), "ws://[::1]:3000/");
        assert_eq!(parsed("wss://a:443/x").unwrap(), "wss://a/x");
        assert_eq!(parsed("https://a:8443").unwrap(), "wss://a:8443/");
        assert_eq!(parsed("wss://a:80").unwrap(), "wss://a:80/");
        for bad in ["ftp://a/", "", "ws://", "wss://", "ws://a b/", "wss://a:99999/", "a:0"] {
            assert!(parsed(bad).unwrap_err().contains("write ws://HOST:PORT/"), "{bad}");
        }
    }

    #[test]
    fn a_host_is_connected_to_without_its_brackets() {
        let target = Target::parse("wss://[::1]/").unwrap();
        assert_eq!((target.host.as_str(), target.port), ("::1", 443));
        assert_eq!(target.authority(), "[::1]");
    }
}
