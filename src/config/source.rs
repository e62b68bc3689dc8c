//! Where settings are read from, at the start and at each reload.
//!
//! Owns [`Source`], the flags and the settings file, and [`Reloadable`], the settings that a reload applies. It
//! deliberately does not know when the server starts or reloads.

use std::path::PathBuf;

use clap::ArgMatches;

use crate::config::config::{Config, TlsFiles, tls};
use crate::config::origin::Invalid;
use crate::config::parser::Parser;
use crate::config::settings::Settings;
use crate::telemetry::level::Level;

/// The settings that a reload applies, each by itself.
#[derive(Clone, Debug)]
pub struct Reloadable {
    /// The least grave level that is logged.
    pub log_level: Result<Level, Unusable>,
    /// The station manifest, where somebody named one.
    pub station_manifest: Result<Option<PathBuf>, Unusable>,
    /// The certificate for TLS without a proxy.
    pub tls: Result<Option<TlsFiles>, Unusable>,
}

impl Reloadable {
    /// Reads the texts.
    pub fn new(settings: &Settings) -> Self {
        Self {
            log_level: alone(settings, |parser| parser.set("LOG_LEVEL"))
                .map(|level| level.unwrap_or(Level::Info)),
            station_manifest: alone(settings, |parser| parser.set("STATION_MANIFEST")),
            tls: alone(settings, tls),
        }
    }
}

/// An invalid value; what is wrong is among the errors of [`Config::new`](crate::config::config::Config::new).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unusable;

/// What `parse` makes of a setting, if it found nothing wrong.
fn alone<T>(settings: &Settings, parse: impl FnOnce(&mut Parser) -> T) -> Result<T, Unusable> {
    let mut parser = Parser { settings, errors: Vec::new() };
    let value = parse(&mut parser);
    if parser.errors.is_empty() { Ok(value) } else { Err(Unusable) }
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
    /// Everything that is wrong, as [`Settings::collect`] has it.
    pub fn settings(&self) -> Result<Settings, Vec<Invalid>> {
        // What is no UTF-8 is no valid value either, and is refused as such.
        let environment = |name: &str| Some(std::env::var_os(name)?.to_string_lossy().into_owned());
        Settings::collect(&self.flags, environment, self.file.as_deref())
    }

    /// The same, and what it means.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, as [`Settings::collect`] and [`Config::new`] have it.
    pub fn load(&self) -> Result<(Config, Settings), Vec<Invalid>> {
        let settings = self.settings()?;
        Ok((Config::new(&settings)?, settings))
    }
}
