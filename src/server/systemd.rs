//! What systemd is told, what it passes, and the watchdog.
//!
//! Owns the notification protocol (sd_notify(3)) and the sockets of sd_listen_fds(3). It deliberately
//! does not know what the parts that it watches do.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;
use sd_notify::NotifyState;
use tokio::sync::watch;

use crate::server::handover::execute::hold_signals;
use crate::server::handover::push as handover;
use crate::server::handover::queue::Receiver;
use crate::telemetry::events::Event;
use crate::telemetry::journal::Journal;

/// How often the watchdog thread looks, as a part of the time that systemd allows between two pings:
/// three looks may come late before systemd acts.
const LOOKS: u32 = 4;

/// Probes start out as having answered the question before this one.
const FIRST_QUESTION: u64 = 1;

/// Tells systemd how the service is. Without a NOTIFY_SOCKET, everything here does nothing.
#[derive(Clone, Debug)]
pub struct Notifier {
    journal: Journal,
}

impl Notifier {
    /// A notifier that logs what could not be sent.
    pub fn new(journal: Journal) -> Self {
        Self { journal }
    }

    /// The service is up (again, after [`Notifier::reloading`]).
    pub fn ready(&self, status: &str) {
        self.send(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// One line for `systemctl status`. Never holds a client's text: it is sent unescaped.
    pub fn status(&self, status: &str) {
        self.send(&[NotifyState::Status(status)]);
    }

    /// A reload begins; systemd wants the time of that in the same datagram.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.send(&[NotifyState::Reloading, now]),
            Err(error) => self.failed(&error),
        }
    }

    /// The service is going down.
    pub fn stopping(&self, status: &str) {
        self.send(&[NotifyState::Stopping, NotifyState::Status(status)]);
    }

    /// Stopping goes on: do not lose patience for another `time`.
    pub fn extend(&self, time: Duration, status: &str) {
        let time = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        let extend = NotifyState::ExtendTimeoutUsec(time);
        self.send(&[extend, NotifyState::Status(status)]);
    }

    /// Gives a descriptor to the store, by this name. systemd does not look whether its other end is there.
    ///
    /// # Errors
    ///
    /// What sendmsg(2) says.
    pub fn store(&self, name: &str, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        let states =
            [NotifyState::FdStore, NotifyState::FdName(name), NotifyState::Custom("FDPOLL=0")];
        sd_notify::notify_with_fds(&states, &[descriptor])
    }

    /// What was stored by this name is of no use any longer.
    pub fn forget(&self, name: &str) {
        self.send(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)]);
    }

    /// Has systemd close its copy of a pipe when it has handled all that it was told.
    ///
    /// # Errors
    ///
    /// What sendmsg(2) says.
    pub fn barrier(&self, pipe: BorrowedFd<'_>) -> io::Result<()> {
        sd_notify::notify_with_fds(&[NotifyState::Custom("BARRIER=1")], &[pipe])
    }

    fn send(&self, states: &[NotifyState]) {
        if let Err(error) = sd_notify::notify(states) {
            self.failed(&error);
        }
    }

    fn failed(&self, error: &io::Error) {
        let error = error.to_string();
        self.journal.log(Event::NotifyFailed { error });
    }
}

/// What systemd passes (sd_listen_fds(3)).
#[derive(Debug, Default)]
pub struct Passed {
    /// Where to listen.
    pub listeners: Vec<TcpListener>,
    /// Whether this process has made these sockets itself, before it executed the program that runs now.
    pub is_own: bool,
    /// What a process before this one has left.
    pub queue: Option<Receiver>,
    /// The names of what nobody here knows; it is closed.
    pub unknown: Vec<String>,
}

/// Takes what systemd passes. Only a process without further threads may call this, as it changes the environment.
///
/// # Errors
///
/// When a socket is none that TCP connections can be accepted on.
pub fn passed() -> io::Result<Passed> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let names: Vec<_> = names.split(':').collect();
    let mut found = ListenFd::from_env();
    let mut passed = Passed::default();
    for index in 0..found.len() {
        let name = names.get(index).copied().unwrap_or_default();
        if name == handover::NAME {
            let queue: io::Result<Option<OwnedFd>> =
                found.take_custom(index, AF_UNIX, SOCK_SEQPACKET, "handover");
            match queue {
                Ok(Some(queue)) => passed.queue = Some(queue.into()),
                _ => {
                    close(&mut found, index);
                    passed.unknown.push(name.to_owned());
                }
            }
            continue;
        }
        // Sockets that listen have the names of their units, or none at all.
        let is_listener = names.len() < 2 || name.ends_with(".socket");
        let listener = found.take_tcp_listener(index);
        let listener = listener.and_then(|listener| {
            let listener = listener.ok_or_else(|| io::Error::other("it was taken twice"))?;
            match socket_acceptconn(&listener)? {
                true => Ok(listener),
                false => Err(io::Error::other("it does not listen")),
            }
        });
        match listener {
            Ok(listener) => passed.listeners.push(listener),
            Err(error) if is_listener => return Err(error),
            Err(_) => {
                close(&mut found, index);
                passed.unknown.push(name.to_owned());
            }
        }
    }
    Ok(passed)
}

/// As <sys/socket.h> has them on each architecture that this is packaged for.
const AF_UNIX: i32 = 1;
const AF_INET: i32 = 2;
const AF_INET6: i32 = 10;
const SOCK_STREAM: i32 = 1;
const SOCK_DGRAM: i32 = 2;
const SOCK_SEQPACKET: i32 = 5;

