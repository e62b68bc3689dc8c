//! Which peers and rooms there are, and who is where.
//!
//! Owns the rules that peers and rooms together have: this file, who has which id; [`entering`] and [`parting`], how a
//! peer comes into a room and leaves it. The time is an argument: it deliberately knows no clock and no socket.
//! What somebody is to hear of a change is part of what the change returns.

pub mod applying;
pub mod carried;
pub mod entering;
#[cfg(test)]
mod house;
pub mod parting;
#[cfg(test)]
mod role_tests;
#[cfg(test)]
mod seat_tests;
pub mod sharing;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::signaling::broadcast::{Audience, News};
use crate::signaling::budget::ClientBudget;
use crate::signaling::entry::{Entered, RoomLimits};
use crate::signaling::identity::absence::Absences;
use crate::signaling::identity::holding::{Claim, Holding};
use crate::signaling::identity::identities::Identities;
use crate::signaling::outbox::{Outbox, RoomNumber};
use crate::signaling::place::Place;
use crate::signaling::registry::parting::{Aftermath, Moved};
use crate::signaling::room::{MuteError, Muting};
use crate::signaling::rooms::Rooms;
use crate::telemetry::counts::Counts;
use crate::wire::ids::{ClientId, Holder, Identity, NodeId, PeerId, RoomId};
use crate::wire::role::{Authority, Role};

/// What came of a wish for an id that somebody had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakeOver {
    /// The holder had gone by itself: the id is the client's.
    Free,
    /// The holder was silent: the id is the client's, and nothing else of the holder.
    Replaced,
    /// Somebody else has it meanwhile.
    Held,
}

/// Why a message does not reach its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayError {
    /// Nobody with that id is connected.
    NotConnected,
    /// They are not in the same room, nor both in none.
    DifferentRoom,
    /// The sender is in no room, and relays are for those in one.
    NoRoom,
    /// The receiver is on another node, which can't be reached now.
    Unavailable,
}

/// The peer is in no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotInRoom;

/// A client that wants an id.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Its number.
    pub client: ClientId,
    /// Who is behind it.
    pub identity: Identity,
    /// Where it connects from.
    pub ip: IpAddr,
    /// Whether nothing is kept for it when it goes: it only checks the server.
    pub is_check: bool,
    /// Where it is connected, and what others want it to hear goes.
    pub place: Place,
}

/// All peers and rooms.
#[derive(Debug, Default)]
pub(super) struct Registry {
    /// Which node this is.
    node: NodeId,
    limits: RoomLimits,
    peers: HashMap<PeerId, Peer>,
    /// The seats of those whose connection broke. Somebody else may have the id meanwhile.
    kept: HashMap<PeerId, Kept>,
    rooms: Rooms,
    /// Who is behind the registered clients, and was.
    identities: Identities,
    /// What is kept for those who have gone.
    absences: Absences,
    /// By way of which node somebody is on air, who, and from which room.
    air: Option<Aired>,
    /// Which identities have used their token from before the start, and for which room.
    spent: HashSet<(Identity, RoomId)>,
}

/// A programme, which belongs to one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Aired {
    node: NodeId,
    peer: PeerId,
    identity: Identity,
    room: RoomId,
}

/// A registered client.
#[derive(Debug)]
struct Peer {
    arrival: Arrival,
    holding: Holding,
    seat: Option<Seat>,
}

/// A place in a room.
#[derive(Clone, Debug)]
struct Seat {
    room: RoomId,
    /// Where the role came from an invite: until when room tokens hold that derive from it, in seconds since 1970.
    invite_end: Option<u64>,
}

/// A seat that is kept.
#[derive(Debug)]
struct Kept {
    arrival: Arrival,
    seat: Seat,
    /// What its client may still send, where its session has told.
    budget: Option<ClientBudget>,
}

/// What `register` comes to.
#[derive(Debug)]
pub enum Registered {
    /// The id is the client's; nobody had it, or nobody who could keep it.
    Done,
    /// The id is the client's, with its seat in the room, which was kept since this client of its identity had gone.
    Back(Holder, Option<ClientBudget>),
    /// The id is the client's, with its place: this client of its identity has it, and is to yield.
    Yielding(Holder, Place),
    /// The client that has it, and the time that it has to show that it lives.
    Held(Holder, Place, Duration),
    /// Somebody has it, and keeps it.
    Refused,
}

impl Registry {
    /// Nobody is there, and rooms are within `limits`.
    pub(super) fn new(limits: RoomLimits) -> Self {
        Self { limits, rooms: Rooms::new(limits.ttl), ..Self::default() }
    }

    /// Rooms are within `limits` from here on.
    pub(super) fn limit(&mut self, limits: RoomLimits) {
        self.limits = limits;
        self.rooms.limit_age(limits.ttl);
    }

    /// Which node this is.
    pub(super) fn node(&self) -> NodeId {
        self.node
    }

