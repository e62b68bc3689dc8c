//! The entries of the log, in their order.
//!
//! Owns which entry is next, and which are missing: they can come twice, out of order, or not at all. It is pure: the time
//! is an argument. It deliberately does not know what an entry says.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

/// How long an entry may be missing behind which others have come, before it is asked for.
const PATIENCE: Duration = Duration::from_millis(25);

/// How long an answer may take to that.
const AGAIN: Duration = Duration::from_millis(500);

/// How many entries that are early are held, and how many are asked for at once. What is more comes by asking.
const MOST_EARLY: usize = 65_536;
const MOST_ASKED: u64 = 256;

/// How many of the entries that were taken are told from others, and for how long a server has to say the same until it is
/// believed that the log is not what it was.
const REMEMBERED: usize = 4096;
const DOUBT: Duration = Duration::from_secs(10);

/// The place in the log.
#[derive(Debug, Default)]
pub struct Log {
    /// The last entry that was taken.
    position: u64,
    /// Those that came before it was their turn.
    early: BTreeMap<u64, Vec<u8>>,
    /// The last entry that there is, as far as is known.
    last: u64,
    /// Since when the next one is missing.
    missing: Option<Instant>,
    /// When it was asked for.
    asked: Option<Instant>,
    /// What tells the last entries that were taken from others, the latest last.
    taken: VecDeque<u64>,
    /// Whether another entry has come at the position of one that was taken, or the log ends before it.
    is_other: bool,
    /// Whether it may be another log, as far as is known.
    is_doubted: bool,
    /// What was taken of the log as it was, where it is read again: up to which position, and what tells the last ones.
    before: Option<(u64, VecDeque<u64>)>,
}

/// Something that a server says of the log, which may have been its leader before, and not know better.
#[derive(Debug, Default)]
pub struct Doubt(Option<(Instant, u64)>);

impl Doubt {
    /// It says so at `now`. Returns whether that is true: the log has stood still at `position` for 10 s meanwhile.
    pub fn is_true(&mut self, position: u64, now: Instant) -> bool {
        match self.0 {
            Some((since, then)) if then == position => now >= since + DOUBT,
            _ => {
                self.0 = Some((now, position));
                false
            }
        }
    }

    /// It says so no longer.
    pub fn end(&mut self) {
        self.0 = None;
    }
}

