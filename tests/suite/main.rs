//! The real binary, driven over real sockets.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod cli;
mod closing;
mod frames;
mod handshake;
mod http;
mod limits;
mod logs;
mod messages;
mod packaging;
mod proxies;
mod shutdown;
mod studio;
mod support;
mod systemd;
