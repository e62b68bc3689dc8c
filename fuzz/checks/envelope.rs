//! What holds for the message envelope, whatever the text.
//!
//! Owns the properties, told by `serde_json::Value`, which parses all of a text into a tree. It deliberately
//! knows no fuzzer: a test replays the corpus through it.

use std::fmt;

use openstudio_signaling::wire::codes::Refusal;
use openstudio_signaling::wire::ids::{PeerId, RoomId};
use openstudio_signaling::wire::request::{Envelope, MessageType};
use openstudio_signaling::wire::role::{Authority, Role};
use openstudio_signaling::wire::text::MAX_QUOTED;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

/// Whose offers, answers and candidates are looked at.
const SENDER: &str = "11111111-1111-4111-8111-111111111111";

/// Why a tree cannot hold what is JSON by RFC 8259: numbers have a range and strings are Unicode in it, and it
/// has a depth.
const TREE_ONLY: [&str; 4] = [
    "number out of range",
    "recursion limit exceeded",
    "lone leading surrogate in hex escape",
    "unexpected end of hex escape",
];

/// The keys that the protocol knows.
const KEYS: [&str; 17] = [
    "type",
    "requestId",
    "peerId",
    "from",
    "to",
    "sdp",
    "candidate",
    "roomId",
    "muted",
    "authority",
    "recording",
    "role",
    "inviteToken",
    "resume",
    "token",
    "inviteRole",
    "chunk",
];

/// Checks one input.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let envelope = Envelope::parse(text);
    match (envelope, serde_json::from_str::<Value>(text)) {
        (None, Ok(tree)) => panic!("{tree} is JSON"),
        (None, Err(_)) => {}
        (Some(envelope), Err(error)) => {
            let error = error.to_string();
            assert!(TREE_ONLY.iter().any(|only| error.starts_with(only)), "no JSON: {error}");
            fields(&envelope, None);
        }
        (Some(envelope), Ok(tree)) => {
            fields(&envelope, Some((text, &tree)));
            relayed(&envelope, text, tree);
        }
    }
}

/// What is passed on is the same, but for the spelling of the two ids.
fn relayed(envelope: &Envelope, text: &str, mut tree: Value) {
    let sender = PeerId::parse(SENDER).expect("a UUID v4");
    let to = envelope.relay(MessageType::Offer, sender).ok();
    let to = to.filter(|_| envelope.kind().is_ok()).and_then(|to| PeerId::parse(&to));
    if let Some(to) = to {
        tree["from"] = sender.to_string().into();
        tree["to"] = to.to_string().into();
        let passed = envelope.with_registered_ids(text, sender, to);
        assert_eq!(serde_json::from_str::<Value>(&passed).ok(), Some(tree), "{passed}");
        assert!(passed.len() <= text.len(), "an id has no shorter spelling");
    }
}

/// Reads every field, and compares it where there is a tree.
fn fields(envelope: &Envelope, tree: Option<(&str, &Value)>) {
    let sender = PeerId::parse(SENDER).expect("a UUID v4");
    let found = Found {
        request_id: envelope.request_id().map(str::to_owned),
        is_stream_chunk: envelope.is_stream_chunk(),
        peer_id: refusable(envelope.peer_id()).map(|id| id.to_string()),
        offer: refusable(envelope.relay(MessageType::Offer, sender)).map(Into::into),
        candidate: refusable(envelope.relay(MessageType::IceCandidate, sender)).map(Into::into),
        room_id: refusable(envelope.room_id()),
        chosen_room: envelope.chosen_room(),
        invite_token: envelope.invite_token().map(Into::into),
        role: envelope.role().map_err(clean).ok(),
        invite_role: envelope.invite_role().map_err(clean).ok(),
        mute: refusable(envelope.mute()).map(|(id, muted, by)| (id.to_string(), muted, by)),
        recording: refusable(envelope.recording()),
    };
    let kind = refusable(envelope.kind());
    if let Some((text, tree)) = tree {
        assert_eq!(found, Found::of(tree));
        assert_eq!(kind, kind_of(text, tree));
    }
}

