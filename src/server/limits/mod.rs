//! Who may come, and who goes on, when many want to.
//!
//! Owns the bounds on clients, connections and turns. It deliberately does not know what they ask for.

pub mod address;
pub mod clients;
pub mod fairness;
pub mod listeners;
pub mod pending;
