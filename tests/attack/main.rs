//! The server under attack and under faults, each with what it must hold: counts, orders and bounds of memory. How long
//! anything takes is not judged here: `benches/run --only attack` has such figures.
//!
//! Every attack is a bounded loop on loopback, and every test ends by [`target::Target::survives`]: nothing that the
//! attack took is held any longer, and SIGTERM finds nobody to wait for. The tests run one after the other, because
//! most of them measure memory. Where the server gives a client a certain time, its clock stands still until the test
//! moves it ([`paused`]).

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod clock;
mod connections;
mod floods;
mod frames;
mod journal;
#[path = "../suite/paused.rs"]
mod paused;
#[path = "../suite/peers.rs"]
#[allow(dead_code, reason = "the other test crate uses the rest")]
mod peers;
mod readers;
mod requests;
mod rooms;
#[path = "../suite/secure.rs"]
#[allow(dead_code, reason = "the other test crate uses the rest")]
mod secure;
mod shows;
mod stopping;
#[path = "../suite/support.rs"]
#[allow(dead_code, reason = "the other test crate uses the rest")]
mod support;
mod target;
