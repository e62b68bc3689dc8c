//! Who may have an id that a client holds.
//!
//! Owns how often an id changes hands, and how long a holder has to show that it lives. It is pure: the time is an
//! argument, and it deliberately knows no socket and no message.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::wire::carried::{Moment, is_default};
use crate::wire::ids::Identity;

/// How often an id changes to another connection of its own identity while the one before lives, and in which time: two
/// tabs that take it from each other come to an end.
const TAKE_OVERS: u32 = 3;
const TAKE_OVER_TIME: Duration = Duration::from_secs(60);

/// How long a holder has to show that it lives when another identity wants its id: longer where it is in a room, and
/// others would notice.
pub const SIGN_OF_LIFE: Duration = Duration::from_secs(3);
/// See [`SIGN_OF_LIFE`].
pub const SIGN_OF_LIFE_IN_ROOM: Duration = Duration::from_secs(10);

/// How long after a challenge a holder is not challenged again: strangers must not keep it busy.
const CHALLENGE_PAUSE: Duration = Duration::from_secs(30);

/// Who may have an id that a client holds.
#[derive(Clone, Copy, Debug)]
pub struct Holding {
    identity: Identity,
    /// When the id changed to another connection of its identity first, and how often since.
    taken: Option<(Instant, u32)>,
    /// When another identity last had the holder challenged.
    challenged: Option<Instant>,
}

/// The same on its way to the process that follows.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct CarriedHolding {
    identity: Identity,
    #[serde(default, skip_serializing_if = "is_default")]
    taken: Option<(Moment, u32)>,
    #[serde(default, skip_serializing_if = "is_default")]
    challenged: Option<Moment>,
}

/// What comes of a wish for an id that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is the same identity's: the id changes at once, with everything.
    Own,
    /// The holder is asked whether it lives, for so long.
    Challenge(Duration),
    /// The holder keeps it.
    Refused,
}

impl Holding {
    /// An id that `identity` holds.
    pub fn new(identity: Identity) -> Self {
        Self { identity, taken: None, challenged: None }
    }

    /// It is carried at `now`.
    pub fn carry(&self, now: Instant) -> CarriedHolding {
        let Self { identity, taken, challenged } = *self;
        let taken = taken.map(|(since, count)| (Moment::new(since, now), count));
        let challenged = challenged.map(|since| Moment::new(since, now));
        CarriedHolding { identity, taken, challenged }
    }

    /// It goes on at `now`.
    pub fn go_on(carried: &CarriedHolding, now: Instant) -> Self {
        let CarriedHolding { identity, taken, challenged } = *carried;
        let taken = taken.map(|(since, count)| (since.at(now), count));
        Self { identity, taken, challenged: challenged.map(|since| since.at(now)) }
    }

    /// The holder is as one that was not challenged.
    pub fn forget_challenge(&mut self) {
        self.challenged = None;
    }

    /// Who holds it.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Somebody wants the id at `now`, while its holder is in a room or not.
    pub fn claim(&mut self, by: Identity, is_in_room: bool, now: Instant) -> Claim {
        if by == self.identity {
            let (since, count) = match self.taken {
                Some((since, count)) if now - since < TAKE_OVER_TIME => (since, count),
                _ => (now, 0),
            };
            if count == TAKE_OVERS {
                return Claim::Refused;
            }
            self.taken = Some((since, count + 1));
            return Claim::Own;
        }
        let time = if is_in_room { SIGN_OF_LIFE_IN_ROOM } else { SIGN_OF_LIFE };
        match self.challenged {
            // Several may wait for the same answer.
            Some(since) if now - since < time => Claim::Challenge(since + time - now),
            Some(since) if now - since < CHALLENGE_PAUSE => Claim::Refused,
            _ => {
                self.challenged = Some(now);
                Claim::Challenge(time)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_id_changes_to_its_own_identity_at_once_but_not_without_end() {
        let (identity, start) = (Identity::random(), Instant::now());
        let mut holding = Holding::new(identity);
        for _ in 0..TAKE_OVERS {
            assert_eq!(holding.claim(identity, true, start), Claim::Own);
        }
        let late = start + TAKE_OVER_TIME - SECOND;
        assert_eq!(holding.claim(identity, true, late), Claim::Refused);
        assert_eq!(holding.claim(identity, true, start + TAKE_OVER_TIME), Claim::Own);
    }

    #[test]
    fn a_stranger_has_the_holder_challenged_now_and_then() {
        let (start, stranger) = (Instant::now(), Identity::random());
        let mut holding = Holding::new(Identity::random());
        let mut claim = |is_in_room, now| holding.claim(stranger, is_in_room, now);
        assert_eq!(claim(false, start), Claim::Challenge(SIGN_OF_LIFE));
        assert_eq!(
            claim(false, start + SECOND),
            Claim::Challenge(2 * SECOND),
            "another waits, too"
        );
        assert_eq!(claim(false, start + 3 * SECOND), Claim::Refused);
        assert_eq!(claim(false, start + CHALLENGE_PAUSE - SECOND), Claim::Refused);
        let next = start + CHALLENGE_PAUSE;
        assert_eq!(claim(true, next), Claim::Challenge(SIGN_OF_LIFE_IN_ROOM));
        assert_eq!(claim(true, next + 9 * SECOND), Claim::Challenge(SECOND));
        assert_eq!(claim(true, next + 10 * SECOND), Claim::Refused);
    }
}
