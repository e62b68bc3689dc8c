//! Which peers and rooms there are, and who is where.
//!
//! Owns the rules that peers and rooms together have. The time is an argument: it deliberately knows no clock and no
//! socket.
//! What somebody is to hear of a change is part of what the change returns.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::signaling::broadcast::{Audience, News};
use crate::signaling::entry::{Entered, Entry, EntryError, JoinError, RoomLimits};
use crate::signaling::identity::{Claim, Holding, Identities};
use crate::signaling::outbox::{Outbox, RoomNumber};
use crate::signaling::room::{MuteError, Muting, Room};
use crate::wire::ids::{ClientId, Identity, PeerId, RoomId};
use crate::wire::reply::ServerMessage;
use crate::wire::role::{Authority, Participant, Role};

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
}

/// The peer is in no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotInRoom;

/// A holder that was silent.
#[derive(Debug)]
pub(super) struct Replaced {
    /// Its outbox.
    pub(super) outbox: Arc<Outbox>,
    /// Whom to tell that it has left its room.
    pub(super) others: Option<Audience>,
}

/// All peers and rooms.
#[derive(Debug, Default)]
pub(super) struct Registry {
    limits: RoomLimits,
    peers: HashMap<PeerId, Peer>,
    /// Every room has somebody in it.
    rooms: HashMap<RoomId, Held>,
    /// The same rooms by number, so in order of age: all live equally long.
    ages: BTreeMap<RoomNumber, RoomId>,
    /// How many rooms there have been.
    numbers: RoomNumber,
    /// Who is behind the registered clients, and was.
    identities: Identities,
}

/// A room, and since when it is held.
#[derive(Debug)]
struct Held {
    room: Room,
    since: Instant,
    number: RoomNumber,
}

/// A registered client.
#[derive(Debug)]
struct Peer {
    client: ClientId,
    holding: Holding,
    outbox: Arc<Outbox>,
    room: Option<RoomId>,
}

/// What `register` comes to.
#[derive(Debug)]
pub(super) enum Registered {
    /// The id is the client's; nobody had it.
    Done,
    /// The id is the client's, with its place in the room: another connection of its identity had it, with this outbox.
    Back(ClientId, Arc<Outbox>),
    /// The client that has it, and the time that it has to show that it lives.
    Held(ClientId, Arc<Outbox>, Duration),
    /// Somebody has it, and keeps it.
    Refused,
}

/// No place is left in a room.
struct Full;

