//! How much a client and an address may ask for.
//!
//! Owns the windows in which messages, relays, rooms and registrations are counted, and their bounds. The time is an
//! argument: it deliberately knows no clock, and not what a message means.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::telemetry::subnet::subnet;
use crate::wire::carried::{Moment, is_default};

/// The window of messages and relays.
const WINDOW: Duration = Duration::from_secs(10);

/// The window of rooms and registrations.
const MINUTE: Duration = Duration::from_secs(60);

/// How many `stream-chunk` a client may send in a window.
const CHUNKS: u32 = 500;

/// How many relays a client may send in a window, and how many more for each other peer in its room: a newcomer to a
/// room of 16 sends each of the others an offer and some 40 candidates at once.
const RELAYS: u32 = 200;
const RELAYS_EACH: u32 = 60;

/// How many clients may use up `RATE_LIMIT` at one address: a station of 50 behind one NAT does not come near it.
const CLIENTS: u32 = 20;

/// How many rooms and registrations an address may make in a minute.
const ROOMS: u32 = 60;
const REGISTRATIONS: u32 = 600;

/// How many addresses without a client are remembered at most, so that nobody starts anew by connecting again.
const REMEMBERED: usize = 16_384;

/// A bound that was exceeded, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// The bound.
    pub limit: u32,
    /// What it bounds.
    pub what: &'static str,
}

impl Exceeded {
    /// The bound on rooms of an address.
    pub const ROOMS: Self = Self { limit: ROOMS, what: "new rooms in a minute from one address" };
    /// The bound on registrations of an address.
    pub const REGISTRATIONS: Self =
        Self { limit: REGISTRATIONS, what: "registrations in a minute from one address" };
}

/// What a message counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// One of those that `RATE_LIMIT` bounds.
    Counted,
    /// An offer, an answer or a candidate.
    Relay,
    /// A piece of a stream.
    Chunk,
}

/// Counts a client's messages in windows that start with the first message behind the last window.
#[derive(Clone, Copy, Debug)]
pub struct ClientBudget {
    limit: Option<u32>,
    start: Instant,
    counted: u32,
    relays: u32,
    chunks: u32,
}

impl ClientBudget {
    /// A client that has said nothing, in a server with this `RATE_LIMIT`.
    pub fn new(limit: Option<u32>, now: Instant) -> Self {
        Self { limit, start: now, counted: 0, relays: 0, chunks: 0 }
    }

    /// Counts a message; `others` says how many other peers are in the client's room.
    ///
    /// # Errors
    ///
    /// The bound that it exceeds.
    pub fn take(
        &mut self,
        class: Class,
        now: Instant,
        others: impl FnOnce() -> usize,
    ) -> Result<(), Exceeded> {
        let Some(limit) = self.limit else {
            return Ok(());
        };
        if now - self.start >= WINDOW {
            *self = Self::new(self.limit, now);
        }
        let (count, limit, what) = match class {
            Class::Counted => (&mut self.counted, limit, "messages in 10 s (RATE_LIMIT)"),
            Class::Relay => (&mut self.relays, RELAYS, "offers, answers and candidates in 10 s"),
            Class::Chunk => (&mut self.chunks, CHUNKS, "pieces of a stream in 10 s"),
        };
        *count = count.saturating_add(1);
        if *count <= limit {
            return Ok(());
        }
        let others = if class == Class::Relay { others() } else { 0 };
        let limit = limit.saturating_add(RELAYS_EACH.saturating_mul(others as u32));
        if *count <= limit { Ok(()) } else { Err(Exceeded { limit, what }) }
    }
}

/// A client's budget on its way to the process that follows.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct CarriedBudget {
    start: Moment,
    #[serde(default, skip_serializing_if = "is_default")]
    counted: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    relays: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    chunks: u32,
}

impl ClientBudget {
    /// It is carried at `now`.
    pub fn carry(&self, now: Instant) -> CarriedBudget {
        let Self { start, counted, relays, chunks, .. } = *self;
        CarriedBudget { start: Moment::new(start, now), counted, relays, chunks }
    }

    /// It goes on at `now`, with the `RATE_LIMIT` in force.
    pub fn go_on(carried: &CarriedBudget, limit: Option<u32>, now: Instant) -> Self {
        let CarriedBudget { start, counted, relays, chunks } = *carried;
        Self { limit, start: start.at(now), counted, relays, chunks }
    }
}

/// What all clients of one address have asked for.
#[derive(Debug)]
pub struct AddressBudget {
    limit: u32,
    /// Written and read by the clients of the address, for a count each.
    counts: Mutex<Counts>,
}

