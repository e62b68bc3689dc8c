//! Why a message is refused and why a connection ends.
//!
//! Owns [`CloseCode`] with its reasons, [`ErrorCode`], and [`Refusal`], an error reply. The texts of most error replies
//! are where a message is refused: fields in `wire/request.rs`, rooms and relays in `signaling/member.rs`, what needs a
//! registration in `signaling/client.rs`, invites in `station/tokens.rs`. It deliberately does not know when a code
//! is sent.

use std::borrow::Cow;
use std::fmt;

use serde::{Serialize, Serializer};
use strum::{EnumCount, IntoStaticStr, VariantArray};

/// A close code, sent or logged (RFC 6455 section 7.4 and the private range from 4000).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The server is stopping; reconnect with back-off.
    pub const GOING_AWAY: Self = Self(1001);
    /// The server is restarted, and this connection can't go on; reconnect at once (IANA's WebSocket close code registry).
    pub const RESTARTED: Self = Self(1012);
    /// The framing is wrong; a bug in the client.
    pub const PROTOCOL: Self = Self(1002);
    /// Never sent: how a connection that ended without a close frame is written down.
    pub const ABNORMAL: Self = Self(1006);
    /// A text message is not UTF-8; a bug in the client.
    pub const INVALID_DATA: Self = Self(1007);
    /// A message is larger than `MAX_MESSAGE_BYTES`; a bug in the client.
    pub const TOO_BIG: Self = Self(1009);
    /// The server failed; reconnect.
    pub const SERVER_ERROR: Self = Self(1011);
    /// Too many clients from one address; reconnect later.
    pub const TOO_MANY: Self = Self(4008);
    /// A newer connection of the same peer took its place; do not reconnect.
    pub const REPLACED: Self = Self(4010);
    /// The node has lost its cluster; reconnect at once, which leads to another node.
    pub const CLUSTER_LOST: Self = Self(4011);
    /// The client reads too slowly; reconnect.
    pub const TOO_SLOW: Self = Self(4102);
    /// The client did not answer pings; reconnect.
    pub const DEAD: Self = Self(4201);

    /// What the close frame says beside the code, for a person; at most 123 bytes (RFC 6455 section 5.5).
    pub fn reason(self) -> &'static str {
        match self {
            Self::GOING_AWAY => "Server is stopping",
            Self::RESTARTED => "Server restarts: reconnect",
            Self::PROTOCOL => "Invalid frame",
            Self::INVALID_DATA => "Invalid UTF-8",
            Self::TOO_BIG => "Message too big",
            Self::SERVER_ERROR => "Server failed",
            Self::TOO_MANY => "Too many connections",
            Self::REPLACED => "Replaced by a newer connection",
            Self::CLUSTER_LOST => "This node has lost its cluster: reconnect",
            Self::TOO_SLOW => "Read too slowly",
            Self::DEAD => "Did not answer pings",
            _ => "",
        }
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The stable `code` of an error reply: the variant's name in kebab case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum ErrorCode {
    /// The message is not JSON.
    InvalidJson,
    /// More messages than `RATE_LIMIT` in 10 s; this one was dropped.
    RateLimitExceeded,
    /// The message is JSON, but not one that the protocol has.
    InvalidMessage,
    /// The `type` is none that the protocol has.
    UnknownType,
    /// The client must register first.
    NotRegistered,
    /// The client has an id already, or the id is somebody else's.
    AlreadyRegistered,
    /// Nobody with that id is connected.
    PeerNotConnected,
    /// The other peer is in another room, or just one of both is in a room.
    DifferentRoom,
    /// There is no room of that id.
    RoomNotFound,
    /// The peer is in a room already.
    AlreadyInRoom,
    /// The peer is in no room.
    NotInRoom,
    /// The peer's role does not allow it.
    Forbidden,
    /// The invite token is none of this server's, not for this, or not valid now.
    InvalidInvite,
    /// There is no such role, or none that can be asked for.
    InvalidRole,
    /// The room has `MAX_ROOM_PEERS` peers.
    RoomFull,
    /// Only those who bring an invite make and enter rooms.
    InviteRequired,
    /// Only those whose role came from an invite go on air.
    NotInvited,
    /// Somebody else is on air.
    OnAir,
    /// The sender is not on air, or nobody hears it.
    OffAir,
    /// The node is out of touch with the other nodes of its cluster; try again.
    ClusterUnavailable,
}

impl ErrorCode {
    /// Every code, for the reference that documents them.
    pub const ALL: [Self; Self::COUNT] =
        *Self::VARIANTS.first_chunk().expect("it has as many variants as it counts");

    /// The code on the wire.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Why a message is answered with an error. The connection stays open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The stable code.
    pub code: ErrorCode,
    /// The text for a person.
    pub message: Cow<'static, str>,
}

impl Refusal {
    /// The message is not JSON.
    pub const INVALID_JSON: Self = Self::fixed(ErrorCode::InvalidJson, "Invalid JSON");
    /// The client sent too many messages.
    pub const RATE_LIMIT: Self = Self::fixed(ErrorCode::RateLimitExceeded, "Rate limit exceeded");

    /// The node is out of touch with the others.
    pub const UNAVAILABLE: Self =
        Self::fixed(ErrorCode::ClusterUnavailable, "Cluster unavailable, try again");

    /// A refusal with a text of its own.
    pub fn new(code: ErrorCode, message: impl fmt::Display) -> Self {
        Self { code, message: message.to_string().into() }
    }

    const fn fixed(code: ErrorCode, message: &'static str) -> Self {
        Self { code, message: Cow::Borrowed(message) }
    }

    /// The message is none that the protocol has.
    pub fn invalid(why: impl fmt::Display) -> Self {
        Self { code: ErrorCode::InvalidMessage, message: format!("Invalid message: {why}").into() }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_reasons_fit_a_control_frame() {
        for code in 1000..5000 {
            assert!(CloseCode(code).reason().len() <= 123);
        }
    }
}
