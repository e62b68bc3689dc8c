//! What every handler gets.
//!
//! Owns nothing but the bundle. It deliberately has no behaviour.

use std::time::Instant;

use crate::config::Config;
use crate::hub::Hub;
use crate::journal::Journal;
use crate::shutdown::Shutdown;

/// Shared behind an `Arc` by all connections.
#[derive(Debug)]
pub struct State {
    /// The settings as they were at the start; a reload changes the journal's level only.
    pub config: Config,
    /// Who is connected.
    pub hub: Hub,
    /// Where events go.
    pub journal: Journal,
    /// How the process ends.
    pub shutdown: Shutdown,
    /// When the service started, for `uptime`.
    pub started: Instant,
}
