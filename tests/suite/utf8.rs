//! Text is UTF-8: characters split anywhere are put together, and a bad byte is refused where it stands.

use std::io::Write;

use crate::support::Server;
use crate::talk::frame;

/// The shortest and the longest character of each length, and some that look suspicious: a byte order mark,
/// code points that are no characters, the last one before the surrogates and the first one behind.
const CHARACTERS: &str =
    "\u{7f}\u{80}\u{7ff}\u{800}\u{feff}\u{fffe}\u{ffff}\u{d7ff}\u{e000}\u{10000}\u{10ffff}";

/// Bytes of which the last one cannot be, whatever comes before and behind.
const BAD: &[&[u8]] = &[
    // A continuation of nothing.
    b"\x80",
    b"\xBF",
    // Longer than need be.
    b"\xC0",
    b"\xC1",
    b"\xE0\x80",
    b"\xE0\x9F",
    b"\xF0\x80",
    b"\xF0\x8F",
    // Surrogates.
    b"\xED\xA0",
    b"\xED\xBF",
    // Behind the last code point.
    b"\xF4\x90",
    b"\xF5",
    b"\xFE",
    b"\xFF",
    // Characters that break off.
    b"\xC2x",
    b"\xC2\xC2",
    b"\xE2\x82x",
    b"\xE2\xE2",
    b"\xF0\x9F\x98x",
    b"\xF0\x9F\xF0",
];

/// The start of a text frame with much more to come: its head, and `text`.
fn beginning(first: u8, text: &[u8]) -> Vec<u8> {
    let mut whole = frame(first, &[text, &[b'x'; 1000]].concat());
    // Two bytes, two of length, four of mask.
    whole.truncate(8 + text.len());
    whole
}

#[test]
fn characters_may_be_split_anywhere() {
    let server = Server::start(&[("RATE_LIMIT", "0")]);
    let mut client = server.client();
    let message = format!(r#"{{"type":"ping","requestId":"{CHARACTERS}"}}"#);
    let bytes = message.as_bytes();
    let answered = format!(r#""requestId":"{CHARACTERS}"}}"#);
    for cut in 0..=bytes.len() {
        let (start, end) = bytes.split_at(cut);
        client.stream.write_all(&[frame(0x01, start), frame(0x80, end)].concat()).unwrap();
        assert!(client.text().ends_with(&answered), "fragments of {cut} bytes and the rest");
        client.send(0x01, start);
        client.send(0x89, b"\xFF");
        assert_eq!(client.frame().unwrap().payload, b"\xFF", "pings are no text");
        client.send(0x80, end);
        assert!(client.text().ends_with(&answered), "after {cut} bytes a ping");
    }
    // Whatever the packets.
    let whole = frame(0x81, bytes);
    for cut in 1..whole.len() {
        client.stream.write_all(&whole[..cut]).unwrap();
        client.stream.write_all(&whole[cut..]).unwrap();
        assert!(client.text().ends_with(&answered), "cut at byte {cut}");
    }
}

#[test]
fn a_bad_byte_is_refused_before_the_frame_ends() {
    let server = Server::start(&[]);
    for bad in BAD {
        let mut client = server.client();
        let text = ["gr\u{fc}\u{df}e \u{20ac}".as_bytes(), bad].concat();
        client.stream.write_all(&beginning(0x81, &text)).unwrap();
        assert_eq!(client.close_code(), Some(1007), "{bad:02x?}");
        assert!(client.ends());
    }
}

#[test]
fn a_bad_byte_is_refused_in_any_fragment() {
    let server = Server::start(&[]);
    for bad in BAD {
        let (last, before) = bad.split_last().unwrap();
        let mut client = server.client();
        client.send(0x01, before);
        client.send(0x00, b"");
        client.send(0x89, b"");
        assert_eq!(client.frame().unwrap().opcode, 0xA, "{before:02x?} may go on well");
        client.stream.write_all(&beginning(0x00, &[*last])).unwrap();
        assert_eq!(client.close_code(), Some(1007), "{bad:02x?}");
    }
}

#[test]
fn a_character_may_not_end_with_the_message() {
    let server = Server::start(&[]);
    for cut in [&b"\xC2"[..], b"\xE2", b"\xE2\x82", b"\xF0", b"\xF0\x9F", b"\xF0\x9F\x98"] {
        for bytes in [frame(0x81, cut), [frame(0x01, cut), frame(0x80, b"")].concat()] {
            let mut client = server.client();
            client.stream.write_all(&bytes).unwrap();
            assert_eq!(client.close_code(), Some(1007), "{bytes:02x?}");
        }
    }
}

#[test]
fn the_reason_of_a_close_is_text() {
    let server = Server::start(&[]);
    for bad in BAD.iter().chain(&[&b"\xE2\x82"[..], b"fine until \xF0\x9F\x98"]) {
        let mut client = server.client();
        client.send(0x88, &[b"\x03\xE8", *bad].concat());
        assert_eq!(client.close_code(), Some(1007), "{bad:02x?}");
    }
    let mut client = server.client();
    client.send(0x88, &[b"\x03\xE8", CHARACTERS.as_bytes()].concat());
    assert_eq!(client.close_code(), Some(1000));
}
