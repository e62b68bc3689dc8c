//! What signaling needs of the process.
//!
//! Owns nothing but the bundle. It deliberately knows no socket.

use std::sync::Arc;

use crate::config::config::Config;
use crate::programme::on_air::OnAir;
use crate::signaling::budget::AddressBudgets;
use crate::signaling::hub::Hub;
use crate::station::manifest::CurrentManifest;
use crate::station::proofs::Proofs;
use crate::station::tokens::Tokens;
use crate::telemetry::journal::Journal;
use crate::telemetry::metrics::Metrics;

/// Shared behind an `Arc` by all clients.
#[derive(Debug)]
pub struct Studio {
    /// The settings as they were at the start; a reload changes the journal's level, the manifest and the
    /// certificate only.
    pub config: Config,
    /// Who is connected, and who is in a room with whom.
    pub hub: Hub,
    /// What the clients of each address may do.
    pub budgets: AddressBudgets,
    /// Makes and checks proofs of who is behind a client.
    pub proofs: Proofs,
    /// Who is on air.
    pub on_air: OnAir,
    /// Makes and checks tokens.
    pub tokens: Tokens,
    /// Where the server could not remember who was in a room: when it started, in seconds since 1970.
    pub started_anew: Option<u64>,
    /// What the station is, by the manifest in force.
    pub manifest: CurrentManifest,
    /// Where events go.
    pub journal: Journal,
    /// What Prometheus can ask for.
    pub metrics: Arc<Metrics>,
}

impl Studio {
    /// Whether a room token that was made then, in seconds since 1970, is from before a start without memory.
    pub fn counts_from_before(&self, made: u64) -> bool {
        self.started_anew.is_some_and(|start| made < start)
    }
}
