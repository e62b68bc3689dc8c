//! Who the registered clients are, and who is in a room with whom.
//!
//! Owns peers and rooms. It deliberately knows no socket and no session: what it has to say to a
//! client goes to that client's outbox.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::signaling::outbox::{Frame, Outbox, RoomNumber};
use crate::signaling::room::{MuteError, Muting, Room};
use crate::telemetry::metrics::{Metrics, Relay};
use crate::wire::frame::{Opcode, encode};
use crate::wire::message::MessageType;
use crate::wire::protocol::{
    self, Authority, ClientId, CloseCode, Participant, PeerId, Role, RoomId, ServerMessage,
};

/// The shared handle: cheap to clone.
#[derive(Clone, Debug)]
pub struct Hub {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    limits: RoomLimits,
    /// Told when a room is made while there is none that is older.
    made: Notify,
    metrics: Arc<Metrics>,
    /// Peers and rooms have one lock, because they must agree. Sessions write and read it by the methods
    /// below; nobody sends while it is held.
    registry: Mutex<Registry>,
}

/// What a room may be.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoomLimits {
    /// The age at which a room ends, or `None` for no such age.
    pub ttl: Option<Duration>,
    /// How many peers may be in a room, or `None` for any number.
    pub peers: Option<u32>,
}

#[derive(Debug, Default)]
struct Registry {
    peers: HashMap<PeerId, Peer>,
    /// Every room has somebody in it.
    rooms: HashMap<RoomId, Held>,
    /// The same rooms by number, so in order of age: all live equally long.
    ages: BTreeMap<RoomNumber, RoomId>,
    /// How many rooms there have been.
    numbers: RoomNumber,
}

/// A room, and since when it is held.
#[derive(Debug)]
struct Held {
    room: Room,
    since: Instant,
    number: RoomNumber,
}

/// Who is to hear something about a room, collected under the lock and sent to after it.
#[derive(Debug, Default)]
struct Audience {
    receivers: Vec<Arc<Outbox>>,
    /// Whoever has left it meanwhile hears nothing.
    room: RoomNumber,
    /// Whether it is the last that they hear of it.
    ends: bool,
}

/// A registered client.
#[derive(Debug)]
struct Peer {
    client: ClientId,
    outbox: Arc<Outbox>,
    room: Option<RoomId>,
}

/// What `register` comes to.
#[derive(Debug)]
pub enum Registration {
    /// The id is the client's.
    Done,
    /// Somebody has the id.
    Held {
        /// Who.
        by: ClientId,
        /// Resolves when the holder answers, and fails when its session ends.
        alive: oneshot::Receiver<()>,
    },
    /// Somebody has the id, and somebody else is finding out whether they live.
    Contested,
}

/// What came of a wish for an id that somebody had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakeOver {
    /// The holder had gone by itself: the id is the client's.
    Free,
    /// The holder was replaced: the id is the client's, with the seat in the room.
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
}

/// Why a room is not entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinError {
    /// There is no such room.
    NoSuchRoom,
    /// The peer is in this room.
    AlreadyIn(RoomId),
    /// As many peers as may be in a room are in it.
    Full,
}

/// By what right a peer comes into a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// An invite gives it this role.
    Invited(Role),
    /// It asks for a role, and gets it where it makes the room; or the text of an invalid role.
    Asked(Result<Role, String>),
}

/// Why a room is neither made nor entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryError {
    /// Nobody can have this role.
    InvalidRole(String),
    /// The peer is in this room.
    AlreadyIn(RoomId),
    /// No room can be called that.
    InvalidRoom,
    /// As many peers as may be in a room are in it.
    Full,
}

/// What came of a wish to be in a room.
#[derive(Debug)]
pub struct Entered {
    /// Which room.
    pub room_id: RoomId,
    /// As what.
    pub role: Role,
    /// Who is in it now, where it was there before.
    pub joined: Option<Vec<Participant>>,
    /// What the others are to hear, once the peer has its answer.
    pub news: News,
}

/// Something to be said to many.
#[derive(Debug, Default)]
#[must_use = "somebody is to hear it"]
pub struct News {
    audience: Audience,
    /// Its type, as [`ServerMessage::index`] has it, and its frame.
    message: Option<(usize, Frame)>,
}

/// The peer is in no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotInRoom;

impl Hub {
    /// An empty hub, with rooms within `limits`.
    pub fn new(limits: RoomLimits, metrics: Arc<Metrics>) -> Self {
        let made = Notify::new();
        Self { inner: Arc::new(Inner { limits, made, metrics, registry: Mutex::default() }) }
    }

