//! Who the registered clients are, and who is in a room with whom.
//!
//! Owns the lock on peers and rooms, and that what is to be heard is sent after it. It deliberately knows no socket and
//! no session: what it has to say to a client goes to that client's outbox.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::signaling::broadcast::{Audience, News};
use crate::signaling::entry::{Entered, Entry, EntryError, JoinError, RoomLimits};
use crate::signaling::outbox::{Frame, Outbox};
use crate::signaling::registry::{NotInRoom, Registered, Registry, RelayError, Replaced, TakeOver};
use crate::signaling::room::MuteError;
use crate::telemetry::metrics::{Metrics, Relay};
use crate::wire::codes::CloseCode;
use crate::wire::frame::{Opcode, encode};
use crate::wire::ids::{ClientId, Identity, PeerId, RoomId};
use crate::wire::reply::ServerMessage;
use crate::wire::request::MessageType;
use crate::wire::role::{Authority, Role};

/// The shared handle: cheap to clone.
#[derive(Clone, Debug)]
pub struct Hub {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Told when a room is made while there is none that is older.
    made: Notify,
    metrics: Arc<Metrics>,
    /// Peers and rooms have one lock, because they must agree. Sessions write and read it by the methods
    /// below; nobody sends while it is held.
    registry: Mutex<Registry>,
}

/// What `register` comes to.
#[derive(Debug)]
pub enum Registration {
    /// The id is the client's.
    Done,
    /// The id is the client's again, with its place in the room; this client had it.
    Back(ClientId),
    /// Somebody has the id.
    Held {
        /// Who.
        by: ClientId,
        /// Resolves when the holder answers, and fails when its session ends.
        alive: oneshot::Receiver<()>,
        /// How long the holder has to answer.
        time: Duration,
    },
    /// Somebody has the id, and keeps it.
    Refused,
}

impl Hub {
    /// An empty hub, with rooms within `limits`.
    pub fn new(limits: RoomLimits, metrics: Arc<Metrics>) -> Self {
        let (made, registry) = (Notify::new(), Mutex::new(Registry::new(limits)));
        Self { inner: Arc::new(Inner { made, metrics, registry }) }
    }

    /// Waits for the lock that everything here needs, so that whoever asks knows it is to be had.
    pub fn touch(&self) {
        drop(self.registry());
    }

    /// How many peers and rooms there are, and how many bytes wait for all peers together.
    pub fn count(&self) -> (usize, usize, usize) {
        self.registry().count()
    }

    /// Whether a proof of this identity that is `age` old counts now.
    pub fn counts(&self, identity: Identity, age: Duration) -> bool {
        self.registry().counts(identity, age, Instant::now())
    }

    /// Gives `client`, with `identity` behind it, the id `peer` if it is free or its own; else the server pings the
    /// client that holds it. Another connection of its own is ended with 4010.
    pub fn register(
        &self,
        peer: PeerId,
        client: ClientId,
        identity: Identity,
        outbox: Arc<Outbox>,
    ) -> Registration {
        let registered = self.registry().register(peer, client, identity, outbox, Instant::now());
        match registered {
            Registered::Done => Registration::Done,
            Registered::Back(before, old) => {
                old.close(CloseCode::REPLACED);
                Registration::Back(before)
            }
            Registered::Held(by, holder, time) => match holder.challenge() {
                Some(alive) => Registration::Held { by, alive, time },
                None => Registration::Refused,
            },
            Registered::Refused => Registration::Refused,
        }
    }

    /// Gives `client` the id `peer`, if `holder`, which was silent, still has it or nobody has. The holder is ended with
    /// 4010, and has left its room.
    pub fn take_over(
        &self,
        peer: PeerId,
        holder: ClientId,
        client: ClientId,
        identity: Identity,
        outbox: Arc<Outbox>,
    ) -> TakeOver {
        let now = Instant::now();
        let (outcome, replaced) =
            self.registry().take_over(peer, holder, client, identity, outbox, now);
        if let Some(Replaced { outbox, others }) = replaced {
            outbox.close(CloseCode::REPLACED);
            if let Some(others) = others {
                self.tell(others, &ServerMessage::PeerLeft { peer_id: peer });
            }
        }
        outcome
    }

    /// Takes `peer` out, and out of its room, if it is still `client` that has the id. Returns the room, in which the
    /// others are told, or not.
    pub fn unregister(
        &self,
        peer: PeerId,
        client: ClientId,
        others_are_told: bool,
    ) -> Option<RoomId> {
        let left = self.registry().unregister(peer, client, Instant::now());
        let (room, others) = left?;
        if others_are_told {
            self.tell(others, &ServerMessage::PeerLeft { peer_id: peer });
        }
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
        let route = self.registry().route(from, to);
        let (outbox, room) = route.inspect_err(|error| {
            match error {
                RelayError::NotConnected => metrics.relayed(kind, Relay::NotConnected),
                RelayError::DifferentRoom => metrics.relayed(kind, Relay::DifferentRoom),
                // It counts with the other refusals.
                RelayError::NoRoom => {}
            }
        })?;
        let mut frame = Vec::with_capacity(text.len() + 10);
        encode(&mut frame, Opcode::Text, text.as_bytes(), None);
        let is_taken = outbox.push(&Frame::from(frame), room);
        metrics.relayed(kind, if is_taken { Relay::Delivered } else { Relay::Dropped });
        Ok(())
    }

