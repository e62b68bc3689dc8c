//! The rooms that there are.
//!
//! Owns how rooms begin and end, and how old they are. It is pure: the time is an argument, and it deliberately does not
//! know how a peer comes into one.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::signaling::outbox::RoomNumber;
use crate::signaling::room::{CarriedOccupant, Room};
use crate::wire::carried::Moment;
use crate::wire::ids::{PeerId, RoomId};
use crate::wire::role::Role;

/// How long a room has to live before it counts as used, where nobody met in it.
const USED_TIME: Duration = Duration::from_secs(60);

/// Every room has somebody in it.
#[derive(Debug, Default)]
pub struct Rooms {
    /// The age at which a room ends, or `None` for no such age.
    ttl: Option<Duration>,
    by_id: HashMap<RoomId, Held>,
    /// The same in the order of their age.
    ages: BTreeMap<(Instant, RoomNumber), RoomId>,
    /// How many there have been.
    numbers: RoomNumber,
}

/// A room, and since when it is held.
#[derive(Debug)]
struct Held {
    room: Room,
    since: Instant,
    number: RoomNumber,
    /// Whether two peers were in it at one time, or in the one whose place it took.
    was_used: bool,
}

/// A room on its way to the process that follows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CarriedRoom {
    id: RoomId,
    occupants: Vec<CarriedOccupant>,
    since: Moment,
    number: RoomNumber,
    was_used: bool,
}

/// When a room begins that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Now.
    Now(Instant),
    /// When that one did whose place it takes: somebody may come back to it.
    Again(Instant),
}

/// What became of a room that somebody has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Others are in it.
    GoesOn,
    /// It has ended, after two had met in it or a minute.
    Ended,
    /// It has ended, and was hardly used.
    EndedUnused,
}

impl Rooms {
    /// No rooms, which end at the age of `ttl`.
    pub fn new(ttl: Option<Duration>) -> Self {
        Self { ttl, ..Self::default() }
    }

    /// Rooms end at the age of `ttl` from here on.
    pub fn limit_age(&mut self, ttl: Option<Duration>) {
        self.ttl = ttl;
    }

    /// They are carried at `now`, with how many there have been.
    pub fn carry(&self, now: Instant) -> (Vec<CarriedRoom>, RoomNumber) {
        let carry = |(id, held): (&RoomId, &Held)| CarriedRoom {
            id: id.clone(),
            occupants: held.room.carry(),
            since: Moment::new(held.since, now),
            number: held.number,
            was_used: held.was_used,
        };
        (self.by_id.iter().map(carry).collect(), self.numbers)
    }

    /// They go on at `now`.
    pub fn go_on(&mut self, carried: Vec<CarriedRoom>, numbers: RoomNumber, now: Instant) {
        self.numbers = numbers;
        for CarriedRoom { id, occupants, since, number, was_used } in carried {
            let (room, since) = (Room::go_on(&occupants), since.at(now));
            self.ages.insert((since, number), id.clone());
            self.by_id.insert(id, Held { room, since, number, was_used });
        }
    }

    /// How many there have been.
    pub fn numbers(&self) -> RoomNumber {
        self.numbers
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.by_id.len()
    }

    /// A room that there is.
    pub fn get(&self, id: &RoomId) -> Option<&Room> {
        self.by_id.get(id).map(|held| &held.room)
    }

    /// A room that there is, to be changed. Nobody enters or leaves it here.
    pub fn get_mut(&mut self, id: &RoomId) -> Option<&mut Room> {
        self.by_id.get_mut(id).map(|held| &mut held.room)
    }

    /// What tells a room from another one that had the same id before.
    pub fn number(&self, id: &RoomId) -> Option<RoomNumber> {
        self.by_id.get(id).map(|held| held.number)
    }

    /// When a room was made.
    pub fn since(&self, id: &RoomId) -> Option<Instant> {
        self.by_id.get(id).map(|held| held.since)
    }

    /// Puts a peer into a room, which is made where it is not there.
    pub fn enter(&mut self, peer: PeerId, id: &RoomId, role: Role, begin: Begin) -> RoomNumber {
        let (since, is_again) = match begin {
            Begin::Now(now) => (now, false),
            Begin::Again(since) => (since, true),
        };
        let (numbers, ages) = (&mut self.numbers, &mut self.ages);
        let held = self.by_id.entry(id.clone()).or_insert_with(|| {
            *numbers += 1;
            ages.insert((since, *numbers), id.clone());
            Held { room: Room::default(), since, number: *numbers, was_used: is_again }
        });
        held.room.enter(peer, role);
        held.was_used |= held.room.participants().nth(1).is_some();
        held.number
    }

