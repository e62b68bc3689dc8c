//! What this node has written to the log, and has not seen come back.
//!
//! Owns the order in which entries are written, and when all of them are written again (go-back-N): what counts is the
//! entry that comes back, not that a server has acknowledged it. It is pure: the time is an argument, and it deliberately
//! knows no connection.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::signaling::command::{Command, Outcome};
use crate::signaling::outbox::Outbox;

/// When entries are written again after a server refused one.
const REFUSED: Duration = Duration::from_millis(200);

/// When entries are written again after nothing was said.
pub const SILENT: Duration = Duration::from_secs(1);

/// How much may wait to come back, in bytes.
const MOST: usize = 16 * 1024 * 1024;

/// How many entries are on their way at once. All of them are written again where none comes back in time: a log that is
/// slow does not get much more to do by that.
const FLYING: usize = 256;

/// An entry that has not come back.
#[derive(Debug)]
pub struct Sent {
    /// Which of this node's entries.
    pub counter: u64,
    /// As it is written.
    pub bytes: Arc<[u8]>,
    /// What the client that wants an id is to hear.
    pub outbox: Option<Arc<Outbox>>,
    /// Who waits for the outcome.
    pub outcome: Option<oneshot::Sender<Outcome>>,
    /// What undoes it, where nobody waits any longer.
    pub undo: Option<Command>,
    /// Whether its client does not know what became of it.
    pub is_unsure: bool,
    since: Instant,
}

/// An entry that has not come back, on its way to the process that follows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CarriedSent {
    entry: String,
    undo: Option<Command>,
    is_unsure: bool,
}

/// The entries that have not come back, in order.
#[derive(Debug, Default)]
pub struct Window {
    sent: VecDeque<Sent>,
    bytes: usize,
    /// How many of them, from the first one on, have been written.
    flying: usize,
    /// How many of them are unsure.
    unsure: usize,
    /// How many there have been.
    counter: u64,
    /// When entries were last written, all of them or the last one.
    written: Option<Instant>,
    /// Whether a server has refused one since.
    is_refused: bool,
}

impl Window {
    /// The counter of the next entry.
    pub fn next(&self) -> u64 {
        self.counter + 1
    }

    /// How many have come back.
    pub fn base(&self) -> u64 {
        self.counter - self.sent.len() as u64
    }

