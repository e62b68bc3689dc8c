//! The fields of a message as they stand in its JSON.
//!
//! Owns which keys are looked at and that none comes twice. It deliberately does not know what a value may be.

use std::borrow::Cow;

use strum::{EnumCount, IntoStaticStr, VariantArray};

use crate::wire::members::Members;

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
    fn named(name: &str) -> Option<Self> {
        Self::VARIANTS.iter().copied().find(|key| key.name() == name)
    }

    /// The key as it is written.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The values of the known keys, each as the JSON text that it came as: nothing is copied, and a value
/// that nobody looks at is not even parsed.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    values: [Option<&'a str>; Key::COUNT],
    /// The first known key that came a second time.
    pub duplicate: Option<Key>,
}

impl<'a> Fields<'a> {
    /// The fields of an object, or `None` where `text` is not exactly one. Unknown keys are not kept: a message can have
    /// ten thousand.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut fields = Self::default();
        Members::of(text).each(|name, value| {
            // No known key has an escape in it as it is usually written.
            let key = match Key::named(&name[1..name.len() - 1]) {
                None if name.contains('\\') => Key::named(&unescaped(name)?),
                key => key,
            };
            let Some(key) = key else { return Some(()) };
            if fields.values[key as usize].replace(value).is_some() {
                fields.duplicate.get_or_insert(key);
            }
            Some(())
        })?;
        Some(fields)
    }

    /// The value of a key.
    pub fn get(&self, key: Key) -> Option<&'a str> {
        self.values[key as usize]
    }
}

/// The string that a value is, if it is one. It is copied where it has escapes.
pub(super) fn string(value: &str) -> Option<Cow<'_, str>> {
    if value.starts_with('"') { unescaped(value) } else { None }
}

/// Whether a value is a string with something in it. It is only parsed where numbers of characters are in it, which can be
/// halves of one (RFC 8259 section 8.2): not for the ends of lines in an SDP.
pub(super) fn is_text(value: &str) -> bool {
    let is_long = value.starts_with('"') && value.len() > 2;
    is_long && (!value.contains(r"\u") || string(value).is_some())
}

/// What stands between the quotes of a JSON string; `None` where its escapes are no characters.
fn unescaped(string: &str) -> Option<Cow<'_, str>> {
    let inner = &string[1..string.len() - 1];
    if !inner.contains('\\') {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(string).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// The check of the fuzzer has a list of the keys of its own, and each of these files fails where a key is not in it.
    #[test]
    fn the_corpus_has_each_key_twice() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/envelope");
        for key in Key::VARIANTS {
            let path = corpus.join(format!("duplicate-{}", key.name()));
            let text = fs::read_to_string(&path).unwrap_or_else(|_| panic!("{}", key.name()));
            assert_eq!(Fields::parse(&text).unwrap().duplicate, Some(*key), "{}", path.display());
        }
    }

    #[test]
    fn a_text_is_what_is_a_string_and_not_empty() {
        for value in [
            r#""""#,
            r#""a""#,
            r#""\r\n""#,
            r#""\u0061""#,
            r#""\ud83d\ude00""#,
            r#""\ud800""#,
            r#""x\uDC00""#,
            r#""\\u""#,
            "1",
            "null",
            r#"["a"]"#,
            "{}",
        ] {
            let expected = string(value).is_some_and(|text| !text.is_empty());
            assert_eq!(is_text(value), expected, "{value}");
            assert_eq!(string(value).map(Cow::into_owned), serde_json::from_str(value).ok());
        }
    }
}
