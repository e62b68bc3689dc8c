//! What all programmes came to since the start of the service.
//!
//! Owns these numbers. It deliberately does not know who asks for them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::programme::playout::Written;

/// The sums, with what is on air now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// How long somebody was on air.
    pub time: Duration,
    /// What Icecast has taken, in bytes.
    pub sent: u64,
    /// How much was played.
    pub written: Written,
    /// How often a programme went on through another connection to Icecast.
    pub reconnects: u64,
    /// How often Icecast refused one for good.
    pub refusals: u64,
    /// How long nothing is heard now but silence.
    pub quiet: Duration,
}

impl Account {
    /// A programme of this length, with so much played.
    pub fn add(&mut self, time: Duration, written: Written) {
        self.time += time;
        self.written.all += written.all;
        self.written.silence += written.silence;
        self.written.dropped += written.dropped;
    }
}
