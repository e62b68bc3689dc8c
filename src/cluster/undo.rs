//! What undoes a change of which its client was told that it could not be made.
//!
//! Owns which changes that are, and that nothing is sure until they are undone. It deliberately does not know which clients
//! were told so.

use tokio::time::Instant;

use crate::cluster::entry::What;
use crate::cluster::node::Node;
use crate::signaling::command::{Action, Command};
use crate::signaling::registry::parting::Parting;

/// What undoes a change that its client does not know of.
pub(super) fn undo(command: &Command) -> Option<Command> {
    Some(match command {
        Command::Register { peer, newcomer } | Command::TakeOver { peer, newcomer, .. } => {
            let (peer, client, parting) = (*peer, newcomer.client, Parting::Broken);
            Command::Part { peer, client, parting, budget: None }
        }
        Command::Act { peer, identity, action } => {
            let (peer, identity) = (*peer, *identity);
            match action {
                Action::CreateRoom { .. }
                | Action::JoinRoom { .. }
                | Action::CreateOrJoinRoom { .. } => {
                    Command::Act { peer, identity, action: Action::LeaveRoom }
                }
                Action::GoOnAir => Command::GoOffAir,
                Action::Reclaim
                | Action::LeaveRoom
                | Action::Mute { .. }
                | Action::Recording { .. } => return None,
            }
        }
        _ => return None,
    })
}

impl Node {
    /// Whether a client was told that something could not be made, which may be.
    pub(super) fn is_unsure(&self) -> bool {
        self.window.is_unsure() || !self.undoing.is_empty()
    }

    /// Undoes a change.
    pub(super) fn undo(&mut self, undo: Command, now: Instant) {
        self.say(What::Do(undo), now);
        self.window.mark_unsure();
    }
}
