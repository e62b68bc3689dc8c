//! How many listen by way of this server.
//!
//! Owns their limit. It deliberately does not know what they hear.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The shared handle.
#[derive(Debug)]
pub struct Listeners {
    places: Arc<Semaphore>,
    most: usize,
}

/// The place of one, given back when it is dropped.
#[derive(Debug)]
pub struct ListenerPlace {
    _permit: OwnedSemaphorePermit,
}

impl Listeners {
    /// At most so many.
    pub fn new(most: usize) -> Self {
        let most = most.min(Semaphore::MAX_PERMITS);
        Self { places: Arc::new(Semaphore::new(most)), most }
    }

    /// A place for one more, if there is one.
    pub fn admit(&self) -> Option<ListenerPlace> {
        Arc::clone(&self.places).try_acquire_owned().ok().map(|_permit| ListenerPlace { _permit })
    }

    /// The limit.
    pub fn limit(&self) -> usize {
        self.most
    }

    /// How many there are.
    pub fn taken(&self) -> usize {
        self.most - self.places.available_permits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_so_many() {
        let listeners = Listeners::new(2);
        let first = listeners.admit();
        let second = listeners.admit();
        assert!(first.is_some() && second.is_some() && listeners.admit().is_none());
        assert_eq!((listeners.taken(), listeners.limit()), (2, 2));
        drop(first);
        assert_eq!(listeners.taken(), 1);
        assert!(listeners.admit().is_some());
        assert!(
            Listeners::new(usize::MAX).admit().is_some() && Listeners::new(0).admit().is_none()
        );
    }
}
