//! What is kept for an identity whose client has gone: its seat in a room for a while, and its role for longer.
//!
//! Owns how much is kept, for how long, and what is given up first. It is pure: the time is an argument, and it
//! deliberately does not know who else is in a room.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::wire::carried::Moment;
use crate::wire::ids::{Identity, PeerId, RoomId};
use crate::wire::role::Role;

/// How long a seat is kept for a client whose connection broke.
pub const SEAT_TIME: Duration = Duration::from_secs(8);

/// How long it is kept for one that a restart of the server has ended: it has to connect, and to agree on TLS.
pub const RESTART_TIME: Duration = Duration::from_secs(15);

/// How long it is kept for one that another node of the cluster takes, because its own stops.
pub const DRAIN_TIME: Duration = Duration::from_secs(10);

/// How many seats and roles are kept at most, for clients of one address and of all.
const MOST_EACH: usize = 16;
const MOST: usize = 4096;

/// Somebody who has gone, and what is kept for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absence {
    /// Whose it is.
    pub identity: Identity,
    /// The id that it had.
    pub peer: PeerId,
    /// Whether the id is its own: not if it was somebody else's, who was away.
    pub owns_id: bool,
    /// Where it was.
    pub room: RoomId,
    /// As what.
    pub role: Role,
    /// Where the role came from an invite: until when room tokens hold that derive from it, in seconds since 1970.
    pub invite_end: Option<u64>,
    /// The subnet that it came from; `None` where that was before a restart.
    pub subnet: Option<IpAddr>,
    /// When its room was made.
    pub room_since: Instant,
    /// Until when its seat is kept: for the others it is still there.
    pub seat_end: Option<Instant>,
    /// Until when its role is reserved.
    pub role_end: Option<Instant>,
}

impl Absence {
    /// Until when anything is kept.
    fn end(&self) -> Option<Instant> {
        self.seat_end.max(self.role_end)
    }
}

/// The same on its way to the process that follows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CarriedAbsence {
    identity: Identity,
    peer: PeerId,
    owns_id: bool,
    room: RoomId,
    role: Role,
    invite_end: Option<u64>,
    subnet: Option<IpAddr>,
    room_since: Moment,
    seat_end: Option<Moment>,
    role_end: Option<Moment>,
}

impl Absence {
    /// It is carried at `now`.
    pub fn carry(&self, now: Instant) -> CarriedAbsence {
        let moment = |end: Option<Instant>| end.map(|end| Moment::new(end, now));
        CarriedAbsence {
            identity: self.identity,
            peer: self.peer,
            owns_id: self.owns_id,
            room: self.room.clone(),
            role: self.role,
            invite_end: self.invite_end,
            subnet: self.subnet,
            room_since: Moment::new(self.room_since, now),
            seat_end: moment(self.seat_end),
            role_end: moment(self.role_end),
        }
    }

    /// It goes on at `now`.
    pub fn go_on(carried: CarriedAbsence, now: Instant) -> Self {
        Self {
            identity: carried.identity,
            peer: carried.peer,
            owns_id: carried.owns_id,
            room: carried.room,
            role: carried.role,
            invite_end: carried.invite_end,
            subnet: carried.subnet,
            room_since: carried.room_since.at(now),
            seat_end: carried.seat_end.map(|end| end.at(now)),
            role_end: carried.role_end.map(|end| end.at(now)),
        }
    }
}

/// All who have gone and for whom something is kept, in the order in which they went.
#[derive(Debug, Default)]
pub struct Absences {
    all: Vec<Absence>,
    /// How many there are of each subnet.
    of: HashMap<Option<IpAddr>, usize>,
}

impl Absences {
    /// Keeps what `absence` says. Returns what is given up for it: of its own address, or of that which has most, the
    /// oldest that no invite gave.
    #[must_use = "their seats end"]
    pub fn add(&mut self, absence: Absence) -> Vec<Absence> {
        let subnet = absence.subnet;
        *self.of.entry(subnet).or_default() += 1;
        self.all.push(absence);
        let mut given_up = Vec::new();
        if subnet.is_some() && self.of.get(&subnet).is_some_and(|count| *count > MOST_EACH) {
            given_up.extend(self.give_up(subnet));
        }
        if self.all.len() > MOST {
            // What was before a restart comes last: it is of many addresses.
            let most =
                self.of.iter().max_by_key(|(subnet, count)| (subnet.is_some(), **count, **subnet));
            let most = most.and_then(|(subnet, _)| *subnet);
            given_up.extend(self.give_up(most));
        }
        given_up
    }

