//! How a peer comes into a room.
//!
//! Owns by what right it asks, and what comes of it. It deliberately does not know which rooms there are.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::signaling::broadcast::News;
use crate::wire::ids::{Identity, RoomId};
use crate::wire::role::{Participant, Role};

/// What a room may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomLimits {
    /// The age at which a room ends, or `None` for no such age.
    pub ttl: Option<Duration>,
    /// How many peers may be in a room, or `None` for any number.
    pub peers: Option<u32>,
    /// Whether only the invited come in: then relays are for peers in rooms, and a guest's role is worth to be reserved.
    pub is_invited_only: bool,
    /// How long the role of a client that has gone is reserved.
    pub role_reserve: Duration,
}

/// Why a room is not entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinError {
    /// There is no such room.
    NoSuchRoom(RoomId),
    /// The peer is in this room.
    AlreadyIn(RoomId),
    /// As many peers as may be in a room are in it.
    Full,
}

/// By what right a peer comes into a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entry {
    /// An invite gives it this role.
    Invited {
        /// The role.
        role: Role,
        /// Until when room tokens hold that derive from it, in seconds since 1970.
        end: u64,
    },
    /// A room token from before the start of a server that remembers nothing gives it this role, once.
    Remembered {
        /// Whose token it is.
        identity: Identity,
        /// The role.
        role: Role,
        /// As in [`Entered`].
        invite_end: Option<u64>,
    },
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
    /// The token gave its role already.
    Spent,
    /// Nothing is reserved for it, and it has no right of its own.
    NoRight,
}

/// What came of a wish to be in a room.
#[derive(Debug)]
pub struct Entered {
    /// Which room.
    pub room_id: RoomId,
    /// As what.
    pub role: Role,
    /// Where the role came from an invite: until when room tokens hold that derive from it, in seconds since 1970.
    pub invite_end: Option<u64>,
    /// Who is in it now, where it was there before.
    pub joined: Option<Vec<Participant>>,
    /// What the others are to hear, once the peer has its answer.
    pub news: News,
}
