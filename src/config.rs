//! The settings: flags, environment and settings file in, a valid `Config` out.
//!
//! Owns the table of settings, from which the command line, the man page and `config` are made. It
//! deliberately acts on none of them.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};
use ipnet::IpNet;

use crate::events::Level;
use crate::protocol::quoted;

/// What stands for the value of a secret.
const HIDDEN: &str = "(hidden)";

/// Where the package keeps the settings of the service.
pub const SETTINGS_FILE: &str = "/etc/default/openstudio-signaling";

/// One setting: the same by environment, flag and settings file.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name in the environment and in the settings file; the flag is its lower-case form.
    pub name: &'static str,
    /// What holds where it is not set, as a value or in words.
    pub default: &'static str,
    /// What it may be, for the error line.
    pub allowed: &'static str,
    /// What it does.
    pub help: &'static str,
    /// The systemd credential that a secret can also come from (systemd.exec(5), `LoadCredential=`). No
    /// value of such a setting is ever shown.
    pub credential: Option<&'static str>,
}

const fn setting(
    name: &'static str,
    default: &'static str,
    allowed: &'static str,
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
    let allowed = "a line of text";
    Setting { name, default, allowed, help, credential: Some(credential) }
}

/// The table of settings.
pub const SETTINGS: &[Setting] = &[
    setting(
        "PORT",
        "3000",
        "a whole number from 0 to 65535",
        "TCP port to listen on (0: any free one, see the log); no effect under the socket unit",
    ),
    setting(
        "HOST",
        "::",
        "an IPv4 or IPv6 address such as ::, 0.0.0.0 or 127.0.0.1",
        "Address to listen on (::, IPv4 and IPv6); no effect under the socket unit",
    ),
    setting(
        "LOG_LEVEL",
        "info",
        "one of error, warn, info, debug",
        "Least grave events to log: error, warn, info or debug (a line for every message)",
    ),
    setting(
        "STATION_MANIFEST",
        "/etc/openstudio-signaling/station-manifest.json, else a sample",
        "the path of a file",
        "The station's name, address, STUN and TURN servers (JSON); read again at SIGHUP",
    ),
    setting(
        "WEB_ROOT",
        "not set",
        "the path of a directory",
        "Directory of the web studio, served on the same port; hidden files and links out of it are not",
    ),
    setting(
        "ALLOWED_ORIGINS",
        "any origin",
        "origins such as https://studio.example.org, with commas between them (leave it empty for any)",
        "Web pages that may connect, by origin; browsers elsewhere get HTTP 403",
    ),
    setting(
        "TRUSTED_PROXIES",
        "not set",
        "addresses or networks such as 127.0.0.1,::1,10.0.0.0/8",
        "Proxies whose X-Forwarded-For says who the client is",
    ),
    secret(
        "JWT_SECRET",
        "made at the first start",
        "jwt-secret",
        "Key that signs invites and room tokens, 32 bytes or more; better the credential jwt-secret",
    ),
    secret(
        "TURN_SECRET",
        "not set",
        "turn-secret",
        "The TURN server's static-auth-secret, for credentials of each peer; better the credential turn-secret",
    ),
    setting(
        "TURN_TTL_MS",
        "14400000",
        "a whole number from 1 to 604800000",
        "How long in ms a TURN credential is valid",
    ),
    setting(
        "ROOM_TTL_MS",
        "0",
        "a whole number from 0 to 2592000000",
        "Age in ms at which a room ends (0: when the last one leaves)",
    ),
    setting(
        "HEARTBEAT_MS",
        "25000",
        "a whole number from 1 to 3600000",
        "Silence in ms after which a client is pinged; 10 s later it is dead",
    ),
    setting(
        "RATE_LIMIT",
        "100",
        "a whole number from 0 to 1000000",
        "Messages a client may send in 10 s (0: no limit)",
    ),
    setting(
        "MAX_CONNECTIONS",
        "what the file limit carries",
        "a whole number from 1 to 1000000",
        "Clients at the same time; further ones get HTTP 503",
    ),
    setting(
        "MAX_CONNECTIONS_PER_IP",
        "100",
        "a whole number from 0 to 1000000",
        "Clients at the same time from one IPv4 address or IPv6 /64 (0: no limit); further ones get close 4008",
    ),
    setting(
        "MAX_MESSAGE_BYTES",
        "65536",
        "a whole number from 1 to 16777216",
        "Largest message in bytes; a larger one ends the connection with close 1009",
    ),
    setting(
        "MAX_OUTBOX_BYTES",
        "1048576",
        "a whole number from 1 to 1073741824",
        "Bytes that may wait for a client that reads too slowly; more end it with close 4102",
    ),
    setting(
        "SHUTDOWN_GRACE_MS",
        "10000",
        "a whole number from 0 to 3600000",
        "Time in ms that clients have to leave on SIGTERM before they are cut off",
    ),
];

