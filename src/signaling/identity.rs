//! Who is behind a client, and for how long a proof of it counts.
//!
//! Owns the rules for identities, which ids and places in rooms belong to. It is pure: the time is an argument, and it
//! deliberately knows no socket and no message.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::wire::ids::Identity;

/// How long a proof counts after its identity was last present.
const PROOF_TIME: Duration = Duration::from_secs(24 * 3600);

/// Of how many identities it is remembered at most when they were last present. Of others, the age of a proof decides.
const REMEMBERED: usize = 65_536;

/// How often an id changes to another connection of its own identity while the one before lives, and in which time: two
/// tabs that take it from each other come to an end.
const TAKE_OVERS: u32 = 3;
const TAKE_OVER_TIME: Duration = Duration::from_secs(60);

/// How long a holder has to show that it lives when another identity wants its id: longer where it is in a room, and
/// others would notice.
const SIGN_OF_LIFE: Duration = Duration::from_secs(3);
const SIGN_OF_LIFE_IN_ROOM: Duration = Duration::from_secs(10);

/// How long after a challenge a holder is not challenged again: strangers must not keep it busy.
const CHALLENGE_PAUSE: Duration = Duration::from_secs(30);

/// Which identities are present, and when others last were.
#[derive(Debug, Default)]
pub struct Identities {
    /// How many registered clients each has.
    present: HashMap<Identity, u32>,
    /// When an identity was last present.
    last: HashMap<Identity, Instant>,
    /// The same in the order of their ends, as they were when they ended.
    ends: VecDeque<(Instant, Identity)>,
}

impl Identities {
    /// A client of this identity has registered.
    pub fn enter(&mut self, identity: Identity) {
        *self.present.entry(identity).or_default() += 1;
    }

    /// A client of this identity has gone at `now`.
    pub fn leave(&mut self, identity: Identity, now: Instant) {
        let Some(count) = self.present.get_mut(&identity) else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        self.present.remove(&identity);
        self.last.insert(identity, now);
        self.ends.push_back((now, identity));
        while let Some((end, oldest)) = self.ends.front().copied() {
            if self.ends.len() <= REMEMBERED && now - end < PROOF_TIME {
                break;
            }
            self.ends.pop_front();
            // It may have come back and gone again since.
            if self.last.get(&oldest) == Some(&end) {
                self.last.remove(&oldest);
            }
        }
    }

    /// Whether a proof of this identity that is `age` old counts at `now`: while it is present, and a day from its end.
    /// Of an identity that is not known here, because the server has started since, the proof's own age decides.
    pub fn counts(&self, identity: Identity, age: Duration, now: Instant) -> bool {
        if self.present.contains_key(&identity) {
            return true;
        }
        match self.last.get(&identity) {
            Some(end) => now - *end < PROOF_TIME,
            None => age < PROOF_TIME,
        }
    }
}

/// Who may have an id that a client holds.
#[derive(Clone, Copy, Debug)]
pub struct Holding {
    identity: Identity,
    /// When the id changed to another connection of its identity first, and how often since.
    taken: Option<(Instant, u32)>,
    /// When another identity last had the holder challenged.
    challenged: Option<Instant>,
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
    const OLD: Duration = Duration::from_secs(30 * 24 * 3600);

    #[test]
    fn a_proof_counts_while_its_identity_is_present_and_a_day_longer() {
        let (mut identities, identity, start) =
            (Identities::default(), Identity::random(), Instant::now());
        assert!(identities.counts(identity, PROOF_TIME - SECOND, start), "from before a restart");
        assert!(!identities.counts(identity, PROOF_TIME, start));
        identities.enter(identity);
        identities.enter(identity);
        identities.leave(identity, start);
        assert!(identities.counts(identity, OLD, start + OLD), "it has another client");
        let end = start + OLD;
        identities.leave(identity, end);
        assert!(identities.counts(identity, OLD, end + PROOF_TIME - SECOND));
        assert!(!identities.counts(identity, Duration::ZERO, end + PROOF_TIME));
        identities.leave(identity, end);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut identities, start) = (Identities::default(), Instant::now());
        let first = Identity::random();
        for identity in std::iter::once(first).chain((0..REMEMBERED).map(|_| Identity::random())) {
            identities.enter(identity);
            identities.leave(identity, start);
        }
        assert_eq!((identities.last.len(), identities.ends.len()), (REMEMBERED, REMEMBERED));
        assert!(!identities.last.contains_key(&first));
        let last = Identity::random();
        identities.enter(last);
        identities.leave(last, start + PROOF_TIME);
        assert_eq!((identities.last.len(), identities.ends.len()), (1, 1));
    }

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