impl Registry {
    /// Nobody is there, and rooms are within `limits`.
    pub(super) fn new(limits: RoomLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// How many peers and rooms there are, and how many bytes wait for all peers together.
    pub(super) fn count(&self) -> (usize, usize, usize) {
        let waiting = self.peers.values().map(|peer| peer.outbox.bytes()).sum();
        (self.peers.len(), self.rooms.len(), waiting)
    }

    /// Whether a proof of this identity that is `age` old counts at `now`.
    pub(super) fn counts(&self, identity: Identity, age: Duration, now: Instant) -> bool {
        self.identities.counts(identity, age, now)
    }

    /// Gives `client`, with `identity` behind it, the id `peer`, if that is free or its own.
    pub(super) fn register(
        &mut self,
        peer: PeerId,
        client: ClientId,
        identity: Identity,
        outbox: Arc<Outbox>,
        now: Instant,
    ) -> Registered {
        let Some(found) = self.peers.get_mut(&peer) else {
            self.hold(peer, client, identity, outbox);
            return Registered::Done;
        };
        match found.holding.claim(identity, found.room.is_some(), now) {
            Claim::Own => {
                outbox.follow(&found.outbox);
                let before = std::mem::replace(&mut found.client, client);
                Registered::Back(before, std::mem::replace(&mut found.outbox, outbox))
            }
            Claim::Challenge(time) => {
                Registered::Held(found.client, Arc::clone(&found.outbox), time)
            }
            Claim::Refused => Registered::Refused,
        }
    }

    /// Gives `client` the id `peer`, if `holder`, which was silent, still has it or nobody has. The place in a room was
    /// the holder's. Returns the outbox of a holder that was replaced, and whom to tell that it has left.
    pub(super) fn take_over(
        &mut self,
        peer: PeerId,
        holder: ClientId,
        client: ClientId,
        identity: Identity,
        outbox: Arc<Outbox>,
        now: Instant,
    ) -> (TakeOver, Option<Replaced>) {
        let Some(found) = self.peers.get(&peer) else {
            self.hold(peer, client, identity, outbox);
            return (TakeOver::Free, None);
        };
        if found.client != holder {
            return (TakeOver::Held, None);
        }
        let old = Arc::clone(&found.outbox);
        let left = self.release(peer, now);
        self.hold(peer, client, identity, outbox);
        (TakeOver::Replaced, Some(Replaced { outbox: old, others: left.map(|(_, others)| others) }))
    }

    /// Takes `peer` out, if it is still `client` that has the id: the room that it was in, and whom to tell.
    pub(super) fn unregister(
        &mut self,
        peer: PeerId,
        client: ClientId,
        now: Instant,
    ) -> Option<(RoomId, Audience)> {
        self.peers.get(&peer).filter(|found| found.client == client)?;
        self.release(peer, now)
    }

    fn hold(&mut self, peer: PeerId, client: ClientId, identity: Identity, outbox: Arc<Outbox>) {
        self.identities.enter(identity);
        let holding = Holding::new(identity);
        self.peers.insert(peer, Peer { client, holding, outbox, room: None });
    }

    fn release(&mut self, peer: PeerId, now: Instant) -> Option<(RoomId, Audience)> {
        let left = self.leave(peer);
        if let Some(found) = self.peers.remove(&peer) {
            self.identities.leave(found.holding.identity(), now);
        }
        left
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
    ) -> Result<(Arc<Outbox>, Option<RoomNumber>), RelayError> {
        let in_room = |peer: &Peer| peer.room.is_some();
        if self.limits.relays_in_rooms && !self.peers.get(&from).is_some_and(in_room) {
            return Err(RelayError::NoRoom);
        }
        let receiver = self.peers.get(&to).ok_or(RelayError::NotConnected)?;
        let sender = self.peers.get(&from).ok_or(RelayError::NotConnected)?;
        if sender.room != receiver.room {
            return Err(RelayError::DifferentRoom);
        }
        let room = receiver.room.as_ref().and_then(|room| self.rooms.get(room));
        Ok((Arc::clone(&receiver.outbox), room.map(|held| held.number)))
    }

    /// Makes the room `id` with `peer` as its host.
    ///
    /// # Errors
    ///
    /// The room that the peer is in already.
    pub(super) fn create_room(
        &mut self,
        peer: PeerId,
        id: RoomId,
        now: Instant,
    ) -> Result<RoomId, RoomId> {
        if let Some(room) = self.room_of(peer) {
            return Err(room);
        }
        self.enter(peer, &id, Role::Host, now);
        Ok(id)
    }

    /// Takes `peer` into a room that there is.
    ///
    /// # Errors
    ///
    /// When there is no such room or no place in it, or the peer is in one already.
    pub(super) fn join_room(
        &mut self,
        peer: PeerId,
        room: &RoomId,
        now: Instant,
    ) -> Result<Entered, JoinError> {
        if !self.rooms.contains_key(room) {
            return Err(JoinError::NoSuchRoom);
        }
        if let Some(room) = self.room_of(peer) {
            return Err(JoinError::AlreadyIn(room));
        }
        self.join(peer, room.clone(), Role::Caller, now).map_err(|Full| JoinError::Full)
    }

    /// Takes `peer` into a room, which is made where it is not there.
    ///
    /// # Errors
    ///
    /// When the role is invalid, the room is full, or the peer is in a room already.
    pub(super) fn create_or_join_room(
        &mut self,
        peer: PeerId,
        room_id: RoomId,
        entry: Entry,
        now: Instant,
    ) -> Result<Entered, EntryError> {
        let is_there = self.rooms.contains_key(&room_id);
        let role = match entry {
            Entry::Invited(role) => role,
            // Whoever comes without an invite is a guest, whatever it asks for.
            Entry::Asked(_) if is_there => Role::Guest,
            Entry::Asked(role) => role.map_err(EntryError::InvalidRole)?,
        };
        if let Some(room) = self.room_of(peer) {
            return Err(EntryError::AlreadyIn(room));
        }
        if is_there {
            return self.join(peer, room_id, role, now).map_err(|Full| EntryError::Full);
        }
        self.enter(peer, &room_id, role, now);
        Ok(Entered { room_id, role, joined: None, news: News::default() })
    }

    fn join(
        &mut self,
        peer_id: PeerId,
        room_id: RoomId,
        role: Role,
        now: Instant,
    ) -> Result<Entered, Full> {
        let others = self.audience(&room_id);
        if self.limits.peers.is_some_and(|most| others.receivers.len() >= most as usize) {
            return Err(Full);
        }
        let participants = self.enter(peer_id, &room_id, role, now);
        let came = ServerMessage::PeerJoined(Participant { peer_id, role });
        let news = News::new(others, &came);
        Ok(Entered { room_id, role, joined: Some(participants), news })
    }

    /// Whether there is just one room. When it was made, there was none that ends earlier.
    pub(super) fn has_one_room(&self) -> bool {
        self.ages.len() == 1
    }

    /// Ends the rooms that are too old at `now`: which, whom to tell, and when the next one will be.
    pub(super) fn expire(&mut self, now: Instant) -> (Vec<(RoomId, Audience)>, Option<Instant>) {
        let mut ended = Vec::new();
        let Some(ttl) = self.limits.ttl else {
            return (ended, None);
        };
        loop {
            let Some((id, end)) = self.oldest(ttl) else { return (ended, None) };
            if end > now {
                return (ended, Some(end));
            }
            let everyone = self.end_for_all(&id);
            ended.push((id, everyone));
        }
    }

    /// The oldest room, and when it is as old as `ttl`.
    fn oldest(&self, ttl: Duration) -> Option<(RoomId, Instant)> {
        let (_, id) = self.ages.first_key_value()?;
        let held = self.rooms.get(id).expect("every room has an age, and every age a room");
        Some((id.clone(), held.since + ttl))
    }

    /// Takes a peer out of its room: which, and whom to tell. The last one out ends the room.
    pub(super) fn leave(&mut self, peer: PeerId) -> Option<(RoomId, Audience)> {
        let leaver = self.peers.get_mut(&peer)?;
        let id = leaver.room.take()?;
        leaver.outbox.enter(None);
        let is_empty = self.rooms.get_mut(&id)?.room.leave(peer);
        let others = self.audience(&id);
        if is_empty {
            self.end(&id);
        }
        Some((id, others))
    }

    /// Whether there is such a room.
    pub(super) fn has_room(&self, room: &RoomId) -> bool {
        self.rooms.contains_key(room)
    }

    /// How many other peers are in the room of `peer`.
    pub(super) fn others(&self, peer: PeerId) -> usize {
        let room = self.peers.get(&peer).and_then(|peer| self.rooms.get(peer.room.as_ref()?));
        room.map_or(0, |held| held.room.participants().count().saturating_sub(1))
    }

    /// Where `peer` is, as what, and who is there with it, as if it entered now; nobody hears of it.
    pub(super) fn present(&self, peer: PeerId) -> Option<Entered> {
        let room_id = self.room_of(peer)?;
        let room = &self.rooms.get(&room_id)?.room;
        let (role, participants) = (room.role(peer)?, room.participants().collect());
        Some(Entered { room_id, role, joined: Some(participants), news: News::default() })
    }

    /// Where `peer` is, and as what.
    ///
    /// # Errors
    ///
    /// When it is in no room.
    pub(super) fn role_and_room(&self, peer: PeerId) -> Result<(RoomId, Role), NotInRoom> {
        let room = self.room_of(peer).ok_or(NotInRoom)?;
        let role = self.rooms.get(&room).and_then(|held| held.room.role(peer));
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
        let held = self.rooms.get_mut(&id).ok_or(MuteError::NotHere)?;
        Ok(match held.room.mute(from, target, muted, authority)? {
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

    fn room_of(&self, peer: PeerId) -> Option<RoomId> {
        self.peers.get(&peer)?.room.clone()
    }

    /// Puts a peer into a room, which is made where it is not there: who is in it now.
    fn enter(&mut self, peer: PeerId, id: &RoomId, role: Role, now: Instant) -> Vec<Participant> {
        let (numbers, ages) = (&mut self.numbers, &mut self.ages);
        let held = self.rooms.entry(id.clone()).or_insert_with(|| {
            *numbers += 1;
            ages.insert(*numbers, id.clone());
            Held { room: Room::default(), since: now, number: *numbers }
        });
        held.room.enter(peer, role);
        if let Some(found) = self.peers.get_mut(&peer) {
            found.room = Some(id.clone());
            found.outbox.enter(Some(held.number));
        }
        held.room.participants().collect()
    }

    /// Ends a room with everyone in it: whom to tell.
    fn end_for_all(&mut self, id: &RoomId) -> Audience {
        let everyone = Audience { ends: true, ..self.audience(id) };
        let held = self.end(id);
        for participant in held.iter().flat_map(|held| held.room.participants()) {
            if let Some(peer) = self.peers.get_mut(&participant.peer_id) {
                peer.room = None;
            }
        }
        everyone
    }

    fn end(&mut self, id: &RoomId) -> Option<Held> {
        let held = self.rooms.remove(id)?;
        self.ages.remove(&held.number);
        Some(held)
    }

    fn audience(&self, room: &RoomId) -> Audience {
        let participants =
            self.rooms.get(room).into_iter().flat_map(|held| held.room.participants());
        let peers = participants.filter_map(|p| self.peers.get(&p.peer_id));
        let receivers = peers.map(|peer| Arc::clone(&peer.outbox)).collect();
        let room = self.rooms.get(room).map_or(0, |held| held.number);
        Audience { receivers, room, ends: false }
    }
}
