//! What is logged once: events that somebody can cause as often as they like.
//!
//! Owns how many of them are logged in a minute, and the count of the rest. It is pure: the time is an argument, and
//! it deliberately does not know what the events are.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// For how long repetitions are counted instead of logged, from the first event on.
pub const WINDOW: Duration = Duration::from_secs(60);

/// How many keys there are at most, each with up to 400 bytes: 1.6 MB. Further ones share one.
const MOST: usize = 4096;

/// Events by key, each within a window of its own. All windows are equally long, so they end in the order in which
/// they began.
#[derive(Debug)]
pub struct Quiet<K> {
    open: HashMap<K, Window>,
    /// The keys of `open`, with the ends of their windows.
    ends: VecDeque<(Instant, K)>,
}

#[derive(Debug)]
struct Window {
    /// How many more may be logged.
    left: u32,
    /// Who caused the last one that was logged, as far as that is known.
    client: Option<u64>,
    /// How many were not logged, and what the first of them said.
    held: u64,
    sample: String,
}

/// What was not logged in a window that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest<K> {
    /// The events' key.
    pub key: K,
    /// How many there were; at least one.
    pub count: u64,
    /// What the first of them said.
    pub sample: String,
}

impl<K> Default for Quiet<K> {
    fn default() -> Self {
        Self { open: HashMap::new(), ends: VecDeque::new() }
    }
}

impl<K: Clone + Eq + Hash> Quiet<K> {
    /// Whether an event at `now` is to be logged: one of the first `most` in its window that is not the same client's
    /// as the one before. Else it is counted, and `sample` says what it was. Where there are too many keys, that is
    /// looked at under the key `others`.
    pub fn admits(
        &mut self,
        key: K,
        others: K,
        client: Option<u64>,
        most: u32,
        now: Instant,
        sample: impl FnOnce() -> String,
    ) -> bool {
        let key = if self.open.len() < MOST || self.open.contains_key(&key) { key } else { others };
        if !self.open.contains_key(&key) {
            self.ends.push_back((now + WINDOW, key.clone()));
        }
        let window = self.open.entry(key).or_insert_with(|| Window {
            left: most,
            client: None,
            held: 0,
            sample: String::new(),
        });
        let is_again = client.is_some() && window.client == client;
        if window.left > 0 && !is_again {
            window.left -= 1;
            window.client = client;
            return true;
        }
        if window.held == 0 {
            window.sample = sample();
        }
        window.held += 1;
        false
    }

    /// When the next window ends, if one is open.
    pub fn next_end(&self) -> Option<Instant> {
        self.ends.front().map(|(end, _)| *end)
    }

    /// The next window that has ended by `now` and held something back; to be asked until there is none.
    pub fn ended(&mut self, now: Instant) -> Option<Rest<K>> {
        while self.next_end().is_some_and(|end| end <= now) {
            if let Some(rest) = self.end_first() {
                return Some(rest);
            }
        }
        None
    }

    /// As [`Self::ended`], but each window ends now.
    pub fn end(&mut self) -> Option<Rest<K>> {
        while !self.ends.is_empty() {
            if let Some(rest) = self.end_first() {
                return Some(rest);
            }
        }
        None
    }

    fn end_first(&mut self) -> Option<Rest<K>> {
        let (_, key) = self.ends.pop_front()?;
        let Window { held: count, sample, .. } = self.open.remove(&key)?;
        (count > 0).then_some(Rest { key, count, sample })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(quiet: &mut Quiet<u32>, key: u32, client: u64, most: u32, now: Instant) -> bool {
        quiet.admits(key, u32::MAX, Some(client), most, now, || format!("client {client}"))
    }

    #[test]
    fn the_first_are_logged_and_the_rest_is_counted() {
        let (mut quiet, start) = (Quiet::default(), Instant::now());
        assert!(admits(&mut quiet, 1, 7, 1, start));
        let late = start + WINDOW - Duration::from_millis(1);
        assert!(!admits(&mut quiet, 1, 8, 1, start) && !admits(&mut quiet, 1, 9, 1, late));
        assert!(admits(&mut quiet, 2, 7, 1, late), "another key");
        assert_eq!((quiet.next_end(), quiet.ended(late)), (Some(start + WINDOW), None));
        let rest = Rest { key: 1, count: 2, sample: "client 8".to_owned() };
        assert_eq!(quiet.ended(start + WINDOW), Some(rest));
        assert_eq!(quiet.ended(start + WINDOW), None, "the other one goes on");
        assert!(admits(&mut quiet, 1, 7, 1, start + WINDOW), "a new window");
        assert_eq!(quiet.end(), None, "nothing was held back");
        assert!(quiet.open.is_empty() && quiet.ends.is_empty());
    }

    #[test]
    fn a_client_s_second_is_a_repetition() {
        let (mut quiet, now) = (Quiet::default(), Instant::now());
        assert!(admits(&mut quiet, 1, 7, 3, now) && !admits(&mut quiet, 1, 7, 3, now));
        assert!(admits(&mut quiet, 1, 8, 3, now) && admits(&mut quiet, 1, 9, 3, now));
        assert!(!admits(&mut quiet, 1, 10, 3, now), "three are logged");
        assert_eq!(quiet.end().map(|rest| rest.count), Some(2));
    }

    #[test]
    fn keys_are_bounded() {
        let (mut quiet, now) = (Quiet::default(), Instant::now());
        for key in 0..MOST as u32 {
            assert!(admits(&mut quiet, key, 1, 1, now));
        }
        assert!(admits(&mut quiet, MOST as u32, 1, 1, now), "the first of the others");
        assert!(!admits(&mut quiet, MOST as u32 + 1, 2, 1, now));
        assert!(!admits(&mut quiet, 0, 2, 1, now), "who had a key keeps it");
        assert_eq!(quiet.open.len(), MOST + 1);
        let held: Vec<_> = std::iter::from_fn(|| quiet.end()).map(|rest| rest.key).collect();
        assert_eq!(held, [0, u32::MAX]);
    }
}