impl Setting {
    /// Whether its value is never shown.
    pub fn is_secret(&self) -> bool {
        self.credential.is_some()
    }

    /// The name of the flag, without the dashes.
    pub fn flag(&self) -> String {
        self.name.to_ascii_lowercase().replace('_', "-")
    }

    fn named(name: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }
}

/// Where a value comes from, strongest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file that systemd passes.
    Credential(PathBuf),
    /// The command line.
    Flag,
    /// The process environment.
    Environment,
    /// A line of the settings file.
    File(PathBuf, usize),
    /// Nobody set it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credential(path) => write!(f, "credential {}", path.display()),
            Self::Flag => f.write_str("command line"),
            Self::Environment => f.write_str("environment"),
            Self::File(path, line) => write!(f, "{} line {line}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value that can't be. Its text names the setting, the value and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid(String);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The settings as text, each with where it came from: what `config` prints.
#[derive(Clone, Debug)]
pub struct Settings {
    values: Vec<(&'static Setting, String, Origin)>,
    /// Names in the settings file that no setting has, with their place.
    pub unknown: Vec<(String, Origin)>,
}

impl Settings {
    /// Collects the values: credentials before flags before environment before file before defaults. Empty
    /// means unset.
    ///
    /// # Errors
    ///
    /// A settings file or a credential that can't be read, and each line that is no `NAME=value`.
    pub fn collect(
        flags: &ArgMatches,
        environment: impl Fn(&str) -> Option<String>,
        file: Option<&Path>,
    ) -> Result<Self, Vec<Invalid>> {
        let lines = file.map_or(Ok(Vec::new()), read_lines)?;
        let mut values = Vec::new();
        for setting in SETTINGS {
            let flag = flags.get_one::<String>(setting.name).cloned();
            let line = lines.iter().rev().find(|line| line.name == setting.name);
            let credentials = environment("CREDENTIALS_DIRECTORY").map(PathBuf::from);
            let path = credentials.zip(setting.credential).map(|(dir, name)| dir.join(name));
            let path = path.unwrap_or_default();
            let set = [
                (read_credential(&path)?, Origin::Credential(path)),
                (flag, Origin::Flag),
                (environment(setting.name), Origin::Environment),
                line.map_or((None, Origin::Default), |line| {
                    (Some(line.value.clone()), line.origin.clone())
                }),
            ];
            let (value, origin) = set
                .into_iter()
                .find_map(|(value, origin)| {
                    let value = value?.trim().to_owned();
                    (!value.is_empty()).then_some((value, origin))
                })
                .unwrap_or_else(|| (setting.default.to_owned(), Origin::Default));
            values.push((setting, value, origin));
        }
        let unknown = lines
            .into_iter()
            .filter(|line| Setting::named(&line.name).is_none())
            .map(|line| (line.name, line.origin))
            .collect();
        Ok(Self { values, unknown })
    }

    /// The settings that differ from `before`, as `NAME=value`, but for those that a reload applies.
    pub fn changed_since(&self, before: &Self) -> Vec<String> {
        let pairs = self.values.iter().zip(&before.values);
        let applied = |name| matches!(name, "LOG_LEVEL" | "STATION_MANIFEST");
        let changed = pairs.filter(|(now, then)| now.1 != then.1 && !applied(now.0.name));
        changed
            .map(|((setting, value, _), _)| {
                let value = if setting.is_secret() { HIDDEN } else { value };
                format!("{}={value}", setting.name)
            })
            .collect()
    }

    /// Where the value of a setting came from.
    pub fn origin(&self, name: &str) -> &Origin {
        &self.get(name).2
    }

    fn get(&self, name: &str) -> &(&'static Setting, String, Origin) {
        let found = self.values.iter().find(|value| value.0.name == name);
        found.expect("only names from the table are asked for")
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (setting, value, origin) in &self.values {
            let hidden = setting.is_secret() && *origin != Origin::Default;
            let shown = if hidden { HIDDEN } else { value };
            let line = format!("{}={shown}", setting.name);
            writeln!(f, "{line:<48} # {origin}")?;
        }
        Ok(())
    }
}

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
    /// The web studio's directory.
    pub web_root: Option<PathBuf>,
    /// Whose pages may connect, in the form of RFC 6454 section 6.2, or `None` for anybody's.
    pub allowed_origins: Option<Vec<String>>,
    /// Whose `X-Forwarded-For` counts.
    pub trusted_proxies: Vec<IpNet>,
    /// What signs tokens, where somebody set it.
    pub jwt_secret: Option<Secret>,
    /// What the TURN server checks credentials with.
    pub turn_secret: Option<Secret>,
    /// How long a TURN credential is valid.
    pub turn_ttl: Duration,
    /// The age at which a room ends, or `None` for no such age.
    pub room_ttl: Option<Duration>,
    /// Silence after which a client is pinged.
    pub heartbeat: Duration,
    /// Messages a client may send in a window of 10 s, or `None` for any number.
    pub rate_limit: Option<u32>,
    /// Clients at the same time, or `None` for what the file limit carries.
    pub max_connections: Option<usize>,
    /// Clients at the same time from one address, or `None` for any number.
    pub max_connections_per_ip: Option<u32>,
    /// The largest message, in bytes.
    pub max_message_bytes: usize,
    /// What may wait for one client, in bytes.
    pub max_outbox_bytes: usize,
    /// How long a drain may take.
    pub shutdown_grace: Duration,
}

impl Config {
    /// Turns texts into values.
    ///
    /// # Errors
    ///
    /// Every value that can't be.
    pub fn new(settings: &Settings) -> Result<Self, Vec<Invalid>> {
        let mut parser = Parser { settings, errors: Vec::new() };
        let listen_setting = ["PORT", "HOST"].into_iter().find_map(|name| {
            let (_, value, origin) = settings.get(name);
            (*origin != Origin::Default).then(|| format!("{name}={value} ({origin})"))
        });
        let config = Self {
            port: parser.number("PORT", 0, 65_535) as u16,
            host: parser.set("HOST"),
            listen_setting,
            log_level: parser.set("LOG_LEVEL").unwrap_or(Level::Info),
            station_manifest: parser.set("STATION_MANIFEST"),
            web_root: parser.set("WEB_ROOT"),
            allowed_origins: parser.list("ALLOWED_ORIGINS", origin),
            trusted_proxies: parser.list("TRUSTED_PROXIES", network).unwrap_or_default(),
            jwt_secret: parser.set("JWT_SECRET").map(Secret),
            turn_secret: parser.set("TURN_SECRET").map(Secret),
            turn_ttl: Duration::from_millis(parser.number("TURN_TTL_MS", 1, 604_800_000)),
            room_ttl: Some(parser.number("ROOM_TTL_MS", 0, 2_592_000_000))
                .filter(|ttl| *ttl > 0)
                .map(Duration::from_millis),
            heartbeat: Duration::from_millis(parser.number("HEARTBEAT_MS", 1, 3_600_000)),
            rate_limit: parser.limit("RATE_LIMIT"),
            max_connections: parser
                .is_set("MAX_CONNECTIONS")
                .then(|| parser.number("MAX_CONNECTIONS", 1, 1_000_000) as usize),
            max_connections_per_ip: parser.limit("MAX_CONNECTIONS_PER_IP"),
            max_message_bytes: parser.number("MAX_MESSAGE_BYTES", 1, 16_777_216) as usize,
            max_outbox_bytes: parser.number("MAX_OUTBOX_BYTES", 1, 1_073_741_824) as usize,
            shutdown_grace: Duration::from_millis(parser.number("SHUTDOWN_GRACE_MS", 0, 3_600_000)),
        };
        if parser.errors.is_empty() { Ok(config) } else { Err(parser.errors) }
    }
}

/// Where settings are read from, at the start and again at each reload.
#[derive(Clone, Debug)]
pub struct Source {
    /// The command line.
    pub flags: ArgMatches,
    /// The settings file, if there is one.
    pub file: Option<PathBuf>,
}

impl Source {
    /// Reads everything anew. The environment is the one that the process was started with.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, as [`Settings::collect`] and [`Config::new`] have it.
    pub fn load(&self) -> Result<(Config, Settings), Vec<Invalid>> {
        // What is no UTF-8 is no valid value either, and is refused as such.
        let environment = |name: &str| Some(std::env::var_os(name)?.to_string_lossy().into_owned());
        let settings = Settings::collect(&self.flags, environment, self.file.as_deref())?;
        Ok((Config::new(&settings)?, settings))
    }
}

/// Parses values and collects what is wrong with them.
struct Parser<'a> {
    settings: &'a Settings,
    errors: Vec<Invalid>,
}

