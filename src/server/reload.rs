//! What SIGHUP does.
//!
//! Owns what is taken from the settings and their files while the service runs, each thing by itself. It deliberately
//! knows no client: nobody is disconnected.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::sign::CertifiedKey;
use tokio::signal::unix::Signal;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::time::timeout;

use crate::config::config::{Config, TlsFiles};
use crate::config::origin::Invalid;
use crate::config::settings::Settings;
use crate::config::source::{Reloadable, Source, Unusable};
use crate::server::drain::status;
use crate::server::handover::execute::hold_signals;
use crate::server::http::static_files;
use crate::server::shutdown::Phase;
use crate::server::startup::{log_station, log_tls, warn_unknown};
use crate::server::state::State;
use crate::server::systemd::Notifier;
use crate::station::manifest::Manifest;
use crate::station::{manifest, tls};
use crate::telemetry::events::Event;
use crate::telemetry::journal::Journal;
use crate::telemetry::level::Level;
use crate::wire::text::quoted;

/// How long a reload waits for its files.
const RELOAD_TIME: Duration = Duration::from_secs(10);

/// Reloads at each SIGHUP, until the drain begins. Files are read on a thread of their own: a disk that hangs must not
/// keep the clients waiting.
pub async fn reload_at_hangup(
    mut hangup: Signal,
    source: Source,
    started: Settings,
    state: Arc<State>,
    notifier: Notifier,
) {
    let mut in_force = started.clone();
    let reload = async {
        // One that hangs is not waited for twice: its thread is still there.
        let mut hanging: Option<oneshot::Receiver<Reload>> = None;
        while hangup.recv().await.is_some() {
            notifier.reloading();
            let hangs = hanging.take_if(|read| matches!(read.try_recv(), Err(TryRecvError::Empty)));
            let mut read = match hangs {
                Some(read) => read,
                None => read_again(source.clone(), in_force.clone(), state.web_root.clone()),
            };
            match timeout(RELOAD_TIME, &mut read).await {
                Ok(Ok(reload)) => in_force = reload.apply(&started, &state),
                // Its thread panicked, and the drain has begun, or there was none to be had.
                Ok(Err(_)) => log_hanging(&state.studio.journal, "no thread could read it"),
                Err(_) => {
                    log_hanging(&state.studio.journal, "a file took more than 10 s to be read");
                    hanging = Some(read);
                }
            }
            notifier.ready(&status("Serving", state.clients.taken()));
        }
    };
    tokio::select! {
        biased;
        () = state.shutdown.reached(Phase::Draining) => {}
        () = reload => {}
    }
}

/// Reads what a reload reads, on a thread of its own: those for the web studio's files may all be waiting for a disk.
fn read_again(
    source: Source,
    before: Settings,
    web_root: Option<PathBuf>,
) -> oneshot::Receiver<Reload> {
    let (send, read) = oneshot::channel();
    let work = move || {
        hold_signals();
        // Nobody may be there to take it any more.
        let _ = send.send(Reload::read(source.settings(), before, web_root.as_deref()));
    };
    // Without a thread, the sender is dropped, and the receiver says so.
    let _ = std::thread::Builder::new().name("reload".into()).spawn(work);
    read
}

fn log_hanging(journal: &Journal, why: &str) {
    let fix =
        "look at the disks and mounts behind the settings, STATION_MANIFEST, TLS_CERT and TLS_KEY";
    let reason = format!("{why}; {fix}");
    journal.log(Event::ReloadFailed { part: "all parts", reason });
}

/// What a reload has read: each thing by itself, so that one that is wrong keeps no other out.
#[derive(Debug)]
pub struct Reload {
    /// The settings; those from before, where they could not be read.
    settings: Settings,
    /// What is wrong with the settings, one line each.
    invalid: Vec<Invalid>,
    log_level: Option<Level>,
    station: Result<Manifest, Vec<String>>,
    /// The files and what is in them, or `None` without TLS; an error that is empty is among `invalid` already.
    tls: Result<Option<(TlsFiles, Arc<CertifiedKey>)>, Vec<String>>,
    /// What is missing where the web studio's page should be.
    missing_index: Option<PathBuf>,
    /// Where the log level comes from: the old one, where the new one is invalid.
    level_origin: String,
}

