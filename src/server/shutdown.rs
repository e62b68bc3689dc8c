//! How the process ends: a phase that goes down to everybody, a tracker that comes back up.
//!
//! Owns the order of phases and who waits for whom. It deliberately knows neither what a session says
//! when it ends nor how long that may take.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::futures::Notified;
use tokio::sync::{Notify, watch};
use tokio_util::task::TaskTracker;

/// Where the process stands. It only ever moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Clients are accepted.
    Serving,
    /// A restart begins: nobody is accepted any longer, and clients are served as before.
    Settling,
    /// Whoever can be carried is given back: everything goes to the next process.
    HandingOver,
    /// Nobody new is accepted, and clients are told to go.
    Draining,
    /// No client is left: idle HTTP connections end, too.
    Closing,
    /// Nobody is waited for any longer.
    Cut,
}

/// The shared handle: cheap to clone, one for everything that runs.
#[derive(Clone, Debug)]
pub struct Shutdown {
    /// Written by signals, by [`Shutdown::fail`] and by the drain; read by every task.
    phase: watch::Sender<Phase>,
    /// The sessions' view of it, which they look at with each message.
    ending: Arc<Ending>,
    /// Written by a panic before it starts the drain; read by who is draining.
    failed: Arc<AtomicBool>,
    /// How many clients are going that have acknowledged everything. Written by their sessions, read at the end of a
    /// drain's grace period.
    told: Arc<AtomicUsize>,
    /// Every connection and every session is a task of this tracker; the drain waits for it.
    pub tasks: TaskTracker,
}

/// Whether sessions are to end: from [`Phase::HandingOver`] on.
#[derive(Debug, Default)]
struct Ending {
    /// Written by [`Shutdown::enter`] before it notifies.
    is_reached: AtomicBool,
    notify: Notify,
}

/// As long as it lives, a client counts as one that has acknowledged everything.
#[derive(Debug)]
pub struct Told(Arc<AtomicUsize>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Serving),
            ending: Arc::default(),
            failed: Arc::default(),
            told: Arc::default(),
            tasks: TaskTracker::new(),
        }
    }
}

impl Shutdown {
    /// Moves on to `phase`; a phase that has passed is not gone back to.
    pub fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|current| {
            let forward = phase > *current;
            *current = phase.max(*current);
            forward
        });
        if phase >= Phase::HandingOver {
            self.ending.is_reached.store(true, Ordering::Release);
            self.ending.notify.notify_waiters();
        }
    }

    /// Whether sessions are to end: [`Phase::HandingOver`] is reached or passed.
    pub fn is_ending(&self) -> bool {
        self.ending.is_reached.load(Ordering::Acquire)
    }

    /// Wakes who waits for it when [`Self::is_ending`] becomes true. To be made before that is asked.
    pub fn ending(&self) -> Notified<'_> {
        self.ending.notify.notified()
    }

    /// Something that cannot be recovered from happened: drain, and exit with a failure.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::Release);
        self.enter(Phase::Draining);
    }

    /// A client that goes has acknowledged everything, its close frame included: nobody has to wait for it.
    pub fn tell(&self) -> Told {
        self.told.fetch_add(1, Ordering::AcqRel);
        Told(Arc::clone(&self.told))
    }

    /// How many clients have acknowledged everything, of those that are going.
    pub fn told(&self) -> usize {
        self.told.load(Ordering::Acquire)
    }

    /// Where the process stands now.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Whether [`Shutdown::fail`] was called.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Waits until `phase` is reached or passed.
    pub async fn reached(&self, phase: Phase) {
        let mut phases = self.phase.subscribe();
        let reached = phases.wait_for(|current| *current >= phase).await;
        assert!(reached.is_ok(), "self holds the sender");
    }

    /// Waits until the process is in `phase`: for ever, where that is skipped.
    pub async fn within(&self, phase: Phase) {
        self.reached(phase).await;
        if self.phase() != phase {
            pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_phase_is_never_gone_back_to() {
        let shutdown = Shutdown::default();
        shutdown.enter(Phase::Closing);
        shutdown.enter(Phase::Draining);
        assert_eq!(shutdown.phase(), Phase::Closing);
        shutdown.reached(Phase::Draining).await;
    }

    #[tokio::test]
    async fn sessions_end_when_they_are_handed_over_or_told_to_go() {
        for phase in [Phase::HandingOver, Phase::Draining] {
            let shutdown = Shutdown::default();
            shutdown.enter(Phase::Settling);
            let ending = shutdown.ending();
            assert!(!shutdown.is_ending());
            shutdown.enter(phase);
            assert!(shutdown.is_ending());
            assert_eq!(ending.now_or_never(), Some(()));
        }
    }

    #[tokio::test]
    async fn a_phase_that_is_skipped_is_not_waited_for() {
        let shutdown = Shutdown::default();
        shutdown.enter(Phase::Draining);
        assert_eq!(shutdown.within(Phase::HandingOver).now_or_never(), None);
        assert_eq!(shutdown.within(Phase::Draining).now_or_never(), Some(()));
    }

    #[tokio::test]
    async fn a_failure_drains() {
        let shutdown = Shutdown::default();
        assert!(!shutdown.has_failed());
        shutdown.fail();
        shutdown.reached(Phase::Draining).await;
        assert!(shutdown.has_failed());
    }
}
