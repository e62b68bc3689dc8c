//! A client of NATS, as much of one as a cluster needs.
//!
//! Owns the connection to a server and its protocol. It deliberately does not know what is said by it.

pub mod connection;
pub mod credentials;
pub mod protocol;
