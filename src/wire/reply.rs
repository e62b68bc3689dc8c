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
#[derive(Clone, Debug)]
pub struct Access<'a> {
    /// As what the peer is in the room.
    pub role: Role,
    /// The room token.
    pub token: &'a str,
    /// Where STUN and TURN servers are.
    pub ice: &'a RawValue,
}

/// What the server sends; on the wire, a variant's name in kebab case, and its fields in camel case.
#[derive(Clone, Debug, EnumDiscriminants, VariantNames)]
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
        request_id: Option<&'a str>,
    },
    /// The answer to `register`.
    Registered {
        /// The id, in lower case.
        peer_id: PeerId,
        /// What proves later who the client is.
        resume: &'a str,
        /// The message's `requestId`.
        request_id: Option<&'a str>,
    },
    /// The answer to `create-room`, and to `create-or-join-room` where there was no room.
    RoomCreated {
        /// The new room.
        room_id: &'a RoomId,
        /// Who made it.
        host_id: PeerId,
        /// In the answer to `create-or-join-room`.
        access: Option<Access<'a>>,
        /// The message's `requestId`.
        request_id: Option<&'a str>,
    },
    /// The answer to `join-room`, and to `create-or-join-room` where there was a room.
    RoomJoined {
        /// The room.
        room_id: &'a RoomId,
        /// Who is in it, in order of arrival, the joiner last.
        participants: &'a [Participant],
        /// In the answer to `create-or-join-room`.
        access: Option<Access<'a>>,
        /// The message's `requestId`.
        request_id: Option<&'a str>,
    },
    /// The answer to `leave-room`.
    RoomLeft {
        /// The room that was left.
        room_id: &'a RoomId,
        /// The message's `requestId`.
        request_id: Option<&'a str>,
    },
    /// The answer to `request-ice`.
    Ice {
        /// Where STUN and TURN servers are.
        ice: &'a RawValue,
        /// The message's `requestId`.
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
        request_id: Option<&'a str>,
    },
    /// To the one on air, in place of an `error`, which would stop its page.
    Notice {
        /// Why, for a person.
        message: &'a str,
        /// Why, for a program.
        code: ErrorCode,
        /// The refused message's `requestId`.
        request_id: Option<&'a str>,
    },
    /// To the one on air: Icecast does not take the programme.
    StreamError {
        /// Why.
        message: &'a str,
        /// The message's `requestId`.
        request_id: Option<&'a str>,
    },
    /// The answer to `stop-stream`.
    StreamStopped {
        /// That it stopped.
        message: &'a str,
        /// The message's `requestId`.
        request_id: Option<&'a str>,
    },
    /// The answer to a message that was refused.
    Error {
        /// Why, for a person.
        message: &'a str,
        /// Why, for a program.
        code: ErrorCode,
        /// The refused message's `requestId`.
        request_id: Option<&'a str>,
    },
}

/// A key as it stands behind other members, in one piece: it is copied at once.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}

