//! How a peer goes, and what of it stays for a while.
//!
//! Owns when a seat is kept and a role reserved, and who hears that somebody has left. It deliberately does not know how
//! much is kept, and what is given up first.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::signaling::broadcast::{Audience, News};
use crate::signaling::budget::ClientBudget;
use crate::signaling::identity::absence::{Absence, DRAIN_TIME, RESTART_TIME, SEAT_TIME};
use crate::signaling::outbox::Outbox;
use crate::signaling::registry::{Arrival, Kept, NotInRoom, Peer, Registry, Seat};
use crate::signaling::rooms::After;
use crate::telemetry::subnet::subnet;
use crate::wire::ids::{Holder, Identity, PeerId, RoomId};
use crate::wire::reply::ServerMessage;
use crate::wire::role::Role;

/// How a client goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Parting {
    /// By its own will, for good.
    Left,
    /// By its own will, and it may come back: a page that is loaded again.
    Away,
    /// Its connection broke, or the server ended it.
    Broken,
    /// The server ended it, because the id is another's who is back.
    Evicted,
    /// With the server, and everybody else.
    Stopping,
    /// With a server that is restarted: it can't be carried, and is back at once.
    Restarting,
    /// With a node of a cluster that stops: it is back at another one.
    Draining,
    /// With a node of a cluster that has not been heard of for as long as a seat is kept.
    Gone,
}

impl Parting {
    /// How long a seat is kept for who goes like this, if it is.
    pub fn seat_time(self) -> Option<Duration> {
        match self {
            Self::Broken => Some(SEAT_TIME),
            Self::Restarting => Some(RESTART_TIME),
            Self::Draining => Some(DRAIN_TIME),
            _ => None,
        }
    }
}

/// A seat that nobody sits on any longer.
#[derive(Debug)]
pub struct LeftSeat {
    /// Whose it was.
    pub arrival: Arrival,
    /// Under which id.
    pub peer: PeerId,
    /// Where.
    pub room: RoomId,
    /// Whom to tell.
    pub(in crate::signaling) others: Audience,
}

/// What waits for a client that is on another node now.
#[derive(Debug)]
pub struct Moved {
    /// What it is to hear.
    pub outbox: Arc<Outbox>,
    /// Its id.
    pub peer: PeerId,
    /// Where it is now.
    pub to: Holder,
    /// Whether a connection of it is here still, which is to yield.
    pub is_yielding: bool,
}

/// What is left to be done when a change is made, without the lock.
#[derive(Debug, Default)]
pub(in crate::signaling) struct Aftermath {
    /// Clients of this node that end with 4010.
    pub(in crate::signaling) replaced: Vec<Arc<Outbox>>,
    /// Clients that go on at another node.
    pub(in crate::signaling) moved: Vec<Moved>,
    /// Seats that have ended.
    pub(in crate::signaling) left: Vec<LeftSeat>,
    /// What is to be heard, behind all that.
    pub(in crate::signaling) news: Vec<News>,
    /// Who has gone by itself, and what is kept of it.
    pub(in crate::signaling) parted: Option<Parted>,
    /// Rooms that have reached their age.
    pub(in crate::signaling) expired: Vec<(RoomId, Duration)>,
}

impl Aftermath {
    pub(in crate::signaling) fn is_empty(&self) -> bool {
        self.replaced.is_empty() && self.moved.is_empty() && self.left.is_empty()
    }

    pub(super) fn append(&mut self, mut other: Self) {
        self.replaced.append(&mut other.replaced);
        self.moved.append(&mut other.moved);
        self.left.append(&mut other.left);
    }
}

/// What is kept for a client that has gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remains {
    /// Where it was.
    pub room: RoomId,
    /// Whether its seat is kept.
    pub has_seat: bool,
    /// The role that is reserved, if one is.
    pub role: Option<Role>,
    /// Whether something else was given up for it: an address, or all of them, have as much as may be kept.
    pub is_full: bool,
}

