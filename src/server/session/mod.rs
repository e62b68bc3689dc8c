//! One client's connection, from its welcome to its close frame.
//!
//! Owns the socket while it is a WebSocket. It deliberately does not know how the WebSocket came about.

pub mod session;
pub mod socket;
