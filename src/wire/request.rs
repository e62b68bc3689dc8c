//! What a client asks for.
//!
//! Owns which messages there are, what each must say, and the text that refuses it. It deliberately does not know who
//! says it.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use strum::{EnumCount, EnumString, IntoStaticStr, VariantArray};

use crate::wire::codes::{ErrorCode, Refusal};
use crate::wire::fields::{Fields, Key};
use crate::wire::ids::{PeerId, RoomId};
use crate::wire::members::Value;
use crate::wire::role::{Authority, Role};
use crate::wire::text::quoted;

/// The longest `requestId`, in characters.
const MAX_REQUEST_ID: usize = 64;

/// The types of message that a client can send; on the wire, the variant's name in kebab case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum MessageType {
    /// Asks for a pong.
    Ping,
    /// Takes an id.
    Register,
    /// Offers a connection to another peer.
    Offer,
    /// Answers an offer.
    Answer,
    /// Names a way to reach the sender.
    IceCandidate,
    /// Makes a room.
    CreateRoom,
    /// Enters a room.
    JoinRoom,
    /// Enters a room, and makes it where it is not there.
    CreateOrJoinRoom,
    /// Asks for a token that lets somebody into the room.
    RequestInvite,
    /// Asks for the STUN and TURN servers, with credentials that are valid from now.
    RequestIce,
    /// Leaves the room.
    LeaveRoom,
    /// Mutes somebody in the room, or ends that.
    Mute,
    /// Says that the recording started or stopped.
    RecordingState,
    /// Asks for streaming, which is another service's work.
    StartStream,
    /// A piece of a stream, which nobody takes here.
    StreamChunk,
    /// Ends streaming.
    StopStream,
}

impl MessageType {
    /// Every type, for the reference that documents them.
    pub const ALL: [Self; Self::COUNT] =
        *Self::VARIANTS.first_chunk().expect("it has as many variants as it counts");

    /// The type's name on the wire.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether it is passed on to another peer.
    pub fn is_relayed(self) -> bool {
        matches!(self, Self::Offer | Self::Answer | Self::IceCandidate)
    }
}

/// A JSON text, parsed as far as the keys that the protocol knows; other keys are checked and passed over.
#[derive(Debug, Default)]
pub struct Envelope<'a> {
    /// Of the text, where that is an object.
    fields: Fields<'a>,
    is_object: bool,
    request_id: Option<Cow<'a, str>>,
}

/// What a `register` brings to prove who is behind the client.
#[derive(Debug)]
pub struct RegisterProofs<'a> {
    /// What an earlier `registered` gave.
    pub resume: Option<Cow<'a, str>>,
    /// A room token.
    pub token: Option<Cow<'a, str>>,
}

