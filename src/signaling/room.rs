//! One room's rules.
//!
//! Owns who is in the room, as what, and who is muted. It is pure: it deliberately knows no client, no
//! clock and no message.

use serde::{Deserialize, Serialize};

use crate::wire::carried::is_default;
use crate::wire::ids::PeerId;
use crate::wire::role::{Authority, Participant, Role};

/// A room with somebody in it.
#[derive(Clone, Debug, Default)]
pub struct Room {
    /// In order of arrival.
    occupants: Vec<Occupant>,
}

#[derive(Clone, Copy, Debug)]
struct Occupant {
    participant: Participant,
    muted: bool,
}

/// Somebody in a room on its way to the process that follows.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct CarriedOccupant {
    peer: PeerId,
    role: Role,
    #[serde(default, skip_serializing_if = "is_default")]
    muted: bool,
}

/// What a `mute` comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Muting {
    /// Everybody is told.
    Changed,
    /// It was like that before: nobody is told. The web studio sends each mute that it applies again, so
    /// that with four people one click would go round for ever.
    Unchanged,
}

/// Why a `mute` is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MuteError {
    /// The target is not in the room.
    NotHere,
    /// Only those who lead may mute others.
    NotALeader,
    /// The right to mute oneself is for oneself.
    NotOneself,
}

impl Room {
    /// Who is here, in order of arrival.
    pub fn carry(&self) -> Vec<CarriedOccupant> {
        let carry = |Occupant { participant, muted }: &Occupant| CarriedOccupant {
            peer: participant.peer_id,
            role: participant.role,
            muted: *muted,
        };
        self.occupants.iter().map(carry).collect()
    }

    /// A room with these in it.
    pub fn go_on(carried: &[CarriedOccupant]) -> Self {
        let go_on = |found: &CarriedOccupant| Occupant {
            participant: Participant { peer_id: found.peer, role: found.role },
            muted: found.muted,
        };
        Self { occupants: carried.iter().map(go_on).collect() }
    }

    /// Takes a peer in, behind all others.
    pub fn enter(&mut self, peer_id: PeerId, role: Role) {
        self.occupants.push(Occupant { participant: Participant { peer_id, role }, muted: false });
    }

    /// Lets a peer go; true when it was the last one.
    pub fn leave(&mut self, peer_id: PeerId) -> bool {
        self.occupants.retain(|occupant| occupant.participant.peer_id != peer_id);
        self.occupants.is_empty()
    }

    /// Who is here, in order of arrival.
    pub fn participants(&self) -> impl Iterator<Item = Participant> + '_ {
        self.occupants.iter().map(|occupant| occupant.participant)
    }

    /// As what a peer is here, if it is.
    pub fn role(&self, peer_id: PeerId) -> Option<Role> {
        self.participants().find(|p| p.peer_id == peer_id).map(|p| p.role)
    }

    /// Mutes `target` or ends that, on behalf of `from`.
    ///
    /// # Errors
    ///
    /// When the target is not here, or `from` has not the right.
    pub fn mute(
        &mut self,
        from: PeerId,
        target: PeerId,
        muted: bool,
        authority: Authority,
    ) -> Result<Muting, MuteError> {
        let leads = self.role(from).is_some_and(Role::leads);
        let mut occupants = self.occupants.iter_mut();
        let occupant = occupants.find(|occupant| occupant.participant.peer_id == target);
        let occupant = occupant.ok_or(MuteError::NotHere)?;
        // First of all: the web studio alerts its user to every error, and would be told one for each mute of
        // somebody else that it sends again.
        if occupant.muted == muted {
            return Ok(Muting::Unchanged);
        }
        match authority {
            _ if from == target => {}
            Authority::Producer if leads => {}
            Authority::Producer => return Err(MuteError::NotALeader),
            Authority::Own => return Err(MuteError::NotOneself),
        }
        occupant.muted = muted;
        Ok(Muting::Changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u8) -> PeerId {
        PeerId::parse(&format!("f47ac10b-58cc-4372-a567-0e02b2c3d4{number:02x}")).unwrap()
    }

    fn room() -> Room {
        let mut room = Room::default();
        room.enter(peer(1), Role::Host);
        room.enter(peer(2), Role::Caller);
        room.enter(peer(3), Role::Guest);
        room
    }

    #[test]
    fn participants_are_in_order_of_arrival() {
        let mut room = room();
        assert!(!room.leave(peer(1)), "a host who leaves leaves the room running");
        room.enter(peer(1), Role::Caller);
        let ids: Vec<_> = room.participants().map(|p| p.peer_id).collect();
        assert_eq!(ids, [peer(2), peer(3), peer(1)]);
        assert!(!room.leave(peer(9)), "somebody who is not here");
        assert!(!room.leave(peer(2)) && !room.leave(peer(3)) && room.leave(peer(1)));
    }

    #[test]
    fn who_may_mute_whom() {
        let mut room = room();
        let mut mute =
            |from, target, authority| room.mute(peer(from), peer(target), true, authority);
        assert_eq!(mute(1, 2, Authority::Producer), Ok(Muting::Changed));
        assert_eq!(mute(2, 3, Authority::Producer), Err(MuteError::NotALeader));
        assert_eq!(mute(1, 3, Authority::Own), Err(MuteError::NotOneself));
        assert_eq!(mute(3, 3, Authority::Producer), Ok(Muting::Changed));
        assert_eq!(mute(1, 1, Authority::Own), Ok(Muting::Changed));
        assert_eq!(mute(1, 9, Authority::Producer), Err(MuteError::NotHere));
        room.enter(peer(4), Role::Ops);
        let by_ops = room.mute(peer(4), peer(1), false, Authority::Producer);
        assert_eq!(by_ops, Ok(Muting::Changed), "ops has a host's rights");
    }

    #[test]
    fn a_mute_that_changes_nothing_ends_there() {
        let mut room = room();
        let mut mute = |muted, authority| room.mute(peer(2), peer(2), muted, authority).unwrap();
        assert_eq!(mute(false, Authority::Own), Muting::Unchanged);
        assert_eq!(mute(true, Authority::Own), Muting::Changed);
        assert_eq!(mute(true, Authority::Producer), Muting::Unchanged);
        for authority in [Authority::Producer, Authority::Own] {
            let echo = room.mute(peer(3), peer(2), true, authority);
            assert_eq!(echo, Ok(Muting::Unchanged), "what a guest hears and sends again");
        }
        let mut mute = |muted, authority| room.mute(peer(2), peer(2), muted, authority).unwrap();
        assert_eq!(mute(false, Authority::Own), Muting::Changed);
    }
}