/// What tells an entry from others, to all nodes the same (FNV-1a).
fn hash(entry: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    entry.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// What tells the entry at `position`, where `taken` are those up to `end`.
fn hash_at(taken: &VecDeque<u64>, end: u64, position: u64) -> Option<u64> {
    let back = end.checked_sub(position)? as usize;
    taken.len().checked_sub(back + 1).map(|index| taken[index])
}

impl Log {
    /// The last entry that was taken.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The last entry that there is, as far as is known.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// All up to there need not come.
    pub fn skip_to(&mut self, position: u64) {
        self.position = position;
        self.taken.clear();
        self.early = self.early.split_off(&(position + 1));
        (self.missing, self.asked) = (None, None);
    }

    /// It begins anew behind `position`.
    pub fn reset(&mut self, position: u64) {
        *self = Self { position, last: position, ..Self::default() };
    }

    /// The entry at `position` has come.
    pub fn take(&mut self, position: u64, entry: Vec<u8>) {
        self.last = self.last.max(position);
        if position <= self.position {
            // An entry of long ago does not come again, but in another log.
            self.is_other |= !self.is_same(position, &entry).unwrap_or(!self.is_doubted);
        } else if self.early.len() < MOST_EARLY || position == self.position + 1 {
            self.early.insert(position, entry);
        }
    }

    /// What tells the entry at `position`, where it is remembered.
    pub fn hash_at(&self, position: u64) -> Option<u64> {
        hash_at(&self.taken, self.position, position)
    }

    /// Whether that entry was taken at `position`, where it is known.
    pub fn is_same(&self, position: u64, entry: &[u8]) -> Option<bool> {
        self.hash_at(position).map(|taken| taken == hash(entry))
    }

    /// The first entry that is remembered.
    pub fn first_known(&self) -> u64 {
        self.position + 1 - self.taken.len() as u64
    }

    /// It may be another log: nothing is taken until that is known.
    pub fn doubt(&mut self) {
        self.is_doubted = true;
    }

    /// It is the same log.
    pub fn trust(&mut self) {
        self.is_doubted = false;
    }

    /// Whether it may be another log.
    pub fn is_doubted(&self) -> bool {
        self.is_doubted
    }

    /// The log ends before what was taken.
    pub fn is_shorter(&mut self) {
        self.is_other = true;
    }

    /// Whether the log has gone back, or is another one: a position that was taken has another entry now, or none.
    pub fn has_gone_back(&self) -> bool {
        self.is_other
    }

    /// It is read again behind `position`, up to `last`; what was taken of it as it was is told from what is new.
    pub fn read_again(&mut self, position: u64, last: u64) {
        let before = self.before.take();
        let before = before.unwrap_or_else(|| (self.position, std::mem::take(&mut self.taken)));
        *self = Self { position, last, before: Some(before), ..Self::default() };
    }

    /// Up to which position the log was taken as it was, where it is read again, and what tells the entry there.
    pub fn before(&self) -> Option<(u64, u64)> {
        let (end, taken) = self.before.as_ref()?;
        Some((*end, taken.back().copied().unwrap_or_default()))
    }

    /// Whether that entry was taken at `position` before, and whether it was the last one.
    pub fn repeats(&self, position: u64, entry: &[u8]) -> Option<bool> {
        let (end, taken) = self.before.as_ref()?;
        let taken = hash_at(taken, *end, position)?;
        (taken == hash(entry)).then_some(position == *end)
    }

    /// What was before does not matter any longer.
    pub fn forget_before(&mut self) {
        self.before = None;
    }

    /// There are entries up to `last`.
    pub fn knows(&mut self, last: u64) {
        self.last = self.last.max(last);
    }

    /// The next entry, if it is there.
    pub fn take_next(&mut self) -> Option<(u64, Vec<u8>)> {
        if self.is_other || self.is_doubted {
            return None;
        }
        let entry = self.early.remove(&(self.position + 1))?;
        self.position += 1;
        self.taken.push_back(hash(&entry));
        if self.taken.len() > REMEMBERED {
            self.taken.pop_front();
        }
        (self.missing, self.asked) = (None, None);
        Some((self.position, entry))
    }

    /// Which entries are to be asked for at `now`.
    pub fn wanted(&mut self, now: Instant) -> Vec<u64> {
        if self.position >= self.last {
            self.missing = None;
            return Vec::new();
        }
        let since = *self.missing.get_or_insert(now);
        let is_due = match self.asked {
            Some(asked) => now >= asked + AGAIN,
            None => now >= since + PATIENCE,
        };
        if !is_due {
            return Vec::new();
        }
        self.asked = Some(now);
        let end = self.last.min(self.position + MOST_ASKED);
        (self.position + 1..=end).filter(|position| !self.early.contains_key(position)).collect()
    }

    /// When [`Self::wanted`] is to be asked again at the latest.
    pub fn is_missing(&self) -> bool {
        self.position < self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn all(log: &mut Log) -> Vec<u64> {
        std::iter::from_fn(|| log.take_next().map(|(position, _)| position)).collect()
    }

    #[test]
    fn entries_come_in_order_and_once() {
        let mut log = Log::default();
        log.reset(10);
        for position in [12, 11, 11, 9, 13, 12] {
            log.take(position, vec![position as u8]);
        }
        assert_eq!(log.take_next(), Some((11, vec![11])));
        assert_eq!(all(&mut log), [12, 13]);
        log.take(12, vec![]);
        assert_eq!(log.take_next(), None);
        assert!(!log.is_missing());
    }

    #[test]
    fn another_entry_at_a_position_that_was_taken_is_noticed() {
        let mut log = Log::default();
        log.reset(10);
        for position in 11..=11 + REMEMBERED as u64 {
            log.take(position, vec![position as u8]);
        }
        assert_eq!(all(&mut log).len(), REMEMBERED + 1);
        // One that comes again, and those that nobody remembers.
        for (position, entry) in [(12, 12), (1034, 10), (11, 0), (10, 0), (0, 0)] {
            log.take(position, vec![entry]);
        }
        assert!(!log.has_gone_back());
        log.take(12, vec![13]);
        assert!(log.has_gone_back());
        log.reset(10);
        assert!(!log.has_gone_back());
    }

    /// Three entries have come behind 10, each of which is its position.
    fn log_to_13() -> Log {
        let mut log = Log::default();
        log.reset(10);
        for position in 11..=13 {
            log.take(position, vec![position as u8]);
        }
        log
    }

    #[test]
    fn nothing_is_taken_of_a_log_that_may_be_another_one() {
        let mut log = log_to_13();
        assert_eq!((all(&mut log), log.first_known()), (vec![11, 12, 13], 11));
        log.doubt();
        log.take(14, vec![14]);
        assert_eq!(log.take_next(), None);
        assert_eq!((log.is_same(13, &[13]), log.is_same(13, &[0])), (Some(true), Some(false)));
        assert_eq!((log.is_same(10, &[10]), log.is_same(14, &[14])), (None, None));
        log.trust();
        assert_eq!(all(&mut log), [14]);
        // In another log, there are entries of which this one remembers nothing.
        log.doubt();
        log.take(2, vec![2]);
        log.trust();
        assert!(log.has_gone_back() && log.take_next().is_none());
    }

    #[test]
    fn what_is_read_again_is_told_from_what_is_new() {
        let mut log = log_to_13();
        assert_eq!((all(&mut log).len(), log.before()), (3, None));
        let end = (13, log.hash_at(13).unwrap());
        log.is_shorter();
        for _ in 0..2 {
            // What was before it was read again for the first time counts.
            log.read_again(10, 12);
            assert!(!log.has_gone_back() && log.is_missing());
            assert_eq!(log.before(), Some(end));
            let told = [(11, 11), (12, 0), (13, 13), (14, 14), (10, 10)];
            let told = told.map(|(position, entry)| log.repeats(position, &[entry]));
            assert_eq!(told, [Some(false), None, Some(true), None, None]);
            log.take(11, vec![11]);
            assert_eq!(all(&mut log), [11]);
        }
        log.forget_before();
        assert_eq!((log.before(), log.repeats(11, &[11])), (None, None));
    }

    #[test]
    fn a_server_is_believed_when_the_log_has_stood_still() {
        let (mut doubt, start) = (Doubt::default(), Instant::now());
        assert!(!doubt.is_true(7, start));
        assert!(!doubt.is_true(7, start + DOUBT - MS));
        assert!(doubt.is_true(7, start + DOUBT));
        assert!(!doubt.is_true(8, start + DOUBT), "it goes on");
        assert!(!doubt.is_true(8, start + 2 * DOUBT - MS));
        doubt.end();
        assert!(!doubt.is_true(8, start + 2 * DOUBT));
    }

    #[test]
    fn what_is_missing_is_asked_for() {
        let (mut log, start) = (Log::default(), Instant::now());
        for position in [3, 5] {
            log.take(position, vec![]);
        }
        assert_eq!(log.wanted(start), [0; 0]);
        assert_eq!(log.wanted(start + PATIENCE - MS), [0; 0]);
        assert_eq!(log.wanted(start + PATIENCE), [1, 2, 4]);
        assert_eq!(log.wanted(start + PATIENCE + AGAIN - MS), [0; 0]);
        assert_eq!(log.wanted(start + PATIENCE + AGAIN), [1, 2, 4]);
        log.take(1, vec![]);
        assert_eq!(all(&mut log), [1]);
        assert_eq!(log.wanted(start + PATIENCE + AGAIN), [0; 0], "it has its own time");
        log.knows(1000);
        assert_eq!(log.wanted(start + 2 * (PATIENCE + AGAIN)).len(), MOST_ASKED as usize - 2);
        log.skip_to(4);
        assert_eq!(all(&mut log), [5]);
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut log = Log::default();
        for position in 2..MOST_EARLY as u64 + 10 {
            log.take(position, vec![]);
        }
        assert_eq!(log.early.len(), MOST_EARLY);
        log.take(1, vec![]);
        assert_eq!(all(&mut log).len(), MOST_EARLY + 1, "the next one always is");
        assert!(log.is_missing(), "the rest is asked for");
    }
}