impl Reload {
    /// Reads what the settings lead to, or those from `before` where they could not be read; and looks at the web
    /// studio's directory.
    pub fn read(
        settings: Result<Settings, Vec<Invalid>>,
        before: Settings,
        web_root: Option<&Path>,
    ) -> Self {
        let origin_before = before.origin("LOG_LEVEL").to_string();
        let (settings, unreadable) = match settings {
            Ok(settings) => (settings, Vec::new()),
            Err(errors) => (before, errors),
        };
        let invalid = Config::new(&settings).err().unwrap_or_default();
        let Reloadable { log_level, station_manifest, tls } = Reloadable::new(&settings);
        let station = station_manifest.map_err(|Unusable| Vec::new());
        let station = station.and_then(|path| manifest::load(path.as_deref()));
        let tls = tls.map_err(|Unusable| Vec::new()).and_then(|files| match files {
            Some(files) => match tls::load(&files, &settings) {
                Ok(certified) => Ok(Some((files, certified))),
                Err(error) => Err(vec![error]),
            },
            None => Ok(None),
        });
        let invalid = unreadable.into_iter().chain(invalid).collect();
        let level_origin = match log_level {
            Ok(_) => settings.origin("LOG_LEVEL").to_string(),
            Err(Unusable) => origin_before,
        };
        let (log_level, missing_index) =
            (log_level.ok(), web_root.and_then(static_files::missing_index));
        Self { settings, invalid, log_level, station, tls, missing_index, level_origin }
    }

    /// What is wrong, one line each.
    pub fn errors(&self) -> Vec<String> {
        let invalid = self.invalid.iter().map(ToString::to_string);
        let station = self.station.as_ref().err().into_iter().flatten().cloned();
        invalid
            .chain(station)
            .chain(self.tls.as_ref().err().into_iter().flatten().cloned())
            .collect()
    }

    /// Puts in force what is right, and says what it did with each thing. Returns the settings as they are now.
    fn apply(self, started: &Settings, state: &State) -> Settings {
        let Self { settings, invalid, log_level, station, tls, missing_index, level_origin } = self;
        let journal = &state.studio.journal;
        let failed = |part, errors: Vec<String>| {
            // Where there is none, it is among those of the settings.
            if !errors.is_empty() {
                journal.log(Event::ReloadFailed { part, reason: errors.join("; ") });
            }
        };
        failed("the settings", invalid.iter().map(ToString::to_string).collect());
        if let Some(level) = log_level {
            journal.set_level(level);
        }
        warn_unknown(journal, &settings);
        match station {
            Ok(station) => {
                log_station(journal, &station, &state.studio.config, started);
                state.studio.manifest.replace(station);
            }
            Err(errors) => failed("the station manifest", errors),
        }
        let (certificate, switched) = match (&state.tls, tls) {
            (Some(tls), Ok(Some((files, certified)))) => {
                tls.replace(Arc::clone(&certified));
                log_tls(journal, Some(&files), Some(&certified));
                ("the one in TLS_CERT", None)
            }
            (None, Ok(None)) => ("none", None),
            // Those who are connected can't change over, and those to come would meet another protocol.
            (Some(_), Ok(None)) => ("as before", Some("TLS_CERT=".to_owned())),
            (None, Ok(Some(_))) => {
                ("none", Some(format!("TLS_CERT={}", settings.get("TLS_CERT").1)))
            }
            (in_force, Err(errors)) => {
                failed("the certificate", errors);
                (if in_force.is_some() { "as before" } else { "none" }, None)
            }
        };
        // What a restart would refuse has its line already.
        let is_good = |name: &str| !invalid.iter().any(|invalid| invalid.is_about(name));
        for setting in settings.changed_since(started, is_good).into_iter().chain(switched) {
            journal.log(Event::NeedsRestart { setting });
        }
        if let Some(index) = missing_index {
            journal.log(Event::WebRootEmpty { path: index.display().to_string() });
        }
        journal.log(Event::Reloaded {
            log_level: journal.level(),
            origin: level_origin,
            station_id: quoted(&state.studio.manifest.now().station_id),
            certificate,
        });
        settings
    }
}