    /// Waits for the lock that everything here needs, so that whoever asks knows it is to be had.
    pub fn touch(&self) {
        drop(self.registry());
    }

    /// How many peers and rooms there are, and how many bytes wait for all peers together.
    pub fn count(&self) -> (usize, usize, usize) {
        let registry = self.registry();
        let waiting = registry.peers.values().map(|peer| peer.outbox.bytes()).sum();
        (registry.peers.len(), registry.rooms.len(), waiting)
    }

    /// Gives `client` the id `peer` if it is free; else the server pings the client that holds it.
    pub fn register(&self, peer: PeerId, client: ClientId, outbox: Arc<Outbox>) -> Registration {
        let mut registry = self.registry();
        let Some(holder) = registry.peers.get(&peer) else {
            registry.peers.insert(peer, Peer { client, outbox, room: None });
            return Registration::Done;
        };
        let holder = (holder.client, Arc::clone(&holder.outbox));
        drop(registry);
        match holder.1.challenge() {
            Some(alive) => Registration::Held { by: holder.0, alive },
            None => Registration::Contested,
        }
    }

    /// Gives `client` the id `peer` and its seat in the room, if `holder` still has it or nobody has; false
    /// where somebody else was faster. The others in the room see nothing; the holder is ended with 4010.
    pub fn take_over(
        &self,
        peer: PeerId,
        holder: ClientId,
        client: ClientId,
        outbox: Arc<Outbox>,
    ) -> TakeOver {
        let mut registry = self.registry();
        let Some(found) = registry.peers.get_mut(&peer) else {
            registry.peers.insert(peer, Peer { client, outbox, room: None });
            return TakeOver::Free;
        };
        if found.client != holder {
            return TakeOver::Held;
        }
        found.client = client;
        let room = found.room.clone();
        let old = std::mem::replace(&mut found.outbox, Arc::clone(&outbox));
        outbox.enter(room.and_then(|room| registry.rooms.get(&room)).map(|held| held.number));
        drop(registry);
        old.close(CloseCode::REPLACED);
        TakeOver::Replaced
    }

    /// Takes `peer` out, and out of its room, if it is still `client` that has the id. Returns the room.
    pub fn unregister(&self, peer: PeerId, client: ClientId) -> Option<RoomId> {
        let mut registry = self.registry();
        registry.peers.get(&peer).filter(|found| found.client == client)?;
        let left = registry.leave(peer);
        registry.peers.remove(&peer);
        drop(registry);
        let (room, others) = left?;
        self.tell(others, &ServerMessage::PeerLeft { peer_id: peer });
        Some(room)
    }

    /// Passes `text`, of type `kind`, on from `from` to the peer `to`, as it is.
    ///
    /// # Errors
    ///
    /// When that peer is not there, or not in the same room.
    pub fn relay(
        &self,
        kind: MessageType,
        from: PeerId,
        to: PeerId,
        text: &str,
    ) -> Result<(), RelayError> {
        let metrics = &self.inner.metrics;
        let (outbox, room) = self.receiver(from, to).inspect_err(|error| {
            let outcome = match error {
                RelayError::NotConnected => Relay::NotConnected,
                RelayError::DifferentRoom => Relay::DifferentRoom,
            };
            metrics.relayed(kind, outcome);
        })?;
        let mut frame = Vec::with_capacity(text.len() + 10);
        encode(&mut frame, Opcode::Text, text.as_bytes(), None);
        let is_taken = outbox.push(&Frame::from(frame), room);
        metrics.relayed(kind, if is_taken { Relay::Delivered } else { Relay::Dropped });
        Ok(())
    }

    /// Where a relay goes, and in which room both are.
    fn receiver(
        &self,
        from: PeerId,
        to: PeerId,
    ) -> Result<(Arc<Outbox>, Option<RoomNumber>), RelayError> {
        let registry = self.registry();
        let receiver = registry.peers.get(&to).ok_or(RelayError::NotConnected)?;
        let sender = registry.peers.get(&from).ok_or(RelayError::NotConnected)?;
        if sender.room != receiver.room {
            return Err(RelayError::DifferentRoom);
        }
        let room = receiver.room.as_ref().and_then(|room| registry.rooms.get(room));
        Ok((Arc::clone(&receiver.outbox), room.map(|held| held.number)))
    }

