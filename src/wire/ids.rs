//! Who is who on the wire: clients, peers and rooms.
//!
//! Owns the form in which ids are read, compared and written. It deliberately does not know which of them exist.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use unicode_normalization::UnicodeNormalization;
use uuid::{Uuid, Variant};

use crate::wire::text::is_printable;

/// The number of a client, in order of arrival since the process started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientId(pub u64);

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A node of a cluster: 64 random bits for each start of its service. A server without a cluster is node 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u64);

impl NodeId {
    /// A node that there has not been.
    pub fn random() -> Self {
        Self(Uuid::new_v4().as_u64_pair().1)
    }

    /// Reads what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        let id = u64::from_str_radix(text, 16).ok().map(Self)?;
        (id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Nothing in it is escaped.
        let text = <&str>::deserialize(deserializer)?;
        Self::parse(text).ok_or_else(|| serde::de::Error::custom("no node id"))
    }
}

/// A client of one of the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Holder {
    /// Where it is connected.
    pub node: NodeId,
    /// Which of the clients there.
    pub client: ClientId,
}

/// Who is behind a client: 128 bits that nobody can guess. A client has a cookie that
/// it is derived from, or a signature of it: by itself it proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity([u8; Self::BYTES]);

impl Identity {
    /// Its size, in bytes.
    pub const BYTES: usize = 16;

    /// An identity that nobody has.
    pub fn random() -> Self {
        Self(Uuid::new_v4().into_bytes())
    }

    /// The identity of these bytes.
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// Its bytes, for a signature.
    pub fn bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl Serialize for Identity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Uuid::from_bytes(self.0).simple())
    }
}

impl<'de> Deserialize<'de> for Identity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Nothing in it is escaped.
        let text = <&str>::deserialize(deserializer)?;
        let read = Uuid::try_parse(text).map_err(serde::de::Error::custom)?;
        Ok(Self(read.into_bytes()))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
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
        serializer.serialize_str(self.text(&mut [0; Self::LENGTH]))
    }
}

impl<'de> Deserialize<'de> for PeerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Nothing in it is escaped.
        let text = <&str>::deserialize(deserializer)?;
        Self::parse(text).ok_or_else(|| serde::de::Error::custom("no peer id"))
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

impl<'de> Deserialize<'de> for RoomId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer).map(|text| Self::from(&*text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_node_id_has_one_form() {
        let id = NodeId(0x1f);
        assert_eq!(id.to_string(), "000000000000001f");
        assert_eq!(NodeId::parse("000000000000001f"), Some(id));
        for bad in ["", "1f", "000000000000001F", "+00000000000001f", "00000000000000001f"] {
            assert_eq!(NodeId::parse(bad), None, "{bad}");
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