/// A client that has gone by itself.
#[derive(Debug)]
pub struct Parted {
    /// Its id.
    pub peer: PeerId,
    /// Who it was.
    pub arrival: Arrival,
    /// How it went.
    pub parting: Parting,
    /// What is kept for it.
    pub remains: Remains,
    /// For how long its role is reserved, where that is.
    pub reserve: Duration,
}

impl Registry {
    /// `holder` has gone, with what it may still send, if it is still the one that has the id `peer`.
    pub(in crate::signaling) fn part(
        &mut self,
        peer: PeerId,
        holder: Holder,
        parting: Parting,
        budget: Option<ClientBudget>,
        now: Instant,
    ) -> Aftermath {
        match self.peers.get(&peer) {
            Some(found) if self.holder(&found.arrival) == holder => {
                self.depart(peer, parting, budget, now)
            }
            _ => Aftermath::default(),
        }
    }

    fn depart(
        &mut self,
        peer: PeerId,
        parting: Parting,
        budget: Option<ClientBudget>,
        now: Instant,
    ) -> Aftermath {
        let mut after = Aftermath::default();
        let Some(Peer { arrival, seat, .. }) = self.peers.remove(&peer) else { return after };
        self.identities.leave(arrival.identity, now);
        let Some(seat) = seat else { return after };
        let role = self.rooms.get(&seat.room).and_then(|room| room.role(peer));
        let Some(role) = role else { return after };
        let absence = self.absence(peer, &arrival, &seat, role, parting, now);
        let has_seat = absence.as_ref().is_some_and(|absence| absence.seat_end.is_some());
        let (room, identity) = (seat.room.clone(), arrival.identity);
        if has_seat {
            let place = arrival.place.successor();
            place.enter(self.rooms.number(&room));
            let arrival = Arrival { place, ..arrival.clone() };
            self.kept.insert(peer, Kept { arrival, seat, budget });
        }
        let gone = arrival.clone();
        let reserve = self.limits.role_reserve;
        let remains = absence.map(|absence| {
            let reserved = absence.role_end.map(|_| role);
            let given_up = self.absences.add(absence);
            let is_full = !given_up.is_empty();
            for other in given_up {
                if other.seat_end.is_some() {
                    after.left.extend(self.leave_kept(&other, now));
                }
            }
            Remains { room: room.clone(), has_seat, role: reserved, is_full }
        });
        if !has_seat {
            after.left.push(self.vacate(peer, arrival, &room, now));
        }
        // It may have been too much itself.
        let remains = remains.filter(|_| self.absences.owns(identity, peer));
        after.parted =
            remains.map(|remains| Parted { peer, arrival: gone, parting, remains, reserve });
        after
    }

    /// What is kept for a client that goes like this.
    fn absence(
        &self,
        peer: PeerId,
        arrival: &Arrival,
        seat: &Seat,
        role: Role,
        parting: Parting,
        now: Instant,
    ) -> Option<Absence> {
        if arrival.is_check || matches!(parting, Parting::Left | Parting::Stopping) {
            return None;
        }
        // An id has one seat that is kept.
        let seat_time = parting.seat_time().filter(|_| !self.kept.contains_key(&peer));
        let owner = self.absences.owner(peer);
        let absence = Absence {
            seat_end: seat_time.map(|time| now + time),
            owns_id: parting != Parting::Evicted
                && owner.is_none_or(|owner| owner == arrival.identity),
            ..self.reserved_for(peer, arrival, seat, role, now)?
        };
        (absence.seat_end.is_some() || absence.role_end.is_some()).then_some(absence)
    }

    /// The role that is reserved for a client if it goes at `now`.
    fn reserved_for(
        &self,
        peer: PeerId,
        arrival: &Arrival,
        seat: &Seat,
        role: Role,
        now: Instant,
    ) -> Option<Absence> {
        let room_since = self.rooms.since(&seat.room)?;
        let role_end = now + self.limits.role_reserve;
        let role_end = self.rooms.end_of(room_since).map_or(role_end, |end| end.min(role_end));
        Some(Absence {
            identity: arrival.identity,
            peer,
            owns_id: self.absences.owner(peer).is_none_or(|owner| owner == arrival.identity),
            room: seat.room.clone(),
            role,
            invite_end: seat.invite_end,
            subnet: Some(subnet(arrival.ip)),
            room_since,
            seat_end: None,
            role_end: self.is_reserved(role).then_some(role_end).filter(|end| *end > now),
        })
    }

