//! The log's two sinks, journald and stderr, behind one bounded queue and one writer thread.
//!
//! Owns the queue, what happens when it is full, and the form of a line. It deliberately knows no event
//! by name, but for the one that counts lost events.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use rustix::fs::fstat;
use tracing::{Dispatch, dispatcher};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::layer::SubscriberExt;

use crate::events::{Event, Level};

/// How many events wait for the writer. One takes up to about 300 bytes with its strings, so a journal
/// that stands still costs at most 2.5 MB (this queue, and the batch that the writer has in hand).
const CAPACITY: usize = 4096;

/// Where journald listens (systemd's JOURNAL_NATIVE_PROTOCOL).
const JOURNALD: &str = "/run/systemd/journal/socket";

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

    /// Sets the least grave level that is logged.
    pub fn set_level(&self, level: Level) {
        self.shared.level.store(level as u8, Ordering::Relaxed);
    }

    /// Logs an event, or counts it as lost when the queue is full.
    pub fn log(&self, event: Event) {
        if !self.logs(event.level()) {
            return;
        }
        let mut queue = self.shared.lock();
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

impl Shared {
    /// A panic elsewhere leaves the queue as it is: each change to it is a single step.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, sink: &Sink) {
        let mut batch = VecDeque::new();
        loop {
            let idle = |queue: &mut Queue| queue.waiting.is_empty() && !queue.closed;
            let mut queue =
                self.filled.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
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

/// Where events end up.
enum Sink {
    /// journald's native protocol.
    Journald {
        probe: UnixDatagram,
        usual: Dispatch,
        /// tracing has no critical level, so its errors are mapped to that priority here.
        critical: Dispatch,
    },
    /// Lines for a person.
    Stderr,
}

impl Sink {
    /// journald, if our stderr is its stream and its socket takes connections; else stderr.
    fn open() -> Self {
        if !stderr_is_journal() {
            return Self::Stderr;
        }
        Self::open_journald().unwrap_or(Self::Stderr)
    }

    fn open_journald() -> io::Result<Self> {
        Ok(Self::Journald {
            probe: UnixDatagram::unbound()?,
            usual: journald(Priority::Error)?,
            critical: journald(Priority::Critical)?,
        })
    }

    /// Whether events would arrive. tracing-journald keeps it to itself when one does not, so an empty
    /// datagram, which journald ignores, is sent ahead of each batch.
    fn is_there(&self) -> bool {
        match self {
            Self::Journald { probe, .. } => probe.send_to(&[], JOURNALD).is_ok(),
            Self::Stderr => true,
        }
    }

    fn write(&self, time: SystemTime, event: &Event) {
        match self {
            Self::Journald { usual, critical, .. } => {
                let sink = match event.level() {
                    Level::Crit => critical,
                    _ => usual,
                };
                dispatcher::with_default(sink, || event.emit());
            }
            Self::Stderr => {
                let line = line(time, event);
                // There is nowhere left to complain about a stderr that is gone.
                let _ = io::stderr().write_all(line.as_bytes());
            }
        }
    }
}

/// A journald subscriber whose errors have `errors` as their priority.
fn journald(errors: Priority) -> io::Result<Dispatch> {
    let layer = tracing_journald::layer()?
        .with_field_prefix(None)
        .with_syslog_identifier("openstudio-signaling".into())
        .with_priority_mappings(PriorityMappings {
            error: errors,
            warn: Priority::Warning,
            info: Priority::Informational,
            debug: Priority::Debug,
            trace: Priority::Debug,
        });
    Ok(Dispatch::new(tracing_subscriber::registry().with(layer)))
}

/// Whether JOURNAL_STREAM (systemd.exec(5)) names our stderr by device and inode.
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    let stderr = io::stderr();
    !stderr.is_terminal()
        && fstat(&stderr).is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

fn line(time: SystemTime, event: &Event) -> String {
    let time = humantime::format_rfc3339_millis(time);
    let level = event.level().to_string().to_uppercase();
    format!("[{time}] [{level}] {}\n", event.message())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ClientId;

    #[test]
    fn a_line_has_time_level_and_message() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_760_804_258_582);
        let event =
            Event::ClientConnected { client_ip: [127, 0, 0, 1].into(), client_id: ClientId(1) };
        assert_eq!(
            line(time, &event),
            "[2025-10-18T16:17:38.582Z] [INFO] WebSocket client connected: 127.0.0.1 (client 1)\n"
        );
    }

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
