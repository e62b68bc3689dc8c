//! Who the registered clients are, and who is in a room with whom.
//!
//! Owns the lock on peers and rooms, and that what is to be heard is sent after it. It deliberately knows no socket and
//! no session: what it has to say to a client goes to that client's outbox.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::signaling::broadcast::{Audience, News};
use crate::signaling::budget::ClientBudget;
use crate::signaling::contest::Challenged;
use crate::signaling::entry::{Entered, Entry, EntryError, JoinError, RoomLimits};
use crate::signaling::identity::absence::Absence;
use crate::signaling::outbox::Frame;
use crate::signaling::registry::entering::Rival;
use crate::signaling::registry::parting::{Aftermath, Expired, LeftSeat, Parting, Remains};
use crate::signaling::registry::{Arrival, NotInRoom, Registered, Registry, RelayError, TakeOver};
use crate::signaling::room::MuteError;
use crate::telemetry::events::Event;
use crate::telemetry::journal::Journal;
use crate::telemetry::metrics::{Counts, Metrics, Relay};
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
    /// Told when the end of something may be nearer than it was.
    ends: Notify,
    /// Told when somebody may have another role to come back to.
    roles: Notify,
    metrics: Arc<Metrics>,
    journal: Journal,
    /// Peers and rooms have one lock, because they must agree. Sessions write and read it by the methods
    /// below; nobody sends while it is held.
    registry: Mutex<Registry>,
}

/// What `register` comes to.
#[derive(Debug)]
pub enum Registration {
    /// The id is the client's.
    Done,
    /// The id is the client's again, with its seat in the room, which was kept: which client had it, and what may be
    /// sent still where it told.
    Back(ClientId, Option<ClientBudget>),
    /// The id is the client's, once an earlier connection of its own has handled what had come.
    Yielding {
        /// Which client that is.
        by: ClientId,
        /// Resolves when it has, with what may be sent still, and fails when its session ends otherwise.
        left: oneshot::Receiver<ClientBudget>,
    },
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
    pub fn new(limits: RoomLimits, metrics: Arc<Metrics>, journal: Journal) -> Self {
        let (ends, roles) = (Notify::new(), Notify::new());
        let registry = Mutex::new(Registry::new(limits));
        Self { inner: Arc::new(Inner { ends, roles, metrics, journal, registry }) }
    }

    /// Waits for the lock that everything here needs, so that whoever asks knows it is to be had.
    pub fn touch(&self) {
        drop(self.registry());
    }

    /// How much there is.
    pub fn count(&self) -> Counts {
        self.registry().count()
    }

    /// Whether a proof of this identity that is `age` old counts now.
    pub fn counts(&self, identity: Identity, age: Duration) -> bool {
        self.registry().counts(identity, age, Instant::now())
    }

    /// Gives a client the id `peer` if it is free or its own; else the server pings the client that holds it.
    pub fn register(&self, peer: PeerId, arrival: Arrival) -> Registration {
        let (registered, after) = self.registry().register(peer, arrival, Instant::now());
        if matches!(registered, Registered::Back(..)) || !after.is_empty() {
            self.has_changed();
        }
        self.settle(after);
        match registered {
            Registered::Done => Registration::Done,
            Registered::Back(before, budget) => Registration::Back(before, budget),
            Registered::Yielding(by, holder) => {
                Registration::Yielding { by, left: holder.ask_to_yield() }
            }
            Registered::Held(by, holder, time) => match holder.challenge() {
                Some(alive) => Registration::Held { by, alive, time },
                None => Registration::Refused,
            },
            Registered::Refused => Registration::Refused,
        }
    }

    /// Gives a client the id `peer`, if `holder`, which was silent, still has it or nobody has. The holder is ended with
    /// 4010, and its seat is kept for a while.
    pub fn take_over(&self, peer: PeerId, holder: ClientId, arrival: Arrival) -> TakeOver {
        let (outcome, after) = self.registry().take_over(peer, holder, arrival, Instant::now());
        self.settle(after);
        self.has_changed();
        outcome
    }

