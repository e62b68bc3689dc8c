//! The log: one bounded queue and one writer thread before the sink.
//!
//! Owns the queue, what happens when it is full, and what is logged once with the count of the rest. It deliberately does
//! not know where a line goes.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crate::telemetry::events::Event;
use crate::telemetry::level::Level;
use crate::telemetry::quiet::{Limit, Quiet};
use crate::telemetry::quota::{LINES, Quota};
use crate::telemetry::repetition::{Key, Source, rest};
use crate::telemetry::sink::Sink;

/// How many events wait for the writer. One takes up to about 300 bytes with its strings, so a journal
/// that stands still costs at most 2.5 MB (this queue, and the batch that the writer has in hand).
const CAPACITY: usize = 4096;

/// A cheap-clone handle that anything can log to. It never waits for the sink.
#[derive(Clone, Debug)]
pub struct Journal {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The least grave level that is logged. Written by a reload, read at each event.
    level: AtomicU8,
    /// Guarded by one lock, held for a push or a swap only.
    queue: Mutex<Queue>,
    /// Told when there is something to write or when no more will come.
    filled: Condvar,
    /// Told when all that was logged has been written.
    written: Condvar,
    /// How many events were ever lost. Written with the queue's own count, read by a scrape.
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    /// Written by anybody, taken by the writer. When it is full, a new event is counted and lost.
    waiting: VecDeque<(SystemTime, Event)>,
    /// What is logged once; written by anybody, looked at by the writer when a window ends.
    quiet: Quiet<Key>,
    /// The lines that each address has for what its clients usually do.
    lines: Quiet<Option<IpAddr>>,
    dropped: u64,
    /// Whether the writer has a batch in hand.
    busy: bool,
    closed: bool,
}

/// The writer thread; whoever holds this ends it.
#[derive(Debug)]
pub struct Writer {
    journal: Journal,
    thread: JoinHandle<()>,
}

