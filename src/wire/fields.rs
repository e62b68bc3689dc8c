//! The fields of a message as they stand in its JSON.
//!
//! Owns which keys are looked at and that none comes twice. It deliberately does not know what a value may be.

use std::borrow::Cow;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use strum::{EnumCount, IntoStaticStr, VariantArray};

/// The keys that the protocol knows; on the wire, the variant's name in camel case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "camelCase")]
pub(super) enum Key {
    Type,
    RequestId,
    PeerId,
    From,
    To,
    Sdp,
    Candidate,
    RoomId,
    Muted,
    Authority,
    Recording,
    Role,
    InviteToken,
    Resume,
    Token,
    InviteRole,
    Chunk,
}

impl Key {
    /// The key as it is written.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The values of the known keys, each as the JSON text that it came as: nothing is copied, and a value
/// that nobody looks at is not even parsed.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    values: [Option<&'a RawValue>; Key::COUNT],
    /// The first known key that came a second time.
    pub duplicate: Option<Key>,
}

impl<'a> Fields<'a> {
    /// The value of a key.
    pub fn get(&self, key: Key) -> Option<&'a RawValue> {
        self.values[key as usize]
    }
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
        while let Some(Known(key)) = map.next_key()? {
            let Some(key) = key else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if fields.values[key as usize].replace(map.next_value()?).is_some() {
                fields.duplicate.get_or_insert(key);
            }
        }
        Ok(fields)
    }
}

/// A key, if it is a known one. The others are not kept: a message can have ten thousand.
struct Known(Option<Key>);

impl<'de> Deserialize<'de> for Known {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_identifier(KnownVisitor)
    }
}

struct KnownVisitor;

impl Visitor<'_> for KnownVisitor {
    type Value = Known;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Known(Key::VARIANTS.iter().copied().find(|key| key.name() == name)))
    }
}

/// A JSON string, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The string that a value is, if it is one.
pub(super) fn string(value: &RawValue) -> Option<Cow<'_, str>> {
    let text: Option<Text> = serde_json::from_str(value.get()).ok();
    text.map(|Text(text)| text)
}
