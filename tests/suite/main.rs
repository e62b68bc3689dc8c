//! The real binary, driven over real sockets.

mod cli;
mod closing;
mod frames;
mod handshake;
mod http;
mod limits;
mod logs;
mod messages;
mod packaging;
mod shutdown;
mod support;
mod systemd;
