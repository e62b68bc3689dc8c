//! What an invite is signed with: the secret of the service on this machine, and who may enter its rooms.
//!
//! Owns where both are looked for, in the order of the service. It deliberately makes no secret: one that the service
//! does not have signs nothing that it takes.

use std::env;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::ArgMatches;

use crate::config::config::{RoomAccess, Secret, room_access};
use crate::config::parser::Parser;
use crate::config::settings::Settings;
use crate::config::table::SETTINGS_FILE;
use crate::station::keyfile;
use crate::station::tokens::Tokens;

/// Where systemd has the credentials of the running service, which root may read (systemd.exec(5),
/// `$CREDENTIALS_DIRECTORY`).
const CREDENTIALS: &str = "/run/credentials/openstudio-signaling.service";

/// The state directory of the unit.
const STATE: &str = "/var/lib/openstudio-signaling";

/// What systemd has of a unit that runs, and only then.
const INVOCATION: &str = "/run/systemd/units/invocation:openstudio-signaling.service";

/// Where systemd is the init of this machine (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";

/// What the service would sign with, and under which settings.
#[derive(Debug)]
pub struct Keys {
    /// Signs and checks.
    pub tokens: Tokens,
    /// Who may make and enter rooms.
    pub access: RoomAccess,
    /// The station manifest, where somebody named one.
    pub manifest: Option<PathBuf>,
    /// What may make an invite void, though it was made.
    pub notes: Vec<String>,
}

/// Finds them for the arguments of a command.
///
/// # Errors
///
/// One line for each thing that is wrong. Where there is no secret, it names the places.
pub fn find(flags: &ArgMatches) -> Result<Keys, Vec<String>> {
    let (credentials, settings) = settings(flags)?;
    let mut parser = Parser { settings: &settings, errors: Vec::new() };
    let (access, manifest) = (room_access(&mut parser), parser.set("STATION_MANIFEST"));
    let secret: Option<String> = parser.set("JWT_SECRET");
    if !parser.errors.is_empty() {
        return Err(parser.errors.iter().map(ToString::to_string).collect());
    }
    let mut notes = Vec::new();
    if access == RoomAccess::Open {
        let origin = settings.origin("ROOM_ACCESS");
        notes.push(format!(
            "ROOM_ACCESS is open (from {origin}): once it is invited, invites of before are void"
        ));
    }
    let secret = match secret {
        Some(secret) => Secret::new(secret),
        None => kept(credentials.as_deref(), &mut notes).map_err(|why| vec![why])?,
    };
    Ok(Keys { tokens: Tokens::new(&secret), access, manifest, notes })
}

/// The settings as the service has them, and where its credentials were looked for.
fn settings(flags: &ArgMatches) -> Result<(Option<PathBuf>, Settings), Vec<String>> {
    let variable = |name: &str| {
        let value = env::var_os(name)?.to_string_lossy().into_owned();
        Some(value).filter(|value| !value.trim().is_empty())
    };
    // Who gives a secret to this command means that one. The service itself never has it by a flag.
    let flag = flags.get_one::<String>("JWT_SECRET");
    let given =
        flag.is_some_and(|flag| !flag.trim().is_empty()) || variable("JWT_SECRET").is_some();
    let credentials =
        variable("CREDENTIALS_DIRECTORY").or_else(|| (!given).then(|| CREDENTIALS.to_owned()));
    let find = |name: &str| match name {
        "CREDENTIALS_DIRECTORY" => credentials.clone(),
        name => variable(name),
    };
    let packaged = || Some(PathBuf::from(SETTINGS_FILE)).filter(|path| path.exists());
    let file = flags.get_one::<String>("settings-file").map(PathBuf::from).or_else(packaged);
    let settings = Settings::collect(flags, find, file.as_deref())
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    match settings.hidden_credentials() {
        Some(path) => Err(vec![unreadable(path, "permission denied")]),
        None => Ok((credentials.map(PathBuf::from), settings)),
    }
}

/// The secret that the service has made for itself.
fn kept(credentials: Option<&Path>, notes: &mut Vec<String>) -> Result<Secret, String> {
    let directory = keyfile::state_directory();
    let is_unit =
        directory.is_none() && credentials.is_some_and(|path| path == Path::new(CREDENTIALS));
    let path = keyfile::place(&directory.unwrap_or_else(|| STATE.into()));
    match keyfile::find(&path) {
        Ok(Some(secret)) => {
            // A unit that does not run has no credentials yet, and may get some at its start.
            if is_unit
                && Path::new(BOOTED).exists()
                && Path::new(INVOCATION).symlink_metadata().is_err()
            {
                notes.push(
                    "The service does not run. If its unit brings a credential jwt-secret, this invite is void: \
                     start the service, and make the invite again"
                        .into(),
                );
            }
            Ok(secret)
        }
        Ok(None) => Err(none(credentials, &path)),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            Err(unreadable(&path, "permission denied"))
        }
        Err(error) => Err(format!("Cannot read {}: {error}", path.display())),
    }
}

fn unreadable(path: &Path, why: &str) -> String {
    let path = path.display();
    format!("Cannot read {path}: {why}; run this as root: sudo openstudio-signaling invite")
}

fn none(credentials: Option<&Path>, path: &Path) -> String {
    let credential = credentials.map_or_else(String::new, |directory| {
        format!(
            "there is no credential {} (the unit's are there while it runs), ",
            directory.join("jwt-secret").display()
        )
    });
    format!(
        "No secret to sign with: JWT_SECRET is not set, {credential}and there is no {}; start the service once \
         (systemctl start openstudio-signaling), which makes one or brings its credential, or set JWT_SECRET",
        path.display()
    )
}
