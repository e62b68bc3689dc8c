//! The peers and rooms on their way to a node that has none.
//!
//! Owns how they are cut into parts and put together, and who gets them. It deliberately does not know what is in them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::cluster::letter::Letter;
use crate::cluster::members::SharedMember;
use crate::signaling::entry::RoomLimits;
use crate::signaling::registry::carried::CarriedRegistry;
use crate::wire::ids::NodeId;

/// How large a part is, in bytes: half of what a server takes by itself.
pub const PART: usize = 512 * 1024;

/// How large all of them may be, in bytes: a million peers.
const MOST: usize = 1024 * 1024 * 1024;

/// How long a newcomer may be silent until what it gets is given to another one.
const SILENT: Duration = Duration::from_secs(2);

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
    /// What tells that from other times.
    #[serde(default)]
    pub epoch: u32,
    /// What rooms may be.
    pub limits: RoomLimits,
    /// The nodes.
    pub members: Vec<SharedMember>,
    /// Peers and rooms.
    pub registry: CarriedRegistry,
}

/// The parts that have come to a newcomer.
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

    /// The part that is wanted next, where one of `position` has come and it was not the last one.
    pub fn next(&self, position: u64) -> Option<usize> {
        (self.next > 0 && self.position == position).then_some(self.next)
    }
}

/// What a newcomer gets.
#[derive(Debug)]
pub struct Giving {
    to: NodeId,
    position: u64,
    bytes: Vec<u8>,
    /// When it last asked for a part.
    asked: Instant,
}

impl Giving {
    /// It is for `to`, which asks for it at `now`.
    pub fn new(to: NodeId, shared: &Shared, now: Instant) -> Self {
        let bytes = serde_json::to_vec(shared).expect("it is written as JSON");
        Self { to, position: shared.position, bytes, asked: now }
    }

    /// Whether `node` gets it, or may get something now, as the newcomer has been silent for too long.
    pub fn is_for(&self, node: NodeId, now: Instant) -> bool {
        self.to == node || now >= self.asked + SILENT
    }

    /// A part, from 0, and whether it is the last one; `None` where there is no such part.
    pub fn part(&mut self, part: usize, now: Instant) -> Option<(Letter, &[u8], bool)> {
        self.asked = now;
        let parts = self.bytes.len().div_ceil(PART);
        let bytes = self.bytes.chunks(PART).nth(part)?;
        Some((Letter::Part { position: self.position, part, parts }, bytes, part + 1 == parts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(position: u64) -> Shared {
        let (members, registry) = (Vec::new(), CarriedRegistry::default());
        let limits = RoomLimits::default();
        let epoch = 4;
        Shared { position, clock: 1, digest: 2, founded: 3, epoch, limits, members, registry }
    }

    #[test]
    fn parts_are_put_together_in_order_or_not_at_all() {
        let all = serde_json::to_vec(&shared(7)).unwrap();
        let (first, second) = all.split_at(10);
        let mut parts = Parts::default();
        assert!(parts.take(7, 1, 2, second).is_none(), "the first one is missing");
        assert_eq!(parts.next(7), None);
        assert!(parts.take(7, 0, 2, first).is_none());
        assert_eq!((parts.next(7), parts.next(8)), (Some(1), None));
        assert!(parts.take(8, 1, 2, second).is_none(), "of another time");
        assert_eq!(parts.take(7, 1, 2, second).unwrap().digest, 2);
        assert!(parts.take(7, 1, 2, second).is_none(), "it came again");
        assert_eq!(parts.next(7), None, "it has all");
    }

    #[test]
    fn all_parts_are_what_was_cut() {
        let now = Instant::now();
        let mut giving = Giving::new(NodeId(1), &shared(7), now);
        giving.bytes = (0..2 * PART + 1).map(|number| number as u8).collect();
        let mut all = Vec::new();
        for number in 0..3 {
            let (letter, bytes, is_last) = giving.part(number, now).unwrap();
            let Letter::Part { position: 7, part, parts: 3 } = letter else { panic!("{letter:?}") };
            assert_eq!((part, is_last), (number, number == 2));
            all.extend_from_slice(bytes);
        }
        assert_eq!(all, giving.bytes);
        assert!(giving.part(3, now).is_none());
    }

    #[test]
    fn one_newcomer_is_given_to_at_a_time_while_it_asks() {
        let start = Instant::now();
        let mut giving = Giving::new(NodeId(1), &shared(7), start);
        giving.part(0, start + SILENT / 2);
        let later = start + SILENT / 2 + SILENT;
        assert!(giving.is_for(NodeId(1), start));
        assert!(!giving.is_for(NodeId(2), later - Duration::from_millis(1)));
        assert!(giving.is_for(NodeId(2), later));
    }
}
