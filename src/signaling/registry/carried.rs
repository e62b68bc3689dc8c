//! All peers and rooms on their way to the process that follows this one.
//!
//! Owns what of them crosses, and that both processes agree on it. It deliberately carries nobody who waits for an answer
//! of somebody else: who asks is asked again.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::signaling::budget::{CarriedBudget, ClientBudget};
use crate::signaling::identity::absence::{Absence, CarriedAbsence};
use crate::signaling::identity::holding::{CarriedHolding, Holding};
use crate::signaling::identity::identities::Identities;
use crate::signaling::outbox::{CarriedOutbox, Outbox, RoomNumber};
use crate::signaling::place::Place;
use crate::signaling::registry::{Aired, Arrival, Kept, Peer, Registry, Seat};
use crate::signaling::rooms::CarriedRoom;
use crate::telemetry::subnet::subnet;
use crate::wire::carried::{Moment, is_default};
use crate::wire::ids::{ClientId, Identity, NodeId, PeerId, RoomId};

/// What is carried.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct CarriedRegistry {
    rooms: Vec<CarriedRoom>,
    room_numbers: RoomNumber,
    peers: Vec<CarriedPeer>,
    kept: Vec<CarriedKept>,
    identities: Vec<(Identity, Moment)>,
    absences: Vec<CarriedAbsence>,
    spent: Vec<(Identity, RoomId)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    air: Option<Aired>,
}

#[derive(Debug, Serialize, Deserialize)]
struct CarriedPeer {
    id: PeerId,
    arrival: CarriedArrival,
    holding: CarriedHolding,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seat: Option<CarriedSeat>,
}

#[derive(Debug, Serialize, Deserialize)]
struct CarriedKept {
    id: PeerId,
    arrival: CarriedArrival,
    seat: CarriedSeat,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    budget: Option<CarriedBudget>,
}

#[derive(Debug, Serialize, Deserialize)]
struct CarriedArrival {
    client: ClientId,
    identity: Identity,
    ip: IpAddr,
    #[serde(default, skip_serializing_if = "is_default")]
    is_check: bool,
    /// Where it is, if that is another node.
    #[serde(default, skip_serializing_if = "is_default")]
    node: Option<NodeId>,
    #[serde(default, skip_serializing_if = "is_default")]
    outbox: CarriedOutbox,
}

#[derive(Debug, Serialize, Deserialize)]
struct CarriedSeat {
    room: RoomId,
    #[serde(default, skip_serializing_if = "is_default")]
    invite_end: Option<u64>,
}

impl From<&Seat> for CarriedSeat {
    fn from(seat: &Seat) -> Self {
        Self { room: seat.room.clone(), invite_end: seat.invite_end }
    }
}

impl From<CarriedSeat> for Seat {
    fn from(CarriedSeat { room, invite_end }: CarriedSeat) -> Self {
        Self { room, invite_end }
    }
}

impl From<&Arrival> for CarriedArrival {
    fn from(Arrival { client, identity, ip, is_check, place }: &Arrival) -> Self {
        let outbox = place.here().map(|outbox| outbox.carry()).unwrap_or_default();
        let (node, ip) = (place.elsewhere(), *ip);
        Self { client: *client, identity: *identity, ip, is_check: *is_check, node, outbox }
    }
}

impl CarriedArrival {
    /// With an outbox for at most so many bytes.
    fn go_on(self, limit: usize) -> Arrival {
        let Self { client, identity, ip, is_check, node, outbox } = self;
        let place = match node {
            Some(node) => Place::Elsewhere(node),
            None => Place::Here(Arc::new(Outbox::go_on(outbox, limit))),
        };
        Arrival { client, identity, ip, is_check, place }
    }
}

impl Registry {
    /// All of it, as it is carried at `now`.
    pub(in crate::signaling) fn carry(&self, now: Instant) -> CarriedRegistry {
        self.carry_as(now, |arrival| CarriedArrival::from(arrival))
    }

    /// All of it, as other nodes see it at `now`: everybody is on a node, and what waits for somebody waits there.
    pub(in crate::signaling) fn share(&self, now: Instant) -> CarriedRegistry {
        let node = self.node;
        let seen = |arrival: &Arrival| {
            let Arrival { client, identity, ip, is_check, place } = arrival;
            let (client, identity, is_check) = (*client, *identity, *is_check);
            let node = Some(place.elsewhere().unwrap_or(node));
            let (ip, outbox) = (subnet(*ip), CarriedOutbox::default());
            CarriedArrival { client, identity, ip, is_check, node, outbox }
        };
        let mut shared = self.carry_as(now, seen);
        for kept in &mut shared.kept {
            kept.budget = None;
        }
        shared
    }

    fn carry_as(&self, now: Instant, seen: impl Fn(&Arrival) -> CarriedArrival) -> CarriedRegistry {
        let (rooms, room_numbers) = self.rooms.carry(now);
        let peers = self.peers.iter().map(|(id, peer)| CarriedPeer {
            id: *id,
            arrival: seen(&peer.arrival),
            holding: peer.holding.carry(now),
            seat: peer.seat.as_ref().map(CarriedSeat::from),
        });
        let kept = self.kept.iter().map(|(id, kept)| CarriedKept {
            id: *id,
            arrival: seen(&kept.arrival),
            seat: (&kept.seat).into(),
            budget: kept.budget.map(|budget| budget.carry(now)),
        });
        let mut peers: Vec<_> = peers.collect();
        // As the clients are: what belongs together is near to each other in the memory of the next process.
        peers.sort_unstable_by_key(|peer| peer.arrival.client);
        CarriedRegistry {
            rooms,
            room_numbers,
            peers,
            kept: kept.collect(),
            identities: self.identities.carry(now),
            absences: self.absences.iter().map(|absence| absence.carry(now)).collect(),
            spent: self.spent.iter().cloned().collect(),
            air: self.air.clone(),
        }
    }

    /// Who is registered on this node, and which client each is.
    pub(in crate::signaling) fn clients(&self) -> Vec<(PeerId, ClientId)> {
        let here = self.peers.iter().filter(|(_, peer)| peer.arrival.place.here().is_some());
        here.map(|(id, peer)| (*id, peer.arrival.client)).collect()
    }

    /// It goes on at `now`, with outboxes for at most `outbox` bytes, and this `RATE_LIMIT`.
    pub(in crate::signaling) fn go_on(
        &mut self,
        carried: CarriedRegistry,
        outbox: usize,
        rate_limit: Option<u32>,
        now: Instant,
    ) {
        self.identities = Identities::go_on(&carried.identities, now);
        self.rooms.go_on(carried.rooms, carried.room_numbers, now);
        for CarriedPeer { id, arrival, holding, seat } in carried.peers {
            let (arrival, mut holding) = (arrival.go_on(outbox), Holding::go_on(&holding, now));
            if self.node == NodeId::default() {
                // Whoever was asked is asked anew, and has all of its time.
                holding.forget_challenge();
            }
            self.identities.enter(holding.identity());
            self.peers.insert(id, Peer { arrival, holding, seat: seat.map(Seat::from) });
        }
        for CarriedKept { id, arrival, seat, budget } in carried.kept {
            let arrival = arrival.go_on(outbox);
            let budget = budget.map(|budget| ClientBudget::go_on(&budget, rate_limit, now));
            self.kept.insert(id, Kept { arrival, seat: seat.into(), budget });
        }
        for absence in carried.absences {
            // There was a place for each.
            let _ = self.absences.add(Absence::go_on(absence, now));
        }
        self.air = carried.air;
        self.spent = carried.spent.into_iter().collect();
    }
}