impl Parser<'_> {
    fn is_set(&self, name: &str) -> bool {
        *self.settings.origin(name) != Origin::Default
    }

    /// A whole number from `min` to `max`; `min` where it is not one.
    fn number(&mut self, name: &str, min: u64, max: u64) -> u64 {
        let number: Option<u64> = self.parse(name);
        let number = number.filter(|number| (min..=max).contains(number));
        number.unwrap_or_else(|| {
            self.refuse(name);
            min
        })
    }

    /// A limit of at most a million, or `None` for 0.
    fn limit(&mut self, name: &str) -> Option<u32> {
        Some(self.number(name, 0, 1_000_000) as u32).filter(|limit| *limit > 0)
    }

    /// What `parse` makes of each part between commas, or `None` where nobody set it.
    fn list<T>(&mut self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
        if !self.is_set(name) {
            return None;
        }
        let parts = self.settings.get(name).1.split(',').map(str::trim);
        let values: Option<Vec<T>> = parts.filter(|part| !part.is_empty()).map(parse).collect();
        let values = values.filter(|values| !values.is_empty());
        if values.is_none() {
            self.refuse(name);
        }
        values
    }

    /// A value that somebody set, or `None`.
    fn set<T: FromStr>(&mut self, name: &str) -> Option<T> {
        if !self.is_set(name) {
            return None;
        }
        let value = self.parse(name);
        if value.is_none() {
            self.refuse(name);
        }
        value
    }

    fn parse<T: FromStr>(&self, name: &str) -> Option<T> {
        self.settings.get(name).1.parse().ok()
    }

    fn refuse(&mut self, name: &str) {
        let (setting, value, origin) = self.settings.get(name);
        let value = if setting.is_secret() { HIDDEN } else { value };
        self.errors.push(Invalid(format!(
            "Invalid setting {name}={value:?} (from {origin}): must be {}",
            setting.allowed
        )));
    }
}