    /// Whether there is room for more.
    pub fn has_room(&self) -> bool {
        self.bytes < MOST
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.sent.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// Whether there are entries of which a client was told that they could not be made, or which undo such.
    pub fn is_unsure(&self) -> bool {
        self.unsure > 0
    }

    /// The last entry undoes what a client was told that it could not be made.
    pub fn mark_unsure(&mut self) {
        if let Some(last) = self.sent.back_mut() {
            self.unsure += usize::from(!last.is_unsure);
            last.is_unsure = true;
        }
    }

    /// Another entry, which is to be written from `now` on.
    pub fn push(
        &mut self,
        bytes: Arc<[u8]>,
        outbox: Option<Arc<Outbox>>,
        outcome: Option<oneshot::Sender<Outcome>>,
        undo: Option<Command>,
        now: Instant,
    ) {
        self.counter += 1;
        self.bytes += bytes.len();
        self.written.get_or_insert(now);
        let counter = self.counter;
        let is_unsure = false;
        self.sent.push_back(Sent { counter, bytes, outbox, outcome, undo, is_unsure, since: now });
    }

    /// The entry `counter` has come back.
    pub fn take(&mut self, counter: u64, now: Instant) -> Option<Sent> {
        self.sent.front().filter(|sent| sent.counter == counter)?;
        let sent = self.sent.pop_front()?;
        self.bytes -= sent.bytes.len();
        self.flying = self.flying.saturating_sub(1);
        self.unsure -= usize::from(sent.is_unsure);
        // The next one has its own time.
        self.written = (!self.sent.is_empty()).then_some(now);
        self.is_refused = false;
        Some(sent)
    }

    /// All entries that have not come back, and will not; so many have.
    pub fn take_all(&mut self, counter: u64) -> VecDeque<Sent> {
        let sent = std::mem::take(&mut self.sent);
        self.go_on(counter);
        sent
    }

    /// A server did not take an entry.
    pub fn refuse(&mut self) {
        self.is_refused = true;
    }

    /// The entries that are to be written now, for the first time.
    pub fn due(&mut self) -> Vec<Arc<[u8]>> {
        self.fly(self.flying.max(FLYING))
    }

    /// All entries that have not been written yet: there will be no others.
    pub fn rest(&mut self) -> Vec<Arc<[u8]>> {
        self.fly(usize::MAX)
    }

    fn fly(&mut self, most: usize) -> Vec<Arc<[u8]>> {
        let first = self.flying;
        self.flying = self.sent.len().min(most);
        self.sent.range(first..self.flying).map(|sent| Arc::clone(&sent.bytes)).collect()
    }

    /// The entries that are to be written again at `now`, if they are. `is_new` is whether the connection is.
    pub fn again(&mut self, is_new: bool, now: Instant) -> Vec<Arc<[u8]>> {
        let wait = if self.is_refused { REFUSED } else { SILENT };
        let is_due = self.written.is_some_and(|written| now >= written + wait);
        if self.sent.is_empty() || !(is_new || is_due) {
            return Vec::new();
        }
        (self.written, self.is_refused) = (Some(now), false);
        self.flying = 0;
        self.due()
    }

    /// Whoever has waited since before `then` waits no longer. What they wanted is undone once it is made.
    pub fn give_up(&mut self, then: Instant) {
        for sent in self.sent.iter_mut().filter(|sent| sent.since <= then) {
            // Who waits no longer by now may be on its way to the next process, where it is told the same.
            let is_unsure = sent.outcome.take().is_some() && sent.undo.is_some();
            self.unsure += usize::from(is_unsure && !sent.is_unsure);
            sent.is_unsure |= is_unsure;
        }
    }

    /// So many have come back.
    pub fn go_on(&mut self, counter: u64) {
        *self = Self { counter, ..Self::default() };
    }

    /// What has not come back, each with what undoes it where somebody waits for it, who is told that it can't be made.
    pub fn carry(&self) -> Vec<CarriedSent> {
        let carry = |sent: &Sent| {
            let undo = sent.undo.clone().filter(|_| sent.outcome.is_some() || sent.is_unsure);
            let is_unsure = sent.is_unsure || undo.is_some();
            let entry = String::from_utf8_lossy(&sent.bytes).into_owned();
            CarriedSent { entry, undo, is_unsure }
        };
        self.sent.iter().map(carry).collect()
    }

    /// That has not come back still, at `now`.
    pub fn push_carried(&mut self, carried: Vec<CarriedSent>, now: Instant) {
        for CarriedSent { entry, undo, is_unsure } in carried {
            self.push(entry.into_bytes().into(), None, None, undo, now);
            if is_unsure {
                self.mark_unsure();
            }
        }
    }

    /// Nobody waits any longer, and counting begins anew.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn push(window: &mut Window, text: &str, now: Instant) {
        window.push(text.as_bytes().into(), None, None, None, now);
    }

    fn texts(found: Vec<Arc<[u8]>>) -> Vec<String> {
        found.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }

    #[test]
    fn entries_are_written_again_in_order_until_they_come_back() {
        let (mut window, start) = (Window::default(), Instant::now());
        assert_eq!(window.next(), 1);
        for text in ["a", "b", "c"] {
            push(&mut window, text, start);
        }
        assert_eq!(texts(window.again(false, start + SILENT - MS)), [""; 0]);
        assert_eq!(texts(window.again(false, start + SILENT)), ["a", "b", "c"]);
        assert_eq!(texts(window.again(false, start + 2 * SILENT - MS)), [""; 0]);
        assert!(window.take(2, start).is_none(), "not in order");
        assert_eq!(window.take(1, start + SILENT).unwrap().counter, 1);
        assert!(window.take(1, start).is_none(), "it came twice");
        assert_eq!(texts(window.again(true, start + SILENT)), ["b", "c"], "another connection");
        window.refuse();
        assert_eq!(texts(window.again(false, start + SILENT + REFUSED - MS)), [""; 0]);
        assert_eq!(texts(window.again(false, start + SILENT + REFUSED)), ["b", "c"]);
        for counter in [2, 3] {
            window.take(counter, start).unwrap();
        }
        assert!(window.is_empty() && window.again(true, start + 9 * SILENT).is_empty());
        push(&mut window, "d", start + 9 * SILENT);
        assert_eq!(texts(window.again(false, start + 9 * SILENT)), [""; 0]);
        assert_eq!(window.next(), 5);
    }