    /// Makes a room with `peer` as its host.
    ///
    /// # Errors
    ///
    /// The room that the peer is in already.
    pub fn create_room(&self, peer: PeerId) -> Result<RoomId, RoomId> {
        let mut registry = self.registry();
        if let Some(room) = registry.room_of(peer) {
            return Err(room);
        }
        let id = RoomId::random();
        self.make(&mut registry, peer, &id, Role::Host);
        Ok(id)
    }

    /// Makes a room with `peer` in it.
    fn make(&self, registry: &mut Registry, peer: PeerId, id: &RoomId, role: Role) {
        registry.enter(peer, id, role);
        // Whoever waits for the end of an older one looks then.
        if registry.ages.len() == 1 {
            self.inner.made.notify_one();
        }
    }

    /// Takes `peer` into a room that there is.
    ///
    /// # Errors
    ///
    /// When there is no such room or no place in it, or the peer is in one already.
    pub fn join_room(&self, peer: PeerId, room: &RoomId) -> Result<Entered, JoinError> {
        let mut registry = self.registry();
        if !registry.rooms.contains_key(room) {
            return Err(JoinError::NoSuchRoom);
        }
        if let Some(room) = registry.room_of(peer) {
            return Err(JoinError::AlreadyIn(room));
        }
        self.join(&mut registry, peer, room.clone(), Role::Caller).map_err(|Full| JoinError::Full)
    }

    /// Takes `peer` into a room, which is made where it is not there. `room` is `None` where no room can be
    /// called what it asked for.
    ///
    /// # Errors
    ///
    /// When the role or the room is invalid, the room is full, or the peer is in a room already.
    pub fn create_or_join_room(
        &self,
        peer: PeerId,
        room: Option<RoomId>,
        entry: Entry,
    ) -> Result<Entered, EntryError> {
        let mut registry = self.registry();
        let is_there = room.as_ref().is_some_and(|room| registry.rooms.contains_key(room));
        let role = match entry {
            Entry::Invited(role) => role,
            // Whoever comes without an invite is a guest, whatever it asks for.
            Entry::Asked(_) if is_there => Role::Guest,
            Entry::Asked(role) => role.map_err(EntryError::InvalidRole)?,
        };
        if let Some(room) = registry.room_of(peer) {
            return Err(EntryError::AlreadyIn(room));
        }
        let room_id = room.ok_or(EntryError::InvalidRoom)?;
        if is_there {
            let joined = self.join(&mut registry, peer, room_id, role);
            return joined.map_err(|Full| EntryError::Full);
        }
        self.make(&mut registry, peer, &room_id, role);
        Ok(Entered { room_id, role, joined: None, news: News::default() })
    }

    fn join(
        &self,
        registry: &mut Registry,
        peer: PeerId,
        room_id: RoomId,
        role: Role,
    ) -> Result<Entered, Full> {
        let others = registry.audience(&room_id);
        if self.inner.limits.peers.is_some_and(|most| others.receivers.len() >= most as usize) {
            return Err(Full);
        }
        let participants = registry.enter(peer, &room_id, role);
        let came = ServerMessage::PeerJoined(Participant { peer_id: peer, role });
        let news = self.news(others, &came);
        Ok(Entered { room_id, role, joined: Some(participants), news })
    }

    /// Ends the rooms that are too old, and tells who is in them. Returns which, and when the next one will be.
    pub fn expire(&self, now: Instant) -> (Vec<RoomId>, Option<Instant>) {
        let Some(ttl) = self.inner.limits.ttl else {
            return (Vec::new(), None);
        };
        let mut registry = self.registry();
        let (mut old, mut told) = (Vec::new(), Vec::new());
        let next = loop {
            let Some((id, end)) = registry.oldest(ttl) else { break None };
            if end > now {
                break Some(end);
            }
            told.push(registry.expire(&id));
            old.push(id);
        };
        drop(registry);
        for (room_id, everyone) in old.iter().zip(told) {
            self.tell(everyone, &ServerMessage::RoomExpired { room_id });
        }
        (old, next)
    }

    /// Resolves when a room was made, while there was no older one, since this was last called.
    pub async fn room_made(&self) {
        self.inner.made.notified().await;
    }

    /// Takes `peer` out of its room; the others are told.
    ///
    /// # Errors
    ///
    /// When it is in none.
    pub fn leave_room(&self, peer: PeerId) -> Result<RoomId, NotInRoom> {
        let (room, others) = self.registry().leave(peer).ok_or(NotInRoom)?;
        self.tell(others, &ServerMessage::PeerLeft { peer_id: peer });
        Ok(room)
    }

