//! Who the registered clients are, and who is in a room with whom.
//!
//! Owns the lock on peers and rooms, and that what is to be heard is sent after it. It deliberately knows no socket and
//! no session: what it has to say to a client goes to that client's outbox.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::signaling::broadcast::{Audience, News};
use crate::signaling::budget::ClientBudget;
use crate::signaling::command::{AiredBy, Command, Outcome, Proposer};
use crate::signaling::contest::Challenged;
use crate::signaling::entry::{Entered, RoomLimits};
use crate::signaling::identity::absence::Absence;
use crate::signaling::lines::{log_left, log_parted};
use crate::signaling::outbox::{Frame, Outbox};
use crate::signaling::place::Place;
use crate::signaling::registry::entering::Rival;
use crate::signaling::registry::parting::{Aftermath, Parting};
use crate::signaling::registry::{NotInRoom, Registered, Registry, RelayError};
use crate::signaling::sequencer::{Proposal, Proposed, Relay as Remote, Sequencer};
use crate::telemetry::counts::Counts;
use crate::telemetry::events::Event;
use crate::telemetry::journal::Journal;
use crate::telemetry::metrics::{Metrics, Relay};
use crate::wire::codes::CloseCode;
use crate::wire::frame::{Opcode, encode};
use crate::wire::ids::{ClientId, Holder, Identity, NodeId, PeerId, RoomId};
use crate::wire::reply::ServerMessage;
use crate::wire::request::MessageType;
use crate::wire::role::Role;

/// When what is over is proposed again, if it is not ended.
const EXPIRE_PAUSE: Duration = Duration::from_secs(1);

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
    /// The other nodes, where there are any. Set once, before the first client comes.
    sequencer: OnceLock<Arc<dyn Sequencer>>,
    /// Peers and rooms have one lock, because they must agree. Sessions write and read it by the methods
    /// below; nobody sends while it is held.
    registry: Mutex<Registry>,
}

/// A message on its way from one peer to another.
#[derive(Clone, Copy, Debug)]
pub struct Passed<'a> {
    /// Its type.
    pub kind: MessageType,
    /// Who sends it.
    pub from: PeerId,
    /// By which client.
    pub client: ClientId,
    /// Who is to get it.
    pub to: PeerId,
    /// As it was sent.
    pub text: &'a str,
    /// For the answer, where it does not arrive.
    pub request_id: Option<&'a str>,
}

impl Hub {
    /// An empty hub, with rooms within `limits`.
    pub fn new(limits: RoomLimits, metrics: Arc<Metrics>, journal: Journal) -> Self {
        let (ends, roles, sequencer) = Default::default();
        let registry = Mutex::new(Registry::new(limits));
        Self { inner: Arc::new(Inner { ends, roles, metrics, journal, sequencer, registry }) }
    }

    /// From here on changes are made when `sequencer` says so. Once, before the first client comes.
    pub fn join(&self, sequencer: Arc<dyn Sequencer>) {
        let _ = self.inner.sequencer.set(sequencer);
    }

    /// Waits for the lock that everything here needs, so that whoever asks knows it is to be had.
    pub fn touch(&self) {
        drop(self.registry());
    }

    /// How much there is.
    pub fn count(&self) -> Counts {
        self.registry().count()
    }

    /// A client of this node, as all nodes know it.
    pub fn holder(&self, client: ClientId) -> Holder {
        Holder { node: self.registry().node(), client }
    }

    fn sequencer(&self) -> Option<&dyn Sequencer> {
        self.inner.sequencer.get().map(|sequencer| &**sequencer)
    }

    /// Whether a proof of this identity that is `age` old counts now.
    pub fn counts(&self, identity: Identity, age: Duration) -> bool {
        self.registry().counts(identity, age, Instant::now())
    }

    /// Has a change made: at once, or where there are other nodes, when it is its turn. `outbox` is what the client that
    /// wants an id is to hear.
    pub fn propose(&self, command: Command, outbox: Option<Arc<Outbox>>) -> Proposed {
        let Some(sequencer) = self.sequencer() else {
            let proposer = Proposer { node: NodeId::default(), outbox };
            return Proposed::Made(self.make(command, proposer, Instant::now()));
        };
        let (outcome, made) = oneshot::channel();
        match sequencer.propose(Proposal { command, outbox, outcome }) {
            Ok(()) => Proposed::Waits(made),
            Err(_) => Proposed::Unavailable,
        }
    }

    /// Makes a change that it is the turn of, as of `now`, and says what others are to hear of it.
    pub fn apply(&self, command: Command, proposer: Proposer, now: Instant) -> Outcome {
        let mut outcome = self.make(command, proposer, now);
        if let Some(entered) = outcome.entered() {
            // The next change may be about whom this is about.
            std::mem::take(&mut entered.news).send(&self.inner.metrics);
        }
        outcome
    }

