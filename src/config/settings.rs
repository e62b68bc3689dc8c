//! The texts of the settings, each with where it came from.
//!
//! Owns which of flags, environment, settings file and credentials goes first. It deliberately does not know what a value
//! means.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use clap::ArgMatches;

use crate::config::file::{credential, read_lines};
use crate::config::origin::{HIDDEN, Invalid, Origin};
use crate::config::table::{SETTINGS, Setting};

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
            // A command may have flags for some settings only.
            let flag = flags.try_get_one::<String>(setting.name).ok().flatten().cloned();
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
            .map(|((setting, value, origin), _)| {
                let value = match is_described(setting, origin) {
                    true => "",
                    false if setting.is_secret() => HIDDEN,
                    false => value,
                };
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
            // Words for a default would be an invalid value in the settings file.
            let line = if is_described(setting, origin) {
                format!("# {} is {}", setting.name, setting.default)
            } else {
                let shown = if setting.is_secret() { HIDDEN } else { value };
                format!("{}={shown}", setting.name)
            };
            writeln!(f, "{line:<48} # {origin}")?;
        }
        Ok(())
    }
}

/// Whether words stand for the value, because the setting has its default.
fn is_described(setting: &Setting, origin: &Origin) -> bool {
    *origin == Origin::Default && setting.has_default_in_words()
}

/// Whether a directory is there and can't be looked into.
fn is_forbidden(directory: &Path) -> bool {
    let looked = std::fs::read_dir(directory);
    looked.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::table::args;

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
