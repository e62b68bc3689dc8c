//! The `invite` command: an invite made on the machine of the service, and what is in one.
//!
//! Owns the only way to an invite as host. It deliberately asks no server: an invite is a signature.

pub mod command;
pub mod keys;
pub mod link;
pub mod qr;
pub mod show;