    #[test]
    fn so_many_are_on_their_way_and_the_next_ones_when_those_come_back() {
        let (mut window, start) = (Window::default(), Instant::now());
        for _ in 0..FLYING - 1 {
            push(&mut window, "first", start);
        }
        assert_eq!((window.due().len(), window.due().len()), (FLYING - 1, 0));
        for text in ["a", "b", "c"] {
            push(&mut window, text, start);
        }
        assert_eq!(texts(window.due()), ["a"]);
        assert_eq!(texts(window.due()), [""; 0]);
        for (counter, next) in [(1, "b"), (2, "c")] {
            window.take(counter, start).unwrap();
            assert_eq!(texts(window.due()), [next]);
        }
        push(&mut window, "d", start);
        let again = texts(window.again(false, start + SILENT));
        assert_eq!((again.len(), again.last().map(String::as_str)), (FLYING, Some("c")));
        assert_eq!(texts(window.due()), [""; 0]);
        window.take(3, start).unwrap();
        assert_eq!(texts(window.due()), ["d"]);
        for text in ["e", "f"] {
            push(&mut window, text, start);
        }
        assert_eq!(texts(window.rest()), ["e", "f"], "there is no time to wait");
        assert_eq!(texts(window.due()), [""; 0]);
    }

    #[test]
    fn what_a_client_was_told_wrongly_is_known_until_it_is_undone() {
        let (mut window, start) = (Window::default(), Instant::now());
        let (outcome, _made) = oneshot::channel();
        let undo = Some(Command::Expire { on_air: None });
        window.push(b"x".as_slice().into(), None, Some(outcome), undo, start);
        window.give_up(start);
        assert!(window.is_unsure());
        window.take(1, start);
        push(&mut window, "undo", start);
        window.mark_unsure();
        assert!(window.is_unsure());
        window.take(2, start);
        assert!(!window.is_unsure());
    }

    #[test]
    fn what_a_client_was_told_wrongly_is_so_in_the_next_process() {
        let (mut window, start) = (Window::default(), Instant::now());
        let (outcome, _made) = oneshot::channel();
        window.push(b"x".as_slice().into(), None, Some(outcome), Some(Command::GoOffAir), start);
        push(&mut window, "undo", start);
        window.mark_unsure();
        push(&mut window, "lease", start);
        let mut next = Window::default();
        next.go_on(window.base());
        next.push_carried(window.carry(), start);
        assert_eq!((next.base(), next.next()), (0, 4));
        let first = next.take(1, start).unwrap();
        assert!(first.is_unsure && first.undo.is_some(), "its client waits no longer");
        assert!(next.is_unsure(), "what undoes another one is on its way");
        next.take(2, start).unwrap();
        assert!(!next.is_unsure());
    }

    #[test]
    fn who_waits_too_long_is_let_go_and_the_bytes_are_bounded() {
        let (mut window, start) = (Window::default(), Instant::now());
        let (outcome, mut made) = oneshot::channel();
        window.push(b"x".as_slice().into(), None, Some(outcome), None, start);
        window.give_up(start - MS);
        assert!(made.try_recv().is_err() && !window.sent[0].outcome.as_ref().unwrap().is_closed());
        window.give_up(start);
        assert!(
            window.sent[0].outcome.is_none() && !window.is_unsure(),
            "there is nothing to undo"
        );
        assert!(window.has_room());
        window.push(vec![0; MOST].into(), None, None, None, start);
        assert!(!window.has_room());
        window.take(1, start);
        window.take(2, start);
        assert!(window.has_room());
    }
}