impl<'a> Envelope<'a> {
    /// Parses a text, or `None` where it is not exactly one JSON value (RFC 8259).
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut envelope = Self::default();
        envelope.read(text).map(|()| envelope)
    }

    /// As [`Self::parse`], into an empty envelope, which stays where it is: a move costs a tenth of the reading.
    pub fn read(&mut self, text: &'a str) -> Option<()> {
        self.is_object = text.trim_ascii_start().starts_with('{');
        if self.is_object {
            self.fields.read(text)?;
            if let Some(value) = self.get(Key::RequestId) {
                self.request_id = value.string().filter(|id| id.chars().count() <= MAX_REQUEST_ID);
            }
        } else {
            let IgnoredAny = serde_json::from_str(text).ok()?;
        }
        Some(())
    }

    /// The `requestId` that direct replies carry: a string of at most 64 characters.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// Whether it is a piece of a stream, which has a rate limit of its own.
    pub fn is_stream_chunk(&self) -> bool {
        self.string(Key::Type).as_deref() == Some(MessageType::StreamChunk.name())
    }

    /// What a piece of a stream holds, in base64; `None` where it is no string.
    pub fn chunk(&self) -> Option<Cow<'a, str>> {
        self.string(Key::Chunk)
    }

    /// The type.
    ///
    /// # Errors
    ///
    /// The refusal that the client is sent: not an object, no usable `type`, a known key given twice, a
    /// bad `requestId`, an unknown type; in this order.
    pub fn kind(&self) -> Result<MessageType, Refusal> {
        if !self.is_object {
            return Err(Refusal::invalid("Message must be a valid JSON object"));
        };
        let Some(kind) = self.string(Key::Type).filter(|kind| !kind.is_empty()) else {
            return Err(Refusal::invalid(missing(Key::Type)));
        };
        if let Some(key) = self.fields.duplicate {
            return Err(Refusal::invalid(format_args!(r#"Duplicate "{}" field"#, key.name())));
        }
        if self.get(Key::RequestId).is_some() && self.request_id.is_none() {
            let why = r#"Field "requestId" must be a string of at most 64 characters"#;
            return Err(Refusal::invalid(why));
        }
        kind.parse().map_err(|_| {
            let why = format!("Unknown message type: {}", quoted(&kind));
            Refusal::new(ErrorCode::UnknownType, why)
        })
    }

    /// The id that `register` asks for.
    ///
    /// # Errors
    ///
    /// An id that is absent, blank, or no UUID v4.
    pub fn peer_id(&self) -> Result<PeerId, Refusal> {
        let id = self.text(Key::PeerId).map_err(Refusal::invalid)?;
        if id.trim().is_empty() {
            return Err(Refusal::invalid(r#"Field "peerId" cannot be empty or whitespace"#));
        }
        PeerId::parse(&id)
            .ok_or_else(|| Refusal::invalid(r#"Field "peerId" must be a valid UUID v4"#))
    }

    /// Whom an offer, an answer or a candidate of `sender` is for.
    ///
    /// # Errors
    ///
    /// All that is wrong with `from`, `to`, and `sdp` or `candidate`, joined.
    pub fn relay(&self, kind: MessageType, sender: PeerId) -> Result<Cow<'a, str>, Refusal> {
        let from = self.text(Key::From).and_then(|from| {
            if PeerId::parse(&from) == Some(sender) {
                return Ok(());
            }
            Err(format!(
                r#"Field "from" must match registered peer ID (expected: {sender}, got: {})"#,
                quoted(&from)
            ))
        });
        let to = self.text(Key::To);
        let content = if kind == MessageType::IceCandidate {
            match self.get(Key::Candidate).map(|value| value.text) {
                None => Err(r#"Missing "candidate" field"#.to_owned()),
                // The end of candidates, as older browsers have it.
                Some("null") => Ok(()),
                Some(candidate) if candidate.starts_with('{') => Ok(()),
                Some(_) => Err(r#"Field "candidate" must be an object"#.to_owned()),
            }
        } else {
            let sdp = self.get(Key::Sdp).filter(|sdp| sdp.is_text());
            sdp.map(drop).ok_or_else(|| missing(Key::Sdp))
        };
        let errors = [from.err(), to.as_ref().err().cloned(), content.err()];
        let errors: Vec<_> = errors.into_iter().flatten().collect();
        match to {
            Ok(to) if errors.is_empty() => Ok(to),
            _ => Err(Refusal::invalid(errors.join(", "))),
        }
    }

    /// The text of a relay as its receiver gets it: `text`, which this was parsed from, byte for byte, but with `from`
    /// and `to` as these ids are registered. Otherwise others would know the sender by another name.
    pub fn with_registered_ids(&self, text: &'a str, from: PeerId, to: PeerId) -> Cow<'a, str> {
        let mut result = Cow::Borrowed(text);
        let ids = [(Key::From, from), (Key::To, to)];
        let mut spelled: Vec<_> = ids
            .into_iter()
            .filter_map(|(key, id)| Some((self.get(key)?.text, id)))
            .filter(|(value, id)| {
                let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
                inner != Some(id.text(&mut [0; PeerId::LENGTH]))
            })
            .map(|(value, id)| (value.as_ptr().addr() - text.as_ptr().addr(), value.len(), id))
            .collect();
        // From the back, so that what is in front stays where it is.
        spelled.sort_unstable_by_key(|(start, ..)| std::cmp::Reverse(*start));
        for (start, length, id) in spelled {
            result.to_mut().replace_range(start..start + length, &format!(r#""{id}""#));
        }
        result
    }

    /// What proves in a `register` who is behind the client: `resume`, and a room's `token`.
    ///
    /// # Errors
    ///
    /// One that is no string.
    pub fn proofs(&self) -> Result<RegisterProofs<'a>, Refusal> {
        let proof = |key: Key| match self.chosen(key) {
            None => Ok(None),
            Some(value) => value.string().map(Some).ok_or_else(|| {
                Refusal::invalid(format_args!(r#"Field "{}" must be a string"#, key.name()))
            }),
        };
        Ok(RegisterProofs { resume: proof(Key::Resume)?, token: proof(Key::Token)? })
    }

    /// The room that `join-room` names.
    ///
    /// # Errors
    ///
    /// A `roomId` that is absent, or no string, which no room is called.
    pub fn room_id(&self) -> Result<RoomId, Refusal> {
        let value = self.get(Key::RoomId).filter(|value| !value.is_nothing());
        let missing = || Refusal::new(ErrorCode::InvalidMessage, "Missing roomId field");
        let value = value.ok_or_else(missing)?;
        let id = value.string().ok_or_else(|| no_such_room(value.text))?;
        RoomId::parse(&id).ok_or_else(|| no_such_room(&id))
    }

    /// The room that `create-or-join-room` names: the outer `None` where it names none, the inner where no
    /// room can be called that.
    pub fn chosen_room(&self) -> Option<Option<RoomId>> {
        self.chosen(Key::RoomId).map(|id| id.string().and_then(|id| RoomId::parse(&id)))
    }

    /// The token that `create-or-join-room` brings, if it does; what is no string is no token either.
    pub fn invite_token(&self) -> Option<Cow<'a, str>> {
        let token = self.chosen(Key::InviteToken)?;
        // An empty one is how a page says that it has none.
        (token.text != r#""""#).then(|| token.string().unwrap_or_default())
    }

    /// The role that `create-or-join-room` asks for: a guest's where it names none.
    ///
    /// # Errors
    ///
    /// The role's text, where it is none that can be asked for.
    pub fn role(&self) -> Result<Role, String> {
        self.role_of(Key::Role)
    }

    /// The role that `request-invite` is about: a guest's where it names none.
    ///
    /// # Errors
    ///
    /// The role's text, where it is none.
    pub fn invite_role(&self) -> Result<Role, String> {
        self.role_of(Key::InviteRole)
    }

    fn role_of(&self, key: Key) -> Result<Role, String> {
        let Some(value) = self.chosen(key) else {
            return Ok(Role::Guest);
        };
        let name = value.string().unwrap_or(Cow::Borrowed(value.text));
        if name.is_empty() {
            return Ok(Role::Guest);
        }
        Role::from_name(&name).ok_or_else(|| quoted(&name))
    }

    /// What `mute` says: who, whether, by what right. The id need not be anybody's.
    ///
    /// # Errors
    ///
    /// An `authority` or a `muted` that cannot be, or no id.
    pub fn mute(&self) -> Result<(PeerId, bool, Authority), Refusal> {
        let authority = match self.string(Key::Authority).as_deref() {
            Some("producer") => Authority::Producer,
            Some("self") => Authority::Own,
            _ => {
                let why = r#"Field "authority" must be "producer" or "self""#;
                return Err(Refusal::invalid(why));
            }
        };
        let muted = self.boolean(Key::Muted)?;
        let id = self.string(Key::PeerId).and_then(|id| PeerId::parse(&id));
        let id = id.ok_or_else(Self::not_a_participant)?;
        Ok((id, muted, authority))
    }

    /// The refusal of a `mute` that names nobody in the room.
    pub fn not_a_participant() -> Refusal {
        Refusal::invalid(r#"Field "peerId" must be a participant of the room"#)
    }

    /// Whether `recording-state` says that the recording runs.
    ///
    /// # Errors
    ///
    /// A `recording` that is no boolean.
    pub fn recording(&self) -> Result<bool, Refusal> {
        self.boolean(Key::Recording)
    }

    fn get(&self, key: Key) -> Option<Value<'a>> {
        self.fields.get(key)
    }

    /// A value that is there and not `null`: how the web studio leaves a choice to the server.
    fn chosen(&self, key: Key) -> Option<Value<'a>> {
        self.get(key).filter(|value| value.text != "null")
    }

    fn string(&self, key: Key) -> Option<Cow<'a, str>> {
        self.get(key).and_then(Value::string)
    }

    /// A string that is not empty, or what is said where it is not.
    fn text(&self, key: Key) -> Result<Cow<'a, str>, String> {
        self.string(key).filter(|text| !text.is_empty()).ok_or_else(|| missing(key))
    }

    fn boolean(&self, key: Key) -> Result<bool, Refusal> {
        match self.get(key).map(|value| value.text) {
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            _ => Err(Refusal::invalid(format_args!(r#"Field "{}" must be a boolean"#, key.name()))),
        }
    }
}

/// What is said of a field that has to be a string with something in it, and is none.
fn missing(key: Key) -> String {
    format!(r#"Missing or invalid "{}" field (must be non-empty string)"#, key.name())
}

/// The refusal of a room that is not there.
pub fn no_such_room(id: &str) -> Refusal {
    Refusal::new(ErrorCode::RoomNotFound, format_args!(r#"Room "{}" does not exist"#, quoted(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        match Envelope::parse(text).map(|envelope| envelope.kind()) {
            None => "Invalid JSON".into(),
            Some(Ok(kind)) => format!("{kind:?}"),
            Some(Err(refusal)) => refusal.message.into_owned(),
        }
    }

    #[test]
    fn only_one_json_value_is_json() {
        for text in ["", " ", "\u{feff}{}", "{} {}", "{\"type\":\"ping\"", "{'a':1}", "nul"] {
            assert_eq!(refusal(text), "Invalid JSON", "{text:?}");
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in
            ["null", "true", "1", "-1", "1.5", "1e999", "\"ping\"", "[]", "[{\"type\":\"ping\"}]"]
        {
            let expected = "Invalid message: Message must be a valid JSON object";
            assert_eq!(refusal(text), expected, "{text}");
        }
    }

    #[test]
    fn a_type_is_a_non_empty_string() {
        for text in [
            "{}",
            r#"{"type":""}"#,
            r#"{"type":null}"#,
            r#"{"type":1}"#,
            r#"{"type":["ping"]}"#,
            r#"{"type":{"a":1}}"#,
            r#"{"type":true}"#,
        ] {
            let expected =
                r#"Invalid message: Missing or invalid "type" field (must be non-empty string)"#;
            assert_eq!(refusal(text), expected, "{text}");
        }
    }

    #[test]
    fn escapes_and_unknown_keys_do_not_matter() {
        let text = r#" {"x":{"type":[1,{"type":2}]},"t\u0079pe":"p\u0069ng","y":1e999} "#;
        assert_eq!(refusal(text), "Ping");
    }

    #[test]
    fn a_known_key_may_not_come_twice() {
        let text = r#"{"type":"ping","requestId":"a","type":"ping"}"#;
        assert_eq!(refusal(text), r#"Invalid message: Duplicate "type" field"#);
        let text = r#"{"type":"ping","requestId":null,"requestId":"a"}"#;
        assert_eq!(refusal(text), r#"Invalid message: Duplicate "requestId" field"#);
        assert_eq!(refusal(r#"{"type":"ping","x":1,"x":1}"#), "Ping");
    }

    #[test]
    fn a_request_id_has_64_characters_at_most() {
        let with = |id: &str| format!(r#"{{"type":"ping","requestId":{id}}}"#);
        let longest = with(&format!("\"{}\"", "ü".repeat(64)));
        assert_eq!(refusal(&longest), "Ping");
        let envelope = Envelope::parse(&longest).unwrap();
        assert_eq!(envelope.request_id(), Some("ü".repeat(64).as_str()));
        for id in [format!("\"{}\"", "u".repeat(65)), "7".into(), "null".into()] {
            let expected =
                r#"Invalid message: Field "requestId" must be a string of at most 64 characters"#;
            assert_eq!(refusal(&with(&id)), expected);
        }
    }

    #[test]
    fn an_unknown_type_is_quoted_short_and_clean() {
        let long = "ä".repeat(65);
        let text = format!(r#"{{"type":"{long}"}}"#);
        assert_eq!(refusal(&text), format!("Unknown message type: {}", "ä".repeat(64)));
        assert_eq!(refusal("{\"type\":\"a\\nb\\u001b\"}"), "Unknown message type: ab");
    }
}
