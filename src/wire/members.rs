//! A JSON object as a text (RFC 8259): where its keys and values stand.
//!
//! Owns the object itself and the strings in it, which most messages are made of; serde_json takes any other value. It
//! deliberately does not know which keys there are.

use serde_json::Deserializer;
use serde_json::value::RawValue;

/// Reads the members of an object, one after the other. Each step is `None` where the text is no JSON.
pub(super) struct Members<'a> {
    text: &'a str,
    /// What is before it has been read, in bytes.
    at: usize,
}

impl<'a> Members<'a> {
    /// The members of the object in `text`, which has nothing else in it but white space.
    pub fn of(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Calls `take` with each key, a string with its quotes, and its value, as they stand in the text.
    pub fn each(mut self, mut take: impl FnMut(&'a str, &'a str) -> Option<()>) -> Option<()> {
        self.expect(b'{')?;
        if self.expect(b'}').is_none() {
            loop {
                self.skip_space();
                let key = self.string()?;
                self.expect(b':')?;
                let value = self.value()?;
                take(key, value)?;
                if self.expect(b',').is_none() {
                    break;
                }
            }
            self.expect(b'}')?;
        }
        self.skip_space();
        (self.at == self.text.len()).then_some(())
    }

    fn value(&mut self) -> Option<&'a str> {
        self.skip_space();
        if self.next() == Some(b'"') {
            return self.string();
        }
        let mut values = Deserializer::from_str(&self.text[self.at..]).into_iter::<&RawValue>();
        let value = values.next()?.ok()?.get();
        self.at += value.len();
        Some(value)
    }

    /// A string with its quotes.
    fn string(&mut self) -> Option<&'a str> {
        let start = self.at;
        self.expect(b'"')?;
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            self.at += plain(rest);
            match self.next()? {
                b'"' => break,
                b'\\' => self.at += escape(&self.text.as_bytes()[self.at..])?,
                // A control character.
                _ => return None,
            }
        }
        self.at += 1;
        Some(&self.text[start..self.at])
    }

    /// Goes behind `byte`, if that comes next.
    fn expect(&mut self, byte: u8) -> Option<()> {
        self.skip_space();
        (self.next()? == byte).then(|| self.at += 1)
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.next() {
            self.at += 1;
        }
    }

    fn next(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
}

/// How long the escape is that `bytes` begin with.
fn escape(bytes: &[u8]) -> Option<usize> {
    match bytes.get(1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => bytes.get(2..6)?.iter().all(u8::is_ascii_hexdigit).then_some(6),
        _ => None,
    }
}

/// How many bytes at the start of `bytes` are a string's own: no quote, no backslash, no control character. Eight at a
/// time: an SDP has some thousand.
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 0xFF;
    const TOPS: u64 = ONES << 7;
    let mut at = 0;
    while let Some(chunk) = bytes[at..].first_chunk() {
        let word = u64::from_le_bytes(*chunk);
        // The top bit of each byte below `limit`. Behind the first of these there may be wrong ones, by its borrow.
        let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
        let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
        let found = (below(word, 0x20) | is(b'"') | is(b'\\')) & TOPS;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += chunk.len();
    }
    let is_plain = |byte: &&u8| **byte >= 0x20 && !b"\"\\".contains(byte);
    at + bytes[at..].iter().take_while(is_plain).count()
}

#[cfg(test)]
mod tests {
    use serde::de::IgnoredAny;

    use super::*;

    /// Members in their order; `None` for what is no object.
    fn members(text: &str) -> Option<Vec<(&str, &str)>> {
        let mut members = Vec::new();
        Members::of(text).each(|key, value| {
            members.push((key, value));
            Some(())
        })?;
        Some(members)
    }

    #[test]
    fn members_stand_as_they_came() {
        let text = " {\t\"a\" : \"x\\\"y\" ,\r\n\"\\u0062\":[1, {\"c\":2}],\"d\":-1.5e9}\n";
        let expected =
            [("\"a\"", "\"x\\\"y\""), ("\"\\u0062\"", "[1, {\"c\":2}]"), ("\"d\"", "-1.5e9")];
        assert_eq!(members(text).unwrap(), expected);
        assert_eq!(members("{ }"), Some(vec![]));
    }

    /// Each object of these pieces in any order up to so many is JSON here exactly where it is for serde_json.
    #[test]
    fn what_is_json_is_so_for_serde_json_too() {
        let pieces = [
            "{", "}", ":", ",", "\"a\"", "\"", "\\", "\\\"", "\\u00e9", "\\u12", "\\x", " ",
            "\u{1f}", "1", "01", "-", "true", "nul", "[", "]", "\u{7f}", "\u{20ac}", "12345678",
        ];
        let mut checked = 0;
        let check = |text: &str| {
            let is_json = serde_json::from_str::<IgnoredAny>(text).is_ok();
            assert_eq!(members(text).is_some(), is_json, "{text:?}");
            usize::from(is_json)
        };
        for first in pieces {
            for second in pieces {
                for third in pieces {
                    for around in [
                        format!("{{{first}{second}{third}"),
                        format!("{{{first}{second}{third}}}"),
                        format!("{{\"a\":{first}{second}{third}}}"),
                        format!("{{\"a\":\"{first}{second}{third}\"}}"),
                        format!("{{\"{first}{second}{third}\":1}} "),
                    ] {
                        checked += check(&around);
                    }
                }
            }
        }
        assert!(checked > 10_000, "{checked} were JSON");
    }

    #[test]
    fn each_byte_of_a_string_is_looked_at() {
        for length in 0..40 {
            for at in 0..length {
                for byte in 0..0x80_u8 {
                    let mut bytes = vec![b'x'; length];
                    bytes[at] = byte;
                    let is_end = byte < 0x20 || byte == b'"' || byte == b'\\';
                    assert_eq!(plain(&bytes), if is_end { at } else { length }, "{bytes:?}");
                }
                let bytes = [vec![b'x'; at], "\u{20ac}".into(), vec![b'"'; length - at]].concat();
                assert_eq!(plain(&bytes), at + 3);
            }
        }
    }
}
