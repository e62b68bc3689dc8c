//! Framing over a real socket: fragments, control frames, sizes, and a close frame for each violation.

use std::io::Write;

use crate::support::{Server, frame};

const PING: &str = r#"{"type":"ping"}"#;

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
