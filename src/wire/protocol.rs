//! What is said on the wire: ids, error and close codes, what the server sends.
//!
//! Owns the vocabulary and its spelling. It deliberately knows no client: whether something is allowed
//! now is decided above.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use strum::{EnumCount, EnumDiscriminants, IntoStaticStr, VariantArray, VariantNames};
use unicode_normalization::UnicodeNormalization;
use uuid::{Uuid, Variant};

/// The message of the first frame to every accepted client.
pub const WELCOME: &str = "Connected to OpenStudio signaling server";

/// How many characters of a client's text appear in a reply or a log line.
pub const MAX_QUOTED: usize = 64;

/// The number of a client, in order of arrival since the process started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub u64);

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id of a registered peer: a UUID v4, compared as such and written in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(Uuid);

impl PeerId {
    /// The length of its text, in bytes.
    pub const LENGTH: usize = uuid::fmt::Hyphenated::LENGTH;

    /// Its text in lower case, written into `buffer`.
    pub fn text<'b>(&self, buffer: &'b mut [u8; Self::LENGTH]) -> &'b str {
        self.0.hyphenated().encode_lower(buffer)
    }

    /// Reads the form with hyphens, in any case; `None` for anything but a UUID v4 (RFC 9562).
    pub fn parse(text: &str) -> Option<Self> {
        let id = Uuid::try_parse(text).ok().filter(|_| text.len() == Self::LENGTH)?;
        let is_v4 = id.get_version_num() == 4 && id.get_variant() == Variant::RFC4122;
        is_v4.then_some(Self(id))
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for PeerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The id of a room: a UUID v4 where the server made it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RoomId(Arc<str>);

impl RoomId {
    /// The longest id that a client can choose, in characters.
    pub const MAX_CHARS: usize = 128;

    /// A new id that nobody can guess.
    pub fn random() -> Self {
        Self(Uuid::new_v4().to_string().into())
    }

    /// An id that a client chose, in the form in which ids are compared, so that names that look alike are one room:
    /// percent-decoded once where the whole text is a valid encoding of UTF-8 (RFC 3986 section 2.1; the studio sends its
    /// address as it is), white space as one blank and none at the ends, without variation selectors, and in NFC (Unicode
    /// Standard Annex 15). `None` unless that is 1 to 128 printable characters, and would be read as itself: else an
    /// invite to one room would lead into another.
    pub fn parse(text: &str) -> Option<Self> {
        let decoded = percent_decoded(text);
        let blank = |c: char| if c.is_whitespace() && is_printable(c) { ' ' } else { c };
        let shown = decoded.trim().chars().filter(|c| !is_variation(*c)).map(blank);
        let mut id: String = shown.nfc().collect();
        while id.contains("  ") {
            id = id.replace("  ", " ");
        }
        let fits = (1..=Self::MAX_CHARS).contains(&id.chars().count());
        let is_final = id.trim() == id && percent_decoded(&id) == id;
        (fits && is_final && id.chars().all(is_printable)).then(|| Self(id.into()))
    }
}

/// Whether a character only says how the one before it looks (Unicode Standard, section 23.4), or nothing.
fn is_variation(c: char) -> bool {
    matches!(c, '\u{34f}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

/// The text that `text` encodes, where every `%` begins a valid `%XX` and the result is UTF-8; else the text itself.
fn percent_decoded(text: &str) -> Cow<'_, str> {
    let is_encoded = |part: &str| {
        let digits = part.as_bytes().first_chunk::<2>();
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !text.split('%').skip(1).all(is_encoded) {
        return text.into();
    }
    percent_decode_str(text).decode_utf8().unwrap_or(text.into())
}

/// Whether a character shows as itself: none that controls, ends a line, hides, or turns the direction of what
/// is around it (Unicode's categories Cc, Zl, Zp and, as far as they can deceive, Cf), and no letter that shows as
/// nothing.
fn is_printable(c: char) -> bool {
    let deceives = matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}'
        | '\u{e0000}'..='\u{e007f}');
    !c.is_control() && !deceives
}

impl From<&str> for RoomId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

impl AsRef<str> for RoomId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for RoomId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a peer is in its room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Participant {
    /// Who.
    pub peer_id: PeerId,
    /// As what.
    pub role: Role,
}

/// By what right a peer is muted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Authority {
    /// A host or ops mutes somebody.
    Producer,
    /// Somebody mutes themselves.
    #[serde(rename = "self")]
    Own,
}

