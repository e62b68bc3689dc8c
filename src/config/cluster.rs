//! The settings of a cluster: which NATS servers connect its nodes, and how.
//!
//! Owns the form of `NATS_URL`. It deliberately connects to nothing.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::config::origin::Invalid;
use crate::config::parser::Parser;
use crate::config::web_origin::origin;

/// The port of NATS where the URL has none.
const PORT: u16 = 4222;

/// The longest name of a cluster: it is in the name of a stream, and in each subject.
const MOST_NAME: usize = 32;

/// How the nodes of a cluster find each other.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// NATS servers, any of which will do.
    pub servers: Vec<NatsUrl>,
    /// What tells this cluster from others on the same servers.
    pub name: String,
    /// The file that proves to a server who this is, where it wants to know.
    pub credentials: Option<PathBuf>,
    /// The certificate authority that signed the servers' certificates, where that is none that this machine trusts.
    pub ca: Option<PathBuf>,
}

/// The address of a NATS server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NatsUrl {
    /// `nats://HOST:PORT` or `tls://HOST:PORT`.
    Tcp {
        /// Whether only TLS will do.
        is_tls: bool,
        /// The host, an IPv6 address without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// `unix:/PATH`: a socket that leads to a server.
    Unix(PathBuf),
}

impl FromStr for NatsUrl {
    type Err = ();

    /// Reads a URL without a user: who this is, the credentials say.
    fn from_str(text: &str) -> Result<Self, ()> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.starts_with('/') { Ok(Self::Unix(path.into())) } else { Err(()) };
        }
        let (is_tls, authority) = match (text.strip_prefix("nats://"), text.strip_prefix("tls://"))
        {
            (Some(authority), _) => (false, authority),
            (_, Some(authority)) => (true, authority),
            _ => return Err(()),
        };
        // A host and a port are as in an origin.
        let form = origin(&format!("http://{authority}")).ok_or(())?;
        let form = form.strip_prefix("http://").ok_or(())?;
        let (host, port) = match form.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| ())?),
            // Port 80 is not written in an origin.
            _ if authority.ends_with(":80") => (form, 80),
            _ => (form, PORT),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self::Tcp { is_tls, host, port })
    }
}

impl fmt::Display for NatsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { is_tls, host, port } => {
                let scheme = if *is_tls { "tls" } else { "nats" };
                match host.contains(':') {
                    true => write!(f, "{scheme}://[{host}]:{port}"),
                    false => write!(f, "{scheme}://{host}:{port}"),
                }
            }
        }
    }
}

/// The cluster, where this is a node of one.
pub fn cluster(parser: &mut Parser) -> Option<Cluster> {
    let name = name(parser);
    let (credentials, ca) = (parser.set("NATS_CREDS"), parser.set("NATS_CA"));
    let (_, text, origin) = parser.settings.get("NATS_URL");
    if text.contains('@') {
        parser.errors.push(Invalid(format!(
            "Invalid setting NATS_URL (from {origin}): it has a user in it; take that out, and set NATS_CREDS or the credential nats-creds"
        )));
        return None;
    }
    let servers = parser.list("NATS_URL", |url| url.parse().ok())?;
    Some(Cluster { servers, name: name?, credentials, ca })
}

/// The cluster's name: a word, as it stands in subjects.
fn name(parser: &mut Parser) -> Option<String> {
    let name = parser.settings.get("CLUSTER_NAME").1.clone();
    let is_word = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if name.is_empty() || name.len() > MOST_NAME || !is_word {
        parser.refuse("CLUSTER_NAME");
        return None;
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_server_or_a_socket() {
        for (text, shown) in [
            ("nats://10.0.0.1", "nats://10.0.0.1:4222"),
            ("nats://nats1.example.org:4223", "nats://nats1.example.org:4223"),
            ("tls://NATS.example.org:80", "tls://nats.example.org:80"),
            ("nats://[::1]:4222", "nats://[::1]:4222"),
            ("tls://[fd00::1]", "tls://[fd00::1]:4222"),
            ("unix:/run/nats.sock", "unix:/run/nats.sock"),
            ("unix:///run/nats.sock", "unix:/run/nats.sock"),
        ] {
            let url: NatsUrl = text.parse().unwrap_or_else(|()| panic!("{text}"));
            assert_eq!(url.to_string(), shown);
        }
        for bad in [
            "",
            "10.0.0.1:4222",
            "ws://10.0.0.1",
            "nats://",
            "nats://a b",
            "nats://a:0",
            "nats://a:70000",
            "nats://a/b",
            "unix:relative",
            "unix:",
        ] {
            assert!(bad.parse::<NatsUrl>().is_err(), "{bad}");
        }
    }
}
