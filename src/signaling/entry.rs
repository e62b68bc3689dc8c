//! How a peer comes into a room.
//!
//! Owns by what right it asks, and what comes of it. It deliberately does not know which rooms there are.

use std::time::Duration;

use crate::signaling::broadcast::News;
use crate::wire::ids::RoomId;
use crate::wire::role::{Participant, Role};

/// What a room may be.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoomLimits {
    /// The age at which a room ends, or `None` for no such age.
    pub ttl: Option<Duration>,
    /// How many peers may be in a room, or `None` for any number.
    pub peers: Option<u32>,
    /// Whether relays are for peers in rooms only.
    pub relays_in_rooms: bool,
}

/// Why a room is not entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinError {
    /// There is no such room.
    NoSuchRoom,
    /// The peer is in this room.
    AlreadyIn(RoomId),
    /// As many peers as may be in a room are in it.
    Full,
}

/// By what right a peer comes into a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// An invite gives it this role.
    Invited(Role),
    /// It asks for a role, and gets it where it makes the room; or the text of an invalid role.
    Asked(Result<Role, String>),
}

/// Why a room is neither made nor entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryError {
    /// Nobody can have this role.
    InvalidRole(String),
    /// The peer is in this room.
    AlreadyIn(RoomId),
    /// As many peers as may be in a room are in it.
    Full,
}

/// What came of a wish to be in a room.
#[derive(Debug)]
pub struct Entered {
    /// Which room.
    pub room_id: RoomId,
    /// As what.
    pub role: Role,
    /// Who is in it now, where it was there before.
    pub joined: Option<Vec<Participant>>,
    /// What the others are to hear, once the peer has its answer.
    pub news: News,
}