    /// Makes a change. Of who has come into a room the others hear by what is returned, behind the answer to it.
    fn make(&self, command: Command, proposer: Proposer, now: Instant) -> Outcome {
        let (outcome, after) = self.registry().apply(command, proposer, now);
        match &outcome {
            Outcome::Registered(Registered::Back(..))
            | Outcome::TakenOver(_)
            | Outcome::Created(Ok(_))
            | Outcome::Joined(Ok(_))
            | Outcome::Entered(Ok(_))
            | Outcome::Reclaimed(Some(_)) => self.has_changed(),
            _ if !after.is_empty() || after.parted.is_some() || !after.expired.is_empty() => {
                self.has_changed();
            }
            _ => {}
        }
        self.settle(after);
        outcome
    }

    /// `client` has gone, with what it may still send, if it is still the one that has the id `peer`.
    pub fn part(&self, peer: PeerId, client: ClientId, parting: Parting, budget: ClientBudget) {
        let parting = match parting {
            // Other nodes take its clients.
            Parting::Stopping if self.sequencer().is_some() => Parting::Draining,
            parting => parting,
        };
        self.propose(Command::Part { peer, client, parting, budget: Some(budget) }, None);
    }

    /// Ends the seat that is kept for this identity if more waits for it than may, as it would end a client.
    pub fn end_full_seat(&self, peer: PeerId, identity: Identity) {
        if self.registry().has_full_seat(peer, identity) {
            self.propose(Command::EndSeat { peer, identity }, None);
        }
    }

    /// Passes a message on, as it is.
    ///
    /// # Errors
    ///
    /// When the receiver is not there, not in the same room, or can't be reached now.
    pub fn relay(&self, passed: Passed<'_>) -> Result<(), RelayError> {
        let Passed { kind, from, client, to, text, request_id } = passed;
        let metrics = &self.inner.metrics;
        let route = self.registry().route(from, to);
        let (place, room) = route.inspect_err(|error| {
            match error {
                RelayError::NotConnected => metrics.relayed(kind, Relay::NotConnected),
                RelayError::DifferentRoom => metrics.relayed(kind, Relay::DifferentRoom),
                // It counts with the other refusals.
                RelayError::NoRoom | RelayError::Unavailable => {}
            }
        })?;
        let outbox = match (place, self.sequencer()) {
            (Place::Here(outbox), _) => outbox,
            (Place::Elsewhere(node), Some(sequencer)) => {
                let client = self.holder(client);
                let relay = Remote { kind, from, client, to, room, text, request_id };
                return sequencer.relay(node, relay).map_err(|_| RelayError::Unavailable);
            }
            (Place::Elsewhere(_), None) => return Err(RelayError::NotConnected),
        };
        let mut frame = Vec::with_capacity(text.len() + 10);
        encode(&mut frame, Opcode::Text, text.as_bytes(), None);
        let is_taken = outbox.push(&Frame::from(frame), room);
        metrics.relayed(kind, if is_taken { Relay::Delivered } else { Relay::Dropped });
        Ok(())
    }

    /// Whether changes can be made now, and what is known of peers and rooms is sure.
    pub fn takes_changes(&self) -> bool {
        self.sequencer().is_none_or(Sequencer::takes_changes)
    }

    /// Where `peer` is, as what, and who is there with it; nobody hears of it.
    pub fn present(&self, peer: PeerId) -> Option<Entered> {
        self.registry().present(peer)
    }

    /// Whether a role with more rights than `peer` has in its room is reserved for its identity there.
    pub fn may_reclaim(&self, peer: PeerId) -> bool {
        self.registry().may_reclaim(peer)
    }

    /// Asks another client whether it lives that has a role in `room` which its identity would get back: that of `peer`, or
    /// of the token that it has brought.
    pub fn challenge_rival(
        &self,
        peer: PeerId,
        token: Option<Identity>,
        room: &RoomId,
    ) -> Option<Challenged> {
        let Rival { peer, holder, place } = self.registry().rival(peer, token, room)?;
        Some(Challenged { peer, holder, alive: self.challenge(peer, holder, &place)? })
    }

    /// Asks a client that has the id `peer` whether it lives.
    pub fn challenge_client(&self, peer: PeerId, holder: Holder) -> Option<Challenged> {
        let place = self.registry().place_of(peer, holder)?;
        Some(Challenged { peer, holder, alive: self.challenge(peer, holder, &place)? })
    }

    /// Whether a client has the id `peer`, on whatever node.
    pub fn is_there(&self, peer: PeerId, holder: Holder) -> bool {
        self.registry().place_of(peer, holder).is_some()
    }

    /// Asks the client in that place, which has the id `peer`, whether it lives; `None` where too many ask already.
    pub fn challenge(
        &self,
        peer: PeerId,
        holder: Holder,
        place: &Place,
    ) -> Option<oneshot::Receiver<()>> {
        match place {
            Place::Here(outbox) => outbox.challenge(),
            Place::Elsewhere(_) => Some(self.sequencer()?.challenge(peer, holder)),
        }
    }