/// The type by the tree, and by the text: a tree keeps the last one of two values, so it cannot tell that a key
/// came twice.
fn kind_of(text: &str, tree: &Value) -> Option<MessageType> {
    let Keys(mut keys) = serde_json::from_str(text).ok()?;
    keys.retain(|key| KEYS.contains(&&**key));
    keys.sort();
    if keys.windows(2).any(|pair| pair[0] == pair[1]) {
        return None;
    }
    let request_id = tree.get("requestId").map(|id| id.as_str().map(|id| id.chars().count()));
    if request_id.is_some_and(|length| length.is_none_or(|length| length > 64)) {
        return None;
    }
    let name = tree["type"].as_str()?;
    MessageType::ALL.into_iter().find(|kind| kind.name() == name)
}

/// What a refusal says is short enough for a log, and shows as it is.
fn refusable<T>(result: Result<T, Refusal>) -> Option<T> {
    result.map_err(|refusal| clean(refusal.message.into_owned())).ok()
}

fn clean(text: String) {
    assert!(!text.chars().any(char::is_control), "{text:?}");
    // The longest refusal joins three texts, one of them with two ids.
    assert!(text.chars().count() <= 6 * MAX_QUOTED, "{text:?}");
}

/// What an envelope has in it.
#[derive(Debug, PartialEq)]
struct Found {
    request_id: Option<String>,
    is_stream_chunk: bool,
    peer_id: Option<String>,
    offer: Option<String>,
    candidate: Option<String>,
    room_id: Option<RoomId>,
    chosen_room: Option<Option<RoomId>>,
    invite_token: Option<String>,
    role: Option<Role>,
    invite_role: Option<Role>,
    mute: Option<(String, bool, Authority)>,
    recording: Option<bool>,
}

impl Found {
    /// The same by the tree.
    fn of(tree: &Value) -> Self {
        let string = |key: &str| tree.get(key).and_then(Value::as_str);
        let text = |key| string(key).filter(|text| !text.is_empty()).map(str::to_owned);
        let chosen = |key: &str| tree.get(key).filter(|value| !value.is_null());
        let id = |key| string(key).and_then(PeerId::parse).map(|id| id.to_string());
        let role = |key| match chosen(key) {
            None => Some(Role::Guest),
            Some(Value::String(name)) if name.is_empty() => Some(Role::Guest),
            Some(value) => value.as_str().and_then(Role::from_name),
        };
        let relay = |content: bool| {
            let to = text("to")?;
            (content && id("from").as_deref() == Some(SENDER)).then_some(to)
        };
        let authority = match string("authority") {
            Some("producer") => Some(Authority::Producer),
            Some("self") => Some(Authority::Own),
            _ => None,
        };
        let boolean = |key: &str| tree.get(key).and_then(Value::as_bool);
        Self {
            request_id: string("requestId").filter(|id| id.chars().count() <= 64).map(Into::into),
            is_stream_chunk: string("type") == Some("stream-chunk"),
            peer_id: id("peerId"),
            offer: relay(text("sdp").is_some()),
            candidate: relay(tree.get("candidate").is_some_and(|c| c.is_object() || c.is_null())),
            room_id: string("roomId").and_then(RoomId::parse),
            chosen_room: chosen("roomId").map(|id| id.as_str().and_then(RoomId::parse)),
            invite_token: chosen("inviteToken")
                .filter(|token| token.as_str() != Some(""))
                .map(|token| token.as_str().unwrap_or_default().to_owned()),
            role: role("role"),
            invite_role: role("inviteRole"),
            mute: id("peerId")
                .zip(boolean("muted"))
                .zip(authority)
                .map(|((id, muted), by)| (id, muted, by)),
            recording: boolean("recording"),
        }
    }
}

/// The keys of an object, each as often as it comes.
struct Keys(Vec<String>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Keys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = Vec::new();
                while let Some((key, IgnoredAny)) = map.next_entry()? {
                    keys.push(key);
                }
                Ok(Keys(keys))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}
