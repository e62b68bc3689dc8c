//! What the server sends.
//!
//! Owns the messages and how they are written. It deliberately does not know to whom they go.

use serde::Serialize;
use serde_json::value::RawValue;
use strum::{EnumCount, EnumDiscriminants, VariantNames};

use crate::wire::codes::ErrorCode;
use crate::wire::ids::{PeerId, RoomId};
use crate::wire::role::{Authority, Participant, Role};

/// The message of the first frame to every accepted client.
pub const WELCOME: &str = "Connected to OpenStudio signaling server";

/// What `create-or-join-room` gives beside the room.
#[derive(Clone, Debug, Serialize)]
pub struct Access<'a> {
    /// As what the peer is in the room.
    pub role: Role,
    /// The room token.
    pub token: &'a str,
    /// Where STUN and TURN servers are.
    pub ice: &'a RawValue,
}

/// What the server sends.
#[derive(Clone, Debug, EnumDiscriminants, Serialize, VariantNames)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase")]
#[strum(serialize_all = "kebab-case")]
#[strum_discriminants(name(ServerMessageType), vis(pub(self)), derive(EnumCount))]
pub enum ServerMessage<'a> {
    /// The first frame.
    Welcome {
        /// [`WELCOME`].
        message: &'a str,
    },
    /// The answer to a ping.
    Pong {
        /// The server's clock, in ms since 1970.
        timestamp: u64,
        /// The ping's `requestId`.
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<&'a str>,
    },
    /// The answer to `register`.
    Registered {
        /// The id, in lower case.
        peer_id: PeerId,
        /// What proves later who the client is.
        resume: &'a str,
        /// The message's `requestId`.
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<&'a str>,
    },
    /// The answer to `create-room`, and to `create-or-join-room` where there was no room.
    RoomCreated {
        /// The new room.
        room_id: &'a RoomId,
        /// Who made it.
        host_id: PeerId,
        /// In the answer to `create-or-join-room`.
        #[serde(flatten)]
        access: Option<Access<'a>>,
        /// The message's `requestId`.
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<&'a str>,
    },
    /// The answer to `join-room`, and to `create-or-join-room` where there was a room.
    RoomJoined {
        /// The room.
        room_id: &'a RoomId,
        /// Who is in it, in order of arrival, the joiner last.
        participants: &'a [Participant],
        /// In the answer to `create-or-join-room`.
        #[serde(flatten)]
        access: Option<Access<'a>>,
        /// The message's `requestId`.
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<&'a str>,
    },
    /// The answer to `leave-room`.
    RoomLeft {
        /// The room that was left.
        room_id: &'a RoomId,
        /// The message's `requestId`.
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<&'a str>,
    },
    /// The answer to `request-ice`.
    Ice {
        /// Where STUN and TURN servers are.
        ice: &'a RawValue,
        /// The message's `requestId`.
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<&'a str>,
    },
    /// The answer to `request-invite`.
    InviteToken {
        /// What lets somebody in.
        invite_token: &'a str,
        /// Where.
        room_id: &'a RoomId,
        /// As what.
        role: Role,
        /// The message's `requestId`.
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<&'a str>,
    },
    /// To everyone in a room: it has reached its age, and is gone.
    RoomExpired {
        /// Which room.
        room_id: &'a RoomId,
    },
    /// To the others in a room: somebody came.
    PeerJoined(Participant),
    /// To the others in a room: somebody left, or broke off.
    PeerLeft {
        /// Who.
        peer_id: PeerId,
    },
    /// To everyone in a room: somebody was muted, or is no longer.
    Mute {
        /// Who.
        peer_id: PeerId,
        /// Whether muted now.
        muted: bool,
        /// By what right.
        authority: Authority,
        /// Who did it.
        from: PeerId,
    },
    /// To everyone in a room: the recording started or stopped.
    RecordingState {
        /// Whether it runs now.
        recording: bool,
        /// Who did it.
        from: PeerId,
    },
    /// To the one on air: Icecast takes the programme.
    StreamStarted {
        /// That it does.
        message: &'a str,
    },
    /// The answer to `stream-chunk` of the one on air.
    ChunkAck {
        /// How many bytes it had.
        size: usize,
        /// The message's `requestId`.
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<&'a str>,
    },
    /// To the one on air, in place of an `error`, which would stop its page.
    Notice {
        /// Why, for a person.
        message: &'a str,
        /// Why, for a program.
        code: ErrorCode,
        /// The refused message's `requestId`.
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<&'a str>,
    },
    /// To the one on air: Icecast does not take the programme.
    StreamError {
        /// Why.
        message: &'a str,
        /// The message's `requestId`.
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<&'a str>,
    },
    /// The answer to `stop-stream`.
    StreamStopped {
        /// That it stopped.
        message: &'a str,
        /// The message's `requestId`.
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<&'a str>,
    },
    /// The answer to a message that was refused.
    Error {
        /// Why, for a person.
        message: &'a str,
        /// Why, for a program.
        code: ErrorCode,
        /// The refused message's `requestId`.
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<&'a str>,
    },
}

impl ServerMessage<'_> {
    /// The types of message that the server makes itself; offers, answers and candidates are passed on.
    pub const NAMES: [&'static str; ServerMessageType::COUNT] =
        *Self::VARIANTS.first_chunk().expect("it has as many variants as it counts");

    /// Where the message's type is in [`Self::NAMES`].
    pub fn index(&self) -> usize {
        ServerMessageType::from(self) as usize
    }
}

/// Writes `message` as JSON behind what is in `out`.
pub fn write(out: &mut Vec<u8>, message: &impl Serialize) {
    serde_json::to_writer(out, message).expect("writing plain data to memory cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_written_to_the_letter() {
        let text = |message: ServerMessage| {
            let mut out = Vec::new();
            write(&mut out, &message);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            text(ServerMessage::Welcome { message: WELCOME }),
            r#"{"type":"welcome","message":"Connected to OpenStudio signaling server"}"#
        );
        assert_eq!(
            text(ServerMessage::Pong { timestamp: 1760804444392, request_id: None }),
            r#"{"type":"pong","timestamp":1760804444392}"#
        );
        assert_eq!(
            text(ServerMessage::Error {
                message: "Invalid JSON",
                code: ErrorCode::InvalidJson,
                request_id: Some("7"),
            }),
            r#"{"type":"error","message":"Invalid JSON","code":"invalid-json","requestId":"7"}"#
        );
    }

    #[test]
    fn every_name_is_on_the_list() {
        assert_eq!(ErrorCode::ALL.len(), ErrorCode::COUNT);
        assert_eq!(ErrorCode::ALL.map(|code| code as usize), std::array::from_fn(|index| index));
        assert_eq!(ErrorCode::PeerNotConnected.name(), "peer-not-connected");
        let message = ServerMessage::Welcome { message: WELCOME };
        assert_eq!(ServerMessage::NAMES[message.index()], "welcome");
        let message = ServerMessage::StreamStopped { message: "", request_id: None };
        assert_eq!(ServerMessage::NAMES[message.index()], "stream-stopped");
    }
}
