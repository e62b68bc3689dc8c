//! Framing over a real socket: fragments, control frames, sizes, and a close frame for each violation.

use std::io::Write;

use crate::support::{Client, Server};
use crate::talk::frame;

const PING: &str = r#"{"type":"ping"}"#;

/// The opcodes that are defined; each of the other ten is reserved.
const OPCODES: [u8; 6] = [0x0, 0x1, 0x2, 0x8, 0x9, 0xA];

/// Sends `bytes`, which break the protocol with their last one, and waits for the close frame with `code`. What
/// they announce is never sent: the server must not wait for it.
fn refused(mut client: Client, bytes: &[u8], code: u16) {
    client.stream.write_all(bytes).unwrap();
    assert_eq!(client.close_code(), Some(code), "{bytes:02x?}");
    assert!(client.ends());
}

/// A masked head with its length in the form that `second` asks for, whether that is the shortest or not.
fn head(first: u8, second: u8, length: u64) -> Vec<u8> {
    let bytes = length.to_be_bytes();
    let extended = match second {
        126 => &bytes[6..],
        127 => &bytes[..],
        _ => &[],
    };
    [&[first, 0x80 | second], extended, &[0xA1, 0xB2, 0xC3, 0xD4]].concat()
}

#[test]
fn fragments_are_put_together_around_control_frames() {
    let server = Server::start(&[]);
    let mut client = server.client();
    client.send(0x01, &PING.as_bytes()[..3]);
    client.send(0x89, b"hello");
    client.send(0x00, &PING.as_bytes()[3..9]);
    client.send(0x00, b"");
    client.send(0x80, &PING.as_bytes()[9..]);
    let pong = client.frame().unwrap();
    assert_eq!((pong.opcode, pong.payload.as_slice()), (0xA, &b"hello"[..]));
    assert!(client.text().contains("pong"));
}

#[test]
fn many_frames_in_one_packet() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let bytes = frame(0x81, PING.as_bytes()).repeat(50);
    client.stream.write_all(&bytes).unwrap();
    for _ in 0..50 {
        assert!(client.text().contains("pong"));
    }
}

#[test]
fn sizes_up_to_the_limit() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let message = |length: usize| {
        let without = r#"{"type":"ping","x":""}"#.len();
        format!(r#"{{"type":"ping","x":"{}"}}"#, "y".repeat(length - without))
    };
    assert!(client.ask(&message(65_536)).contains("pong"));
    let large = message(65_536);
    client.send(0x01, &large.as_bytes()[..40_000]);
    client.send(0x80, &large.as_bytes()[40_000..]);
    assert!(client.text().contains("pong"));
    client.say(&message(65_537));
    assert_eq!(client.close_code(), Some(1009));
    assert!(client.ends());

    let mut client = server.client();
    client.send(0x01, &large.as_bytes()[..65_536]);
    client.send(0x80, b"x");
    assert_eq!(client.close_code(), Some(1009));
    server.log.wait_for("close 1009 by server");
}

#[test]
fn the_limit_can_be_set() {
    let server = Server::start(&[("MAX_MESSAGE_BYTES", "15")]);
    let mut client = server.client();
    assert!(client.ask(PING).contains("pong"));
    client.say(" {\"type\":\"ping\"}");
    assert_eq!(client.close_code(), Some(1009));
}

#[test]
fn reserved_bits_and_opcodes_are_refused_at_once() {
    let server = Server::start(&[]);
    for first in 0..=0xFF_u8 {
        let reserved = first & 0x70 != 0 || !OPCODES.contains(&(first & 0x0F));
        // Each with its own bits, and each of them while a message is under way.
        if reserved {
            refused(server.client(), &[first, 0x80], 1002);
            let mut client = server.client();
            client.send(0x01, b"x");
            refused(client, &[first, 0x80], 1002);
        }
    }
}

