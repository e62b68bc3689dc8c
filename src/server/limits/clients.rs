//! How many clients there are, in all and of each subnet.
//!
//! Owns the limits on connecting. It deliberately does not know what a client says once it sits.

use std::collections::{HashMap, hash_map::Entry};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::telemetry::subnet::subnet;
use crate::wire::ids::ClientId;

/// The shared handle: cheap to clone.
#[derive(Clone, Debug)]
pub struct ClientLimit {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// How many slots are taken. Written under the channel's own lock when a slot is taken or given back;
    /// read by the status line, the drain and a scrape.
    taken: watch::Sender<usize>,
    /// The number of the client that comes next.
    next: AtomicU64,
    /// In all.
    limit: usize,
    /// Of one subnet, or `None` for any number.
    per_subnet: Option<u32>,
    /// Who has how many, by [`subnet`]; whoever has none is not in it. Written by [`ClientLimit::admit`] and by
    /// slots that are given back. Empty where there is no limit for it.
    subnets: Mutex<HashMap<IpAddr, u32>>,
}

/// All slots are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// A subnet has as many clients as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowded {
    /// How many that is.
    pub limit: u32,
}

/// A client's place, given back when it is dropped.
#[derive(Debug)]
pub struct Slot {
    limit: ClientLimit,
    /// Whose place it is.
    pub client: ClientId,
    /// Who has it, or why they can't.
    subnet: Result<IpAddr, Crowded>,
}

impl ClientLimit {
    /// At most `limit` clients, and `per_subnet` of one subnet where that is given.
    pub fn new(limit: usize, per_subnet: Option<u32>) -> Self {
        Self {
            inner: Arc::new(Inner {
                taken: watch::Sender::new(0),
                next: AtomicU64::new(1),
                limit,
                per_subnet,
                subnets: Mutex::default(),
            }),
        }
    }

    /// How many clients there may be.
    pub fn limit(&self) -> usize {
        self.inner.limit
    }

    /// How many there are, those whose handshake is being answered included.
    pub fn taken(&self) -> usize {
        *self.inner.taken.borrow()
    }

    /// A receiver that follows how many there are.
    pub fn follow(&self) -> watch::Receiver<usize> {
        self.inner.taken.subscribe()
    }

    /// Gives the next client, which connects from `ip`, a slot; one whose subnet has too many only until it
    /// has been told so.
    ///
    /// # Errors
    ///
    /// When all are taken.
    pub fn admit(&self, ip: IpAddr) -> Result<Slot, Full> {
        let limit = self.inner.limit;
        let admitted = self.inner.taken.send_if_modified(|taken| {
            let free = *taken < limit;
            *taken += usize::from(free);
            free
        });
        if !admitted {
            return Err(Full);
        }
        Ok(Slot {
            limit: self.clone(),
            client: ClientId(self.inner.next.fetch_add(1, Ordering::Relaxed)),
            subnet: self.admit_subnet(subnet(ip)),
        })
    }

    /// Whose number is the next.
    pub fn next(&self) -> u64 {
        self.inner.next.load(Ordering::Relaxed)
    }

    /// Numbers go on with this one.
    pub fn go_on(&self, next: u64) {
        self.inner.next.fetch_max(next, Ordering::Relaxed);
    }

    /// A slot for a client that had one in the process before.
    ///
    /// # Errors
    ///
    /// When there is no place.
    pub fn admit_again(&self, ip: IpAddr, client: ClientId) -> Result<Slot, Full> {
        let mut slot = self.admit(ip)?;
        slot.client = client;
        Ok(slot)
    }

    fn admit_subnet(&self, subnet: IpAddr) -> Result<IpAddr, Crowded> {
        let Some(limit) = self.inner.per_subnet else {
            return Ok(subnet);
        };
        let mut subnets = self.subnets();
        let clients = subnets.entry(subnet).or_default();
        if *clients == limit {
            return Err(Crowded { limit });
        }
        *clients += 1;
        Ok(subnet)
    }

    fn leave_subnet(&self, subnet: IpAddr) {
        if let Entry::Occupied(mut found) = self.subnets().entry(subnet) {
            *found.get_mut() -= 1;
            if *found.get() == 0 {
                found.remove();
            }
        }
    }

    /// Each change to the table is whole before anything could panic.
    fn subnets(&self) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        self.inner.subnets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// Why the client can't stay, if it can't.
    pub fn crowded(&self) -> Option<Crowded> {
        self.subnet.err()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Ok(subnet) = self.subnet {
            self.limit.leave_subnet(subnet);
        }
        self.limit.inner.taken.send_modify(|taken| *taken -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_limited_and_given_back() {
        let slots = ClientLimit::new(2, None);
        let admit = || slots.admit([127, 0, 0, 1].into());
        let first = admit().unwrap();
        let second = admit().unwrap();
        assert_ne!(first.client, second.client);
        assert_eq!(admit().unwrap_err(), Full);
        assert_eq!(slots.taken(), 2);
        drop(first);
        assert_eq!(slots.taken(), 1);
        assert!(admit().is_ok());
    }

    #[test]
    fn a_subnet_has_its_limit() {
        let slots = ClientLimit::new(100, Some(2));
        let admit = |ip: &str| slots.admit(ip.parse().unwrap()).unwrap();
        let first = admit("2001:db8::1");
        let second = admit("2001:db8::2");
        assert_eq!((first.crowded(), second.crowded()), (None, None));
        let third = admit("2001:db8::3");
        assert_eq!(third.crowded(), Some(Crowded { limit: 2 }));
        assert_eq!(admit("2001:db8:0:1::3").crowded(), None, "another /64");
        assert_eq!(admit("192.0.2.1").crowded(), None);
        drop((first, third));
        assert_eq!(admit("2001:db8::3").crowded(), None);
        drop(second);
        assert!(slots.subnets().is_empty(), "nothing is kept for those who have gone");
    }
}
