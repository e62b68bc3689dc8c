//! What comes of bytes, whole and broken.
//!
//! Owns nothing. It deliberately has no sockets.

use super::decoder::*;
use crate::wire::codes::CloseCode;
use crate::wire::frame::{Opcode, apply_mask, encode, encode_close, put_head};
use crate::wire::head::Endpoint;

/// Decodes `bytes` in pieces of `step` bytes: what came, and the violation that ended it.
fn decode(bytes: &[u8], step: usize) -> (Vec<Received<'static>>, Option<CloseCode>) {
    let mut decoder = Decoder::new(Endpoint::Server, 65_536);
    let mut all = Vec::new();
    for piece in bytes.chunks(step) {
        if let Err(code) = feed(&mut decoder, piece, &mut all) {
            return (all, Some(code));
        }
    }
    (all, None)
}

fn feed(
    decoder: &mut Decoder,
    piece: &[u8],
    all: &mut Vec<Received<'static>>,
) -> Result<(), CloseCode> {
    let mut piece = piece.to_vec();
    let mut input = &mut piece[..];
    while let Some(received) = decoder.next(&mut input)? {
        all.push(match received {
            Received::Text(text) => Received::Text(text.into_owned().into()),
            Received::Binary(bytes) => Received::Binary(bytes.into_owned().into()),
            Received::Ping(bytes) => Received::Ping(bytes.into_owned().into()),
            Received::Pong => Received::Pong,
            Received::Skipped => Received::Skipped,
            Received::Close(code) => Received::Close(code),
        });
    }
    Ok(())
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x12, 0x34, 0x56, 0x78];
    let mut bytes = Vec::new();
    put_head(&mut bytes, true, Opcode::Text, payload.len() as u64, Some(mask));
    bytes[0] = first;
    let start = bytes.len();
    bytes.extend_from_slice(payload);
    apply_mask(&mut bytes[start..], mask, 0);
    bytes
}

fn text(text: &str) -> Received<'static> {
    Received::Text(text.to_owned().into())
}

/// A stream with every kind of frame in it.
fn sample() -> Vec<u8> {
    [
        frame(0x81, "grüße".as_bytes()),
        frame(0x01, "a€".as_bytes().split_at(2).0),
        frame(0x89, b"are you there"),
        frame(0x00, b""),
        frame(0x80, "a€b".as_bytes().split_at(2).1),
        frame(0x82, &[0xFF; 300]),
        frame(0x8A, b""),
        frame(0x01, b""),
        frame(0x80, b""),
        frame(0x88, &[0x03, 0xE8, b'o', b'k']),
    ]
    .concat()
}

fn sample_decoded() -> Vec<Received<'static>> {
    vec![
        text("grüße"),
        Received::Ping(b"are you there".to_vec().into()),
        text("a€b"),
        Received::Binary(vec![0xFF; 300].into()),
        Received::Pong,
        text(""),
        Received::Close(Some(1000)),
    ]
}

#[test]
fn pieces_of_any_size_decode_alike() {
    let bytes = sample();
    for step in 1..=bytes.len() {
        assert_eq!(decode(&bytes, step), (sample_decoded(), None), "pieces of {step}");
    }
}

#[test]
fn unread_bytes_start_a_decoder_where_another_stopped() {
    let bytes = sample();
    for cut in 0..=bytes.len() {
        let (before, after) = bytes.split_at(cut);
        let mut all = Vec::new();
        let mut first = Decoder::new(Endpoint::Server, 65_536);
        feed(&mut first, before, &mut all).unwrap();
        let mut second = Decoder::new(Endpoint::Server, 65_536);
        feed(&mut second, &first.into_unread(), &mut all).unwrap();
        feed(&mut second, after, &mut all).unwrap();
        assert_eq!(all, sample_decoded(), "cut at byte {cut}");
    }
}

#[test]
fn an_idle_decoder_owns_no_memory() {
    let mut decoder = Decoder::new(Endpoint::Server, 65_536);
    for byte in sample() {
        feed(&mut decoder, &[byte], &mut Vec::new()).unwrap();
    }
    assert_eq!((decoder.message.capacity(), decoder.control.capacity()), (0, 0));
}

