//! What the log says of those who go.
//!
//! Owns that a node has lines for its own clients only. It deliberately does not know why they go.

use crate::signaling::registry::parting::{LeftSeat, Parted, Remains};
use crate::telemetry::events::Event;
use crate::telemetry::journal::Journal;

/// Somebody has left a seat.
pub(super) fn log_left(journal: &Journal, left: &LeftSeat) {
    if left.arrival.place.here().is_some() {
        journal.log(Event::RoomLeft {
            client_ip: left.arrival.ip,
            client_id: left.arrival.client,
            peer_id: left.peer,
            room_id: left.room.clone(),
        });
    }
}

/// Somebody has gone, and something is kept.
pub(super) fn log_parted(journal: &Journal, parted: Parted) {
    let Parted { peer: peer_id, arrival, parting, remains, reserve } = parted;
    let Remains { room, has_seat, role, is_full } = remains;
    if arrival.place.here().is_none() {
        return;
    }
    let (client_ip, client_id) = (arrival.ip, arrival.client);
    if is_full {
        journal.log(Event::AbsencesFull { client_ip });
    }
    if has_seat {
        let seconds = parting.seat_time().unwrap_or_default().as_secs();
        let room_id = room.clone();
        journal.log(Event::SeatKept { client_ip, client_id, peer_id, room_id, seconds });
    }
    if let Some(role) = role {
        let (room_id, reserve_ms) = (room, reserve.as_millis() as u64);
        journal.log(Event::RoleReserved {
            client_ip,
            client_id,
            peer_id,
            room_id,
            role,
            reserve_ms,
        });
    }
}
