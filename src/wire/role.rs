//! What a peer is in its room.
//!
//! Owns the roles and their names. It deliberately does not know who has one.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use crate::wire::ids::PeerId;

/// What a peer is in its room; whoever has more rights comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Leads the room: may mute others and invite.
    Host,
    /// Helps the host, with the same rights.
    Ops,
    /// May speak.
    Guest,
    /// Came by `join-room`; has a guest's rights.
    Caller,
}

impl Role {
    /// The role that a client can ask for by this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Host, Self::Ops, Self::Guest].into_iter().find(|role| role.name() == name)
    }

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Ops => "ops",
            Self::Guest => "guest",
            Self::Caller => "caller",
        }
    }

    /// Whether it may mute others and invite.
    pub fn leads(self) -> bool {
        matches!(self, Self::Host | Self::Ops)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Role {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A peer in a room, as the room's lists have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Participant {
    /// Who.
    pub peer_id: PeerId,
    /// As what.
    pub role: Role,
}

/// By what right a peer is muted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Authority {
    /// A host or ops mutes somebody.
    Producer,
    /// Somebody mutes themselves.
    #[serde(rename = "self")]
    Own,
}
