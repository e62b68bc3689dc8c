//! Where a registered client is connected.
//!
//! Owns what is done to the outbox of a client, where that is on this node. It deliberately does not know how other nodes
//! are reached.

use std::sync::Arc;

use crate::signaling::outbox::{Outbox, RoomNumber};
use crate::wire::ids::NodeId;

/// Where a client is, and what it is to hear goes.
#[derive(Clone, Debug)]
pub enum Place {
    /// On this node, with this outbox.
    Here(Arc<Outbox>),
    /// On another one.
    Elsewhere(NodeId),
}

impl Place {
    /// Its outbox, where it is on this node.
    pub fn here(&self) -> Option<&Arc<Outbox>> {
        match self {
            Self::Here(outbox) => Some(outbox),
            Self::Elsewhere(_) => None,
        }
    }

    /// Where it is on another node: which.
    pub fn elsewhere(&self) -> Option<NodeId> {
        match self {
            Self::Here(_) => None,
            Self::Elsewhere(node) => Some(*node),
        }
    }

    /// The client is in `room` from here on, or in none.
    pub fn enter(&self, room: Option<RoomNumber>) {
        if let Self::Here(outbox) = self {
            outbox.enter(room);
        }
    }

    /// The client comes from the place `before`. Returns the outbox that is to go to another node.
    #[must_use = "what waits in it is for the client"]
    pub fn follow(&self, before: &Self) -> Option<(Arc<Outbox>, NodeId)> {
        match (self, before) {
            (Self::Here(outbox), Self::Here(before)) => outbox.follow(before),
            (Self::Elsewhere(node), Self::Here(before)) => {
                return Some((Arc::clone(before), *node));
            }
            (_, Self::Elsewhere(_)) => {}
        }
        None
    }

    /// A place for who comes after the client, with what waits for it.
    pub fn successor(&self) -> Self {
        match self {
            Self::Here(outbox) => Self::Here(outbox.successor()),
            Self::Elsewhere(node) => Self::Elsewhere(*node),
        }
    }
}
