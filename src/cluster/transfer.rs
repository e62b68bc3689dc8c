//! The peers and rooms on their way to a node that has none.
//!
//! Owns how they are cut into parts and put together. It deliberately does not know what is in them.

use serde::{Deserialize, Serialize};

use crate::cluster::members::SharedMember;
use crate::signaling::entry::RoomLimits;
use crate::signaling::registry::carried::CarriedRegistry;

/// How large a part is, in bytes: half of what a server takes by itself.
pub const PART: usize = 512 * 1024;

/// How large all of them may be, in bytes: a million peers.
const MOST: usize = 1024 * 1024 * 1024;

/// What a node has that is a member.
#[derive(Debug, Serialize, Deserialize)]
pub struct Shared {
    /// The position in the log that it is as of.
    pub position: u64,
    /// The latest time of an entry, in ms since 1970.
    pub clock: u64,
    /// What tells it from others.
    pub digest: u64,
    /// Where the cluster was last founded.
    pub founded: u64,
    /// What rooms may be.
    pub limits: RoomLimits,
    /// The nodes.
    pub members: Vec<SharedMember>,
    /// Peers and rooms.
    pub registry: CarriedRegistry,
}

/// The parts that have come.
#[derive(Debug, Default)]
pub struct Parts {
    position: u64,
    bytes: Vec<u8>,
    next: usize,
}

impl Parts {
    /// A part has come. Returns all of it with the last one.
    pub fn take(
        &mut self,
        position: u64,
        part: usize,
        parts: usize,
        bytes: &[u8],
    ) -> Option<Shared> {
        if part == 0 {
            *self = Self { position, ..Self::default() };
        }
        if (position, part) != (self.position, self.next) || self.bytes.len() > MOST {
            return None;
        }
        self.bytes.extend_from_slice(bytes);
        self.next += 1;
        if self.next < parts {
            return None;
        }
        let all = std::mem::take(&mut self.bytes);
        *self = Self::default();
        serde_json::from_slice(&all).ok()
    }
}

/// The parts of it.
pub fn parts(shared: &Shared) -> Vec<Vec<u8>> {
    let all = serde_json::to_vec(shared).expect("it is written as JSON");
    all.chunks(PART).map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_put_together_in_order_or_not_at_all() {
        let registry = CarriedRegistry::default();
        let (position, members) = (7, Vec::new());
        let limits = RoomLimits::default();
        let shared =
            Shared { position, clock: 1, digest: 2, founded: 3, limits, members, registry };
        let all = serde_json::to_vec(&shared).unwrap();
        let (first, second) = all.split_at(10);
        let mut parts = Parts::default();
        assert!(parts.take(7, 1, 2, second).is_none(), "the first one is missing");
        assert!(parts.take(7, 0, 2, first).is_none());
        assert!(parts.take(8, 1, 2, second).is_none(), "of another time");
        assert_eq!(parts.take(7, 1, 2, second).unwrap().digest, 2);
        assert!(parts.take(7, 1, 2, second).is_none(), "it came again");
        assert_eq!(super::parts(&shared).concat(), all);
    }
}