#[test]
fn violations_have_their_code() {
    let code = |bytes: &[u8]| {
        let results: Vec<_> =
            [1, bytes.len()].into_iter().map(|step| decode(bytes, step).1).collect();
        assert_eq!(results[0], results[1]);
        results[0].map(|code| code.0)
    };
    for first in [0x83, 0x87, 0x8B, 0x8F] {
        assert_eq!(code(&frame(first, b"")), Some(1002), "opcode {first:x}");
    }
    for first in [0xC1, 0xA1, 0x91] {
        assert_eq!(code(&frame(first, b"")), Some(1002), "reserved bit {first:x}");
    }
    assert_eq!(code(&[0x81, 0x00]), Some(1002), "not masked");
    assert_eq!(code(&frame(0x80, b"")), Some(1002), "continuation of nothing");
    let twice = [frame(0x01, b""), frame(0x81, b"")].concat();
    assert_eq!(code(&twice), Some(1002), "a message inside a message");
    assert_eq!(code(&frame(0x09, b"")), Some(1002), "fragmented ping");
    assert_eq!(code(&frame(0x89, &[0; 126])), Some(1002), "long ping");
    assert_eq!(code(&frame(0x89, &[0; 125])), None, "longest ping");
    assert_eq!(code(&[0x81, 0xFE, 0, 125, 0, 0, 0, 0]), Some(1002), "not the shortest form");
    let long = [0x81, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0, 0, 0];
    assert_eq!(code(&long), Some(1002), "not the shortest form");
    let negative = [0x81, 0xFF, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    assert_eq!(code(&negative), Some(1002), "top bit of the length");
}

#[test]
fn messages_have_a_limit_before_and_after_reassembly() {
    let most = vec![b'x'; 65_536];
    let over = vec![b'x'; 65_537];
    assert_eq!(decode(&frame(0x81, &most), 9999).0.len(), 1);
    // The head alone is enough to refuse it.
    assert_eq!(decode(&frame(0x81, &over)[..14], 1), (vec![], Some(CloseCode::TOO_BIG)));
    let fragments = [frame(0x01, &most[..65_000]), frame(0x80, &most[65_000..])].concat();
    assert_eq!(decode(&fragments, 9999).0.len(), 1);
    let fragments = [frame(0x01, &most), frame(0x80, b"x")].concat();
    assert_eq!(decode(&fragments, 9999).1, Some(CloseCode::TOO_BIG));
}

#[test]
fn bad_utf8_is_refused_at_the_bad_byte() {
    let bytes = frame(0x81, b"abc\xFF and much more");
    let after_bad = 6 + 4;
    assert_eq!(decode(&bytes[..after_bad - 1], 1).1, None);
    assert_eq!(decode(&bytes[..after_bad], 1).1, Some(CloseCode::INVALID_DATA));
    // A character that the message's end cuts off, alone and over two fragments.
    assert_eq!(decode(&frame(0x81, b"\xE2\x82"), 1).1, Some(CloseCode::INVALID_DATA));
    let cut = [frame(0x01, b"\xE2"), frame(0x80, b"\x82")].concat();
    assert_eq!(decode(&cut, 99).1, Some(CloseCode::INVALID_DATA));
    // Surrogates are no characters.
    assert_eq!(decode(&frame(0x81, b"\xED\xA0\x80"), 99).1, Some(CloseCode::INVALID_DATA));
    // Bytes are.
    assert_eq!(decode(&frame(0x82, b"\xFF"), 1).1, None);
}

#[test]
fn close_frames_are_checked() {
    let close = |payload: &[u8]| decode(&frame(0x88, payload), 99);
    assert_eq!(close(b"").0, [Received::Close(None)]);
    assert_eq!(close(b"\x03").1, Some(CloseCode::PROTOCOL));
    for code in 0..=u16::MAX {
        let closed = close(&code.to_be_bytes());
        if let 1000..=1003 | 1007..=1014 | 3000..=4999 = code {
            assert_eq!(closed, (vec![Received::Close(Some(code))], None));
        } else {
            assert_eq!(closed, (vec![], Some(CloseCode::PROTOCOL)), "{code}");
        }
    }
    assert_eq!(close(b"\x03\xE8\xFF").1, Some(CloseCode::INVALID_DATA));
}

#[test]
fn a_client_reads_what_a_server_writes() {
    let mut bytes = Vec::new();
    encode(&mut bytes, Opcode::Text, "grüße".as_bytes(), None);
    encode_close(&mut bytes, None, "", None);
    let mut decoder = Decoder::new(Endpoint::Client, 100);
    let mut all = Vec::new();
    feed(&mut decoder, &bytes, &mut all).unwrap();
    assert_eq!(all, [text("grüße"), Received::Close(None)]);
    let masked = frame(0x81, b"x");
    let mut decoder = Decoder::new(Endpoint::Client, 100);
    let result = feed(&mut decoder, &masked, &mut all);
    assert_eq!(result, Err(CloseCode::PROTOCOL), "a server must not mask");
}

#[test]
fn where_a_large_message_is_skipped_the_next_one_is_read() {
    let large = [b'x'; 101];
    let fragments = [
        frame(0x01, &large[..60]),
        frame(0x89, b"between"),
        frame(0x00, &large[60..]),
        frame(0x00, &[0xFF; 500]),
        frame(0x80, b""),
    ]
    .concat();
    let bytes = [
        frame(0x81, &large[..100]),
        frame(0x81, &large),
        frame(0x82, &[0xFF; 70_000]),
        fragments,
        frame(0x81, "grüße".as_bytes()),
    ]
    .concat();
    let most = String::from_utf8(large[..100].to_vec()).unwrap();
    let ping = || Received::Ping(b"between".to_vec().into());
    let (skipped, hello) = (|| Received::Skipped, text("grüße"));
    let expected = [text(&most), skipped(), skipped(), ping(), skipped(), hello];
    for step in [1, 2, 7, 4096, bytes.len()] {
        let mut decoder = Decoder::new(Endpoint::Server, 10);
        decoder.bound_messages(Bound::Skip(100));
        let mut all = Vec::new();
        for piece in bytes.chunks(step) {
            feed(&mut decoder, piece, &mut all).unwrap();
            assert!(decoder.message.capacity() <= 128, "nothing of it is kept");
        }
        assert_eq!(all, expected, "pieces of {step}");
        // From then on it is as before.
        decoder.bound_messages(Bound::End(10));
        assert_eq!(
            feed(&mut decoder, &frame(0x81, &[b'x'; 11]), &mut all),
            Err(CloseCode::TOO_BIG)
        );
    }
}

#[test]
fn another_decoder_goes_on_skipping() {
    let large = [b'x'; 300];
    let bytes = [
        frame(0x01, &large[..200]),
        frame(0x89, b"between"),
        frame(0x80, &large),
        frame(0x81, &large),
        frame(0x81, "grüße".as_bytes()),
    ]
    .concat();
    let ping = Received::Ping(b"between".to_vec().into());
    let expected = [ping, Received::Skipped, Received::Skipped, text("grüße")];
    for cut in 0..=bytes.len() {
        let (before, after) = bytes.split_at(cut);
        let mut all = Vec::new();
        let mut first = Decoder::new(Endpoint::Server, 0);
        first.bound_messages(Bound::Skip(100));
        feed(&mut first, before, &mut all).unwrap();
        let mut second = Decoder::new(Endpoint::Server, 0);
        second.bound_messages(Bound::Skip(100));
        if first.is_skipping() {
            second.skip();
        }
        feed(&mut second, &first.into_unread(), &mut all).unwrap();
        feed(&mut second, after, &mut all).unwrap();
        assert_eq!(all, expected, "cut at byte {cut}");
    }
}

#[test]
fn a_message_comes_to_the_same_whole_and_byte_by_byte() {
    let mut all = vec![frame(0x81, &[0xFF]), frame(0x81, b"x")[..4].to_vec()];
    for length in [0, 1, 7, 8, 9, 125, 126, 127, 65_535, 65_536, 65_537] {
        all.push(frame(0x81, "\u{20ac}x".repeat(length).as_bytes()[..length / 4 * 4].as_ref()));
        all.push(frame(0x81, &vec![b'x'; length]));
        all.push(frame(0x01, &vec![b'x'; length]));
    }
    // Not the shortest form, and not masked.
    all.push([&[0x81, 0xFE, 0, 125][..], &[0; 4 + 125]].concat());
    all.push([&[0x81, 125][..], &[b'x'; 125]].concat());
    for bytes in all {
        let twice = [&bytes[..], &bytes[..]].concat();
        assert_eq!(decode(&twice, twice.len()), decode(&twice, 1), "{:?}", &bytes[..2]);
    }
}