    /// How much there is.
    pub(super) fn count(&self) -> Counts {
        // Each node counts its own, in one pass: there may be 100,000 of others among them.
        let peers = self.peers.values().filter_map(|peer| peer.arrival.place.here());
        let kept = self.kept.values().filter_map(|kept| kept.arrival.place.here());
        let add = |(count, bytes), outbox: &Arc<Outbox>| (count + 1, bytes + outbox.bytes());
        let (peers, bytes) = peers.fold((0, 0), add);
        let (seats_kept, outbox_bytes) = kept.fold((0, bytes), add);
        Counts {
            peers,
            rooms: self.rooms.count(),
            seats_kept,
            roles_reserved: self.absences.iter().filter(|found| found.role_end.is_some()).count(),
            outbox_bytes,
            ..Counts::default()
        }
    }

    /// Whether a proof of this identity that is `age` old counts at `now`.
    pub(super) fn counts(&self, identity: Identity, age: Duration, now: Instant) -> bool {
        self.identities.counts(identity, age, now) || self.absences.knows(identity)
    }

    /// Gives a client the id `peer`, if that is free or its own.
    pub(super) fn register(
        &mut self,
        peer: PeerId,
        arrival: Arrival,
        now: Instant,
    ) -> (Registered, Aftermath) {
        let identity = arrival.identity;
        let mut after = Aftermath::default();
        if let Some((kept, evicted)) = self.take_seat(peer, &arrival, now) {
            after.append(evicted);
            return (Registered::Back(self.holder(&kept.arrival), kept.budget), after);
        }
        let Some(found) = self.peers.get_mut(&peer) else {
            self.hold(peer, arrival);
            return (Registered::Done, after);
        };
        let holder = found.holding.identity();
        if holder != identity && self.absences.owns(identity, peer) {
            after.append(self.evict(peer, now));
            self.hold(peer, arrival);
            return (Registered::Done, after);
        }
        let registered = match found.holding.claim(identity, found.seat.is_some(), now) {
            Claim::Own => {
                let moved = arrival.place.follow(&found.arrival.place);
                let client = arrival.client;
                after.moved.extend(moved.map(|(outbox, node)| Moved {
                    outbox,
                    peer,
                    to: Holder { node, client },
                    is_yielding: true,
                }));
                // One that was too full has forgotten where it was.
                let room = found.seat.as_ref().and_then(|seat| self.rooms.number(&seat.room));
                arrival.place.enter(room);
                let before = std::mem::replace(&mut found.arrival, arrival);
                Registered::Yielding(self.holder(&before), before.place)
            }
            Claim::Challenge(time) => {
                let (holder, place) = (found.arrival.clone(), found.arrival.place.clone());
                Registered::Held(self.holder(&holder), place, time)
            }
            Claim::Refused => Registered::Refused,
        };
        (registered, after)
    }

    /// Gives a client the id `peer`, if `holder`, which was silent, still has it or nobody has. The place in a room is
    /// the holder's, and is kept for its identity.
    pub(super) fn take_over(
        &mut self,
        peer: PeerId,
        holder: Holder,
        arrival: Arrival,
        now: Instant,
    ) -> (TakeOver, Aftermath) {
        let Some(found) = self.peers.get(&peer) else {
            self.hold(peer, arrival);
            return (TakeOver::Free, Aftermath::default());
        };
        if self.holder(&found.arrival) != holder {
            return (TakeOver::Held, Aftermath::default());
        }
        let after = self.silence(peer, holder, now);
        self.hold(peer, arrival);
        (TakeOver::Replaced, after)
    }

    /// Which client of which node that is.
    fn holder(&self, arrival: &Arrival) -> Holder {
        let node = arrival.place.elsewhere().unwrap_or(self.node);
        Holder { node, client: arrival.client }
    }

    fn hold(&mut self, peer: PeerId, arrival: Arrival) {
        self.identities.enter(arrival.identity);
        let holding = Holding::new(arrival.identity);
        self.peers.insert(peer, Peer { arrival, holding, seat: None });
    }

    /// Where a relay goes, and in which room both are.
    ///
    /// # Errors
    ///
    /// When the receiver is not there, or not in the same room.
    pub(super) fn route(
        &self,
        from: PeerId,
        to: PeerId,
    ) -> Result<(Place, Option<RoomNumber>), RelayError> {
        let sender = self.peers.get(&from);
        let room = sender.and_then(|sender| sender.seat.as_ref()).map(|seat| &seat.room);
        if self.limits.is_invited_only && room.is_none() {
            return Err(RelayError::NoRoom);
        }
        let number = room.and_then(|room| self.rooms.number(room));
        if let Some(place) = room.and_then(|room| self.place_in(room, to)) {
            return Ok((place.clone(), number));
        }
        let receiver = self.peers.get(&to);
        let Some(receiver) = receiver.filter(|_| sender.is_some()) else {
            let is_kept = sender.is_some() && self.kept.contains_key(&to);
            return Err(if is_kept { RelayError::DifferentRoom } else { RelayError::NotConnected });
        };
        match (room, &receiver.seat) {
            (None, None) => Ok((receiver.arrival.place.clone(), None)),
            _ => Err(RelayError::DifferentRoom),
        }
    }