    fn give_up(&mut self, subnet: Option<IpAddr>) -> Option<Absence> {
        let own = self.all.iter().enumerate().filter(|(_, absence)| absence.subnet == subnet);
        // The first of those that are equal.
        let (index, _) = own.min_by_key(|(_, absence)| absence.invite_end.is_some())?;
        Some(self.remove(index))
    }

    fn remove(&mut self, index: usize) -> Absence {
        let absence = self.all.remove(index);
        if let Some(count) = self.of.get_mut(&absence.subnet) {
            *count -= 1;
            if *count == 0 {
                self.of.remove(&absence.subnet);
            }
        }
        absence
    }

    fn retain(&mut self, stays: impl Fn(&Absence) -> bool) {
        self.all.retain(stays);
        self.of.clear();
        for absence in &self.all {
            *self.of.entry(absence.subnet).or_default() += 1;
        }
    }

    /// Whether anything is kept for `identity`.
    pub fn knows(&self, identity: Identity) -> bool {
        self.all.iter().any(|absence| absence.identity == identity)
    }

    /// Whether something is kept for `identity` that had the id `peer`: the id is its own.
    pub fn owns(&self, identity: Identity, peer: PeerId) -> bool {
        self.owner(peer) == Some(identity)
    }

    /// Whose id `peer` is, among those who have gone.
    pub fn owner(&self, peer: PeerId) -> Option<Identity> {
        let own = |absence: &&Absence| absence.peer == peer && absence.owns_id;
        self.all.iter().find(own).map(|absence| absence.identity)
    }

    /// Takes the seat that is kept for `identity` under the id `peer`.
    pub fn take_seat(&mut self, identity: Identity, peer: PeerId) -> Option<Absence> {
        let is_it = |absence: &Absence| {
            absence.identity == identity && absence.peer == peer && absence.seat_end.is_some()
        };
        self.all.iter().position(is_it).map(|index| self.remove(index))
    }

    /// What is kept in `room` for one of these identities: of several, the first that leads.
    pub fn reserved(&self, identities: &[Identity], room: &RoomId) -> Option<&Absence> {
        self.find(identities, room).map(|index| &self.all[index])
    }

    /// Takes what [`Self::reserved`] shows.
    pub fn take_role(&mut self, identities: &[Identity], room: &RoomId) -> Option<Absence> {
        self.find(identities, room).map(|index| self.remove(index))
    }

    fn find(&self, identities: &[Identity], room: &RoomId) -> Option<usize> {
        let own = self.all.iter().enumerate().filter(|(_, absence)| {
            absence.room == *room
                && absence.role_end.is_some()
                && identities.contains(&absence.identity)
        });
        // The first of those that are equal.
        let best = own.min_by_key(|(_, absence)| absence.role);
        best.map(|(index, _)| index)
    }

    /// How many roles are reserved in `room` for those who have no seat there.
    pub fn without_seat(&self, room: &RoomId) -> usize {
        self.in_room(room).filter(|absence| absence.seat_end.is_none()).count()
    }

    /// Whether a host has gone from `room` and may come back.
    pub fn has_host(&self, room: &RoomId) -> bool {
        self.in_room(room).any(|absence| absence.role == Role::Host && absence.role_end.is_some())
    }

    /// When the room was made that roles are reserved in, if it is one.
    pub fn since(&self, room: &RoomId) -> Option<Instant> {
        self.in_room(room).map(|absence| absence.room_since).min()
    }

    fn in_room<'a>(&'a self, room: &'a RoomId) -> impl Iterator<Item = &'a Absence> {
        self.all.iter().filter(move |absence| absence.room == *room)
    }

