//! The identity behind each client, and what belongs to it: ids, seats that are kept and roles that are reserved.
//!
//! Owns the rules for these. They are pure: the time is an argument. It deliberately knows no socket and no message.

pub mod absence;
pub mod holding;
pub mod identities;
