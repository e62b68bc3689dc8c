//! The real binary, driven over real sockets.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod archive;
mod asyncapi;
mod budgets;
mod check;
mod cli;
mod closing;
mod compatibility;
mod dashboard;
mod execute;
mod forwarder;
mod fragments;
mod frames;
mod handover;
mod handover_limits;
mod handover_steps;
mod handshake;
mod http;
mod identity;
mod invite_command;
mod invites;
mod keys;
mod limits;
mod listen;
mod listeners;
mod logs;
mod messages;
mod metrics;
mod on_air;
mod packaging;
mod proxies;
mod roles;
mod rooms;
mod seats;
mod shutdown;
mod station;
mod studio;
mod systemd;
mod tls;
mod tls_tools;
mod trust;
mod turn;
mod utf8;
mod watch;
mod web;

#[path = "../support/alive.rs"]
mod alive;
#[path = "../support/coturn.rs"]
mod coturn;
#[path = "../support/count.rs"]
mod count;
#[path = "../support/fetch.rs"]
mod fetch;
#[path = "../support/file_limit.rs"]
mod file_limit;
#[path = "../support/icecast.rs"]
mod icecast;
#[path = "../support/libfaketime.rs"]
mod libfaketime;
#[path = "../support/listener.rs"]
mod listener;
#[path = "../support/paused.rs"]
mod paused;
#[path = "../support/peers.rs"]
mod peers;
#[path = "../support/port.rs"]
mod port;
#[path = "../support/process.rs"]
mod process;
#[path = "../support/running.rs"]
mod running;
#[path = "../support/secure.rs"]
mod secure;
#[path = "../support/settle.rs"]
mod settle;
#[path = "../support/shown.rs"]
mod shown;
#[path = "../support/store.rs"]
mod store;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/talk.rs"]
mod talk;