    /// `room` is empty now, and was not in use for long: what no invite gave is not kept.
    pub fn forget_uninvited(&mut self, room: &RoomId) {
        self.retain(|absence| absence.room != *room || absence.invite_end.is_some());
    }

    /// `room` has ended with everything in it. Returns whose seats were kept there.
    pub fn end_room(&mut self, room: &RoomId) -> Vec<PeerId> {
        let seats = self.in_room(room).filter(|absence| absence.seat_end.is_some());
        let seats = seats.map(|absence| absence.peer).collect();
        self.retain(|absence| absence.room != *room);
        seats
    }

    /// Ends the seat of `identity` under the id `peer`; its role may be reserved still.
    pub fn end_seat(&mut self, identity: Identity, peer: PeerId) -> Option<Absence> {
        let absence = self.take_seat(identity, peer)?;
        let rest = Absence { seat_end: None, ..absence.clone() };
        if rest.end().is_some() {
            // There was a place for it.
            let _ = self.add(rest);
        }
        Some(absence)
    }

    /// Ends what is over at `now`. Returns those whose seats have ended.
    pub fn expire(&mut self, now: Instant) -> Vec<Absence> {
        let is_over = |end: Option<Instant>| end.is_some_and(|end| end <= now);
        let mut seats = Vec::new();
        let mut has_ended = false;
        for absence in &mut self.all {
            if is_over(absence.seat_end) {
                absence.seat_end = None;
                seats.push(absence.clone());
                has_ended = true;
            }
            if is_over(absence.role_end) {
                absence.role_end = None;
                has_ended = true;
            }
        }
        if has_ended {
            self.retain(|absence| absence.end().is_some());
        }
        seats
    }

    /// When the next thing is over.
    pub fn next_end(&self) -> Option<Instant> {
        self.all.iter().flat_map(|absence| [absence.seat_end, absence.role_end]).flatten().min()
    }

    /// All, in the order in which they went.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Absence> {
        self.all.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn peer(number: u8) -> PeerId {
        PeerId::parse(&format!("f47ac10b-58cc-4372-a567-0e02b2c3d4{number:02x}")).unwrap()
    }

    /// Somebody of the address 10.0.`high`.`low`, a host whose seat and role are kept.
    fn absence(now: Instant, (high, low): (u8, u8)) -> Absence {
        Absence {
            identity: Identity::random(),
            peer: peer(1),
            owns_id: true,
            room: RoomId::from("show"),
            role: Role::Host,
            invite_end: None,
            subnet: Some([10, 0, high, low].into()),
            room_since: now,
            seat_end: Some(now + SEAT_TIME),
            role_end: Some(now + 600 * SECOND),
        }
    }

    #[test]
    fn a_seat_is_its_identitys_own_and_for_its_time() {
        let (mut absences, start) = (Absences::default(), Instant::now());
        let gone = absence(start, (0, 1));
        assert_eq!(absences.add(gone.clone()), []);
        assert_eq!(absences.take_seat(Identity::random(), gone.peer), None, "a stranger");
        assert_eq!(absences.take_seat(gone.identity, peer(2)), None, "another id");
        assert_eq!(absences.next_end(), gone.seat_end);
        assert_eq!(absences.expire(start + SEAT_TIME - SECOND), []);
        let without_seat = Absence { seat_end: None, ..gone.clone() };
        assert_eq!(absences.expire(start + SEAT_TIME), [without_seat]);
        assert_eq!(absences.take_seat(gone.identity, gone.peer), None, "it has ended");
        assert!(absences.owns(gone.identity, gone.peer), "the role is reserved still");
        let other = Absence { owns_id: false, ..absence(start, (0, 1)) };
        assert_eq!(absences.add(other.clone()), []);
        assert!(!absences.owns(other.identity, other.peer));
        assert_eq!(absences.take_role(&[other.identity], &other.room), Some(other));
        assert_eq!(absences.next_end(), gone.role_end);
        assert_eq!(absences.expire(start + 600 * SECOND), []);
        assert!(!absences.knows(gone.identity));
        assert_eq!(absences.next_end(), None);
    }

