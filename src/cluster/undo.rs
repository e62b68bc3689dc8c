//! What undoes a change of which its client was told that it could not be made.
//!
//! Owns which changes that are. It deliberately does not know when one is undone.

use crate::signaling::command::Command;
use crate::signaling::registry::parting::Parting;

/// What undoes a change that its client does not know of.
pub(super) fn undo(command: &Command) -> Option<Command> {
    Some(match command {
        Command::Register { peer, newcomer } | Command::TakeOver { peer, newcomer, .. } => {
            let (peer, client, parting) = (*peer, newcomer.client, Parting::Broken);
            Command::Part { peer, client, parting, budget: None }
        }
        Command::CreateRoom { peer, .. }
        | Command::JoinRoom { peer, .. }
        | Command::CreateOrJoinRoom { peer, .. } => {
            Command::LeaveRoom { peer: *peer, client: None }
        }
        Command::GoOnAir { .. } => Command::GoOffAir,
        _ => return None,
    })
}
