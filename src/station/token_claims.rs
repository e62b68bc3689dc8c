//! What tokens say, and why one is refused.
//!
//! Owns these types, and which of them count where only the invited come in. It deliberately does not know how a token is
//! signed.

use std::fmt;

use crate::config::config::RoomAccess;
use crate::wire::ids::Identity;

/// What an invite lets its bearer do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    /// Where.
    pub room_id: String,
    /// As what, by name.
    pub role: String,
    /// When its time is over, in seconds since 1970.
    pub end: u64,
    /// Who could make rooms in the server that made it, by name; invites of before have none.
    pub(super) access: Option<String>,
}

impl Invite {
    /// Whether it counts in a server with this access.
    pub fn counts(&self, access: RoomAccess) -> bool {
        is_of(self.access.as_deref(), access)
    }
}

/// What a room token proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomToken {
    /// Who is behind the client that it was made for.
    pub identity: Identity,
    /// When it was made, in seconds since 1970.
    pub made: u64,
    /// Where its client was.
    pub room_id: String,
    /// As what, by name.
    pub role: String,
    /// Where the role came from an invite: when no token that derives from it holds any longer, in seconds since 1970.
    pub until: Option<u64>,
    /// As in [`Invite`].
    pub(super) access: Option<String>,
}

impl RoomToken {
    /// Whether it counts in a server with this access.
    pub fn counts(&self, access: RoomAccess) -> bool {
        is_of(self.access.as_deref(), access)
    }
}

/// Where only the invited come in, what everybody could have had is nothing.
fn is_of(made: Option<&str>, access: RoomAccess) -> bool {
    access == RoomAccess::Open || made == Some(access.name())
}

/// What a token that this secret has signed says, whether it is an invite and whether it holds now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Where.
    pub room_id: String,
    /// As what, by name.
    pub role: String,
    /// When it was made, in seconds since 1970, where it says so.
    pub made: Option<u64>,
    /// When its time is over, in seconds since 1970.
    pub end: u64,
}

/// Why a token is no invite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// It is none, or lacks what every token has.
    Malformed,
    /// Somebody else made it, or it was changed.
    Signature,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotActive,
    /// It is a room token.
    NotAnInvite,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "Invalid invite token: jwt malformed",
            Self::Signature => "Invalid invite token: invalid signature",
            Self::Expired => "Invalid invite token: jwt expired",
            Self::NotActive => "Invalid invite token: jwt not active",
            Self::NotAnInvite => "Expected an invite token",
        })
    }
}