    /// Makes a room with `peer` as its host.
    ///
    /// # Errors
    ///
    /// The room that the peer is in already.
    pub fn create_room(&self, peer: PeerId) -> Result<RoomId, RoomId> {
        let mut registry = self.registry();
        let room = registry.create_room(peer, RoomId::random(), Instant::now())?;
        self.made_in(&registry);
        Ok(room)
    }

    /// Takes `peer` into a room that there is.
    ///
    /// # Errors
    ///
    /// When there is no such room or no place in it, or the peer is in one already.
    pub fn join_room(&self, peer: PeerId, room: &RoomId) -> Result<Entered, JoinError> {
        self.registry().join_room(peer, room, Instant::now())
    }

    /// Takes `peer` into a room, which is made where it is not there.
    ///
    /// # Errors
    ///
    /// When the role is invalid, the room is full, or the peer is in a room already.
    pub fn create_or_join_room(
        &self,
        peer: PeerId,
        room: RoomId,
        entry: Entry,
    ) -> Result<Entered, EntryError> {
        let mut registry = self.registry();
        let entered = registry.create_or_join_room(peer, room, entry, Instant::now())?;
        if entered.joined.is_none() {
            self.made_in(&registry);
        }
        Ok(entered)
    }

    /// A room was made: whoever waits for the end of an older one looks then.
    fn made_in(&self, registry: &Registry) {
        if registry.has_one_room() {
            self.inner.made.notify_one();
        }
    }

    /// Ends the rooms that are too old, and tells who is in them. Returns which, and when the next one will be.
    pub fn expire(&self, now: Instant) -> (Vec<RoomId>, Option<Instant>) {
        let (ended, next) = self.registry().expire(now);
        let tell = |(room_id, everyone)| {
            self.tell(everyone, &ServerMessage::RoomExpired { room_id: &room_id });
            room_id
        };
        (ended.into_iter().map(tell).collect(), next)
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
        let left = self.registry().leave(peer);
        let (room, others) = left.ok_or(NotInRoom)?;
        self.tell(others, &ServerMessage::PeerLeft { peer_id: peer });
        Ok(room)
    }

    /// Whether there is such a room.
    pub fn has_room(&self, room: &RoomId) -> bool {
        self.registry().has_room(room)
    }

    /// How many other peers are in the room of `peer`.
    pub fn others(&self, peer: PeerId) -> usize {
        self.registry().others(peer)
    }

    /// Where `peer` is, as what, and who is there with it; nobody hears of it.
    pub fn present(&self, peer: PeerId) -> Option<Entered> {
        self.registry().present(peer)
    }

    /// Where `peer` is, and as what.
    ///
    /// # Errors
    ///
    /// When it is in no room.
    pub fn role_and_room(&self, peer: PeerId) -> Result<(RoomId, Role), NotInRoom> {
        self.registry().role_and_room(peer)
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
        let changed = self.registry().mute(from, target, muted, authority)?;
        if let Some(everyone) = changed {
            self.tell(everyone, &ServerMessage::Mute { peer_id: target, muted, authority, from });
        }
        Ok(())
    }

    /// Tells everyone in the room of `from`, itself too.
    ///
    /// # Errors
    ///
    /// When it is in none.
    pub fn tell_room(&self, from: PeerId, message: &ServerMessage) -> Result<(), NotInRoom> {
        let everyone = self.registry().everyone(from)?;
        self.tell(everyone, message);
        Ok(())
    }

    /// Sends one message to many.
    fn tell(&self, audience: Audience, message: &ServerMessage) {
        News::new(audience, message).send(&self.inner.metrics);
    }

    /// A panic elsewhere ends the process; until then what is there is told goodbye.
    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.inner.registry.lock().unwrap_or_else(PoisonError::into_inner)
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
        let registration = hub.register(id, ClientId(number.into()), Identity::random(), outbox);
        assert!(matches!(registration, Registration::Done));
        id
    }

    #[tokio::test(start_paused = true)]
    async fn rooms_end_at_their_age() {
        let hub = Hub::new(RoomLimits { ttl: Some(HOUR), ..RoomLimits::default() }, Arc::default());
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
        let hub = Hub::new(RoomLimits { ttl: Some(HOUR), ..RoomLimits::default() }, Arc::default());
        let (first, second) = (peer(&hub, 1), peer(&hub, 2));
        hub.create_room(first).unwrap();
        tokio::time::advance(HOUR / 2).await;
        let young = hub.create_room(second).unwrap();
        hub.leave_room(first).unwrap();
        let due = Instant::now() + HOUR;
        assert_eq!(hub.expire(due - HOUR / 2), (vec![], Some(due)), "the older one has gone");
        assert_eq!(hub.expire(due), (vec![young], None));
        let (peers, rooms, _) = hub.count();
        assert_eq!((peers, rooms), (2, 0));
    }

    #[test]
    fn a_room_has_its_limit() {
        let hub = Hub::new(RoomLimits { peers: Some(2), ..RoomLimits::default() }, Arc::default());
        let peers = [1, 2, 3].map(|number| peer(&hub, number));
        let room = hub.create_room(peers[0]).unwrap();
        assert!(hub.join_room(peers[1], &room).is_ok());
        assert_eq!(hub.join_room(peers[2], &room).unwrap_err(), JoinError::Full);
        let invited = hub.create_or_join_room(peers[2], room.clone(), Entry::Invited(Role::Ops));
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
        hub.unregister(c, ClientId(3), true);
        assert_eq!(relay(c), Err(RelayError::NotConnected));
        let outcomes = Relay::VARIANTS.iter().map(|outcome| metrics.relays(*outcome));
        assert_eq!(outcomes.collect::<Vec<_>>(), [1, 1, 1, 2, 0]);
    }
}