/// A close code, sent or logged (RFC 6455 section 7.4 and the private range from 4000).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The server is stopping; reconnect with back-off.
    pub const GOING_AWAY: Self = Self(1001);
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
    /// The client reads too slowly; reconnect.
    pub const TOO_SLOW: Self = Self(4102);
    /// The client did not answer pings; reconnect.
    pub const DEAD: Self = Self(4201);

    /// What the close frame says beside the code, for a person; at most 123 bytes (RFC 6455 section 5.5).
    pub fn reason(self) -> &'static str {
        match self {
            Self::GOING_AWAY => "Server is stopping",
            Self::PROTOCOL => "Invalid frame",
            Self::INVALID_DATA => "Invalid UTF-8",
            Self::TOO_BIG => "Message too big",
            Self::SERVER_ERROR => "Server failed",
            Self::TOO_MANY => "Too many connections",
            Self::REPLACED => "Replaced by a newer connection",
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
    /// The answer to `start-stream`.
    StreamError {
        /// Why there is no streaming here.
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

/// A client's text as a reply or a log may show it: at most 64 characters, all of them printable.
pub fn quoted(text: &str) -> String {
    text.chars().filter(|c| is_printable(*c)).take(MAX_QUOTED).collect()
}

/// Writes `message` as JSON behind what is in `out`.
pub fn write(out: &mut Vec<u8>, message: &impl Serialize) {
    serde_json::to_writer(out, message).expect("writing plain data to memory cannot fail");
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
    fn a_room_id_is_1_to_128_printable_characters() {
        for good in ["a", "Morgen-Magazin 7", "käse", &"ü".repeat(128)] {
            assert_eq!(RoomId::parse(good).unwrap().to_string(), good);
        }
        for bad in [
            "",
            "a\nb",
            "\u{7f}",
            "a\u{2028}b",
            "a\u{202e}b",
            "\u{200b}",
            "\u{feff}a",
            &"u".repeat(129),
        ] {
            assert_eq!(RoomId::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn room_names_that_look_alike_are_one_room() {
        for (name, in_force) in [
            (" Morgen-Magazin ", "Morgen-Magazin"),
            ("\u{a0}show\u{2003}", "show"),
            ("a\u{a0}b", "a b"),
            ("cafe\u{301}", "caf\u{e9}"),
            ("Show", "Show"),
            ("Morning%20Show", "Morning Show"),
            ("k%C3%A4se", "k\u{e4}se"),
            ("ka%CC%88se%20", "k\u{e4}se"),
            ("a  \u{a0} b", "a b"),
            ("caf\u{e9}\u{fe0f}", "caf\u{e9}"),
            // No encoding of UTF-8, or none at all.
            ("100%", "100%"),
            ("100%25 100%", "100%25 100%"),
            ("%zz", "%zz"),
            ("%ff", "%ff"),
        ] {
            assert_eq!(RoomId::parse(name).unwrap().to_string(), in_force, "{name:?}");
        }
        for bad in [
            "  ",
            "\u{a0}",
            "%20",
            "a%0Ab",
            "%00",
            "\u{2800}",
            "a\u{3164}",
            "\u{fe0f}",
            // What the name in force would be read as is another one.
            "a%2520b",
            "studio%2531",
            "%2520",
        ] {
            assert_eq!(RoomId::parse(bad), None, "{bad:?}");
        }
        // The name in force is read as itself, whatever it is made of.
        for first in ["%", "%25", "%2", "a", " ", "5", "e", "\u{301}", "%CC%81", "\u{fe0f}"] {
            for second in ["%", "25", "%25", "\u{301}", "31", "%31", " ", "%20", "\u{200b}"] {
                for third in ["", "31", "%31", "\u{301}", "a", "%"] {
                    if let Some(id) = RoomId::parse(&format!("{first}{second}{third}")) {
                        assert_eq!(RoomId::parse(id.as_ref()).as_ref(), Some(&id), "{id:?}");
                    }
                }
            }
        }
        // What counts is the form in force.
        assert!(RoomId::parse(&format!(" {} ", "e\u{301}".repeat(128))).is_some());
        assert!(RoomId::parse(&"e\u{301}".repeat(129)).is_none());
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

    #[test]
    fn close_reasons_fit_a_control_frame() {
        for code in 1000..5000 {
            assert!(CloseCode(code).reason().len() <= 123);
        }
    }

    #[test]
    fn a_peer_id_is_a_uuid_v4() {
        let id = PeerId::parse("F47AC10B-58CC-4372-A567-0E02B2C3D479").unwrap();
        assert_eq!(id.to_string(), "f47ac10b-58cc-4372-a567-0e02b2c3d479");
        for bad in [
            "",
            "f47ac10b58cc4372a5670e02b2c3d479",
            "{f47ac10b-58cc-4372-a567-0e02b2c3d47}",
            "f47ac10b-58cc-1372-a567-0e02b2c3d479",
            "f47ac10b-58cc-4372-c567-0e02b2c3d479",
            "g47ac10b-58cc-4372-a567-0e02b2c3d479",
            " f47ac10b-58cc-4372-a567-0e02b2c3d479",
        ] {
            assert_eq!(PeerId::parse(bad), None, "{bad}");
        }
    }
}
