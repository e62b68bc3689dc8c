//! The fields of a message as they stand in its JSON.
//!
//! Owns which keys are looked at and that none comes twice. It deliberately does not know what a value may be.

use strum::{EnumCount, EnumString, IntoStaticStr};

use crate::wire::members::{Members, Value};

/// The keys that the protocol knows; on the wire, the variant's name in camel case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumCount, EnumString, IntoStaticStr)]
#[cfg_attr(test, derive(strum::VariantArray))]
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
    values: [Option<Value<'a>>; Key::COUNT],
    /// The first known key that came a second time.
    pub duplicate: Option<Key>,
}

impl<'a> Fields<'a> {
    /// Reads the fields of an object; `None` where `text` is not exactly one. Unknown keys are not kept: a message can have
    /// ten thousand. They are read where they stay: a move of all of them costs as much as reading two.
    pub fn read(&mut self, text: &'a str) -> Option<()> {
        Members::of(text).each(|name, value| {
            let key = match name.plain() {
                Some(name) => name.parse::<Key>(),
                None => name.string()?.parse(),
            };
            if let Ok(key) = key {
                if self.values[key as usize].replace(value).is_some() {
                    self.duplicate.get_or_insert(key);
                }
            }
            Some(())
        })
    }

    /// The value of a key.
    pub fn get(&self, key: Key) -> Option<Value<'a>> {
        self.values[key as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use strum::VariantArray;

    use super::*;

    /// The check of the fuzzer has a list of the keys of its own, and each of these files fails where a key is not in it.
    #[test]
    fn the_corpus_has_each_key_twice() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/envelope");
        for key in Key::VARIANTS {
            let path = corpus.join(format!("duplicate-{}", key.name()));
            let text = fs::read_to_string(&path).unwrap_or_else(|_| panic!("{}", key.name()));
            let mut fields = Fields::default();
            fields.read(&text).unwrap();
            assert_eq!(fields.duplicate, Some(*key), "{}", path.display());
        }
    }
}