    /// Takes a peer out of a room at `now`. The last one out ends it.
    pub fn leave(&mut self, peer: PeerId, id: &RoomId, now: Instant) -> After {
        let Some(held) = self.by_id.get_mut(id) else { return After::Ended };
        if !held.room.leave(peer) {
            return After::GoesOn;
        }
        let was_used = held.was_used || now - held.since >= USED_TIME;
        self.end(id);
        if was_used { After::Ended } else { After::EndedUnused }
    }

    /// The oldest room, where it is too old at `now`; `spared` is none.
    pub fn too_old(&self, now: Instant, spared: Option<&RoomId>) -> Option<RoomId> {
        let (since, id) = self.oldest(spared)?;
        self.end_of(since).filter(|end| *end <= now).map(|_| id.clone())
    }

    /// When the oldest room ends, but for `spared`.
    pub fn next_end(&self, spared: Option<&RoomId>) -> Option<Instant> {
        self.end_of(self.oldest(spared)?.0)
    }

    fn oldest(&self, spared: Option<&RoomId>) -> Option<(Instant, &RoomId)> {
        let ((since, _), id) = self.ages.iter().find(|(_, id)| Some(*id) != spared)?;
        Some((*since, id))
    }

    /// When a room ends that was made at `since`.
    pub fn end_of(&self, since: Instant) -> Option<Instant> {
        self.ttl.map(|ttl| since + ttl)
    }

    /// Ends a room: who was in it.
    pub fn end(&mut self, id: &RoomId) -> Option<Room> {
        let held = self.by_id.remove(id)?;
        self.ages.remove(&(held.since, held.number));
        Some(held.room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn peer(number: u8) -> PeerId {
        PeerId::parse(&format!("f47ac10b-58cc-4372-a567-0e02b2c3d4{number:02x}")).unwrap()
    }

    #[test]
    fn the_last_one_out_ends_a_room() {
        let (mut rooms, start, id) = (Rooms::default(), Instant::now(), RoomId::from("show"));
        let first = rooms.enter(peer(1), &id, Role::Host, Begin::Now(start));
        assert_eq!(rooms.leave(peer(1), &id, start + USED_TIME - SECOND), After::EndedUnused);
        let second = rooms.enter(peer(1), &id, Role::Host, Begin::Now(start));
        assert_ne!(first, second, "another room, of the same name");
        assert_eq!(rooms.leave(peer(1), &id, start + USED_TIME), After::Ended);
        rooms.enter(peer(1), &id, Role::Host, Begin::Now(start));
        rooms.enter(peer(2), &id, Role::Guest, Begin::Now(start));
        assert_eq!(rooms.leave(peer(1), &id, start), After::GoesOn);
        assert_eq!(rooms.leave(peer(2), &id, start), After::Ended, "two had met");
        rooms.enter(peer(1), &id, Role::Host, Begin::Again(start));
        assert_eq!(rooms.leave(peer(1), &id, start), After::Ended, "the one before was used");
        assert_eq!((rooms.count(), rooms.ages.len()), (0, 0));
    }

    #[test]
    fn rooms_end_in_the_order_of_their_age() {
        let (mut rooms, start) = (Rooms::new(Some(60 * SECOND)), Instant::now());
        let (young, old) = (RoomId::from("young"), RoomId::from("old"));
        rooms.enter(peer(1), &young, Role::Host, Begin::Now(start + SECOND));
        // Made later, in the place of one that was there before.
        rooms.enter(peer(2), &old, Role::Host, Begin::Again(start));
        assert_eq!(rooms.next_end(None), Some(start + 60 * SECOND));
        assert_eq!(rooms.too_old(start + 59 * SECOND, None), None);
        assert_eq!(rooms.too_old(start + 60 * SECOND, None), Some(old.clone()));
        assert_eq!(rooms.too_old(start + 60 * SECOND, Some(&old)), None, "it is on air");
        assert_eq!(rooms.next_end(Some(&old)), Some(start + 61 * SECOND));
        assert!(rooms.end(&old).is_some());
        assert_eq!(rooms.next_end(None), Some(start + 61 * SECOND));
    }
}
