//! The table of settings.
//!
//! Owns what can be set, to what, and which name a misspelt one is meant to be. It deliberately does not know what is set.

use std::fmt;

use clap::Arg;
use strsim::osa_distance;

use crate::telemetry::level::Level;

/// Where the package keeps the settings of the service.
pub const SETTINGS_FILE: &str = "/etc/default/openstudio-signaling";

/// One setting: the same by environment, flag and settings file.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name in the environment and in the settings file; the flag is its lower-case form.
    pub name: &'static str,
    /// What holds where it is not set, as a value or in words.
    pub default: &'static str,
    /// What it may be: the check, the error line, the help and the man page come from it.
    pub allowed: Allowed,
    /// What it does.
    pub help: &'static str,
    /// The systemd credential that it can also come from (systemd.exec(5), `LoadCredential=`).
    pub credential: Option<Credential>,
}

/// What a credential is to a setting, with the credential's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// It holds the value, and that is never shown, wherever it comes from.
    Secret(&'static str),
    /// It is the file that the value would name.
    File(&'static str),
}

/// What a setting may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// A whole number from the first to the second.
    Number(u64, u64),
    /// A whole number from the first to the second, and by the third at least more than what this setting says.
    NumberAbove(u64, u64, u64, &'static str),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// What is said in words.
    Text(&'static str),
}

impl Allowed {
    /// The least and the most, where it is a number.
    pub fn bounds(self) -> Option<(u64, u64)> {
        match self {
            Self::Number(least, most) | Self::NumberAbove(least, most, ..) => Some((least, most)),
            Self::OneOf(_) | Self::Text(_) => None,
        }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(least, most) => write!(f, "a whole number from {least} to {most}"),
            Self::NumberAbove(least, most, more, than) => {
                write!(f, "a whole number from {least} to {most}, and {more} more than {than}")
            }
            Self::OneOf([one, other]) => write!(f, "{one} or {other}"),
            Self::OneOf(words) => write!(f, "one of {}", words.join(", ")),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// What a frame that waits in an outbox costs beside its bytes, at most: a place in a queue that grows by doubling (2 ×
/// 32), and the counts and the allocator's head before the bytes (32). Without it, the shortest messages would cost half
/// as much again as `MAX_OUTBOX_BYTES` says.
pub const OUTBOX_PLACE: usize = 96;

/// What a message takes of an outbox beside its own bytes: the head of the longest frame that a server sends (RFC 6455
/// section 5.2), and the place.
pub const OUTBOX_MESSAGE: usize = 10 + OUTBOX_PLACE;

/// What the longest message of the server itself takes of an outbox, in bytes: 1,024 for one with a room's id (128
/// characters of up to 4 bytes).
const LEAST_OUTBOX: usize = 1024 + OUTBOX_MESSAGE;

/// What limits on counts may be.
const UP_TO_A_MILLION: Allowed = Allowed::Number(0, 1_000_000);

const ON_OR_OFF: Allowed = Allowed::OneOf(&["on", "off"]);

const fn setting(
    name: &'static str,
    default: &'static str,
    allowed: Allowed,
    help: &'static str,
) -> Setting {
    Setting { name, default, allowed, help, credential: None }
}

const fn secret(
    name: &'static str,
    default: &'static str,
    credential: &'static str,
    help: &'static str,
) -> Setting {
    let allowed = Allowed::Text("a line of text");
    let credential = Some(Credential::Secret(credential));
    Setting { name, default, allowed, help, credential }
}

const fn file(name: &'static str, credential: &'static str, help: &'static str) -> Setting {
    let credential = Some(Credential::File(credential));
    let allowed = Allowed::Text("the path of a file");
    Setting { name, default: "not set", allowed, help, credential }
}

/// The table of settings.
pub const SETTINGS: &[Setting] = &[
    setting(
        "PORT",
        "3000",
        Allowed::Number(0, 65_535),
        "TCP port to listen on (0: any free one, see the log); no effect under the socket unit",
    ),
    setting(
        "HOST",
        "::",
        Allowed::Text("an IPv4 or IPv6 address such as ::, 0.0.0.0 or 127.0.0.1"),
        "Address to listen on (::, IPv4 and IPv6); no effect under the socket unit",
    ),
    setting(
        "LOG_LEVEL",
        "info",
        Allowed::OneOf(&Level::SETTINGS),
        "Lowest level to log; debug has a line for every message",
    ),
    setting(
        "STATION_MANIFEST",
        "/etc/openstudio-signaling/station-manifest.json, else a sample",
        Allowed::Text("the path of a file"),
        "The station's name, address, STUN and TURN servers (JSON); read again at SIGHUP",
    ),
    setting(
        "WEB_ROOT",
        "/usr/share/openstudio-web, where it exists",
        Allowed::Text("the path of a directory, or off for none"),
        "Directory of the web studio, or a link to it, served on the same port; hidden files (except .well-known) and links that lead out of it are not served",
    ),
    setting(
        "CHECK_PAGE",
        "on",
        ON_OR_OFF,
        "Whether /check serves the check page, which tests everything in a browser",
    ),
    setting(
        "ALLOWED_ORIGINS",
        "any origin",
        Allowed::Text(
            "origins such as https://studio.example.org, with commas between them (leave it empty for any)",
        ),
        "Web pages that may connect, by origin; browsers elsewhere get HTTP 403",
    ),
    setting(
        "TRUSTED_PROXIES",
        "not set",
        Allowed::Text("addresses or networks such as 127.0.0.1,::1,10.0.0.0/8"),
        "Proxies whose X-Forwarded-For the service trusts for the address of the client",
    ),
    setting(
        "METRICS",
        "this machine and TRUSTED_PROXIES",
        Allowed::Text("on, off, or addresses or networks such as 127.0.0.1,::1,10.0.0.0/8"),
        "Who may read /metrics: on (everybody), off (nobody), or addresses and networks. Your list replaces the default: add 127.0.0.1,::1 if Prometheus runs on this machine",
    ),
    file(
        "TLS_CERT",
        "tls-cert",
        "Certificate chain (PEM) for wss:// and https:// without a proxy, with TLS_KEY; read again at SIGHUP",
    ),
    file(
        "TLS_KEY",
        "tls-key",
        "Private key (PEM) of the certificate; better the systemd credential tls-key",
    ),
    secret(
        "JWT_SECRET",
        "made at the first start",
        "jwt-secret",
        "Key that signs invites and room tokens, 32 bytes or more; better the systemd credential jwt-secret",
    ),
    secret(
        "TURN_SECRET",
        "not set",
        "turn-secret",
        "The TURN server's static-auth-secret, from which the service makes the credential of each peer; better the systemd credential turn-secret",
    ),
    setting(
        "TURN_TTL_MS",
        "14400000",
        Allowed::Number(1, 604_800_000),
        "How long in ms a TURN credential is valid",
    ),
    setting(
        "ROOM_ACCESS",
        "open",
        Allowed::OneOf(&["open", "invited"]),
        "Who may make and enter rooms: open (everybody), or invited (only clients with an invite)",
    ),
    setting(
        "ICECAST_URL",
        "not set",
        Allowed::Text(
            "http://HOST:PORT/MOUNT or https://HOST:PORT/MOUNT such as http://source@127.0.0.1:8000/live.ogg, without the password",
        ),
        "Icecast that takes the programme, with the mount; not set: nobody can go on air",
    ),
    secret(
        "ICECAST_PASSWORD",
        "not set",
        "icecast-password",
        "Icecast's source-password; better the systemd credential icecast-password",
    ),
    setting(
        "ICECAST_HOLD_MS",
        "60000",
        Allowed::Number(0, 3_600_000),
        "How long in ms silence holds the mount for a host who has gone",
    ),
    setting(
        "ICECAST_PUBLIC_URL",
        "not set",
        Allowed::Text(
            "http://HOST/MOUNT or https://HOST/MOUNT such as https://radio.example.org/live.ogg",
        ),
        "Where /stream sends listeners by a redirect; not set: the service passes Icecast's stream on to them itself",
    ),
    setting(
        "MAX_LISTENERS",
        "100",
        UP_TO_A_MILLION,
        "Listeners at the same time to whom the service passes Icecast's stream on (0: none, and no /stream); further ones get HTTP 503, and so do more than a quarter from one address",
    ),
    setting(
        "ARCHIVE_DIR",
        "not set",
        Allowed::Text("a directory that the service may write to"),
        "Directory in which the programme is kept, as Ogg files; not set: it is not kept",
    ),
    setting(
        "ARCHIVE_MAX_BYTES",
        "10737418240",
        Allowed::Number(1_048_576, 1_125_899_906_842_624),
        "How much of the programme is kept in ARCHIVE_DIR, in bytes; the oldest files are deleted",
    ),
    setting(
        "ON_AIR_ACCESS",
        "invited",
        Allowed::OneOf(&["invited", "open"]),
        "Which hosts and ops may go on air: invited (those with an invite), or open (all)",
    ),
    setting(
        "NATS_URL",
        "not set",
        Allowed::Text(
            "NATS servers such as nats://10.0.0.1:4222,tls://nats.example.org or unix:/run/openstudio-signaling-nats/socket, without a user",
        ),
        "NATS servers that connect this node with the other nodes of a cluster; not set: this server is alone",
    ),
    setting(
        "CLUSTER_NAME",
        "openstudio",
        Allowed::Text("1 to 32 letters, digits, hyphens and underscores"),
        "Name of the cluster, the same on all of its nodes; it tells clusters on the same NATS servers apart",
    ),
    file(
        "NATS_CREDS",
        "nats-creds",
        "Credentials for the NATS servers (a .creds file, or a file with the seed of an NKEY); better the systemd credential nats-creds",
    ),
    file(
        "NATS_CA",
        "nats-ca",
        "Certificate authority (PEM) of the NATS servers' certificates; not set: those that this machine trusts",
    ),
    setting(
        "ROLE_RESERVE_MS",
        "600000",
        Allowed::Number(0, 86_400_000),
        "How long in ms the role of a host or ops that has gone is reserved for it (0: not at all); with ROOM_ACCESS=invited that of a guest, too",
    ),
    setting(
        "ROOM_TTL_MS",
        "0",
        Allowed::Number(0, 2_592_000_000),
        "Age in ms at which a room ends (0: when the last peer leaves)",
    ),
    setting(
        "MAX_ROOM_PEERS",
        "100",
        UP_TO_A_MILLION,
        "Peers in one room (0: no limit); further peers get the error room-full",
    ),
    setting(
        "HEARTBEAT_MS",
        "25000",
        Allowed::Number(1, 3_600_000),
        "Silence in ms after which a client is pinged; one that does not answer within 10 s is closed",
    ),
    setting(
        "RATE_LIMIT",
        "100",
        UP_TO_A_MILLION,
        "Messages a client may send in 10 s (0: no limit)",
    ),
    setting(
        "MAX_CONNECTIONS",
        "as many as the limit of open files allows (LimitNOFILE=)",
        Allowed::Number(1, 1_000_000),
        "Clients at the same time; further ones get HTTP 503",
    ),
    setting(
        "MAX_CONNECTIONS_PER_IP",
        "100",
        UP_TO_A_MILLION,
        "Clients at the same time from one IPv4 address or IPv6 /64 (0: no limit); further ones get close code 4008",
    ),
    setting(
        "MAX_MESSAGE_BYTES",
        "65536",
        Allowed::Number(1, 16_777_216),
        "Largest message in bytes; a larger one ends the connection with close code 1009",
    ),
    setting(
        "MAX_OUTBOX_BYTES",
        "1048576",
        Allowed::NumberAbove(
            LEAST_OUTBOX as u64,
            1_073_741_824,
            OUTBOX_MESSAGE as u64,
            "MAX_MESSAGE_BYTES",
        ),
        "Bytes that may wait for a client that reads too slowly; more end the connection with close code 4102",
    ),
    setting(
        "SHUTDOWN_GRACE_MS",
        "10000",
        Allowed::Number(0, 3_600_000),
        "Time in ms that clients have to leave on SIGTERM before they are cut off",
    ),
];

impl Setting {
    /// Whether its value is never shown.
    pub fn is_secret(&self) -> bool {
        matches!(self.credential, Some(Credential::Secret(_)))
    }

    /// Whether words describe its default, which is then no value that could be set.
    pub fn has_default_in_words(&self) -> bool {
        self.default.contains(' ')
    }

    /// The name of the flag, without the dashes.
    pub fn flag(&self) -> String {
        self.name.to_ascii_lowercase().replace('_', "-")
    }

    /// The setting of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }

    /// The setting that is meant by a name that none has.
    pub fn meant(name: &str) -> Option<&'static str> {
        meant(name, SETTINGS.iter().map(|setting| setting.name))
    }
}

/// Which of the `known` names is meant by one that is not among them: the one that is a letter away (one more, one
/// less, another one, or two that are swapped), in either case.
pub fn meant<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let away = |known: &str| osa_distance(&name, &known.to_lowercase());
    let near = known.into_iter().map(|known| (away(known), known)).filter(|(away, _)| *away <= 1);
    near.min_by_key(|(away, _)| *away).map(|(_, known)| known)
}

/// The flags of the settings.
pub fn args() -> impl Iterator<Item = Arg> {
    SETTINGS.iter().map(|setting| {
        Arg::new(setting.name)
            .long(setting.flag())
            .value_name(setting.name)
            .allow_hyphen_values(true)
            .help(format!("{} [{}; default: {}]", setting.help, setting.allowed, setting.default))
            .help_heading("Settings")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_a_letter_off_is_recognized() {
        for (name, expected) in [
            ("LOGLEVEL", Some("LOG_LEVEL")),
            ("LOG_LEVELS", Some("LOG_LEVEL")),
            ("LOG_LEVLE", Some("LOG_LEVEL")),
            ("LOG-LEVEL", Some("LOG_LEVEL")),
            ("log_level", Some("LOG_LEVEL")),
            ("PROT", Some("PORT")),
            ("TLS_CERTS", Some("TLS_CERT")),
            ("LOGLEVELS", None),
            ("POTR_", None),
            ("LEVEL", None),
            ("", None),
        ] {
            assert_eq!(Setting::meant(name), expected, "{name}");
        }
        // The nearest one, and of those that are as near the first.
        assert_eq!(meant("STUN", ["stuns", "stun"]), Some("stun"));
        assert_eq!(meant("stum", ["stuN", "stub"]), Some("stuN"));
    }
}