/// An origin in the form that browsers send: scheme, host and port, in lower case, without the slash that
/// people copy along.
fn origin(text: &str) -> Option<String> {
    let text = text.strip_suffix('/').unwrap_or(text).to_ascii_lowercase();
    let (scheme, authority) = text.split_once("://")?;
    let is_scheme = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    let is_authority =
        |b: u8| b.is_ascii_graphic() && !matches!(b, b'/' | b'@' | b'*' | b'?' | b'#');
    let fits = !scheme.is_empty()
        && !authority.is_empty()
        && scheme.bytes().all(is_scheme)
        && authority.bytes().all(is_authority);
    fits.then_some(text)
}

/// A network, or an address as the network of one.
fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse().ok().map(|ip: IpAddr| IpNet::from(ip)))
}

/// Reads what systemd passes under this path; it need not pass anything.
fn read_credential(path: &Path) -> Result<Option<String>, Vec<Invalid>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let path = path.display();
            let fix = "LoadCredential= must name a file of its own, not a directory";
            Err(vec![Invalid(format!("Cannot read the credential {path}: {error}; {fix}"))])
        }
    }
}

/// A line of the settings file.
struct Line {
    name: String,
    value: String,
    origin: Origin,
}

/// Reads the settings file; one whose path starts with `-` may be absent, as in systemd.exec(5).
fn read_lines(path: &Path) -> Result<Vec<Line>, Vec<Invalid>> {
    let optional = path.to_str().and_then(|path| path.strip_prefix('-')).map(Path::new);
    match optional {
        Some(path) if !path.exists() => Ok(Vec::new()),
        Some(path) => read_file(path),
        None => read_file(path),
    }
}

