//! Connections that are no clients yet: they say nothing, ask over HTTP, or shake hands.
//!
//! Owns how many of them there may be, and who of them goes when others wait. It deliberately does not know what they
//! ask for, nor how many clients there are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::server::progress::Progress;

/// How many there may be: enough for a crowd that comes back at once. Each costs 2 KiB while it says nothing and 16 with
/// half a head, 256 MiB together; with the longest hello of TLS it is 64. Descriptors alone would be eight times as many.
const MOST: usize = 16_384;

/// How long one may stay without progress where others wait: a handshake is over after three round trips, TLS included.
const PATIENCE: Duration = Duration::from_secs(1);

/// The shared handle: cheap to clone.
#[derive(Clone, Debug)]
pub struct Pending {
    places: Arc<Semaphore>,
    /// Written when one comes, goes, or is sent away.
    here: Arc<Mutex<Here>>,
}

#[derive(Debug, Default)]
struct Here {
    /// The number of the one that comes next.
    next: u64,
    /// Those who may stay, by their numbers: how they get on, and what sends them away.
    all: BTreeMap<u64, (Arc<Progress>, oneshot::Sender<()>)>,
    /// How many have been sent away and have not gone yet.
    leaving: usize,
}

/// The place of one, given back when it is dropped.
#[derive(Debug)]
pub struct PendingConnection {
    number: u64,
    progress: Arc<Progress>,
    sent_away: oneshot::Receiver<()>,
    here: Arc<Mutex<Here>>,
    _place: OwnedSemaphorePermit,
}

/// Room for one more.
#[derive(Debug)]
pub struct Place(OwnedSemaphorePermit);

impl Default for Pending {
    fn default() -> Self {
        Self::new(MOST)
    }
}

impl Pending {
    /// At most so many.
    pub fn new(most: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(most)), here: Arc::default() }
    }

    /// Waits until there is room for one more.
    pub async fn place(&self) -> Place {
        let place = Arc::clone(&self.places).acquire_owned().await;
        Place(place.expect("nobody closes the semaphore"))
    }

    /// Whether there is no room for one more.
    pub fn are_too_many(&self) -> bool {
        self.places.available_permits() == 0
    }

    /// How many of them another process can go on with.
    pub fn can_be_carried(&self) -> usize {
        let here = lock(&self.here);
        here.all.values().filter(|(progress, _)| progress.can_be_carried()).count()
    }

    /// One that has come.
    pub fn enter(&self, place: Place) -> PendingConnection {
        let (send_away, sent_away) = oneshot::channel();
        let progress = Arc::<Progress>::default();
        let mut here = lock(&self.here);
        let number = here.next;
        here.next += 1;
        here.all.insert(number, (Arc::clone(&progress), send_away));
        drop(here);
        PendingConnection {
            number,
            progress,
            sent_away,
            here: Arc::clone(&self.here),
            _place: place.0,
        }
    }

    /// Sends those away who have made no progress for a second, those who made none for longest first, until `most` are
    /// about to go: how many were sent.
    pub fn make_room(&self, most: usize) -> usize {
        let mut here = lock(&self.here);
        let since = here.all.iter().map(|(number, (progress, _))| (progress.moved(), *number));
        let mut idle: Vec<_> = since.filter(|(moved, _)| moved.elapsed() >= PATIENCE).collect();
        idle.sort_unstable();
        idle.truncate(most.saturating_sub(here.leaving));
        for (_, number) in &idle {
            // It may be about to go by itself.
            let _ = here.all.remove(number).map(|(_, send_away)| send_away.send(()));
        }
        here.leaving += idle.len();
        idle.len()
    }
}

impl PendingConnection {
    /// How it gets on, to be noted by whoever serves it.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Waits until it has to go.
    pub async fn sent_away(&mut self) {
        // An error would mean that it has gone.
        let _ = (&mut self.sent_away).await;
    }
}

impl Drop for PendingConnection {
    fn drop(&mut self) {
        let mut here = lock(&self.here);
        if here.all.remove(&self.number).is_none() {
            here.leaving -= 1;
        }
    }
}

/// Each change is whole before anything could panic.
fn lock(here: &Mutex<Here>) -> MutexGuard<'_, Here> {
    here.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn there_is_room_for_so_many() {
        let pending = Pending::new(2);
        let first = pending.enter(pending.place().await);
        assert!(!pending.are_too_many());
        let second = pending.enter(pending.place().await);
        assert!(pending.are_too_many());
        let third = tokio::spawn({
            let pending = pending.clone();
            async move { pending.enter(pending.place().await) }
        });
        tokio::task::yield_now().await;
        assert!(!third.is_finished());
        drop(first);
        drop((second, third.await.unwrap()));
        assert!(lock(&pending.here).all.is_empty());
        assert_eq!(pending.places.available_permits(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_idle_goes_before_who_gets_on() {
        let pending = Pending::new(3);
        let mut used = pending.enter(pending.place().await);
        let mut idle = pending.enter(pending.place().await);
        advance(Duration::from_millis(1)).await;
        let mut silent = pending.enter(pending.place().await);
        advance(Duration::from_millis(1)).await;
        used.progress().begin_request(false);
        advance(PATIENCE - Duration::from_millis(1)).await;
        assert_eq!(pending.make_room(1), 1);
        idle.sent_away().await;
        drop(idle);
        assert_eq!(pending.make_room(9), 1);
        silent.sent_away().await;
        assert!(used.sent_away.try_recv().is_err(), "its request has just begun");
        advance(Duration::from_millis(1)).await;
        assert_eq!(pending.make_room(9), 1);
        used.sent_away().await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_stayed_too_long_makes_room() {
        let pending = Pending::new(3);
        let mut gone = pending.enter(pending.place().await);
        let mut first = pending.enter(pending.place().await);
        advance(PATIENCE - Duration::from_millis(1)).await;
        let mut second = pending.enter(pending.place().await);
        assert_eq!(pending.make_room(9), 0, "nobody has been there for long");
        advance(Duration::from_millis(1)).await;
        assert_eq!(pending.make_room(1), 1, "not more than asked for");
        assert_eq!(pending.make_room(1), 0, "one is about to go already");
        assert_eq!(pending.make_room(9), 1);
        gone.sent_away().await;
        first.sent_away().await;
        assert!(second.sent_away.try_recv().is_err(), "it may stay");
        drop((gone, first));
        assert_eq!(pending.make_room(9), 0, "each is sent away once");
        assert_eq!(lock(&pending.here).leaving, 0);
    }
}
