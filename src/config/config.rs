//! The configuration: texts of settings in, a valid `Config` out.
//!
//! Owns what a value means. It deliberately acts on none of them.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use crate::config::cluster::{Cluster, cluster};
use crate::config::icecast::{Icecast, OnAirAccess, icecast, on_air_access};
use crate::config::origin::{HIDDEN, Invalid, Origin};
use crate::config::parser::{Parser, network};
use crate::config::settings::Settings;
use crate::config::table::OUTBOX_MESSAGE;
use crate::config::web_origin::origin;
use crate::telemetry::level::Level;

/// A value that is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value, for the computation that needs it.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// Where a certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and after it those up to an issuer that browsers know: `fullchain.pem`.
    pub cert: PathBuf,
    /// The private key of the first certificate.
    pub key: PathBuf,
}

/// Who may see the metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetricsAccess {
    /// Nobody: there are none.
    Nobody,
    /// Whoever asks.
    Everybody,
    /// Those who ask from one of these.
    Networks(Vec<IpNet>),
}

/// Who may make and enter rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomAccess {
    /// Everybody.
    Open,
    /// Those who bring an invite.
    Invited,
}

impl RoomAccess {
    /// Its name, in the settings and in tokens.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Invited => "invited",
        }
    }
}

/// The configuration of the service. Every value in it is one that can be.
#[derive(Clone, Debug)]
pub struct Config {
    /// The TCP port; 0 for any free one.
    pub port: u16,
    /// The address, or `None` for all of IPv4 and, where the machine has it, IPv6.
    pub host: Option<IpAddr>,
    /// `PORT` or `HOST` as somebody set it, for the warning that a passed socket makes it void.
    pub listen_setting: Option<String>,
    /// The least grave level that is logged.
    pub log_level: Level,
    /// The station manifest, where somebody named one.
    pub station_manifest: Option<PathBuf>,
    /// The web studio's directory: that of its package where nobody named one.
    pub web_root: Option<PathBuf>,
    /// Whether there is a check page.
    pub check_page: bool,
    /// Whose pages may connect, in the form of RFC 6454 section 6.2, or `None` for anybody's.
    pub allowed_origins: Option<Vec<String>>,
    /// Whose `X-Forwarded-For` counts.
    pub trusted_proxies: Vec<IpNet>,
    /// Who may see the metrics.
    pub metrics: MetricsAccess,
    /// The certificate for TLS without a proxy.
    pub tls: Option<TlsFiles>,
    /// What signs tokens, where somebody set it.
    pub jwt_secret: Option<Secret>,
    /// What the TURN server checks credentials with.
    pub turn_secret: Option<Secret>,
    /// How long a TURN credential is valid.
    pub turn_ttl: Duration,
    /// Who may make and enter rooms.
    pub room_access: RoomAccess,
    /// Where the programme goes, if it goes anywhere.
    pub icecast: Option<Icecast>,
    /// The cluster, where this is a node of one.
    pub cluster: Option<Cluster>,
    /// Who may go on air.
    pub on_air_access: OnAirAccess,
    /// How long the role of a peer that has gone is reserved for it; zero for not at all.
    pub role_reserve: Duration,
    /// The age at which a room ends, or `None` for no such age.
    pub room_ttl: Option<Duration>,
    /// Peers of a room, or `None` for any number.
    pub max_room_peers: Option<u32>,
    /// Silence after which a client is pinged.
    pub heartbeat: Duration,
    /// Messages a client may send in a window of 10 s, or `None` for any number.
    pub rate_limit: Option<u32>,
    /// Clients at the same time, or `None` for as many as the limit of open files allows.
    pub max_connections: Option<usize>,
    /// Clients at the same time from one address, or `None` for any number.
    pub max_connections_per_ip: Option<u32>,
    /// The largest message, in bytes.
    pub max_message_bytes: usize,
    /// What may wait for one client, in bytes: at least one largest message, whatever is set.
    pub max_outbox_bytes: usize,
    /// How long a drain may take.
    pub shutdown_grace: Duration,
}