    /// Whether there is such a room.
    pub(super) fn has_room(&self, room: &RoomId) -> bool {
        self.rooms.get(room).is_some()
    }

    /// How many other peers are in the room of `peer`.
    pub(super) fn others(&self, peer: PeerId) -> usize {
        let room = self.seat(peer).and_then(|seat| self.rooms.get(&seat.room));
        room.map_or(0, |room| room.participants().count().saturating_sub(1))
    }

    /// Where `peer` is, as what, and who is there with it, as if it entered now; nobody hears of it.
    pub(super) fn present(&self, peer: PeerId) -> Option<Entered> {
        let Seat { room, invite_end } = self.seat(peer)?.clone();
        let found = self.rooms.get(&room)?;
        let joined = Some(found.participants().collect());
        Some(Entered {
            role: found.role(peer)?,
            room_id: room,
            invite_end,
            joined,
            news: News::default(),
        })
    }

    /// Where `peer` is, and as what.
    ///
    /// # Errors
    ///
    /// When it is in no room.
    pub(super) fn role_and_room(&self, peer: PeerId) -> Result<(RoomId, Role), NotInRoom> {
        let room = self.room_of(peer).ok_or(NotInRoom)?;
        let role = self.rooms.get(&room).and_then(|found| found.role(peer));
        role.map(|role| (room, role)).ok_or(NotInRoom)
    }

    /// Mutes `target` in the room of `from`, or ends that: whom to tell, if anything changed.
    ///
    /// # Errors
    ///
    /// When the target is not in that room, or `from` has not the right.
    pub(super) fn mute(
        &mut self,
        from: PeerId,
        target: PeerId,
        muted: bool,
        authority: Authority,
    ) -> Result<Option<Audience>, MuteError> {
        let id = self.room_of(from).ok_or(MuteError::NotHere)?;
        let room = self.rooms.get_mut(&id).ok_or(MuteError::NotHere)?;
        Ok(match room.mute(from, target, muted, authority)? {
            Muting::Changed => Some(self.audience(&id)),
            Muting::Unchanged => None,
        })
    }

    /// Everyone in the room of `peer`, itself too.
    ///
    /// # Errors
    ///
    /// When it is in none.
    pub(super) fn everyone(&self, peer: PeerId) -> Result<Audience, NotInRoom> {
        Ok(self.audience(&self.room_of(peer).ok_or(NotInRoom)?))
    }

    /// The place of `holder`, if it has the id `peer`.
    pub(super) fn place_of(&self, peer: PeerId, holder: Holder) -> Option<Place> {
        let found = self.peers.get(&peer)?;
        (self.holder(&found.arrival) == holder).then(|| found.arrival.place.clone())
    }

    /// The outbox of `client`, if it is one of this node and has the id `peer`.
    pub(super) fn outbox_of(&self, peer: PeerId, client: ClientId) -> Option<Arc<Outbox>> {
        self.place_of(peer, Holder { node: self.node, client })?.here().cloned()
    }

    /// One peer of this node, whatever room it is in.
    pub(super) fn one(&self, peer: PeerId) -> Audience {
        let found = self.peers.get(&peer).and_then(|found| found.arrival.place.here());
        Audience { receivers: found.into_iter().cloned().collect(), ..Audience::default() }
    }

    fn seat(&self, peer: PeerId) -> Option<&Seat> {
        self.peers.get(&peer)?.seat.as_ref()
    }

    fn room_of(&self, peer: PeerId) -> Option<RoomId> {
        self.seat(peer).map(|seat| seat.room.clone())
    }

    /// The place of who has the seat of `peer` in `room`: a client, or nobody until its identity is back.
    fn place_in(&self, room: &RoomId, peer: PeerId) -> Option<&Place> {
        let is_here = |seat: &Seat| seat.room == *room;
        let present = self.peers.get(&peer).filter(|peer| peer.seat.as_ref().is_some_and(is_here));
        let arrival = present.map(|peer| &peer.arrival);
        let kept = || self.kept.get(&peer).filter(|kept| is_here(&kept.seat));
        arrival.or_else(|| kept().map(|kept| &kept.arrival)).map(|arrival| &arrival.place)
    }

    /// Those in a room who are on this node.
    fn audience(&self, room: &RoomId) -> Audience {
        let participants = self.rooms.get(room).into_iter().flat_map(|found| found.participants());
        let places = participants.filter_map(|p| self.place_in(room, p.peer_id));
        let receivers = places.filter_map(Place::here).cloned().collect();
        let room = self.rooms.number(room).unwrap_or_default();
        Audience { receivers, room, ends: false }
    }
}
