//! The programme: from what a browser records to what Icecast takes.
//!
//! Owns the way of the audio. It deliberately does not know who may go on air.

pub mod account;
pub mod air;
#[cfg(test)]
mod air_tests;
pub mod carried;
pub mod dead_air;
pub mod dial;
pub mod icecast;
pub mod listening;
pub mod news;
pub mod ogg;
pub mod on_air;
pub mod opus;
pub mod playout;
#[cfg(test)]
mod playout_tests;
pub mod probe;
pub mod programme;
pub mod recording;
pub mod returning;
pub mod webm;
#[cfg(test)]
mod webm_tests;
