//! How a peer comes into a room.
//!
//! Owns which role it gets there, and that a room has its limit. It deliberately does not know what a token says.

use std::sync::Arc;

use tokio::time::Instant;

use crate::signaling::broadcast::News;
use crate::signaling::entry::{Entered, Entry, EntryError, JoinError};
use crate::signaling::identity::absence::Absence;
use crate::signaling::place::Place;
use crate::signaling::registry::parting::{Aftermath, LeftSeat};
use crate::signaling::registry::{Registry, Seat};
use crate::signaling::rooms::Begin;
use crate::wire::ids::{Holder, Identity, PeerId, RoomId};
use crate::wire::reply::ServerMessage;
use crate::wire::role::{Participant, Role};

/// Of how many tokens from before the start it is remembered that they gave their role. More give none.
const MOST_SPENT: usize = 4096;

/// A role, and where it came from an invite: until when room tokens hold that derive from it, in seconds since 1970.
#[derive(Clone, Copy, Debug)]
struct Given {
    role: Role,
    invite_end: Option<u64>,
}

/// Another client of the same identity, which has a role that it would get back if it had gone.
#[derive(Debug)]
pub(in crate::signaling) struct Rival {
    pub(in crate::signaling) peer: PeerId,
    pub(in crate::signaling) holder: Holder,
    pub(in crate::signaling) place: Place,
}

impl Registry {
    /// Makes the room `id` with `peer` as its host.
    ///
    /// # Errors
    ///
    /// The room that the peer is in already.
    pub(in crate::signaling) fn create_room(
        &mut self,
        peer: PeerId,
        id: RoomId,
        now: Instant,
    ) -> Result<RoomId, RoomId> {
        if let Some(room) = self.room_of(peer) {
            return Err(room);
        }
        self.enter(peer, &id, Given { role: Role::Host, invite_end: None }, Begin::Now(now));
        Ok(id)
    }

    /// Takes `peer` into a room that there is.
    ///
    /// # Errors
    ///
    /// When there is no such room or no place in it, or the peer is in one already.
    pub(in crate::signaling) fn join_room(
        &mut self,
        peer: PeerId,
        room: &RoomId,
        now: Instant,
    ) -> Result<Entered, JoinError> {
        if self.rooms.get(room).is_none() {
            return Err(JoinError::NoSuchRoom(room.clone()));
        }
        if let Some(room) = self.room_of(peer).or_else(|| self.is_kept_in(peer, room)) {
            return Err(JoinError::AlreadyIn(room));
        }
        if self.is_full(room, 0) {
            return Err(JoinError::Full);
        }
        Ok(self.enter(peer, room, Given { role: Role::Caller, invite_end: None }, Begin::Now(now)))
    }

    /// Takes `peer` into a room, which is made where it is not there: with what is reserved in it for its identity, or
    /// for that of the token that it has brought, or else as `otherwise` says.
    ///
    /// # Errors
    ///
    /// When it may not come in, the role is invalid, the room is full, or the peer is in a room already.
    pub(in crate::signaling) fn create_or_join_room(
        &mut self,
        peer: PeerId,
        room: &RoomId,
        token: Option<Identity>,
        otherwise: Option<Entry>,
        now: Instant,
    ) -> Result<(Entered, Aftermath), EntryError> {
        if let Some(room) = self.room_of(peer) {
            return Err(EntryError::AlreadyIn(room));
        }
        let own = self.identities_of(peer, token);
        let begin = self.absences.since(room).map_or(Begin::Now(now), Begin::Again);
        if let Some(absence) = self.absences.reserved(&own, room) {
            let given = Given { role: absence.role, invite_end: absence.invite_end };
            let is_own = |room: &RoomId| {
                let kept = self.kept.get(&peer).filter(|kept| kept.seat.room == *room);
                kept.is_some_and(|kept| kept.arrival.identity == absence.identity)
            };
            if let Some(room) = self.is_kept_in(peer, room).filter(|room| !is_own(room)) {
                return Err(EntryError::AlreadyIn(room));
            }
            // A seat that is kept is among those who are present.
            if self.is_full(room, 1) {
                return Err(EntryError::Full);
            }
            let has_seat = absence.seat_end.is_some();
            return Ok(match self.absences.take_role(&own, room).filter(|_| has_seat) {
                Some(absence) => self.change_seats(peer, &absence, now),
                None => (self.enter(peer, room, given, begin), Aftermath::default()),
            });
        }
        let entry = otherwise.ok_or(EntryError::NoRight)?;
        let spent = match &entry {
            Entry::Remembered { identity, .. } => Some((*identity, room.clone())),
            _ => None,
        };
        let given = self.given(room, entry)?;
        if let Some(room) = self.is_kept_in(peer, room) {
            return Err(EntryError::AlreadyIn(room));
        }
        if self.is_full(room, 0) {
            return Err(EntryError::Full);
        }
        self.spent.extend(spent);
        Ok((self.enter(peer, room, given, begin), Aftermath::default()))
    }

    fn given(&self, room: &RoomId, entry: Entry) -> Result<Given, EntryError> {
        Ok(match entry {
            Entry::Invited { role, end } => Given { role, invite_end: Some(end) },
            Entry::Remembered { identity, role, invite_end } => {
                let spent = (identity, room.clone());
                if self.spent.len() == MOST_SPENT || self.spent.contains(&spent) {
                    return Err(EntryError::Spent);
                }
                Given { role, invite_end }
            }
            Entry::Asked(role) => {
                let is_there = self.rooms.get(room).is_some();
                let is_led = self.has_host(room);
                let role = match role {
                    Ok(Role::Host) if !is_led => Role::Host,
                    // Whoever comes into a room without an invite is a guest, whatever it asks for, and so is who makes
                    // a room to which its host may come back.
                    _ if is_there || is_led => Role::Guest,
                    role => role.map_err(EntryError::InvalidRole)?,
                };
                Given { role, invite_end: None }
            }
        })
    }