    #[test]
    fn a_role_is_given_back_once() {
        let (mut absences, start) = (Absences::default(), Instant::now());
        let guest = Absence { role: Role::Guest, ..absence(start, (0, 1)) };
        let host = Absence { role: Role::Host, peer: peer(2), ..guest.clone() };
        let seat_only = Absence { role_end: None, ..absence(start, (0, 1)) };
        for gone in [&guest, &host, &seat_only] {
            assert_eq!(absences.add(gone.clone()), []);
        }
        let other = RoomId::from("another");
        assert_eq!(absences.reserved(&[guest.identity], &other), None);
        assert_eq!(absences.take_role(&[seat_only.identity], &host.room), None);
        let mut take = |identities: &[Identity]| absences.take_role(identities, &guest.room);
        assert_eq!(take(&[Identity::random(), host.identity]), Some(host), "the one that leads");
        assert_eq!(take(&[guest.identity]), Some(guest.clone()));
        assert_eq!(take(&[guest.identity]), None);
    }

    #[test]
    fn an_address_and_all_together_have_a_bound() {
        let (mut absences, start) = (Absences::default(), Instant::now());
        let invited = Absence { invite_end: Some(1), ..absence(start, (0, 1)) };
        let first = absence(start, (0, 1));
        for gone in [&invited, &first] {
            assert_eq!(absences.add(gone.clone()), []);
        }
        for _ in 2..MOST_EACH {
            assert_eq!(absences.add(absence(start, (0, 1))), []);
        }
        assert_eq!(absences.add(absence(start, (0, 1))), [first], "the oldest without an invite");
        for _ in 1..MOST_EACH {
            let more = Absence { invite_end: Some(1), ..absence(start, (0, 1)) };
            assert_eq!(absences.add(more)[0].invite_end, None);
        }
        let more = Absence { invite_end: Some(1), ..absence(start, (0, 1)) };
        assert_eq!(
            absences.add(more).as_slice(),
            std::slice::from_ref(&invited),
            "then the invited"
        );

        for number in 0..(MOST - MOST_EACH) as u16 {
            let [high, low] = number.to_be_bytes();
            assert_eq!(absences.add(absence(start, (high + 1, low))), []);
        }
        assert_eq!(absences.all.len(), MOST);
        let given_up = absences.add(absence(start, (99, 99)));
        assert_eq!(given_up[0].subnet, invited.subnet, "the address with the most gives way");
        assert_eq!(absences.all.len(), MOST);
    }

    #[test]
    fn what_was_before_a_restart_has_no_address_and_the_bound_of_all() {
        let (mut absences, start) = (Absences::default(), Instant::now());
        for _ in 0..MOST {
            assert_eq!(absences.add(Absence { subnet: None, ..absence(start, (0, 0)) }), []);
        }
        let (first, second) = (absence(start, (0, 1)), absence(start, (0, 2)));
        let given_up = absences.add(first.clone());
        assert_eq!(given_up, [first], "who comes last has most, of those that have an address");
        assert_eq!(absences.add(second).len(), 1);
        assert_eq!(absences.all.len(), MOST);
    }

    #[test]
    fn a_room_that_ends_takes_with_it_what_is_kept_there() {
        let (mut absences, start) = (Absences::default(), Instant::now());
        let gone = absence(start, (0, 1));
        let invited = Absence { invite_end: Some(1), peer: peer(2), ..absence(start, (0, 1)) };
        let elsewhere = Absence { room: RoomId::from("another"), ..absence(start, (0, 1)) };
        for gone in [&gone, &invited, &elsewhere] {
            assert_eq!(absences.add(gone.clone()), []);
        }
        assert_eq!(absences.without_seat(&gone.room), 0);
        absences.end_seat(gone.identity, gone.peer);
        assert_eq!(absences.without_seat(&gone.room), 1);
        assert!(absences.has_host(&gone.room));
        absences.forget_uninvited(&gone.room);
        assert!(!absences.knows(gone.identity) && absences.knows(invited.identity));
        assert_eq!(absences.end_room(&gone.room), [invited.peer]);
        assert_eq!(absences.iter().collect::<Vec<_>>(), [&elsewhere]);
    }
}
