//! Bytes to types and back: frames, what a client says, what the server says.
//!
//! Owns the vocabulary of the wire and its spelling; all of it is pure. It deliberately knows no socket, no room and no
//! time.

pub mod carried;
pub mod codes;
pub mod decoder;
#[cfg(test)]
mod decoder_tests;
pub mod fields;
pub mod frame;
pub mod handshake;
pub mod head;
pub mod ids;
mod members;
pub mod reply;
pub mod request;
pub mod role;
pub mod text;