/// Reads `NAME=value` lines as systemd.exec(5) has them for `EnvironmentFile=`, but without continuation
/// lines: blank lines and those that start with `#` or `;` are skipped, one pair of quotes is taken off.
fn read_file(path: &Path) -> Result<Vec<Line>, Vec<Invalid>> {
    let bytes = std::fs::read(path).map_err(|error| {
        let path = path.display();
        let fix = "the user that the service runs as must be able to read it: chmod 644";
        vec![Invalid(format!("Cannot read the settings file {path}: {error}; {fix} {path}"))]
    })?;
    // What is no UTF-8 does not matter in a comment, and is refused in a value.
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = Vec::new();
    let mut errors = Vec::new();
    for (index, text) in text.lines().enumerate() {
        let text = text.trim();
        if text.is_empty() || text.starts_with(['#', ';']) {
            continue;
        }
        let origin = Origin::File(path.to_owned(), index + 1);
        match text.split_once('=') {
            Some((name, value)) if is_name(name.trim()) => lines.push(Line {
                name: name.trim().to_owned(),
                value: unquoted(value.trim()).to_owned(),
                origin,
            }),
            _ => errors.push(Invalid(format!(
                "Invalid line {:?} in the settings file ({origin}): must be NAME=value, without export",
                quoted(text)
            ))),
        }
    }
    if errors.is_empty() { Ok(lines) } else { Err(errors) }
}

fn is_name(name: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    !name.is_empty() && name.bytes().all(word)
}

fn unquoted(value: &str) -> &str {
    let inner = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}

/// The command line: the source of `--help`, the man pages and the completions.
pub fn command() -> Command {
    let settings = |command: Command, file: &'static str| {
        command.args(settings_args()).arg(
            Arg::new("settings-file")
                .long("settings-file")
                .value_name("FILE")
                .allow_hyphen_values(true)
                .help(file)
                .help_heading("Settings"),
        )
    };
    let file = "Read settings from NAME=value lines, again at SIGHUP; flags and environment go first; -FILE \
                may be absent";
    let root = Command::new("openstudio-signaling")
        .version(env!("CARGO_PKG_VERSION"))
        .about("WebRTC signaling server of the OpenStudio broadcast studio")
        .after_help(
            "Each setting can also be given in the environment (PORT for --port). Under systemd they are \
             in /etc/default/openstudio-signaling. The service is described in openstudio-signaling(8).",
        )
        .args_conflicts_with_subcommands(true)
        .disable_help_subcommand(true)
        .subcommand(settings(
            Command::new("serve").about("Run the server (what happens without a command)"),
            file,
        ))
        .subcommand(check_command())
        .subcommand(settings(
            Command::new("config").about("Print the effective settings and where each came from"),
            "Read settings from this file [default: /etc/default/openstudio-signaling, if it is there]",
        ));
    settings(root, file)
}

fn check_command() -> Command {
    Command::new("check")
        .about("Try a running server step by step: health, WebSocket handshake, welcome, ping")
        .arg(Arg::new("url").value_name("URL").help(
            "Where the server is: ws://HOST:PORT/ or http://HOST:PORT/ [default: the local server]",
        ))
        .arg(
            Arg::new("timeout")
                .long("timeout")
                .value_name("SECONDS")
                .default_value("5")
                .help("How long each step may take, 0.1 to 3600"),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Print one JSON object a step"),
        )
        .after_help(
            "Exit status: 0 when every step worked, 1 when one did not, 2 for a bad command line.",
        )
}

