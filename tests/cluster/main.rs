//! Several nodes, real NATS servers between them, and clients that must not notice.
//!
//! `tests/run cluster` gets the servers: those of Debian 12 and 13.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod callers;
mod chaos;
mod fails;
mod nats;
mod nodes;
mod seen;
mod shown;
mod studios;
mod ways;
mod works;

#[path = "../support/fetch.rs"]
mod fetch;
#[path = "../support/icecast.rs"]
mod icecast;
#[path = "../support/listener.rs"]
mod listener;
#[path = "../support/page.rs"]
mod page;
#[path = "../support/peers.rs"]
mod peers;
#[path = "../support/port.rs"]
mod port;
#[path = "../support/process.rs"]
mod process;
#[path = "../support/running.rs"]
mod running;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/talk.rs"]
mod talk;
#[path = "../support/webdriver.rs"]
mod webdriver;
