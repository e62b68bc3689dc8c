//! Whether all nodes know who is on air by way of this one.
//!
//! Owns what is done where they do not, and when. It deliberately does not know Icecast.

use tokio::time::{Duration, Instant};

use crate::programme::news::Owner;
use crate::server::state::State;
use crate::signaling::command::{Action, AiredBy, Command};

/// How often the programme of this node is compared with what all nodes know.
const LOOK: Duration = Duration::from_secs(5);

/// For how long the two may differ: a change is on its way.
const DIFFERS: Duration = Duration::from_secs(2);

/// The programme of this node, beside what all nodes know.
#[derive(Default)]
pub struct Agreement {
    /// Since when they differ.
    differs: Option<Instant>,
}

impl Agreement {
    /// Ends the programme of this node where another one has the one that counts: it went on there, or this node was out of
    /// touch for so long that the others took it for gone. Tells all nodes who is on air by way of this one, where that has
    /// changed and no client has said so: a programme has ended by itself, or a client has gone before its turn. Returns
    /// when it is time to look again; never, where there are no other nodes.
    pub fn look(&mut self, state: &State, now: Instant) -> Option<Instant> {
        let aired = state.studio.hub.aired_by()?;
        let owner = state.studio.on_air.air().on_air().map(|(owner, _)| owner.clone());
        let is_agreed = match (aired, &owner) {
            (AiredBy::Elsewhere, Some(owner)) => {
                let why = "the programme goes on by way of another node";
                state.studio.on_air.stop(owner.client, why);
                true
            }
            (AiredBy::Here(peer), Some(owner)) => owner.peer == peer,
            (AiredBy::Here(_), None) | (AiredBy::Nobody, Some(_)) => false,
            (AiredBy::Nobody | AiredBy::Elsewhere, None) => true,
        };
        if is_agreed {
            self.differs = None;
            return Some(now + LOOK);
        }
        let since = *self.differs.get_or_insert(now);
        if now >= since + DIFFERS {
            self.differs = Some(now);
            let hub = &state.studio.hub;
            hub.propose(Command::GoOffAir, None);
            if let Some(Owner { peer, identity, .. }) = owner {
                hub.propose(Command::Act { peer, identity, action: Action::GoOnAir }, None);
            }
        }
        Some(now + DIFFERS)
    }
}
