//! What a start and a reload read and say alike: the files that settings lead to, and the lines about them.
//!
//! Owns these lines. It deliberately does not know when they are said.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::sign::CertifiedKey;

use crate::config::config::{Config, RoomAccess, Secret, TlsFiles};
use crate::config::icecast::OnAirAccess;
use crate::config::settings::Settings;
use crate::config::table::Setting;
use crate::server::http::static_files;
use crate::station::certificate::{Certificate, Flaw, Untimely};
use crate::station::keyfile::Kept;
use crate::station::manifest::Manifest;
use crate::station::manifest::Place;
use crate::station::manifest_rules::Misspelt;
use crate::station::turn_credentials::wants_credentials;
use crate::station::{archive, keyfile, manifest, tls};
use crate::telemetry::events::Event;
use crate::telemetry::journal::Journal;
use crate::wire::text::quoted;

/// A secret for tokens with fewer bytes than its hash has can be guessed (RFC 7518 section 3.2).
const SECRET_BYTES: usize = 32;

/// What helps where a directory is there for everybody but the service.
const HIDDEN_PLACES: &str = "; under systemd the service sees no /home, no /root and a /tmp of its own: /srv is a good place";

/// The files that settings lead to, read and checked.
#[derive(Clone, Debug)]
pub struct LoadedFiles {
    /// What the station manifest says.
    pub station: Manifest,
    /// The web studio's directory, links and all.
    pub web_root: Option<PathBuf>,
    /// The certificate for TLS without a proxy.
    pub certified: Option<Arc<CertifiedKey>>,
}

