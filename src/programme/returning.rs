//! Hosts who were on air, are back, and do not know that they are not heard.
//!
//! Owns whom that is told, and when. It deliberately does not know what they were heard with.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::wire::carried::moment;
use crate::wire::ids::{Identity, PeerId};

/// How long a host who has registered again has to start anew by itself.
pub(super) const BACK: Duration = Duration::from_secs(3);

/// What a host is told who is back, with its seat and without it.
pub const PRESS: &str = "You are off air: press Stop Streaming, then Stream";
pub(super) const JOIN: &str = "You are off air and out of the room: join again first";

/// At most one of them: there is one programme.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Returning {
    /// Whose programme silence held for too long.
    missed: Option<(PeerId, Identity)>,
    back: Option<Back>,
}

/// Who was back without going on.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Back {
    peer: PeerId,
    #[serde(with = "moment")]
    since: Instant,
    has_seat: bool,
}

impl Returning {
    /// Somebody goes on air: nobody has to be told any longer.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// The programme of this host has ended without it.
    pub fn miss(&mut self, peer: PeerId, identity: Identity) {
        self.missed = Some((peer, identity));
    }

    /// Whether this one's programme has ended without it. That is asked once.
    pub fn was_missed(&mut self, peer: PeerId, identity: Identity) -> bool {
        self.missed.take_if(|missed| *missed == (peer, identity)).is_some()
    }

    /// A host is back, with its seat in its room or without.
    pub fn come_back(&mut self, peer: PeerId, has_seat: bool, now: Instant) {
        self.back = Some(Back { peer, since: now, has_seat });
    }

    /// Who is to be told now, and what.
    pub fn due(&mut self, now: Instant) -> Option<(PeerId, &'static str)> {
        let Back { peer, has_seat, .. } = self.back.take_if(|back| now >= back.since + BACK)?;
        Some((peer, if has_seat { PRESS } else { JOIN }))
    }

    /// When somebody is due.
    pub fn next(&self) -> Option<Instant> {
        self.back.map(|back| back.since + BACK)
    }
}
