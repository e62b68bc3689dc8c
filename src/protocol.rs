//! What is said on the wire: messages, error codes, close codes, limits.
//!
//! Owns parsing and writing of single messages. It deliberately knows no client: whether a well-formed
//! message is allowed now is decided above.

use std::borrow::Cow;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// The message of the first frame to every accepted client.
pub const WELCOME: &str = "Connected to OpenStudio signaling server";

/// How many characters of a client's text appear in a reply or a log line.
pub const MAX_QUOTED: usize = 64;

/// The longest `requestId`, in characters.
const MAX_REQUEST_ID: usize = 64;

/// The number of a client, in order of arrival since the process started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub u64);

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
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
    /// The client did not answer pings; reconnect.
    pub const DEAD: Self = Self(4201);
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The stable `code` of an error reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// The message is not JSON.
    InvalidJson,
    /// More messages than `RATE_LIMIT` in 10 s; this one was dropped.
    RateLimitExceeded,
    /// The message is JSON, but not one that the protocol has.
    InvalidMessage,
    /// The `type` is none that the protocol has.
    UnknownType,
}

impl ErrorCode {
    /// Every code, for the reference that documents them.
    pub const ALL: [Self; 4] =
        [Self::InvalidJson, Self::RateLimitExceeded, Self::InvalidMessage, Self::UnknownType];
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

    const fn fixed(code: ErrorCode, message: &'static str) -> Self {
        Self { code, message: Cow::Borrowed(message) }
    }

    fn invalid(why: impl fmt::Display) -> Self {
        Self { code: ErrorCode::InvalidMessage, message: format!("Invalid message: {why}").into() }
    }
}

/// The types of message that a client can send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageType {
    /// Asks for a pong.
    Ping,
}

impl MessageType {
    /// The type's name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ping => "ping",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        (name == Self::Ping.name()).then_some(Self::Ping)
    }
}

/// The well-formed message of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientMessage {
    /// Asks for a pong.
    Ping,
}

impl ClientMessage {
    /// The type that it came as.
    pub fn kind(&self) -> MessageType {
        match self {
            Self::Ping => MessageType::Ping,
        }
    }
}

/// A JSON text, parsed as far as the keys that the protocol knows; other keys are checked and passed over.
#[derive(Debug)]
pub struct Envelope<'a> {
    /// Absent where the text is JSON, but no object.
    fields: Option<Fields<'a>>,
    request_id: Option<Cow<'a, str>>,
}

impl<'a> Envelope<'a> {
    /// Parses a text, or `None` where it is not exactly one JSON value (RFC 8259).
    pub fn parse(text: &'a str) -> Option<Self> {
        if !text.trim_start_matches([' ', '\t', '\n', '\r']).starts_with('{') {
            let IgnoredAny = serde_json::from_str(text).ok()?;
            return Some(Self { fields: None, request_id: None });
        }
        let fields: Fields = serde_json::from_str(text).ok()?;
        let request_id = fields.request_id.and_then(string);
        Some(Self {
            request_id: request_id.filter(|id| id.chars().count() <= MAX_REQUEST_ID),
            fields: Some(fields),
        })
    }

    /// The `requestId` that direct replies carry: a string of at most 64 characters.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// The message in it.
    ///
    /// # Errors
    ///
    /// The refusal that the client is sent: not an object, no usable `type`, a known key given twice, a
    /// field that is wrong, an unknown type; in this order.
    pub fn message(&self) -> Result<ClientMessage, Refusal> {
        let Some(fields) = &self.fields else {
            return Err(Refusal::invalid("Message must be a valid JSON object"));
        };
        let kind = fields.kind.and_then(string).filter(|kind| !kind.is_empty());
        let kind = kind.ok_or_else(|| {
            Refusal::invalid(r#"Missing or invalid "type" field (must be non-empty string)"#)
        })?;
        if let Some(key) = fields.duplicate {
            return Err(Refusal::invalid(format_args!(r#"Duplicate "{key}" field"#)));
        }
        if fields.request_id.is_some() && self.request_id.is_none() {
            let why = r#"Field "requestId" must be a string of at most 64 characters"#;
            return Err(Refusal::invalid(why));
        }
        match MessageType::from_name(&kind) {
            Some(MessageType::Ping) => Ok(ClientMessage::Ping),
            None => Err(Refusal {
                code: ErrorCode::UnknownType,
                message: format!("Unknown message type: {}", quoted(&kind)).into(),
            }),
        }
    }
}

/// The values of the known keys, each as the JSON text that it came as.
#[derive(Debug, Default)]
struct Fields<'a> {
    kind: Option<&'a RawValue>,
    request_id: Option<&'a RawValue>,
    /// The first known key that came a second time.
    duplicate: Option<&'static str>,
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields::default();
        while let Some(Text(key)) = map.next_key()? {
            let (name, slot) = match &*key {
                "type" => ("type", &mut fields.kind),
                "requestId" => ("requestId", &mut fields.request_id),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            if slot.replace(map.next_value()?).is_some() {
                fields.duplicate.get_or_insert(name);
            }
        }
        Ok(fields)
    }
}

/// A JSON string, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The string that a value is, if it is one.
fn string(value: &RawValue) -> Option<Cow<'_, str>> {
    let text: Option<Text> = serde_json::from_str(value.get()).ok();
    text.map(|Text(text)| text)
}

/// What the server sends.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase")]
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

/// A client's text as a reply or a log may show it: at most 64 characters, no control characters.
pub fn quoted(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_QUOTED).collect()
}

/// Writes `message` as JSON behind what is in `out`.
pub fn write(out: &mut Vec<u8>, message: &impl Serialize) {
    serde_json::to_writer(out, message).expect("writing plain data to memory cannot fail");
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        match Envelope::parse(text).map(|envelope| envelope.message()) {
            None => "Invalid JSON".into(),
            Some(Ok(message)) => format!("{message:?}"),
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
}