    /// Where `peer` is, and as what.
    ///
    /// # Errors
    ///
    /// When it is in no room.
    pub fn role_and_room(&self, peer: PeerId) -> Result<(RoomId, Role), NotInRoom> {
        let registry = self.registry();
        let room = registry.room_of(peer).ok_or(NotInRoom)?;
        let role = registry.rooms.get(&room).and_then(|held| held.room.role(peer));
        role.map(|role| (room, role)).ok_or(NotInRoom)
    }

    /// Mutes `target` in the room of `from`, or ends that, and tells everyone in it.
    ///
    /// # Errors
    ///
    /// When the target is not in that room, or `from` has not the right.
    pub fn mute(
        &self,
        from: PeerId,
        target: PeerId,
        muted: bool,
        authority: Authority,
    ) -> Result<(), MuteError> {
        let everyone = {
            let mut registry = self.registry();
            let id = registry.room_of(from).ok_or(MuteError::NotHere)?;
            let held = registry.rooms.get_mut(&id).ok_or(MuteError::NotHere)?;
            match held.room.mute(from, target, muted, authority)? {
                Muting::Changed => registry.audience(&id),
                Muting::Unchanged => return Ok(()),
            }
        };
        self.tell(everyone, &ServerMessage::Mute { peer_id: target, muted, authority, from });
        Ok(())
    }

    /// Tells everyone in the room of `from`, itself too.
    ///
    /// # Errors
    ///
    /// When it is in none.
    pub fn tell_room(&self, from: PeerId, message: &ServerMessage) -> Result<(), NotInRoom> {
        let everyone = {
            let registry = self.registry();
            let room = registry.room_of(from).ok_or(NotInRoom)?;
            registry.audience(&room)
        };
        self.tell(everyone, message);
        Ok(())
    }

    /// Sends one message to many.
    fn tell(&self, audience: Audience, message: &ServerMessage) {
        self.news(audience, message).send(&self.inner.metrics);
    }

    /// One message to many: written once, shared by all.
    fn news(&self, audience: Audience, message: &ServerMessage) -> News {
        if audience.receivers.is_empty() {
            return News::default();
        }
        let mut text = Vec::new();
        protocol::write(&mut text, message);
        let mut frame = Vec::with_capacity(text.len() + 10);
        encode(&mut frame, Opcode::Text, &text, None);
        News { audience, message: Some((message.index(), Frame::from(frame))) }
    }

    /// A panic elsewhere ends the process; until then what is there is told goodbye.
    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.inner.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// No place is left in a room.
struct Full;

impl Registry {
    /// The oldest room, and when it is as old as `ttl`.
    fn oldest(&self, ttl: Duration) -> Option<(RoomId, Instant)> {
        let (_, id) = self.ages.first_key_value()?;
        let held = self.rooms.get(id).expect("every room has an age, and every age a room");
        Some((id.clone(), held.since + ttl))
    }

    fn room_of(&self, peer: PeerId) -> Option<RoomId> {
        self.peers.get(&peer)?.room.clone()
    }

    /// Puts a peer into a room, which is made where it is not there: who is in it now.
    fn enter(&mut self, peer: PeerId, id: &RoomId, role: Role) -> Vec<Participant> {
        let (numbers, ages) = (&mut self.numbers, &mut self.ages);
        let held = self.rooms.entry(id.clone()).or_insert_with(|| {
            *numbers += 1;
            ages.insert(*numbers, id.clone());
            Held { room: Room::default(), since: Instant::now(), number: *numbers }
        });
        held.room.enter(peer, role);
        if let Some(found) = self.peers.get_mut(&peer) {
            found.room = Some(id.clone());
            found.outbox.enter(Some(held.number));
        }
        held.room.participants().collect()
    }

