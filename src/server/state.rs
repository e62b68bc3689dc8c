//! The state that all connections share.
//!
//! Owns [`State`], and its method that counts and logs each refused request. It deliberately has no other behaviour.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use crate::cluster::standing::Standing;
use crate::config::config::Secret;
use crate::server::handover::collection::Collection;
use crate::server::limits::clients::ClientLimit;
use crate::server::limits::fairness::Fairness;
use crate::server::limits::listeners::Listeners;
use crate::server::limits::pending::Pending;
use crate::server::shutdown::Shutdown;
use crate::signaling::studio::Studio;
use crate::station::tls::Tls;
use crate::telemetry::events::Event;
use crate::telemetry::refused::Refused;

/// Shared behind an `Arc` by all connections.
#[derive(Debug)]
pub struct State {
    /// What signaling needs.
    pub studio: Arc<Studio>,
    /// What sessions give back when the process hands over.
    pub collection: Collection,
    /// How many are connected.
    pub clients: ClientLimit,
    /// Who is no client yet.
    pub pending: Pending,
    /// How many listen.
    pub listeners: Listeners,
    /// Whose turn it is.
    pub fairness: Fairness,
    /// How the process ends.
    pub shutdown: Shutdown,
    /// The web studio's directory, links and all.
    pub web_root: Option<PathBuf>,
    /// TLS, where the port speaks it.
    pub tls: Option<Tls>,
    /// What signs tokens, where it is known to this process only.
    pub secret: Option<Secret>,
    /// How the node stands, where this is one of a cluster.
    pub cluster: Option<watch::Receiver<Standing>>,
    /// When this process started, in ms since 1970: with a handover, that is another process than the service began with.
    pub began_unix: u64,
    /// When the service started, for `uptime`.
    pub started: Instant,
}

impl State {
    /// Counts and logs that `client_ip` is turned away.
    pub fn turn_away(&self, client_ip: IpAddr, why: Refused) {
        self.studio.metrics.turned_away(why);
        self.studio.journal.log(Event::TurnedAway {
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
        let matches = crate::config::cli::command().get_matches_from(["openstudio-signaling"]);
        let settings =
            crate::config::settings::Settings::collect(&matches, |_| None, None).unwrap();
        let (journal, _writer) =
            crate::telemetry::journal::Journal::start(crate::telemetry::level::Level::Error)
                .unwrap();
        let studio = Studio {
            config: crate::config::config::Config::new(&settings).unwrap(),
            proofs: crate::station::proofs::Proofs::new(&crate::config::config::Secret::new(
                "a secret",
            )),
            budgets: crate::signaling::budget::AddressBudgets::new(None, &[]),
            hub: crate::signaling::hub::Hub::new(
                Default::default(),
                Arc::default(),
                journal.clone(),
            ),
            tokens: crate::station::tokens::Tokens::new(&crate::config::config::Secret::new(
                "secret",
            )),
            started_anew: None,
            on_air: crate::programme::on_air::OnAir::new(None),
            manifest: crate::station::manifest::CurrentManifest::new(
                crate::station::manifest::load(None).unwrap(),
            ),
            journal,
            metrics: Arc::default(),
        };
        Self {
            studio: Arc::new(studio),
            collection: Collection::default(),
            clients: ClientLimit::new(1, None),
            pending: Pending::default(),
            listeners: Listeners::new(1),
            fairness: Fairness::default(),
            shutdown: Shutdown::default(),
            web_root: None,
            tls: None,
            secret: None,
            cluster: None,
            began_unix: 0,
            started: Instant::now(),
        }
    }
}
