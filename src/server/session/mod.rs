//! One client's connection, from its welcome to its close frame.
//!
//! Owns the socket while it is a WebSocket. It deliberately does not know how the WebSocket came about.

pub mod alarms;
pub mod buffers;
pub mod carried;
pub mod exchange;
pub mod heartbeat;
pub mod link;
pub mod outcome;
pub mod session;
pub mod socket;