#[test]
fn what_is_not_masked_is_refused_at_once() {
    let server = Server::start(&[]);
    for opcode in OPCODES {
        for length in [0, 1, 125, 126, 127] {
            refused(server.client(), &[0x80 | opcode, length], 1002);
        }
    }
    // Any mask will do, none at all (four zeros) included.
    let mut client = server.client();
    for mask in [[0; 4], [0xFF; 4], [0, 0, 0, 1], [0x80, 0, 0, 0]] {
        let mut bytes = vec![0x81, 0x80 | PING.len() as u8];
        bytes.extend_from_slice(&mask);
        bytes.extend(PING.bytes().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        client.stream.write_all(&bytes).unwrap();
        assert!(client.text().contains("pong"), "{mask:02x?}");
    }
}

#[test]
fn control_frames_are_short_and_whole() {
    let server = Server::start(&[]);
    for opcode in [0x8, 0x9, 0xA] {
        refused(server.client(), &[opcode, 0x80], 1002);
        // The forms of long payloads, whatever length they would hold.
        refused(server.client(), &[0x80 | opcode, 0xFE], 1002);
        refused(server.client(), &[0x80 | opcode, 0xFF], 1002);
    }
}

#[test]
fn pings_come_back_as_they_were() {
    let server = Server::start(&[]);
    let mut client = server.client();
    let payload: Vec<_> = (0..125).map(|byte| byte * 2 + 1).collect();
    // Some of them while a message is under way, and pongs that nobody asked for between them.
    for length in 0..=125 {
        if length == 60 {
            client.send(0x02, &PING.as_bytes()[..7]);
        }
        client.send(0x8A, &payload[length..]);
        client.send(0x89, &payload[..length]);
        let pong = client.frame().unwrap();
        assert_eq!((pong.opcode, &pong.payload[..]), (0xA, &payload[..length]));
    }
    client.send(0x80, &PING.as_bytes()[7..]);
    assert!(client.text().contains("pong"));
    let burst: Vec<_> = (0..50).flat_map(|number| frame(0x89, &[number])).collect();
    client.stream.write_all(&burst).unwrap();
    for number in 0..50 {
        assert_eq!(client.frame().unwrap().payload, [number]);
    }
}

#[test]
fn a_length_has_its_shortest_form() {
    let server = Server::start(&[]);
    for first in [0x81, 0x82, 0x01, 0x02] {
        for (second, length) in
            [(126, 0), (126, 1), (126, 125), (127, 0), (127, 125), (127, 126), (127, 65_535)]
        {
            refused(server.client(), &head(first, second, length), 1002);
        }
        // The top bit is no part of a length.
        for length in [1 << 63, (1 << 63) | 5, u64::MAX] {
            refused(server.client(), &head(first, 127, length), 1002);
        }
    }
    let mut client = server.client();
    client.send(0x01, b"x");
    refused(client, &head(0x80, 126, 125), 1002);
    let mut client = server.client();
    for length in [15, 124, 125, 126, 127, 128, 255, 256, 65_535, 65_536] {
        let message = PING.to_owned() + &" ".repeat(length - PING.len());
        assert!(client.ask(&message).contains("pong"), "{length} bytes");
    }
}

#[test]
fn a_message_that_is_too_long_is_refused_by_its_head() {
    let server = Server::start(&[]);
    for length in [65_537, 1 << 20, 1 << 32, (1 << 63) - 1] {
        refused(server.client(), &head(0x81, 127, length), 1009);
        refused(server.client(), &head(0x02, 127, length), 1009);
        let mut client = server.client();
        client.send(0x01, b"");
        refused(client, &head(0x00, 127, length), 1009);
    }
    let mut client = server.client();
    client.send(0x02, &[b'x'; 65_530]);
    client.send(0x00, b"xxxxxx");
    client.send(0x00, b"");
    refused(client, &head(0x80, 1, 1), 1009);
}

#[test]
fn fragments_come_in_turn() {
    let server = Server::start(&[]);
    // Nothing to go on with: at the start, and behind a message that has ended.
    for first in [0x00, 0x80] {
        refused(server.client(), &[first, 0x80], 1002);
        let mut client = server.client();
        client.send(0x01, &PING.as_bytes()[..5]);
        client.send(0x80, &PING.as_bytes()[5..]);
        assert!(client.text().contains("pong"));
        refused(client, &[first, 0x80], 1002);
    }
    // A message inside a message, control frames between or not.
    for (first, second) in [(0x01, 0x01), (0x01, 0x82), (0x02, 0x81), (0x02, 0x02)] {
        let mut client = server.client();
        client.send(first, b"");
        client.send(0x8A, b"");
        client.send(0x00, b"x");
        refused(client, &[second, 0x80], 1002);
    }
}

#[test]
fn a_message_in_the_smallest_pieces() {
    let server = Server::start(&[]);
    let mut client = server.client();
    for first in [0x01, 0x02] {
        let mut bytes = frame(first, b"");
        for byte in PING.bytes() {
            bytes.extend(frame(0x00, &[byte]));
            bytes.extend(frame(0x00, b""));
            bytes.extend(frame(0x89, &[byte]));
        }
        bytes.extend(frame(0x80, b""));
        client.stream.write_all(&bytes).unwrap();
        for byte in PING.bytes() {
            assert_eq!(client.frame().unwrap().payload, [byte]);
        }
        assert!(client.text().contains("pong"));
    }
}

#[test]
fn every_violation_gets_its_close_frame() {
    let server = Server::start(&[]);
    for (bytes, code) in [
        (vec![0x81, 0x01, b'x'], 1002),
        (frame(0xC1, b"x"), 1002),
        (frame(0x83, b"x"), 1002),
        (frame(0x8B, b""), 1002),
        (frame(0x80, b"x"), 1002),
        ([frame(0x01, b"x"), frame(0x01, b"x")].concat(), 1002),
        (frame(0x09, b"x"), 1002),
        (frame(0x89, &[0; 126]), 1002),
        (frame(0x88, b"\x03"), 1002),
        (frame(0x88, &999_u16.to_be_bytes()), 1002),
        (frame(0x88, &1006_u16.to_be_bytes()), 1002),
        (frame(0x88, b"\x03\xE8\xFF"), 1007),
        (frame(0x81, b"\xFF"), 1007),
        (frame(0x81, b"\xED\xA0\x80"), 1007),
        ([frame(0x01, b"\xE2\x82"), frame(0x80, b"x")].concat(), 1007),
        // A head that announces 1 TiB.
        (vec![0x82, 0xFF, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0], 1009),
    ] {
        let mut client = server.client();
        client.stream.write_all(&bytes).unwrap();
        assert_eq!(client.close_code(), Some(code), "{bytes:02x?}");
        assert!(client.ends());
    }
    // The answers to what came before the violation are not lost.
    let mut client = server.client();
    let bytes = [frame(0x81, PING.as_bytes()), frame(0x83, b"")].concat();
    client.stream.write_all(&bytes).unwrap();
    assert!(client.text().contains("pong"));
    assert_eq!(client.close_code(), Some(1002));
}

#[test]
fn a_violation_in_the_middle_of_much_data_still_gets_its_close_frame() {
    let server = Server::start(&[]);
    let mut client = server.client();
    // More than the server reads before it sees the violation: closing at once would reset TCP, and the
    // reset would destroy the close frame on its way.
    let mut bytes = frame(0x83, b"");
    bytes.extend(vec![b'x'; 500_000]);
    client.stream.write_all(&bytes).unwrap();
    assert_eq!(client.close_code(), Some(1002));
    assert!(client.ends());
}
