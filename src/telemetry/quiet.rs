//! What is logged once: events that somebody can cause as often as they like.
//!
//! Owns how many of them are logged in a minute, and the count of the rest. It is pure: the time is an argument, and
//! it deliberately does not know what the events are.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// For how long repetitions are counted instead of logged, from the first event on.
pub const WINDOW: Duration = Duration::from_secs(60);

/// For how long at most, where they go on and on: each window is twice as long as the one before.
const LONGEST: Duration = Duration::from_secs(3600);

/// How many keys there are at most, each with up to 400 bytes: 1.6 MB. Further ones share one.
const MOST: usize = 4096;

/// Events by key, each within a window of its own.
#[derive(Debug)]
pub struct Quiet<K> {
    open: HashMap<K, Window>,
    /// The keys of `open`, by the ends of their windows and the order in which these were opened.
    ends: BTreeMap<(Instant, u64), K>,
    /// How many windows there have been.
    windows: u64,
}

/// How many events of a key are logged in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// How many.
    pub most: u32,
    /// Whether none is logged and the windows grow, as long as they go on: else each window starts anew.
    pub grows: bool,
}

#[derive(Debug)]
struct Window {
    /// How many more may be logged.
    left: u32,
    length: Duration,
    grows: bool,
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
    /// In which time, in whole seconds.
    pub seconds: u64,
    /// What the first of them said.
    pub sample: String,
}

impl<K> Default for Quiet<K> {
    fn default() -> Self {
        Self { open: HashMap::new(), ends: BTreeMap::new(), windows: 0 }
    }
}

impl<K: Clone + Eq + Hash> Quiet<K> {
    /// Whether an event at `now` is to be logged: one of the first in its window that is not the same client's as the
    /// one before. Where there are too many keys, that is looked at under the key `others`. The key is the one that it
    /// was looked at under, for [`Self::hold`].
    pub fn admits(
        &mut self,
        key: K,
        others: K,
        client: Option<u64>,
        limit: Limit,
        now: Instant,
    ) -> (bool, K) {
        let key = if self.open.len() < MOST || self.open.contains_key(&key) { key } else { others };
        if !self.open.contains_key(&key) {
            let Limit { most: left, grows } = limit;
            let (client, held, sample) = (None, 0, String::new());
            let window = Window { left, length: WINDOW, grows, client, held, sample };
            self.begin(key.clone(), window, now);
        }
        let window = self.open.get_mut(&key).expect("it has just been opened");
        let is_again = client.is_some() && window.client == client;
        let is_admitted = window.left > 0 && !is_again;
        if is_admitted {
            window.left -= 1;
            window.client = client;
        }
        (is_admitted, key)
    }

    /// Counts an event that is not logged; `sample` says what it was.
    pub fn hold(&mut self, key: &K, sample: impl FnOnce() -> String) {
        if let Some(window) = self.open.get_mut(key) {
            if window.held == 0 {
                window.sample = sample();
            }
            window.held += 1;
        }
    }

    fn begin(&mut self, key: K, window: Window, now: Instant) {
        self.windows += 1;
        self.ends.insert((now + window.length, self.windows), key.clone());
        self.open.insert(key, window);
    }

    /// When the next window ends, if one is open.
    pub fn next_end(&self) -> Option<Instant> {
        self.ends.first_key_value().map(|((end, _), _)| *end)
    }

    /// The next window that has ended by `now` and held something back; to be asked until there is none.
    pub fn ended(&mut self, now: Instant) -> Option<Rest<K>> {
        while self.next_end().is_some_and(|end| end <= now) {
            let (key, window) = self.end_first()?;
            if window.held == 0 {
                continue;
            }
            let rest = window.rest(key.clone());
            if window.grows {
                // It goes on, perhaps: what comes now is no news.
                let length = (2 * window.length).min(LONGEST);
                let (left, client, held, sample) = (0, None, 0, String::new());
                self.begin(key, Window { left, length, client, held, sample, ..window }, now);
            }
            return Some(rest);
        }
        None
    }

    /// As [`Self::ended`], but each window ends now, and none begins.
    pub fn end(&mut self) -> Option<Rest<K>> {
        while let Some((key, window)) = self.end_first() {
            if window.held > 0 {
                return Some(window.rest(key));
            }
        }
        None
    }

    fn end_first(&mut self) -> Option<(K, Window)> {
        let (_, key) = self.ends.pop_first()?;
        let window = self.open.remove(&key)?;
        Some((key, window))
    }
}

impl Window {
    fn rest<K>(&self, key: K) -> Rest<K> {
        let (count, seconds) = (self.held, self.length.as_secs());
        Rest { key, count, seconds, sample: self.sample.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(quiet: &mut Quiet<u32>, key: u32, client: u64, most: u32, now: Instant) -> bool {
        let limit = Limit { most, grows: most == 1 };
        let (is_admitted, key) = quiet.admits(key, u32::MAX, Some(client), limit, now);
        if !is_admitted {
            quiet.hold(&key, || format!("client {client}"));
        }
        is_admitted
    }

    #[test]
    fn the_first_are_logged_and_the_rest_is_counted() {
        let (mut quiet, start) = (Quiet::default(), Instant::now());
        assert!(admits(&mut quiet, 1, 7, 2, start) && admits(&mut quiet, 1, 8, 2, start));
        let late = start + WINDOW - Duration::from_millis(1);
        assert!(!admits(&mut quiet, 1, 9, 2, start) && !admits(&mut quiet, 1, 10, 2, late));
        assert!(admits(&mut quiet, 2, 7, 2, late), "another key");
        assert_eq!((quiet.next_end(), quiet.ended(late)), (Some(start + WINDOW), None));
        let rest = Rest { key: 1, count: 2, seconds: 60, sample: "client 9".to_owned() };
        assert_eq!(quiet.ended(start + WINDOW), Some(rest));
        assert_eq!(quiet.ended(start + WINDOW), None, "the other one goes on");
        assert!(admits(&mut quiet, 1, 7, 2, start + WINDOW), "a new window");
        assert_eq!(quiet.end(), None, "nothing was held back");
        assert!(quiet.open.is_empty() && quiet.ends.is_empty());
    }

    #[test]
    fn what_goes_on_and_on_is_said_less_and_less() {
        let (mut quiet, mut now) = (Quiet::default(), Instant::now());
        assert!(admits(&mut quiet, 1, 7, 1, now));
        let mut said = Vec::new();
        for client in 8..400 {
            now += Duration::from_secs(30);
            said.extend(quiet.ended(now).map(|rest| rest.seconds));
            assert!(!admits(&mut quiet, 1, client, 1, now), "the first line was enough");
        }
        assert_eq!(said, [60, 120, 240, 480, 960, 1920, 3600, 3600]);
        // Once there was none in a window, the next one is news.
        now += 2 * LONGEST;
        assert!(quiet.ended(now).is_some());
        now += LONGEST;
        assert_eq!(quiet.ended(now), None);
        assert!(admits(&mut quiet, 1, 7, 1, now));
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
        assert_eq!((quiet.open.len(), quiet.ends.len()), (MOST + 1, MOST + 1));
        let mut held: Vec<_> = std::iter::from_fn(|| quiet.end()).map(|rest| rest.key).collect();
        held.sort_unstable();
        assert_eq!(held, [0, u32::MAX]);
    }
}
