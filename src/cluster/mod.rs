//! The nodes of a cluster: one order of changes for all of them, and messages from one to another.
//!
//! Owns the log (a JetStream stream of NATS), who is a member, and the links between nodes. It deliberately does not know
//! the rules of rooms: what a change comes to, signaling decides.

pub mod apply;
pub mod asks;
pub mod carried;
pub mod clock;
pub mod entry;
pub mod handle;
pub mod joining;
pub mod letter;
pub mod links;
#[cfg(test)]
mod links_tests;
pub mod log;
#[cfg(test)]
mod lost_tests;
pub mod members;
pub mod names;
pub mod nats;
pub mod node;
#[cfg(test)]
mod node_tests;
pub mod post;
pub mod run;
pub mod standing;
pub mod stream;
pub mod touch;
pub mod transfer;
pub mod undo;
pub mod window;
#[cfg(test)]
mod world;
pub mod writing;