impl ServerMessage<'_> {
    /// The types of message that the server makes itself; offers, answers and candidates are passed on.
    pub const NAMES: [&'static str; ServerMessageType::COUNT] =
        *Self::VARIANTS.first_chunk().expect("it has as many variants as it counts");

    /// Where the message's type is in [`Self::NAMES`].
    pub fn index(&self) -> usize {
        ServerMessageType::from(self) as usize
    }

    /// Writes it as JSON behind what is in `out`: member by member, which takes a third of what a derived
    /// implementation of serde takes.
    pub fn write(&self, out: &mut Vec<u8>) {
        let object = Object::of_type(out, Self::NAMES[self.index()]);
        let object = match self {
            Self::Welcome { message } | Self::StreamStarted { message } => {
                object.with(key!("message"), message)
            }
            Self::Pong { timestamp, .. } => object.with(key!("timestamp"), timestamp),
            Self::Registered { peer_id, resume, .. } => {
                object.with(key!("peerId"), peer_id).with(key!("resume"), resume)
            }
            Self::RoomCreated { room_id, host_id, access, .. } => object
                .with(key!("roomId"), room_id)
                .with(key!("hostId"), host_id)
                .with_access(access),
            Self::RoomJoined { room_id, participants, access, .. } => object
                .with(key!("roomId"), room_id)
                .with(key!("participants"), participants)
                .with_access(access),
            Self::RoomLeft { room_id, .. } | Self::RoomExpired { room_id } => {
                object.with(key!("roomId"), room_id)
            }
            Self::Ice { ice, .. } => object.with(key!("ice"), ice),
            Self::InviteToken { invite_token, room_id, role, .. } => object
                .with(key!("inviteToken"), invite_token)
                .with(key!("roomId"), room_id)
                .with(key!("role"), role),
            Self::PeerJoined(Participant { peer_id, role }) => {
                object.with(key!("peerId"), peer_id).with(key!("role"), role)
            }
            Self::PeerLeft { peer_id } => object.with(key!("peerId"), peer_id),
            Self::Mute { peer_id, muted, authority, from } => {
                let object = object.with(key!("peerId"), peer_id).with(key!("muted"), muted);
                object.with(key!("authority"), authority).with(key!("from"), from)
            }
            Self::RecordingState { recording, from } => {
                object.with(key!("recording"), recording).with(key!("from"), from)
            }
            Self::ChunkAck { size, .. } => object.with(key!("size"), size),
            Self::Notice { message, code, .. } | Self::Error { message, code, .. } => {
                object.with(key!("message"), message).with(key!("code"), code)
            }
            Self::StreamError { message, .. } | Self::StreamStopped { message, .. } => {
                object.with(key!("message"), message)
            }
        };
        object.with_any(key!("requestId"), self.request_id()).end();
    }

    fn request_id(&self) -> Option<&str> {
        match self {
            Self::Pong { request_id, .. }
            | Self::Registered { request_id, .. }
            | Self::RoomCreated { request_id, .. }
            | Self::RoomJoined { request_id, .. }
            | Self::RoomLeft { request_id, .. }
            | Self::Ice { request_id, .. }
            | Self::InviteToken { request_id, .. }
            | Self::ChunkAck { request_id, .. }
            | Self::Notice { request_id, .. }
            | Self::StreamError { request_id, .. }
            | Self::StreamStopped { request_id, .. }
            | Self::Error { request_id, .. } => *request_id,
            Self::Welcome { .. }
            | Self::RoomExpired { .. }
            | Self::PeerJoined(_)
            | Self::PeerLeft { .. }
            | Self::Mute { .. }
            | Self::RecordingState { .. }
            | Self::StreamStarted { .. } => None,
        }
    }
}

/// An object that is being written. Its keys are the protocol's, which have nothing to escape.
struct Object<'o>(&'o mut Vec<u8>);

