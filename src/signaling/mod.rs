//! Peers and rooms: who is who, who is in a room with whom, and what they say to each other.
//!
//! Owns the rules of the protocol. It deliberately knows neither frames nor sockets.

pub mod broadcast;
pub mod budget;
pub mod carried;
pub mod client;
pub mod command;
pub mod contest;
pub mod conversation;
pub mod entry;
pub mod handler;
pub mod hub;
pub mod identity;
pub mod lines;
pub mod member;
pub mod outbox;
#[cfg(test)]
mod outbox_tests;
pub mod place;
pub mod registration;
pub mod registry;
pub mod room;
pub mod rooms;
pub mod sequencer;
pub mod shared;
pub mod streaming;
pub mod studio;
pub mod turn;
pub mod way_in;
