//! The port and the process: accept, serve, drain, and what systemd is told.
//!
//! Owns sockets and time limits. It deliberately does not know what messages mean.

pub mod accept;
pub mod agreement;
pub mod archive;
pub mod cluster;
pub mod connection;
pub mod drain;
pub mod first;
pub mod handover;
pub mod http;
pub mod limits;
pub mod listen;
pub mod listener;
pub mod on_air;
pub mod panic;
pub mod progress;
pub mod reload;
pub mod role_memory;
pub mod serve;
pub mod session;
pub mod shutdown;
pub mod startup;
pub mod state;
pub mod systemd;
pub mod tls;
