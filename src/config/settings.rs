//! The table of settings, and their texts with where each came from.
//!
//! Owns what can be set, which of flags, environment, settings file and credentials goes first, and which name a
//! misspelt one is meant to be. It deliberately does not know what a value means.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches};
use strsim::osa_distance;

use crate::wire::protocol::quoted;

/// What stands for the value of a secret.
pub const HIDDEN: &str = "(hidden)";

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
    let credential = Some(Credential::Secret(credential));
    Setting { name, default, allowed, help, credential }
}

const fn file(name: &'static str, credential: &'static str, help: &'static str) -> Setting {
    let credential = Some(Credential::File(credential));
    Setting { name, default: "not set", allowed: "the path of a file", help, credential }
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
        "CHECK_PAGE",
        "on",
        "on or off",
        "Whether /check has the page that tries everything in a browser: on or off",
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
    setting(
        "METRICS",
        "this machine and TRUSTED_PROXIES",
        "on, off, or addresses or networks such as 127.0.0.1,::1,10.0.0.0/8",
        "Who may see /metrics: on (everybody), off (nobody), or the networks that it is for",
    ),
    file(
        "TLS_CERT",
        "tls-cert",
        "Certificate chain (PEM) for wss:// and https:// without a proxy, with TLS_KEY; read again at SIGHUP",
    ),
    file(
        "TLS_KEY",
        "tls-key",
        "Private key (PEM) of the certificate; better the credential tls-key",
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
        "MAX_ROOM_PEERS",
        "100",
        "a whole number from 0 to 1000000",
        "Peers in one room (0: no limit); further ones are told that it is full",
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
        "a whole number from 1130 to 1073741824, and 106 more than MAX_MESSAGE_BYTES",
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
        matches!(self.credential, Some(Credential::Secret(_)))
    }

    /// The name of the flag, without the dashes.
    pub fn flag(&self) -> String {
        self.name.to_ascii_lowercase().replace('_', "-")
    }

    fn named(name: &str) -> Option<&'static Self> {
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

/// An invalid value. Its text names the setting, the value and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid(pub String);

impl Invalid {
    /// Whether it is the value of this setting.
    pub fn is_about(&self, name: &str) -> bool {
        self.0.starts_with(&format!("Invalid setting {name}="))
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The settings as text, each with where it came from: what `config` prints.
#[derive(Clone, Debug)]
pub struct Settings {
    values: Vec<(&'static Setting, String, Origin)>,
    /// Where credentials are that only the service itself may read.
    hidden_credentials: Option<PathBuf>,
    /// Names in the settings file that no setting has, with their place.
    pub unknown: Vec<(String, Origin)>,
}

impl Settings {
    /// Collects the values: credentials before flags before environment before file before defaults. Empty
    /// means unset.
    ///
    /// # Errors
    ///
    /// A settings file or a credential that can't be read, each line that is no `NAME=value`, and each secret that
    /// is no line of text.
    pub fn collect(
        flags: &ArgMatches,
        environment: impl Fn(&str) -> Option<String>,
        file: Option<&Path>,
    ) -> Result<Self, Vec<Invalid>> {
        let lines = file.map_or(Ok(Vec::new()), read_lines)?;
        let credentials = environment("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let hidden_credentials = credentials.clone().filter(|path| is_forbidden(path));
        let credentials = credentials.filter(|_| hidden_credentials.is_none());
        let mut values = Vec::new();
        let mut errors = Vec::new();
        for setting in SETTINGS {
            let flag = flags.get_one::<String>(setting.name).cloned();
            let line = lines.iter().rev().find(|line| line.name == setting.name);
            let set = [
                credential(setting, credentials.as_deref())?,
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
            if let Some(why) = setting.is_secret().then(|| garbled(setting, &value)).flatten() {
                let Setting { name, allowed, .. } = setting;
                errors.push(Invalid(format!(
                    "Invalid setting {name}={HIDDEN} (from {origin}): {why}; must be {allowed}, such as `openssl rand -hex 32` makes"
                )));
            }
            values.push((setting, value, origin));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let unknown = lines
            .into_iter()
            .filter(|line| Setting::named(&line.name).is_none())
            .map(|line| (line.name, line.origin))
            .collect();
        Ok(Self { values, hidden_credentials, unknown })
    }

    /// From here on, the service may have credentials that are not seen here: systemd 252 names their directory to
    /// `ExecReload=`, too, and does not let it in; 257 does not even name it.
    pub fn assume_credentials(&mut self) {
        let is_credential = |(.., origin): &(_, _, Origin)| matches!(origin, Origin::Credential(_));
        if !self.values.iter().any(is_credential) {
            self.hidden_credentials.get_or_insert_default();
        }
    }

    /// Where there are credentials that only the service itself may read: what they say is not known here.
    pub fn hidden_credentials(&self) -> Option<&Path> {
        self.hidden_credentials.as_deref()
    }

    /// The settings that differ from `before`, as `NAME=value`, but for those that a reload applies, and only good ones.
    pub fn changed_since(&self, before: &Self, is_good: impl Fn(&str) -> bool) -> Vec<String> {
        let pairs = self.values.iter().zip(&before.values);
        let applied =
            |name| matches!(name, "LOG_LEVEL" | "STATION_MANIFEST" | "TLS_CERT" | "TLS_KEY");
        let changed = pairs
            .filter(|(now, then)| now.1 != then.1 && !applied(now.0.name) && is_good(now.0.name));
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

    /// A setting with its text and where that came from.
    pub fn get(&self, name: &str) -> &(&'static Setting, String, Origin) {
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

/// Whether a directory is there and can't be looked into.
fn is_forbidden(directory: &Path) -> bool {
    let looked = std::fs::read_dir(directory);
    looked.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// What a setting gets from the directory of credentials, if there is one.
fn credential(
    setting: &Setting,
    directory: Option<&Path>,
) -> Result<(Option<String>, Origin), Vec<Invalid>> {
    let (Some(directory), Some(credential)) = (directory, setting.credential) else {
        return Ok((None, Origin::Default));
    };
    let (Credential::Secret(name) | Credential::File(name)) = credential;
    let path = directory.join(name);
    let value = match credential {
        Credential::Secret(_) => read_credential(&path)?,
        Credential::File(_) => path.exists().then(|| path.to_string_lossy().into_owned()),
    };
    Ok((value, Origin::Credential(path)))
}

/// Reads what systemd passes under this path; it need not pass anything.
fn read_credential(path: &Path) -> Result<Option<String>, Vec<Invalid>> {
    match std::fs::read(path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            // Some editors begin a file with a byte order mark.
            Ok(Some(text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let path = path.display();
            let fix = "LoadCredential= must name a file of its own, not a directory";
            Err(vec![Invalid(format!("Cannot read the credential {path}: {error}; {fix}"))])
        }
    }
}

/// Why a secret is not the one that others have, if it is not. What was no UTF-8 has been replaced by now, so it would
/// match nothing, and who set it would not know why.
fn garbled(setting: &Setting, secret: &str) -> Option<&'static str> {
    if secret.contains(char::REPLACEMENT_CHARACTER) {
        return Some("is not UTF-8");
    }
    if secret.contains('\0') {
        return Some("has a NUL byte");
    }
    // Nobody else has to read the key of invites, and `openssl rand -base64 64` makes two lines.
    let is_shared = setting.name != "JWT_SECRET";
    (is_shared && secret.contains(['\n', '\r'])).then_some("has more than one line")
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
    // Some editors begin a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
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

/// The flags of the settings.
pub fn args() -> impl Iterator<Item = Arg> {
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

    fn matches(flags: &[&str]) -> ArgMatches {
        clap::Command::new("test").args(args()).get_matches_from([&["test"], flags].concat())
    }

    #[test]
    fn the_settings_file_is_read_line_by_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("settings");
        std::fs::write(&path, "# a comment\n\nPORT=1\n PORT = \"4000\"\nLOGLEVEL=x\n;x\n").unwrap();
        let matches = matches(&[]);
        let settings = Settings::collect(&matches, |_| None, Some(&path)).unwrap();
        assert_eq!(settings.get("PORT").1, "4000");
        assert_eq!(*settings.origin("PORT"), Origin::File(path.clone(), 4));
        assert_eq!(settings.unknown, [("LOGLEVEL".to_owned(), Origin::File(path.clone(), 5))]);

        std::fs::write(&path, "\u{feff}PORT=5000\n").unwrap();
        let marked = Settings::collect(&matches, |_| None, Some(&path)).unwrap();
        assert_eq!((marked.get("PORT").1.as_str(), marked.unknown.len()), ("5000", 0));

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

    #[test]
    fn a_secret_is_a_line_of_text_from_wherever_it_comes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("turn-secret");
        let file = directory.path().join("settings");
        let collect = |secret: &[u8]| {
            std::fs::write(&path, secret).unwrap();
            let find = |name: &str| {
                let directory = directory.path().to_str().unwrap().to_owned();
                (name == "CREDENTIALS_DIRECTORY").then_some(directory)
            };
            let settings = Settings::collect(&matches(&[]), find, None);
            settings.map(|settings| settings.get("TURN_SECRET").1.clone())
        };
        for good in [
            &b"north"[..],
            b"north\n",
            b"\xef\xbb\xbfnorth",
            b"\xef\xbb\xbfnorth\r\n",
            b" \tnorth \n\n",
        ] {
            assert_eq!(collect(good).unwrap(), "north", "{good:?}");
        }
        assert_eq!(collect("nörth\n".as_bytes()).unwrap(), "nörth");
        for empty in [&b""[..], b"\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf \r\n"] {
            assert_eq!(collect(empty).unwrap(), "not set", "{empty:?}");
        }
        for (bad, why) in [
            (&b"n\xf6rth\n"[..], "is not UTF-8"),
            (b"\xff\xfen\0o\0", "is not UTF-8"),
            (b"north\nsouth\n", "has more than one line"),
            (b"no\0rth\n", "has a NUL byte"),
        ] {
            let line = format!(
                "Invalid setting TURN_SECRET=(hidden) (from credential {}): {why}; must be a line of text, such as `openssl rand -hex 32` makes",
                path.display()
            );
            assert_eq!(collect(bad).unwrap_err(), [Invalid(line)]);
        }
        // The key of invites is nobody else's.
        std::fs::write(directory.path().join("jwt-secret"), "north\nsouth\n").unwrap();
        std::fs::remove_file(&path).unwrap();
        let find = |name: &str| {
            let directory = directory.path().to_str().unwrap().to_owned();
            (name == "CREDENTIALS_DIRECTORY").then_some(directory)
        };
        let settings = Settings::collect(&matches(&[]), find, None).unwrap();
        assert_eq!(settings.get("JWT_SECRET").1, "north\nsouth");
        std::fs::write(&file, b"TURN_SECRET=n\xf6rth\nJWT_SECRET=n\xf6rth\n").unwrap();
        let errors = Settings::collect(&matches(&[]), |_| None, Some(&file)).unwrap_err();
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(errors[0].0.contains("settings line 2): is not UTF-8; "), "{errors:?}");
    }

    #[test]
    fn a_credential_goes_before_everything_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("turn-secret");
        std::fs::write(&path, "from a file\n").unwrap();
        let matches = matches(&["--turn-secret", "x", "--jwt-secret", "y"]);
        let find = |name: &str| {
            let directory = directory.path().to_str().unwrap().to_owned();
            (name == "CREDENTIALS_DIRECTORY").then_some(directory)
        };
        let settings = Settings::collect(&matches, find, None).unwrap();
        assert_eq!(*settings.origin("TURN_SECRET"), Origin::Credential(path.clone()));
        assert_eq!(settings.get("TURN_SECRET").1, "from a file");
        assert_eq!(settings.get("JWT_SECRET").1, "y", "that credential is not passed");

        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let errors = Settings::collect(&matches, find, None).unwrap_err();
        assert!(errors[0].0.starts_with("Cannot read the credential "), "{}", errors[0]);
    }
}
