//! What undoes a change of which its client was told that it could not be made.
//!
//! Owns which changes that are. It deliberately does not know when one is undone.

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
