//! The station manifest: what the station is called, where browsers find it, and its STUN and TURN servers.
//!
//! Owns where it is, what of it is passed on, and which one is in force. It deliberately does not know who asks for it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::station::manifest_rules::{Misspelt, check, misspelt};

/// Where the package has it.
const DEFAULT_PATH: &str = "/etc/openstudio-signaling/station-manifest.json";

/// What serves where there is none: enough to try the studio on one machine.
const SAMPLE: &str = include_str!("../../packaging/station-manifest.sample.json");

/// A valid manifest.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The station's id.
    pub station_id: String,
    /// The station's name.
    pub name: String,
    /// What else it says in its `station` object: texts by their keys.
    station: Value,
    /// The `signaling` object as it is.
    pub signaling: Box<RawValue>,
    /// The `ice` object as it is.
    pub ice: Box<RawValue>,
    /// The `ice` object, to make others of.
    pub ice_value: Value,
    /// The keys that mean nothing and are a letter off one that does.
    pub misspelt: Vec<Misspelt>,
    /// Where it was read.
    pub place: Place,
}

impl Manifest {
    /// What it says of itself under this key of its `station` object.
    pub fn about(&self, key: &str) -> Option<String> {
        self.station[key].as_str().map(str::to_owned)
    }
}

/// Where a manifest was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In this file.
    File(PathBuf),
    /// In this program, because this file is not there.
    Sample(PathBuf),
}

/// The manifest in force.
#[derive(Debug)]
pub struct CurrentManifest {
    /// Written by a reload, read by whoever answers with it; held for a clone only.
    manifest: Mutex<Arc<Manifest>>,
}

impl CurrentManifest {
    /// With this one to begin with.
    pub fn new(manifest: Manifest) -> Self {
        Self { manifest: Mutex::new(Arc::new(manifest)) }
    }

    /// What it says now.
    pub fn now(&self) -> Arc<Manifest> {
        Arc::clone(&self.manifest.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another one in force.
    pub fn replace(&self, manifest: Manifest) {
        *self.manifest.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(manifest);
    }
}

/// Reads the manifest that `named` names. Where nobody named one, it is the package's, or a sample where
/// that is not there.
///
/// # Errors
///
/// One line for each thing that is wrong, with the path.
pub fn load(named: Option<&Path>) -> Result<Manifest, Vec<String>> {
    let path = named.unwrap_or(Path::new(DEFAULT_PATH));
    let result = match fs::read_to_string(path) {
        // Some editors begin a file with a byte order mark, which is no JSON (RFC 8259 section 8.1).
        Ok(text) => {
            let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
            parse(text, Place::File(path.to_owned()))
        }
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => {
            parse(SAMPLE, Place::Sample(path.to_owned()))
        }
        Err(error) => Err(vec![unreadable(path, &error)]),
    };
    result.map_err(|errors| {
        let line = |error| format!("Failed to load station manifest: {}: {error}", path.display());
        errors.into_iter().map(line).collect()
    })
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return error.to_string();
    }
    let fix = "the user that the service runs as must be able to read it: chmod 644";
    format!("{error}; {fix} {}", path.display())
}

pub(super) fn parse(text: &str, place: Place) -> Result<Manifest, Vec<String>> {
    /// The parts that are passed on as they are.
    #[derive(Deserialize)]
    struct Parts {
        signaling: Box<RawValue>,
        ice: Box<RawValue>,
    }
    let not_json = |error: serde_json::Error| vec![format!("not valid JSON: {error}")];
    let manifest: Value = serde_json::from_str(text).map_err(not_json)?;
    let errors = check(&manifest);
    if !errors.is_empty() {
        return Err(errors);
    }
    // A key that is there twice is an error only here.
    let Parts { signaling, ice } = serde_json::from_str(text).map_err(not_json)?;
    let text = |key| manifest[key].as_str().unwrap_or_default().to_owned();
    Ok(Manifest {
        station_id: text("stationId"),
        name: text("name"),
        station: manifest["station"].clone(),
        ice_value: serde_json::from_str(ice.get()).map_err(not_json)?,
        misspelt: misspelt(&manifest),
        signaling,
        ice,
        place,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn read(text: &str) -> Result<Manifest, Vec<String>> {
        parse(text, Place::Sample(PathBuf::new()))
    }

    /// What is wrong with a manifest.
    pub fn errors(text: &str) -> Vec<String> {
        read(text).err().unwrap_or_default()
    }

    /// A manifest that is right, with one text replaced by another.
    pub fn with(from: &str, to: &str) -> String {
        let right = r#"{"stationId":"a","name":"b","signaling":{"url":"wss://c/"},
            "ice":{"stun":["stun:d"],"turn":[{"urls":"turn:e"}],"more":1},"colour":"red"}"#;
        assert!(right.contains(from), "{from}");
        right.replace(from, to)
    }

    #[test]
    fn the_sample_is_right() {
        let station = load(None).unwrap_or_else(|errors| panic!("{errors:?}"));
        assert!(matches!(station.place, Place::Sample(_) | Place::File(_)));
        assert_eq!(errors(SAMPLE), [""; 0]);
    }

    #[test]
    fn what_is_passed_on_is_kept_as_it_is() {
        let station = read(&with("red", "blue"));
        let station = station.unwrap();
        assert_eq!((station.station_id.as_str(), station.name.as_str()), ("a", "b"));
        assert_eq!(station.signaling.get(), r#"{"url":"wss://c/"}"#);
        let ice = r#"{"stun":["stun:d"],"turn":[{"urls":"turn:e"}],"more":1}"#;
        assert_eq!(station.ice.get(), ice);
    }

    #[test]
    fn one_that_may_not_be_read_is_told_how() {
        let why = unreadable(Path::new("/etc/a.json"), &io::ErrorKind::PermissionDenied.into());
        assert!(why.starts_with("permission denied; the user that the service"), "{why}");
        assert!(why.ends_with("must be able to read it: chmod 644 /etc/a.json"), "{why}");
        let why = unreadable(Path::new("/etc/a.json"), &io::ErrorKind::IsADirectory.into());
        assert!(!why.contains("chmod"), "{why}");
    }

    #[test]
    fn all_errors_are_said_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("station.json");
        fs::write(&path, r#"{"signaling":{},"ice":{"stun":["a","stun:"],"turn":1}}"#).unwrap();
        let errors = load(Some(&path)).unwrap_err();
        assert_eq!(errors.len(), 6, "{errors:#?}");
        let start = format!("Failed to load station manifest: {}: ", path.display());
        assert!(errors.iter().all(|error| error.starts_with(&start)), "{errors:#?}");
        fs::write(&path, format!("\u{feff}{SAMPLE}")).unwrap();
        assert!(load(Some(&path)).is_ok(), "a byte order mark is no part of it");
        let absent = directory.path().join("absent");
        let errors = load(Some(&absent)).unwrap_err();
        assert!(errors[0].contains("absent: No such file"), "{errors:?}");
    }
}