impl Journal {
    /// Starts the writer thread.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn start(level: Level) -> io::Result<(Self, Writer)> {
        let journal = Self::new(level);
        let shared = Arc::clone(&journal.shared);
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || shared.write(&Sink::open()))?;
        let writer = Writer { journal: journal.clone(), thread };
        Ok((journal, writer))
    }

    fn new(level: Level) -> Self {
        Self {
            shared: Arc::new(Shared {
                level: AtomicU8::new(level as u8),
                queue: Mutex::default(),
                filled: Condvar::new(),
                written: Condvar::new(),
                lost: AtomicU64::new(0),
            }),
        }
    }

    /// Whether an event of this level is logged: asked before an event is made on a busy path.
    pub fn logs(&self, level: Level) -> bool {
        level as u8 <= self.shared.level.load(Ordering::Relaxed)
    }

    /// The least grave level that is logged.
    pub fn level(&self) -> Level {
        self.shared.level()
    }

    /// Sets the least grave level that is logged.
    pub fn set_level(&self, level: Level) {
        self.shared.level.store(level as u8, Ordering::Relaxed);
    }

    /// Logs an event, or counts it: as a repetition of what was logged a moment ago, or as lost when the queue is
    /// full.
    pub fn log(&self, event: Event) {
        if !self.logs(event.level()) {
            return;
        }
        let mut queue = self.shared.lock();
        if queue.is_repetition(&event) {
            // The writer says so when the time has come.
            self.shared.filled.notify_one();
            return;
        }
        if queue.waiting.len() < CAPACITY {
            queue.waiting.push_back((SystemTime::now(), event));
        } else {
            queue.dropped += 1;
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
        self.shared.filled.notify_one();
    }

    /// How many events were lost since the start.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Waits until all that was logged is written, `timeout` at most.
    pub fn flush(&self, timeout: Duration) {
        let queue = self.shared.lock();
        let pending = |queue: &mut Queue| queue.busy || !queue.waiting.is_empty();
        let waited = self.shared.written.wait_timeout_while(queue, timeout, pending);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Writer {
    /// Writes what is left and ends the thread. One that is stuck in a sink that takes nothing for
    /// `timeout` is left behind: the process is about to end.
    pub fn finish(self, timeout: Duration) {
        {
            let mut queue = self.journal.shared.lock();
            while let Some(ended) = queue.quiet.end() {
                queue.say(rest(ended), self.journal.level());
            }
        }
        self.journal.shared.filled.notify_one();
        self.journal.flush(timeout);
        let stuck = {
            let mut queue = self.journal.shared.lock();
            queue.closed = true;
            queue.busy || !queue.waiting.is_empty()
        };
        self.journal.shared.filled.notify_one();
        if !stuck {
            // The writer runs nothing that panics; if it did, the process is ending anyway.
            let _ = self.thread.join();
        }
    }
}

impl Queue {
    /// Whether an event is one of many, and is counted instead.
    fn is_repetition(&mut self, event: &Event) -> bool {
        let Some(limit) = event.quota().limit() else {
            return false;
        };
        let (key, now) = (Key::of(event), Instant::now());
        let others = Key { source: Source::Several, ..key.clone() };
        let client = event.client().map(|client| client.0);
        let (mut is_admitted, key) = self.quiet.admits(key, others, client, limit, now);
        if let (true, Quota::Few, Source::Address(ip)) = (is_admitted, event.quota(), key.source) {
            let limit = Limit { most: LINES, grows: false };
            (is_admitted, _) = self.lines.admits(Some(ip), None, None, limit, now);
        }
        if !is_admitted {
            self.quiet.hold(&key, || event.message());
        }
        !is_admitted
    }

    /// Adds what is to be said of repetitions whose time is over.
    fn end_windows(&mut self, level: Level) {
        let now = Instant::now();
        // Nothing is held back there.
        while self.lines.ended(now).is_some() {}
        while let Some(ended) = self.quiet.ended(now) {
            self.say(rest(ended), level);
        }
    }

    fn say(&mut self, event: Event, level: Level) {
        if event.level() <= level {
            self.waiting.push_back((SystemTime::now(), event));
        }
    }
}

impl Shared {
    fn level(&self) -> Level {
        let number = self.level.load(Ordering::Relaxed);
        Level::ALL.into_iter().find(|level| *level as u8 == number).unwrap_or(Level::Info)
    }

    /// A panic elsewhere leaves the queue as it is: each change to it is a single step.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is something to write, or no more will come.
    fn wait(&self) -> MutexGuard<'_, Queue> {
        let mut queue = self.lock();
        loop {
            queue.end_windows(self.level());
            if !queue.waiting.is_empty() || queue.closed {
                return queue;
            }
            queue = match queue.quiet.next_end() {
                None => self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(end) => {
                    let time = end.saturating_duration_since(Instant::now());
                    let woken = self.filled.wait_timeout(queue, time);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn write(&self, sink: &Sink) {
        let mut batch = VecDeque::new();
        loop {
            let mut queue = self.wait();
            if queue.waiting.is_empty() {
                return;
            }
            std::mem::swap(&mut batch, &mut queue.waiting);
            queue.busy = true;
            drop(queue);
            if sink.is_there() {
                for (time, event) in batch.drain(..) {
                    sink.write(time, &event);
                }
                let count = std::mem::take(&mut self.lock().dropped);
                if count > 0 {
                    sink.write(SystemTime::now(), &Event::LogDropped { count });
                }
            } else {
                // Said with the next event that finds the journal back.
                self.lock().dropped += batch.len() as u64;
                self.lost.fetch_add(batch.len() as u64, Ordering::Relaxed);
                batch.clear();
            }
            self.lock().busy = false;
            self.written.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ids::ClientId;

    #[test]
    fn a_full_queue_loses_and_counts() {
        let journal = Journal::new(Level::Info);
        for _ in 0..CAPACITY {
            journal.log(Event::Signal { signal: "SIGTERM" });
        }
        assert_eq!(journal.shared.lock().dropped, 0);
        journal.log(Event::Signal { signal: "SIGTERM" });
        assert_eq!(journal.shared.lock().dropped, 1);
        assert_eq!(journal.shared.lock().waiting.len(), CAPACITY);
    }

    #[test]
    fn what_an_address_repeats_is_counted() {
        let journal = Journal::new(Level::Info);
        let refuse = |last: u8| {
            let origin = "https://elsewhere.example".to_owned();
            journal.log(Event::OriginRefused { client_ip: [192, 0, 2, last].into(), origin });
        };
        (0..50).for_each(|_| refuse(1));
        refuse(2);
        assert_eq!(journal.shared.lock().waiting.len(), 2, "one of each address");
        let connect = |number| {
            let (client_ip, client_id) = ([192, 0, 2, 1].into(), ClientId(number));
            journal.log(Event::ClientConnected { client_ip, client_id });
        };
        (0..1000).for_each(connect);
        // What all clients of an address usually do has a bound as well.
        for number in 2000..2100 {
            let (client_ip, client_id) = ([192, 0, 2, 1].into(), ClientId(number));
            for message_type in ["ping", "register", "offer", "answer", "mute", "create-room"] {
                journal.log(Event::FirstMessage { client_ip, client_id, message_type });
            }
        }
        let mut queue = journal.shared.lock();
        assert_eq!(queue.waiting.len(), 2 + LINES as usize);
        let ended = std::iter::from_fn(|| queue.quiet.end()).map(|ended| rest(ended).message());
        let expected = [
            "49 more within 60 s by 192.0.2.1, not logged one by one: Origin not allowed: https://elsewhere.example from 192.0.2.1 got HTTP 403 (ALLOWED_ORIGINS)",
            "980 more within 60 s by 192.0.2.1, not logged one by one: WebSocket client connected: 192.0.2.1 (client 20)",
        ];
        let ended: Vec<_> = ended.collect();
        assert_eq!(ended[..2], expected);
        assert_eq!(ended.len(), 8, "one for each type of message: {ended:?}");
    }

    #[test]
    fn a_level_can_change() {
        let journal = Journal::new(Level::Warn);
        journal.log(Event::Signal { signal: "SIGTERM" });
        assert!(journal.shared.lock().waiting.is_empty());
        journal.set_level(Level::Info);
        journal.log(Event::Signal { signal: "SIGTERM" });
        assert_eq!(journal.shared.lock().waiting.len(), 1);
        assert!(!journal.logs(Level::Debug) && journal.logs(Level::Crit));
    }
}
