//! What every handler gets.
//!
//! Owns the bundle, and that whoever is turned away leaves a trace. It deliberately has no other behaviour.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use crate::config::Config;
use crate::events::Event;
use crate::hub::Hub;
use crate::invite::Tokens;
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::refused::Refused;
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
    /// The web studio's directory, links and all.
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

impl State {
    /// Counts and logs that `client_ip` is turned away.
    pub fn turn_away(&self, client_ip: IpAddr, why: Refused) {
        self.metrics.turned_away(why);
        self.journal.log(Event::TurnedAway {
            client_ip,
            refused: why.into(),
            reason: why.reason(),
            cause: why.cause(),
        });
    }
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
            hub: Hub::new(crate::hub::RoomLimits::default(), Arc::default()),
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