#[derive(Clone, Copy, Debug)]
struct Counts {
    messages: Window,
    rooms: Window,
    registrations: Window,
}

/// What an address has asked for, on its way to the process that follows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CarriedAddress {
    address: IpAddr,
    /// Messages, rooms and registrations: since when, and how many.
    windows: [(Moment, u32); 3],
}

#[derive(Clone, Copy, Debug)]
struct Window {
    start: Instant,
    count: u32,
}

impl Window {
    fn take(&mut self, limit: u32, length: Duration, now: Instant) -> bool {
        if now - self.start >= length {
            *self = Self { start: now, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count <= limit
    }

    fn is_over(&self, now: Instant) -> bool {
        now - self.start >= MINUTE
    }
}

impl AddressBudget {
    fn new(limit: u32, now: Instant) -> Self {
        let window = Window { start: now, count: 0 };
        let counts = Counts { messages: window, rooms: window, registrations: window };
        Self { limit: limit.saturating_mul(CLIENTS), counts: Mutex::new(counts) }
    }

    /// Counts a message that `RATE_LIMIT` bounds.
    ///
    /// # Errors
    ///
    /// The bound that it exceeds.
    pub fn take_message(&self, now: Instant) -> Result<(), Exceeded> {
        let limit = self.limit;
        let is_within = self.counts().messages.take(limit, WINDOW, now);
        let what = "messages in 10 s from one address (20 times RATE_LIMIT)";
        if is_within { Ok(()) } else { Err(Exceeded { limit, what }) }
    }

    /// Counts a new room: whether it is within the bound.
    pub fn take_room(&self, now: Instant) -> bool {
        self.counts().rooms.take(ROOMS, MINUTE, now)
    }

    /// Counts a registration: whether it is within the bound.
    pub fn take_registration(&self, now: Instant) -> bool {
        self.counts().registrations.take(REGISTRATIONS, MINUTE, now)
    }

    fn is_over(&self, now: Instant) -> bool {
        let counts = self.counts();
        [counts.messages, counts.rooms, counts.registrations].iter().all(|all| all.is_over(now))
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The budgets of all addresses.
#[derive(Debug)]
pub struct AddressBudgets {
    limit: Option<u32>,
    /// Whose clients are not counted together: many are behind them.
    exempt: Vec<IpNet>,
    /// By IPv4 address or IPv6 /64. Written by a client that connects.
    known: Mutex<HashMap<IpAddr, Arc<AddressBudget>>>,
}

impl AddressBudgets {
    /// Nobody has come, to a server with this `RATE_LIMIT` and these proxies.
    pub fn new(limit: Option<u32>, proxies: &[IpNet]) -> Self {
        Self { limit, exempt: proxies.to_vec(), known: Mutex::default() }
    }

    /// They are carried at `now`.
    pub fn carry(&self, now: Instant) -> Vec<CarriedAddress> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let all = known.iter().filter(|(_, budget)| !budget.is_over(now));
        let carry = |(address, budget): (&IpAddr, &Arc<AddressBudget>)| {
            let Counts { messages, rooms, registrations } = *budget.counts();
            let windows = [messages, rooms, registrations];
            let windows = windows.map(|window| (Moment::new(window.start, now), window.count));
            CarriedAddress { address: *address, windows }
        };
        all.map(carry).collect()
    }

    /// They go on at `now`.
    pub fn go_on(&self, carried: &[CarriedAddress], now: Instant) {
        let Some(limit) = self.limit else { return };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for CarriedAddress { address, windows } in carried {
            let window = |(start, count): (Moment, u32)| Window { start: start.at(now), count };
            let [messages, rooms, registrations] = windows.map(window);
            let budget = AddressBudget::new(limit, now);
            *budget.counts() = Counts { messages, rooms, registrations };
            known.insert(*address, Arc::new(budget));
        }
    }

    /// The budget of a client's address, if it has one: this machine and proxies have none.
    pub fn of(&self, ip: IpAddr, now: Instant) -> Option<Arc<AddressBudget>> {
        let limit = self.limit?;
        if ip.is_loopback() || self.exempt.iter().any(|network| network.contains(&ip)) {
            return None;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let address = subnet(ip);
        if !known.contains_key(&address) {
            forget(&mut known, now);
        }
        let new = || Arc::new(AddressBudget::new(limit, now));
        Some(Arc::clone(known.entry(address).or_insert_with(new)))
    }
}

/// Forgets addresses without a client: those whose windows are over, and all where there are too many. It looks at them
/// only when their number may have doubled, so each is looked at about once.
fn forget(known: &mut HashMap<IpAddr, Arc<AddressBudget>>, now: Instant) {
    if known.len() < known.capacity() {
        return;
    }
    let is_used = |budget: &Arc<AddressBudget>| Arc::strong_count(budget) > 1;
    known.retain(|_, budget| is_used(budget) || !budget.is_over(now));
    if known.values().filter(|budget| !is_used(budget)).count() >= REMEMBERED {
        known.retain(|_, budget| is_used(budget));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alone() -> usize {
        0
    }

    #[test]
    fn messages_are_counted_in_windows_of_ten_seconds() {
        let start = Instant::now();
        let mut budget = ClientBudget::new(Some(2), start);
        let late = start + WINDOW - Duration::from_millis(1);
        let mut take = |class, now| budget.take(class, now, alone);
        assert!(take(Class::Counted, start).is_ok() && take(Class::Counted, late).is_ok());
        let exceeded = Exceeded { limit: 2, what: "messages in 10 s (RATE_LIMIT)" };
        assert_eq!(take(Class::Counted, late), Err(exceeded));
        let next = start + WINDOW;
        assert!(take(Class::Counted, next).is_ok() && take(Class::Counted, next).is_ok());
        assert!(take(Class::Counted, next).is_err());
        // Pieces of streams and relays are counted apart.
        assert!((0..CHUNKS).all(|_| take(Class::Chunk, next).is_ok()));
        assert!(take(Class::Chunk, next).is_err());
        assert!((0..RELAYS).all(|_| take(Class::Relay, next).is_ok()));
        assert!(take(Class::Relay, next).is_err());
        let mut unlimited = ClientBudget::new(None, start);
        assert!((0..1_000).all(|_| unlimited.take(Class::Counted, start, alone).is_ok()));
    }

    #[test]
    fn relays_have_room_for_each_other_peer() {
        let now = Instant::now();
        let mut budget = ClientBudget::new(Some(100), now);
        let most = RELAYS + 15 * RELAYS_EACH;
        assert!((0..most).all(|_| budget.take(Class::Relay, now, || 15).is_ok()));
        let exceeded = budget.take(Class::Relay, now, || 15).unwrap_err();
        assert_eq!(exceeded.limit, 1_100);
        // A newcomer to a room of 16, with 40 candidates for each.
        assert!(most >= 15 * 41);
    }

    #[test]
    fn an_address_has_a_budget_that_outlives_its_clients() {
        let start = Instant::now();
        let budgets = AddressBudgets::new(Some(100), &["192.0.2.7/32".parse().unwrap()]);
        let of = |ip: &str, now| budgets.of(ip.parse().unwrap(), now);
        for exempt in ["127.0.0.1", "::1", "192.0.2.7"] {
            assert!(of(exempt, start).is_none(), "{exempt}");
        }
        assert!(AddressBudgets::new(None, &[]).of("192.0.2.1".parse().unwrap(), start).is_none());
        for _ in 0..2_000 {
            // Each by a connection of its own.
            assert!(of("192.0.2.1", start).unwrap().take_message(start).is_ok());
        }
        let exceeded = of("192.0.2.1", start).unwrap().take_message(start).unwrap_err();
        assert_eq!(exceeded.limit, 2_000);
        assert!(of("192.0.2.2", start).unwrap().take_message(start).is_ok(), "another address");
        let next = start + WINDOW;
        assert!(of("192.0.2.1", next).unwrap().take_message(next).is_ok());
        let site = of("2001:db8::1", start).unwrap();
        assert!((0..ROOMS).all(|_| site.take_room(start)) && !site.take_room(start));
        assert!(!of("2001:db8::2", start).unwrap().take_room(start), "the same site");
        assert!((0..REGISTRATIONS).all(|_| site.take_registration(start)));
        assert!(!site.take_registration(start));
        let next = start + MINUTE;
        assert!(site.take_registration(next) && site.take_room(next));
    }

    #[test]
    fn addresses_are_forgotten_when_they_may_be() {
        let start = Instant::now();
        let budgets = AddressBudgets::new(Some(1), &[]);
        let ip = |number: usize| IpAddr::from((0x0A00_0000 + number as u32).to_be_bytes());
        let known = || budgets.known.lock().unwrap().len();
        let client = budgets.of(ip(0), start).unwrap();
        for number in 1..5 * REMEMBERED {
            budgets.of(ip(number), start);
            assert!(known() <= 3 * REMEMBERED, "{}", known());
        }
        let later = start + MINUTE;
        for number in 5 * REMEMBERED..10 * REMEMBERED {
            budgets.of(ip(number), later);
        }
        assert!(Arc::ptr_eq(&client, &budgets.of(ip(0), later).unwrap()), "one with a client");
    }
}