impl Config {
    /// Reads the texts.
    ///
    /// # Errors
    ///
    /// Every invalid value.
    pub fn new(settings: &Settings) -> Result<Self, Vec<Invalid>> {
        let mut parser = Parser { settings, errors: Vec::new() };
        let listen_setting = ["PORT", "HOST"].into_iter().find_map(|name| {
            let (_, value, origin) = settings.get(name);
            (*origin != Origin::Default).then(|| format!("{name}={value} ({origin})"))
        });
        let trusted_proxies = parser.list("TRUSTED_PROXIES", network).unwrap_or_default();
        let mut config = Self {
            port: parser.number("PORT"),
            host: parser.set("HOST"),
            listen_setting,
            log_level: parser.set("LOG_LEVEL").unwrap_or(Level::Info),
            station_manifest: parser.set("STATION_MANIFEST"),
            web_root: web_root(&mut parser),
            check_page: parser.word("CHECK_PAGE") == "on",
            allowed_origins: parser.list("ALLOWED_ORIGINS", origin),
            metrics: metrics(&mut parser, &trusted_proxies),
            trusted_proxies,
            tls: tls(&mut parser),
            jwt_secret: parser.set("JWT_SECRET").map(Secret),
            turn_secret: parser.set("TURN_SECRET").map(Secret),
            turn_ttl: parser.time("TURN_TTL_MS"),
            room_access: room_access(&mut parser),
            icecast: icecast(&mut parser),
            cluster: cluster(&mut parser),
            on_air_access: on_air_access(&mut parser),
            role_reserve: parser.time("ROLE_RESERVE_MS"),
            room_ttl: Some(parser.time("ROOM_TTL_MS")).filter(|ttl| !ttl.is_zero()),
            max_room_peers: parser.limit("MAX_ROOM_PEERS"),
            heartbeat: parser.time("HEARTBEAT_MS"),
            rate_limit: parser.limit("RATE_LIMIT"),
            max_connections: parser
                .is_set("MAX_CONNECTIONS")
                .then(|| parser.number("MAX_CONNECTIONS")),
            max_connections_per_ip: parser.limit("MAX_CONNECTIONS_PER_IP"),
            max_message_bytes: parser.number("MAX_MESSAGE_BYTES"),
            max_outbox_bytes: parser.number("MAX_OUTBOX_BYTES"),
            shutdown_grace: parser.time("SHUTDOWN_GRACE_MS"),
        };
        // Whoever has raised MAX_MESSAGE_BYTES alone was served by 0.1.0, and is not refused by an upgrade.
        config.max_outbox_bytes = config.max_outbox_bytes.max(config.least_outbox_bytes());
        if parser.errors.is_empty() { Ok(config) } else { Err(parser.errors) }
    }

    /// What one largest message takes of an outbox, in bytes.
    pub fn least_outbox_bytes(&self) -> usize {
        self.max_message_bytes + OUTBOX_MESSAGE
    }
}

/// `on`, `off`, or networks; where nobody set it, this machine and the proxies themselves.
fn metrics(parser: &mut Parser, proxies: &[IpNet]) -> MetricsAccess {
    match parser.settings.get("METRICS").1.as_str() {
        _ if !parser.is_set("METRICS") => {
            let local = ["127.0.0.0/8", "::1/128"].map(|text| text.parse());
            let local = local.into_iter().flatten();
            MetricsAccess::Networks(local.chain(proxies.iter().copied()).collect())
        }
        "on" => MetricsAccess::Everybody,
        "off" => MetricsAccess::Nobody,
        _ => MetricsAccess::Networks(parser.list("METRICS", network).unwrap_or_default()),
    }
}

/// Who may make and enter rooms.
pub fn room_access(parser: &mut Parser) -> RoomAccess {
    match parser.word("ROOM_ACCESS") {
        "invited" => RoomAccess::Invited,
        _ => RoomAccess::Open,
    }
}

/// Both files, or neither.
pub(super) fn tls(parser: &mut Parser) -> Option<TlsFiles> {
    let (given, missing) = match (parser.set("TLS_CERT"), parser.set("TLS_KEY")) {
        (Some(cert), Some(key)) => return Some(TlsFiles { cert, key }),
        // It may be a credential that only the service sees.
        (Some(_), None) | (None, Some(_)) if parser.settings.hidden_credentials().is_some() => {
            return None;
        }
        (Some(_), None) => ("TLS_CERT", "TLS_KEY"),
        (None, Some(_)) => ("TLS_KEY", "TLS_CERT"),
        (None, None) => return None,
    };
    let origin = parser.settings.origin(given);
    parser.errors.push(Invalid(format!(
        "Missing setting {missing}: {given} (from {origin}) is of no use without it; set both, or neither"
    )));
    None
}

/// Where the package of the web studio has its files.
pub const PACKAGED_STUDIO: &str = "/usr/share/openstudio-web";

