//! The `check` command: a client that tries a server step by step.
//!
//! Owns what an operator or a caller would see of a server. It deliberately knows nothing of the server but its protocol.

pub mod call;
pub mod connect;
pub mod report;
pub mod roundtrip;
pub mod steps;
pub mod trust;
pub mod url;
pub mod watch;
pub mod websocket;
