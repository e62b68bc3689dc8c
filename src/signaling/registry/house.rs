//! A registry for tests, whose time is moved by hand.
//!
//! Owns how tests register, enter and part. It deliberately knows no socket.

use super::parting::{Parting, Remains};
use super::*;
use crate::signaling::entry::{Entry, EntryError};
use crate::wire::codes::CloseCode;
use crate::wire::role::Participant;

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const RESERVE: Duration = Duration::from_secs(600);

/// A registry and a clock.
pub(super) struct House {
    pub(super) registry: Registry,
    pub(super) now: Instant,
    pub(super) clients: u64,
}

/// A connection of somebody.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) peer: PeerId,
    pub(super) client: ClientId,
    pub(super) identity: Identity,
    pub(super) outbox: Arc<Outbox>,
}

impl Connection {
    pub(super) fn holder(&self) -> Holder {
        Holder { node: NodeId::default(), client: self.client }
    }
}

pub(super) fn peer(number: u8) -> PeerId {
    PeerId::parse(&format!("f47ac10b-58cc-4372-a567-0e02b2c3d4{number:02x}")).unwrap()
}

pub(super) fn show() -> RoomId {
    RoomId::from("show")
}

impl House {
    pub(super) fn new(limits: RoomLimits) -> Self {
        let limits = RoomLimits { role_reserve: RESERVE, ..limits };
        Self { registry: Registry::new(limits), now: Instant::now(), clients: 0 }
    }

    pub(super) fn arrival(&mut self, identity: Identity) -> Arrival {
        self.clients += 1;
        Arrival {
            client: ClientId(self.clients),
            identity,
            ip: [192, 0, 2, 1].into(),
            is_check: false,
            place: Place::Here(Arc::new(Outbox::new(1000))),
        }
    }

    /// Registers, with what comes of it.
    pub(super) fn try_register(
        &mut self,
        number: u8,
        identity: Identity,
    ) -> (Registered, Connection) {
        let arrival = self.arrival(identity);
        let Arrival { client, place, .. } = arrival.clone();
        let outbox = Arc::clone(place.here().unwrap());
        if self.registry.has_full_seat(peer(number), identity) {
            self.registry.end_seat(peer(number), identity, self.now);
        }
        let (registered, after) = self.registry.register(peer(number), arrival, self.now);
        for replaced in after.replaced {
            replaced.close(CloseCode::REPLACED);
        }
        (registered, Connection { peer: peer(number), client, identity, outbox })
    }

    /// Registers under an id that nobody keeps.
    pub(super) fn register(&mut self, number: u8, identity: Identity) -> Connection {
        let (registered, connection) = self.try_register(number, identity);
        assert!(matches!(registered, Registered::Done), "{registered:?}");
        connection
    }

    pub(super) fn enter(&mut self, who: &Connection, entry: Entry) -> Result<Entered, EntryError> {
        self.enter_with(who, None, Some(entry))
    }

    pub(super) fn enter_with(
        &mut self,
        who: &Connection,
        token: Option<Identity>,
        otherwise: Option<Entry>,
    ) -> Result<Entered, EntryError> {
        let entered =
            self.registry.create_or_join_room(who.peer, &show(), token, otherwise, self.now);
        entered.map(|(entered, _)| entered)
    }

    pub(super) fn role(&mut self, who: &Connection, asked: Role) -> Role {
        self.enter(who, Entry::Asked(Ok(asked))).unwrap().role
    }

    pub(super) fn part(&mut self, who: &Connection, parting: Parting) -> Option<Remains> {
        let budget = ClientBudget::new(None, self.now);
        let holder = who.holder();
        let after = self.registry.part(who.peer, holder, parting, Some(budget), self.now);
        after.parted.map(|parted| parted.remains)
    }

    /// Who leaves a seat within this time.
    pub(super) fn wait(&mut self, time: Duration) -> Vec<PeerId> {
        self.now += time;
        let left = self.registry.expire(self.now, None).left;
        left.into_iter().map(|left| left.peer).collect()
    }

    pub(super) fn participants(&self, who: &Connection) -> Vec<(PeerId, Role)> {
        let joined = self.registry.present(who.peer).unwrap().joined.unwrap();
        joined.into_iter().map(|Participant { peer_id, role }| (peer_id, role)).collect()
    }

    /// Where a relay goes.
    pub(super) fn route(&self, from: PeerId, to: PeerId) -> (Arc<Outbox>, Option<RoomNumber>) {
        let (place, room) = self.registry.route(from, to).unwrap();
        (Arc::clone(place.here().unwrap()), room)
    }

    pub(super) fn outbox_of(&self, who: &Connection) -> Arc<Outbox> {
        Arc::clone(self.registry.peers[&who.peer].arrival.place.here().unwrap())
    }
}

pub(super) fn texts(outbox: &Outbox) -> Vec<u8> {
    let mut out = Vec::new();
    outbox.take(&mut out, usize::MAX).unwrap();
    out
}

pub(super) fn invited(role: Role) -> Entry {
    Entry::Invited { role, end: 1_760_804_444 }
}
