//! A JSON object as a text (RFC 8259): where its keys and values stand.
//!
//! Owns the object itself and the strings in it, which most messages are made of; serde_json takes any other value. It
//! deliberately does not know which keys there are.

use std::borrow::Cow;

use serde_json::Deserializer;
use serde_json::value::RawValue;

/// A value as it stands in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Value<'a> {
    /// A string has its quotes.
    pub text: &'a str,
    /// Of a string.
    pub escapes: Escapes,
}

/// Which escapes a string has (RFC 8259 section 7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Escapes {
    /// None: it says what stands between the quotes.
    #[default]
    None,
    /// Letters and signs, such as the ends of lines in an SDP.
    Letters,
    /// Numbers of characters, which can be halves of one (section 8.2).
    Numbers,
}

impl<'a> Value<'a> {
    /// The string that it is, if it is one; `None` as well where its escapes are no characters. It is copied where it has
    /// escapes.
    #[inline]
    pub fn string(self) -> Option<Cow<'a, str>> {
        match self.escapes {
            Escapes::None => self.plain().map(Cow::Borrowed),
            _ => serde_json::from_str(self.text).ok().map(Cow::Owned),
        }
    }

    /// The string that it is, if it is one without escapes.
    pub fn plain(self) -> Option<&'a str> {
        let inner = self.text.strip_prefix('"')?.strip_suffix('"')?;
        (self.escapes == Escapes::None).then_some(inner)
    }

    /// Whether a value is what JavaScript takes for nothing, as the studio's first server did.
    pub fn is_nothing(self) -> bool {
        matches!(self.text, "null" | "false" | "0" | r#""""#)
    }

    /// Whether it is a string with something in it, which is only parsed where its escapes may be no characters.
    pub fn is_text(self) -> bool {
        let is_long = self.text.starts_with('"') && self.text.len() > 2;
        is_long && (self.escapes < Escapes::Numbers || self.string().is_some())
    }
}

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

    /// Calls `take` with each key and its value.
    pub fn each(mut self, mut take: impl FnMut(Value<'a>, Value<'a>) -> Option<()>) -> Option<()> {
        self.expect(b'{')?;
        if self.peek() == Some(b'}') {
            self.at += 1;
        } else {
            loop {
                self.expect(b'"')?;
                let key = self.string()?;
                self.expect(b':')?;
                let value = self.value()?;
                take(key, value)?;
                let next = self.peek()?;
                self.at += 1;
                match next {
                    b',' => {}
                    b'}' => break,
                    _ => return None,
                }
            }
        }
        self.peek().is_none().then_some(())
    }

    fn value(&mut self) -> Option<Value<'a>> {
        if self.peek() == Some(b'"') {
            self.at += 1;
            return self.string();
        }
        let mut values = Deserializer::from_str(&self.text[self.at..]).into_iter::<&RawValue>();
        let text = values.next()?.ok()?.get();
        self.at += text.len();
        Some(Value { text, escapes: Escapes::None })
    }

    /// The string behind a quote.
    fn string(&mut self) -> Option<Value<'a>> {
        let (start, bytes) = (self.at - 1, self.text.as_bytes());
        let (end, escapes) = match plain(bytes, self.at)? {
            end if bytes[end] == b'"' => (end, Escapes::None),
            escape => escaped(bytes, escape)?,
        };
        self.at = end + 1;
        Some(Value { text: &self.text[start..self.at], escapes })
    }

    /// Goes behind `byte`, if that comes next.
    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.text.as_bytes().get(self.at)? {
                b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                byte => return Some(*byte),
            }
        }
    }
}

/// Where a string ends that has its first escape at `at`, and which it has.
fn escaped(bytes: &[u8], mut at: usize) -> Option<(usize, Escapes)> {
    let mut escapes = Escapes::Letters;
    while bytes[at] != b'"' {
        // The end of a line is two of them. A control character has to be one.
        loop {
            match (bytes[at], bytes.get(at + 1)?) {
                (b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => at += 2,
                (b'\\', b'u') if bytes.get(at + 2..at + 6)?.iter().all(u8::is_ascii_hexdigit) => {
                    (at, escapes) = (at + 6, Escapes::Numbers);
                }
                _ => return None,
            }
            if bytes.get(at) != Some(&b'\\') {
                break;
            }
        }
        at = plain(bytes, at)?;
    }
    Some((at, escapes))
}

/// Where the first quote, backslash or control character is, from `at` on. Eight bytes at a time: an SDP has some thousand.
#[inline(always)]
fn plain(bytes: &[u8], at: usize) -> Option<usize> {
    let mut rest = &bytes[at..];
    while let Some((chunk, behind)) = rest.split_first_chunk() {
        if let Some(found) = first(u64::from_le_bytes(*chunk)) {
            return Some(bytes.len() - rest.len() + found);
        }
        rest = behind;
    }
    if rest.is_empty() {
        return None;
    }
    // The last eight bytes, from where `rest` begins; the zeros behind them are found at the latest.
    let word = match bytes.last_chunk() {
        Some(chunk) => u64::from_le_bytes(*chunk) >> (8 * (8 - rest.len())),
        None => rest.iter().rfold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    first(word).filter(|found| *found < rest.len()).map(|found| bytes.len() - rest.len() + found)
}

/// Which byte of a word, from the lowest one on, is the first quote, backslash or control character.
#[inline(always)]
fn first(word: u64) -> Option<usize> {
    const ONES: u64 = u64::MAX / 0xFF;
    const TOPS: u64 = ONES << 7;
    let below = |word: u64, byte: u8| word.wrapping_sub(ONES * u64::from(byte));
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    // The top bit of each such byte. Behind the first of these there may be wrong ones, by its borrow.
    let found = (is(b'"') | is(b'\\') | below(word, b' ')) & !word & TOPS;
    (found != 0).then(|| found.trailing_zeros() as usize / 8)
}

#[cfg(test)]
mod tests {
    use serde::de::IgnoredAny;

    use super::*;

    /// Members in their order; `None` for what is no object.
    fn members(text: &str) -> Option<Vec<(&str, &str)>> {
        let mut members = Vec::new();
        Members::of(text).each(|key, value| {
            members.push((key.text, value.text));
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

    #[test]
    fn a_text_is_what_is_a_string_and_not_empty() {
        for value in [
            r#""""#,
            r#""a""#,
            r#""\r\n""#,
            r#""\u0061""#,
            r#""\r\ud83d\ude00\n""#,
            r#""\ud800""#,
            r#""x\uDC00""#,
            r#""\\u""#,
            "1",
            "null",
            r#"["a"]"#,
            "{}",
        ] {
            let object = format!("{{{value:?}:{value}}}");
            let mut found = None;
            Members::of(&object).each(|_, value| {
                found = Some(value);
                Some(())
            });
            let found = found.unwrap();
            let string = found.string().map(Cow::into_owned);
            assert_eq!(found.is_text(), string.as_ref().is_some_and(|text| !text.is_empty()));
            assert_eq!(string, serde_json::from_str(value).ok(), "{value}");
        }
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
                    let text = format!("{{\"a\":\"{}\"}}", String::from_utf8(bytes).unwrap());
                    let is_json = serde_json::from_str::<IgnoredAny>(&text).is_ok();
                    assert_eq!(members(&text).is_some(), is_json, "{text:?}");
                }
            }
        }
    }
}