fn settings_args() -> impl Iterator<Item = Arg> {
    SETTINGS.iter().map(|setting| {
        Arg::new(setting.name)
            .long(setting.flag())
            .value_name(setting.name)
            .allow_hyphen_values(true)
            .help(format!("{} [default: {}]", setting.help, setting.default))
            .help_heading("Settings")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(flags: &[&str], environment: &[(&str, &str)]) -> Result<Config, Vec<Invalid>> {
        let program = ["openstudio-signaling"];
        let matches = command().get_matches_from(program.iter().chain(flags));
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
    fn the_command_line_is_consistent() {
        command().debug_assert();
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
        assert_eq!(config.turn_ttl.as_secs(), 4 * 3600);
        assert_eq!(config.room_ttl, None);
        assert!(config.allowed_origins.is_none() && config.trusted_proxies.is_empty());
        assert_eq!(config.max_message_bytes, 65_536);
        assert_eq!(config.max_outbox_bytes, 1_048_576);
        assert_eq!(config.shutdown_grace.as_millis(), 10_000);
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
        for (name, least, most) in [
            ("PORT", 0, 65_535),
            ("HEARTBEAT_MS", 1, 3_600_000),
            ("RATE_LIMIT", 0, 1_000_000),
            ("MAX_CONNECTIONS", 1, 1_000_000),
            ("MAX_CONNECTIONS_PER_IP", 0, 1_000_000),
            ("TURN_TTL_MS", 1, 604_800_000),
            ("ROOM_TTL_MS", 0, 2_592_000_000),
            ("MAX_MESSAGE_BYTES", 1, 16_777_216),
            ("MAX_OUTBOX_BYTES", 1, 1_073_741_824),
            ("SHUTDOWN_GRACE_MS", 0, 3_600_000_i64),
        ] {
            for good in [least, most] {
                assert!(config(&[], &[(name, &good.to_string())]).is_ok(), "{name}={good}");
            }
            for bad in [least - 1, most + 1] {
                let lines = errors(&[(name, &bad.to_string())]);
                let start =
                    format!("Invalid setting {name}=\"{bad}\" (from environment): must be ");
                assert_eq!(lines.len(), 1);
                assert!(lines[0].starts_with(&start), "{}", lines[0]);
            }
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
    fn the_settings_file_is_read_line_by_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("settings");
        std::fs::write(&path, "# a comment\n\nPORT=1\n PORT = \"4000\"\nLOGLEVEL=x\n;x\n").unwrap();
        let matches = command().get_matches_from(["openstudio-signaling"]);
        let settings = Settings::collect(&matches, |_| None, Some(&path)).unwrap();
        assert_eq!(Config::new(&settings).unwrap().port, 4000);
        assert_eq!(*settings.origin("PORT"), Origin::File(path.clone(), 4));
        assert_eq!(settings.unknown, [("LOGLEVEL".to_owned(), Origin::File(path.clone(), 5))]);

        let absent = directory.path().join("absent");
        assert!(Settings::collect(&matches, |_| None, Some(&absent)).is_err());
        let optional = PathBuf::from(format!("-{}", absent.display()));
        assert!(Settings::collect(&matches, |_| None, Some(&optional)).is_ok());

        std::fs::write(&path, "PORT=1\nexport PORT=2\nnonsense\n").unwrap();
        let errors = Settings::collect(&matches, |_| None, Some(&path)).unwrap_err();
        assert_eq!(errors.len(), 2);
        assert!(errors[0].0.contains("settings line 2"), "{}", errors[0]);
    }

    #[test]
    fn a_secret_is_masked() {
        let matches = command().get_matches_from(["openstudio-signaling"]);
        let find = |name: &str| (name == "JWT_SECRET").then(|| "hunter2".to_owned());
        let settings = Settings::collect(&matches, find, None).unwrap();
        assert!(settings.to_string().contains("JWT_SECRET=(hidden) "), "{settings}");
        let unset = Settings::collect(&matches, |_| None, None).unwrap();
        let config = Config::new(&settings).unwrap();
        let changed = settings.changed_since(&unset);
        assert_eq!(config.jwt_secret.as_ref().unwrap().bytes(), b"hunter2");
        let mut parser = Parser { settings: &settings, errors: Vec::new() };
        parser.refuse("JWT_SECRET");
        let shown = format!("{settings} {config:?} {changed:?} {:?}", parser.errors);
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_credential_goes_before_everything_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("turn-secret");
        std::fs::write(&path, "from a file\n").unwrap();
        let program = ["openstudio-signaling", "--turn-secret", "x", "--jwt-secret", "y"];
        let matches = command().get_matches_from(program);
        let find = |name: &str| {
            let directory = directory.path().to_str().unwrap().to_owned();
            (name == "CREDENTIALS_DIRECTORY").then_some(directory)
        };
        let settings = Settings::collect(&matches, find, None).unwrap();
        assert_eq!(*settings.origin("TURN_SECRET"), Origin::Credential(path.clone()));
        let config = Config::new(&settings).unwrap();
        assert_eq!(config.turn_secret.unwrap().bytes(), b"from a file");
        assert_eq!(config.jwt_secret.unwrap().bytes(), b"y", "that credential is not passed");

        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let errors = Settings::collect(&matches, find, None).unwrap_err();
        assert!(errors[0].0.starts_with("Cannot read the credential "), "{}", errors[0]);
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
        for bad in ["proxy", "10.0.0.0/33", "10.0.0.1;10.0.0.2"] {
            assert!(proxies(bad).is_err(), "{bad}");
        }
    }
}
