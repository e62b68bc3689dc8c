//! How many listen by way of this server.
//!
//! Owns their limit. It deliberately does not know what they hear.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::telemetry::subnet::subnet;

/// Which part of all places one address may have: an office is not shut out, and nobody takes all of them.
const SHARE: usize = 4;

/// How many ask Icecast at a time: its queue is short, and who does not fit in waits for seconds.
const ASKING: usize = 4;

/// The shared handle.
#[derive(Debug)]
pub struct Listeners {
    /// How many there are of each IPv4 address or IPv6 /64; written when one comes or goes.
    here: Arc<Mutex<HashMap<IpAddr, usize>>>,
    most: usize,
    /// Who asks Icecast now.
    asking: Semaphore,
}

/// The place of one, given back when it is dropped.
#[derive(Debug)]
pub struct ListenerPlace {
    here: Arc<Mutex<HashMap<IpAddr, usize>>>,
    subnet: IpAddr,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// All are taken; so many there are.
    Full(usize),
    /// The address has as many as it may.
    Crowded(usize),
}

impl ListenerPlace {
    /// Whose it is: an IPv4 address or IPv6 /64.
    pub fn subnet(&self) -> IpAddr {
        self.subnet
    }
}

impl Listeners {
    /// At most so many.
    pub fn new(most: usize) -> Self {
        Self { here: Arc::default(), most, asking: Semaphore::new(ASKING) }
    }

    /// A place for one more.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn admit(&self, ip: IpAddr) -> Result<ListenerPlace, NoPlace> {
        let (subnet, share) = (subnet(ip), self.most.div_ceil(SHARE));
        let mut here = lock(&self.here);
        if here.values().sum::<usize>() >= self.most {
            return Err(NoPlace::Full(self.most));
        }
        let count = here.entry(subnet).or_default();
        if *count >= share {
            return Err(NoPlace::Crowded(share));
        }
        *count += 1;
        Ok(ListenerPlace { here: Arc::clone(&self.here), subnet })
    }

    /// Waits for the turn to ask Icecast; it lasts as long as what is returned.
    pub async fn turn(&self) -> SemaphorePermit<'_> {
        self.asking.acquire().await.expect("nobody closes the semaphore")
    }

    /// How many there are.
    pub fn taken(&self) -> usize {
        lock(&self.here).values().sum()
    }
}

impl Drop for ListenerPlace {
    fn drop(&mut self) {
        let mut here = lock(&self.here);
        if let Some(count) = here.get_mut(&self.subnet) {
            *count -= 1;
            if *count == 0 {
                here.remove(&self.subnet);
            }
        }
    }
}

/// Each change is whole before anything could panic.
fn lock(here: &Mutex<HashMap<IpAddr, usize>>) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
    here.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_so_many_and_for_some_of_one_address() {
        let listeners = Listeners::new(5);
        let admit = |ip: &str| listeners.admit(ip.parse().unwrap());
        let first = [admit("2001:db8::1").unwrap(), admit("2001:db8::2").unwrap()];
        assert_eq!(admit("2001:db8::3").unwrap_err(), NoPlace::Crowded(2));
        let others = [admit("192.0.2.1"), admit("192.0.2.1"), admit("192.0.2.2")];
        assert!(others.iter().all(Result::is_ok));
        assert_eq!(admit("192.0.2.3").unwrap_err(), NoPlace::Full(5));
        assert_eq!(listeners.taken(), 5);
        drop(first);
        assert_eq!(listeners.taken(), 3);
        assert!(admit("2001:db8::3").is_ok());
        drop(others);
        assert!(lock(&listeners.here).is_empty(), "nothing is kept for those who have gone");
        assert_eq!(Listeners::new(0).admit([127, 0, 0, 1].into()).unwrap_err(), NoPlace::Full(0));
    }
}