    /// What an earlier connection of a client, which has the id `peer` and was in that place, leaves to `client`, once it has
    /// handled what had come. The receiver gets what the client may still send.
    pub fn succeed(
        &self,
        peer: PeerId,
        client: ClientId,
        place: &Place,
    ) -> Option<oneshot::Receiver<ClientBudget>> {
        match place {
            Place::Here(outbox) => Some(outbox.ask_to_yield()),
            Place::Elsewhere(_) => Some(self.sequencer()?.await_sent(peer, self.holder(client))),
        }
    }

    /// Says something to one peer, if it is on this node.
    pub fn tell_peer(&self, peer: PeerId, message: &ServerMessage) {
        let audience = self.registry().one(peer);
        self.tell(audience, message);
    }

    /// Something may end earlier than was last known, and somebody may have another role to come back to.
    pub(super) fn has_changed(&self) {
        self.inner.ends.notify_one();
        self.inner.roles.notify_one();
    }

    /// Ends rooms that are too old, but not the one that is on air, and what was kept for long enough, and tells who is in
    /// the rooms. Returns when the next thing ends.
    pub fn expire(&self, on_air: Option<&RoomId>) -> Option<Instant> {
        let now = Instant::now();
        let elsewhere = self.registry().aired_elsewhere();
        let on_air = on_air.or(elsewhere.as_ref());
        let next = || self.registry().next_end(on_air);
        if next().is_none_or(|end| end > now) {
            return next();
        }
        match self.propose(Command::Expire { on_air: on_air.cloned() }, None) {
            Proposed::Made(_) => next(),
            Proposed::Waits(_) | Proposed::Unavailable => Some(now + EXPIRE_PAUSE),
        }
    }

    /// Who is on air, where there are other nodes.
    pub fn aired_by(&self) -> Option<AiredBy> {
        self.sequencer()?;
        Some(self.registry().aired_by())
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

    /// Does what is left to be done, without the lock.
    fn settle(&self, after: Aftermath) {
        for outbox in after.replaced {
            outbox.close(CloseCode::REPLACED);
        }
        for moved in after.moved {
            if let Some(sequencer) = self.sequencer() {
                sequencer.send_after(moved);
            }
        }
        for left in after.left {
            log_left(&self.inner.journal, &left);
            self.tell(left.others, &ServerMessage::PeerLeft { peer_id: left.peer });
        }
        for news in after.news {
            news.send(&self.inner.metrics);
        }
        for (room_id, age) in after.expired {
            self.inner.journal.log(Event::RoomExpired { room_id, ttl_ms: age.as_millis() });
        }
        if let Some(parted) = after.parted {
            log_parted(&self.inner.journal, parted);
        }
    }

    /// Sends what is to be heard.
    pub(super) fn say(&self, news: News) {
        news.send(&self.inner.metrics);
    }

    /// Sends one message to many.
    pub(super) fn tell(&self, audience: Audience, message: &ServerMessage) {
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
    use crate::signaling::command::{Action, Newcomer};
    use crate::telemetry::level::Level;

    fn peer(hub: &Hub, number: u8) -> PeerId {
        let id = format!("f47ac10b-58cc-4372-a567-0e02b2c3d4{number:02x}");
        let id = PeerId::parse(&id).unwrap();
        let newcomer = Newcomer {
            client: ClientId(number.into()),
            identity: Identity::from_bytes([number; 16]),
            ip: [127, 0, 0, 1].into(),
            is_check: false,
        };
        let command = Command::Register { peer: id, newcomer };
        let registered = hub.propose(command, Some(Arc::new(Outbox::new(1000))));
        assert!(matches!(registered, Proposed::Made(Outcome::Registered(Registered::Done))));
        id
    }

    #[tokio::test]
    async fn each_relay_has_one_outcome() {
        let (metrics, journal) = (Arc::<Metrics>::default(), Journal::start(Level::Error).unwrap());
        let hub = Hub::new(RoomLimits::default(), Arc::clone(&metrics), journal.0);
        let (a, b, c) = (peer(&hub, 1), peer(&hub, 2), peer(&hub, 3));
        let action = Action::CreateRoom { room: RoomId::from("show") };
        hub.propose(
            Command::Act { peer: c, identity: Identity::from_bytes([3; 16]), action },
            None,
        );
        let relay = |to| {
            let (kind, client, text) = (MessageType::Offer, ClientId(1), &"x".repeat(600));
            hub.relay(Passed { kind, from: a, client, to, text, request_id: None })
        };
        assert_eq!(relay(b), Ok(()), "delivered");
        assert_eq!(relay(b), Ok(()), "it does not fit");
        assert_eq!(relay(b), Ok(()), "the receiver is being ended");
        assert_eq!(relay(c), Err(RelayError::DifferentRoom));
        let budget = ClientBudget::new(None, Instant::now());
        hub.part(c, ClientId(3), Parting::Left, budget);
        assert_eq!(relay(c), Err(RelayError::NotConnected));
        let outcomes = Relay::VARIANTS.iter().map(|outcome| metrics.relays(*outcome));
        assert_eq!(outcomes.collect::<Vec<_>>(), [1, 1, 1, 2, 0]);
    }
}
