//! The settings, as the man page openstudio-signaling(5) and as the settings file of the package.
//!
//! Owns an example of each setting, and the unit of each number. Names, defaults, bounds and what a setting does are
//! those of the program's own table. It deliberately adds none.

use std::io;

use openstudio_signaling::config::table::{Credential, SETTINGS, Setting};

use crate::page::{begin, section};
use crate::words;

/// Of each setting, in the order of the table: its name, the unit of a number, and a value that somebody could want. A
/// credential needs no value.
const EXAMPLES: &[(&str, &str, &str)] = &[
    ("PORT", "TCP port", "8080"),
    ("HOST", "", "127.0.0.1"),
    ("LOG_LEVEL", "", "debug"),
    ("STATION_MANIFEST", "", "/srv/radio-north/station-manifest.json"),
    ("WEB_ROOT", "", "/srv/studio"),
    ("CHECK_PAGE", "", "off"),
    ("ALLOWED_ORIGINS", "", "https://studio.example.org"),
    ("TRUSTED_PROXIES", "", "127.0.0.1,::1"),
    ("METRICS", "", "127.0.0.1,::1,10.0.0.7"),
    ("TLS_CERT", "", "/etc/openstudio-signaling/tls/fullchain.pem"),
    ("TLS_KEY", "", "/etc/openstudio-signaling/tls/privkey.pem"),
    ("JWT_SECRET", "", ""),
    ("TURN_SECRET", "", ""),
    ("TURN_TTL_MS", "milliseconds", "43200000"),
    ("ROOM_ACCESS", "", "invited"),
    ("ICECAST_URL", "", "http://source@127.0.0.1:8000/live.ogg"),
    ("ICECAST_PASSWORD", "", ""),
    ("ICECAST_HOLD_MS", "milliseconds", "300000"),
    ("ICECAST_PUBLIC_URL", "", "https://radio.example.org/live.ogg"),
    ("MAX_LISTENERS", "listeners", "250"),
    ("ARCHIVE_DIR", "", "/srv/archive"),
    ("ARCHIVE_MAX_BYTES", "bytes", "53687091200"),
    ("ON_AIR_ACCESS", "", "open"),
    ("NATS_URL", "", "unix:/run/openstudio-signaling-nats/socket"),
    ("CLUSTER_NAME", "", "radio-north"),
    ("NATS_CREDS", "", ""),
    ("NATS_CA", "", "/etc/openstudio-signaling/tls/nats-ca.pem"),
    ("ROLE_RESERVE_MS", "milliseconds", "1800000"),
    ("ROOM_TTL_MS", "milliseconds", "86400000"),
    ("MAX_ROOM_PEERS", "peers", "20"),
    ("HEARTBEAT_MS", "milliseconds", "15000"),
    ("RATE_LIMIT", "messages", "200"),
    ("MAX_CONNECTIONS", "clients", "5000"),
    ("MAX_CONNECTIONS_PER_IP", "clients", "300"),
    ("MAX_MESSAGE_BYTES", "bytes", "131072"),
    ("MAX_OUTBOX_BYTES", "bytes", "4194304"),
    ("SHUTDOWN_GRACE_MS", "milliseconds", "5000"),
];

/// The man page openstudio-signaling(5).
pub fn page() -> io::Result<Vec<u8>> {
    let named = EXAMPLES.iter().map(|(name, ..)| *name);
    assert!(named.eq(SETTINGS.iter().map(|setting| setting.name)), "each setting has its example");
    let mut page = begin("openstudio-signaling", "5", "settings of openstudio-signaling(8)")?;
    section(&mut page, "SYNOPSIS", &[("", "/etc/default/openstudio-signaling")])?;
    section(&mut page, "DESCRIPTION", words::SETTINGS_DESCRIPTION)?;
    let examples = EXAMPLES.iter().map(|(_, unit, value)| (*unit, *value));
    let texts: Vec<_> =
        SETTINGS.iter().zip(examples).map(|(setting, example)| entry(setting, example)).collect();
    let entries: Vec<_> =
        SETTINGS.iter().zip(&texts).map(|(setting, text)| (setting.name, text.as_str())).collect();
    section(&mut page, "SETTINGS", &entries)?;
    section(&mut page, "CREDENTIALS", words::CREDENTIALS)?;
    section(&mut page, "FILES", words::SETTINGS_FILES)?;
    section(&mut page, "EXAMPLES", words::SETTINGS_EXAMPLES)?;
    section(&mut page, "SEE ALSO", &[("", words::SETTINGS_SEE_ALSO)])?;
    Ok(page)
}

/// What a setting does, and a line each for its flag, value, default, credential and example.
fn entry(setting: &Setting, (unit, value): (&str, &str)) -> String {
    let Setting { name, default, allowed, help, credential } = setting;
    let is_number = allowed.bounds().is_some();
    assert_eq!(
        is_number,
        !unit.is_empty(),
        "{name}: a number has a unit, and nothing else has one"
    );
    let unit = if is_number { format!(" ({unit})") } else { String::new() };
    let more = if is_number { in_words(name, default) } else { String::new() };
    let mut text = format!(
        "{help}.\nFlag: --{}\nValue: {allowed}{unit}\nDefault: {default}{more}",
        setting.flag()
    );
    if let Some(Credential::Secret(credential) | Credential::File(credential)) = credential {
        text += &format!("\nCredential: {credential}");
    }
    assert!(!value.is_empty() || credential.is_some(), "{name} has an example");
    if !value.is_empty() {
        text += &format!("\nExample: {name}={value}");
    }
    text
}

/// A long number of milliseconds or bytes, as people say it.
fn in_words(name: &str, value: &str) -> String {
    let units: &[(u64, &str)] = match name {
        _ if name.ends_with("_MS") => {
            &[(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s")]
        }
        _ if name.ends_with("_BYTES") => &[(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")],
        _ => &[],
    };
    let number: u64 = value.parse().unwrap_or_default();
    let unit = units.iter().find(|(size, _)| number > 0 && number % size == 0);
    unit.map_or(String::new(), |(size, unit)| format!(" ({} {unit})", number / size))
}

/// `/etc/default/openstudio-signaling`: every setting, commented out, with its default.
pub fn file() -> String {
    let mut text = String::from(
        "# Settings of openstudio-signaling, one NAME=value a line; see openstudio-signaling(5).\n\
         # Apply them with `systemctl restart openstudio-signaling`; LOG_LEVEL, STATION_MANIFEST and\n\
         # a renewed certificate also with `reload`.\n\
         # A comment needs a line of its own.\n\
         # The port is set in the socket unit: /usr/share/doc/openstudio-signaling/examples/port.conf\n",
    );
    for setting in SETTINGS {
        let default = if setting.has_default_in_words() { "" } else { setting.default };
        let Setting { help, allowed, name, .. } = setting;
        text += &format!("\n# {help}\n# Value: {allowed}\n#{name}={default}\n");
    }
    text
}
