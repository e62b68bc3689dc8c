//! What every handler gets.
//!
//! Owns nothing but the bundle. It deliberately has no behaviour.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use crate::config::Config;
use crate::hub::Hub;
use crate::invite::Tokens;
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::seats::Seats;
use crate::shutdown::Shutdown;
use crate::station::Manifest;
use crate::tls::Tls;
use crate::turns::Turns;

/// Shared behind an `Arc` by all connections.
#[derive(Debug)]
pub struct State {
    /// The settings as they were at the start; a reload changes the journal's level, the manifest and the
    /// certificate only.
    pub config: Config,
    /// How many are connected.
    pub seats: Seats,
    /// Who they are, and who is in a room with whom.
    pub hub: Hub,
    /// Whose turn it is.
    pub turns: Turns,
    /// Where events go.
    pub journal: Journal,
    /// How the process ends.
    pub shutdown: Shutdown,
    /// What the station is, by the manifest in force.
    pub manifest: Manifest,
    /// The real path of the web studio's directory.
    pub web_root: Option<PathBuf>,
    /// TLS, where the port speaks it.
    pub tls: Option<Tls>,
    /// Makes and checks tokens.
    pub tokens: Tokens,
    /// What Prometheus can ask for.
    pub metrics: Arc<Metrics>,
    /// When the service started, for `uptime`.
    pub started: Instant,
}

#[cfg(test)]
impl State {
    /// The state of a server without settings, for unit tests.
    pub fn without_settings() -> Self {
        let matches = crate::command::command().get_matches_from(["openstudio-signaling"]);
        let settings = crate::settings::Settings::collect(&matches, |_| None, None).unwrap();
        let (journal, _writer) = Journal::start(crate::events::Level::Error).unwrap();
        Self {
            config: Config::new(&settings).unwrap(),
            seats: Seats::new(1, None),
            hub: Hub::new(None, Arc::default()),
            turns: Turns::default(),
            journal,
            shutdown: Shutdown::default(),
            manifest: Manifest::new(crate::station::load(None).unwrap()),
            web_root: None,
            tls: None,
            tokens: Tokens::new(&crate::config::Secret::new("secret")),
            metrics: Arc::default(),
            started: Instant::now(),
        }
    }
}