fn web_root(parser: &mut Parser<'_>) -> Option<PathBuf> {
    let named = parser.set("WEB_ROOT").unwrap_or_else(|| PathBuf::from(PACKAGED_STUDIO));
    (named != Path::new("off")).then_some(named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::table::{SETTINGS, Setting};

    fn config(flags: &[&str], environment: &[(&str, &str)]) -> Result<Config, Vec<Invalid>> {
        let command = clap::Command::new("test").args(crate::config::table::args());
        let matches = command.get_matches_from([&["test"], flags].concat());
        let find = |name: &str| {
            let found = environment.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Config::new(&Settings::collect(&matches, find, None)?)
    }

    fn errors(environment: &[(&str, &str)]) -> Vec<String> {
        let errors = config(&[], environment).unwrap_err();
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn defaults_are_those_of_the_protocol() {
        let config = config(&[], &[]).unwrap();
        assert_eq!((config.port, config.host), (3000, None));
        assert_eq!(config.log_level, Level::Info);
        assert_eq!(config.heartbeat.as_millis(), 25_000);
        assert_eq!(config.rate_limit, Some(100));
        assert_eq!(config.max_connections, None);
        assert_eq!(config.max_connections_per_ip, Some(100));
        assert_eq!(config.max_room_peers, Some(100));
        assert_eq!(config.turn_ttl.as_secs(), 4 * 3600);
        assert_eq!(config.room_ttl, None);
        assert!(config.allowed_origins.is_none() && config.trusted_proxies.is_empty());
        assert_eq!(config.max_message_bytes, 65_536);
        assert_eq!(config.max_outbox_bytes, 1_048_576);
        assert_eq!(config.shutdown_grace.as_millis(), 10_000);
        assert!(config.check_page);
        assert_eq!(config.listen_setting, None);
    }

    #[test]
    fn a_flag_goes_before_the_environment_and_empty_is_unset() {
        let both = config(&["--port", "1"], &[("PORT", "2")]).unwrap();
        assert_eq!(both.port, 1);
        assert_eq!(config(&["--port", ""], &[("PORT", "2")]).unwrap().port, 2);
        assert_eq!(config(&[], &[("PORT", " ")]).unwrap().port, 3000);
    }

    #[test]
    fn every_limit_holds_on_both_sides() {
        let numbers =
            SETTINGS.iter().filter_map(|setting| Some((setting, setting.allowed.bounds()?)));
        for (Setting { name, allowed, .. }, (least, most)) in numbers {
            for good in [least, most] {
                // Beside them, what could contradict them is as large, or as small, as it may be.
                let other = match *name {
                    "MAX_MESSAGE_BYTES" => ("MAX_OUTBOX_BYTES", "1073741824"),
                    _ => ("MAX_MESSAGE_BYTES", "1"),
                };
                let set = [(*name, good.to_string()), (other.0, other.1.to_owned())];
                let set = set.each_ref().map(|(name, value)| (*name, value.as_str()));
                assert!(config(&[], &set).is_ok(), "{name}={good}");
            }
            for bad in [i128::from(least) - 1, i128::from(most) + 1] {
                let line = format!(
                    "Invalid setting {name}=\"{bad}\" (from environment): must be {allowed}"
                );
                assert_eq!(errors(&[(name, &bad.to_string())]), [line]);
            }
        }
        // The bounds as an operator reads them.
        assert_eq!(
            errors(&[("MAX_OUTBOX_BYTES", "0")]),
            [
                r#"Invalid setting MAX_OUTBOX_BYTES="0" (from environment): must be a whole number from 1130 to 1073741824, and 106 more than MAX_MESSAGE_BYTES"#
            ]
        );
    }

    #[test]
    fn an_outbox_holds_one_largest_message() {
        let with = |outbox: &str, message: &str| {
            config(&[], &[("MAX_OUTBOX_BYTES", outbox), ("MAX_MESSAGE_BYTES", message)])
        };
        let bytes = |outbox, message| with(outbox, message).unwrap().max_outbox_bytes;
        // 65,536 bytes, 10 of the frame's head, 96 of the place in the queue.
        assert_eq!(bytes("65642", "65536"), 65_642);
        // Less than that is raised: 0.1.0 took it.
        assert_eq!(bytes("65641", "65536"), 65_642);
        assert_eq!(bytes("", "16777216"), 16_777_322);
        // Whatever messages may be, the server's own count.
        assert!(with("1130", "1").is_ok() && with("1129", "1").is_err());
    }

    #[test]
    fn metrics_are_for_this_machine_and_its_proxies() {
        let metrics = |set: &[(&str, &str)]| config(&[], set).unwrap().metrics;
        let networks = |texts: &[&str]| {
            MetricsAccess::Networks(texts.iter().map(|text| text.parse().unwrap()).collect())
        };
        assert_eq!(metrics(&[]), networks(&["127.0.0.0/8", "::1/128"]));
        let proxied = metrics(&[("TRUSTED_PROXIES", "10.0.0.7")]);
        assert_eq!(proxied, networks(&["127.0.0.0/8", "::1/128", "10.0.0.7/32"]));
        assert_eq!(metrics(&[("METRICS", "on")]), MetricsAccess::Everybody);
        assert_eq!(metrics(&[("METRICS", "off")]), MetricsAccess::Nobody);
        let named = metrics(&[("METRICS", "10.0.0.0/8, ::ffff:192.0.2.7")]);
        assert_eq!(named, networks(&["10.0.0.0/8", "192.0.2.7/32"]));
        for bad in ["yes", "10.0.0.0/33", "on,10.0.0.1", ","] {
            assert_eq!(errors(&[("METRICS", bad)]).len(), 1, "{bad}");
        }
    }

    #[test]
    fn a_switch_is_on_or_off() {
        assert!(config(&[], &[("CHECK_PAGE", "on")]).unwrap().check_page);
        assert!(!config(&["--check-page", "off"], &[]).unwrap().check_page);
        for bad in ["yes", "0", "ON", "true"] {
            let line = format!(
                r#"Invalid setting CHECK_PAGE="{bad}" (from environment): must be on or off"#
            );
            assert_eq!(errors(&[("CHECK_PAGE", bad)]), [line]);
        }
    }

    #[test]
    fn all_bad_values_are_named_at_once() {
        let lines = errors(&[("PORT", "abc"), ("HOST", "nowhere"), ("LOG_LEVEL", "loud")]);
        assert_eq!(
            lines,
            [
                r#"Invalid setting PORT="abc" (from environment): must be a whole number from 0 to 65535"#,
                r#"Invalid setting HOST="nowhere" (from environment): must be an IPv4 or IPv6 address such as ::, 0.0.0.0 or 127.0.0.1"#,
                r#"Invalid setting LOG_LEVEL="loud" (from environment): must be one of error, warn, info, debug"#,
            ]
        );
    }

    #[test]
    fn a_secret_is_masked() {
        let command = clap::Command::new("test").args(crate::config::table::args());
        let matches = command.get_matches_from(["test"]);
        let find = |name: &str| (name == "JWT_SECRET").then(|| "hunter2".to_owned());
        let settings = Settings::collect(&matches, find, None).unwrap();
        assert!(settings.to_string().contains("JWT_SECRET=(hidden) "), "{settings}");
        let unset = Settings::collect(&matches, |_| None, None).unwrap();
        let config = Config::new(&settings).unwrap();
        let changed = settings.changed_since(&unset, |_| true);
        assert_eq!(config.jwt_secret.as_ref().unwrap().bytes(), b"hunter2");
        let mut parser = Parser { settings: &settings, errors: Vec::new() };
        parser.refuse("JWT_SECRET");
        let shown = format!("{settings} {config:?} {changed:?} {:?}", parser.errors);
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_certificate_comes_with_its_key() {
        assert_eq!(config(&[], &[]).unwrap().tls, None);
        let both = config(&[], &[("TLS_CERT", "/c"), ("TLS_KEY", "/k")]).unwrap().tls.unwrap();
        assert_eq!(both, TlsFiles { cert: "/c".into(), key: "/k".into() });
        for (given, missing) in [("TLS_CERT", "TLS_KEY"), ("TLS_KEY", "TLS_CERT")] {
            let lines = errors(&[(given, "/a")]);
            let start = format!("Missing setting {missing}: {given} (from environment) ");
            assert!(lines.len() == 1 && lines[0].starts_with(&start), "{lines:?}");
        }
    }

    #[test]
    fn lists_are_read_part_by_part() {
        let origins = |text| config(&[], &[("ALLOWED_ORIGINS", text)]);
        let read = origins(" https://Studio.example.org , http://localhost:8080/ ,").unwrap();
        let expected = ["https://studio.example.org", "http://localhost:8080"];
        assert_eq!(read.allowed_origins.unwrap(), expected);
        for bad in ["*", "studio.example.org", "https://", "https://a/b", "https://*.a", ","] {
            assert!(origins(bad).is_err(), "{bad}");
        }
        let proxies = |text| config(&[], &[("TRUSTED_PROXIES", text)]);
        let read = proxies("127.0.0.1, ::1,10.0.0.0/8").unwrap();
        assert_eq!(read.trusted_proxies.len(), 3);
        let mapped = proxies("::ffff:127.0.0.1,::ffff:10.0.0.0/104").unwrap();
        let expected = ["127.0.0.1/32", "10.0.0.0/8"].map(|network| network.parse().unwrap());
        assert_eq!(mapped.trusted_proxies, expected);
        for bad in ["proxy", "10.0.0.0/33", "::ffff:0.0.0.0/90", "10.0.0.1;10.0.0.2"] {
            assert!(proxies(bad).is_err(), "{bad}");
        }
    }
}