/// Reads what the settings lead to.
///
/// # Errors
///
/// One line for each thing that is wrong.
pub fn load_files(config: &Config, settings: &Settings) -> Result<LoadedFiles, Vec<String>> {
    let station = manifest::load(config.station_manifest.as_deref());
    let web_root = config.web_root.as_deref().map(|path| {
        let checked = static_files::check_root(path).map(|()| path.to_owned());
        checked.map_err(|error| {
            let origin = settings.origin("WEB_ROOT");
            let fix = "must be a directory that the user of the service can read, or off";
            let hidden = if is_hidden(path) { HIDDEN_PLACES } else { "" };
            let path = path.display();
            format!(r#"Invalid setting WEB_ROOT="{path}" (from {origin}): {error}; {fix}{hidden}"#)
        })
    });
    let archive = config.icecast.as_ref().and_then(|icecast| icecast.archive.as_ref());
    let archive = archive.map(|archive| check_archive(&archive.directory, settings)).transpose();
    let certified = config.tls.as_ref().map(|files| tls::load(files, settings));
    match (station, web_root.transpose(), certified.transpose(), archive) {
        (Ok(station), Ok(web_root), Ok(certified), Ok(_)) => {
            Ok(LoadedFiles { station, web_root, certified })
        }
        (station, web_root, certified, archive) => {
            let others = web_root.err().into_iter().chain(certified.err()).chain(archive.err());
            Err(station.err().into_iter().flatten().chain(others).collect())
        }
    }
}

/// Whether the service may write to the directory of the archive.
fn check_archive(path: &Path, settings: &Settings) -> Result<(), String> {
    archive::check(path).map_err(|error| {
        let origin = settings.origin("ARCHIVE_DIR");
        let hidden = if is_hidden(path) { HIDDEN_PLACES } else { "" };
        let path = path.display();
        format!(
            r#"Invalid setting ARCHIVE_DIR="{path}" (from {origin}): {error}; must be a directory that the user of the service can write to; under systemd, name it in a drop-in, too: [Service] ReadWritePaths=-{path}{hidden}"#
        )
    })
}

/// Whether a path is one that the unit's `ProtectHome=` and `PrivateTmp=` hide (systemd.exec(5)).
fn is_hidden(path: &Path) -> bool {
    ["/home", "/root", "/run/user", "/tmp", "/var/tmp"].iter().any(|place| path.starts_with(place))
}

/// What signs tokens.
#[derive(Debug)]
pub struct Signing {
    /// It.
    pub secret: Secret,
    /// Whether no file and no setting has it: it ends with the process, unless it is carried.
    pub is_only_here: bool,
}

/// What signs tokens: the secret that somebody set, or one that is made and kept, with a line that says so. Where it can't
/// be kept, that of the process before goes on.
pub fn signing_secret(
    config: &Config,
    settings: &Settings,
    state_directory: Option<&Path>,
    carried: Option<Secret>,
    journal: &Journal,
) -> Signing {
    if let Some(secret) = &config.jwt_secret {
        let bytes = secret.bytes().len();
        if bytes < SECRET_BYTES {
            let origin = settings.origin("JWT_SECRET").to_string();
            journal.log(Event::SecretShort { bytes, origin });
        }
        return Signing { secret: secret.clone(), is_only_here: false };
    }
    let (secret, kept) = keyfile::secret(state_directory);
    let is_only_here = matches!(kept, Kept::Not(_));
    match kept {
        Kept::Found => {}
        Kept::Exposed(path) => {
            journal.log(Event::SecretExposed { path: path.display().to_string() });
        }
        Kept::Made(path) => journal.log(Event::SecretMade { path: path.display().to_string() }),
        Kept::Not(reason) => journal.log(Event::SecretRandom { reason }),
    }
    let secret = carried.filter(|_| is_only_here).unwrap_or(secret);
    Signing { secret, is_only_here }
}

/// Logs which station this is, and what has no effect in its manifest.
pub fn log_station(journal: &Journal, station: &Manifest, config: &Config, settings: &Settings) {
    let Manifest { station_id, name, place, ice_value, .. } = station;
    journal.log(match place {
        Place::Sample(path) => Event::StationSample { path: path.display().to_string() },
        Place::File(path) => Event::StationLoaded {
            station_id: quoted(station_id),
            name: quoted(name),
            path: path.display().to_string(),
        },
    });
    let wants = wants_credentials(ice_value);
    if let (Place::File(path), None, true) = (place, &config.turn_secret, wants) {
        journal.log(Event::TurnWithoutSecret { path: path.display().to_string() });
    }
    for event in station_warnings(station, config, settings) {
        journal.log(event);
    }
}

/// What in a manifest has no effect, what has none because of it, and who may use its TURN servers.
fn station_warnings(station: &Manifest, config: &Config, settings: &Settings) -> Vec<Event> {
    let Manifest { place, ice_value, misspelt, .. } = station;
    let (Place::File(path) | Place::Sample(path)) = place;
    let path = path.display().to_string();
    let manifest = match place {
        Place::File(_) => path.clone(),
        Place::Sample(_) => format!("the sample (there is no {path})"),
    };
    let misspelt = misspelt.iter().map(|Misspelt { key, known }| Event::StationKeyUnknown {
        key: key.clone(),
        known: known.clone(),
        path: path.clone(),
    });
    let is_unused = config.turn_secret.is_some() && !wants_credentials(ice_value);
    let origin = settings.origin("TURN_SECRET").to_string();
    let unused = is_unused.then_some(Event::TurnSecretUnused { origin, manifest });
    let is_open = config.room_access == RoomAccess::Open && config.turn_secret.is_some();
    let open = (is_open && !is_unused)
        .then(|| Event::TurnForEverybody { origin: settings.origin("ROOM_ACCESS").to_string() });
    let is_anybodys = config.icecast.is_some() && config.on_air_access == OnAirAccess::Open;
    let on_air = is_anybodys
        .then(|| Event::OnAirForEverybody { origin: settings.origin("ON_AIR_ACCESS").to_string() });
    let has_tls = config.icecast.as_ref().is_some_and(|icecast| icecast.url.is_tls);
    let by_tls =
        has_tls.then(|| Event::IcecastByTls { origin: settings.origin("ICECAST_URL").to_string() });
    misspelt.chain(unused).chain(open).chain(on_air).chain(by_tls).collect()
}

/// What `config` warns of: all that can be told from the settings and the files that they lead to. Whether a secret
/// is missing can't, because a shell is not given the credentials that the service is.
pub fn warnings(config: &Config, settings: &Settings, found: &LoadedFiles) -> Vec<Event> {
    let mut warnings = station_warnings(&found.station, config, settings);
    warnings.extend(outbox_warning(config, settings));
    if let Some((cert, certificate)) = certificate(config.tls.as_ref(), found.certified.as_deref())
    {
        match certificate {
            Some(certificate) => warnings.extend(certificate_warnings(cert, &certificate)),
            None => warnings.push(Event::CertificateUnread { cert }),
        }
    }
    warnings
}

/// Logs which certificate is in force, and why browsers refuse it, or will soon.
pub fn log_tls(journal: &Journal, files: Option<&TlsFiles>, certified: Option<&CertifiedKey>) {
    let Some((cert, certificate)) = certificate(files, certified) else {
        return;
    };
    let Some(certificate) = certificate else {
        return journal.log(Event::CertificateUnread { cert });
    };
    let (names, until) = (certificate.names.clone(), certificate.until());
    journal.log(Event::TlsLoaded { cert: cert.clone(), names, until });
    for event in certificate_warnings(cert, &certificate) {
        journal.log(event);
    }
}

/// Where the certificate for TLS is, and what it says, if that is readable: TLS itself needs less of it.
fn certificate(
    files: Option<&TlsFiles>,
    certified: Option<&CertifiedKey>,
) -> Option<(String, Option<Certificate>)> {
    let cert = files?.cert.display().to_string();
    Some((cert, certified?.cert.first().and_then(Certificate::read)))
}

/// Why browsers refuse a certificate, or will soon.
fn certificate_warnings(cert: String, certificate: &Certificate) -> Vec<Event> {
    let untimely = certificate.untimely().map(|Untimely { days, problem, fix }| {
        Event::CertificateExpires { cert: cert.clone(), days, problem, fix }
    });
    let refused = certificate.flaws.iter().map(|Flaw { problem, fix }| Event::CertificateRefused {
        cert: cert.clone(),
        problem,
        fix,
    });
    untimely.into_iter().chain(refused).collect()
}

/// What was made of an outbox that could not hold one message.
fn outbox_warning(config: &Config, settings: &Settings) -> Option<Event> {
    let shown = |name| {
        let (_, value, origin) = settings.get(name);
        format!("{name}={value} (from {origin})")
    };
    let least = config.least_outbox_bytes();
    let set: usize = settings.get("MAX_OUTBOX_BYTES").1.parse().ok()?;
    (set < least).then(|| Event::OutboxRaised {
        setting: shown("MAX_OUTBOX_BYTES"),
        other_setting: shown("MAX_MESSAGE_BYTES"),
        bytes: least,
    })
}

/// Warns of a limit that is another one than was set.
pub fn warn_raised(journal: &Journal, config: &Config, settings: &Settings) {
    if let Some(event) = outbox_warning(config, settings) {
        journal.log(event);
    }
}

/// Warns of names in the settings file that mean nothing.
pub fn warn_unknown(journal: &Journal, settings: &Settings) {
    for (setting, origin) in &settings.unknown {
        let list = "`openstudio-signaling config` lists the known ones";
        journal.log(Event::UnknownSetting {
            setting: quoted(setting),
            origin: origin.to_string(),
            fix: Setting::meant(setting)
                .map_or_else(|| list.into(), |meant| format!("did you mean {meant}? {list}")),
        });
    }
}