    /// Whether a host is in the room, or may come back to it.
    fn has_host(&self, room: &RoomId) -> bool {
        let present = self.rooms.get(room).into_iter().flat_map(|found| found.participants());
        present.into_iter().any(|p| p.role == Role::Host) || self.absences.has_host(room)
    }

    /// Whether the room has no place for one more, when `own` of those that are reserved are its own.
    fn is_full(&self, room: &RoomId, own: usize) -> bool {
        let present = self.rooms.get(room).map_or(0, |found| found.participants().count());
        let taken = (present + self.absences.without_seat(room)).saturating_sub(own);
        self.limits.peers.is_some_and(|most| taken >= most as usize)
    }

    /// The room, if a seat is kept in it under the id of `peer`, which is another identity's.
    fn is_kept_in(&self, peer: PeerId, room: &RoomId) -> Option<RoomId> {
        let kept = self.kept.get(&peer).filter(|kept| kept.seat.room == *room)?;
        Some(kept.seat.room.clone())
    }

    fn identities_of(&self, peer: PeerId, token: Option<Identity>) -> Vec<Identity> {
        let own = self.peers.get(&peer).map(|found| found.arrival.identity);
        own.into_iter().chain(token).collect()
    }

    /// Gives `peer`, which is in a room, the role that is reserved for its identity there, if that one has more rights
    /// than its own. To the others it is as if it had left and come back.
    pub(in crate::signaling) fn reclaim(
        &mut self,
        peer: PeerId,
        now: Instant,
    ) -> Option<(Entered, Aftermath)> {
        let room = self.may_reclaim(peer).then(|| self.room_of(peer)).flatten()?;
        let own = self.identities_of(peer, None);
        let absence = self.absences.take_role(&own, &room)?;
        let arrival = self.peers.get(&peer)?.arrival.clone();
        // Not as others leave: its room goes on.
        self.rooms.get_mut(&room)?.leave(peer);
        let others = self.audience(&room);
        let (entered, mut after) = self.change_seats(peer, &absence, now);
        after.left.push(LeftSeat { arrival, peer, room, others });
        Some((entered, after))
    }

    /// Gives `peer` the role of `absence` in its room, and ends the seat that was kept there.
    fn change_seats(
        &mut self,
        peer: PeerId,
        absence: &Absence,
        now: Instant,
    ) -> (Entered, Aftermath) {
        let Absence { peer: before, room, role, invite_end, room_since, .. } = absence;
        let given = Given { role: *role, invite_end: *invite_end };
        // Under one id there is one seat; under another it is kept so long that the room does not end.
        let same = (*before == peer).then(|| self.leave_kept(absence, now)).flatten();
        let entered = self.enter(peer, room, given, Begin::Again(*room_since));
        let other = (*before != peer).then(|| self.leave_kept(absence, now)).flatten();
        let mut left: Vec<_> = same.into_iter().chain(other).collect();
        // It hears that from nobody.
        let own = self.peers.get(&peer).and_then(|found| found.arrival.place.here());
        for LeftSeat { others, .. } in &mut left {
            others.receivers.retain(|outbox| !own.is_some_and(|own| Arc::ptr_eq(own, outbox)));
        }
        let present = self.present(peer).and_then(|present| present.joined);
        let joined = entered.joined.and(present);
        (Entered { joined, ..entered }, Aftermath { left, ..Aftermath::default() })
    }

    /// Whether [`Self::reclaim`] would give `peer` another role.
    pub(in crate::signaling) fn may_reclaim(&self, peer: PeerId) -> bool {
        let Ok((room, role)) = self.role_and_room(peer) else { return false };
        let own = self.identities_of(peer, None);
        self.absences.reserved(&own, &room).is_some_and(|absence| absence.role < role)
    }

    /// Another client that has a role in `room` which its identity would get back: that of `peer`, or of the token that it
    /// has brought.
    pub(in crate::signaling) fn rival(
        &self,
        peer: PeerId,
        token: Option<Identity>,
        room: &RoomId,
    ) -> Option<Rival> {
        self.peers.get(&peer).filter(|me| me.seat.is_none())?;
        let own = self.identities_of(peer, token);
        let participants = self.rooms.get(room)?.participants();
        let mut others = participants.filter(|p| p.peer_id != peer && self.is_reserved(p.role));
        others.find_map(|participant| {
            let found = self.peers.get(&participant.peer_id)?;
            let is_here = found.seat.as_ref().is_some_and(|seat| seat.room == *room);
            (is_here && own.contains(&found.arrival.identity)).then(|| Rival {
                peer: participant.peer_id,
                holder: self.holder(&found.arrival),
                place: found.arrival.place.clone(),
            })
        })
    }

    /// Puts a peer into a room, which is made where it is not there.
    fn enter(&mut self, peer: PeerId, id: &RoomId, given: Given, begin: Begin) -> Entered {
        let Given { role, invite_end } = given;
        let was_there = self.rooms.get(id).is_some();
        let others = self.audience(id);
        let number = self.rooms.enter(peer, id, role, begin);
        if let Some(found) = self.peers.get_mut(&peer) {
            found.seat = Some(Seat { room: id.clone(), invite_end });
            found.arrival.place.enter(Some(number));
        }
        let participants = self.rooms.get(id).into_iter().flat_map(|room| room.participants());
        let joined = was_there.then(|| participants.collect());
        let came = ServerMessage::PeerJoined(Participant { peer_id: peer, role });
        let news = if was_there { News::new(others, &came) } else { News::default() };
        Entered { room_id: id.clone(), role, invite_end, joined, news }
    }
}
