//! One programme, from `start-stream` to its end.
//!
//! Owns what is known of it. It deliberately does nothing: what becomes of it is up to `air`.

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::programme::dead_air::{DeadAir, Sent};
use crate::programme::news::Owner;
use crate::programme::playout::Playout;
use crate::programme::webm::Reader;
use crate::wire::carried::{moment, moments};

/// How it stands with Icecast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Link {
    /// There is no connection.
    Down {
        /// After so many failures.
        failures: usize,
        /// When the next try is due.
        #[serde(with = "moment")]
        next: Instant,
    },
    /// One is being made.
    Connecting {
        /// After so many failures.
        failures: usize,
    },
    /// There is one.
    Up {
        /// When Icecast last took something, or had taken everything.
        #[serde(with = "moment")]
        moved: Instant,
    },
    /// Icecast has refused it, and nothing is tried.
    Refused,
}

/// The programme while there is one.
#[derive(Debug, Serialize, Deserialize)]
pub struct Programme {
    /// Whose it is.
    pub owner: Owner,
    /// When it began.
    #[serde(with = "moment")]
    pub since: Instant,
    /// Since when its host is away.
    #[serde(with = "moments")]
    pub away: Option<Instant>,
    /// When it was last asked for.
    #[serde(with = "moment")]
    pub asked: Instant,
    /// Since when another source has the mount.
    #[serde(with = "moments")]
    pub in_use: Option<Instant>,
    /// Whether Icecast has ever taken it.
    pub was_taken: bool,
    /// Whether the host was told since that Icecast does not take it, as `stream-error`.
    pub is_failed: bool,
    /// Whether it was told so as `error`.
    pub is_told: bool,
    /// What came since.
    pub sent: Sent,
    /// Whether nothing is heard but silence.
    pub dead_air: DeadAir,
    /// What its recording is read with.
    pub reader: Reader,
    /// What is played of it.
    pub playout: Playout,
    /// How it stands with Icecast.
    pub link: Link,
}

impl Programme {
    /// It begins at `now`.
    pub fn new(owner: Owner, now: Instant) -> Self {
        Self {
            owner,
            since: now,
            away: None,
            asked: now,
            in_use: None,
            was_taken: false,
            is_failed: false,
            is_told: false,
            sent: Sent::new(now),
            dead_air: DeadAir::default(),
            reader: Reader::default(),
            playout: Playout::new(now),
            link: Link::Down { failures: 0, next: now },
        }
    }
}