impl<'o> Object<'o> {
    /// The object of a message of this type, behind what is in `out`.
    fn of_type(out: &'o mut Vec<u8>, name: &str) -> Self {
        out.extend_from_slice(br#"{"type":""#);
        out.extend_from_slice(name.as_bytes());
        out.push(b'"');
        Self(out)
    }

    /// With a member more; `key` is a [`key!`].
    fn with(self, key: &str, value: impl Serialize) -> Self {
        self.0.extend_from_slice(key.as_bytes());
        write(self.0, &value);
        self
    }

    /// As [`Self::with`], where there is a value.
    fn with_any(self, key: &str, value: Option<impl Serialize>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    fn with_access(self, access: &Option<Access<'_>>) -> Self {
        let Some(Access { role, token, ice }) = access else { return self };
        self.with(key!("role"), role).with(key!("token"), token).with(key!("ice"), ice)
    }

    fn end(self) {
        self.0.push(b'}');
    }
}

/// Writes `value` as JSON behind what is in `out`.
pub fn write(out: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(out, value).expect("writing plain data to memory cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_written_to_the_letter() {
        let text = |message: ServerMessage| {
            let mut out = Vec::new();
            message.write(&mut out);
            String::from_utf8(out).unwrap()
        };
        let (room, request_id) = (RoomId::from("studio"), Some("7\""));
        let [host, guest] =
            ["11111111-1111-4111-8111-111111111111", "22222222-2222-4222-9222-222222222222"];
        let [host_id, guest_id] = [host, guest].map(|id| PeerId::parse(id).unwrap());
        let participants = [
            Participant { peer_id: host_id, role: Role::Host },
            Participant { peer_id: guest_id, role: Role::Caller },
        ];
        let ice = RawValue::from_string(r#"{"stun":[]}"#.into()).unwrap();
        let access = || Some(Access { role: Role::Ops, token: "a.b.c", ice: &ice });
        let (room_id, message) = (&room, "a \"b\" \u{7} é\n");
        let quoted = r#""a \"b\" \u0007 é\n""#;
        let all = [
            (ServerMessage::Welcome { message }, format!(r#"welcome","message":{quoted}"#)),
            (
                ServerMessage::Pong { timestamp: 1760804444392, request_id: None },
                r#"pong","timestamp":1760804444392"#.into(),
            ),
            (
                ServerMessage::Pong { timestamp: 0, request_id },
                r#"pong","timestamp":0,"requestId":"7\"""#.into(),
            ),
            (
                ServerMessage::Registered { peer_id: host_id, resume: "r", request_id },
                format!(r#"registered","peerId":"{host}","resume":"r","requestId":"7\"""#),
            ),
            (
                ServerMessage::RoomCreated { room_id, host_id, access: access(), request_id },
                format!(
                    r#"room-created","roomId":"studio","hostId":"{host}","role":"ops","token":"a.b.c","ice":{ice},"requestId":"7\"""#
                ),
            ),
            (
                ServerMessage::RoomCreated { room_id, host_id, access: None, request_id: None },
                format!(r#"room-created","roomId":"studio","hostId":"{host}""#),
            ),
            (
                ServerMessage::RoomJoined {
                    room_id,
                    participants: &participants,
                    access: access(),
                    request_id,
                },
                format!(
                    r#"room-joined","roomId":"studio","participants":[{{"peerId":"{host}","role":"host"}},{{"peerId":"{guest}","role":"caller"}}],"role":"ops","token":"a.b.c","ice":{ice},"requestId":"7\"""#
                ),
            ),
            (
                ServerMessage::RoomLeft { room_id, request_id },
                r#"room-left","roomId":"studio","requestId":"7\"""#.into(),
            ),
            (
                ServerMessage::Ice { ice: &ice, request_id },
                format!(r#"ice","ice":{ice},"requestId":"7\"""#),
            ),
            (
                ServerMessage::InviteToken {
                    invite_token: "t",
                    room_id,
                    role: Role::Guest,
                    request_id,
                },
                r#"invite-token","inviteToken":"t","roomId":"studio","role":"guest","requestId":"7\"""#.into(),
            ),
            (ServerMessage::RoomExpired { room_id }, r#"room-expired","roomId":"studio""#.into()),
            (
                ServerMessage::PeerJoined(participants[1]),
                format!(r#"peer-joined","peerId":"{guest}","role":"caller""#),
            ),
            (
                ServerMessage::PeerLeft { peer_id: guest_id },
                format!(r#"peer-left","peerId":"{guest}""#),
            ),
            (
                ServerMessage::Mute {
                    peer_id: guest_id,
                    muted: true,
                    authority: Authority::Producer,
                    from: host_id,
                },
                format!(r#"mute","peerId":"{guest}","muted":true,"authority":"producer","from":"{host}""#),
            ),
            (
                ServerMessage::RecordingState { recording: false, from: host_id },
                format!(r#"recording-state","recording":false,"from":"{host}""#),
            ),
            (ServerMessage::StreamStarted { message }, format!(r#"stream-started","message":{quoted}"#)),
            (
                ServerMessage::ChunkAck { size: 9, request_id },
                r#"chunk-ack","size":9,"requestId":"7\"""#.into(),
            ),
            (
                ServerMessage::Notice { message, code: ErrorCode::RateLimitExceeded, request_id },
                format!(r#"notice","message":{quoted},"code":"rate-limit-exceeded","requestId":"7\"""#),
            ),
            (
                ServerMessage::StreamError { message, request_id },
                format!(r#"stream-error","message":{quoted},"requestId":"7\"""#),
            ),
            (
                ServerMessage::StreamStopped { message, request_id },
                format!(r#"stream-stopped","message":{quoted},"requestId":"7\"""#),
            ),
            (
                ServerMessage::Error { message, code: ErrorCode::InvalidJson, request_id: None },
                format!(r#"error","message":{quoted},"code":"invalid-json""#),
            ),
        ];
        let mut seen: Vec<_> = all.iter().map(|(message, _)| message.index()).collect();
        for (message, expected) in all {
            assert_eq!(text(message), format!(r#"{{"type":"{expected}}}"#));
        }
        seen.dedup();
        assert_eq!(seen, Vec::from_iter(0..ServerMessage::NAMES.len()));
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