    /// `client` has gone, with what it may still send, if it is still the one that has the id `peer`. Returns what is
    /// kept for it, if anything is.
    pub fn part(
        &self,
        peer: PeerId,
        client: ClientId,
        parting: Parting,
        budget: ClientBudget,
    ) -> Option<Remains> {
        let (remains, after) = self.registry().part(peer, client, parting, budget, Instant::now());
        if parting == Parting::Stopping {
            // Everybody goes: no call has to end for it.
            after.left.iter().for_each(|left| self.log_left(left));
            return None;
        }
        if !after.left.is_empty() || remains.is_some() {
            self.has_changed();
        }
        self.settle(after);
        remains
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
        let room = self.registry().create_room(peer, RoomId::random(), Instant::now());
        room.inspect(|_| self.has_changed())
    }

    /// Takes `peer` into a room that there is.
    ///
    /// # Errors
    ///
    /// When there is no such room or no place in it, or the peer is in one already.
    pub fn join_room(&self, peer: PeerId, room: &RoomId) -> Result<Entered, JoinError> {
        let entered = self.registry().join_room(peer, room, Instant::now());
        entered.inspect(|_| self.has_changed())
    }

    /// Takes `peer` into a room, which is made where it is not there: with what is reserved in it for its identity, or
    /// for that of the token that it has brought, or else as `otherwise` says.
    ///
    /// # Errors
    ///
    /// When it may not come in, the role is invalid, the room is full, or the peer is in a room already.
    pub fn create_or_join_room(
        &self,
        peer: PeerId,
        room: &RoomId,
        token: Option<Identity>,
        otherwise: Result<Entry, EntryError>,
    ) -> Result<Entered, EntryError> {
        let now = Instant::now();
        let entered = self.registry().create_or_join_room(peer, room, token, otherwise, now);
        let (entered, after) = entered?;
        self.settle(after);
        self.has_changed();
        Ok(entered)
    }

    /// Where `peer` is, as what, and who is there with it; nobody hears of it.
    pub fn present(&self, peer: PeerId) -> Option<Entered> {
        self.registry().present(peer)
    }

    /// Gives `peer`, which is in a room, the role with more rights that is reserved for its identity there, if one is. The
    /// others hear of it.
    pub fn reclaim(&self, peer: PeerId) -> Option<Entered> {
        let (entered, after) = self.registry().reclaim(peer, Instant::now())?;
        self.settle(after);
        self.has_changed();
        Some(entered)
    }

    /// Asks another client whether it lives that has a role in `room` which its identity would get back: that of `peer`, or
    /// of the token that it has brought.
    pub fn challenge_rival(
        &self,
        peer: PeerId,
        token: Option<Identity>,
        room: &RoomId,
    ) -> Option<Challenged> {
        let Rival { peer, client, outbox } = self.registry().rival(peer, token, room)?;
        Some(Challenged { peer, client, alive: outbox.challenge()? })
    }

    /// Asks a client that has the id `peer` whether it lives.
    pub fn challenge_client(&self, peer: PeerId, client: ClientId) -> Option<Challenged> {
        let alive = self.registry().outbox_of(peer, client)?.challenge()?;
        Some(Challenged { peer, client, alive })
    }

    /// Says something to one peer, if it is there.
    pub fn tell_peer(&self, peer: PeerId, message: &ServerMessage) {
        let audience = self.registry().one(peer);
        self.tell(audience, message);
    }

    /// Ends `client`, which was silent, with 4010, if it still has the id `peer`: its seat is kept.
    pub fn silence(&self, peer: PeerId, client: ClientId) {
        let after = self.registry().silence(peer, client, Instant::now());
        self.settle(after);
        self.has_changed();
    }

    /// Something may end earlier than was last known, and somebody may have another role to come back to.
    pub(super) fn has_changed(&self) {
        self.inner.ends.notify_one();
        self.inner.roles.notify_one();
    }

    /// Ends rooms that are too old, but not the one that is on air, and what was kept for long enough, and tells who is in the rooms. Returns which rooms
    /// these were, and when the next thing ends.
    pub fn expire(&self, now: Instant, on_air: Option<&RoomId>) -> (Vec<RoomId>, Option<Instant>) {
        let Expired { rooms, after, next } = self.registry().expire(now, on_air);
        if !(rooms.is_empty() && after.left.is_empty()) {
            self.inner.roles.notify_one();
        }
        self.settle(after);
        let tell = |(room_id, everyone)| {
            self.tell(everyone, &ServerMessage::RoomExpired { room_id: &room_id });
            room_id
        };
        (rooms.into_iter().map(tell).collect(), next)
    }

