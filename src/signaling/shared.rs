//! Peers and rooms as the nodes of a cluster share them.
//!
//! Owns what a node gives to another one that has none, and how one that has lost its place begins anew. It deliberately
//! does not know how nodes reach each other.

use tokio::time::Instant;

use crate::signaling::broadcast::Audience;
use crate::signaling::entry::RoomLimits;
use crate::signaling::hub::Hub;
use crate::signaling::outbox::{Frame, RoomNumber};
use crate::signaling::registry::Registry;
use crate::signaling::registry::carried::CarriedRegistry;
use crate::wire::codes::CloseCode;
use crate::wire::frame::{Opcode, encode};
use crate::wire::ids::{ClientId, NodeId, PeerId};
use crate::wire::reply::ServerMessage;

impl Hub {
    /// All peers and rooms, as other nodes see them at `now`.
    pub fn share(&self, now: Instant) -> CarriedRegistry {
        self.registry().share(now)
    }

    /// Peers and rooms are those of another node from here on, which has them as of `now`, and this is `node`. If it
    /// `keeps` its clients, those go on whom the other node knows; others are ended with 4011. Returns those who are to be
    /// here, and are not.
    pub fn adopt(
        &self,
        node: NodeId,
        (shared, limits): (CarriedRegistry, RoomLimits),
        keeps: bool,
        now: Instant,
    ) -> Vec<(PeerId, ClientId)> {
        let mut registry = self.registry();
        let next = Registry::of_node(node, limits, Some(shared), now);
        let mut before = std::mem::replace(&mut *registry, next);
        let (ghosts, news) =
            if keeps { registry.take_places(&mut before) } else { Default::default() };
        drop(registry);
        // Those who stay hear what has happened meanwhile.
        news.into_iter().for_each(|news| self.say(news));
        before.close_all(CloseCode::CLUSTER_LOST);
        self.has_changed();
        ghosts
    }

    /// This is `node`, and there is nobody. Clients are ended with 4011. What is reserved is not forgotten.
    pub fn begin_as(&self, node: NodeId, limits: RoomLimits) {
        let before = {
            let mut registry = self.registry();
            let (reserved, _) = registry.reserved(Instant::now());
            let mut next = Registry::of_node(node, limits, None, Instant::now());
            next.remember(reserved);
            std::mem::replace(&mut *registry, next)
        };
        before.close_all(CloseCode::CLUSTER_LOST);
    }

    /// This is `node`, which goes on with what is carried. Rooms are within `limits`.
    pub fn be(&self, node: NodeId, limits: RoomLimits) {
        let mut registry = self.registry();
        *registry = Registry::of_node(node, limits, None, Instant::now());
    }

    /// When the next thing is over.
    #[cfg(test)]
    pub fn next_end(&self) -> Option<Instant> {
        self.registry().next_end(None)
    }

    /// What rooms may be.
    pub fn limits(&self) -> RoomLimits {
        self.registry().limits()
    }

    /// How much there is, in few numbers: nodes that agree have the same.
    pub fn sizes(&self) -> [u64; 5] {
        self.registry().sizes()
    }

    /// Passes a relay of another node to a peer of this one. False where it is not there, or not in that room.
    pub fn deliver(&self, to: PeerId, room: Option<RoomNumber>, text: &[u8]) -> Option<bool> {
        let outbox = self.registry().receiver(to, room)?;
        let mut frame = Vec::with_capacity(text.len() + 10);
        encode(&mut frame, Opcode::Text, text, None);
        Some(outbox.push(&Frame::from(frame), room))
    }

    /// The node on which a peer is that is in that room, if it is none of this one.
    pub fn elsewhere(&self, to: PeerId, room: Option<RoomNumber>) -> Option<NodeId> {
        self.registry().receiver_elsewhere(to, room)
    }

    /// Says something to a client of this node, if it has the id `peer` still.
    pub fn tell_client(&self, peer: PeerId, client: ClientId, message: &ServerMessage) {
        let receivers = self.outbox_of(peer, client).into_iter().collect();
        self.tell(Audience { receivers, ..Audience::default() }, message);
    }

    /// Whether `peer` is on air by way of this node.
    pub fn is_aired(&self, peer: PeerId) -> bool {
        self.registry().is_aired(peer)
    }
}