    /// Takes a peer out of its room: which, and whom to tell. The last one out ends the room.
    fn leave(&mut self, peer: PeerId) -> Option<(RoomId, Audience)> {
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

    /// Ends a room: whom to tell.
    fn expire(&mut self, id: &RoomId) -> Audience {
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

impl News {
    /// Says it.
    pub fn send(self, metrics: &Metrics) {
        let Some((index, frame)) = self.message else {
            return;
        };
        let Audience { receivers, room, ends } = self.audience;
        let push = |outbox: &&Arc<Outbox>| match ends {
            true => outbox.push_last(&frame, room),
            false => outbox.push(&frame, Some(room)),
        };
        metrics.sent(index, receivers.iter().filter(push).count() as u64);
    }

    /// Whether anybody is to hear it.
    pub fn is_empty(&self) -> bool {
        self.message.is_none()
    }
}

#[cfg(test)]
mod tests {
    use strum::VariantArray;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn peer(hub: &Hub, number: u8) -> PeerId {
        let id = format!("f47ac10b-58cc-4372-a567-0e02b2c3d4{number:02x}");
        let id = PeerId::parse(&id).unwrap();
        let outbox = Arc::new(Outbox::new(1000));
        let registration = hub.register(id, ClientId(number.into()), outbox);
        assert!(matches!(registration, Registration::Done));
        id
    }

    #[tokio::test(start_paused = true)]
    async fn rooms_end_at_their_age() {
        let hub = Hub::new(RoomLimits { ttl: Some(HOUR), peers: None }, Arc::default());
        let (first, second) = (peer(&hub, 1), peer(&hub, 2));
        assert_eq!(hub.expire(Instant::now()), (vec![], None));
        let old = hub.create_room(first).unwrap();
        hub.room_made().await;
        let due = Instant::now() + HOUR;
        tokio::time::advance(HOUR / 2).await;
        let young = hub.create_room(second).unwrap();
        assert_eq!(hub.expire(due - Duration::from_millis(1)), (vec![], Some(due)));
        assert_eq!(hub.expire(due), (vec![old.clone()], Some(due + HOUR / 2)));
        assert_eq!(hub.role_and_room(first), Err(NotInRoom));
        assert_eq!(hub.role_and_room(second), Ok((young, Role::Host)));
        assert_eq!(hub.join_room(second, &old).unwrap_err(), JoinError::NoSuchRoom);
        assert!(hub.create_room(first).is_ok(), "who was in it is still registered");
    }

    #[tokio::test(start_paused = true)]
    async fn rooms_that_end_leave_nothing_behind() {
        let hub = Hub::new(RoomLimits { ttl: Some(HOUR), peers: None }, Arc::default());
        let (first, second) = (peer(&hub, 1), peer(&hub, 2));
        hub.create_room(first).unwrap();
        tokio::time::advance(HOUR / 2).await;
        let young = hub.create_room(second).unwrap();
        hub.leave_room(first).unwrap();
        let due = Instant::now() + HOUR;
        assert_eq!(hub.expire(due - HOUR / 2), (vec![], Some(due)), "the older one has gone");
        assert_eq!(hub.expire(due), (vec![young], None));
        let registry = hub.registry();
        assert!(registry.rooms.is_empty() && registry.ages.is_empty());
    }

    #[test]
    fn a_room_has_its_limit() {
        let hub = Hub::new(RoomLimits { ttl: None, peers: Some(2) }, Arc::default());
        let peers = [1, 2, 3].map(|number| peer(&hub, number));
        let room = hub.create_room(peers[0]).unwrap();
        assert!(hub.join_room(peers[1], &room).is_ok());
        assert_eq!(hub.join_room(peers[2], &room).unwrap_err(), JoinError::Full);
        let invited =
            hub.create_or_join_room(peers[2], Some(room.clone()), Entry::Invited(Role::Ops));
        assert_eq!(invited.unwrap_err(), EntryError::Full);
        hub.leave_room(peers[0]).unwrap();
        assert!(hub.join_room(peers[2], &room).is_ok());
    }

    #[test]
    fn each_relay_has_one_outcome() {
        let metrics = Arc::<Metrics>::default();
        let hub = Hub::new(RoomLimits::default(), Arc::clone(&metrics));
        let (a, b, c) = (peer(&hub, 1), peer(&hub, 2), peer(&hub, 3));
        hub.create_room(c).unwrap();
        let relay = |to| hub.relay(MessageType::Offer, a, to, &"x".repeat(600));
        assert_eq!(relay(b), Ok(()), "delivered");
        assert_eq!(relay(b), Ok(()), "it does not fit");
        assert_eq!(relay(b), Ok(()), "the receiver is being ended");
        assert_eq!(relay(c), Err(RelayError::DifferentRoom));
        hub.unregister(c, ClientId(3));
        assert_eq!(relay(c), Err(RelayError::NotConnected));
        let outcomes = Relay::VARIANTS.iter().map(|outcome| metrics.relays(*outcome));
        assert_eq!(outcomes.collect::<Vec<_>>(), [1, 1, 1, 2, 0]);
    }
}