    /// Whether a role is worth to be reserved: where everybody comes in as a guest, that one is not.
    pub(super) fn is_reserved(&self, role: Role) -> bool {
        role.leads() || self.limits.is_invited_only
    }

    /// Ends `holder`, which was silent, if it still has the id `peer`: its seat is kept.
    pub(in crate::signaling) fn silence(
        &mut self,
        peer: PeerId,
        holder: Holder,
        now: Instant,
    ) -> Aftermath {
        self.replace(peer, Some(holder), Parting::Broken, now)
    }

    /// Ends who has the id `peer`, which is somebody else's.
    pub(super) fn evict(&mut self, peer: PeerId, now: Instant) -> Aftermath {
        self.replace(peer, None, Parting::Evicted, now)
    }

    fn replace(
        &mut self,
        peer: PeerId,
        holder: Option<Holder>,
        parting: Parting,
        now: Instant,
    ) -> Aftermath {
        let Some(found) = self.peers.get(&peer) else { return Aftermath::default() };
        if holder.is_some_and(|holder| holder != self.holder(&found.arrival)) {
            return Aftermath::default();
        }
        let place = found.arrival.place.clone();
        let mut after = self.depart(peer, parting, None, now);
        // It did not go by itself.
        after.parted = None;
        after.replaced.extend(place.here().cloned());
        after
    }

    /// Takes the seat that is kept for a client's identity under the id `peer`, and the id with it. Returns what is left
    /// to be done for whoever had the id meanwhile.
    pub(super) fn take_seat(
        &mut self,
        peer: PeerId,
        arrival: &Arrival,
        now: Instant,
    ) -> Option<(Kept, Aftermath)> {
        self.absences.take_seat(arrival.identity, peer)?;
        let kept = self.kept.remove(&peer)?;
        let mut after = self.evict(peer, now);
        let (moved, client) = (arrival.place.follow(&kept.arrival.place), arrival.client);
        after.moved.extend(moved.map(|(outbox, node)| Moved {
            outbox,
            peer,
            to: Holder { node, client },
            is_yielding: false,
        }));
        arrival.place.enter(self.rooms.number(&kept.seat.room));
        self.hold(peer, arrival.clone());
        if let Some(found) = self.peers.get_mut(&peer) {
            found.seat = Some(kept.seat.clone());
        }
        Some((kept, after))
    }

    /// Whether more waits for the seat of this identity than may. It is to end then, as a client ends.
    pub(in crate::signaling) fn has_full_seat(&self, peer: PeerId, identity: Identity) -> bool {
        let kept = self.kept.get(&peer).filter(|kept| kept.arrival.identity == identity);
        kept.and_then(|kept| kept.arrival.place.here()).is_some_and(|outbox| outbox.is_closed())
    }

    /// Ends the seat that is kept for this identity.
    pub(super) fn end_seat(&mut self, peer: PeerId, identity: Identity, now: Instant) -> Aftermath {
        match self.kept.get(&peer).filter(|kept| kept.arrival.identity == identity) {
            Some(kept) => {
                // The role may be reserved still.
                let room = kept.seat.room.clone();
                let absence = self.absences.end_seat(identity, peer);
                let left = absence.filter(|absence| absence.room == room);
                let left = left.and_then(|absence| self.leave_kept(&absence, now));
                Aftermath { left: left.into_iter().collect(), ..Aftermath::default() }
            }
            None => Aftermath::default(),
        }
    }

    /// Nobody sits any longer on the seat that was kept for this absence.
    pub(super) fn leave_kept(&mut self, absence: &Absence, now: Instant) -> Option<LeftSeat> {
        let Absence { peer, room, identity, .. } = absence;
        let own = |kept: &&Kept| kept.arrival.identity == *identity && kept.seat.room == *room;
        self.kept.get(peer).filter(own)?;
        let kept = self.kept.remove(peer)?;
        Some(self.vacate(*peer, kept.arrival, room, now))
    }