    /// Resolves when something may end earlier than was last known.
    pub async fn ends_earlier(&self) {
        self.inner.ends.notified().await;
    }

    /// Resolves when [`Self::reserved`] may have changed.
    pub async fn roles_changed(&self) {
        self.inner.roles.notified().await;
    }

    /// The roles that are reserved now, and those that would be if everybody were gone.
    pub fn reserved(&self) -> (Vec<Absence>, Vec<Absence>) {
        self.registry().reserved(Instant::now())
    }

    /// Keeps what was reserved before a restart.
    pub fn remember(&self, absences: Vec<Absence>) {
        self.registry().remember(absences);
    }

    /// Takes `peer` out of its room; the others are told.
    ///
    /// # Errors
    ///
    /// When it is in none.
    pub fn leave_room(&self, peer: PeerId) -> Result<RoomId, NotInRoom> {
        let left = self.registry().leave(peer, Instant::now()).ok_or(NotInRoom)?;
        let room = left.room.clone();
        self.settle(Aftermath { left: vec![left], ..Aftermath::default() });
        self.inner.roles.notify_one();
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

    /// Does what is left to be done, without the lock.
    fn settle(&self, after: Aftermath) {
        for outbox in after.replaced {
            outbox.close(CloseCode::REPLACED);
        }
        for left in after.left {
            self.log_left(&left);
            self.tell(left.others, &ServerMessage::PeerLeft { peer_id: left.peer });
        }
    }

    fn log_left(&self, left: &LeftSeat) {
        self.inner.journal.log(Event::RoomLeft {
            client_ip: left.arrival.ip,
            client_id: left.arrival.client,
            peer_id: left.peer,
            room_id: left.room.clone(),
        });
    }

    /// Sends one message to many.
    fn tell(&self, audience: Audience, message: &ServerMessage) {
        News::new(audience, message).send(&self.inner.metrics);
    }

    /// A panic elsewhere ends the process; until then what is there is told goodbye.
    pub(super) fn registry(&self) -> MutexGuard<'_, Registry> {
        self.inner.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use strum::VariantArray;

    use super::*;
    use crate::signaling::outbox::Outbox;
    use crate::telemetry::level::Level;

    fn peer(hub: &Hub, number: u8) -> PeerId {
        let id = format!("f47ac10b-58cc-4372-a567-0e02b2c3d4{number:02x}");
        let id = PeerId::parse(&id).unwrap();
        let arrival = Arrival {
            client: ClientId(number.into()),
            identity: Identity::random(),
            ip: [127, 0, 0, 1].into(),
            is_check: false,
            outbox: Arc::new(Outbox::new(1000)),
        };
        assert!(matches!(hub.register(id, arrival), Registration::Done));
        id
    }

    #[tokio::test]
    async fn each_relay_has_one_outcome() {
        let (metrics, journal) = (Arc::<Metrics>::default(), Journal::start(Level::Error).unwrap());
        let hub = Hub::new(RoomLimits::default(), Arc::clone(&metrics), journal.0);
        let (a, b, c) = (peer(&hub, 1), peer(&hub, 2), peer(&hub, 3));
        hub.create_room(c).unwrap();
        let relay = |to| hub.relay(MessageType::Offer, a, to, &"x".repeat(600));
        assert_eq!(relay(b), Ok(()), "delivered");
        assert_eq!(relay(b), Ok(()), "it does not fit");
        assert_eq!(relay(b), Ok(()), "the receiver is being ended");
        assert_eq!(relay(c), Err(RelayError::DifferentRoom));
        let budget = ClientBudget::new(None, Instant::now());
        assert_eq!(hub.part(c, ClientId(3), Parting::Left, budget), None);
        assert_eq!(relay(c), Err(RelayError::NotConnected));
        let outcomes = Relay::VARIANTS.iter().map(|outcome| metrics.relays(*outcome));
        assert_eq!(outcomes.collect::<Vec<_>>(), [1, 1, 1, 2, 0]);
    }
}
