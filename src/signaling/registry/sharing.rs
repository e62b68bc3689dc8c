//! Peers and rooms for another node.
//!
//! Owns what of them other nodes see, and that nodes which agree see the same. It deliberately does not know which node
//! gives, and which takes.

use std::sync::Arc;

use tokio::time::Instant;

use crate::signaling::broadcast::{Audience, News};
use crate::signaling::entry::RoomLimits;
use crate::signaling::outbox::{Outbox, RoomNumber};
use crate::signaling::place::Place;
use crate::signaling::registry::Registry;
use crate::signaling::registry::carried::CarriedRegistry;
use crate::signaling::rooms::Rooms;
use crate::wire::codes::CloseCode;
use crate::wire::ids::{ClientId, NodeId, PeerId, RoomId};
use crate::wire::reply::ServerMessage;

impl Registry {
    /// Peers and rooms as `node` begins with them.
    pub(in crate::signaling) fn of_node(
        node: NodeId,
        limits: RoomLimits,
        shared: Option<CarriedRegistry>,
        now: Instant,
    ) -> Self {
        let mut registry = Self { node, ..Self::new(limits) };
        if let Some(shared) = shared {
            registry.go_on(shared, 0, None, now);
        }
        registry
    }

    /// What rooms may be.
    pub(in crate::signaling) fn limits(&self) -> RoomLimits {
        self.limits
    }

    /// How much there is, in few numbers.
    pub(in crate::signaling) fn sizes(&self) -> [u64; 5] {
        let Self { peers, kept, rooms, absences, .. } = self;
        let sizes = [peers.len(), kept.len(), rooms.count(), absences.iter().len()];
        let [peers, kept, held, absences] = sizes.map(|size| size as u64);
        [peers, kept, held, absences, rooms.numbers()]
    }

    /// The outbox of who is to get a relay in that room, or in none.
    pub(in crate::signaling) fn receiver(
        &self,
        to: PeerId,
        room: Option<RoomNumber>,
    ) -> Option<Arc<Outbox>> {
        self.place_for(to, room)?.here().cloned()
    }

    /// The same on another node: which.
    pub(in crate::signaling) fn receiver_elsewhere(
        &self,
        to: PeerId,
        room: Option<RoomNumber>,
    ) -> Option<NodeId> {
        self.place_for(to, room)?.elsewhere()
    }

    fn place_for(&self, to: PeerId, room: Option<RoomNumber>) -> Option<&Place> {
        let peer = self.peers.get(&to);
        let number = |room| self.rooms.number(room);
        let present =
            peer.filter(|peer| peer.seat.as_ref().and_then(|seat| number(&seat.room)) == room);
        let kept = || self.kept.get(&to).filter(|kept| room == number(&kept.seat.room));
        let arrival = present.map(|peer| &peer.arrival);
        arrival.or_else(|| kept().map(|kept| &kept.arrival)).map(|arrival| &arrival.place)
    }

    /// Clients of this node, which were in `before`, are in their places here, if these are the same. Returns those who are
    /// to be on this node, and were not; and who has come and gone meanwhile, for those who are in a room with them.
    pub(in crate::signaling) fn take_places(
        &mut self,
        before: &mut Self,
    ) -> (Vec<(PeerId, ClientId)>, Vec<News>) {
        let node = Some(self.node);
        let is_own = |place: &Place| place.elsewhere() == node;
        let (mut ghosts, mut news) = (Vec::new(), Vec::new());
        for (id, peer) in &mut self.peers {
            if !is_own(&peer.arrival.place) {
                continue;
            }
            let (client, room) = (peer.arrival.client, peer.seat.as_ref().map(|seat| &seat.room));
            let found = before.peers.get(id).filter(|found| {
                found.arrival.client == client && found.seat.as_ref().map(|seat| &seat.room) == room
            });
            let found = found.and_then(|found| found.arrival.place.here());
            let Some(outbox) = found else {
                ghosts.push((*id, client));
                continue;
            };
            outbox.enter(room.and_then(|room| self.rooms.number(room)));
            if let Some(room) = room {
                news.extend(changes(&before.rooms, &self.rooms, room, outbox));
            }
            peer.arrival.place = Place::Here(Arc::clone(outbox));
            before.peers.remove(id);
        }
        for (id, kept) in self.kept.iter_mut().filter(|(_, kept)| is_own(&kept.arrival.place)) {
            let found = before.kept.remove(id);
            if let Some(outbox) = found.as_ref().and_then(|found| found.arrival.place.here()) {
                kept.arrival.place = Place::Here(Arc::clone(outbox));
            }
        }
        ghosts.sort_unstable();
        (ghosts, news)
    }

    /// Ends all clients of this node.
    pub(in crate::signaling) fn close_all(self, code: CloseCode) {
        for peer in self.peers.values() {
            if let Some(outbox) = peer.arrival.place.here() {
                outbox.close(code);
            }
        }
    }
}

/// Who has gone from a room and who has come, as somebody in it hears that.
fn changes<'r>(
    before: &'r Rooms,
    after: &'r Rooms,
    room: &'r RoomId,
    outbox: &'r Arc<Outbox>,
) -> impl Iterator<Item = News> + 'r {
    let there = |rooms: &Rooms| -> Vec<_> {
        rooms.get(room).into_iter().flat_map(|room| room.participants()).collect()
    };
    let (old, new) = (there(before), there(after));
    let left = old.clone().into_iter().filter({
        let new = new.clone();
        move |one| !new.contains(one)
    });
    let left = left.map(|one| ServerMessage::PeerLeft { peer_id: one.peer_id });
    let came = new.into_iter().filter(move |one| !old.contains(one));
    let number = after.number(room).unwrap_or_default();
    left.chain(came.map(ServerMessage::PeerJoined)).map(move |message| {
        let receivers = vec![Arc::clone(outbox)];
        News::new(Audience { receivers, room: number, ends: false }, &message)
    })
}