    /// Takes a peer out of its room.
    ///
    /// # Errors
    ///
    /// When it is in none.
    pub(super) fn leave_room(
        &mut self,
        peer: PeerId,
        after: &mut Aftermath,
        now: Instant,
    ) -> Result<RoomId, NotInRoom> {
        let left = self.leave(peer, now).ok_or(NotInRoom)?;
        let room = left.room.clone();
        after.left.push(left);
        Ok(room)
    }

    /// Takes a peer out of its room: which, and whom to tell.
    pub(in crate::signaling) fn leave(&mut self, peer: PeerId, now: Instant) -> Option<LeftSeat> {
        let found = self.peers.get_mut(&peer)?;
        let Seat { room, .. } = found.seat.take()?;
        found.arrival.place.enter(None);
        let arrival = found.arrival.clone();
        Some(self.vacate(peer, arrival, &room, now))
    }

    fn vacate(&mut self, peer: PeerId, arrival: Arrival, room: &RoomId, now: Instant) -> LeftSeat {
        if self.rooms.leave(peer, room, now) == After::EndedUnused {
            self.absences.forget_uninvited(room);
        }
        LeftSeat { arrival, peer, room: room.clone(), others: self.audience(room) }
    }

    /// Ends what is over at `now`: rooms that are too old, seats and roles that were kept for long enough.
    pub(in crate::signaling) fn expire(
        &mut self,
        now: Instant,
        on_air: Option<&RoomId>,
    ) -> Aftermath {
        let mut after = Aftermath::default();
        while let Some(id) = self.rooms.too_old(now, on_air) {
            let everyone = self.end_for_all(&id);
            after.news.push(News::new(everyone, &ServerMessage::RoomExpired { room_id: &id }));
            after.expired.push((id, self.limits.ttl.unwrap_or_default()));
        }
        for absence in self.absences.expire(now) {
            after.left.extend(self.leave_kept(&absence, now));
        }
        after
    }

    /// When the next thing is over.
    pub(in crate::signaling) fn next_end(&self, on_air: Option<&RoomId>) -> Option<Instant> {
        self.rooms.next_end(on_air).into_iter().chain(self.absences.next_end()).min()
    }

    /// Ends a room with everyone in it, and what is kept there: whom to tell.
    fn end_for_all(&mut self, id: &RoomId) -> Audience {
        let everyone = Audience { ends: true, ..self.audience(id) };
        for peer in self.absences.end_room(id) {
            self.kept.remove(&peer);
        }
        let room = self.rooms.end(id);
        for participant in room.iter().flat_map(|room| room.participants()) {
            let found = self.peers.get_mut(&participant.peer_id);
            if let Some(found) =
                found.filter(|found| found.seat.as_ref().is_some_and(|seat| seat.room == *id))
            {
                found.seat = None;
            }
        }
        everyone
    }

    /// What is kept, and what will be if the server ends without a word: the roles of all who are present.
    pub(in crate::signaling) fn reserved(&self, now: Instant) -> (Vec<Absence>, Vec<Absence>) {
        let kept = self.absences.iter().filter(|absence| absence.role_end.is_some()).cloned();
        let present = self.peers.iter().filter_map(|(peer, Peer { arrival, seat, .. })| {
            let seat = seat.as_ref().filter(|_| !arrival.is_check)?;
            let role = self.rooms.get(&seat.room)?.role(*peer)?;
            self.reserved_for(*peer, arrival, seat, role, now)
        });
        (kept.collect(), present.filter(|absence| absence.role_end.is_some()).collect())
    }

    /// Keeps what was reserved before a restart.
    pub(in crate::signaling) fn remember(&mut self, absences: Vec<Absence>) {
        for absence in absences {
            let end = self.rooms.end_of(absence.room_since);
            let role_end = absence.role_end.map(|role| end.map_or(role, |end| end.min(role)));
            // Nobody has a seat yet.
            let _ = self.absences.add(Absence { role_end, ..absence });
        }
    }
}
