//! The real binary, driven over real sockets.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod asyncapi;
mod check;
mod cli;
mod closing;
mod coturn;
mod dashboard;
mod forwarder;
mod frames;
mod handshake;
mod http;
mod invites;
mod limits;
mod logs;
mod messages;
mod metrics;
mod packaging;
mod paused;
mod peers;
mod proxies;
mod secure;
mod shutdown;
mod station;
mod studio;
mod support;
mod systemd;
mod tls;
mod trust;
mod turn;
mod utf8;
mod watch;
mod web;
