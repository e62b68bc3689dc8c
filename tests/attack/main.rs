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
mod readers;
mod requests;
mod rooms;
mod shows;
mod stopping;
mod target;

#[path = "../support/count.rs"]
mod count;
#[path = "../support/fetch.rs"]
mod fetch;
#[path = "../support/file_limit.rs"]
mod file_limit;
#[path = "../support/libfaketime.rs"]
mod libfaketime;
#[path = "../support/paused.rs"]
mod paused;
#[path = "../support/peers.rs"]
mod peers;
#[path = "../support/process.rs"]
mod process;
#[path = "../support/secure.rs"]
mod secure;
#[path = "../support/settle.rs"]
mod settle;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/talk.rs"]
mod talk;
