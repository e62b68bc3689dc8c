//! Who is connected.
//!
//! Owns the number of clients and the limit on it. It deliberately knows no socket and no session.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::protocol::ClientId;

/// How long nobody must have been turned away for the next one to be news.
const FULL_QUIET: Duration = Duration::from_secs(60);

/// The shared handle: cheap to clone.
#[derive(Clone, Debug)]
pub struct Hub {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// How many seats are taken. Written under the channel's own lock when a seat is taken or given back;
    /// read by the status line, the drain and the watchdog.
    clients: watch::Sender<usize>,
    /// The number of the client that comes next.
    next: AtomicU64,
    limit: usize,
    /// When somebody was last turned away. Written and read by [`Hub::admit`] only.
    full: Mutex<Option<Instant>>,
}

/// All seats are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// Whether nobody was turned away in the minute before: worth a line in the log.
    pub is_news: bool,
}

/// A client's place in the hub, given back when it is dropped.
#[derive(Debug)]
pub struct Seat {
    hub: Hub,
    /// Whose place it is.
    pub client: ClientId,
}

impl Hub {
    /// A hub for at most `limit` clients.
    pub fn new(limit: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                clients: watch::Sender::new(0),
                next: AtomicU64::new(1),
                limit,
                full: Mutex::new(None),
            }),
        }
    }

    /// How many clients there may be.
    pub fn limit(&self) -> usize {
        self.inner.limit
    }

    /// How many clients there are, those whose handshake is being answered included.
    pub fn clients(&self) -> usize {
        *self.inner.clients.borrow()
    }

    /// A receiver that follows the number of clients.
    pub fn follow(&self) -> watch::Receiver<usize> {
        self.inner.clients.subscribe()
    }

    /// Gives the next client a seat.
    ///
    /// # Errors
    ///
    /// When all are taken.
    pub fn admit(&self) -> Result<Seat, Full> {
        let limit = self.inner.limit;
        let admitted = self.inner.clients.send_if_modified(|clients| {
            let free = *clients < limit;
            *clients += usize::from(free);
            free
        });
        if !admitted {
            return Err(self.turn_away());
        }
        Ok(Seat {
            hub: self.clone(),
            client: ClientId(self.inner.next.fetch_add(1, Ordering::Relaxed)),
        })
    }

    fn turn_away(&self) -> Full {
        let mut last = self.inner.full.lock().unwrap_or_else(PoisonError::into_inner);
        let before = last.replace(Instant::now());
        Full { is_news: before.is_none_or(|before| before.elapsed() >= FULL_QUIET) }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.hub.inner.clients.send_modify(|clients| *clients -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_limited_and_given_back() {
        let hub = Hub::new(2);
        let first = hub.admit().unwrap();
        let second = hub.admit().unwrap();
        assert_ne!(first.client, second.client);
        assert_eq!(hub.admit().unwrap_err(), Full { is_news: true });
        assert_eq!(hub.admit().unwrap_err(), Full { is_news: false });
        assert_eq!(hub.clients(), 2);
        drop(first);
        assert_eq!(hub.clients(), 1);
        assert!(hub.admit().is_ok());
    }
}
