//! Which identities are present, and for how long a proof of one counts.
//!
//! Owns when an identity was last present. It is pure: the time is an argument, and it deliberately does not know what
//! belongs to an identity.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::wire::carried::Moment;
use crate::wire::ids::Identity;

/// How long a proof counts after its identity was last present.
const PROOF_TIME: Duration = Duration::from_secs(24 * 3600);

/// Of how many identities it is remembered at most when they were last present. Of others, the age of a proof decides.
const REMEMBERED: usize = 65_536;

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
    /// When identities were last present, oldest first, as it is carried at `now`.
    pub fn carry(&self, now: Instant) -> Vec<(Identity, Moment)> {
        let ends = self.ends.iter().filter(|(end, gone)| self.last.get(gone) == Some(end));
        ends.map(|(end, gone)| (*gone, Moment::new(*end, now))).collect()
    }

    /// It goes on at `now`. Who is present enters anew.
    pub fn go_on(carried: &[(Identity, Moment)], now: Instant) -> Self {
        let ends: VecDeque<_> = carried.iter().map(|(gone, end)| (end.at(now), *gone)).collect();
        let last = ends.iter().map(|(end, gone)| (*gone, *end)).collect();
        Self { present: HashMap::new(), last, ends }
    }

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
}
