//! How many events of one kind are logged in a minute.
//!
//! Owns these numbers. It deliberately does not know which kind has which.

use crate::telemetry::quiet::Limit;

/// How much of what somebody can cause as often as they like is logged in a minute. The rest is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    /// All of it: nobody outside can cause it.
    All,
    /// A few clients of each address; of each client one. All of these together have [`LINES`].
    Few,
    /// One of each address.
    One,
    /// One, whoever causes it.
    Sole,
}

/// How many lines an address has in a minute for what its clients usually do: the whole stories of ten that join a show.
pub const LINES: u32 = 100;

impl Quota {
    /// How many of one kind are logged in a minute; `None` for all.
    pub fn limit(self) -> Option<Limit> {
        match self {
            Self::All => None,
            // Whoever shares an address (a household, a studio) is still seen one by one.
            Self::Few => Some(Limit { most: 20, grows: false }),
            Self::One | Self::Sole => Some(Limit { most: 1, grows: true }),
        }
    }
}