/// Closes a passed socket, whatever its kind.
fn close(found: &mut ListenFd, index: usize) {
    for family in [AF_UNIX, AF_INET, AF_INET6] {
        for kind in [SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET] {
            // One of another kind is not taken.
            let taken: io::Result<Option<OwnedFd>> = found.take_custom(index, family, kind, "it");
            drop(taken);
        }
    }
}

/// Asks the parts of the service whether they are alive, and passes their answer on to systemd.
#[derive(Debug)]
pub struct Watchdog {
    /// The number of the question that is open.
    question: watch::Sender<u64>,
    parts: Vec<(&'static str, Arc<AtomicU64>)>,
}

/// A part's end of the watchdog.
#[derive(Debug)]
pub struct Probe {
    questions: watch::Receiver<u64>,
    /// The number of the last question that was answered. Written by the part, read by the watchdog.
    answered: Arc<AtomicU64>,
}

impl Probe {
    /// Waits for the next question.
    pub async fn asked(&mut self) {
        if self.questions.changed().await.is_err() {
            // No watchdog runs: there will be no question.
            std::future::pending().await
        }
    }

    /// Answers each question after `touch`, and never ends.
    pub async fn answer_always(&mut self, touch: impl Fn()) -> Infallible {
        loop {
            self.asked().await;
            touch();
            self.answer();
        }
    }

    /// Answers the question that is open.
    pub fn answer(&mut self) {
        let question = *self.questions.borrow_and_update();
        self.answered.store(question, Ordering::Release);
    }
}

impl Default for Watchdog {
    fn default() -> Self {
        Self { question: watch::Sender::new(0), parts: Vec::new() }
    }
}

impl Watchdog {
    /// Adds a part, named as the log will name it.
    pub fn watch(&mut self, part: &'static str) -> Probe {
        let answered = Arc::default();
        self.parts.push((part, Arc::clone(&answered)));
        Probe { questions: self.question.subscribe(), answered }
    }

    /// Starts the thread, if systemd asked for a watchdog (WATCHDOG_USEC, sd_watchdog_enabled(3)).
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn start(self, journal: Journal) -> io::Result<Option<Running>> {
        sd_notify::watchdog_enabled()
            .map(|allowed| self.start_with(allowed, journal, ping))
            .transpose()
    }

    fn start_with(
        self,
        allowed: Duration,
        journal: Journal,
        ping: impl FnMut(&Journal) + Send + 'static,
    ) -> io::Result<Running> {
        let (stop, stopped) = channel();
        let interval = allowed / LOOKS;
        let wait = move || stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout);
        let thread = std::thread::Builder::new().name("watchdog".into()).spawn(move || {
            hold_signals();
            self.run(wait, &journal, ping);
        })?;
        Ok(Running { stop, thread })
    }

    /// Asks, looks for the answers, and pings when every part has given one since the last ping. A part
    /// that is late gets as many looks as it needs: only systemd decides that it was too late. `wait` lasts until the
    /// next look, and gives false where there is none.
    fn run(
        self,
        mut wait: impl FnMut() -> bool,
        journal: &Journal,
        mut ping: impl FnMut(&Journal),
    ) {
        let mut question = FIRST_QUESTION;
        self.question.send_replace(question);
        let mut asked = Instant::now();
        let mut withheld = false;
        while wait() {
            let silent =
                self.parts.iter().find(|(_, answered)| answered.load(Ordering::Acquire) < question);
            if let Some((part, _)) = silent {
                if !withheld {
                    journal.log(Event::WatchdogWithheld {
                        part,
                        milliseconds: asked.elapsed().as_millis(),
                    });
                }
                withheld = true;
                continue;
            }
            ping(journal);
            withheld = false;
            question += 1;
            asked = Instant::now();
            self.question.send_replace(question);
        }
    }
}

fn ping(journal: &Journal) {
    Notifier::new(journal.clone()).send(&[NotifyState::Watchdog]);
}

/// The watchdog thread.
#[derive(Debug)]
pub struct Running {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Running {
    /// Ends the thread.
    pub fn finish(self) {
        drop(self.stop);
        // Its panic was logged by the hook, as any other.
        let _ = self.thread.join();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::telemetry::level::Level;

    #[test]
    fn a_ping_needs_an_answer_from_every_part() {
        let (journal, writer) = Journal::start(Level::Crit).unwrap();
        let mut watchdog = Watchdog::default();
        let mut alive = watchdog.watch("runtime");
        let mut stuck = watchdog.watch("accept loop");
        let pings = Cell::new(0);
        let mut looks = 0;
        // What happens before each look.
        let wait = || {
            match looks {
                0 => alive.answer(),
                1..4 => assert_eq!(pings.get(), 0),
                // A late answer is still an answer: busy is not dead.
                4 => stuck.answer(),
                // It counts for one ping only.
                5..8 => assert_eq!(pings.get(), 1),
                8 => {
                    alive.answer();
                    stuck.answer();
                }
                _ => assert_eq!(pings.get(), 2),
            }
            looks += 1;
            looks < 10
        };
        watchdog.run(wait, &journal, |_| pings.set(pings.get() + 1));
        writer.finish(Duration::from_secs(1));
    }
}
