//! The `check` command: a client that tests a server step by step.
//!
//! Owns what an operator or a caller sees of a server. It deliberately knows nothing about the server except its protocol.

pub mod call;
pub mod cluster;
pub mod connect;
pub mod listen;
pub mod listening;
pub mod pages;
pub mod player;
pub mod report;
pub mod roundtrip;
pub mod steps;
pub mod stream;
pub mod trust;
pub mod url;
pub mod watch;
pub mod websocket;
